package locks_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// The words of crowdArgs.Count.
const (
	crowdNotified  = 0 // Waits that returned nil
	crowdCancelled = 4 // those that were cancelled
	crowdOther     = 8
	crowdReturned  = 12 // all, for who waits for that
	crowdWords     = 16
)

type crowdArgs struct {
	C     *locks.Condition
	Count *shm.Block
}

const crowdSize = 4

// crowd is some goroutines that wait together.
type crowd struct {
	a      crowdArgs
	cancel [crowdSize]context.CancelFunc
	wg     sync.WaitGroup
}

// wait begins the waits; when it returns they have begun.
func (c *crowd) wait() error {
	var held sync.WaitGroup
	for i := range crowdSize {
		ctx, cancel := context.WithCancel(context.Background())
		c.cancel[i] = cancel
		held.Add(1)
		c.wg.Go(func() {
			var err error
			if lost := c.a.C.Acquire(context.Background()); lost != nil {
				held.Done()
				err = lost
			} else {
				held.Done()
				err = c.a.C.Wait(ctx)
				if lost := c.a.C.Release(); lost != nil {
					err = lost
				}
			}
			switch {
			case err == nil:
				c.a.Count.Uint32(crowdNotified).Add(1)
			case errors.Is(err, context.Canceled):
				c.a.Count.Uint32(crowdCancelled).Add(1)
			default:
				c.a.Count.Uint32(crowdOther).Add(1)
			}
			c.a.Count.Uint32(crowdReturned).Add(1)
			futex.Wake(c.a.Count.Uint32(crowdReturned), 1)
		})
	}
	held.Wait()
	return locks.With(context.Background(), c.a.C, func() error { return nil })
}

// some cancels every other one, rest all.
func (c *crowd) some() {
	for i := 0; i < crowdSize; i += 2 {
		c.cancel[i]()
	}
}

func (c *crowd) rest() {
	for _, cancel := range c.cancel {
		cancel()
	}
	c.wg.Wait()
}

var crowdWaits = proctest.NewRole("cond-crowd", func(ctx context.Context, p *proctest.Child, a crowdArgs) error {
	c := &crowd{a: a}
	for {
		switch p.Hear() {
		case "wait":
			if err := c.wait(); err != nil {
				return err
			}
			p.Say("waits")
		case "some":
			c.some()
		case "rest":
			c.rest()
			p.Say("done")
		case "end":
			return nil
		}
	}
})

// returned waits until so many Waits have returned.
func (a crowdArgs) returned(t testing.TB, n int) {
	t.Helper()
	w := a.Count.Uint32(crowdReturned)
	for {
		got := w.Load()
		if int(got) >= n {
			return
		}
		proctest.Must(t, futex.Wait(t.Context(), w, got))
	}
}

// Of many who wait, in several processes, some are notified while some give up and some are killed: exactly as many Waits
// return nil as were notified. What those received who were killed or gave up others receive, and nobody receives more.
func TestConditionExact(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	rand := proctest.Rand(t)
	seg := proctest.Segment(t, 0)
	c, err := locks.NewCondition(seg, "cond", nil)
	proctest.Must(t, err)
	count, err := shm.NewBlock(seg, "", crowdWords)
	proctest.Must(t, err)
	a := crowdArgs{c, count}
	here := &crowd{a: crowdArgs{reopened(t, c), count}}
	const processes = 3
	var ps [processes]*proctest.Proc
	for round := range rounds {
		for i := range 4 {
			count.Uint32(4 * i).Store(0)
		}
		proctest.Must(t, here.wait())
		for i, p := range ps {
			if p == nil {
				ps[i] = crowdWaits.Start(t, a)
			}
			ps[i].Tell("wait")
		}
		for _, p := range ps {
			p.WaitLine("waits")
		}
		living := (1 + processes) * crowdSize
		killed := -1
		if round%4 != 3 {
			killed = rand.IntN(processes)
			living -= crowdSize
		}
		// Half of those who live are cancelled: no more is notified than others are there for.
		n := rand.IntN(living/2 + 1)
		proctest.Must(t, c.Acquire(t.Context()))
		cancel := func() {
			here.some()
			for _, p := range ps {
				p.Tell("some")
			}
		}
		early := rand.IntN(2) == 0
		if early {
			cancel()
		}
		for left := n; left > 0; {
			k := 1 + rand.IntN(left)
			proctest.Must(t, c.Notify(k))
			left -= k
		}
		if killed >= 0 {
			ps[killed].Kill()
			ps[killed].Wait()
			ps[killed] = nil
		}
		proctest.Must(t, c.Release())
		if !early {
			here.some()
			for i, p := range ps {
				if i != killed {
					p.Tell("some")
				}
			}
		}
		for w := count.Uint32(crowdReturned); int(count.Uint32(crowdNotified).Load()) < n; {
			a.returned(t, int(w.Load())+1)
		}
		here.rest()
		for _, p := range ps {
			if p != nil {
				p.Tell("rest")
				p.WaitLine("done")
			}
		}
		got := fmt.Sprint(count.Uint32(crowdNotified).Load(), count.Uint32(crowdCancelled).Load(), count.Uint32(crowdOther).Load())
		if want := fmt.Sprint(n, living-n, 0); got != want {
			t.Fatalf("round %d: notified, cancelled, other: %s, want %s", round, got, want)
		}
		nobodyWaits(t, c)
	}
	for _, p := range ps {
		if p != nil {
			p.Tell("end")
			proctest.Must(t, p.Wait())
		}
	}
}
