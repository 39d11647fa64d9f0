//go:build crashpoint

package locks_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
)

func crashRWLock(t testing.TB) rwArgs {
	l, err := locks.NewRWLock(proctest.Segment(t, 1), "rwlock")
	proctest.Must(t, err)
	return rwArgs{L: l}
}

// rwUsable writes, after a repair if need be, and reads, and reports whether a writer had died.
func rwUsable(t testing.TB, l *locks.RWLock) (died bool) {
	t.Helper()
	err := l.Acquire(t.Context())
	if died = errors.Is(err, locks.ErrOwnerDied); died {
		want(t, "RAcquire", l.RAcquire(t.Context()), locks.ErrOwnerDied)
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
		proctest.Must(t, l.RAcquire(over()))
		proctest.Must(t, l.RRelease())
		proctest.Must(t, l.Acquire(over()))
		proctest.Must(t, l.Release())
	}
	tries(t, l, true, true)
	return died
}

func rwRead(ctx context.Context, a rwArgs) error { return a.L.RAcquire(ctx) }

func rwLeave(ctx context.Context, a rwArgs) error { return a.L.RRelease() }

func rwWrite(ctx context.Context, a rwArgs) error { return a.L.Acquire(ctx) }

var (
	opRead      = proctest.NewOp("rwlock/read", nil, rwRead)
	opReadAgain = proctest.NewOp("rwlock/read-again", func(ctx context.Context, a rwArgs) error {
		return errors.Join(a.L.RAcquire(ctx), a.L.RRelease())
	}, rwRead)
	opLeave = proctest.NewOp("rwlock/leave", rwRead, rwLeave)
	// A writer waited for the reader, and gave up.
	opLeaveWaited = proctest.NewOp("rwlock/leave-waited", func(ctx context.Context, a rwArgs) error {
		if err := a.L.RAcquire(ctx); err != nil {
			return err
		}
		if err := a.L.Acquire(over()); !errors.Is(err, context.Canceled) {
			return errors.New("the writer did not wait")
		}
		return nil
	}, rwLeave)
	opReadQueues = proctest.NewOp("rwlock/read-queues", nil, func(ctx context.Context, a rwArgs) error {
		return errors.Join(a.L.RAcquire(ctx), a.L.RRelease())
	})
	opWrite       = proctest.NewOp("rwlock/write", nil, rwWrite)
	opWriteQueues = proctest.NewOp("rwlock/write-queues", nil, rwWrite)
	opWriteEnds   = proctest.NewOp("rwlock/write-ends", rwWrite, func(ctx context.Context, a rwArgs) error { return a.L.Release() })
	opRWRecover   = proctest.NewOp("rwlock/recover", nil, func(ctx context.Context, a rwArgs) error {
		return a.L.Recover(ctx, func() error { return nil })
	})
	opRWSweep = proctest.NewOp("rwlock/sweep", nil, func(ctx context.Context, a rwArgs) error {
		_, err := a.L.Segment().Repair()
		return err
	})
)

// passing are the steps at which a reader has the owner word.
var passing = []string{"robust/take/taken", "robust/lock/taken", "rw/reader/queued", "rw/reader/raised", "rw/reader/claimed"}

func atOneOf(t testing.TB, steps []string) bool {
	for _, s := range steps {
		if at(t, s) {
			return true
		}
	}
	return false
}

// A reader killed at any step leaves nothing that anybody notices. One that is stopped there holds up writers at most, but for
// the moment in which it has the owner word.
func TestCrashRead(t *testing.T) {
	for _, op := range []*proctest.Op[rwArgs]{opRead, opReadAgain} {
		proctest.Crash(t, op, crashRWLock, func(t testing.TB, a rwArgs) {
			tries(t, a.L, false, !atOneOf(t, passing))
		}, func(t testing.TB, a rwArgs, survived bool) {
			if survived {
				tries(t, a.L, false, true)
			} else if rwUsable(t, a.L) {
				t.Error("a reader's death is to be recovered from")
			}
		})
	}
	for _, op := range []*proctest.Op[rwArgs]{opLeave, opLeaveWaited} {
		proctest.Crash(t, op, crashRWLock, func(t testing.TB, a rwArgs) {
			rwUsable(t, a.L) // all steps come after it has left
		}, func(t testing.TB, a rwArgs, survived bool) {
			if rwUsable(t, a.L) {
				t.Error("a reader's death is to be recovered from")
			}
		})
	}
}

// rwLateWriter writes as soon as somebody reads.
var rwLateWriter = proctest.NewRole("rw-late-writer", func(ctx context.Context, c *proctest.Child, a rwArgs) error {
	for {
		if ok, err := a.L.TryAcquire(); err != nil {
			return err
		} else if !ok {
			break
		} else if err := a.L.Release(); err != nil {
			return err
		}
		time.Sleep(100 * time.Microsecond)
	}
	if err := a.L.Acquire(ctx); err != nil {
		return err
	}
	if err := a.L.Release(); err != nil {
		return err
	}
	c.Say("wrote")
	c.Hear()
	return nil
})

// opLeaveAwaited leaves while a writer sleeps until it does.
var opLeaveAwaited = proctest.NewOp("rwlock/leave-awaited", func(ctx context.Context, a rwArgs) error {
	if err := a.L.RAcquire(ctx); err != nil {
		return err
	}
	for {
		if ok, err := a.L.TryRAcquire(); err != nil {
			return err
		} else if !ok {
			break
		} else if err := a.L.RRelease(); err != nil {
			return err
		}
		time.Sleep(100 * time.Microsecond)
	}
	time.Sleep(20 * time.Millisecond) // so that it sleeps; nothing depends on it
	return nil
}, rwLeave)

