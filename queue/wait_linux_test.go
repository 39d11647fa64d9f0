package queue_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// waits are the calls that wait: for an item, for room, and for the end of all work; the queue is as they need it.
type waits struct {
	q    numbers // empty
	full numbers // of one
	busy numbers // nothing is in it, and something in hand
}

func newWaits(t *testing.T, seg *shm.Segment, strings bool) (w waits) {
	f := form{"", strings, strings, true}
	w.q, w.full, w.busy = newNumbers(t, seg, f, 1, 0), newNumbers(t, seg, f, 1, 0), newNumbers(t, seg, f, 1, 0)
	proctest.Must(t, errors.Join(w.full.tryPut(1), w.busy.tryPut(1)))
	_, err := w.busy.tryGet()
	proctest.Must(t, err)
	return w
}

func (w waits) another(t *testing.T) waits {
	return waits{w.q.another(t), w.full.another(t), w.busy.another(t)}
}

// begin calls all of them; what they return comes in the channel.
func (w waits) begin(ctx context.Context) (n int, errs chan error) {
	errs = make(chan error, 20)
	for _, f := range []func() error{
		func() error { return second(w.q.get(ctx)) },
		func() error { return second(w.q.getMany(ctx, 2)) },
		func() error { return w.full.put(ctx, 2) },
		func() error { return second(w.full.putMany(ctx, 2, 3)) },
		func() error { return w.busy.join(ctx) },
	} {
		for range 2 {
			n++
			go func() { errs <- f() }()
		}
	}
	return n, errs
}

// asleep waits until something of this process sleeps, as a rule: what is tested is right for those who do not, too.
func asleep() {
	for range 100 {
		runtime.Gosched()
	}
	time.Sleep(2 * time.Millisecond)
}

// Close lets those go who wait with that handle, and no others; the end of a context those who have it, and nothing has
// changed.
func TestWaitsEnd(t *testing.T) {
	for _, strings := range []bool{false, true} {
		w := newWaits(t, proctest.Segment(t, 1<<20), strings)
		other := w.another(t)
		ctx, cancel := context.WithCancel(t.Context())
		n, cancelled := w.begin(ctx)
		_, closed := other.begin(t.Context())
		asleep()
		cancel()
		for range n {
			want(t, "a wait whose context ended", <-cancelled, context.Canceled)
		}
		if len(closed) != 0 {
			t.Errorf("a wait of another ended: %v", <-closed)
		}
		proctest.Must(t, errors.Join(other.q.close(), other.full.close(), other.busy.close()))
		for range n {
			want(t, "a wait whose handle was closed", <-closed, os.ErrClosed)
		}
		if w.q.len() != 0 || w.full.len() != 1 || w.busy.unfinished() != 1 {
			t.Errorf("they left %d, %d, %d", w.q.len(), w.full.len(), w.busy.unfinished())
		}
		proctest.Must(t, w.busy.taskDone())
		proctest.Must(t, w.busy.join(t.Context()))

		isClosed(t, "Unfinished", func() { other.busy.unfinished() })
		isClosed(t, "Len", func() { other.busy.len() })
		want(t, "Shutdown", other.q.shutdown(), os.ErrClosed)
		want(t, "TaskDone", other.q.taskDone(), os.ErrClosed)
		want(t, "Join", other.q.join(t.Context()), os.ErrClosed)
		want(t, "TryPut", other.q.tryPut(1), os.ErrClosed)
		want(t, "PutMany", second(other.q.putMany(t.Context(), 1)), os.ErrClosed)
		want(t, "TryGet", second(other.q.tryGet()), os.ErrClosed)
		want(t, "GetMany", second(other.q.getMany(t.Context(), 1)), os.ErrClosed)
	}
}

// So does the end of the segment, for all its queues.
func TestSegmentCloses(t *testing.T) {
	for _, strings := range []bool{false, true} {
		seg, err := shm.Anonymous(1 << 20)
		proctest.Must(t, err)
		w := newWaits(t, seg, strings)
		n, errs := w.begin(t.Context())
		asleep()
		proctest.Must(t, seg.Close())
		for range n {
			want(t, "a wait whose segment was closed", <-errs, os.ErrClosed)
		}
		want(t, "TryPut", w.q.tryPut(1), os.ErrClosed)
		want(t, "TryGet", second(w.full.tryGet()), os.ErrClosed)
		isClosed(t, "Len", func() { w.full.len() })
		proctest.Must(t, w.q.close())
	}
}

