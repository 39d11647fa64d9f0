package parking_test

import (
	"context"
	"encoding/binary"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/parking"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

func sharedBlock(t testing.TB) *shm.Block {
	t.Helper()
	b, err := shm.NewBlock(proctest.Segment(t, 1), "", 4096)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// engine is a way in which goroutines sleep: what it needs, and what forces it.
type engine struct {
	name  string
	has   func() bool
	force []func() (undo func())
}

var engines = []engine{
	{"waitv", waitv, []func() func(){parking.ForceNoRing}},
	{"wait", always, []func() func(){parking.ForceNoRing, parking.ForceNoWaitv}},
	{"ring", parking.HasRing, []func() func(){parking.ForceNoDirect}},
	{"group", waitv, []func() func(){parking.ForceNoDirect, parking.ForceNoRing}},
	{"poll", always, []func() func(){parking.ForceNoDirect, parking.ForceNoRing, parking.ForceNoWaitv}},
}

func waitv() bool  { return futex.Features().Waitv }
func always() bool { return true }

// use uses the engine until the end of t.
func (e engine) use(t *testing.T) {
	if !e.has() {
		t.Skip("the kernel has no futex_waitv or io_uring with futexes, or a sandbox refuses it")
	}
	for _, force := range e.force {
		t.Cleanup(force())
	}
}

// eachWay runs f with every engine that the kernel has; sleeps are ready for contexts at once, as tests that cancel
// thousands of them need it. When f returns nothing may be left.
func eachWay(t *testing.T, f func(t *testing.T)) {
	defer parking.ForceNoBrief()()
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			e.use(t)
			f(t)
			nothingLeft(t)
		})
	}
}

// nothingLeft waits until nobody looks after waits any more, and fails if there are some.
func nothingLeft(t *testing.T) {
	t.Helper()
	if n, lines := parking.Waiting(), parking.Lined(); n+lines != 0 {
		t.Errorf("%d waits and %d lines left over", n, lines)
	}
	for parking.Groups() > 0 {
		runtime.Gosched()
	}
}

// asleep waits until n goroutines are in Wait, and so about to sleep or asleep.
func asleep(n int) {
	for parking.Waiting() < n {
		runtime.Gosched()
	}
}

func TestWait(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		b := sharedBlock(t)
		w := b.Uint32(0)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		past, cancel := context.WithDeadline(t.Context(), time.Now().Add(-time.Hour))
		defer cancel()
		if err := futex.Wait(over, w, 1); err != nil {
			t.Errorf("a word that differs: %v", err)
		}
		if err := futex.Wait(over, w, 0); err != context.Canceled {
			t.Errorf("a context that is done: %v", err)
		}
		if err := futex.Wait(past, w, 0); err != context.DeadlineExceeded {
			t.Errorf("a deadline that has passed: %v", err)
		}
		if n := futex.Wake(w, 5); n != 0 {
			t.Errorf("woke %d of none", n)
		}
		if n := futex.Wake(w, 0) + futex.Wake(w, -1); n != 0 {
			t.Errorf("woke %d", n)
		}

		// Until a deadline: not before, and DeadlineExceeded itself.
		until := time.Now().Add(30 * time.Millisecond)
		soon, cancel := context.WithDeadline(t.Context(), until)
		defer cancel()
		for {
			err := futex.Wait(soon, w, 0)
			if err == nil {
				continue // any wait may end early
			}
			if err != context.DeadlineExceeded || time.Now().Before(until) {
				t.Errorf("%v, %v before the deadline", err, time.Until(until))
			}
			break
		}

		// Until a cancellation.
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			for {
				if err := futex.Wait(ctx, w, 0); err != nil {
					done <- err
					return
				}
			}
		}()
		asleep(1)
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("cancelled: %v", err)
		}

		// Until a wake.
		woken := make(chan error)
		go func() {
			var err error
			for err == nil && w.Load() == 0 { // a sleep may have reached its cap before asleep looked
				err = futex.Wait(t.Context(), w, 0)
			}
			woken <- err
		}()
		asleep(1)
		w.Store(1)
		for {
			futex.Wake(w, 1)
			select {
			case err := <-woken:
				if err != nil {
					t.Error(err)
				}
				runtime.KeepAlive(b)
				return
			default:
				runtime.Gosched()
			}
		}
	})
}

// overdue is a context whose deadline comes before its timer has noticed.
type overdue struct {
	context.Context
	deadline time.Time
}

