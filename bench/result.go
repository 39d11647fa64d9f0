package bench

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

// Result is what was found of one row in one mode.
type Result struct {
	Name  string
	Does  string // what one operation is
	Note  string // what is worth knowing of a side; may be ""
	Mode  Mode
	Procs int
	Size  int // bytes that an operation moves
	Sides []SideResult
	// Noisy is set when the repeats differ too much for the ratios to be worth much: of the first of the other sides, or
	// one that has a goal, the middle half of the ratios of its repeats spans more than a quarter of their median.
	Noisy bool
	// Err is why nothing was measured.
	Err error
}

// SideResult is what was found of one implementation. Its numbers are nanoseconds per operation.
type SideResult struct {
	Impl    string
	Repeats int
	Cost    Spread // of the repeats, each the median of its turns
	// P50, P99 and P999 are percentiles of the times of single operations; 0 where those were not measured.
	P50, P99, P999 float64
	// Ratio is what Shoal costs in terms of this one: the spread over the repeats, each the median of its turns, of
	// which neighbours in time are compared.
	Ratio Spread
	// Goal is the most that the median of Ratio may be, 0 if there is none. Floor is the least, 0 if there is none: it
	// asks that this side costs no more than so many times what Shoal does.
	Goal, Floor float64
	// Least is the median over the turns of what the process that was served least got of an equal share; nil where
	// one cannot say. LeastGoal is what it is to be at least, 0 if nothing was asked.
	Least     *float64
	LeastGoal float64
	// Counts are what was counted beside the time.
	Counts []Count
	// Err is why there are no numbers: the peer is missing, or failed.
	Err error
}

// Count is the most that a turn counted of something, and the most that it may be, -1 if nobody asks.
type Count struct {
	Name        string
	Value, Most float64
}

// Missing reports whether a peer is not on this machine; Err has the reason.
func (s *SideResult) Missing() bool { return errors.Is(s.Err, errMissing) }

func (c *comparison) result() *Result {
	r := &Result{Name: c.row.name, Does: c.row.does, Note: c.row.note, Mode: c.mode, Procs: c.row.procs, Size: c.row.size}
	if r.Err = c.lack; r.Err != nil {
		return r
	}
	own := c.sides[0]
	for i, s := range c.sides {
		f := SideResult{Impl: s.impl, Repeats: len(s.cost), Cost: SpreadOf(s.cost), Err: s.err}
		if s.err != nil {
			r.Sides = append(r.Sides, SideResult{Impl: s.impl, Err: s.err})
			continue
		}
		if len(s.least) > 0 {
			least := SpreadOf(s.least).Median
			f.Least = &least
		}
		if s.latency.TotalCount() > 0 {
			f.P50, f.P99, f.P999 = float64(s.latency.ValueAtQuantile(50)), float64(s.latency.ValueAtQuantile(99)), float64(s.latency.ValueAtQuantile(99.9))
		}
		if s == own {
			if !c.quick {
				f.LeastGoal = c.row.fair
			}
			r.Noisy = r.Noisy || f.Cost.noisy() && len(c.sides) == 1
		} else {
			f.Ratio = SpreadOf(s.ratio)
			if s.impl == shoalP1 && !c.quick {
				f.Floor = 1. / slower
			}
			for _, g := range c.row.goals {
				if g.against == s.impl && g.mode == c.mode && !c.quick {
					f.Goal = g.most
				}
			}
			r.Noisy = r.Noisy || f.Ratio.noisy() && (i == 1 || f.Goal != 0)
		}
		for _, m := range c.row.counts {
			if c.quick {
				m.most = -1
			}
			f.Counts = append(f.Counts, Count{m.name, s.counts[m.name], m.most})
		}
		r.Sides = append(r.Sides, f)
	}
	return r
}

// ratios are those of neighbours.
func ratios(a, b []float64) Spread {
	var rs []float64
	for i := range min(len(a), len(b)) {
		rs = append(rs, a[i]/b[i])
	}
	return SpreadOf(rs)
}

// Spread says how several numbers are spread. Low and High bound the middle half of them.
type Spread struct{ Median, Min, Low, High, Max float64 }

// SpreadOf finds it; of no numbers all is 0.
func SpreadOf(x []float64) Spread {
	if len(x) == 0 {
		return Spread{}
	}
	s := slices.Sorted(slices.Values(x))
	at := func(part float64) float64 {
		whole, rest := math.Modf(part * float64(len(s)-1))
		i := int(whole)
		return s[i] + rest*(s[min(i+1, len(s)-1)]-s[i])
	}
	return Spread{at(0.5), s[0], at(0.25), at(0.75), s[len(s)-1]}
}

func (s Spread) noisy() bool { return s.High-s.Low > s.Median/4 }

