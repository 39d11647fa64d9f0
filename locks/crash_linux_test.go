//go:build crashpoint

package locks_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

func crashLock(t testing.TB) holdArgs {
	l, err := locks.NewLock(proctest.Segment(t, 1), "lock")
	proctest.Must(t, err)
	return holdArgs{l}
}

// diedLock is a lock whose owner died.
func diedLock(t testing.TB) holdArgs {
	a := crashLock(t)
	p := hold.Start(t, a)
	p.WaitLine("held")
	p.Kill()
	p.Wait()
	want(t, "Acquire", a.Lock.Acquire(over()), locks.ErrOwnerDied)
	return a
}

// usable takes the lock, recovering it if need be, and frees it, and reports whether its owner had died.
func usable(t testing.TB, l locks.Mutex) (died bool) {
	t.Helper()
	err := l.Acquire(t.Context())
	if died = errors.Is(err, locks.ErrOwnerDied); died {
		repaired := false
		proctest.Must(t, l.Recover(t.Context(), func() error { repaired = true; return nil }))
		if !repaired {
			t.Error("ErrOwnerDied, but Recover repairs nothing")
		}
	} else {
		proctest.Must(t, err)
	}
	proctest.Must(t, l.Release())
	for range 2 { // as good as new
		proctest.Must(t, l.Acquire(over()))
		proctest.Must(t, l.Release())
	}
	if l.Locked() {
		t.Error("locked by nobody")
	}
	return died
}

func acquire(ctx context.Context, a holdArgs) error { return a.Lock.Acquire(ctx) }

func release(ctx context.Context, a holdArgs) error { return a.Lock.Release() }

var (
	opAcquire = proctest.NewOp("lock/acquire", nil, acquire)
	opRelease = proctest.NewOp("lock/release", acquire, release)
	// The lock is held with WAITERS set, as if somebody had slept.
	opReleaseWaited = proctest.NewOp("lock/release-waited", func(ctx context.Context, a holdArgs) error {
		if err := a.Lock.Acquire(ctx); err != nil {
			return err
		}
		if err := a.Lock.Acquire(over()); !errors.Is(err, context.Canceled) {
			return errors.New("acquired twice")
		}
		return nil
	}, release)
	opRecover = proctest.NewOp("lock/recover", nil, func(ctx context.Context, a holdArgs) error {
		return a.Lock.Recover(ctx, func() error { return nil })
	})
	opBury = proctest.NewOp("lock/bury", nil, func(ctx context.Context, a holdArgs) error {
		if err := a.Lock.Acquire(ctx); !errors.Is(err, locks.ErrOwnerDied) {
			return errors.New("the owner did not die")
		}
		return nil
	})
)

// A process killed while it acquires has the lock or has not; the next one gets it either way.
func TestCrashAcquire(t *testing.T) {
	proctest.Crash(t, opAcquire, crashLock, nil, func(t testing.TB, a holdArgs, survived bool) {
		if survived {
			if !a.Lock.Locked() {
				t.Error("the survivor does not hold it")
			}
			return // it does until it ends
		}
		if !usable(t, a.Lock) && at(t, "robust/lock/taken") {
			t.Error("a death was forgotten")
		}
	})
}

// A process killed while it releases has released, or died as the owner.
func TestCrashRelease(t *testing.T) {
	for _, op := range []*proctest.Op[holdArgs]{opRelease, opReleaseWaited} {
		proctest.Crash(t, op, crashLock, func(t testing.TB, a holdArgs) {
			// All steps come after the word was freed: a stop there holds nobody up.
			usable(t, a.Lock)
		}, func(t testing.TB, a holdArgs, survived bool) {
			if usable(t, a.Lock) {
				t.Error("the owner died after it had freed the lock")
			}
		})
	}
}

// A process killed in a recovery leaves the lock to be recovered, or recovered and itself dead as its owner.
func TestCrashRecover(t *testing.T) {
	proctest.Crash(t, opRecover, diedLock, func(t testing.TB, a holdArgs) {
		if ok, err := a.Lock.TryAcquire(); ok || err != nil && !errors.Is(err, locks.ErrOwnerDied) {
			t.Errorf("TryAcquire of a lock that a stopped process holds: %v, %v", ok, err)
		}
	}, func(t testing.TB, a holdArgs, survived bool) {
		if survived {
			return
		}
		if !usable(t, a.Lock) {
			t.Error("the repair of one that was killed counts")
		}
	})
}

