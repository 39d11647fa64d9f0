package locks_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

func newLock(t testing.TB) *locks.Lock {
	t.Helper()
	l, err := locks.NewLock(proctest.Segment(t, 0), "lock")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func want(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) || (err == nil) != (want == nil) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// over is a context that is done.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestLock(t *testing.T) {
	ctx := t.Context()
	l := newLock(t)
	m, err := locks.OpenLock(l.Segment(), "lock")
	proctest.Must(t, err)
	want(t, "Release of a free lock", l.Release(), locks.ErrNotLocked)
	proctest.Must(t, l.Acquire(over())) // need not wait
	if !l.Locked() || !m.Locked() {
		t.Error("a lock that is held is not locked")
	}
	if ok, err := m.TryAcquire(); ok || err != nil {
		t.Errorf("TryAcquire of a held lock: %v, %v", ok, err)
	}
	want(t, "Acquire with a context that is done", m.Acquire(over()), context.Canceled)
	soon, cancel := context.WithDeadline(ctx, time.Now().Add(20*time.Millisecond))
	defer cancel()
	if err := m.Acquire(soon); err != context.DeadlineExceeded {
		t.Errorf("Acquire until a deadline: %v, want DeadlineExceeded itself", err)
	}
	proctest.Must(t, m.Release()) // any handle, any goroutine of the process
	if ok, err := l.TryAcquire(); !ok || err != nil {
		t.Errorf("TryAcquire of a free lock: %v, %v", ok, err)
	}
	proctest.Must(t, l.Recover(over(), nil2(t, l)))
	proctest.Must(t, l.Release())
	want(t, "Release of a free lock", m.Release(), locks.ErrNotLocked)
}

// nil2 frees l, so that a Recover after it need not wait, and returns a repair that must not run.
func nil2(t *testing.T, l *locks.Lock) func() error {
	proctest.Must(t, l.Release())
	return func() error {
		t.Error("a repair ran where nobody had died")
		return nil
	}
}

