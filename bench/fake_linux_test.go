package bench_test

import (
	"context"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/shoal-ipc/shoal/bench"
	"github.com/shoal-ipc/shoal/internal/proctest"
)

// open is a lock that excludes nobody.
type open struct{}

func (open) Acquire(context.Context) error { return nil }
func (open) Release() error                { return nil }

// TestNoExclusion: what a lock that excludes nobody counts is wrong, and is found, at the latest when the sides do not happen to
// take turns.
func TestNoExclusion(t *testing.T) {
	proctest.Watch(t)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2)) // a side that waits keeps its processor, as processes are to
	const n = 200
	for found := false; !found; {
		s, err := bench.TwoSides(n, func(p *bench.Part, m *bench.Meter) error {
			return p.Contended(m, func(x *uint64, n uint64) (mine int, err error) {
				for {
					was := atomic.LoadUint64(x)
					if was >= n {
						return mine, nil
					}
					runtime.Gosched()
					atomic.StoreUint64(x, was+1)
					mine++
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		found = s.CheckShares(n) != nil
	}
	for found := false; !found; {
		_, err := bench.TwoSides(n, func(p *bench.Part, m *bench.Meter) error { return p.HandOver(t.Context(), m, open{}) })
		found = err != nil
	}
	_, err := bench.TwoSides(n, func(p *bench.Part, m *bench.Meter) error {
		if p.Side != 0 {
			return nil
		}
		return p.WaitFor(t.Context())
	})
	if err == nil {
		t.Error("a lock that was not released was waited for")
	}
}

// TestTurnsWithoutWait: who goes on before its turn is found.
func TestTurnsWithoutWait(t *testing.T) {
	nothing := func() error { return nil }
	_, err := bench.TwoSides(100, func(p *bench.Part, m *bench.Meter) error {
		return p.Numbered(m, nothing, nothing, nothing, nothing)
	})
	if err == nil {
		t.Error("turns in which nobody waits")
	}
}

// TestCounts: what is counted must be there, is compared with what is asked, and is in the text and the records; a quick look
// gives no verdicts.
func TestCounts(t *testing.T) {
	found := bench.Sample{NS: 1, Counts: map[string]float64{"threads": 129, "left": 0}}
	for _, quick := range []bool{false, true} {
		r, err := bench.Judge(found, map[string]float64{"threads": 128}, quick)
		if err != nil {
			t.Fatal(err)
		}
		var text strings.Builder
		if err := r.WriteText(&text); err != nil {
			t.Fatal(err)
		}
		for _, verdict := range []string{"threads 129, asked 128: missed", "shoal is 0.05 of it [0.05 to 0.05], asked 0.1 or more: missed"} {
			if !strings.Contains(text.String(), verdict) != quick {
				t.Errorf("quick %v, %q: %s", quick, verdict, &text)
			}
		}
		if got := r.Records()[0].Counts; len(got) != 1 || got["threads"] != 129 {
			t.Errorf("the record has %v", got)
		}
	}
	r, err := bench.Judge(found, map[string]float64{"left": 0}, false)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Sides[0].Counts; len(got) != 1 || got[0] != (bench.Count{Name: "left"}) {
		t.Errorf("nothing left is %+v", got)
	}
	if _, err := bench.Judge(found, map[string]float64{"nobody's": 0}, false); err == nil {
		t.Error("what nobody counted is not missed")
	}
}