// A process killed, or stopped, while it marks the death of another leaves that mark or none; others go on.
func TestCrashBury(t *testing.T) {
	dead := func(t testing.TB) holdArgs {
		a := crashLock(t)
		p := hold.Start(t, a)
		p.WaitLine("held")
		p.Kill()
		p.Wait()
		return a
	}
	recovered := func(t testing.TB, a holdArgs) {
		if !usable(t, a.Lock) {
			t.Error("a death was forgotten")
		}
	}
	proctest.Crash(t, opBury, dead, nil, func(t testing.TB, a holdArgs, survived bool) { recovered(t, a) })
}

// passes takes the lock, repairs it if need be, and frees it.
var passes = proctest.NewRole("passes", func(ctx context.Context, c *proctest.Child, a holdArgs) error {
	repaired := false
	if err := a.Lock.Recover(ctx, func() error { repaired = true; return nil }); err != nil {
		return err
	}
	if err := a.Lock.Release(); err != nil {
		return err
	}
	c.Say("passed, repaired %t", repaired)
	return nil
})

// next is one who waits for the lock behind the child.
type next struct{ p *proctest.Proc }

func (n *next) queue(t testing.TB, a holdArgs) {
	n.p = passes.Start(t, a)
	n.p.Asleep()
}

// passed waits until it has had the lock, if it waits at all, and returns what it says.
func (n *next) passed() (line string) {
	if n.p != nil {
		line = n.p.Line()
		n.p.Wait()
		n.p = nil
	}
	return line
}

func heldLock(t testing.TB) holdArgs {
	a := crashLock(t)
	proctest.Must(t, a.Lock.Acquire(t.Context()))
	return a
}

var opAsleep = proctest.NewOp("lock/acquire-asleep", nil, func(ctx context.Context, a holdArgs) error {
	if err := a.Lock.Acquire(ctx); err != nil {
		return err
	}
	return a.Lock.Release()
})

// at reports whether the child of t's step was killed or stopped at the crash point.
func at(t testing.TB, point string) bool { return strings.HasSuffix(t.Name(), point) }

// A waiter that sleeps, and is killed or stopped before that, when it has been woken, or when it has taken the
// lock, holds up nobody but as its holder: another waiter gets the lock that it was woken for.
func TestCrashAsleep(t *testing.T) {
	var n next
	op := opAsleep.Beside(func(t testing.TB, p *proctest.Proc, a holdArgs) {
		if p.FastAsleep() { // after its nap, when it sleeps anew and so may come behind others
			n.queue(t, a)
			proctest.Must(t, a.Lock.Release()) // wakes the child, which slept first
		}
	})
	goOn := func(t testing.TB, a holdArgs, died bool) {
		t.Helper()
		if at(t, "robust/lock/queued") && n.p == nil { // the child did not get as far as to sleep
			if err := a.Lock.Release(); err != nil && !errors.Is(err, locks.ErrNotLocked) {
				t.Error(err)
			}
		}
		// The wake may have been for the child; then it is the end of its sleep that lets the next go on.
		if line := n.passed(); line != "" && line != fmt.Sprintf("passed, repaired %t", died) {
			t.Errorf("the next one %s; the child died holding it: %t", line, died)
		}
		if usable(t, a.Lock) {
			t.Error("a waiter's end is an owner's death")
		}
	}
	proctest.Crash(t, op, heldLock, func(t testing.TB, a holdArgs) {
		if !at(t, "robust/lock/taken") {
			goOn(t, a, false)
		} else if ok, err := a.Lock.TryAcquire(); ok || err != nil {
			t.Errorf("TryAcquire of what a stopped process holds: %v, %v", ok, err)
		}
	}, func(t testing.TB, a holdArgs, survived bool) {
		goOn(t, a, !survived && at(t, "robust/lock/taken"))
	})
}

type recoverArgs struct {
	Lock   *locks.Lock
	Queued *shm.Block // its first word is 1 when others wait
}

var opRecoverQueued = proctest.NewOp("lock/recover-queued", nil, func(ctx context.Context, a recoverArgs) error {
	err := a.Lock.Recover(ctx, func() error {
		for a.Queued.Uint32(0).Load() == 0 {
			runtime.Gosched()
		}
		runtime.KeepAlive(a.Queued)
		return nil
	})
	if err != nil {
		return err
	}
	return a.Lock.Release()
})

