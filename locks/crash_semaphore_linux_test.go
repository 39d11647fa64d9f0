//go:build crashpoint

package locks_test

import (
	"context"
	"errors"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
)

func crashSemaphore(n int, o locks.SemaphoreOptions) func(t testing.TB) semaphoreArgs {
	return func(t testing.TB) semaphoreArgs {
		s, err := locks.NewSemaphore(proctest.Segment(t, 1), "", n, o)
		proctest.Must(t, err)
		return semaphoreArgs{S: s}
	}
}

// permitsLeft takes all permits that there are, without waiting for one, and gives them back.
func permitsLeft(t testing.TB, s *locks.Semaphore) (n int) {
	t.Helper()
	for s.Acquire(over()) == nil { // who needs to sleep asks for the holders first
		n++
	}
	for range n {
		proctest.Must(t, s.Release())
	}
	if v := s.Value(); v != n {
		t.Errorf("value %d after taking and releasing %d", v, n)
	}
	return n
}

// left wants n permits to be there, and nobody to be taken for a waiter after that.
func left(t testing.TB, s *locks.Semaphore, n int) {
	t.Helper()
	if got := permitsLeft(t, s); got != n {
		t.Errorf("%d permits are left, want %d", got, n)
	}
	if n > 0 && waits(t, s) {
		t.Error("nobody waits, and the semaphore says that somebody does")
	}
}

func semAcquire(ctx context.Context, a semaphoreArgs) error { return a.S.Acquire(ctx) }

func semRelease(ctx context.Context, a semaphoreArgs) error { return a.S.Release() }

var (
	opSemAcquire = proctest.NewOp("semaphore/acquire", nil, semAcquire)
	opSemRelease = proctest.NewOp("semaphore/release", semAcquire, semRelease)
	// The only permit is held with WAITERS set, as if somebody had slept.
	opSemReleaseWaited = proctest.NewOp("semaphore/release-waited", func(ctx context.Context, a semaphoreArgs) error {
		if err := a.S.Acquire(ctx); err != nil {
			return err
		}
		if err := a.S.Acquire(over()); !errors.Is(err, context.Canceled) {
			return errors.New("acquired twice")
		}
		return nil
	}, semRelease)
	opSemAsleep = proctest.NewOp("semaphore/acquire-asleep", nil, func(ctx context.Context, a semaphoreArgs) error {
		if err := a.S.Acquire(ctx); err != nil {
			return err
		}
		return a.S.Release()
	})
	// opSemContended queues where there is no permit, and gives up.
	opSemContended = proctest.NewOp("semaphore/acquire-contended", nil, func(ctx context.Context, a semaphoreArgs) error {
		if err := a.S.Acquire(over()); !errors.Is(err, context.Canceled) {
			return errors.New("not contended")
		}
		return nil
	})
	opSemSweep = proctest.NewOp("semaphore/sweep", nil, func(ctx context.Context, a semaphoreArgs) error {
		_, err := a.S.Segment().Repair()
		return err
	})
	opSemTryDead = proctest.NewOp("semaphore/try-dead", nil, func(ctx context.Context, a semaphoreArgs) error {
		if ok, err := a.S.TryAcquire(); !ok || err != nil {
			return errors.New("the holder did not die")
		}
		return nil
	})
)

// A process killed while it acquires costs the permit that it took, or nothing, and with Recover nothing. One that is stopped
// there costs others nothing but that permit.
func TestCrashSemaphoreAcquire(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		rest := func(t testing.TB, alive bool) int {
			if alive || !o.Recover {
				return 1
			}
			return 2
		}
		proctest.Crash(t, opSemAcquire, crashSemaphore(2, o), func(t testing.TB, a semaphoreArgs) {
			left(t, a.S, 1)
		}, func(t testing.TB, a semaphoreArgs, survived bool) {
			left(t, a.S, rest(t, survived))
		})
	})
}

// A process killed or stopped while it releases has released: all its steps come after that.
func TestCrashSemaphoreRelease(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		for _, op := range []*proctest.Op[semaphoreArgs]{opSemRelease, opSemReleaseWaited} {
			proctest.Crash(t, op, crashSemaphore(1, o), func(t testing.TB, a semaphoreArgs) {
				left(t, a.S, 1)
			}, func(t testing.TB, a semaphoreArgs, survived bool) {
				left(t, a.S, 1)
			})
		}
	})
}

// passesBy takes a permit and gives it back.
var passesBy = proctest.NewRole("passes-by", func(ctx context.Context, c *proctest.Child, a semaphoreArgs) error {
	if err := a.S.Acquire(ctx); err != nil {
		return err
	}
	if err := a.S.Release(); err != nil {
		return err
	}
	c.Say("passed")
	return nil
})

