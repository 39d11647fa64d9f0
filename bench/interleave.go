package bench

import (
	"fmt"
	"slices"
)

// Side is one of two things that are compared.
type Side struct {
	Name string
	// Run measures once and returns what one operation costs, in any unit that both sides share.
	Run func() (float64, error)
}

// Pairs are measurements of two sides, taken in turn: A B A B.
type Pairs struct {
	Side [2]Side
	Cost [2][]float64 // of each side; those of one index are neighbours in time
}

// Interleave prepares the comparison of two sides; nothing has been measured yet.
func Interleave(a, b Side) *Pairs { return &Pairs{Side: [2]Side{a, b}} }

// Measure measures each side once more. After an error, which names the side, the pair does not count.
func (p *Pairs) Measure() error {
	var cost [2]float64
	for i, s := range p.Side {
		c, err := s.Run()
		if err != nil {
			return fmt.Errorf("bench: %s: %w", s.Name, err)
		}
		cost[i] = c
	}
	for i, c := range cost {
		p.Cost[i] = append(p.Cost[i], c)
	}
	return nil
}

// Ratio is how many times as much the second side costs as the first: the spread of the ratios of neighbours.
func (p *Pairs) Ratio() Spread {
	ratios := make([]float64, len(p.Cost[0]))
	for i := range ratios {
		ratios[i] = p.Cost[1][i] / p.Cost[0][i]
	}
	return SpreadOf(ratios)
}

// String is three lines for people: both sides, and the ratio.
func (p *Pairs) String() string {
	a, b := p.Side[0].Name, p.Side[1].Name
	ratio := b + "/" + a
	width := max(len(a), len(b), len(ratio))
	return fmt.Sprintf("%-*s %v\n%-*s %v\n%-*s %v  %d pairs",
		width, a, SpreadOf(p.Cost[0]), width, b, SpreadOf(p.Cost[1]), width, ratio, p.Ratio(), len(p.Cost[0]))
}

// Spread is the middle, the least and the greatest of several numbers.
type Spread struct{ Median, Min, Max float64 }

// SpreadOf finds them; of no numbers they are 0.
func SpreadOf(x []float64) Spread {
	if len(x) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(x))
	k := len(s) / 2
	median := s[k]
	if len(s)%2 == 0 {
		median = (s[k-1] + s[k]) / 2
	}
	return Spread{median, s[0], s[len(s)-1]}
}

// String is "median [least to greatest]".
func (s Spread) String() string {
	return fmt.Sprintf("%9.2f  [%.2f to %.2f]", s.Median, s.Min, s.Max)
}