// While a process recovers a lock, others wait to do so: one of them does if it is killed, and all get the lock
// if it is not. None has it while the one that recovers is stopped.
func TestCrashRecoverQueued(t *testing.T) {
	var n next
	op := opRecoverQueued.Beside(func(t testing.TB, p *proctest.Proc, a recoverArgs) {
		for p.Process().Alive() && !a.Lock.Locked() {
			runtime.Gosched()
		}
		n.queue(t, holdArgs{a.Lock}) // it sleeps, unless the child was killed before
		a.Queued.Uint32(0).Store(1)
	})
	setup := func(t testing.TB) recoverArgs {
		l := diedLock(t).Lock
		b, err := shm.NewBlock(l.Segment(), "", 4)
		proctest.Must(t, err)
		return recoverArgs{l, b}
	}
	freed := func(t testing.TB) bool { return at(t, "robust/unlock/freed") || at(t, "robust/unlock/woken") }
	goOn := func(t testing.TB, a recoverArgs, died bool) {
		t.Helper()
		if line := n.passed(); line != "" && line != fmt.Sprintf("passed, repaired %t", died) {
			t.Errorf("the next one %s; the child died holding it: %t", line, died)
		}
		if usable(t, a.Lock) {
			t.Error("recovered, and it is not")
		}
	}
	proctest.Crash(t, op, setup, func(t testing.TB, a recoverArgs) {
		if freed(t) {
			goOn(t, a, false)
		} else if ok, err := a.Lock.TryAcquire(); ok || err != nil && !errors.Is(err, locks.ErrOwnerDied) {
			t.Errorf("TryAcquire of what a stopped process recovers: %v, %v", ok, err)
		}
	}, func(t testing.TB, a recoverArgs, survived bool) {
		goOn(t, a, !survived && !freed(t))
	})
}

// opContended queues for a lock that is held, and gives up.
var opContended = proctest.NewOp("lock/acquire-contended", nil, func(ctx context.Context, a holdArgs) error {
	soon, cancel := context.WithCancel(ctx)
	cancel()
	if err := a.Lock.Acquire(soon); !errors.Is(err, context.Canceled) {
		return errors.New("not contended")
	}
	return nil
})

// A waiter killed or stopped at any step costs the owner and the next ones nothing.
func TestCrashWaiter(t *testing.T) {
	goOn := func(t testing.TB, a holdArgs) {
		proctest.Must(t, a.Lock.Release())
		if usable(t, a.Lock) {
			t.Error("a waiter's end is an owner's death")
		}
		proctest.Must(t, a.Lock.Acquire(t.Context()))
	}
	proctest.Crash(t, opContended, heldLock, nil, func(t testing.TB, a holdArgs, survived bool) { goOn(t, a) })
}

func crashRLock(t testing.TB) rholdArgs {
	r, err := locks.NewRLock(proctest.Segment(t, 1), "")
	proctest.Must(t, err)
	return rholdArgs{r}
}

func diedRLock(t testing.TB) rholdArgs {
	a := crashRLock(t)
	p := rhold.Start(t, a)
	p.WaitLine("held")
	p.Kill()
	p.Wait()
	return a
}

// What a child prepares and then uses.
var (
	crashOwner *locks.Owner
	crashTold  *locks.Lock // with OnOwnerDied
)

func twice(f func() error) error { return errors.Join(f(), f()) }

var (
	opRAcquire = proctest.NewOp("rlock/acquire", nil, func(ctx context.Context, a rholdArgs) error {
		crashOwner = a.Lock.Owner() // it lives as long as the child
		return twice(func() error { return crashOwner.Acquire(ctx) })
	})
	opRRelease = proctest.NewOp("rlock/release", func(ctx context.Context, a rholdArgs) error {
		crashOwner = a.Lock.Owner()
		return twice(func() error { return crashOwner.Acquire(ctx) })
	}, func(ctx context.Context, a rholdArgs) error { return twice(crashOwner.Release) })
	opRRecover = proctest.NewOp("rlock/recover", nil, func(ctx context.Context, a rholdArgs) error {
		crashOwner = a.Lock.Owner()
		return crashOwner.Recover(ctx, func() error {
			return locks.With(ctx, crashOwner, func() error { return nil })
		})
	})
	opRFails = proctest.NewOp("rlock/recover-fails", nil, func(ctx context.Context, a rholdArgs) error {
		broken := errors.New("broken")
		if err := a.Lock.Owner().Recover(ctx, func() error { return broken }); err != broken {
			return fmt.Errorf("a repair that fails: %w", err)
		}
		return nil
	})
	opRAbandon = proctest.NewOp("rlock/abandon", nil, func(ctx context.Context, a rholdArgs) error {
		defer func() { recover() }()
		o := a.Lock.Owner()
		return locks.With(ctx, o, func() error { return locks.With(ctx, o, func() error { panic("in f") }) })
	})
	opOnOwnerDied = proctest.NewOp("lock/on-owner-died", func(ctx context.Context, a holdArgs) (err error) {
		crashTold, err = locks.OpenLock(a.Lock.Segment(), "lock", locks.LockOptions{OnOwnerDied: func() error { return nil }})
		return err
	}, func(ctx context.Context, a holdArgs) error { return crashTold.Acquire(ctx) })
)

