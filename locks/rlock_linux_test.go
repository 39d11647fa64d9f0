package locks_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

type rholdArgs struct {
	Lock *locks.RLock
}

func newRLock(t testing.TB) *locks.RLock {
	t.Helper()
	r, err := locks.NewRLock(proctest.Segment(t, 0), "rlock")
	proctest.Must(t, err)
	return r
}

// depth checks how often o holds the lock.
func depth(t testing.TB, o *locks.Owner, want int) {
	t.Helper()
	if o.Depth() != want {
		t.Errorf("depth %d, want %d", o.Depth(), want)
	}
}

func TestRLock(t *testing.T) {
	ctx := t.Context()
	r := newRLock(t)
	same, err := locks.OpenRLock(r.Segment(), "rlock")
	proctest.Must(t, err)
	o, other := r.Owner(), same.Owner()
	want(t, "Release of a free lock", o.Release(), locks.ErrNotLocked)
	for i := range 3 {
		if i == 1 {
			ok, err := o.TryAcquire()
			if !ok || err != nil {
				t.Errorf("TryAcquire of what o holds: %v, %v", ok, err)
			}
		} else {
			proctest.Must(t, o.Acquire(over())) // need not wait
		}
		depth(t, o, i+1)
	}
	proctest.Must(t, o.Recover(over(), func() error { t.Error("a repair ran where nobody had died"); return nil }))
	depth(t, o, 4)
	for i := range 4 {
		if ok, err := other.TryAcquire(); ok || err != nil || !other.Locked() {
			t.Errorf("another owner's TryAcquire: %v, %v", ok, err)
		}
		want(t, "another owner's Acquire", other.Acquire(over()), context.Canceled)
		want(t, "another owner's Release", other.Release(), locks.ErrNotOwner)
		depth(t, other, 0)
		proctest.Must(t, o.Release())
		depth(t, o, 3-i)
	}
	if o.Locked() {
		t.Error("locked after as many releases as acquires")
	}
	want(t, "one release too many", o.Release(), locks.ErrNotLocked)
	proctest.Must(t, other.Recover(ctx, nil))
	depth(t, other, 1)
	want(t, "Release of what another owner holds", o.Release(), locks.ErrNotOwner)
	proctest.Must(t, other.Release())

	// The owners of a handle go with it; those of others do not, and what was held is held.
	proctest.Must(t, other.Acquire(ctx))
	proctest.Must(t, same.Close())
	want(t, "closed handle", other.Acquire(ctx), os.ErrClosed)
	_, err = other.TryAcquire()
	want(t, "closed handle", err, os.ErrClosed)
	want(t, "closed handle", other.Recover(ctx, nil), os.ErrClosed)
	want(t, "closed handle", other.Release(), os.ErrClosed)
	want(t, "closed handle", same.Owner().Acquire(ctx), os.ErrClosed)
	want(t, "Acquire through another handle", o.Acquire(over()), context.Canceled)

	if _, err := locks.OpenLock(r.Segment(), "rlock"); !errors.Is(err, shm.ErrKind) {
		t.Errorf("OpenLock of a recursive lock: %v, want ErrKind", err)
	}
}

// rhold takes the lock twice and does what it is told.
var rhold = proctest.NewRole("rhold", func(ctx context.Context, c *proctest.Child, a rholdArgs) error {
	o := a.Lock.Owner()
	for range 2 {
		if err := o.Acquire(ctx); err != nil {
			return err
		}
	}
	c.Say("held")
	switch c.Hear() {
	case "release":
		for range 2 {
			if err := o.Release(); err != nil {
				return err
			}
		}
	case "leave":
		return a.Lock.Segment().Close()
	}
	return nil
})

