//go:build crashpoint

package ring_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

type crashRing struct{ B *shm.Block }

func (c crashRing) open() (*ring.SPSC[uint64], error) {
	return ring.OpenSPSC[uint64](c.B.Bytes(), c.B.Segment())
}

// crashRingOf makes a ring of 8 with the numbers 1 to n in it, whose ends nobody has.
func crashRingOf(n uint64) func(t testing.TB) crashRing {
	return func(t testing.TB) crashRing {
		seg := proctest.Segment(t, 1)
		b, err := shm.NewBlock(seg, "", ring.SPSCSize[uint64](8))
		proctest.Must(t, err)
		r, err := ring.NewSPSC[uint64](b.Bytes(), 8, seg)
		proctest.Must(t, err)
		for i := range n {
			if !r.TryPush(i + 1) {
				t.Fatal("full")
			}
		}
		proctest.Must(t, r.Close())
		return crashRing{b}
	}
}

func onRing(f func(r *ring.SPSC[uint64]) bool) func(ctx context.Context, c crashRing) error {
	return func(ctx context.Context, c crashRing) error {
		r, err := c.open()
		if err != nil {
			return err
		}
		if !f(r) {
			return errors.Join(errors.New("it did not work"), r.Err())
		}
		runtime.KeepAlive(c.B)
		return nil
	}
}

// crashPush and crashPop are what a child does with an end that it has.
func crashPush(r *ring.SPSC[uint64]) bool { return r.TryPush(3) && r.TryPush(4) }

func crashPop(r *ring.SPSC[uint64]) bool {
	v, ok := r.TryPop()
	w, ok2 := r.TryPop()
	return ok && ok2 && v == 1 && w == 2
}

var (
	opPush         = proctest.NewOp("spsc/push", nil, onRing(crashPush))
	opTakeOverPush = proctest.NewOp("spsc/take-over-push", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		return r.Produce() == nil && crashPush(r)
	}))
	opMany = proctest.NewOp("spsc/push-many", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		return r.TryPushMany([]uint64{3, 4}) == 2
	}))
	opCommit = proctest.NewOp("spsc/reserve-commit", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		copy(r.Reserve(2), []uint64{3, 4})
		r.Commit(2)
		return true
	}))
	opPop         = proctest.NewOp("spsc/pop", nil, onRing(crashPop))
	opTakeOverPop = proctest.NewOp("spsc/take-over-pop", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		return r.Consume() == nil && crashPop(r)
	}))
	opClose = proctest.NewOp("spsc/close", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		return crashPush(r) && crashPop(r) && r.Close() == nil
	}))
	opNewRing = proctest.NewOp("spsc/new", nil, func(ctx context.Context, c crashRing) error {
		_, err := ring.NewSPSC[uint64](c.B.Bytes(), 8, c.B.Segment())
		return err
	})
	opAdvance = proctest.NewOp("spsc/peek-advance", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		items := r.Peek(2)
		r.Advance(len(items))
		return len(items) == 2
	}))
)

// occupy takes both ends.
var occupy = proctest.NewRole("occupy", func(ctx context.Context, c *proctest.Child, a crashRing) error {
	r, err := a.open()
	if err == nil {
		err = errors.Join(r.Produce(), r.Consume())
	}
	if err != nil {
		return err
	}
	c.Say("on")
	c.Hear()
	runtime.KeepAlive(a.B)
	return nil
})

// crashRingOfDead is crashRingOf, whose ends a dead process has.
func crashRingOfDead(n uint64) func(t testing.TB) crashRing {
	return func(t testing.TB) crashRing {
		c := crashRingOf(n)(t)
		p := occupy.Start(t, c)
		p.WaitLine("on")
		p.Kill()
		p.Wait()
		return c
	}
}

// busy checks, while the process that has one end (or the other) is stopped, that it keeps that and that the
// other is free.
func busy(producer bool) func(t testing.TB, c crashRing) {
	return func(t testing.TB, c crashRing) {
		r, err := c.open()
		proctest.Must(t, err)
		taken, free := r.Consume, r.Produce
		if producer {
			taken, free = free, taken
		}
		if err := taken(); !errors.Is(err, ring.ErrBusy) {
			t.Errorf("the end of a stopped process: %v", err)
		}
		proctest.Must(t, free())
		if producer {
			if items := r.Peek(8); len(items) < 2 || !consecutive(items, 1, uint64(len(items))) {
				t.Errorf("of a stopped producer one has %v", items)
			}
		}
		proctest.Must(t, r.Close())
	}
}

// takeAll takes over the consumer's end and returns what is in the ring.
func takeAll(t testing.TB, c crashRing) (got []uint64) {
	t.Helper()
	r, err := c.open()
	proctest.Must(t, err)
	proctest.Must(t, r.Consume())
	for {
		v, ok := r.TryPop()
		if !ok {
			proctest.Must(t, r.Err())
			return got
		}
		got = append(got, v)
	}
}