// A process killed while it acquires a recursive lock, at any depth, has it or has not.
func TestCrashRAcquire(t *testing.T) {
	taken := func(t testing.TB) bool { return at(t, "robust/lock/taken") || at(t, "robust/holder/tagged") }
	proctest.Crash(t, opRAcquire, crashRLock, func(t testing.TB, a rholdArgs) {
		if ok, err := a.Lock.Owner().TryAcquire(); ok || err != nil || !taken(t) {
			t.Errorf("TryAcquire of what a stopped process holds: %v, %v", ok, err)
		}
	}, func(t testing.TB, a rholdArgs, survived bool) {
		if survived {
			if ok, err := a.Lock.Owner().TryAcquire(); ok || err != nil {
				t.Errorf("TryAcquire of what the survivor holds: %v, %v", ok, err)
			}
			return
		}
		if !usable(t, a.Lock.Owner()) {
			t.Error("a death was forgotten")
		}
	})
}

// A process killed while it releases a recursive lock for the last time has released, or died as the owner.
func TestCrashRRelease(t *testing.T) {
	proctest.Crash(t, opRRelease, crashRLock, func(t testing.TB, a rholdArgs) {
		if !at(t, "robust/holder/untagged") {
			usable(t, a.Lock.Owner()) // it is free: a stop there holds nobody up
		} else if ok, err := a.Lock.Owner().TryAcquire(); ok || err != nil {
			t.Errorf("TryAcquire of what a stopped process holds: %v, %v", ok, err)
		}
	}, func(t testing.TB, a rholdArgs, survived bool) {
		if died := usable(t, a.Lock.Owner()); died != (!survived && at(t, "robust/holder/untagged")) {
			t.Errorf("the owner died: %t", died)
		}
	})
}

// A process killed in a recovery, one that succeeds or one that fails, or while it gives up, leaves the lock to be
// recovered, or is dead as its owner.
func TestCrashRRecover(t *testing.T) {
	for _, c := range []struct {
		op    *proctest.Op[rholdArgs]
		setup func(t testing.TB) rholdArgs
		fails bool
	}{{opRRecover, diedRLock, false}, {opRFails, diedRLock, true}, {opRAbandon, crashRLock, true}} {
		proctest.Crash(t, c.op, c.setup, func(t testing.TB, a rholdArgs) {
			if ok, err := a.Lock.Owner().TryAcquire(); ok || err != nil && !errors.Is(err, locks.ErrOwnerDied) {
				t.Errorf("TryAcquire of a lock that a stopped process holds, or has given up: %v, %v", ok, err)
			}
		}, func(t testing.TB, a rholdArgs, survived bool) {
			if survived && !c.fails {
				return // it holds the lock until it ends
			}
			if !usable(t, a.Lock.Owner()) {
				t.Error("the repair of one that was killed, or failed, counts")
			}
		})
	}
}

// OnOwnerDied in Acquire is as Recover.
func TestCrashOnOwnerDied(t *testing.T) {
	proctest.Crash(t, opOnOwnerDied, diedLock, func(t testing.TB, a holdArgs) {
		if ok, err := a.Lock.TryAcquire(); ok || err != nil && !errors.Is(err, locks.ErrOwnerDied) {
			t.Errorf("TryAcquire of a lock that a stopped process recovers: %v, %v", ok, err)
		}
	}, func(t testing.TB, a holdArgs, survived bool) {
		if !survived && !usable(t, a.Lock) {
			t.Error("the repair of one that was killed counts")
		}
	})
}