// However the owner goes, and at whatever depth, the next to want the lock learns of it, everybody does until it is
// recovered, and nobody after that.
func TestRLockOwnerDied(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(p *proctest.Proc)
	}{
		{"killed", func(p *proctest.Proc) { p.Kill(); p.Wait() }},
		{"left", func(p *proctest.Proc) { p.Tell("leave"); p.Wait() }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			r := newRLock(t)
			o, other := r.Owner(), r.Owner()
			p := rhold.Start(t, rholdArgs{r})
			p.WaitLine("held")
			want(t, "Release of what another process holds", o.Release(), locks.ErrNotOwner)
			c.end(p)
			want(t, "Acquire", o.Acquire(over()), locks.ErrOwnerDied)
			want(t, "another owner's Acquire", other.Acquire(ctx), locks.ErrOwnerDied)
			_, err := o.TryAcquire()
			want(t, "TryAcquire", err, locks.ErrOwnerDied)
			want(t, "Release", o.Release(), locks.ErrNotLocked)
			depth(t, o, 0)

			broken := errors.New("broken")
			want(t, "a repair that fails", o.Recover(ctx, func() error {
				proctest.Must(t, o.Acquire(ctx)) // nests
				return broken
			}), broken)
			depth(t, o, 0)
			func() {
				defer func() { recover() }()
				o.Recover(ctx, func() error { panic("in the repair") })
			}()
			depth(t, o, 0)
			want(t, "a repair that gives up deeper down, and goes on", o.Recover(ctx, func() error {
				defer func() {
					recover()
					want(t, "another owner's Release of what the repair still has", other.Release(), locks.ErrNotOwner)
					want(t, "Recover in the repair that failed", o.Recover(over(), nil), locks.ErrOwnerDied)
				}()
				return locks.With(ctx, o, func() error { panic("in what the repair calls") })
			}), locks.ErrOwnerDied)
			want(t, "Acquire after all that", other.Acquire(ctx), locks.ErrOwnerDied)

			proctest.Must(t, o.Recover(ctx, func() error {
				want(t, "another owner's Acquire during the repair", other.Acquire(ctx), locks.ErrOwnerDied)
				want(t, "Release during the repair", o.Release(), locks.ErrNotLocked)
				want(t, "another owner's Release during the repair", other.Release(), locks.ErrNotOwner)
				return locks.With(ctx, o, func() error {
					depth(t, o, 2)
					return nil
				})
			}))
			depth(t, o, 1)
			proctest.Must(t, o.Release())
			proctest.Must(t, other.Acquire(over()))
			proctest.Must(t, other.Release())
		})
	}
}

// The tag says who holds the lock for as long as it is held: also during and after a repair that tries to release it, and when
// the handle is closed.
func TestRLockTag(t *testing.T) {
	ctx := t.Context()
	r := newRLock(t)
	o := r.Owner()
	mem, err := shm.Kind{Name: "rlock"}.OpenHandle(new(shm.Ref), r.Handle())
	proctest.Must(t, err)
	tag := func() uint64 { return binary.LittleEndian.Uint64(mem[8:]) }
	proctest.Must(t, o.Acquire(ctx))
	number := tag()
	proctest.Must(t, o.Release())
	if number == 0 || tag() != 0 {
		t.Errorf("the tag is %x while held, then %x", number, tag())
	}
	func() {
		defer func() { recover() }()
		locks.With(ctx, o, func() error { panic("in f") })
	}()
	proctest.Must(t, o.Recover(ctx, func() error {
		want(t, "Release during the repair", o.Release(), locks.ErrNotLocked)
		if tag() != number {
			t.Errorf("during the repair the tag is %x, want %x", tag(), number)
		}
		return nil
	}))
	proctest.Must(t, r.Close())
	want(t, "Release of a closed handle", o.Release(), os.ErrClosed)
	if tag() != number {
		t.Errorf("after Close of the handle the tag is %x, want %x", tag(), number)
	}
}

// A panic leaves the lock at every depth: what is guarded may be half changed, also for the outer scopes.
func TestRLockWith(t *testing.T) {
	ctx := t.Context()
	r := newRLock(t)
	o := r.Owner()
	proctest.Must(t, locks.With(ctx, o, func() error {
		return locks.With(ctx, o, func() error {
			depth(t, o, 2)
			return nil
		})
	}))
	depth(t, o, 0)
	func() {
		defer func() {
			if recover() != "in f" {
				t.Error("the panic did not go on")
			}
		}()
		locks.With(ctx, o, func() error {
			return locks.With(ctx, o, func() error { panic("in f") })
		})
	}()
	depth(t, o, 0)
	want(t, "Acquire after a panic", r.Owner().Acquire(ctx), locks.ErrOwnerDied)
	proctest.Must(t, o.Recover(ctx, nil))
	proctest.Must(t, o.Release())

	want(t, "an outer scope that went on", locks.With(ctx, o, func() error {
		func() {
			defer func() { recover() }()
			locks.With(ctx, o, func() error { panic("in f") })
		}()
		want(t, "Acquire after a panic deeper down", o.Acquire(ctx), locks.ErrOwnerDied)
		return nil
	}), locks.ErrNotLocked)
}

type rcountArgs struct {
	Lock  *locks.RLock
	Block *shm.Block
	N     int
}

