package bench_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/bench"
)

// TestCheck: what a side may say of where it ran, and what it cost.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		line      string
		mode      bench.Mode
		cpus      []int
		processes int
		ok        bool
	}{
		{`{"ns": 1, "cpus": [[0,0]]}`, bench.OneCPU, []int{0}, 1, true},
		{`{"ns": 1, "cpus": [[2,2],[3,3]]}`, bench.TwoCPUs, []int{2, 3}, 2, true},
		{`{"ns": 1, "cpus": [[2,3]]}`, bench.TwoCPUs, []int{2, 3}, 1, true}, // two goroutines
		{`{"ns": 1, "cpus": [[0,1]]}`, bench.AnyCPU, []int{0, 1}, 1, true},
		{`{"ns": 1, "cpus": [[5,5],[5,5]]}`, bench.SameCPU, []int{5, 5}, 2, true},

		{`{"ns": 1}`, bench.OneCPU, []int{0}, 1, false},
		{`{"ns": 0, "cpus": [[0,0]]}`, bench.OneCPU, []int{0}, 1, false},
		{`{"ns": -1, "cpus": [[0,0]]}`, bench.OneCPU, []int{0}, 1, false},
		{`{"ns": 1, "cpus": [[0,1]]}`, bench.OneCPU, []int{0}, 1, false},
		{`{"ns": 1, "cpus": [[-1,-1]]}`, bench.OneCPU, []int{0}, 1, false},
		{`{"ns": 1, "cpus": [[2,2]]}`, bench.TwoCPUs, []int{2, 3}, 2, false},       // one of two says nothing
		{`{"ns": 1, "cpus": [[5,5]]}`, bench.SameCPU, []int{5, 5}, 2, false},       // the same
		{`{"ns": 1, "cpus": [[2,2],[2,2]]}`, bench.TwoCPUs, []int{2, 3}, 2, false}, // both on one
		{`{"ns": 1, "cpus": [[2,2],[3,2]]}`, bench.TwoCPUs, []int{2, 3}, 2, false},
		{`{"ns": 1, "cpus": [[3,3],[2,2]]}`, bench.TwoCPUs, []int{2, 3}, 2, false}, // the wrong way round
	} {
		s, err := bench.ParseSample([]byte(c.line))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Check(c.mode, c.cpus, c.processes); (err == nil) != c.ok {
			t.Errorf("%s, %s, CPUs %d, %d processes: %v", c.line, c.mode, c.cpus, c.processes, err)
		}
	}
	for _, line := range []string{"", "{}{}", `{"ns": "1"}`, "killed"} {
		if s, err := bench.ParseSample([]byte(line)); err == nil {
			t.Errorf("%q is %+v", line, s)
		}
	}
}

// TestCheckShares: an addition that is lost under a lock is done twice.
func TestCheckShares(t *testing.T) {
	const n = 10_000_000
	for _, c := range []struct {
		mine [2]int
		ok   bool
	}{{[2]int{n, 0}, true}, {[2]int{n/3 + 1, n - n/3 - 1}, true}, {[2]int{n / 2, n/2 + 1}, false}, {[2]int{n / 2, n/2 - 1}, false}} {
		var s bench.Sample
		for _, mine := range c.mine {
			s.Shares = append(s.Shares, float64(mine)/n)
		}
		if err := s.CheckShares(n); (err == nil) != c.ok {
			t.Errorf("%d of %d: %v", c.mine, n, err)
		}
	}
}

// TestStarved: a process that got nothing at all is told, and is not the same as one of which nobody knows.
func TestStarved(t *testing.T) {
	least := 0.0
	r := &bench.Result{Name: "row", Mode: bench.TwoCPUs, Sides: []bench.SideResult{
		{Impl: "starves", Repeats: 1, Cost: bench.SpreadOf([]float64{1}), Least: &least, LeastGoal: 0.75},
		{Impl: "unknown", Repeats: 1, Cost: bench.SpreadOf([]float64{1})},
	}}
	var text strings.Builder
	if err := r.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	if got := text.String(); !strings.Contains(got, "least served 0%, asked 75%: missed") || strings.Count(got, "least") != 1 {
		t.Errorf("text %q", got)
	}
	rs := r.Records()
	if rs[0].Least == nil || rs[1].Least != nil {
		t.Errorf("records %+v", rs)
	}
}

// TestGoals: what is asked is printed as it was meant, and compared.
func TestGoals(t *testing.T) {
	for goal, want := range map[float64]string{
		1.3: "asked 1.3: reached", 0.5: "asked 0.5: missed", 1. / 30: "asked 1/30: missed", 1. / 15: "asked 1/15: missed", 0.03: "asked 0.03: missed",
	} {
		r := &bench.Result{Name: "row", Mode: bench.OneCPU, Sides: []bench.SideResult{
			{Impl: "peer", Repeats: 1, Cost: bench.SpreadOf([]float64{1}), Ratio: bench.SpreadOf([]float64{1}), Goal: goal},
		}}
		var text strings.Builder
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		if got := text.String(); !strings.Contains(got, want+"\n") {
			t.Errorf("goal %v: %q, want %q", goal, got, want)
		}
	}
}

// TestWriteErrors: what has no numbers says why, and what has some says nothing.
func TestWriteErrors(t *testing.T) {
	r := &bench.Result{Name: "row", Mode: bench.TwoCPUs, Err: errors.New("too small"), Sides: []bench.SideResult{
		{Impl: "good"}, {Impl: "bad", Err: errors.New("no compiler")},
	}}
	var text bytes.Buffer
	if err := r.WriteErrors(&text); err != nil {
		t.Fatal(err)
	}
	if want := "row, two-cpus: not measured: too small\nrow, two-cpus, bad: no compiler\n"; text.String() != want {
		t.Errorf("%q, want %q", &text, want)
	}
}
