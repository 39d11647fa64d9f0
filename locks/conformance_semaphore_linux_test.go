package locks_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
)

// upAndDown is what Python's tests do with a semaphore of 2.
func upAndDown(t *testing.T, s *locks.Semaphore) {
	t.Helper()
	hasPermits(t, s, 2)
	proctest.Must(t, s.Acquire(t.Context()))
	hasPermits(t, s, 1)
	proctest.Must(t, s.Acquire(t.Context()))
	hasPermits(t, s, 0)
	if ok, err := s.TryAcquire(); ok || err != nil {
		t.Errorf("TryAcquire of none: %v, %v", ok, err)
	}
	hasPermits(t, s, 0)
	proctest.Must(t, s.Release())
	hasPermits(t, s, 1)
	proctest.Must(t, s.Release())
	hasPermits(t, s, 2)
}

// overReleases releases once, by a process of its own, and says what came of it.
var overReleases = proctest.NewRole("over-releases", func(ctx context.Context, c *proctest.Child, a overReleaseArgs) error {
	c.Say("%v", a.S.Release())
	return nil
})

// TestConformanceSemaphore has the behaviours of Python's semaphores and events.
func TestConformanceSemaphore(t *testing.T) {
	t.Run("SEM-01", func(t *testing.T) {
		withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) { upAndDown(t, newSemaphore(t, 2, o)) })
	})
	t.Run("SEM-02", func(t *testing.T) { // anybody may release, also who has acquired nothing
		s := newSemaphore(t, 2)
		upAndDown(t, s)
		proctest.Must(t, s.Release())
		hasPermits(t, s, 3)
		p := permit.Start(t, semaphoreArgs{S: s})
		p.WaitLine("held")
		proctest.Must(t, s.Release())
		p.Tell("release")
		proctest.Must(t, p.Wait())
		hasPermits(t, s, 4)
	})
	t.Run("SEM-03", func(t *testing.T) {
		b, err := locks.NewBoundedSemaphore(proctest.Segment(t, 1), "", 2)
		proctest.Must(t, err)
		upAndDown(t, &b.Semaphore)
		want(t, "Release above the first value", b.Release(), locks.ErrOverReleased)
		e := newEvent(t)
		p := overReleases.Start(t, overReleaseArgs{b, e, 1})
		p.WaitLine(locks.ErrOverReleased.Error())
		proctest.Must(t, p.Wait())
		hasPermits(t, &b.Semaphore, 2)
	})
	t.Run("EVT-01", func(t *testing.T) {
		e := newEvent(t)
		if e.IsSet() {
			t.Error("a new event is set")
		}
		want(t, "Wait that may not last", e.Wait(over()), context.Canceled)
		soon, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		defer cancel()
		began := time.Now()
		if err := e.Wait(soon); err != context.DeadlineExceeded || time.Since(began) < 25*time.Millisecond {
			t.Errorf("Wait that may last 30 ms: %v after %v", err, time.Since(began))
		}
		p := eventWaiter.Start(t, eventArgs{E: e})
		p.Asleep()
		proctest.Must(t, e.Set())
		p.WaitLine("freed")
		proctest.Must(t, p.Wait())
	})
	t.Run("SEED-20", func(t *testing.T) {
		n := 1000
		if testing.Short() || runtime.GOMAXPROCS(0) == 1 { // there a goroutine that goes to sleep holds up the others for milliseconds
			n = 100
		}
		setAndClear(t, n)
	})
	t.Run("SEED-21", func(t *testing.T) {
		withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
			if most := hammerSem(t, newSemaphore(t, 3, o), 8, 500); most != 3 {
				t.Errorf("up to %d were inside, want 3", most)
			}
		})
	})
}
