package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// request is an item with objects in it: what is to be done, with what, and where the answer is to go.
type request struct {
	Text  string
	Lock  *locks.Lock
	Sum   *shm.Block
	Reply *queue.Queue[string]
}

var answers = proctest.NewRole("answers", func(ctx context.Context, c *proctest.Child, requests *queue.Queue[request]) error {
	c.Say("on")
	for r, err := range requests.All(ctx) {
		if err != nil {
			return err
		}
		if err := r.Lock.Acquire(ctx); err != nil {
			return err
		}
		r.Sum.Uint32(0).Add(uint32(len(r.Text)))
		if err := r.Lock.Release(); err != nil {
			return err
		}
		if err := r.Reply.Put(ctx, strings.ToUpper(r.Text)); err != nil {
			return err
		}
		runtime.KeepAlive(r.Sum)
	}
	return nil
})

// Objects inside items arrive usable, also those that were made after the process was started, in segments that it
// had never heard of; and small items as well as those that are passed.
func TestObjectsInItems(t *testing.T) {
	requests := newQueue[request](t, proctest.Segment(t, 1<<20), 4)
	p := answers.Start(t, requests)
	p.WaitLine("on")
	for _, text := range []string{"hello", strings.Repeat("long ", 1000)} {
		seg := proctest.Segment(t, 1<<20)
		lock, err := locks.NewLock(seg, "")
		proctest.Must(t, err)
		sum, err := shm.NewBlock(seg, "", 8)
		proctest.Must(t, err)
		reply := newQueue[string](t, seg, 0)
		for range 3 {
			proctest.Must(t, requests.Put(t.Context(), request{text, lock, sum, reply}))
			if s, err := reply.Get(t.Context()); s != strings.ToUpper(text) || err != nil {
				t.Fatalf("the answer to %.20q is %.20q, %v", text, s, err)
			}
		}
		if n := sum.Uint32(0).Load(); int(n) != 3*len(text) {
			t.Errorf("the sum is %d", n)
		}
	}
	proctest.Must(t, requests.Shutdown())
	proctest.Must(t, p.Wait())
}

// Two processes, or one that was built anew, may have a struct of one name, to which a field was added: what one of them puts the
// other gets, whichever it is.
func TestStructsThatGrow(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	newJobs(t, seg, oldJobs(t, seg))
}

func oldJobs(t *testing.T, seg *shm.Segment) (put func(id int, text string) error) {
	type Job struct {
		ID   int
		Text string
	}
	q, err := queue.New[Job](seg, "jobs", 4)
	proctest.Must(t, err)
	return func(id int, text string) error {
		if id < 0 {
			j, err := q.Get(t.Context())
			if err == nil && (j != Job{-id, text}) {
				err = fmt.Errorf("it got %+v", j)
			}
			return err
		}
		return q.Put(t.Context(), Job{id, text})
	}
}

func newJobs(t *testing.T, seg *shm.Segment, old func(id int, text string) error) {
	type Job struct {
		ID    int
		Text  string
		Since []float64
	}
	q, err := queue.Open[Job](seg, "jobs")
	proctest.Must(t, err)
	proctest.Must(t, old(1, "one"))
	if j, err := q.Get(t.Context()); j.ID != 1 || j.Text != "one" || j.Since != nil || err != nil {
		t.Error(j, err)
	}
	proctest.Must(t, q.Put(t.Context(), Job{2, "two", []float64{1, 2}}))
	proctest.Must(t, old(-2, "two"))
}