// A waiter goes on when its context ends, when the lock comes free, and when a handle is closed, and not before.
func TestWaiters(t *testing.T) {
	l := newLock(t)
	open := func() *locks.Lock {
		m, err := locks.OpenLock(l.Segment(), "lock")
		proctest.Must(t, err)
		return m
	}
	proctest.Must(t, l.Acquire(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancelled, closed, patient := make(chan error), make(chan error), make(chan error)
	m, n := open(), open()
	go func() { cancelled <- l.Acquire(ctx) }()
	go func() { closed <- m.Acquire(t.Context()) }()
	go func() { patient <- n.Acquire(t.Context()) }()
	select {
	case <-cancelled:
		t.Fatal("acquired what is held")
	case <-closed:
		t.Fatal("acquired what is held")
	case <-patient:
		t.Fatal("acquired what is held")
	case <-time.After(30 * time.Millisecond): // so that they sleep; nothing depends on it
	}
	cancel()
	want(t, "cancelled", <-cancelled, context.Canceled)
	proctest.Must(t, m.Close())
	want(t, "closed", <-closed, os.ErrClosed)
	proctest.Must(t, l.Release())
	proctest.Must(t, <-patient)
	want(t, "closed handle", m.Acquire(t.Context()), os.ErrClosed)
	want(t, "closed handle", m.Release(), os.ErrClosed)
	_, err := m.TryAcquire()
	want(t, "closed handle", err, os.ErrClosed)
	want(t, "closed handle", m.Recover(t.Context(), nil), os.ErrClosed)
	proctest.Must(t, n.Release())

	proctest.Must(t, l.Acquire(t.Context()))
	go func() { patient <- n.Acquire(context.Background()) }()
	time.Sleep(10 * time.Millisecond)
	proctest.Must(t, l.Segment().Close())
	want(t, "closed segment", <-patient, os.ErrClosed)
	want(t, "closed segment", l.Release(), os.ErrClosed)
}

type holdArgs struct {
	Lock *locks.Lock
}

// hold takes the lock and does what it is told.
var hold = proctest.NewRole("hold", func(ctx context.Context, c *proctest.Child, a holdArgs) error {
	if err := a.Lock.Acquire(ctx); err != nil {
		return err
	}
	c.Say("held")
	switch c.Hear() {
	case "release":
		return a.Lock.Release()
	case "leave":
		return a.Lock.Segment().Close()
	}
	return nil
})

func TestOtherProcess(t *testing.T) {
	l := newLock(t)
	p := hold.Start(t, holdArgs{l})
	p.WaitLine("held")
	want(t, "Release of what another process holds", l.Release(), locks.ErrNotOwner)
	if ok, err := l.TryAcquire(); ok || err != nil || !l.Locked() {
		t.Errorf("TryAcquire of what another process holds: %v, %v", ok, err)
	}
	got := make(chan error)
	go func() { got <- l.Acquire(t.Context()) }()
	p.Stop() // stopped is not dead
	if _, err := l.TryAcquire(); err != nil {
		t.Errorf("the owner is stopped: %v", err)
	}
	p.Continue()
	p.Tell("release")
	proctest.Must(t, <-got)
	proctest.Must(t, p.Wait())
	proctest.Must(t, l.Release())
}

// However the owner goes, the next to want the lock learns of it, everybody does until it is recovered, and
// nobody after that.
func TestOwnerDied(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *proctest.Proc)
	}{
		{"killed", func(p *proctest.Proc) { p.Kill(); p.Wait() }},
		{"ended", func(p *proctest.Proc) { p.Tell("end"); p.Wait() }},
		{"left", func(p *proctest.Proc) { p.Tell("leave"); p.Wait() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			l := newLock(t)
			p := hold.Start(t, holdArgs{l})
			p.WaitLine("held")
			c.end(p)
			want(t, "Acquire", l.Acquire(over()), locks.ErrOwnerDied)
			want(t, "Acquire again", l.Acquire(ctx), locks.ErrOwnerDied)
			if ok, err := l.TryAcquire(); ok || !errors.Is(err, locks.ErrOwnerDied) {
				t.Errorf("TryAcquire: %v, %v", ok, err)
			}
			if l.Locked() {
				t.Error("an error came with ownership")
			}
			want(t, "Release", l.Release(), locks.ErrNotLocked)

			broken := errors.New("broken")
			want(t, "Recover with a repair that fails", l.Recover(ctx, func() error { return broken }), broken)
			want(t, "Acquire after that", l.Acquire(ctx), locks.ErrOwnerDied)
			func() {
				defer func() { recover() }()
				l.Recover(ctx, func() error { panic("in the repair") })
			}()
			want(t, "Acquire after a panic in the repair", l.Acquire(ctx), locks.ErrOwnerDied)

			proctest.Must(t, l.Recover(ctx, func() error {
				want(t, "Acquire during the repair", l.Acquire(ctx), locks.ErrOwnerDied)
				want(t, "Release during the repair", l.Release(), locks.ErrNotLocked)
				return nil
			}))
			if ok, err := l.TryAcquire(); ok || err != nil {
				t.Errorf("TryAcquire of a recovered lock that is held: %v, %v", ok, err)
			}
			proctest.Must(t, l.Release())
			proctest.Must(t, l.Acquire(ctx))
			proctest.Must(t, l.Release())
		})
	}
}

// Those who wait when the owner dies learn of it too, and one of two who recover repairs.
func TestOwnerDiesWhileOthersWait(t *testing.T) {
	l := newLock(t)
	p := hold.Start(t, holdArgs{l})
	p.WaitLine("held")
	const n = 4
	acquired, recovered := make(chan error, n), make(chan error, n)
	var repairs atomic.Int32
	for range n {
		go func() {
			err := l.Acquire(t.Context())
			if err == nil { // came after the recovery
				err = l.Release()
			} else if errors.Is(err, locks.ErrOwnerDied) {
				err = nil
			}
			acquired <- err
		}()
		go func() {
			err := l.Recover(t.Context(), func() error { repairs.Add(1); return nil })
			if err == nil {
				err = l.Release()
			}
			recovered <- err
		}()
	}
	time.Sleep(20 * time.Millisecond) // so that most of them sleep; nothing depends on it
	p.Kill()
	for range n {
		proctest.Must(t, <-recovered)
		proctest.Must(t, <-acquired)
	}
	if repairs.Load() != 1 {
		t.Errorf("%d repairs", repairs.Load())
	}
}

