//go:build crashpoint

package locks_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// aside is a process that waits beside the child.
type aside struct {
	p     *proctest.Proc
	waits bool
	told  chan struct{} // nil, or closed to end tell
	ended chan struct{} // closed at the end of tell
}

// tell notifies all who wait, again and again until whole, for a child that is yet to wait.
func (w *aside) tell(t testing.TB, a condArgs) {
	w.told, w.ended = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(w.ended)
		for {
			select {
			case <-w.told:
				return
			case <-time.After(time.Millisecond):
				asked(t, a.C, a.C.NotifyAll)
			}
		}
	}()
}

// ready starts it.
func (w *aside) ready(t testing.TB) condArgs {
	a := condArgs{newCondition(t)}
	w.p, w.waits = condWaiter.Start(t, a), false
	return a
}

// wait makes it wait.
func (w *aside) wait(t testing.TB, a condArgs) {
	w.p.Tell("")
	w.p.WaitLine("waits")
	begun(t, a.C)
	w.waits = true
}

// woke is how its wait ended.
func (w *aside) woke() string {
	w.waits = false
	return w.p.Line()
}

// whole recovers the condition's lock if its owner died, which it reports, ends the wait of the one aside if it still waits,
// and checks that nobody waits then.
func (w *aside) whole(t testing.TB, a condArgs) (died bool) {
	t.Helper()
	if w.told != nil {
		close(w.told)
		<-w.ended
		w.told = nil
	}
	died = usable(t, a.C.Mutex())
	if w.waits {
		asked(t, a.C, a.C.NotifyAll)
		if got := w.woke(); got != notified {
			t.Errorf("the one aside, notified: %s", got)
		}
	}
	nobodyWaits(t, a.C)
	w.p = nil // and with it the segment
	return died
}

type waitArgs struct {
	condArgs
	Returned *shm.Block // its first word is 1 when the child's Wait has returned
}

var (
	opNotify = proctest.NewOp("condition/notify", nil, func(ctx context.Context, a condArgs) error {
		if err := a.C.Acquire(ctx); err != nil {
			return err
		}
		return errors.Join(a.C.Notify(1), a.C.Release())
	})
	opWait = proctest.NewOp("condition/wait", nil, func(ctx context.Context, a waitArgs) error {
		if err := a.C.Acquire(ctx); err != nil {
			return err
		}
		err := a.C.Wait(ctx)
		a.Returned.Uint32(0).Store(1)
		return errors.Join(err, a.C.Release())
	})
	opGiveUp = proctest.NewOp("condition/give-up", nil, func(ctx context.Context, a condArgs) error {
		if err := a.C.Acquire(ctx); err != nil {
			return err
		}
		if err := a.C.Wait(over()); !errors.Is(err, context.Canceled) {
			return errors.New("notified by nobody")
		}
		return a.C.Release()
	})
	// The first records are taken.
	opExtend = proctest.NewOp("condition/extend", nil, func(ctx context.Context, a condArgs) error {
		if err := a.C.Acquire(ctx); err != nil {
			return err
		}
		if err := a.C.Wait(over()); !errors.Is(err, context.Canceled) {
			return errors.New("notified by nobody")
		}
		return a.C.Release()
	})
)

// released reports whether the step is one after the child's last release of the lock.
func released(t testing.TB) bool {
	return at(t, "robust/unlock/freed") || at(t, "robust/free/freed") || at(t, "robust/unlock/woken")
}

// Who is killed in Notify has notified, or died as the lock's owner: then whoever waits learns of that.
func TestCrashConditionNotify(t *testing.T) {
	var w aside
	proctest.Crash(t, opNotify, func(t testing.TB) condArgs {
		a := w.ready(t)
		w.wait(t, a)
		return a
	}, nil, func(t testing.TB, a condArgs, survived bool) {
		got := w.woke() // whoever is woken while the child has the lock adds steps to its release
		died := w.whole(t, a)
		if want := map[bool]string{true: locks.ErrOwnerDied.Error(), false: notified}[died]; got != want {
			t.Errorf("Wait while a process was killed in Notify: %s, want %s", got, want)
		}
		if survived && died || at(t, "condition/notify/granted") && !survived && !died {
			t.Errorf("the owner died: %t", died)
		}
	})
}

// Who is killed in Wait dies as the lock's owner, or passes on what it was notified of; who is stopped without the lock holds up
// nobody.
func TestCrashConditionWait(t *testing.T) {
	var w aside
	op := opWait.Beside(func(t testing.TB, p *proctest.Proc, a waitArgs) {
		if p.Asleep() {
			w.wait(t, a.condArgs)
			asked(t, a.C, func() error { return a.C.Notify(1) }) // the child, which waits longer
		}
	})
	setup := func(t testing.TB) waitArgs {
		a := w.ready(t)
		b, err := shm.NewBlock(a.C.Segment(), "", 4)
		proctest.Must(t, err)
		return waitArgs{a, b}
	}
	proctest.Crash(t, op, setup, func(t testing.TB, a waitArgs) {
		if !w.waits { // nor has the child been notified
			w.tell(t, a.condArgs)
		} else if ok, err := a.C.TryAcquire(); err != nil {
			t.Error(err)
		} else if ok {
			proctest.Must(t, a.C.Notify(2))
			proctest.Must(t, a.C.Release())
			if w.waits {
				if got := w.woke(); got != notified {
					t.Errorf("Wait while another that waits is stopped: %s", got)
				}
			}
		}
	}, func(t testing.TB, a waitArgs, survived bool) {
		err := a.C.Acquire(t.Context())
		if err == nil {
			proctest.Must(t, a.C.Release())
		}
		died := errors.Is(err, locks.ErrOwnerDied)
		if w.waits && (died || a.Returned.Uint32(0).Load() == 0) {
			want := notified // instead of the child
			if died {
				want = locks.ErrOwnerDied.Error()
			}
			if got := w.woke(); got != want {
				t.Errorf("Wait when another that was notified was killed: %s, want %s", got, want)
			}
		}
		if w.whole(t, a.condArgs) != died || died && survived {
			t.Errorf("the owner died: %t", died)
		}
	})
}

