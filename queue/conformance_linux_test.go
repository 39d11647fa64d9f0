package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// party is what another process, or goroutine, of a behaviour is given.
type party struct {
	Do   string
	Q    *queue.Queue[int]
	J    *queue.JoinableQueue[string]
	Done *queue.Queue[string] // what it has to say
}

// act does what a party is to do.
func (a party) act(ctx context.Context) error {
	say := func(what any) error { return a.Done.Put(ctx, fmt.Sprint(what)) }
	switch a.Do {
	case "drain":
		for range 6 {
			if _, err := a.Q.Get(ctx); err != nil {
				return err
			}
		}
		return say("drained")
	case "put one to five":
		for i := range 5 {
			if err := a.Q.Put(ctx, i+1); err != nil {
				return err
			}
		}
		return say("put")
	case "work":
		for {
			task, err := a.J.Get(ctx)
			if err != nil {
				return err
			}
			if task == "" {
				return a.J.TaskDone()
			}
			if err := say(task); err != nil { // before it is dealt with
				return err
			}
			if err := a.J.TaskDone(); err != nil {
				return err
			}
		}
	case "look":
		if err := say(a.Q.Len() == 0); err != nil {
			return err
		}
		if err := a.Q.Put(ctx, 1); err != nil {
			return err
		}
		if err := say(a.Q.Len() == 0); err != nil {
			return err
		}
		return a.Q.Put(ctx, 2)
	case "close":
		return say(errors.Join(a.Q.Close(), a.Q.Close()))
	}
	return fmt.Errorf("nobody knows how to %s", a.Do)
}

var acts = process.Register("conformance/act", func(ctx context.Context, a party) error { return a.act(ctx) })

// inBothSettings runs a behaviour with parties that are processes, and goroutines with handles of their own. other lets one begin,
// and returns what waits for its end.
func inBothSettings(t *testing.T, f func(t *testing.T, seg *shm.Segment, other func(a party) (wait func()))) {
	t.Run("processes", func(t *testing.T) {
		f(t, proctest.Segment(t, 16<<20), func(a party) func() {
			p, err := process.Start(t.Context(), acts, a)
			if errors.Is(err, errors.ErrUnsupported) || os.Getenv("SHOAL_NO_CHILDREN") != "" {
				t.Skip("needs processes: this system has none, or SHOAL_NO_CHILDREN is set")
			}
			proctest.Must(t, err)
			t.Cleanup(func() {
				p.Kill()
				p.Join(context.Background())
			})
			return func() {
				t.Helper()
				proctest.Must(t, p.Join(t.Context()))
			}
		})
	})
	t.Run("goroutines", func(t *testing.T) {
		f(t, proctest.Segment(t, 16<<20), func(a party) func() {
			if a.Q != nil {
				a.Q = again[*queue.Queue[int]](t, a.Q, new(queue.Queue[int]))
			}
			if a.J != nil {
				a.J = again[*queue.JoinableQueue[string]](t, a.J, new(queue.JoinableQueue[string]))
			}
			end := make(chan error, 1)
			go func() { end <- a.act(t.Context()) }()
			return func() {
				t.Helper()
				proctest.Must(t, <-end)
			}
		})
	})
}

// again makes another handle of the object q.
func again[H shm.Object](t testing.TB, q, other H) H {
	t.Helper()
	b, err := q.MarshalBinary()
	proctest.Must(t, err)
	proctest.Must(t, other.UnmarshalBinary(b))
	return other
}

// over is a context that has ended, and soon one that ends after a moment.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func soon(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// isClosed checks that f panics with os.ErrClosed.
func isClosed(t testing.TB, what string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		err, _ := recover().(error)
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s of a closed handle: %v, want a panic with os.ErrClosed", what, err)
		}
	}()
	f()
}

func items[T any](t testing.TB, q *queue.Queue[T], want int) {
	t.Helper()
	if n := q.Len(); n != want {
		t.Errorf("%d items, want %d", n, want)
	}
}