// Who opens a queue as one of other items, or as another kind of object, is told.
func TestOpenAsAnother(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	type point struct{ X, Y float64 }
	type spot struct{ X, Y float64 }
	type wide struct{ X, Y, Z float64 }
	_, err := queue.New[point](seg, "points", 4)
	proctest.Must(t, err)
	_, err = queue.New[string](seg, "strings", 4)
	proctest.Must(t, err)
	_, err = queue.NewJoinable[string](seg, "counts", 4)
	proctest.Must(t, err)
	_, err = locks.NewLock(seg, "lock")
	proctest.Must(t, err)

	_, err = queue.Open[spot](seg, "points") // another name, the same structure
	proctest.Must(t, err)
	_, err = queue.Open[string](seg, "counts") // it counts all the same
	proctest.Must(t, err)
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"points as wide", second(queue.Open[wide](seg, "points")), shm.ErrKind},
		{"points as strings", second(queue.Open[string](seg, "points")), shm.ErrKind},
		{"strings as points", second(queue.Open[point](seg, "strings")), shm.ErrKind},
		{"strings as numbers", second(queue.Open[int](seg, "strings")), shm.ErrKind},
		{"strings as bytes", second(queue.Open[[]byte](seg, "strings")), shm.ErrKind},
		{"strings as a joinable queue", second(queue.OpenJoinable[string](seg, "strings")), shm.ErrKind},
		{"strings, found or made as a joinable queue", second(queue.OpenOrNewJoinable[string](seg, "strings", 1)), shm.ErrKind},
		{"a lock", second(queue.Open[string](seg, "lock")), shm.ErrKind},
		{"a queue as a lock", second(locks.OpenLock(seg, "points")), shm.ErrKind},
		{"nothing", second(queue.Open[string](seg, "nothing")), os.ErrNotExist},
		{"what exists", second(queue.New[string](seg, "strings", 1)), os.ErrExist},
	} {
		want(t, c.what, c.err, c.want)
	}
	q, err := queue.OpenOrNew[string](seg, "strings", 9, queue.Options{SlotSize: 1000})
	if err != nil || q.Cap() != 4 {
		t.Errorf("what is found has room for %d, %v", q.Cap(), err)
	}
	j, err := queue.OpenOrNewJoinable[string](seg, "new", 9)
	if err != nil || j.Cap() != 9 {
		t.Errorf("what is made has room for %d, %v", j.Cap(), err)
	}
	for _, c := range []struct {
		what string
		err  error
	}{
		{"a channel", second(queue.New[chan int](seg, "", 1))},
		{"a field with a function", second(queue.New[struct{ A struct{ F func() } }](seg, "", 1))},
		{"a field that is not exported", second(queue.New[struct{ s []string }](seg, "", 1))},
	} {
		want(t, c.what, c.err, shm.ErrType)
	}
	if _, err := queue.New[struct{ A struct{ F func() } }](seg, "", 1); !strings.Contains(fmt.Sprint(err), "A.F") {
		t.Errorf("it does not say where: %v", err)
	}
}

// second is the error of a call.
func second[T any](_ T, err error) error { return err }

func TestOptions(t *testing.T) {
	seg := proctest.Segment(t, 8<<20)
	for _, c := range []struct {
		n int
		o queue.Options
	}{
		{-1, queue.Options{}},
		{1, queue.Options{SlotSize: -1}},
		{1, queue.Options{SlotSize: 1<<20 + 1}},
		{1, queue.Options{MaxItem: -1}},
	} {
		_, err := queue.New[string](seg, "", c.n, c.o)
		want(t, fmt.Sprint(c), err, os.ErrInvalid)
	}
	if _, err := queue.New[string](seg, "", math.MaxInt); !errors.Is(err, os.ErrInvalid) && !errors.Is(err, shm.ErrNoSpace) {
		t.Errorf("a queue larger than any memory: %v", err)
	}
	if _, err := queue.New[string](seg, "", 1<<30); !errors.Is(err, shm.ErrNoSpace) {
		t.Errorf("a queue larger than the segment: %v", err)
	}
	func() {
		defer func() {
			if recover() == nil {
				t.Error("two Options did not panic")
			}
		}()
		queue.New[string](seg, "", 1, queue.Options{}, queue.Options{})
	}()

	// What takes more than MaxItem is refused, be it smaller than a slot or not, and nothing else happens.
	for _, o := range []queue.Options{{MaxItem: 100}, {MaxItem: 100, SlotSize: 1000}} {
		q := newQueue[string](t, seg, 2, o)
		want(t, "Put", q.Put(t.Context(), strings.Repeat("x", 200)), os.ErrInvalid)
		want(t, "TryPut", q.TryPut(strings.Repeat("x", 200)), os.ErrInvalid)
		n, err := q.PutMany(t.Context(), []string{"a", strings.Repeat("x", 200), "b"})
		if n != 1 {
			t.Errorf("PutMany put %d", n)
		}
		want(t, "PutMany", err, os.ErrInvalid)
		if s, err := q.Get(t.Context()); s != "a" || err != nil || q.Len() != 0 {
			t.Error(s, err, q.Len())
		}
	}

	// Items as large as a slot, a byte larger and a byte smaller; and slots smaller than what says where an item is.
	for _, slot := range []int{1, 23, 24, 25, 120, 1000, 1 << 15} {
		q := newQueue[[]byte](t, seg, 3, queue.Options{SlotSize: slot})
		for d := -16; d <= 2; d++ {
			n := max(slot+d, 0)
			item := slices.Repeat([]byte{byte(n)}, n)
			proctest.Must(t, q.Put(t.Context(), item))
			if b, err := q.Get(t.Context()); !slices.Equal(b, item) || err != nil {
				t.Fatalf("slots of %d, %d bytes: %d, %v", slot, n, len(b), err)
			}
		}
		proctest.Must(t, shm.Free(q))
		proctest.Must(t, q.Close())
	}
	// Plain data that does not fit into a slot, or is to be passed.
	for _, slot := range []int{0, 1, 599, 600, 1000} {
		q := newQueue[[600]byte](t, seg, 3, queue.Options{SlotSize: slot})
		proctest.Must(t, q.Put(t.Context(), [600]byte{1, 599: 2}))
		if b, err := q.Get(t.Context()); b[0] != 1 || b[599] != 2 || err != nil {
			t.Error(slot, b, err)
		}
	}
	proctest.Must(t, seg.Check())
}