// A waiter that is killed or stopped before it sleeps, when it was woken, or with the permit, holds up nobody but
// with that permit: another waiter gets the one that the first was woken for, within the cap of a sleep.
func TestCrashSemaphoreAsleep(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		var next *proctest.Proc
		setup := func(t testing.TB) semaphoreArgs {
			a := crashSemaphore(1, o)(t)
			proctest.Must(t, a.S.Acquire(t.Context()))
			next = nil
			return a
		}
		op := opSemAsleep.Beside(func(t testing.TB, p *proctest.Proc, a semaphoreArgs) {
			if p.Asleep() {
				next = passesBy.Start(t, a)
				next.Asleep()
				proctest.Must(t, a.S.Release()) // wakes the child, as a rule: it slept first
			}
		})
		taken := func(t testing.TB) bool { return at(t, "cells/taken") || at(t, "count/taken") }
		goOn := func(t testing.TB, a semaphoreArgs, died bool) {
			t.Helper()
			if next == nil { // the child did not get as far as to sleep, or this one was here before
				if permitsLeft(t, a.S) == 0 {
					proctest.Must(t, a.S.Release())
				}
			} else {
				if died && taken(t) && !o.Recover { // with the permit
					proctest.Must(t, a.S.Release())
				}
				next.WaitLine("passed")
				proctest.Must(t, next.Wait())
				next = nil
			}
			left(t, a.S, 1)
		}
		proctest.Crash(t, op, setup, func(t testing.TB, a semaphoreArgs) {
			if !taken(t) {
				goOn(t, a, false)
			} else if ok, err := a.S.TryAcquire(); ok || err != nil {
				t.Errorf("TryAcquire of the permit of a stopped process: %v, %v", ok, err)
			}
		}, func(t testing.TB, a semaphoreArgs, survived bool) { goOn(t, a, !survived) })
	})
}

// A waiter killed or stopped at any step costs those who release and acquire nothing.
func TestCrashSemaphoreWaiter(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		setup := func(t testing.TB) semaphoreArgs {
			a := crashSemaphore(1, o)(t)
			proctest.Must(t, a.S.Acquire(t.Context()))
			return a
		}
		proctest.Crash(t, opSemContended, setup, nil, func(t testing.TB, a semaphoreArgs, survived bool) {
			proctest.Must(t, a.S.Release())
			left(t, a.S, 1)
		})
	})
}

// deadHolders is a semaphore of three permits, whose holders died.
func deadHolders(t testing.TB) semaphoreArgs {
	a := crashSemaphore(3, locks.SemaphoreOptions{Recover: true})(t)
	for range 3 {
		p := permit.Start(t, a)
		p.WaitLine("held")
		p.Kill()
		p.Wait()
	}
	return a
}

// A process killed or stopped while it takes what the dead had, or frees it, leaves that to be taken.
func TestCrashSemaphoreOfTheDead(t *testing.T) {
	proctest.Crash(t, opSemTryDead, deadHolders, func(t testing.TB, a semaphoreArgs) {
		left(t, a.S, 2)
	}, func(t testing.TB, a semaphoreArgs, survived bool) {
		if survived {
			left(t, a.S, 2)
		} else {
			left(t, a.S, 3)
		}
	})
	proctest.Crash(t, opSemSweep, func(t testing.TB) semaphoreArgs {
		a := crashSemaphore(1, locks.SemaphoreOptions{Recover: true})(t)
		p := permit.Start(t, a)
		p.WaitLine("held")
		want(t, "Acquire of none", a.S.Acquire(over()), context.Canceled) // so that somebody is told
		p.Kill()
		p.Wait()
		return a
	}, func(t testing.TB, a semaphoreArgs) {
		left(t, a.S, 1)
	}, func(t testing.TB, a semaphoreArgs, survived bool) {
		left(t, a.S, 1)
	})
}

var (
	opEventSet = proctest.NewOp("event/set", nil, func(ctx context.Context, a eventArgs) error {
		if err := a.E.Set(); err != nil {
			return err
		}
		return a.E.Clear()
	})
	opEventWait = proctest.NewOp("event/wait", nil, func(ctx context.Context, a eventArgs) error { return a.E.Wait(ctx) })
)

// stayingWaiter waits for the event, and lives on.
var stayingWaiter = proctest.NewRole("staying-waiter", func(ctx context.Context, c *proctest.Child, a eventArgs) error {
	if err := a.E.Wait(ctx); err != nil {
		return err
	}
	c.Say("freed")
	c.Hear()
	return nil
})

// A process killed or stopped while it sets an event has set it: who sleeps goes on within the cap.
func TestCrashEventSet(t *testing.T) {
	var waiter *proctest.Proc
	told := false
	freed := func() {
		if !told {
			waiter.WaitLine("freed")
			told = true
		}
	}
	proctest.Crash(t, opEventSet, func(t testing.TB) eventArgs {
		e, err := locks.NewEvent(proctest.Segment(t, 1), "")
		proctest.Must(t, err)
		waiter, told = stayingWaiter.Start(t, eventArgs{E: e}), false
		t.Cleanup(func() { waiter = nil }) // it has the segment
		waiter.Asleep()
		return eventArgs{E: e}
	}, func(t testing.TB, a eventArgs) {
		freed()
		proctest.Must(t, a.E.Wait(over()))
	}, func(t testing.TB, a eventArgs, survived bool) {
		freed()
		if a.E.IsSet() == survived {
			t.Errorf("set: %t, cleared by one who survived: %t", a.E.IsSet(), survived)
		}
	})
}

// A waiter killed or stopped at any step holds nobody up, and is freed when it goes on.
func TestCrashEventWait(t *testing.T) {
	freeOther := func(t testing.TB, a eventArgs) {
		t.Helper()
		p := eventWaiter.Start(t, a)
		p.Asleep()
		proctest.Must(t, a.E.Set())
		proctest.Must(t, a.E.Clear())
		p.WaitLine("freed")
		proctest.Must(t, p.Wait())
	}
	op := opEventWait.Beside(func(t testing.TB, p *proctest.Proc, a eventArgs) {
		if p.Asleep() {
			proctest.Must(t, a.E.Set())
			proctest.Must(t, a.E.Clear())
		}
	})
	proctest.Crash(t, op, func(t testing.TB) eventArgs {
		e, err := locks.NewEvent(proctest.Segment(t, 1), "")
		proctest.Must(t, err)
		return eventArgs{E: e}
	}, freeOther, func(t testing.TB, a eventArgs, survived bool) { freeOther(t, a) })
}
