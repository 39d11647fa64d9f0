package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/locks"
)

// shelf is a place for one thing, which producers put there and consumers take away. Those who wait for it do so without end, and
// are notified of each change, one at a time: if a notification is lost, in time all are asleep.
//
// Who is new, in place of one who was killed, or has given up, does not look at the shelf but waits to be notified, since he
// might make up for what the other one lost. He may do so because there always are others who look before they wait. Who finds
// that somebody died with the lock notifies all.
type shelf struct {
	Full, Room *locks.Condition // on one lock
}

// Where the words of the shelf are in world.Plain, which the lock guards, but for the last two, where those are
// counted that a barrier let pass, by their index; and the two words that a reader-writer lock guards.
const (
	madeAt   = 768
	takenAt  = 772
	thingAt  = 896 // the number of the last thing that was made
	passedAt = 1024
	rwX      = 1152
	rwY      = 1280
	plain    = 1536 // size of the block
)

func newShelf(w *world) (err error) {
	seg := w.Lock.Segment()
	if w.Shelf.Full, err = locks.NewCondition(seg, "full", nil); err != nil {
		return err
	}
	w.Shelf.Room, err = locks.NewCondition(seg, "room", w.Shelf.Full.Mutex())
	return err
}

// enter takes the lock of the shelf.
func (w world) enter(ctx context.Context) error {
	err := w.Shelf.Full.Acquire(ctx)
	if errors.Is(err, locks.ErrOwnerDied) {
		err = w.mend(ctx)
	}
	return err
}

// mend is enter, which notifies all if the holder of the lock died.
func (w world) mend(ctx context.Context) error {
	return w.Shelf.Full.Mutex().Recover(ctx, func() error {
		return errors.Join(w.Shelf.Full.NotifyAll(), w.Shelf.Room.NotifyAll())
	})
}

// await waits on c, whose lock is held, until there are so many things; unasked it does not look at first. The error os.ErrClosed
// says that the lock is not held any more.
func (w world) await(ctx context.Context, c *locks.Condition, things uint32, unasked bool, r *rand.Rand) error {
	made, taken := w.Plain.Uint32(madeAt), w.Plain.Uint32(takenAt)
	for unasked || made.Load()-taken.Load() != things {
		unasked = false
		wait := ctx
		cancel := func() {}
		if r != nil && r.IntN(4) == 0 {
			wait, cancel = context.WithTimeout(ctx, time.Duration(r.IntN(1000))*time.Microsecond)
		}
		err := c.Wait(wait)
		cancel()
		switch {
		case err == context.DeadlineExceeded: // so it was not notified
			unasked = true
		case errors.Is(err, locks.ErrOwnerDied):
			if err := errors.Join(c.Release(), w.mend(ctx)); err != nil {
				return err
			}
		case err != nil:
			return err
		}
	}
	return nil
}

// produce puts a thing on the shelf.
func (w world) produce(ctx context.Context, late bool, begins func()) error {
	if err := w.enter(ctx); err != nil {
		return err
	}
	begins()
	if err := w.await(ctx, w.Shelf.Room, 0, late, nil); err != nil {
		return err
	}
	return errors.Join(w.put(), w.Shelf.Full.Release())
}

// put puts a thing on the shelf, which is empty and whose lock is held.
func (w world) put() error {
	made := w.Plain.Uint32(madeAt)
	w.Plain.Uint32(thingAt).Store(made.Load() + 1)
	made.Add(1)
	return w.Shelf.Full.Notify(1)
}

// take takes one away, and waits for that on c.
func (w world) take(ctx context.Context, c *locks.Condition, late bool, r *rand.Rand) error {
	if err := w.await(ctx, c, 1, late, r); err != nil {
		return err
	}
	taken := w.Plain.Uint32(takenAt)
	if thing, want := w.Plain.Uint32(thingAt).Load(), taken.Load()+1; thing != want {
		return fmt.Errorf("thing %d was there, want %d", thing, want)
	}
	taken.Add(1)
	return errors.Join(w.Shelf.Room.Notify(1), w.Shelf.Full.Release())
}

// staff are those of one process who use the shelf: a producer, a consumer, and one whose waits end in other ways too.
type staff struct {
	w      world
	orders chan struct{} // for the producer
	failed chan error
	fickle *locks.Condition // the third one's; the lock of the shelf guards it
}

// hire returns when all of them have begun.
func (w world) hire(ctx context.Context, r *rand.Rand) (*staff, error) {
	s := &staff{w: w, orders: make(chan struct{}, 1), failed: make(chan error, 3)}
	var begun sync.WaitGroup
	work := func(f func(begins func()) error) {
		begun.Add(1)
		begins := sync.OnceFunc(begun.Done)
		go func() {
			defer begins()
			s.failed <- f(begins)
		}()
	}
	work(func(begins func()) error { return s.produces(ctx, begins) })
	work(func(begins func()) error { return s.consumes(ctx, begins) })
	seed := r.Uint64()
	work(func(begins func()) error { return s.isFickle(ctx, rand.New(rand.NewPCG(seed, 1)), begins) })
	begun.Wait()
	// Whoever has said so with the lock has begun to wait when that is free.
	return s, errors.Join(w.enter(ctx), w.Shelf.Full.Release())
}

func (s *staff) produces(ctx context.Context, begins func()) error {
	for late := s.w.Late; ; late = false {
		if !late {
			begins()
			<-s.orders
		}
		if err := s.w.produce(ctx, late, begins); err != nil {
			return err
		}
	}
}

