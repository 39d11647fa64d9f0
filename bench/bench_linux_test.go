package bench_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/bench"
)

// TestRun measures all rows for a moment, those sides that are written in Go.
func TestRun(t *testing.T) {
	var names []string
	var text bytes.Buffer
	progress := 0
	o := bench.Options{Quick: true, Progress: func(p bench.Progress) {
		if p.Row < 1 || p.Row > p.Rows || p.Repeat > p.Repeats || p.Name == "" || p.Impl == "" {
			t.Errorf("progress %+v", p)
		}
		progress++
	}}
	err := bench.Run(t.Context(), o, func(r *bench.Result) error {
		names = append(names, r.Name)
		if r.Err != nil {
			t.Logf("%s, %s: %v", r.Name, r.Mode, r.Err)
			return nil
		}
		for _, s := range r.Sides {
			if s.Err != nil {
				t.Errorf("%s, %s, %s: %v", r.Name, r.Mode, s.Impl, s.Err)
			}
			if !(s.Cost.Min > 0) || s.Cost.Min > s.Cost.Median || s.Cost.Median > s.Cost.Max || s.P50 > s.P99 || s.P99 > s.P999 {
				t.Errorf("%s, %s: %+v", r.Name, r.Mode, s)
			}
		}
		for _, x := range r.Records() {
			line, err := json.Marshal(x)
			if err != nil {
				t.Error(err)
			}
			var fields map[string]any
			if err := json.Unmarshal(line, &fields); err != nil {
				t.Error(err)
			}
			for _, f := range strings.Fields("name impl procs size mode unit median p50 p99 p999 min max n") {
				if _, ok := fields[f]; !ok {
					t.Errorf("no field %s in %s", f, line)
				}
			}
		}
		return r.WriteText(&text)
	})
	if err != nil {
		t.Fatal(err)
	}
	if progress == 0 {
		t.Error("no progress")
	}
	if got := slices.Compact(names); !slices.Equal(got, bench.Names()) {
		t.Errorf("rows %q, want %q", got, bench.Names())
	}
	t.Logf("\n%s", &text)
}

// TestPeers runs every peer for a moment, where this machine has them.
func TestPeers(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles programs in C and C++")
	}
	all, done, err := bench.Compare(bench.Options{Peers: true, Quick: true})
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	for _, c := range all {
		if !c.PeersOnly() { // TestRun has the others
			continue
		}
		if err := c.Repeat(t.Context()); err != nil {
			t.Error(err)
		}
		for _, s := range c.Result().Sides {
			switch {
			case s.Missing():
				t.Logf("%s, %s: %v", c.Title(), s.Impl, s.Err)
			case s.Err != nil:
				t.Errorf("%s, %s: %v", c.Title(), s.Impl, s.Err)
			}
		}
	}
}

// TestSides: what the table of rows asks for of Go is there, and nothing else.
func TestSides(t *testing.T) {
	written, listed := bench.Sides()
	slices.Sort(written)
	slices.Sort(listed)
	if !slices.Equal(written, listed) {
		t.Errorf("written %q\nlisted  %q", written, listed)
	}
	seen := make(map[string]bool)
	for _, n := range bench.Names() {
		seen[n] = true
	}
	if len(seen) != len(bench.Names()) {
		t.Errorf("names twice: %q", slices.Sorted(maps.Keys(seen)))
	}
}

func TestUnknownRow(t *testing.T) {
	for _, pattern := range []string{"nonsense", "lock.uncontende", "["} {
		err := bench.Run(t.Context(), bench.Options{Only: pattern}, nil)
		if err == nil || !strings.Contains(err.Error(), pattern) {
			t.Errorf("%q: %v", pattern, err)
		}
	}
}