// A reader that is killed or stopped while it leaves has left: the writer that sleeps goes on, within the cap of a sleep.
func TestCrashLeaveAwaited(t *testing.T) {
	var writer *proctest.Proc
	wrote := func() {
		if writer != nil {
			writer.WaitLine("wrote")
			writer = nil // it stays until the step is over
		}
	}
	proctest.Crash(t, opLeaveAwaited, func(t testing.TB) rwArgs {
		a := crashRWLock(t)
		writer = rwLateWriter.Start(t, a)
		return a
	}, func(t testing.TB, a rwArgs) { wrote() }, func(t testing.TB, a rwArgs, survived bool) {
		wrote()
		if rwUsable(t, a.L) {
			t.Error("a reader's death is to be recovered from")
		}
	})
}

// A writer killed at any step before it is in leaves nothing that anybody notices, and after that what is to be recovered.
func TestCrashWrite(t *testing.T) {
	in := func(t testing.TB) bool { return at(t, "rw/writer/in") }
	written := func(t testing.TB, a rwArgs, survived bool) {
		if survived {
			tries(t, a.L, false, false)
		} else if died := rwUsable(t, a.L); died != in(t) {
			t.Errorf("to be recovered from: %v, want %v", died, in(t))
		}
	}
	held := func(t testing.TB, a rwArgs) { tries(t, a.L, false, false) }
	proctest.Crash(t, opWrite, crashRWLock, held, written)

	// The same while a reader is in, which leaves when the writer sleeps.
	reads := false
	leave := func(t testing.TB, a rwArgs) {
		if reads {
			proctest.Must(t, a.L.RRelease())
			reads = false
		}
	}
	op := opWriteQueues.Beside(func(t testing.TB, p *proctest.Proc, a rwArgs) {
		if p.Asleep() {
			leave(t, a)
		}
	})
	proctest.Crash(t, op, func(t testing.TB) rwArgs {
		a := crashRWLock(t)
		proctest.Must(t, a.L.RAcquire(t.Context()))
		reads = true
		return a
	}, func(t testing.TB, a rwArgs) {
		held(t, a)
		leave(t, a)
		held(t, a)
	}, func(t testing.TB, a rwArgs, survived bool) {
		leave(t, a)
		written(t, a, survived)
	})

	proctest.Crash(t, opWriteEnds, crashRWLock, func(t testing.TB, a rwArgs) {
		rwUsable(t, a.L) // all steps come after it has left
	}, func(t testing.TB, a rwArgs, survived bool) {
		if rwUsable(t, a.L) {
			t.Error("the writer died after it had left")
		}
	})
}

// A reader that queues behind a writer and is killed or stopped at any step holds up nobody, but while it has the owner word.
func TestCrashReadQueues(t *testing.T) {
	writes := false
	end := func(t testing.TB, a rwArgs) {
		if writes {
			proctest.Must(t, a.L.Release())
			writes = false
		}
	}
	op := opReadQueues.Beside(func(t testing.TB, p *proctest.Proc, a rwArgs) {
		if p.Asleep() {
			end(t, a)
		}
	})
	proctest.Crash(t, op, func(t testing.TB) rwArgs {
		a := crashRWLock(t)
		proctest.Must(t, a.L.Acquire(t.Context()))
		writes = true
		return a
	}, func(t testing.TB, a rwArgs) {
		end(t, a)
		if !atOneOf(t, passing) {
			proctest.Must(t, a.L.RAcquire(t.Context()))
			proctest.Must(t, a.L.RRelease())
		}
	}, func(t testing.TB, a rwArgs, survived bool) {
		end(t, a)
		if rwUsable(t, a.L) {
			t.Error("a reader's death is to be recovered from")
		}
	})
}

// deadReaders is a lock that two dead processes read, for one of whom a writer waited.
func deadReaders(t testing.TB) rwArgs {
	a := crashRWLock(t)
	var ps []*proctest.Proc
	for range 2 {
		p := readerRole.Start(t, a)
		p.WaitLine("in")
		ps = append(ps, p)
	}
	want(t, "Acquire", a.L.Acquire(over()), context.Canceled)
	for _, p := range ps {
		p.Kill()
		p.Wait()
	}
	return a
}

// Who buries dead readers, or repairs what a dead writer left, and is killed or stopped in the middle leaves that to others.
func TestCrashRWLockOfTheDead(t *testing.T) {
	proctest.Crash(t, opWrite, deadReaders, nil, func(t testing.TB, a rwArgs, survived bool) {
		if survived {
			tries(t, a.L, false, false)
		} else if died := rwUsable(t, a.L); died != at(t, "rw/writer/in") {
			t.Errorf("to be recovered from: %v", died)
		}
	})
	proctest.Crash(t, opRWSweep, deadReaders, func(t testing.TB, a rwArgs) {
		rwUsable(t, a.L)
	}, func(t testing.TB, a rwArgs, survived bool) {
		rwUsable(t, a.L)
	})
	proctest.Crash(t, opRWRecover, func(t testing.TB) rwArgs {
		a := crashRWLock(t)
		p := writerRole.Start(t, a)
		p.WaitLine("in")
		p.Kill()
		p.Wait()
		return a
	}, func(t testing.TB, a rwArgs) {
		for _, try := range []func() (bool, error){a.L.TryAcquire, a.L.TryRAcquire} {
			if ok, err := try(); ok || err != nil && !errors.Is(err, locks.ErrOwnerDied) {
				t.Errorf("a try while a stopped process repairs: %v, %v", ok, err)
			}
		}
	}, func(t testing.TB, a rwArgs, survived bool) {
		if survived {
			tries(t, a.L, false, false)
		} else if !rwUsable(t, a.L) {
			t.Error("the repair of one that was killed counts")
		}
	})
}