// WriteText writes r for people.
func (r *Result) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s", r.Name, r.Mode)
	if r.Noisy {
		fmt.Fprint(&b, "  (noisy)")
	}
	fmt.Fprintf(&b, "\n  %s\n", r.Does)
	if r.Note != "" {
		fmt.Fprintf(&b, "  (%s)\n", r.Note)
	}
	if r.Err != nil {
		fmt.Fprintf(&b, "  not measured: %v\n", r.Err)
	}
	for _, s := range r.Sides {
		fmt.Fprintf(&b, "  %-12s", s.Impl)
		if s.Err != nil {
			fmt.Fprintf(&b, " %v\n", s.Err)
			continue
		}
		fmt.Fprintf(&b, "%10s [%s to %s]", nanoseconds(s.Cost.Median), nanoseconds(s.Cost.Min), nanoseconds(s.Cost.Max))
		if s.Ratio != (Spread{}) {
			fmt.Fprintf(&b, "  shoal is %s of it [%s to %s]", ratio(s.Ratio.Median), ratio(s.Ratio.Min), ratio(s.Ratio.Max))
		}
		if s.Goal != 0 {
			fmt.Fprintf(&b, ", asked %s: %s", bound(s.Goal), verdict(s.Ratio.Median <= s.Goal))
		}
		if s.Floor != 0 {
			fmt.Fprintf(&b, ", asked %s or more: %s", bound(s.Floor), verdict(s.Ratio.Median >= s.Floor))
		}
		if s.P50 != 0 {
			fmt.Fprintf(&b, "  p50 %s p99 %s p99.9 %s", nanoseconds(s.P50), nanoseconds(s.P99), nanoseconds(s.P999))
		}
		if s.Least != nil {
			fmt.Fprintf(&b, "  least served %.0f%%", 100**s.Least)
			if s.LeastGoal != 0 {
				fmt.Fprintf(&b, ", asked %.0f%%: %s", 100*s.LeastGoal, verdict(*s.Least >= s.LeastGoal))
			}
		}
		for _, x := range s.Counts {
			fmt.Fprintf(&b, "  %s %.0f", x.Name, x.Value)
			if x.Most >= 0 {
				fmt.Fprintf(&b, ", asked %.0f: %s", x.Most, verdict(x.Value <= x.Most))
			}
		}
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// WriteErrors writes, a line each, why sides of r have no numbers: what its records do not tell.
func (r *Result) WriteErrors(w io.Writer) error {
	var b strings.Builder
	if r.Err != nil {
		fmt.Fprintf(&b, "%s, %s: not measured: %v\n", r.Name, r.Mode, r.Err)
	}
	for _, s := range r.Sides {
		if s.Err != nil {
			fmt.Fprintf(&b, "%s, %s, %s: %v\n", r.Name, r.Mode, s.Impl, s.Err)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func verdict(ok bool) string {
	if ok {
		return "reached"
	}
	return "missed"
}

// nanoseconds has three digits and a unit.
func nanoseconds(x float64) string {
	for _, u := range []struct {
		of   time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if x >= 0.9995*float64(u.of) {
			return fmt.Sprintf("%.3g %s", x/float64(u.of), u.name)
		}
	}
	return fmt.Sprintf("%.3g ns", x)
}

func ratio(x float64) string {
	if x < 0.01 {
		return fmt.Sprintf("1/%.0f", 1/x)
	}
	return fmt.Sprintf("%.2f", x)
}

// bound is a ratio that was asked for: one over a whole number as such, where digits would say less.
func bound(x float64) string {
	if of := math.Round(1 / x); x < 0.1 && math.Abs(of*x-1) < 1e-9 {
		return fmt.Sprintf("1/%.0f", of)
	}
	return fmt.Sprint(x)
}

// Record is one side of a row for programs to read: an element of the array that `shoal bench --json` writes.
// Times are nanoseconds per operation; a percentile that was not measured is null.
type Record struct {
	Name   string   `json:"name"`
	Impl   string   `json:"impl"`
	Procs  int      `json:"procs"`
	Size   int      `json:"size"` // bytes that an operation moves
	Mode   Mode     `json:"mode"`
	Unit   string   `json:"unit"` // "ns"
	Median float64  `json:"median"`
	P50    *float64 `json:"p50"`
	P99    *float64 `json:"p99"`
	P999   *float64 `json:"p999"`
	Min    float64  `json:"min"`
	Max    float64  `json:"max"`
	N      int      `json:"n"` // repeats
	// Ratio is what Shoal costs in terms of this one; left out of Shoal's own records.
	Ratio float64 `json:"ratio,omitempty"`
	// Least is what the process that was served least got of an equal share, where one can say.
	Least *float64 `json:"least,omitempty"`
	// Counts are what was counted beside the time, by name: the most of all turns.
	Counts map[string]float64 `json:"counts,omitempty"`
	Noisy  bool               `json:"noisy,omitempty"`
}

// Records are the sides of r that have numbers.
func (r *Result) Records() []Record {
	var rs []Record
	known := func(x float64) *float64 {
		if x == 0 {
			return nil
		}
		return &x
	}
	for _, s := range r.Sides {
		if s.Err != nil {
			continue
		}
		var counts map[string]float64
		for _, x := range s.Counts {
			if counts == nil {
				counts = make(map[string]float64)
			}
			counts[x.Name] = x.Value
		}
		rs = append(rs, Record{
			Name: r.Name, Impl: s.Impl, Procs: r.Procs, Size: r.Size, Mode: r.Mode, Unit: "ns",
			Median: s.Cost.Median, Min: s.Cost.Min, Max: s.Cost.Max, N: s.Repeats,
			P50: known(s.P50), P99: known(s.P99), P999: known(s.P999),
			Ratio: s.Ratio.Median, Least: s.Least, Counts: counts, Noisy: r.Noisy,
		})
	}
	return rs
}
