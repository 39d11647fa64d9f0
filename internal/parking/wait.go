package parking

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/sys"
)

const (
	// waitCap is the longest time in one sleep; see the package documentation.
	waitCap = time.Second
	// patience is how often a sleep whose end is asked for is prolonged.
	patience = 10
	// waitCapBlind is the same where futex_waitv is missing: a cancellation or Kick that arrives between a
	// waiter's last look and its sleep is then noticed only at the end of the sleep.
	waitCapBlind = 50 * time.Millisecond
	// briefly is how long a wait at first sleeps on the word alone; when processes take turns, most waits are over
	// by then. To be ready for the end of a context and for Kick, which are noticed that much later at most, makes
	// a turn on one CPU a fifth dearer. A time shorter than a tick of the kernel (4 ms as a rule) would have it
	// set the hardware's timer anew for each sleep, which in a virtual machine costs more than all else.
	briefly = 5 * time.Millisecond
)

// waiter is one goroutine in Wait.
type waiter struct {
	own    atomic.Uint32  // 0 while nobody of this process wants the wait to end; the kernel compares it
	shared *atomic.Uint32 // what it waits on
	old    uint32
	over   func() bool
	blind  bool // sleeps on shared only

	next, prev *waiter // in waiters
}

// interrupt makes the wait return.
func (w *waiter) interrupt() {
	w.own.Store(1)
	if w.blind {
		sys.FutexWake(w.shared, 1<<31-1) // the others look again, and sleep again
		return
	}
	sys.FutexWakeOwn(&w.own)
}

// waiters has every goroutine of this process that is in Wait, for Kick. It is empty when nobody waits.
var waiters struct {
	sync.Mutex
	first *waiter
}

var pool = sync.Pool{New: func() any { return new(waiter) }}

// Wait sleeps while *w is old, until a wake, ctx is done, or over is true; nil says nothing about *w: look again. A call
// that finds *w different returns nil, also when ctx is done. The errors are ctx's, context.DeadlineExceeded itself when
// the context's deadline ended the sleep.
//
// over is asked when the sleep has lasted 5 ms, then at least once a second and at each Kick, always when Kick can see the
// wait already: who makes it true and then kicks lets everybody go within milliseconds, those included who were about
// to sleep. It looks at memory and nothing else. If it is nil every Kick and the end of a second end the sleep; else the
// sleep ends after ten seconds.
func Wait(ctx context.Context, w *atomic.Uint32, old uint32, over func() bool) error {
	if w.Load() != old {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}

	blind, now, limit := !waitv(), sys.Monotonic(), waitCap
	if blind {
		limit = waitCapBlind
	}
	expires := false
	if d, ok := ctx.Deadline(); ok {
		if left := time.Until(d); left < limit {
			limit, expires = max(left, 0), true
		}
	}
	until := now + int64(limit)
	if limit > briefly && !noBrief.Load() {
		err := sys.FutexWait(w, old, now+int64(briefly))
		if err == nil || w.Load() != old {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}

	wt := pool.Get().(*waiter)
	wt.shared, wt.old, wt.over, wt.blind = w, old, over, blind
	wt.own.Store(0)
	enlist(wt)
	reuse := true
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, wt.interrupt)
		defer func() {
			reuse = stop() // else interrupt runs, and may come late
			dismiss(wt, reuse)
		}()
	} else {
		defer dismiss(wt, true)
	}

	if over != nil && over() {
		return nil
	}
	for slept := 1; ; {
		var err error
		woken := false // for certain: what looks like a wake to the blind may be an interrupt
		if blind {
			err = sys.FutexWait(w, old, until)
		} else {
			woken, err = sys.FutexWaitTwo(&wt.own, w, old, until)
		}
		switch {
		case err == nil:
			if !woken && wt.own.Load() != 0 && w.Load() == old {
				return ctx.Err() // nil after a Kick
			}
			return nil
		case errors.Is(err, syscall.EINTR):
			if wt.own.Load() != 0 {
				return ctx.Err()
			}
			if w.Load() != old {
				return nil
			}
		case errors.Is(err, syscall.EAGAIN):
			if w.Load() != old {
				return nil
			}
			return ctx.Err()
		case errors.Is(err, syscall.ETIMEDOUT):
			if w.Load() != old {
				return nil
			}
			if expires {
				return context.DeadlineExceeded
			}
			if err := ctx.Err(); err != nil || over == nil || over() || slept == patience || crashpoint.Enabled {
				return err
			}
			slept++
			limit = waitCap
			if blind {
				limit = waitCapBlind
			}
			if d, ok := ctx.Deadline(); ok {
				if left := time.Until(d); left < limit {
					limit, expires = max(left, 0), true
				}
			}
			until = sys.Monotonic() + int64(limit)
		default:
			return err // ENOSYS and the like: not from a working kernel
		}
	}
}

func enlist(w *waiter) {
	waiters.Lock()
	defer waiters.Unlock()
	w.next, w.prev = waiters.first, nil
	if w.next != nil {
		w.next.prev = w
	}
	waiters.first = w
}

// dismiss takes w off the list; from then on no Kick touches it.
func dismiss(w *waiter, reuse bool) {
	waiters.Lock()
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		waiters.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	}
	waiters.Unlock()
	if reuse {
		w.shared, w.over, w.next, w.prev = nil, nil, nil, nil
		pool.Put(w)
	}
}