// So it is for one who gives up.
func TestCrashConditionGiveUp(t *testing.T) {
	var w aside
	proctest.Crash(t, opGiveUp, w.ready, func(t testing.TB, a condArgs) {
		if ok, err := a.C.TryAcquire(); err != nil {
			t.Error(err)
		} else if ok {
			proctest.Must(t, a.C.Release())
		}
	}, func(t testing.TB, a condArgs, survived bool) { w.whole(t, a) })
}

type forsakeArgs struct {
	condArgs
	Step *shm.Block // its first word is 1 when the child waits, and 2 when it is to go on
}

// looked is a context that calls f the first time that a wait asks whether it is done.
type looked struct {
	context.Context
	f func()
}

func (c *looked) Err() error {
	if f := c.f; f != nil {
		c.f = nil
		f()
	}
	return c.Context.Err()
}

// The child waits through a handle that it closes when it has notified itself through another one.
var opForsake = proctest.NewOp("condition/forsake", nil, func(ctx context.Context, a forsakeArgs) error {
	h, err := locks.OpenCondition(a.C.Segment(), "cond")
	if err != nil {
		return err
	}
	if err := h.Acquire(ctx); err != nil {
		return err
	}
	var in error
	err = h.Wait(&looked{ctx, func() {
		step := a.Step.Uint32(0)
		for step.CompareAndSwap(0, 1); step.Load() == 1 && in == nil; {
			in = futex.Wait(ctx, step, 1)
		}
		in = errors.Join(in, a.C.Acquire(ctx), a.C.Notify(1), h.Close(), a.C.Release())
	}})
	if errors.Is(err, os.ErrClosed) {
		err = nil
	}
	return errors.Join(err, in)
})

// What a process was notified of that cannot have the lock, because it closed the handle, goes to the next, wherever it is
// killed; while it is stopped the next gets it when somebody looks.
func TestCrashConditionForsake(t *testing.T) {
	var w aside
	goOn := func(a forsakeArgs) {
		a.Step.Uint32(0).Store(2)
		futex.Wake(a.Step.Uint32(0), 1)
	}
	op := opForsake.Beside(func(t testing.TB, p *proctest.Proc, a forsakeArgs) {
		if p.Asleep() {
			w.wait(t, a.condArgs)
		}
		goOn(a)
	})
	passed := func(t testing.TB) bool { // the child has notified itself, and freed the lock
		return at(t, "condition/record/forsaken") || at(t, "condition/wait/left")
	}
	proctest.Crash(t, op, func(t testing.TB) forsakeArgs {
		a := w.ready(t)
		b, err := shm.NewBlock(a.C.Segment(), "", 4)
		proctest.Must(t, err)
		return forsakeArgs{a, b}
	}, func(t testing.TB, a forsakeArgs) {
		ok, err := a.C.TryAcquire()
		if err != nil {
			t.Error(err)
		}
		if !ok {
			return
		}
		proctest.Must(t, a.C.Notify(0))
		proctest.Must(t, a.C.Release())
		if at(t, "condition/record/forsaken") {
			if got := w.woke(); got != notified {
				t.Errorf("Wait when another that is stopped returned its notification: %s", got)
			}
		}
	}, func(t testing.TB, a forsakeArgs, survived bool) {
		died := false
		if w.waits && (survived || passed(t)) {
			if got := w.woke(); got != notified {
				t.Errorf("Wait when another did not want its notification: %s", got)
			}
		} else if err := a.C.Acquire(t.Context()); errors.Is(err, locks.ErrOwnerDied) {
			if died = true; w.waits {
				if got := w.woke(); got != locks.ErrOwnerDied.Error() {
					t.Errorf("Wait when the owner was killed: %s", got)
				}
			}
		} else {
			proctest.Must(t, err)
			proctest.Must(t, a.C.Release())
		}
		if w.whole(t, a.condArgs) != died {
			t.Errorf("the owner died: %t", !died)
		}
	})
}

// Who is killed while it makes further records leaves none, or whole ones.
func TestCrashConditionExtend(t *testing.T) {
	// records makes the first ones look as if other processes waited, or as if nobody ever had.
	records := func(t testing.TB, a condArgs, owner, all uint32) {
		var r shm.Ref
		mem, err := shm.Again(&r, &a.C.Ref)
		proctest.Must(t, err)
		for at := 128; at < len(mem); at += 32 {
			shm.Word32(mem, at+12).Store(all)
			shm.Word32(mem, at).Store(owner)
		}
		proctest.Must(t, r.Close())
	}
	proctest.Crash(t, opExtend, func(t testing.TB) condArgs {
		a := condArgs{newCondition(t)}
		records(t, a, a.C.Segment().Self(), 1)
		return a
	}, func(t testing.TB, a condArgs) {
		if ok, err := a.C.TryAcquire(); err != nil {
			t.Error(err)
		} else if ok {
			proctest.Must(t, a.C.Release())
		}
	}, func(t testing.TB, a condArgs, survived bool) {
		if died := usable(t, a.C.Mutex()); died && survived {
			t.Error("the owner died")
		}
		records(t, a, 0, 0)
		proctest.Must(t, a.C.Segment().Check())
		asked(t, a.C, func() error {
			if err := a.C.Wait(over()); !errors.Is(err, context.Canceled) {
				return err
			}
			return nil
		})
		nobodyWaits(t, a.C)
	})
}
