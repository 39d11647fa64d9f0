//go:build crashpoint

package locks_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
)

func crashBarrier(n int) func(t testing.TB) barrierArgs {
	return func(t testing.TB) barrierArgs {
		b, err := locks.NewBarrier(proctest.Segment(t, 1), "barrier", n)
		proctest.Must(t, err)
		return barrierArgs{B: b}
	}
}

// unlessBroken is what a party says that may be alone.
func unlessBroken(err error) error {
	if errors.Is(err, locks.ErrBroken) {
		return nil
	}
	return err
}

func brief(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, 200*time.Millisecond)
}

var (
	opBarrierFirst = proctest.NewOp("barrier/wait-first", nil, func(ctx context.Context, a barrierArgs) error {
		ctx, cancel := brief(ctx)
		defer cancel()
		_, err := a.B.Wait(ctx)
		return unlessBroken(err)
	})
	opBarrierLast = proctest.NewOp("barrier/wait-last", nil, func(ctx context.Context, a barrierArgs) error {
		b, err := locks.OpenBarrier(a.B.Segment(), "barrier", locks.BarrierOptions{Action: func() error { return nil }})
		if err != nil {
			return err
		}
		ctx, cancel := brief(ctx)
		defer cancel()
		_, err = b.Wait(ctx)
		return errors.Join(unlessBroken(err), b.Close())
	})
	opBarrierAbort = proctest.NewOp("barrier/abort", nil, func(ctx context.Context, a barrierArgs) error { return a.B.Abort() })
	opBarrierReset = proctest.NewOp("barrier/reset", nil, func(ctx context.Context, a barrierArgs) error { return a.B.Reset() })
	opBarrierSweep = proctest.NewOp("barrier/sweep", nil, func(ctx context.Context, a barrierArgs) error {
		_, err := a.B.Segment().Repair()
		return err
	})
	opBarrierJoin = proctest.NewOp("barrier/join-close", nil, func(ctx context.Context, a barrierArgs) error {
		if err := a.B.Close(); err != nil {
			return err
		}
		b, err := locks.OpenBarrier(a.B.Segment(), "barrier")
		if err != nil {
			return err
		}
		return errors.Join(b.Join(), b.Close())
	})
	opBarrierStart = proctest.NewOp("barrier/start", nil, func(ctx context.Context, a barrierArgs) error {
		if _, err := process.Start(ctx, nothingWith, a, process.Options{Dir: "/nonexistent"}); err == nil {
			return errors.New("started")
		}
		p, err := process.Start(ctx, nothingWith, a)
		if err != nil {
			return err
		}
		return p.Join(ctx)
	})
)

// renewed resets the barrier, after which it is as a new one, whatever happened to it.
func renewed(t testing.TB, a barrierArgs) {
	t.Helper()
	proctest.Must(t, a.B.Reset())
	passesBarrier(t, a.B)
	if a.B.Broken() || a.B.Waiting() != 0 {
		t.Errorf("%v", a.B)
	}
}

// A party that is killed or stopped at any step, before and after it has arrived, leaves a barrier that is broken, or
// not, and can be reset. While it is stopped the others can do so, too.
func TestCrashBarrierFirst(t *testing.T) {
	op := opBarrierFirst.Beside(func(t testing.TB, p *proctest.Proc, a barrierArgs) {
		if p.Asleep() {
			a.B.Wait(over())
		}
	})
	proctest.Crash(t, op, crashBarrier(2), renewed, func(t testing.TB, a barrierArgs, survived bool) { renewed(t, a) })
}

// The last party is killed or stopped: the pass is completed, or broken, from one step to the next, and who sleeps is
// told so.
func TestCrashBarrierLast(t *testing.T) {
	var first chan error
	tell := func(t testing.TB, stopped bool) {
		t.Helper()
		passed := at(t, "barrier/pass/passed") || at(t, "barrier/pass/woken") || at(t, "barrier/leave/left")
		if first == nil || stopped && !passed {
			return
		}
		if err := <-first; passed && err != nil || !passed && err != locks.ErrBroken {
			t.Errorf("who came first is told %v", err)
		}
		first = nil
	}
	proctest.Crash(t, opBarrierLast, func(t testing.TB) barrierArgs {
		a := crashBarrier(2)(t)
		first = waiter(context.Background(), a.B)
		waiting(a.B, 1)
		return a
	}, func(t testing.TB, a barrierArgs) {
		tell(t, true)
	}, func(t testing.TB, a barrierArgs, survived bool) {
		if survived {
			if first != nil {
				proctest.Must(t, <-first)
				first = nil
			}
		} else {
			tell(t, false)
		}
		renewed(t, a)
	})
}

// A process killed or stopped in an abort has aborted: all its steps come after that.
func TestCrashBarrierAbort(t *testing.T) {
	var first chan error
	told := func(t testing.TB) {
		if first != nil {
			want(t, "aborted", <-first, locks.ErrBroken)
			first = nil
		}
	}
	proctest.Crash(t, opBarrierAbort, func(t testing.TB) barrierArgs {
		a := crashBarrier(2)(t)
		first = waiter(context.Background(), a.B)
		waiting(a.B, 1)
		return a
	}, func(t testing.TB, a barrierArgs) {
		told(t)
	}, func(t testing.TB, a barrierArgs, survived bool) {
		told(t)
		renewed(t, a)
	})
}

// deadParty is a barrier to which a dead process is bound.
func deadParty(t testing.TB) barrierArgs {
	a := crashBarrier(2)(t)
	p := bound.Start(t, barrierArgs{a.B, "join"})
	p.WaitLine("ready")
	p.Kill()
	p.Wait()
	return a
}

// A process killed or stopped in a reset, or while it sweeps, leaves a barrier that is broken, or forgets the dead.
func TestCrashBarrierOfTheDead(t *testing.T) {
	for _, op := range []*proctest.Op[barrierArgs]{opBarrierReset, opBarrierSweep} {
		proctest.Crash(t, op, deadParty, renewed, func(t testing.TB, a barrierArgs, survived bool) {
			if op == opBarrierReset && survived {
				passesBarrier(t, a.B)
			}
			if a.B.Broken() || !survived { // else the dead may have been forgotten already
				if _, err := a.B.Wait(over()); !errors.Is(err, locks.ErrBroken) {
					t.Errorf("Wait: %v", err)
				}
			}
			renewed(t, a)
		})
	}
}

// A process killed or stopped while it is bound, or ends that, or starts a child with the barrier, leaves a barrier
// that can be reset.
func TestCrashBarrierBound(t *testing.T) {
	for _, op := range []*proctest.Op[barrierArgs]{opBarrierJoin, opBarrierStart} {
		proctest.Crash(t, op, crashBarrier(2), renewed, func(t testing.TB, a barrierArgs, survived bool) { renewed(t, a) })
	}
}
