package locks_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// partyArgs is what a party of a conformance test gets.
type partyArgs struct {
	B, Second *locks.Barrier
	Block     *shm.Block // counters
	Do        string     // which of the parties' doings
	N         int        // passes
}

// Where the counters are.
const (
	cameAt   = 0
	actedAt  = 64
	passedAt = 128
	brokeAt  = 192
	indexAt  = 256 // one for each index
)

// parties are the doings, by what they test.
var parties = map[string]func(ctx context.Context, a partyArgs) error{
	"keep step": keepStep,
	"act": func(ctx context.Context, a partyArgs) error {
		came, acted := a.Block.Uint32(cameAt), a.Block.Uint32(actedAt)
		k := uint32(a.B.Parties())
		b, err := locks.OpenBarrier(a.B.Segment(), a.B.Name(), locks.BarrierOptions{Action: func() error {
			if n := acted.Add(1); came.Load() != n*k {
				return fmt.Errorf("action %d runs when %d have come", n, came.Load())
			}
			return nil
		}})
		if err != nil {
			return err
		}
		defer b.Close()
		for i := range uint32(a.N) {
			came.Add(1)
			if _, err := b.Wait(ctx); err != nil {
				return err
			}
			if n := acted.Load(); n != i+1 {
				return fmt.Errorf("past pass %d with %d actions", i, n)
			}
		}
		return nil
	},
	"abort": abortsOne,
	"abort and reset": func(ctx context.Context, a partyArgs) error {
		if err := abortsOne(ctx, a); err != nil {
			return err
		}
		i, err := a.Second.Wait(ctx)
		if err == nil && i == a.Second.Parties()/2 {
			err = a.B.Reset()
		}
		if err != nil {
			return err
		}
		if _, err := a.Second.Wait(ctx); err != nil {
			return err
		}
		return keepStep(ctx, a)
	},
	"time out": func(ctx context.Context, a partyArgs) error {
		soon := func() (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, 30*time.Millisecond) }
		i, err := a.B.Wait(ctx)
		if err != nil {
			return err
		}
		for i == a.B.Parties()/2 && !a.B.Broken() { // this one is late
			time.Sleep(time.Millisecond)
		}
		d, cancel := soon()
		defer cancel()
		return broke(a, func() error { _, err := a.B.Wait(d); return err })
	},
}

// keepStep sees that nobody is past a pass before all have come, and counts indices.
func keepStep(ctx context.Context, a partyArgs) error {
	defer runtime.KeepAlive(a.Block)
	came, n := a.Block.Uint32(cameAt), uint32(a.B.Parties())
	for i := range uint32(a.N) {
		came.Add(1)
		index, err := a.B.Wait(ctx)
		if err != nil {
			return err
		}
		a.Block.Uint32(indexAt + 4*index).Add(1)
		if c := came.Load(); c < n*(i+1) || c >= n*(i+2) {
			return fmt.Errorf("past pass %d when %d have come", i, c)
		}
	}
	return nil
}

// abortsOne has one party abort while the others wait, or before they do.
func abortsOne(ctx context.Context, a partyArgs) error {
	i, err := a.B.Wait(ctx)
	if err != nil {
		return err
	}
	if i == a.B.Parties()/2 {
		return a.B.Abort()
	}
	return broke(a, func() error { _, err := a.B.Wait(ctx); return err })
}

// broke counts what wait says of a barrier that breaks.
func broke(a partyArgs, wait func() error) error {
	defer runtime.KeepAlive(a.Block)
	err := wait()
	switch {
	case err == nil:
		a.Block.Uint32(passedAt).Add(1)
	case errors.Is(err, locks.ErrBroken):
		a.Block.Uint32(brokeAt).Add(1)
	default:
		return err
	}
	return nil
}

// partyRole is a party that is a process.
var partyRole = proctest.NewRole("party", func(ctx context.Context, c *proctest.Child, a partyArgs) error {
	err := parties[a.Do](ctx, a)
	return errors.Join(err, a.B.Close(), a.Second.Close())
})