// usage is how much memory of seg is in use, but for what processes keep for later.
func usage(t testing.TB, seg *shm.Segment) int {
	t.Helper()
	_, err := seg.Repair()
	proctest.Must(t, err)
	return seg.Info().Used
}

// fillSix fills a queue of six, in each way in which one can put.
func fillSix(t testing.TB, q *queue.Queue[int]) {
	t.Helper()
	items(t, q, 0)
	proctest.Must(t, q.Put(t.Context(), 1))
	proctest.Must(t, q.Put(context.Background(), 2))
	proctest.Must(t, q.TryPut(3))
	proctest.Must(t, q.Put(soon(t, time.Minute), 4))
	proctest.Must(t, q.Put(over(), 5)) // it need not wait
	if n, err := q.PutMany(t.Context(), []int{6}); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	items(t, q, 6)
	if q.Cap() != 6 {
		t.Errorf("Cap %d", q.Cap())
	}
}

// drained checks that a party has got all of them, and that this is seen here.
func isDrained(t testing.TB, a party, wait func()) {
	t.Helper()
	said, err := a.Done.Get(t.Context())
	if err != nil || said != "drained" {
		t.Fatal(said, err)
	}
	items(t, a.Q, 0)
	wait()
}

// lasts checks that f fails when its context has ended, and not before.
func lasts(t testing.TB, what string, f func(ctx context.Context) error) {
	t.Helper()
	began := time.Now()
	want(t, what, f(soon(t, 20*time.Millisecond)), context.DeadlineExceeded)
	if d := time.Since(began); d < 20*time.Millisecond {
		t.Errorf("%s: gave up after %v of 20 ms", what, d)
	}
}

