//go:build crashpoint

package ring_test

import (
	"context"
	"errors"
	"runtime"
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

var (
	opPush = proctest.NewOp("spsc/push", nil, onRing(func(r *ring.SPSC[uint64]) bool { return r.TryPush(3) && r.TryPush(4) }))
	opMany = proctest.NewOp("spsc/push-many", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		return r.TryPushMany([]uint64{3, 4}) == 2
	}))
	opCommit = proctest.NewOp("spsc/reserve-commit", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		copy(r.Reserve(2), []uint64{3, 4})
		r.Commit(2)
		return true
	}))
	opPop = proctest.NewOp("spsc/pop", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		v, ok := r.TryPop()
		w, ok2 := r.TryPop()
		return ok && ok2 && v == 1 && w == 2
	}))
	opAdvance = proctest.NewOp("spsc/peek-advance", nil, onRing(func(r *ring.SPSC[uint64]) bool {
		items := r.Peek(2)
		r.Advance(len(items))
		return len(items) == 2
	}))
)

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
	for _, op := range []*proctest.Op[crashRing]{opPush, opMany, opCommit} {
		proctest.Crash(t, op, crashRingOf(2), nil, func(t testing.TB, c crashRing, survived bool) {
			r, err := c.open()
			proctest.Must(t, err)
			if survived {
				if err := r.Produce(); !errors.Is(err, ring.ErrBusy) {
					t.Errorf("the end of a living producer: %v", err)
				}
				if got := takeAll(t, c); !consecutive(got, 1, 4) {
					t.Errorf("popped %v", got)
				}
				return
			}
			proctest.Must(t, r.Produce())
			n := uint64(r.Len())
			if n < 2 || n > 4 || !r.TryPush(n+1) {
				t.Errorf("%d items, %v", n, r.Err())
			}
			if got := takeAll(t, c); !consecutive(got, 1, n+1) {
				t.Errorf("popped %v", got)
			}
		})
	}
}

// A consumer killed at any step has popped a beginning of what was there; the next one gets the rest, the
// item that was being popped included.
func TestCrashPop(t *testing.T) {
	for _, op := range []*proctest.Op[crashRing]{opPop, opAdvance} {
		proctest.Crash(t, op, crashRingOf(5), nil, func(t testing.TB, c crashRing, survived bool) {
			r, err := c.open()
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
			got := takeAll(t, c)
			if n := uint64(len(got)); n < 3 || n > 5 || !consecutive(got, 6-n, 5) {
				t.Errorf("popped %v", got)
			}
		})
	}
}
