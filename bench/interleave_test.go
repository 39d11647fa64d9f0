package bench_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/bench"
)

func TestPairs(t *testing.T) {
	var order []string
	broken := errors.New("broken")
	side := func(name string, costs ...float64) bench.Side {
		return bench.Side{Name: name, Run: func() (float64, error) {
			order = append(order, name)
			if len(costs) == 0 {
				return 0, broken
			}
			cost := costs[0]
			costs = costs[1:]
			return cost, nil
		}}
	}
	p := bench.Interleave(side("C", 2, 4, 10, 7), side("Go", 3, 4, 40))
	for range 3 {
		if err := p.Measure(); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"C", "Go", "C", "Go", "C", "Go"}; !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
	if err := p.Measure(); !errors.Is(err, broken) || !strings.Contains(err.Error(), "Go") {
		t.Errorf("a side that fails: %v", err)
	}
	if got, want := p.Ratio(), (bench.Spread{Median: 1.5, Min: 1, Max: 4}); got != want {
		t.Errorf("Ratio %v, want %v", got, want)
	}
	if got := p.String(); !strings.HasSuffix(got, "3 pairs") || strings.Count(got, "\n") != 2 {
		t.Errorf("String:\n%s", got)
	}
}

func TestSpreadOf(t *testing.T) {
	for _, c := range []struct {
		x    []float64
		want bench.Spread
	}{
		{nil, bench.Spread{}},
		{[]float64{5}, bench.Spread{Median: 5, Min: 5, Max: 5}},
		{[]float64{9, 1}, bench.Spread{Median: 5, Min: 1, Max: 9}},
		{[]float64{9, 1, 2}, bench.Spread{Median: 2, Min: 1, Max: 9}},
		{[]float64{4, 3, 2, 1}, bench.Spread{Median: 2.5, Min: 1, Max: 4}},
	} {
		if got := bench.SpreadOf(c.x); got != c.want {
			t.Errorf("SpreadOf(%v) = %v, want %v", c.x, got, c.want)
		}
	}
}
