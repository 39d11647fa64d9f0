package locks_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

func newEvent(t testing.TB) *locks.Event {
	t.Helper()
	e, err := locks.NewEvent(proctest.Segment(t, 1), "event")
	proctest.Must(t, err)
	return e
}

func TestEvent(t *testing.T) {
	e := newEvent(t)
	f, err := locks.OpenEvent(e.Segment(), "event")
	proctest.Must(t, err)
	_, err = locks.OpenSemaphore(e.Segment(), "event")
	want(t, "an event opened as a semaphore", err, shm.ErrKind)
	want(t, "Wait with a context that is done", e.Wait(over()), context.Canceled)
	for range 2 {
		proctest.Must(t, e.Clear())
		if e.IsSet() || f.IsSet() {
			t.Error("set after Clear")
		}
	}
	for range 2 {
		proctest.Must(t, e.Set())
		if !e.IsSet() || !f.IsSet() {
			t.Error("not set after Set")
		}
	}
	proctest.Must(t, f.Wait(over())) // need not wait
	proctest.Must(t, f.Clear())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	cancelled, closed, patient := make(chan error), make(chan error), make(chan error)
	go func() { cancelled <- e.Wait(ctx) }()
	go func() { closed <- f.Wait(t.Context()) }()
	go func() { patient <- e.Wait(t.Context()) }()
	select {
	case <-cancelled:
		t.Fatal("freed by nobody")
	case <-closed:
		t.Fatal("freed by nobody")
	case <-patient:
		t.Fatal("freed by nobody")
	case <-time.After(30 * time.Millisecond): // so that they sleep; nothing depends on it
	}
	cancel()
	want(t, "cancelled", <-cancelled, context.Canceled)
	proctest.Must(t, f.Close())
	want(t, "closed", <-closed, os.ErrClosed)
	proctest.Must(t, e.Set())
	proctest.Must(t, <-patient)
	want(t, "closed handle", f.Set(), os.ErrClosed)
	want(t, "closed handle", f.Clear(), os.ErrClosed)
	want(t, "closed handle", f.Wait(over()), os.ErrClosed)

	proctest.Must(t, e.Clear())
	go func() { patient <- e.Wait(context.Background()) }()
	time.Sleep(10 * time.Millisecond)
	proctest.Must(t, e.Segment().Close())
	want(t, "closed segment", <-patient, os.ErrClosed)
}

type eventArgs struct {
	E *locks.Event
	N int
}

// eventWaiter waits for the event.
var eventWaiter = proctest.NewRole("event-waiter", func(ctx context.Context, c *proctest.Child, a eventArgs) error {
	if err := a.E.Wait(ctx); err != nil {
		return err
	}
	c.Say("freed")
	return nil
})

// Waiters that are killed or stopped hold nobody up, and one that is stopped is freed though the event was cleared meanwhile.
func TestEventWaiters(t *testing.T) {
	e := newEvent(t)
	killed, stopped, other := eventWaiter.Start(t, eventArgs{E: e}), eventWaiter.Start(t, eventArgs{E: e}), eventWaiter.Start(t, eventArgs{E: e})
	for _, p := range []*proctest.Proc{killed, stopped, other} {
		p.Asleep()
	}
	killed.Kill()
	killed.Wait()
	stopped.Stop()
	proctest.Must(t, e.Set())
	proctest.Must(t, e.Clear())
	other.WaitLine("freed")
	proctest.Must(t, other.Wait())
	stopped.Continue()
	stopped.WaitLine("freed")
	proctest.Must(t, stopped.Wait())
	if w := binary.LittleEndian.Uint32(memoryOf(t, e, "event")); w&3 != 0 {
		t.Errorf("the flag is %#x, though nobody sleeps", w)
	}
}

// The count of a flag comes round.
func TestEventWraps(t *testing.T) {
	e := newEvent(t)
	binary.LittleEndian.PutUint32(memoryOf(t, e, "event"), 1<<32-4)
	done := make(chan error)
	go func() { done <- e.Wait(t.Context()) }()
	time.Sleep(10 * time.Millisecond) // so that it sleeps; nothing depends on it
	for range 3 {
		proctest.Must(t, e.Set())
		proctest.Must(t, e.Clear())
		proctest.Must(t, e.Set())
	}
	proctest.Must(t, <-done)
	if w := binary.LittleEndian.Uint32(memoryOf(t, e, "event")); w != 3<<2|1 {
		t.Errorf("the flag is %#x", w)
	}
}

// Many goroutines wait for one event, some of them give up, and Set and Clear free the others.
func TestManyWaitForEvent(t *testing.T) {
	const n = 10_000 // of threads would be more than the runtime allows
	e := newEvent(t)
	for range 3 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg, waiting sync.WaitGroup
		for i := range n {
			waiting.Add(1)
			wg.Go(func() {
				on := context.Background()
				if i%100 == 0 {
					on = ctx
				}
				waiting.Done()
				if err := e.Wait(on); err != nil && !(i%100 == 0 && errors.Is(err, context.Canceled)) {
					t.Error(err)
				}
			})
		}
		waiting.Wait()
		time.Sleep(20 * time.Millisecond) // so that most of them wait
		cancel()
		proctest.Must(t, e.Set())
		wg.Wait()
		proctest.Must(t, e.Clear())
	}
}

// rounds lets two goroutines wait for the event, N times, says when both do, and when both were freed.
var rounds = proctest.NewRole("rounds", func(ctx context.Context, c *proctest.Child, a eventArgs) error {
	stacks := make([]byte, 1<<16)
	for range a.N {
		freed := make(chan error, 2)
		for range 2 {
			go func() { freed <- a.E.Wait(ctx) }()
		}
		for waiting := 0; waiting != 2; {
			waiting = 0
			for _, g := range bytes.Split(stacks[:runtime.Stack(stacks, true)], []byte("\n\n")) {
				// Who has gone that far has looked at the event.
				if bytes.Contains(g, []byte("locks.(*Event).Wait(")) && bytes.Contains(g, []byte("internal/parking.")) {
					waiting++
				}
			}
		}
		c.Say("waiting")
		if err := errors.Join(<-freed, <-freed); err != nil {
			return err
		}
		c.Say("freed")
		c.Hear() // that the event was cleared
	}
	return nil
})

// setAndClear frees eight goroutines in four processes by Set and at once Clear, n times.
func setAndClear(t *testing.T, n int) {
	e := newEvent(t)
	var ps []*proctest.Proc
	for range 4 {
		ps = append(ps, rounds.Start(t, eventArgs{e, n}))
	}
	for range n {
		for _, p := range ps {
			p.WaitLine("waiting")
		}
		proctest.Must(t, e.Set())
		proctest.Must(t, e.Clear())
		for _, p := range ps {
			p.WaitLine("freed")
			p.Tell("again")
		}
	}
	for _, p := range ps {
		proctest.Must(t, p.Wait())
	}
}
