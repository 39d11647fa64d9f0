package parking

import (
	"context"
	"errors"
	"runtime"
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
	// patience is how many of them a wait lasts whose end is asked for.
	patience = 60
	// waitCapBlind is the same where futex_waitv is missing: a cancellation or Kick that arrives between a
	// waiter's last look and its sleep is then noticed only at the end of the sleep.
	waitCapBlind = 50 * time.Millisecond
	// briefly is how long a wait at first sleeps on the word alone; when processes take turns, most waits are over
	// by then. To be ready for the end of a context and for Kick, which are noticed that much later at most, makes
	// a turn on one CPU a fifth dearer. A time shorter than a tick of the kernel (4 ms as a rule) would have it
	// set the hardware's timer anew for each sleep, which in a virtual machine costs more than all else.
	briefly = 5 * time.Millisecond
	// yieldAfter is how often at least a goroutine that naps again and again lets the scheduler look, which counts its
	// looks: for what has seen none for ten milliseconds the runtime's monitor takes the processor away, and then
	// looks every 20 us for a while. Where processes take turns on one CPU, that was a fifth of all time.
	yieldAfter = 4 * time.Millisecond
	// mostDirect is how many goroutines sleep in the kernel themselves at most, and mostSettled how many of them beyond
	// that first part: those whose waits are short find room at any time.
	mostDirect  = 24
	mostSettled = 16
)

// direct counts the goroutines that sleep in the kernel themselves. single is whether they would take the only processor
// with them, as it was at one of the last 64 waits: to ask costs more than all else that a wait does before it sleeps.
// yielded is when one of them last let the scheduler look (Monotonic).
var direct struct {
	now, settled atomic.Int32
	single       atomic.Bool
	yielded      atomic.Int64
}

// waiter is one goroutine in Wait. The mutex of its word's shard guards what is not its own or atomic.
type waiter struct {
	over       func() bool
	next, prev *waiter // in a shard or an entry

	// Of those that sleep in the kernel themselves:
	own    atomic.Uint32  // 0 while nobody of this process wants the wait to end; the kernel compares it
	shared *atomic.Uint32 // what it waits on
	blind  bool           // sleeps on shared only

	// Of those for whom a group does:
	entry *entry        // set by its own goroutine
	waits bool          // it is in entry; who takes it out sends to gone, unless it is the goroutine itself
	gone  chan struct{} // has room for one
	early bool          // it was let go though the kernel may have the entry's wait; see quit
	until int64         // Monotonic
}

// interrupt makes the wait of one who sleeps in the kernel itself return.
func (w *waiter) interrupt() {
	w.own.Store(1)
	if w.blind {
		sys.FutexWake(w.shared, 1<<31-1) // the others look again, and sleep again
		return
	}
	sys.FutexWakeOwn(&w.own)
}

var pool = sync.Pool{New: func() any { return &waiter{gone: make(chan struct{}, 1)} }}

// Wait sleeps while *w is old, until a wake, ctx is done, or over is true; nil says nothing about *w: look again. A call
// that finds *w different returns nil, also when ctx is done. The errors are ctx's, context.DeadlineExceeded itself when
// the context's deadline ended the sleep. It is Nap, then Sleep.
func Wait(ctx context.Context, w *atomic.Uint32, old uint32, over func() bool) error {
	if w.Load() != old {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if Nap(ctx, w, old) {
		return nil
	}
	return Sleep(ctx, w, old, over)
}

// Nap is the first part of a wait, which costs the least: a sleep of 5 ms at most, which neither Kick nor the end of ctx
// ends. It reports whether to look again; if not, that time has passed, or ctx is about to be done, or too
// many sleep so already: Sleep is to follow.
func Nap(ctx context.Context, w *atomic.Uint32, old uint32) bool {
	if w.Load() != old {
		return true
	}
	if total.waits.Add(1)%64 == 1 {
		direct.single.Store(runtime.GOMAXPROCS(0) == 1)
	}
	if !nap(ctx, w, old) {
		return false
	}
	count(w, old)
	return true
}

// count notes how a wait ended.
func count(w *atomic.Uint32, old uint32) {
	if w.Load() != old {
		total.wakes.Add(1)
	} else {
		total.spurious.Add(1)
	}
}

func nap(ctx context.Context, w *atomic.Uint32, old uint32) bool {
	if direct.single.Load() {
		// In the kernel this goroutine would keep the only processor until the runtime takes it away: let those run
		// first who may be about to change the word.
		if runtime.Gosched(); w.Load() != old {
			return true
		}
	}
	if d, ok := ctx.Deadline(); forced.noBrief.Load() || ok && time.Until(d) <= briefly {
		return false
	}
	defer direct.now.Add(-1)
	if direct.now.Add(1) > mostDirect || forced.noDirect.Load() {
		return false
	}
	now := sys.Monotonic()
	if now-direct.yielded.Load() > int64(yieldAfter) {
		direct.yielded.Store(now)
		if runtime.Gosched(); w.Load() != old {
			return true
		}
	}
	err := sys.FutexWait(w, old, now+int64(briefly))
	for errors.Is(err, syscall.EINTR) && ctx.Err() == nil { // what over does after that long it would do a second later
		err = sys.FutexWait(w, old, now+int64(briefly))
	}
	return err == nil || w.Load() != old
}

// Sleep is the second part of a wait, and the rest of it. Its errors are those of Wait.
//
// over is asked at once, then at least once a second and at each Kick, always when Kick can see the wait already: who
// makes it true and then kicks lets everybody go within milliseconds, those included who were about to sleep, or
// nap. It looks at memory and nothing else. If it is nil every Kick and the end of a second end the sleep; else the
// sleep ends after a minute.
func Sleep(ctx context.Context, w *atomic.Uint32, old uint32, over func() bool) error {
	if w.Load() != old {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	done, err := false, error(nil)
	if direct.now.Add(1) <= mostDirect && !forced.noDirect.Load() {
		done, err = directly(ctx, w, old, over)
	}
	direct.now.Add(-1)
	if !done {
		err = park(ctx, w, old, over)
	}
	if err != nil {
		return err
	}
	count(w, old)
	return nil
}

// directly waits in the kernel. It is not done if too many do, or if the wait is long: the thread is for waits that may be
// short yet, and to look at the word costs a group less.
func directly(ctx context.Context, w *atomic.Uint32, old uint32, over func() bool) (done bool, err error) {
	defer direct.settled.Add(-1)
	if direct.settled.Add(1) > mostSettled {
		return false, nil
	}

	wt := pool.Get().(*waiter)
	wt.shared, wt.over, wt.blind = w, over, !waitv()
	wt.own.Store(0)
	wt.enlist()
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, wt.interrupt)
	}
	done, err = wt.sleep(ctx, old, sys.Monotonic())
	reuse := stop() // else interrupt runs, and may come late
	wt.dismiss()
	if reuse {
		wt.put()
	}
	return done, err
}