// TestConformance has the behaviours of Python's queues. Its empty and full are Len and Cap, its time-outs contexts, its Full and Empty
// those of the Try forms; there is no feeder to be joined.
func TestConformance(t *testing.T) {
	parties := func(t *testing.T, seg *shm.Segment, n int) party {
		a := party{Q: newQueue[int](t, seg, n), Done: newQueue[string](t, seg, 0)}
		var err error
		a.J, err = queue.NewJoinable[string](seg, "", 0)
		proctest.Must(t, err)
		return a
	}
	t.Run("QUE-01", func(t *testing.T) {
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			a := parties(t, seg, 6)
			fillSix(t, a.Q)
			a.Do = "drain"
			isDrained(t, a, other(a))
		})
	})
	t.Run("QUE-02", func(t *testing.T) {
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			a := parties(t, seg, 6)
			fillSix(t, a.Q)
			want(t, "TryPut", a.Q.TryPut(7), queue.ErrFull)
			want(t, "Put that may not wait", a.Q.Put(over(), 7), context.Canceled)
			lasts(t, "Put", func(ctx context.Context) error { return a.Q.Put(ctx, 7) })
			lasts(t, "PutMany", func(ctx context.Context) error {
				n, err := a.Q.PutMany(ctx, []int{7, 8})
				if n != 0 {
					t.Errorf("it put %d", n)
				}
				return err
			})
			items(t, a.Q, 6)
			a.Do = "drain" // none of those was put
			isDrained(t, a, other(a))
		})
	})
	t.Run("QUE-03", func(t *testing.T) {
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			a := parties(t, seg, 6)
			a.Do = "drain"
			wait := other(a) // it waits for them
			for i := range 6 {
				proctest.Must(t, a.Q.Put(t.Context(), i))
			}
			isDrained(t, a, wait)
			want(t, "TryGet", func() error { _, err := a.Q.TryGet(); return err }(), queue.ErrEmpty)
		})
	})
	t.Run("QUE-04", func(t *testing.T) {
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			a := parties(t, seg, 0)
			a.Do = "put one to five"
			wait := other(a)
			_, err := a.Done.Get(t.Context())
			proctest.Must(t, err)
			dst := [1]int{}
			for i, get := range []func() (int, error){
				a.Q.TryGet,
				func() (int, error) { return a.Q.Get(t.Context()) },
				func() (int, error) { return a.Q.Get(over()) },
				func() (int, error) { return a.Q.Get(soon(t, time.Minute)) },
				func() (int, error) { _, err := a.Q.GetMany(t.Context(), dst[:]); return dst[0], err },
			} {
				if v, err := get(); v != i+1 || err != nil {
					t.Errorf("the way %d to get: %d, %v", i, v, err)
				}
			}
			items(t, a.Q, 0)
			wait()
		})
	})
	t.Run("QUE-05", func(t *testing.T) {
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			a := parties(t, seg, 0)
			_, err := a.Q.TryGet()
			want(t, "TryGet", err, queue.ErrEmpty)
			_, err = a.Q.Get(over())
			want(t, "Get that may not wait", err, context.Canceled)
			lasts(t, "Get", func(ctx context.Context) error {
				_, err := a.Q.Get(ctx)
				return err
			})
			a.Do = "put one to five"
			wait := other(a)
			for i := range 5 {
				if v, err := a.Q.Get(t.Context()); v != i+1 || err != nil {
					t.Fatal(v, err)
				}
			}
			wait()
			lasts(t, "GetMany", func(ctx context.Context) error {
				_, err := a.Q.GetMany(ctx, []int{0, 0})
				return err
			})
		})
	})
	t.Run("QUE-07", func(t *testing.T) {
		q := newQueue[int](t, proctest.Segment(t, 0), 0)
		other := again[*queue.Queue[int]](t, q, new(queue.Queue[int]))
		is := func(n int) {
			t.Helper()
			items(t, q, n)
			items(t, other, n)
		}
		is(0)
		for i := range 2 {
			proctest.Must(t, q.Put(t.Context(), i))
			is(i + 1)
		}
		for i := range 2 {
			_, err := other.Get(t.Context())
			proctest.Must(t, err)
			is(1 - i)
		}
	})
	t.Run("QUE-08", func(t *testing.T) {
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			const workers, tasks = 4, 10
			a := parties(t, seg, 0)
			a.Do = "work"
			var waits []func()
			for range workers {
				waits = append(waits, other(a))
			}
			for i := range tasks {
				proctest.Must(t, a.J.Put(t.Context(), fmt.Sprint(i)))
			}
			proctest.Must(t, a.J.Join(t.Context()))
			if a.J.Unfinished() != 0 {
				t.Errorf("%d are unfinished after Join", a.J.Unfinished())
			}
			items(t, a.Done, tasks) // each was said before it was done with
			for range workers {
				proctest.Must(t, a.J.Put(t.Context(), ""))
			}
			for _, wait := range waits {
				wait()
			}
			proctest.Must(t, a.J.Join(t.Context()))
		})
	})
	t.Run("QUE-11", func(t *testing.T) { // there is no feeder: Put itself fails, and what it had taken is free again
		seg := proctest.Segment(t, 0)
		q := newQueue[stubborn](t, seg, 1)
		used := usage(t, seg)
		for range 3 {
			want(t, "Put", q.Put(t.Context(), stubborn{-1}), errStubborn)
			want(t, "TryPut", q.TryPut(stubborn{-1}), errStubborn)
		}
		items(t, q, 0)
		proctest.Must(t, q.TryPut(stubborn{1000})) // larger than a slot
		items(t, q, 1)
		want(t, "Put when it is full", q.Put(t.Context(), stubborn{-1}), errStubborn)
		if v, err := q.Get(t.Context()); v.n != 1000 || err != nil {
			t.Error(v, err)
		}
		items(t, q, 0)
		if now := usage(t, seg); now > used {
			t.Errorf("%d bytes are in use, %d were before", now, used)
		}
	})
	t.Run("QUE-13", func(t *testing.T) { // the queue is as it was, for other handles
		q := newQueue[int](t, proctest.Segment(t, 0), 0)
		other := again[*queue.Queue[int]](t, q, new(queue.Queue[int]))
		proctest.Must(t, q.Close())
		items(t, other, 0)
	})
	t.Run("QUE-14", func(t *testing.T) {
		q := newQueue[int](t, proctest.Segment(t, 0), 0)
		proctest.Must(t, q.Put(t.Context(), 1))
		proctest.Must(t, q.Close())
		isClosed(t, "Len", func() { q.Len() })
		isClosed(t, "Cap", func() { q.Cap() })
	})
	t.Run("SQ-01", func(t *testing.T) {
		seg := proctest.Segment(t, 0)
		for _, used := range []bool{false, true} {
			q := newQueue[int](t, seg, 3)
			if used {
				proctest.Must(t, q.Put(t.Context(), math.MaxInt))
				_, err := q.Get(t.Context())
				proctest.Must(t, err)
			}
			proctest.Must(t, q.Close())
			isClosed(t, "Len", func() { q.Len() })
			isClosed(t, "Cap", func() { q.Cap() })
		}
	})
	t.Run("SQ-02", func(t *testing.T) {
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			a := parties(t, seg, 0)
			a.Do = "look"
			wait := other(a)
			for _, empty := range []string{"true", "false"} {
				if said, err := a.Done.Get(t.Context()); said != empty || err != nil {
					t.Fatal(said, err)
				}
			}
			for i := range 2 {
				if v, err := a.Q.Get(t.Context()); v != i+1 || err != nil {
					t.Fatal(v, err)
				}
			}
			items(t, a.Q, 0)
			wait()
		})
	})
	t.Run("SQ-03", func(t *testing.T) { // a queue has no two ends; a handle is closed, and others are not
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			a := parties(t, seg, 0)
			a.Do = "close"
			wait := other(a)
			if said, err := a.Done.Get(t.Context()); said != "<nil>" || err != nil {
				t.Fatal(said, err)
			}
			wait()
			proctest.Must(t, a.Q.Put(t.Context(), 1))
			proctest.Must(t, a.Q.Close())
			proctest.Must(t, a.Q.Close())
			if !a.Q.Closed() {
				t.Error("it is not closed")
			}
			want(t, "Put", a.Q.Put(t.Context(), 1), os.ErrClosed)
			_, err := a.Q.Get(t.Context())
			want(t, "Get", err, os.ErrClosed)
		})
	})
	t.Run("CTX-07", func(t *testing.T) {
		q := newQueue[string](t, proctest.Segment(t, 0), 0)
		p := passesOn.Start(t, party{Done: q})
		for _, who := range []string{"child", "grandchild", "its child"} {
			if v, err := q.Get(t.Context()); v != who || err != nil {
				t.Fatal(v, err)
			}
		}
		proctest.Must(t, p.Wait())
	})
	t.Run("SEED-14", func(t *testing.T) {
		inBothSettings(t, func(t *testing.T, seg *shm.Segment, other func(party) func()) {
			const n = 100_000
			a := parties(t, seg, 0)
			for i := range n {
				proctest.Must(t, a.Q.Put(t.Context(), i))
			}
			items(t, a.Q, n)
			a.Do = "drain" // six of them
			wait := other(a)
			wait()
			for i := 6; i < n; i++ {
				if v, err := a.Q.TryGet(); v != i || err != nil {
					t.Fatal(i, v, err)
				}
			}
			items(t, a.Q, 0)
		})
	})
}

// stubborn encodes itself, as so many bytes, unless that is a negative number.
type stubborn struct{ n int }

var errStubborn = errors.New("no such thing")

func (s stubborn) MarshalBinary() ([]byte, error) {
	if s.n < 0 {
		return nil, errStubborn
	}
	return make([]byte, s.n), nil
}

func (s *stubborn) UnmarshalBinary(b []byte) error {
	s.n = len(b)
	return nil
}

// passesOn gives the queue on to a child of its own, and that to another one.
var (
	passesOn = proctest.NewRole("passes-on", func(ctx context.Context, _ *proctest.Child, a party) error {
		return errors.Join(a.Done.Put(ctx, "child"), process.Run(ctx, passesFurther, a))
	})
	passesFurther = process.Register("passes-further", func(ctx context.Context, a party) error {
		return errors.Join(a.Done.Put(ctx, "grandchild"), process.Run(ctx, keeps, a))
	})
	keeps = process.Register("keeps", func(ctx context.Context, a party) error { return a.Done.Put(ctx, "its child") })
)