// Shutdown lets all go who wait to put, and those who wait to get when there is nothing left.
func TestShutdownWakes(t *testing.T) {
	for _, strings := range []bool{false, true} {
		w := newWaits(t, proctest.Segment(t, 1<<20), strings)
		other := w.another(t)
		n, errs := other.begin(t.Context())
		asleep()
		proctest.Must(t, errors.Join(w.q.shutdown(), w.full.shutdown(), w.busy.shutdown()))
		for range n - 2 { // but for those who join
			want(t, "a wait", <-errs, queue.ErrShutdown)
		}
		proctest.Must(t, w.busy.taskDone())
		proctest.Must(t, errors.Join(<-errs, <-errs))
		if x, err := w.full.get(t.Context()); x != 1 || err != nil {
			t.Error(x, err)
		}
		_, err := w.full.get(t.Context())
		want(t, "Get", err, queue.ErrShutdown)
	}
}

// A context that ends while an item comes, or room: the call has it or somebody else has, and nothing is lost.
func TestCancelAgainstWake(t *testing.T) {
	rnd := proctest.Rand(t)
	rounds := 300
	if testing.Short() {
		rounds = 50
	}
	for _, f := range []form{forms[0], forms[2]} {
		q := newNumbers(t, proctest.Segment(t, 1<<20), f, 1, 0)
		other := q.another(t)
		for round := range uint64(rounds) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Duration(rand.N(200))*time.Microsecond)
			putFirst := rnd.IntN(2) == 0
			if putFirst { // then a put waits, else a get
				proctest.Must(t, q.put(t.Context(), round))
			}
			var x uint64
			var err error
			var wg sync.WaitGroup
			wg.Go(func() {
				if putFirst {
					err = q.put(ctx, round+1)
				} else {
					x, err = q.get(ctx)
				}
			})
			for range rnd.IntN(200) {
				runtime.Gosched()
			}
			if putFirst {
				if y, err := other.get(t.Context()); y != round || err != nil {
					t.Fatal(y, err)
				}
			} else {
				proctest.Must(t, other.put(t.Context(), round))
			}
			wg.Wait()
			cancel()
			switch {
			case err != nil && !errors.Is(err, context.DeadlineExceeded):
				t.Fatal(err)
			case putFirst == (err == nil): // it is there
				x, err := other.tryGet()
				if err != nil || x != round && x != round+1 {
					t.Fatal(x, err)
				}
			case !putFirst && x != round:
				t.Fatalf("got %d in round %d", x, round)
			}
			if n := q.len(); n != 0 {
				t.Fatalf("%d are left", n)
			}
		}
	}
}

// All gets items until the queue ends, and ends with the error of another end.
func TestAll(t *testing.T) {
	q := newQueue[int](t, proctest.Segment(t, 1<<20), 0)
	for i := range 5 {
		proctest.Must(t, q.Put(t.Context(), i))
	}
	next := 0
	for v, err := range q.All(t.Context()) {
		if v != next || err != nil {
			t.Fatal(v, err)
		}
		if next++; next == 3 {
			break
		}
	}
	proctest.Must(t, q.Shutdown())
	for v, err := range q.All(over()) {
		if v != next || err != nil {
			t.Fatal(v, err)
		}
		next++
	}
	if next != 5 {
		t.Errorf("%d came", next)
	}
	for _, err := range newQueue[int](t, q.Segment(), 0).All(over()) {
		want(t, "All", err, context.Canceled)
		next++
	}
	if next != 6 {
		t.Error("there was no error")
	}
	proctest.Must(t, q.Close())
	for _, err := range q.All(t.Context()) {
		want(t, "All of a closed handle", err, os.ErrClosed)
	}
}

// pingPong makes a round-trip through two queues, with both sides asleep as a rule; nobody allocates.
func pingPong[T any](t testing.TB, seg *shm.Segment, v T) (trip func()) {
	there, back := newQueue[T](t, seg, 4), newQueue[T](t, seg, 4)
	go func() {
		for v, err := range there.All(context.Background()) {
			if err != nil || back.Put(context.Background(), v) != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { there.Shutdown() })
	return func() {
		proctest.Must(t, there.Put(context.Background(), v))
		_, err := back.Get(context.Background())
		proctest.Must(t, err)
	}
}