// inBothSettings runs n parties that do so, each a process, and each a goroutine, and lets look see what is left.
func inBothSettings(t *testing.T, n int, do string, passes int, look func(t *testing.T, a partyArgs)) {
	for _, processes := range []bool{true, false} {
		t.Run(fmt.Sprintf("processes=%t", processes), func(t *testing.T) {
			a := partyArgs{B: newBarrier(t, n), Do: do, N: passes}
			var err error
			a.Second, err = locks.NewBarrier(a.B.Segment(), "", n)
			proctest.Must(t, err)
			a.Block, err = shm.NewBlock(a.B.Segment(), "", indexAt+4*n)
			proctest.Must(t, err)
			var ends []func() error
			for range n {
				if processes {
					ends = append(ends, partyRole.Start(t, a).Wait)
					continue
				}
				end := make(chan error)
				go func() { end <- parties[do](t.Context(), a) }()
				ends = append(ends, func() error { return <-end })
			}
			for _, end := range ends {
				if err := end(); err != nil {
					t.Error(err)
				}
			}
			if !t.Failed() {
				look(t, a)
			}
			runtime.KeepAlive(a.Block)
		})
	}
}

// brokeFor wants so many to have been told that the barrier is broken, and nobody to have passed.
func brokeFor(t *testing.T, a partyArgs, n int) {
	t.Helper()
	if broke, passed := a.Block.Uint32(brokeAt).Load(), a.Block.Uint32(passedAt).Load(); int(broke) != n || passed != 0 {
		t.Errorf("broken for %d and passed by %d, want %d and 0", broke, passed, n)
	}
}

// indices wants each index to have been given in each pass.
func indices(t *testing.T, a partyArgs) {
	t.Helper()
	for i := range a.B.Parties() {
		if n := a.Block.Uint32(indexAt + 4*i).Load(); int(n) != a.N {
			t.Errorf("index %d was given %d times in %d passes", i, n, a.N)
		}
	}
}

// TestConformanceBarrier has the behaviours of Python's barriers.
func TestConformanceBarrier(t *testing.T) {
	const n = 5
	t.Run("BAR-01", func(t *testing.T) { inBothSettings(t, n, "keep step", 1, indices) })
	t.Run("BAR-02", func(t *testing.T) {
		inBothSettings(t, n, "keep step", 10, func(t *testing.T, a partyArgs) {
			if a.B.Waiting() != 0 || a.B.Broken() {
				t.Errorf("%v at the end", a.B)
			}
		})
	})
	t.Run("BAR-03", func(t *testing.T) { inBothSettings(t, n, "keep step", 3, indices) })
	t.Run("BAR-04", func(t *testing.T) {
		inBothSettings(t, n, "act", 10, func(t *testing.T, a partyArgs) {
			if acted := a.Block.Uint32(actedAt).Load(); acted != 10 {
				t.Errorf("the action ran %d times in 10 passes", acted)
			}
		})
	})
	t.Run("BAR-05", func(t *testing.T) {
		inBothSettings(t, n, "abort", 0, func(t *testing.T, a partyArgs) {
			brokeFor(t, a, n-1)
			if !a.B.Broken() {
				t.Error("not broken")
			}
		})
	})
	t.Run("BAR-07", func(t *testing.T) {
		inBothSettings(t, n, "abort and reset", 1, func(t *testing.T, a partyArgs) {
			brokeFor(t, a, n-1)
			indices(t, a)
			if a.B.Broken() {
				t.Error("broken after the reset")
			}
		})
	})
	t.Run("BAR-09", func(t *testing.T) { // no barrier has a time-out of its own: all parties have the same
		inBothSettings(t, n, "time out", 0, func(t *testing.T, a partyArgs) {
			brokeFor(t, a, n)
			if !a.B.Broken() {
				t.Error("not broken")
			}
		})
	})
	t.Run("BAR-10", func(t *testing.T) { inBothSettings(t, 1, "keep step", 3, indices) })
	t.Run("BAR-11", func(t *testing.T) {
		passes := 1000
		if testing.Short() {
			passes = 100
		}
		inBothSettings(t, n, "keep step", passes, indices)
	})
}