// rincrement is increment with an owner of its own, each step at another depth.
func rincrement(ctx context.Context, a rcountArgs) error {
	o := a.Lock.Owner()
	x, y := a.Block.Uint32(0), a.Block.Uint32(4)
	for range a.N {
		err := locks.With(ctx, o, func() error {
			v := x.Load()
			x.Store(v + 1)
			return locks.With(ctx, o, func() error {
				if w := y.Load(); w != v {
					return fmt.Errorf("two in the critical section: %d and %d", v, w)
				}
				y.Store(v + 1)
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	runtime.KeepAlive(a.Block)
	return nil
}

var rcount = proctest.NewRole("rcount", func(ctx context.Context, c *proctest.Child, a rcountArgs) error {
	errs := make(chan error, 3)
	for range cap(errs) {
		go func() { errs <- rincrement(ctx, a) }()
	}
	var err error
	for range cap(errs) {
		err = errors.Join(err, <-errs)
	}
	return err
})

func TestRLockHammer(t *testing.T) {
	n := 5_000
	if testing.Short() {
		n = 500
	}
	r := newRLock(t)
	b, err := shm.NewBlock(r.Segment(), "", 8)
	proctest.Must(t, err)
	a := rcountArgs{r, b, n}
	var ps []*proctest.Proc
	for range 3 {
		ps = append(ps, rcount.Start(t, a))
	}
	proctest.Must(t, rincrement(t.Context(), a))
	for _, p := range ps {
		proctest.Must(t, p.Wait())
	}
	if got := b.Uint32(0).Load(); got != uint32(10*n) {
		t.Errorf("counted %d of %d", got, 10*n)
	}
	runtime.KeepAlive(b)
}

// A waiter that is stopped holds nobody up, and gets the lock when it goes on.
func TestRLockWaiterStopped(t *testing.T) {
	r := newRLock(t)
	o := r.Owner()
	proctest.Must(t, o.Acquire(t.Context()))
	stopped, other := rhold.Start(t, rholdArgs{r}), rhold.Start(t, rholdArgs{r})
	stopped.Asleep()
	other.Asleep()
	stopped.Stop()
	proctest.Must(t, o.Release())
	other.WaitLine("held")
	other.Tell("release")
	proctest.Must(t, other.Wait())
	for range 100 {
		proctest.Must(t, o.Acquire(t.Context()))
		proctest.Must(t, o.Release())
	}
	stopped.Continue()
	stopped.WaitLine("held")
	stopped.Tell("release")
	proctest.Must(t, stopped.Wait())
}

// Who only ever tries learns of the death too.
func TestRLockTryAcquireNotices(t *testing.T) {
	r := newRLock(t)
	o := r.Owner()
	p := rhold.Start(t, rholdArgs{r})
	p.WaitLine("held")
	if ok, err := o.TryAcquire(); ok || err != nil {
		t.Fatalf("TryAcquire of a held lock: %v, %v", ok, err)
	}
	p.Kill()
	p.Wait()
	for {
		ok, err := o.TryAcquire()
		if ok {
			t.Fatal("acquired what its owner died with")
		}
		if err != nil {
			want(t, "TryAcquire", err, locks.ErrOwnerDied)
			return
		}
	}
}

// rreleaser releases what it does not hold, when told to, and says what came of it.
var rreleaser = proctest.NewRole("rreleaser", func(ctx context.Context, c *proctest.Child, a rholdArgs) error {
	o := a.Lock.Owner()
	for {
		c.Hear()
		c.Say("%v", o.Release())
	}
})

// A release by an owner that does not hold the lock, in this process or another, frees nothing and takes no mark away.
func TestRLockForeignRelease(t *testing.T) {
	r := newRLock(t)
	o, near := r.Owner(), r.Owner()
	far := rreleaser.Start(t, rholdArgs{r})
	check := func(err error) {
		t.Helper()
		want(t, "Release by another owner of the process", near.Release(), err)
		far.Tell("release")
		if got := far.Line(); got != err.Error() {
			t.Fatalf("Release by another process: %s, want %v", got, err)
		}
	}
	check(locks.ErrNotLocked)
	proctest.Must(t, o.Acquire(t.Context()))
	check(locks.ErrNotOwner)
	proctest.Must(t, o.Acquire(t.Context()))
	check(locks.ErrNotOwner)
	proctest.Must(t, o.Release())
	check(locks.ErrNotOwner)
	proctest.Must(t, o.Release())
	check(locks.ErrNotLocked)
	p := rhold.Start(t, rholdArgs{r})
	p.WaitLine("held")
	p.Kill()
	p.Wait()
	want(t, "Acquire", o.Acquire(over()), locks.ErrOwnerDied)
	check(locks.ErrNotLocked)
	proctest.Must(t, o.Recover(t.Context(), func() error {
		check(locks.ErrNotOwner)
		want(t, "Acquire in the repair, after foreign releases", near.Acquire(over()), locks.ErrOwnerDied)
		return nil
	}))
	check(locks.ErrNotOwner)
	depth(t, o, 1)
	proctest.Must(t, o.Release())
}

// An Acquire with OnOwnerDied recovers; one whose repair fails leaves the lock as it was, also for others.
func TestOnOwnerDied(t *testing.T) {
	ctx := t.Context()
	l := newLock(t)
	var repairs int
	var fails error
	m, err := locks.OpenLock(l.Segment(), "lock", locks.LockOptions{OnOwnerDied: func() error {
		repairs++
		if !l.Locked() {
			t.Error("a repair without the lock")
		}
		return fails
	}})
	proctest.Must(t, err)
	proctest.Must(t, m.Acquire(ctx))
	proctest.Must(t, m.Release())
	p := hold.Start(t, holdArgs{l})
	p.WaitLine("held")
	p.Kill()
	p.Wait()
	want(t, "Acquire through a handle without the option", l.Acquire(ctx), locks.ErrOwnerDied)
	_, err = m.TryAcquire()
	want(t, "TryAcquire", err, locks.ErrOwnerDied)
	if repairs != 0 {
		t.Errorf("%d repairs before Acquire", repairs)
	}
	fails = errors.New("broken")
	want(t, "Acquire with a repair that fails", m.Acquire(ctx), fails)
	want(t, "Acquire after that", l.Acquire(ctx), locks.ErrOwnerDied)
	fails = nil
	mu := locks.Locker(m)
	mu.Lock()
	if repairs != 2 || !l.Locked() {
		t.Errorf("%d repairs, locked %t", repairs, l.Locked())
	}
	mu.Unlock()
	proctest.Must(t, l.Acquire(over()))
	proctest.Must(t, l.Release())

	func() {
		defer func() {
			if recover() == nil {
				t.Error("two options are taken")
			}
		}()
		locks.OpenLock(l.Segment(), "lock", locks.LockOptions{}, locks.LockOptions{})
	}()
}

// A Locker has no error to return, so it panics.
func TestLocker(t *testing.T) {
	l := newLock(t)
	mu := locks.Locker(l)
	mu.Lock()
	if !l.Locked() {
		t.Error("not held")
	}
	mu.Unlock()
	for what, f := range map[string]func(){"Unlock of a free lock": mu.Unlock, "Lock of a closed one": func() { l.Close(); mu.Lock() }} {
		func() {
			defer func() {
				if err, ok := recover().(error); !ok || !errors.Is(err, locks.ErrNotLocked) && !errors.Is(err, os.ErrClosed) {
					t.Errorf("%s panics with %v", what, err)
				}
			}()
			f()
		}()
	}
}

// However many goroutines of a process are in line, each gets its turn, and when all give up nothing is left of them:
// the word is as if nobody had ever slept, after the next release.
func TestManyInLine(t *testing.T) {
	n := 10_000
	if testing.Short() {
		n = 1_000
	}
	proctest.Watch(t)
	l := newLock(t)
	r, err := locks.NewRLock(l.Segment(), "")
	proctest.Must(t, err)
	for name, of := range map[string]func() locks.Mutex{
		"Lock":  func() locks.Mutex { return l },
		"RLock": func() locks.Mutex { return r.Owner() },
	} {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			first := of()
			got, failed := 0, 0
			line := func(ctx context.Context) *sync.WaitGroup {
				var begun, ended sync.WaitGroup
				var mu sync.Mutex
				for range n {
					begun.Add(1)
					m := of()
					ended.Go(func() {
						begun.Done()
						err := m.Acquire(ctx)
						if err == nil {
							got++ // it is what the lock guards
							err = m.Release()
						} else if errors.Is(err, context.Canceled) {
							mu.Lock()
							failed++
							mu.Unlock()
							err = nil
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
				begun.Wait()
				time.Sleep(20 * time.Millisecond) // so that they wait; nothing depends on it
				return &ended
			}
			proctest.Must(t, first.Acquire(t.Context()))
			all := line(t.Context())
			proctest.Must(t, first.Release())
			all.Wait()
			if got != n {
				t.Errorf("%d of %d got the lock", got, n)
			}

			ctx, cancel := context.WithCancel(t.Context())
			proctest.Must(t, first.Acquire(t.Context()))
			all = line(ctx)
			cancel()
			all.Wait()
			if got != n || failed != n {
				t.Errorf("%d got the lock while it was held, %d of %d gave up", got-n, failed, n)
			}
			proctest.Must(t, first.Release())
			kind, handle := "lock", l.Handle()
			if name == "RLock" {
				kind, handle = "rlock", r.Handle()
			}
			if w := wordAt(t, kind, handle); w != 0 {
				t.Errorf("the word is %#x", w)
			}
			for runtime.NumGoroutine() > before { // the watchdog ends what does not
				runtime.Gosched()
			}
		})
	}
}