// die recovers the lock and is killed in the repair.
var die = proctest.NewRole("die", func(ctx context.Context, c *proctest.Child, a holdArgs) error {
	return a.Lock.Recover(ctx, func() error {
		c.Say("repairing")
		c.Hear()
		return nil
	})
})

func TestRepairerDies(t *testing.T) {
	l := newLock(t)
	p := hold.Start(t, holdArgs{l})
	p.WaitLine("held")
	p.Kill()
	p.Wait()
	for range 2 {
		q := die.Start(t, holdArgs{l})
		q.WaitLine("repairing")
		want(t, "Acquire while another process repairs", l.Acquire(over()), locks.ErrOwnerDied)
		q.Kill()
		q.Wait()
	}
	repaired := false
	proctest.Must(t, l.Recover(t.Context(), func() error { repaired = true; return nil }))
	if !repaired {
		t.Error("the repair of one that was killed counts")
	}
	proctest.Must(t, l.Release())
}

func TestWith(t *testing.T) {
	ctx := t.Context()
	l := newLock(t)
	broken := errors.New("broken")
	want(t, "With", locks.With(ctx, l, func() error {
		if !l.Locked() {
			t.Error("not held in With")
		}
		return broken
	}), broken)
	if l.Locked() {
		t.Error("held after With")
	}
	want(t, "With, released inside", locks.With(ctx, l, l.Release), locks.ErrNotLocked)

	func() {
		defer func() {
			if recover() != "in f" {
				t.Error("the panic did not go on")
			}
		}()
		locks.With(ctx, l, func() error { panic("in f") })
	}()
	want(t, "With after a panic", locks.With(ctx, l, func() error { t.Error("runs"); return nil }), locks.ErrOwnerDied)
	proctest.Must(t, l.Recover(ctx, nil))
	proctest.Must(t, l.Release())

	done := make(chan struct{})
	go func() {
		defer close(done)
		locks.With(ctx, l, func() error { runtime.Goexit(); return nil })
	}()
	<-done
	want(t, "Acquire after Goexit in With", l.Acquire(ctx), locks.ErrOwnerDied)
}

type countArgs struct {
	Lock  *locks.Lock
	Block *shm.Block
	N     int
}

// increment adds N in two unprotected words, a goroutine and a process at a time; the words differ while it does.
func increment(ctx context.Context, a countArgs) error {
	x, y := a.Block.Uint32(0), a.Block.Uint32(4)
	for range a.N {
		if err := a.Lock.Acquire(ctx); err != nil {
			return err
		}
		v := x.Load()
		x.Store(v + 1)
		if w := y.Load(); w != v {
			return fmt.Errorf("two in the critical section: %d and %d", v, w)
		}
		y.Store(v + 1)
		if err := a.Lock.Release(); err != nil {
			return err
		}
	}
	runtime.KeepAlive(a.Block)
	return nil
}