// sleep sleeps in the kernel until a cap after now. It is not done if it reaches that and has a question to ask.
func (wt *waiter) sleep(ctx context.Context, old uint32, now int64) (done bool, err error) {
	w, over, limit := wt.shared, wt.over, sleepCap()
	if wt.blind {
		limit = waitCapBlind
	}
	if over != nil && over() { // PAIRS WITH Kick
		return true, nil
	}
	until, expires := wakeAt(ctx, now, limit)
	for {
		woken := false // for certain: what looks like a wake to the blind may be an interrupt
		if wt.blind {
			err = sys.FutexWait(w, old, until)
		} else {
			woken, err = sys.FutexWaitTwo(&wt.own, w, old, until)
		}
		switch {
		case err == nil:
			if !woken && wt.own.Load() != 0 && w.Load() == old {
				return true, ctx.Err() // nil after a Kick
			}
			return true, nil
		case errors.Is(err, syscall.EINTR):
			if wt.own.Load() != 0 {
				return true, ctx.Err()
			}
			if w.Load() != old {
				return true, nil
			}
		case errors.Is(err, syscall.EAGAIN):
			if w.Load() != old {
				return true, nil
			}
			return true, ctx.Err()
		case errors.Is(err, syscall.ETIMEDOUT):
			if w.Load() != old {
				return true, nil
			}
			if expires {
				return true, context.DeadlineExceeded
			}
			err := ctx.Err()
			return err != nil || over == nil || over() || crashpoint.Enabled, err
		default:
			return true, err // ENOSYS and the like: not from a working kernel
		}
	}
}

// wakeAt is when a sleep ends that is limited from now on, and whether that is because ctx expires.
func wakeAt(ctx context.Context, now int64, limit time.Duration) (at int64, expires bool) {
	if d, ok := ctx.Deadline(); ok {
		if left := time.Until(d); left < limit {
			return sys.Monotonic() + max(int64(left), 0), true
		}
	}
	return now + int64(limit), false
}

func (wt *waiter) enlist() {
	s := shardOf(wt.shared)
	s.mu.Lock()
	link(&s.direct, wt)
	s.mu.Unlock()
}

// dismiss takes wt off the list; from then on no Kick touches it.
func (wt *waiter) dismiss() {
	s := shardOf(wt.shared)
	s.mu.Lock()
	unlink(&s.direct, wt)
	s.mu.Unlock()
}

// kickDirect interrupts those who sleep in the kernel themselves on a word in the given memory and whose wait is over. The
// shard is locked.
func (s *shard) kickDirect(in func(w *atomic.Uint32) bool) (n int) {
	for wt := s.direct; wt != nil; wt = wt.next {
		if in(wt.shared) && (wt.over == nil || wt.over()) {
			wt.interrupt()
			n++
		}
	}
	return n
}

func link(first **waiter, wt *waiter) {
	wt.next, wt.prev = *first, nil
	if wt.next != nil {
		wt.next.prev = wt
	}
	*first = wt
}

func unlink(first **waiter, wt *waiter) {
	if wt.prev != nil {
		wt.prev.next = wt.next
	} else {
		*first = wt.next
	}
	if wt.next != nil {
		wt.next.prev = wt.prev
	}
	wt.next, wt.prev = nil, nil
}
