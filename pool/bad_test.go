package pool

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

// TestPauses: starts that fail for ever do not come faster and faster.
func TestPauses(t *testing.T) {
	for n, last := 0, time.Duration(0); n < 1000; n++ {
		if pause := pauseAfter(n); pause < last || n > 0 && pause <= 0 || pause > time.Second {
			t.Fatalf("after %d failures a pause of %v, before that %v", n, pause, last)
		} else {
			last = pause
		}
	}
}

// TestFarDeadline: one that is as far as can be said is no deadline that has passed.
func TestFarDeadline(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), math.MaxInt64)
	defer cancel()
	if at := deadlineOf(ctx); at < sys.Monotonic()+int64(time.Hour) {
		t.Errorf("it is at %d", at)
	}
}

// count counts results.
type counter struct {
	err error
	n   int
}

func (c *counter) receive(i int, o *outcome) { c.n, c.err = c.n+1, o.err }
func (c *counter) ended()                    {}

func newTestDealer(t *testing.T) (*dealer, *hand) {
	seg := proctest.Segment(t, 0)
	board, err := shm.NewBlock(seg, "", boardSize)
	proctest.Must(t, err)
	desk, err := shm.NewBlock(seg, "", deskSize())
	proctest.Must(t, err)
	d, err := newDealer(seg, board.Bytes())
	proctest.Must(t, err)
	h, err := d.newHand(desk.Bytes())
	proctest.Must(t, err)
	h.state, h.block = working, desk
	d.enter(h)
	return d, h
}

// TestEndedBeforeBegin: a context that ends while the argument is being encoded ends the call, too.
func TestEndedBeforeBegin(t *testing.T) {
	d, h := newTestDealer(t)
	to := new(counter)
	c := &call{fn: new(function), to: to, only: true, full: true}
	d.cancel(c, context.Canceled, nil)
	if err := d.begin(c); err != context.Canceled {
		t.Errorf("it begins: %v", err)
	}
	if h.dealt != 0 || to.n != 0 || len(d.open) != 0 {
		t.Error("something is left of it")
	}
}

// TestTurnBack: a worker that takes back that it has begun a task, which nobody waits for, harms itself.
func TestTurnBack(t *testing.T) {
	d, h := newTestDealer(t)
	tos := [2]*counter{new(counter), new(counter)}
	var cs [2]*call
	for i := range cs {
		cs[i] = &call{fn: new(function), to: tos[i], only: true, full: true}
		if err := d.begin(cs[i]); err != nil {
			t.Fatal(err)
		}
		if _, err := d.give(cs[i], make([]task, 1)); err != nil {
			t.Fatal(err)
		}
	}
	h.desk.turn.Add(1) // begun
	d.cancel(cs[0], context.Canceled, nil)
	h.desk.turn.Add(^uint64(0))
	d.mu.Lock()
	ts := d.recall(h, h.taken.Load())
	d.again = append(d.again, ts...)
	d.queued += len(ts)
	d.deal()
	d.bury(h, func(string) error { return errors.New("died") })
	d.mu.Unlock()
	d.cancel(cs[1], context.Canceled, nil)
	if tos[0].n != 1 || tos[1].n != 1 || !h.corrupt {
		t.Errorf("%d and %d results, corrupt %v", tos[0].n, tos[1].n, h.corrupt)
	}
}

// TestLostResult: a large result that was swept up, because its worker died before anybody claimed it, is none: the task fails with
// its worker's death, or is run again.
func TestLostResult(t *testing.T) {
	for retries := range 2 {
		d, h := newTestDealer(t)
		d.retries = retries
		to := new(counter)
		c := &call{fn: new(function), to: to, only: true, full: true}
		if err := d.begin(c); err != nil {
			t.Fatal(err)
		}
		if _, err := d.give(c, make([]task, 1)); err != nil {
			t.Fatal(err)
		}
		offset, _, err := d.seg.Allocate(1000)
		if err != nil {
			t.Fatal(err)
		}
		stamp, err := d.seg.Pass(offset, nil)
		if err != nil {
			t.Fatal(err)
		}
		h.desk.turn.Add(1) // begun
		s := &h.slots[0]
		s.kind, s.size = inBlock, 1000
		place(s.data[:], offset, stamp+1) // as if it was another's by now
		h.desk.done.Publish(1)
		d.mu.Lock()
		d.collect()
		if to.n != 0 || !h.corrupt {
			t.Errorf("%d results, corrupt %v", to.n, h.corrupt)
		}
		died := errors.New("died")
		d.bury(h, func(string) error { return died })
		again := d.queued
		d.mu.Unlock()
		if want := 1 - retries; to.n != want || again != retries || want == 1 && to.err != died {
			t.Errorf("with %d retries %d results (%v), %d tasks again", retries, to.n, to.err, again)
		}
		d.cancel(c, context.Canceled, nil)
		if to.n != 1 {
			t.Errorf("%d results", to.n)
		}
	}
}