var count = proctest.NewRole("count", func(ctx context.Context, c *proctest.Child, a countArgs) error {
	var wg sync.WaitGroup
	errs := make(chan error, 3)
	for range 3 {
		wg.Go(func() { errs <- increment(ctx, a) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
})

func TestHammer(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	l := newLock(t)
	b, err := shm.NewBlock(l.Segment(), "", 8)
	proctest.Must(t, err)
	var ps []*proctest.Proc
	for range 3 {
		ps = append(ps, count.Start(t, countArgs{l, b, n}))
	}
	proctest.Must(t, increment(t.Context(), countArgs{l, b, n}))
	for _, p := range ps {
		proctest.Must(t, p.Wait())
	}
	if got := b.Uint32(0).Load(); got != uint32(10*n) {
		t.Errorf("counted %d of %d", got, 10*n)
	}
	if l.Locked() {
		t.Error("locked at the end")
	}
	runtime.KeepAlive(b)
}

// Who only ever tries learns of the death too.
func TestTryAcquireNotices(t *testing.T) {
	l := newLock(t)
	p := hold.Start(t, holdArgs{l})
	p.WaitLine("held")
	if ok, err := l.TryAcquire(); ok || err != nil {
		t.Fatalf("TryAcquire of a held lock: %v, %v", ok, err)
	}
	p.Kill()
	p.Wait()
	for {
		ok, err := l.TryAcquire()
		if ok {
			t.Fatal("acquired what its owner died with")
		}
		if err != nil {
			want(t, "TryAcquire", err, locks.ErrOwnerDied)
			return
		}
	}
}

// Waiters that are killed asleep cost nobody anything: the next release finds the others.
func TestWaitersKilled(t *testing.T) {
	l := newLock(t)
	proctest.Must(t, l.Acquire(t.Context()))
	var doomed []*proctest.Proc
	for range 3 {
		doomed = append(doomed, hold.Start(t, holdArgs{l}))
	}
	survivor := hold.Start(t, holdArgs{l})
	survivor.Asleep()
	for _, p := range doomed {
		p.Asleep()
		p.Kill()
		p.Wait()
	}
	proctest.Must(t, l.Release())
	survivor.WaitLine("held")
	survivor.Tell("release")
	proctest.Must(t, survivor.Wait())
	proctest.Must(t, l.Acquire(t.Context()))
	proctest.Must(t, l.Release())
}

// wordOf is the lock's owner word, for when nobody changes it.
func wordOf(t *testing.T, l *locks.Lock) uint64 {
	t.Helper()
	return wordAt(t, "lock", l.Handle())
}

func wordAt(t *testing.T, kind string, h shm.Handle) uint64 {
	t.Helper()
	mem, err := shm.Kind{Name: kind}.OpenHandle(new(shm.Ref), h)
	proctest.Must(t, err)
	return binary.LittleEndian.Uint64(mem)
}

// A waiter that was killed asleep costs the next release a useless wake, and nobody a system call after that.
func TestKilledWaiterIsForgotten(t *testing.T) {
	l := newLock(t)
	proctest.Must(t, l.Acquire(t.Context()))
	p := hold.Start(t, holdArgs{l})
	p.Asleep()
	p.Kill()
	p.Wait()
	proctest.Must(t, l.Release())
	if w := wordOf(t, l); w != 0 {
		t.Errorf("the word is %#x after a release, want 0: the fast paths compare with that", w)
	}
}

// A waiter that is stopped holds nobody up, and gets the lock when it goes on.
func TestWaiterStopped(t *testing.T) {
	l := newLock(t)
	proctest.Must(t, l.Acquire(t.Context()))
	stopped, other := hold.Start(t, holdArgs{l}), hold.Start(t, holdArgs{l})
	stopped.Asleep()
	other.Asleep()
	stopped.Stop()
	proctest.Must(t, l.Release())
	other.WaitLine("held")
	other.Tell("release")
	proctest.Must(t, other.Wait())
	for range 100 {
		proctest.Must(t, l.Acquire(t.Context()))
		proctest.Must(t, l.Release())
	}
	stopped.Continue()
	stopped.WaitLine("held")
	stopped.Tell("release")
	proctest.Must(t, stopped.Wait())
}

// Close, of a handle or of the segment, lets a blocked call go by waking it: a call that went only at the cap
// of its sleep would cost a second a round, and the watchdog would see that. Nor does Close wait for a call
// that is blocked.
func TestCloseLetsGo(t *testing.T) {
	for _, c := range []struct {
		name  string
		close func(l *locks.Lock) error
	}{
		{"handle", (*locks.Lock).Close},
		{"segment", func(l *locks.Lock) error { return l.Segment().Close() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			proctest.Watch(t)
			for range 200 {
				seg, err := shm.Anonymous(1)
				proctest.Must(t, err)
				l, err := locks.NewLock(seg, "")
				proctest.Must(t, err)
				proctest.Must(t, l.Acquire(t.Context()))
				blocked := make(chan error)
				go func() { blocked <- l.Acquire(context.Background()) }()
				time.Sleep(time.Millisecond) // so that it sleeps; nothing depends on it
				proctest.Must(t, c.close(l))
				want(t, "closed", <-blocked, os.ErrClosed)
				proctest.Must(t, seg.Close())
			}
		})
	}
}

// releaser releases what it does not hold, when told to, and says what came of it.
var releaser = proctest.NewRole("releaser", func(ctx context.Context, c *proctest.Child, a holdArgs) error {
	for {
		c.Hear()
		c.Say("%v", a.Lock.Release())
	}
})

// A release by another process, however late it comes, frees nothing and takes no mark away: not before the
// owner's death, nor after it, nor in the middle of the recovery.
func TestForeignRelease(t *testing.T) {
	l := newLock(t)
	p := hold.Start(t, holdArgs{l})
	p.WaitLine("held")
	foreign := releaser.Start(t, holdArgs{l})
	check := func(want ...error) {
		t.Helper()
		foreign.Tell("release")
		got := foreign.Line()
		if !slices.ContainsFunc(want, func(err error) bool { return err.Error() == got }) {
			t.Fatalf("Release by another process: %s, want %v", got, want)
		}
	}
	check(locks.ErrNotOwner)
	p.Kill()
	p.Wait()
	check(locks.ErrNotOwner, locks.ErrNotLocked) // as somebody has noticed by then, or not
	want(t, "Acquire", l.Acquire(over()), locks.ErrOwnerDied)
	check(locks.ErrNotLocked)
	want(t, "Acquire after a foreign release", l.Acquire(over()), locks.ErrOwnerDied)
	proctest.Must(t, l.Recover(t.Context(), func() error {
		check(locks.ErrNotOwner)
		want(t, "Acquire in the repair, after a foreign release", l.Acquire(over()), locks.ErrOwnerDied)
		return nil
	}))
	if !l.Locked() {
		t.Error("a foreign release freed what the recovery holds")
	}
	proctest.Must(t, l.Release())
}

// Cancellation against wake: whoever wins, nobody sleeps for ever and nobody holds what it was told it does not.
func TestCancelAgainstRelease(t *testing.T) {
	n := 3_000
	if testing.Short() {
		n = 300
	}
	l := newLock(t)
	taken := 0
	for i := range n {
		proctest.Must(t, l.Acquire(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var held atomic.Int32
		for range 2 {
			wg.Go(func() {
				if err := l.Acquire(ctx); err == nil {
					if held.Add(1) != 1 {
						t.Error("two hold it")
					}
					held.Add(-1)
					taken++
					if err := l.Release(); err != nil {
						t.Error(err)
					}
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		for range i % 50 {
			runtime.Gosched()
		}
		wg.Go(cancel)
		proctest.Must(t, l.Release())
		wg.Wait()
		if l.Locked() {
			t.Fatal("held by nobody")
		}
	}
	t.Logf("%d of %d acquired", taken, 2*n)
}

// The fast paths are part of the caller, on 64-bit machines.
func TestInlined(t *testing.T) {
	build := exec.Command("go", "build", "-gcflags=-m", "github.com/shoal-ipc/shoal/locks")
	build.Env = append(os.Environ(), "GOARCH=amd64", "CGO_ENABLED=0")
	out, err := build.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, f := range []string{"can inline (*Lock).Acquire", "can inline (*Lock).Release"} {
		if !strings.Contains(string(out), f+"\n") {
			t.Errorf("the compiler does not say %q", f)
		}
	}
}