func (s *staff) consumes(ctx context.Context, begins func()) error {
	for late := s.w.Late; ; late = false {
		if err := s.w.enter(ctx); err != nil {
			return err
		}
		begins()
		if err := s.w.take(ctx, s.w.Shelf.Full, late, nil); err != nil {
			return err
		}
	}
}

func (s *staff) isFickle(ctx context.Context, r *rand.Rand, begins func()) error {
	for unasked := s.w.Late; ; {
		if err := s.w.enter(ctx); err != nil {
			return err
		}
		begins()
		if s.fickle == nil || s.fickle.Closed() {
			var err error
			if s.fickle, err = locks.OpenCondition(s.w.Lock.Segment(), "full"); err != nil {
				return err
			}
		}
		err := s.w.take(ctx, s.fickle, unasked, r)
		unasked = s.fickle.Closed()
		if err != nil && !unasked {
			return err
		}
	}
}

// order lets the producer make a thing if he does not already.
func (s *staff) order() error {
	select {
	case err := <-s.failed:
		return err
	case s.orders <- struct{}{}:
	default:
	}
	return nil
}

// close closes the handle of the one who is fickle, who waits on it, or is about to ask for the lock. He may be the one who
// has just been notified.
func (s *staff) close(ctx context.Context) (err error) {
	if err := s.w.enter(ctx); err != nil {
		return err
	}
	if s.w.Plain.Uint32(madeAt).Load() == s.w.Plain.Uint32(takenAt).Load() {
		err = s.w.put()
	}
	if s.fickle != nil {
		err = errors.Join(err, s.fickle.Close())
	}
	return errors.Join(err, s.w.Shelf.Full.Release())
}

// meet waits for one other process for a moment.
func (w world) meet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	i, err := w.Meeting.Wait(ctx)
	switch {
	case errors.Is(err, locks.ErrBroken): // nobody came, or one has died
		return w.Meeting.Reset()
	case err == nil:
		w.Plain.Uint32(passedAt + 4*i).Add(1)
	}
	return err
}

// read looks at two words that are equal while nobody writes them, and do not change while anybody reads.
func (w world) read(ctx context.Context, r *rand.Rand) error {
	x, y := w.Plain.Uint32(rwX), w.Plain.Uint32(rwY)
	err := w.Readers.RAcquire(ctx)
	for errors.Is(err, locks.ErrOwnerDied) {
		if err = w.Readers.Recover(ctx, w.rewrite); err == nil {
			if err = w.Readers.Release(); err == nil {
				err = w.Readers.RAcquire(ctx)
			}
		}
	}
	if err != nil {
		return err
	}
	n := x.Load()
	linger(r)
	if m, k := y.Load(), x.Load(); m != n || k != n {
		return fmt.Errorf("a reader finds %d, then %d and %d", n, m, k)
	}
	return w.Readers.RRelease()
}

// rewrite is what who finds a writer dead does.
func (w world) rewrite() error {
	w.Plain.Uint32(rwY).Store(w.Plain.Uint32(rwX).Load())
	return nil
}

// write changes them.
func (w world) write(ctx context.Context, r *rand.Rand) error {
	x, y := w.Plain.Uint32(rwX), w.Plain.Uint32(rwY)
	err := w.Readers.Acquire(ctx)
	if errors.Is(err, locks.ErrOwnerDied) {
		err = w.Readers.Recover(ctx, w.rewrite)
	}
	if err != nil {
		return err
	}
	n := x.Load()
	x.Store(n + 1)
	linger(r)
	if m := y.Load(); m != n {
		return fmt.Errorf("two hold the lock for writing, or a death was forgotten: %d and %d", n, m)
	}
	y.Store(n + 1)
	return w.Readers.Release()
}

// verifyWaiting checks what is left of all that when so many processes were killed, and the dead were swept up.
func (w world) verifyWaiting(t *testing.T, kills int) {
	ctx := t.Context()
	if err := w.enter(ctx); err != nil {
		t.Fatal(err)
	}
	made, taken := w.Plain.Uint32(madeAt).Load(), w.Plain.Uint32(takenAt).Load()
	if made-taken > 1 || taken == 0 {
		t.Errorf("%d things were made, %d taken", made, taken)
	}
	for _, c := range []*locks.Condition{w.Shelf.Full, w.Shelf.Room} {
		if err := c.Notify(0); err != nil {
			t.Error(err)
		}
		if s := c.String(); !strings.HasSuffix(s, ", 0 wait") {
			t.Errorf("it says %s when nobody waits", s)
		}
	}
	if err := w.Shelf.Full.Release(); err != nil {
		t.Error(err)
	}

	first, last := int(w.Plain.Uint32(passedAt).Load()), int(w.Plain.Uint32(passedAt+4).Load())
	if first-last > kills || last-first > kills || first == 0 {
		t.Errorf("the barrier let %d pass who came first, %d who came last, and %d were killed", first, last, kills)
	}
	if err := w.Meeting.Reset(); err != nil {
		t.Error(err)
	}
	if w.Meeting.Broken() || w.Meeting.Waiting() != 0 {
		t.Errorf("it says %s after a reset", w.Meeting)
	}

	if err := w.Readers.Recover(ctx, w.rewrite); err != nil {
		t.Fatal(err)
	}
	if x, y := w.Plain.Uint32(rwX).Load(), w.Plain.Uint32(rwY).Load(); x != y || x == 0 {
		t.Errorf("%d and %d was written", x, y)
	}
	if err := w.Readers.Release(); err != nil {
		t.Error(err)
	}
	if s := w.Readers.String(); !strings.HasSuffix(s, ", free") {
		t.Errorf("it says %s when nobody has it", s)
	}
	t.Logf("%d things, %d and %d at the barrier, %d times written", taken, first, last, w.Plain.Uint32(rwX).Load())
}