func (c overdue) Deadline() (time.Time, bool) { return c.deadline, true }

// The kernel notices a deadline before the context does: the error is the deadline's all the same, and not
// nil until the context has come to know of it.
func TestDeadlineBeforeContext(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		b := sharedBlock(t)
		for _, left := range []time.Duration{20 * time.Millisecond, -time.Hour} {
			ctx := overdue{context.Background(), time.Now().Add(left)}
			var err error
			for err == nil {
				err = futex.Wait(ctx, b.Uint32(0), 0)
			}
			if err != context.DeadlineExceeded {
				t.Errorf("%v before the deadline: %v", left, err)
			}
		}
		runtime.KeepAlive(b)
	})
}

// lastLook changes the word between a wait's first look at it and its sleep.
type lastLook struct {
	context.Context
	change func()
}

func (l lastLook) Err() error {
	l.change()
	return l.Context.Err()
}

// A change between looking and sleeping is noticed, also by those who join others that wait for the same: the wake may have
// gone to another process.
func TestChangeBeforeJoining(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		defer parking.ForceNoCap()()
		b := sharedBlock(t)
		w := b.Uint32(0)
		first := make(chan error)
		go func() { first <- futex.Wait(t.Context(), w, 0) }()
		asleep(1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := futex.Wait(lastLook{ctx, func() { w.Store(1) }}, w, 0); err != nil || ctx.Err() != nil {
			t.Errorf("a change before the sleep was not noticed: %v, %v", err, ctx.Err())
		}
		futex.Wake(w, 1<<31-1)
		proctest.Must(t, <-first)
		runtime.KeepAlive(b)
	})
}

// A sleep ends by itself.
func TestCap(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		b := sharedBlock(t)
		if err := futex.Wait(context.Background(), b.Uint32(0), 0); err != nil {
			t.Error(err)
		}
		runtime.KeepAlive(b)
	})
}

func TestKick(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		b := sharedBlock(t)
		var wg sync.WaitGroup
		var in, out atomic.Int32
		var kicked atomic.Bool
		ctx, cancel := context.WithCancel(t.Context())
		for i := range 8 {
			wg.Go(func() { // half of them in the part that is kicked
				// Again, for a sleep may have reached its cap before asleep looked.
				for ctx.Err() == nil && (i >= 4 || !kicked.Load()) {
					futex.Wait(ctx, b.Uint32(i*512), 0)
				}
				if i < 4 {
					in.Add(1)
				} else {
					out.Add(1)
				}
			})
		}
		asleep(8)
		kicked.Store(true)
		if n := futex.Kick(b.Bytes()[:2048]); n > 4 {
			t.Errorf("kicked %d, want 4 at most", n)
		}
		for in.Load() < 4 {
			runtime.Gosched()
		}
		cancel()
		wg.Wait()
		if parking.Waiting() != 0 {
			t.Error("waiters left over")
		}
		runtime.KeepAlive(b)
	})
}

// In its first part, too, a sleep ends with a wake, and soon after its context, a Kick or a deadline.
func TestBriefly(t *testing.T) {
	proctest.Watch(t)
	b := sharedBlock(t)
	w := b.Uint32(0)
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Millisecond, cancel)
		if err := waitFor(ctx, w); err != context.Canceled {
			t.Fatalf("cancelled: %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Millisecond)
		if err := waitFor(ctx, w); err != context.DeadlineExceeded {
			t.Fatalf("after the deadline: %v", err)
		}
		cancel()
		var over atomic.Bool
		time.AfterFunc(time.Millisecond, func() {
			over.Store(true)
			futex.Kick(b.Bytes())
		})
		for !over.Load() {
			if err := parking.Wait(t.Context(), w, 0, over.Load); err != nil {
				t.Fatalf("kicked: %v", err)
			}
		}
		time.AfterFunc(time.Millisecond, func() {
			w.Store(1)
			futex.Wake(w, 1)
		})
		if err := waitFor(t.Context(), w); err != nil {
			t.Fatalf("woken: %v", err)
		}
		w.Store(0)
	}
	runtime.KeepAlive(b)
}

// waitFor waits until w is not 0.
func waitFor(ctx context.Context, w *atomic.Uint32) error {
	for w.Load() == 0 {
		if err := futex.Wait(ctx, w, 0); err != nil {
			return err
		}
	}
	return nil
}

type words struct{ B *shm.Block }

