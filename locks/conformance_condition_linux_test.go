package locks_test

import (
	"context"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/value"
)

type condStateArgs struct {
	C     *locks.Condition
	State *value.Value[int64]
}

// waitsForState is the child of COND-05.
var waitsForState = proctest.NewRole("waits-for-state", func(ctx context.Context, c *proctest.Child, a condStateArgs) error {
	return untilState(ctx, a)
})

func untilState(ctx context.Context, a condStateArgs) error {
	return locks.With(ctx, a.C, func() error {
		if err := a.State.Set(ctx, 0); err != nil {
			return err
		}
		if err := a.C.Notify(1); err != nil {
			return err
		}
		return a.C.WaitFor(ctx, func() bool { v, err := a.State.Get(ctx); return err == nil && v == 4 })
	})
}

// notifies takes the lock and notifies once.
var notifies = proctest.NewRole("notifies", func(ctx context.Context, c *proctest.Child, a condArgs) error {
	return locks.With(ctx, a.C, func() error { return a.C.Notify(1) })
})

// TestConformanceCondition has the behaviours of Python's conditions, with waiters that are processes and that are
// goroutines.
func TestConformanceCondition(t *testing.T) {
	t.Run("COND-01", func(t *testing.T) {
		bothWays(t, func(t *testing.T, process bool) {
			c := newCondition(t)
			first, second := startWait(t, c, process, ""), startWait(t, c, false, "")
			asked(t, c, func() error { return c.Notify(1) })
			first.ended(t, notified)
			select {
			case <-second.woke:
				t.Error("one notification woke two")
			default:
			}
			asked(t, c, func() error { return c.Notify(1) })
			second.ended(t, notified)
			nobodyWaits(t, c)
		})
	})
	t.Run("COND-02", func(t *testing.T) {
		c := newCondition(t)
		var ws []*condWait
		for i := range 6 {
			ws = append(ws, startWait(t, c, i%2 == 0, "100ms"))
		}
		for _, w := range ws {
			w.ended(t, context.DeadlineExceeded.Error())
		}
		nobodyWaits(t, c)
		ws = nil
		for i := range 6 {
			ws = append(ws, startWait(t, c, i%2 == 0, ""))
		}
		for _, w := range ws {
			if w.p == nil && len(w.woke) != 0 {
				t.Error("woken by nobody")
			}
		}
		asked(t, c, c.NotifyAll)
		for _, w := range ws {
			w.ended(t, notified)
		}
		nobodyWaits(t, c)
	})
	t.Run("COND-04", func(t *testing.T) {
		bothWays(t, func(t *testing.T, process bool) {
			c := newCondition(t)
			began := time.Now()
			startWait(t, c, process, "50ms").ended(t, context.DeadlineExceeded.Error())
			if d := time.Since(began); d < 45*time.Millisecond {
				t.Errorf("Wait that may last 50 ms ended after %v", d)
			}
			nobodyWaits(t, c)
		})
	})
	t.Run("COND-05", func(t *testing.T) {
		bothWays(t, func(t *testing.T, process bool) {
			seg := proctest.Segment(t, 0)
			r, err := locks.NewRLock(seg, "")
			proctest.Must(t, err)
			c, err := locks.NewCondition(seg, "cond", r.Owner())
			proctest.Must(t, err)
			state, err := value.New(seg, "", int64(-1))
			proctest.Must(t, err)
			ctx, done := t.Context(), make(chan error, 1)
			proctest.Must(t, c.Acquire(ctx))
			if process {
				p := waitsForState.Start(t, condStateArgs{c, state})
				go func() { done <- p.Wait() }()
			} else {
				h := reopened(t, c)
				go func() { done <- untilState(context.Background(), condStateArgs{h, state}) }()
			}
			proctest.Must(t, c.WaitFor(ctx, func() bool { v, err := state.Get(ctx); return err == nil && v == 0 }))
			proctest.Must(t, c.Release())
			for range 4 {
				proctest.Must(t, locks.With(ctx, c, func() error {
					if err := state.Update(ctx, func(v *int64) error { *v++; return nil }); err != nil {
						return err
					}
					return c.Notify(1)
				}))
			}
			proctest.Must(t, <-done)
			nobodyWaits(t, c)
		})
	})
	t.Run("COND-07", func(t *testing.T) {
		c := newCondition(t)
		proctest.Must(t, c.Acquire(t.Context()))
		want(t, "Wait that may not last", c.Wait(over()), context.Canceled)
		soon, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		if err := c.Wait(soon); err != context.DeadlineExceeded {
			t.Errorf("Wait that may last 30 ms: %v", err)
		}
		p := notifies.Start(t, condArgs{c}) // it cannot before Wait frees the lock
		proctest.Must(t, c.Wait(t.Context()))
		proctest.Must(t, c.Release())
		proctest.Must(t, p.Wait())
		nobodyWaits(t, c)
	})
	t.Run("COND-08", func(t *testing.T) {
		c := newCondition(t)
		ctx, cancel := context.WithCancel(t.Context())
		proctest.Must(t, c.Acquire(ctx))
		h := reopened(t, c)
		go func() {
			if err := h.Acquire(context.Background()); err != nil { // when the Wait has begun
				t.Error(err)
			}
			cancel()
			if err := h.Release(); err != nil {
				t.Error(err)
			}
		}()
		want(t, "Wait that is cancelled", c.Wait(ctx), context.Canceled)
		proctest.Must(t, c.Release())
		nobodyWaits(t, c)
	})
	t.Run("SEED-22", func(t *testing.T) {
		seg := proctest.Segment(t, 0)
		l, err := locks.NewLock(seg, "")
		proctest.Must(t, err)
		r, err := locks.NewRLock(seg, "")
		proctest.Must(t, err)
		o := r.Owner()
		for name, on := range map[string]locks.Mutex{"its own": nil, "a given one": l, "recursive": o} {
			t.Run(name, func(t *testing.T) {
				c, err := locks.NewCondition(seg, name, on)
				proctest.Must(t, err)
				want(t, "Wait without the lock", c.Wait(t.Context()), locks.ErrNotLocked)
				want(t, "Notify without the lock", c.Notify(1), locks.ErrNotLocked)
				want(t, "NotifyAll without the lock", c.NotifyAll(), locks.ErrNotLocked)
				bothWays(t, func(t *testing.T, process bool) {
					w := startWait(t, c, process, "")
					asked(t, c, c.NotifyAll)
					w.ended(t, notified)
				})
				nobodyWaits(t, c)
			})
		}
		c, err := locks.NewCondition(seg, "", o)
		proctest.Must(t, err)
		proctest.Must(t, o.Acquire(t.Context()))
		proctest.Must(t, o.Acquire(t.Context()))
		p := notifies.Start(t, condArgs{c}) // it cannot before Wait frees the lock
		proctest.Must(t, c.Wait(t.Context()))
		if o.Depth() != 2 {
			t.Errorf("depth %d after Wait, want 2", o.Depth())
		}
		proctest.Must(t, p.Wait())
		proctest.Must(t, o.Release())
		proctest.Must(t, o.Release())
	})
}