// left is the number for the step that t is about.
func left(t testing.TB, numbers []uint64) uint64 {
	t.Helper()
	_, step, _ := strings.Cut(t.Name(), "/kill-")
	n := 0
	if _, err := fmt.Sscanf(step, "%d", &n); err != nil || n > len(numbers) {
		t.Fatalf("step %q, %d are known", step, len(numbers))
	}
	return numbers[n-1]
}

// consecutive reports whether xs are the numbers from first to last.
func consecutive(xs []uint64, first, last uint64) bool {
	for i, x := range xs {
		if x != first+uint64(i) {
			return false
		}
	}
	return uint64(len(xs)) == last-first+1
}

// A producer killed at any step has pushed a beginning of what it meant to, in order; the next one goes on
// after that.
func TestCrashPush(t *testing.T) {
	for _, c := range []struct {
		op    *proctest.Op[crashRing]
		setup func(t testing.TB) crashRing
		left  []uint64 // how many items are there after a kill at each step
	}{
		{opPush, crashRingOf(2), []uint64{2, 2, 3}},
		{opMany, crashRingOf(2), []uint64{2, 2, 4}},
		{opCommit, crashRingOf(2), []uint64{2, 2, 4}},
		{opTakeOverPush, crashRingOfDead(2), []uint64{2, 2, 3}},
	} {
		proctest.Crash(t, c.op, c.setup, busy(true), func(t testing.TB, a crashRing, survived bool) {
			r, err := a.open()
			proctest.Must(t, err)
			if survived {
				if err := r.Produce(); !errors.Is(err, ring.ErrBusy) {
					t.Errorf("the end of a living producer: %v", err)
				}
				if got := takeAll(t, a); !consecutive(got, 1, 4) {
					t.Errorf("popped %v", got)
				}
				return
			}
			proctest.Must(t, r.Produce())
			n := uint64(r.Len())
			if want := left(t, c.left); n != want || !r.TryPush(n+1) {
				t.Errorf("%d items, want %d, %v", n, want, r.Err())
			}
			if got := takeAll(t, a); !consecutive(got, 1, n+1) {
				t.Errorf("popped %v", got)
			}
		})
	}
}

// A consumer killed at any step has popped a beginning of what was there; the next one gets the rest, the
// item that was being popped included.
func TestCrashPop(t *testing.T) {
	for _, c := range []struct {
		op    *proctest.Op[crashRing]
		setup func(t testing.TB) crashRing
		left  []uint64
	}{
		{opPop, crashRingOf(5), []uint64{5, 5, 4}},
		{opAdvance, crashRingOf(5), []uint64{5, 5, 3}},
		{opTakeOverPop, crashRingOfDead(5), []uint64{5, 5, 4}},
	} {
		proctest.Crash(t, c.op, c.setup, busy(false), func(t testing.TB, a crashRing, survived bool) {
			r, err := a.open()
			proctest.Must(t, err)
			if survived {
				if err := r.Consume(); !errors.Is(err, ring.ErrBusy) {
					t.Errorf("the end of a living consumer: %v", err)
				}
				if r.Len() != 3 {
					t.Errorf("%d items are left", r.Len())
				}
				return
			}
			got := takeAll(t, a)
			if n := left(t, c.left); !consecutive(got, 6-n, 5) {
				t.Errorf("popped %v, want the last %d of 5", got, n)
			}
		})
	}
}

// A process killed while it gives its ends back has given back either or the next one takes it over; nothing of
// what it did before is undone.
func TestCrashClose(t *testing.T) {
	proctest.Crash(t, opClose, crashRingOf(2), nil, func(t testing.TB, c crashRing, survived bool) {
		r, err := c.open()
		proctest.Must(t, err)
		proctest.Must(t, errors.Join(r.Produce(), r.Consume(), r.Close()))
		got := takeAll(t, c)
		first, last := got[0], got[len(got)-1]
		if !consecutive(got, first, last) || last < 2 || first > 1 && last != 4 || survived && first != 3 {
			t.Errorf("popped %v", got)
		}
	})
}

// A process killed while it makes a ring has made it, or somebody else can.
func TestCrashNew(t *testing.T) {
	setup := func(t testing.TB) crashRing {
		b, err := shm.NewBlock(proctest.Segment(t, 1), "", ring.SPSCSize[uint64](8))
		proctest.Must(t, err)
		return crashRing{b}
	}
	proctest.Crash(t, opNewRing, setup, func(t testing.TB, c crashRing) {
		if _, err := c.open(); !errors.Is(err, ring.ErrKind) {
			t.Errorf("a ring that is not yet made: %v", err)
		}
	}, func(t testing.TB, c crashRing, survived bool) {
		r, err := c.open()
		if survived {
			proctest.Must(t, err)
		} else if r, err = ring.NewSPSC[uint64](c.B.Bytes(), 8, c.B.Segment()); err != nil {
			t.Fatal(err)
		}
		if !r.TryPush(1) || r.Len() != 1 {
			t.Errorf("%d items after one, %v", r.Len(), r.Err())
		}
		runtime.KeepAlive(c.B)
	})
}