// pingPong answers on word 4 whatever comes on word 0.
var pingPong = proctest.NewRole("ping-pong", func(ctx context.Context, c *proctest.Child, a words) error {
	c.Say("ready")
	ping, pong := a.B.Uint32(0), a.B.Uint32(128)
	for i := uint32(0); ; i++ {
		for ping.Load() == i {
			if err := futex.Wait(ctx, ping, i); err != nil {
				return err
			}
		}
		if ping.Load() == ^uint32(0) {
			return nil
		}
		pong.Add(1)
		futex.Wake(pong, 1)
	}
})

func TestBetweenProcesses(t *testing.T) {
	b := sharedBlock(t)
	p := pingPong.Start(t, words{b})
	p.WaitLine("ready")
	ping, pong := b.Uint32(0), b.Uint32(128)
	for i := range uint32(2000) {
		ping.Add(1)
		futex.Wake(ping, 1)
		for pong.Load() == i {
			if err := futex.Wait(t.Context(), pong, i); err != nil {
				t.Fatal(err)
			}
		}
	}
	ping.Store(^uint32(0))
	futex.Wake(ping, 1)
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(b)
}

// Cancellation and wake at once: the wait ends, and with an error only if its context did.
func TestCancelAgainstWake(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		n := 2000
		if testing.Short() {
			n = 200
		}
		b := sharedBlock(t)
		w := b.Uint32(0)
		for i := range n {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				for w.Load() == 0 {
					if err := futex.Wait(ctx, w, 0); err != nil {
						done <- err
						return
					}
				}
				done <- nil
			}()
			if i%2 == 0 {
				asleep(1)
			}
			go cancel()
			if i%3 == 0 {
				w.Store(1)
				futex.Wake(w, 1)
			}
			if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			w.Store(0)
			cancel()
		}
		if parking.Waiting() != 0 {
			t.Error("waiters left over")
		}
		runtime.KeepAlive(b)
	})
}

// A wake that meets a cancellation is not used up unseen: if the kernel counted this waiter as woken, its
// wait says so, and the waiter looks again, instead of leaving with a wake that was meant for somebody who
// stays.
func TestWakeMeetsCancel(t *testing.T) {
	if !futex.Features().Waitv {
		t.Skip("the kernel has no futex_waitv, or a sandbox refuses it: then who leaves must pass a wake on")
	}
	proctest.Watch(t)
	defer parking.ForceNoBrief()()
	n := 1000
	if testing.Short() {
		n = 100
	}
	b := sharedBlock(t)
	w := b.Uint32(0)
	for met := 0; met < n; {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		var over atomic.Bool
		go func() {
			err := futex.Wait(ctx, w, 0)
			for err == nil && !over.Load() { // the sleep reached its cap
				err = futex.Wait(ctx, w, 0)
			}
			done <- err
		}()
		asleep(1)
		over.Store(true)
		for range met % 100 {
			runtime.Gosched()
		}
		cancel() // another goroutine wakes the waiter's own word
		woken := 0
		for range 100 {
			if woken = futex.Wake(w, 1); woken != 0 || parking.Waiting() == 0 {
				break
			}
		}
		err := <-done
		if woken != 0 {
			if met++; err != nil {
				t.Fatalf("a waiter that was woken left with %v", err)
			}
		}
	}
	runtime.KeepAlive(b)
}

// With one processor a waiter must not keep those from running who are to wake it: each sleep would last
// until its cap.
func TestOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		n := uint32(1000)
		if testing.Short() {
			n = 200
		}
		b := sharedBlock(t)
		w := b.Uint32(0)
		turn := func(parity uint32) {
			for {
				v := w.Load()
				switch {
				case v >= 2*n:
					return
				case v%2 != parity:
					if err := futex.Wait(t.Context(), w, v); err != nil {
						t.Error(err)
						return
					}
				default:
					w.Add(1)
					futex.Wake(w, 1)
				}
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { turn(0) })
		turn(1)
		wg.Wait()
		runtime.KeepAlive(b)
	})
}

// The word is 32 bits at the address that is given, whatever lies around it.
func TestWordsOnly(t *testing.T) {
	b := sharedBlock(t)
	binary.LittleEndian.PutUint64(b.Bytes()[8:], 0xffff_ffff_0000_0000)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := futex.Wait(ctx, b.Uint32(8), 0); err != context.Canceled {
		t.Errorf("the low half is 0: %v", err)
	}
	if err := futex.Wait(ctx, b.Uint32(12), 0); err != nil {
		t.Errorf("the high half is not 0: %v", err)
	}
	runtime.KeepAlive(b)
}
