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

// TestConformance has the behaviours of Python's Lock. Who may release is different: the process that acquired.
func TestConformance(t *testing.T) {
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
