package locks_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
)

// seesLocked takes the lock and says whether it finds it locked, then frees it and says so again.
var seesLocked = proctest.NewRole("sees-locked", func(ctx context.Context, c *proctest.Child, a holdArgs) error {
	if err := a.Lock.Acquire(ctx); err != nil {
		return err
	}
	c.Say("%v", a.Lock.Locked())
	c.Hear()
	if err := a.Lock.Release(); err != nil {
		return err
	}
	c.Say("%v", a.Lock.Locked())
	c.Hear()
	return nil
})

// rseesLocked is the same with a recursive lock that it takes twice; it says what its owner and another one see.
var rseesLocked = proctest.NewRole("rsees-locked", func(ctx context.Context, c *proctest.Child, a rholdArgs) error {
	o, other := a.Lock.Owner(), a.Lock.Owner()
	for range 2 {
		if err := o.Acquire(ctx); err != nil {
			return err
		}
	}
	for o.Depth() > 0 {
		c.Say("%v; %v", o, other)
		c.Hear()
		if err := o.Release(); err != nil {
			return err
		}
	}
	c.Say("%v; %v", o, other)
	c.Hear()
	return nil
})

// says checks the text of a lock.
func says(t *testing.T, lock fmt.Stringer, want string) {
	t.Helper()
	if got := fmt.Sprint(lock); got != want {
		t.Errorf("it says %s, want %s", got, want)
	}
}

// TestConformance has the behaviours of Python's Lock and RLock. Who may release is different: the process that
// acquired, or the Owner.
func TestConformance(t *testing.T) {
	t.Run("LOCK-01", func(t *testing.T) {
		l := newLock(t)
		says(t, l, `lock "lock", free`)
		proctest.Must(t, l.Acquire(t.Context()))
		says(t, l, `lock "lock", held by this process`)
		m, err := locks.OpenLock(l.Segment(), "lock")
		proctest.Must(t, err)
		held := make(chan string)
		go func() { held <- fmt.Sprint(m) }() // goroutines have no names
		if got := <-held; got != `lock "lock", held by this process` {
			t.Errorf("another goroutine says %s", got)
		}
		proctest.Must(t, m.Close())
		says(t, m, `lock "lock", closed`)
		proctest.Must(t, l.Release())
		says(t, new(locks.Lock), "lock")

		p := hold.Start(t, holdArgs{l})
		p.WaitLine("held")
		says(t, l, fmt.Sprintf(`lock "lock", held by process %d`, p.Pid()))
		p.Kill()
		p.Wait()
		dead, buried := fmt.Sprintf(`lock "lock", held by process %d, which died`, p.Pid()), `lock "lock", to be recovered: its owner died`
		if got := fmt.Sprint(l); got != dead && got != buried { // as somebody has marked the death by then, or not
			t.Errorf("after the owner's death it says %s", got)
		}
		want(t, "Acquire", l.Acquire(t.Context()), locks.ErrOwnerDied)
		says(t, l, buried)
	})
	t.Run("LOCK-04", func(t *testing.T) {
		r := newRLock(t)
		o, other := r.Owner(), r.Owner()
		says(t, o, `rlock "rlock", free`)
		for n := 1; n <= 3; n++ {
			proctest.Must(t, o.Acquire(t.Context()))
			says(t, o, fmt.Sprintf(`rlock "rlock", held by this owner, depth %d`, n))
			says(t, other, `rlock "rlock", held by another owner in this process`)
			says(t, r, `rlock "rlock", held by this process`)
		}
		for range 3 {
			proctest.Must(t, o.Release())
		}
		p := rseesLocked.Start(t, rholdArgs{r})
		for n := 2; n > 0; n-- {
			p.WaitLine(fmt.Sprintf(`rlock "rlock", held by this owner, depth %d; rlock "rlock", held by another owner in this process`, n))
			says(t, o, fmt.Sprintf(`rlock "rlock", held by process %d`, p.Pid()))
			p.Tell("go on")
		}
		p.WaitLine(`rlock "rlock", free; rlock "rlock", free`)
		says(t, o, `rlock "rlock", free`)
		p.Tell("end")
		proctest.Must(t, p.Wait())
	})
	t.Run("LOCK-05", func(t *testing.T) {
		r := newRLock(t)
		o := r.Owner()
		seen := func(locked bool) {
			t.Helper()
			there := make(chan bool)
			go func() { there <- r.Owner().Locked() }()
			if o.Locked() != locked || <-there != locked {
				t.Errorf("not everybody sees that it is locked: %t", locked)
			}
		}
		for range 3 {
			proctest.Must(t, o.Acquire(t.Context()))
			seen(true)
		}
		for n := range 3 {
			proctest.Must(t, o.Release())
			seen(n < 2)
		}
		want(t, "a fourth Release", o.Release(), locks.ErrNotLocked)

		p := rhold.Start(t, rholdArgs{r}) // twice
		p.WaitLine("held")
		seen(true)
		p.Tell("release")
		proctest.Must(t, p.Wait())
		seen(false)
	})
	t.Run("LOCK-08", func(t *testing.T) {
		r := newRLock(t)
		o := r.Owner()
		ran := false
		proctest.Must(t, locks.With(t.Context(), o, func() error {
			ran = o.Locked()
			return nil
		}))
		if !ran || o.Locked() {
			t.Errorf("held inside: %v, held after: %v", ran, o.Locked())
		}
	})
	t.Run("LOCK-02", func(t *testing.T) {
		l := newLock(t)
		ok, err := l.TryAcquire()
		if !ok || err != nil || !l.Locked() {
			t.Errorf("a free lock: %v, %v, locked %v", ok, err, l.Locked())
		}
		if ok, err := l.TryAcquire(); ok || err != nil {
			t.Errorf("a held lock: %v, %v", ok, err)
		}
		proctest.Must(t, l.Release())
		if l.Locked() {
			t.Error("locked after Release")
		}
		want(t, "Release of a free lock", l.Release(), locks.ErrNotLocked)
	})
	t.Run("LOCK-03", func(t *testing.T) {
		l := newLock(t)
		p := seesLocked.Start(t, holdArgs{l})
		for _, locked := range []bool{true, false} {
			if child := p.Line(); child != fmt.Sprint(locked) || l.Locked() != locked {
				t.Errorf("the child says %s, the parent %v, want %v", child, l.Locked(), locked)
			}
			p.Tell("go on")
		}
		proctest.Must(t, p.Wait())
	})
	t.Run("LOCK-07", func(t *testing.T) { // scoped use: the function runs with the lock held, and only then
		l := newLock(t)
		ran := false
		proctest.Must(t, locks.With(t.Context(), l, func() error {
			ran = l.Locked()
			return nil
		}))
		if !ran || l.Locked() {
			t.Errorf("held inside: %v, held after: %v", ran, l.Locked())
		}
	})
}
