package queue_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// An item that the segment has no room for is refused at once, and the queue goes on; there is room again for others when
// some are got.
func TestNoSpace(t *testing.T) {
	for _, n := range []int{1000, 0} {
		seg := proctest.Segment(t, 2<<20)
		q := newQueue[string](t, seg, n)
		proctest.Must(t, q.Put(t.Context(), "small"))
		huge := strings.Repeat("x", 4<<20)
		want(t, "Put", q.Put(t.Context(), huge), shm.ErrNoSpace)
		want(t, "TryPut", q.TryPut(huge), shm.ErrNoSpace)
		items(t, q, 1)

		large := strings.Repeat("y", 100<<10)
		many := 0
		var err error
		for ; err == nil; many++ {
			err = q.TryPut(large)
		}
		many--
		want(t, "TryPut into a full segment", err, shm.ErrNoSpace)
		if many < 5 {
			t.Fatalf("the segment had room for %d", many)
		}
		proctest.Must(t, q.TryPut("small")) // needs no memory
		for lap := range 3 {
			if s, err := q.Get(t.Context()); err != nil || s != "small" && s != large {
				t.Fatal(lap, len(s), err)
			}
			if lap > 0 {
				proctest.Must(t, q.Put(t.Context(), large))
			}
			want(t, "TryPut of one more", q.TryPut(large), shm.ErrNoSpace)
		}
		for q.Len() > 0 {
			_, err := q.Get(t.Context())
			proctest.Must(t, err)
		}
		proctest.Must(t, seg.Check())
		for range many {
			proctest.Must(t, q.TryPut(large))
		}
	}
}

// A queue without a bound takes items until the segment has no room for more, then again as many as its last ring holds, which is a good part
// of all.
func TestGrowsUntilFull(t *testing.T) {
	seg := proctest.Segment(t, 2<<20)
	q := newQueue[[4]uint64](t, seg, 0, queue.SmallFirst(queue.Options{}, smallRing))
	fill := func() (n uint64) {
		for {
			err := q.Put(t.Context(), [4]uint64{n})
			if errors.Is(err, shm.ErrNoSpace) {
				return n
			}
			proctest.Must(t, err)
			n++
		}
	}
	drain := func(n uint64) {
		t.Helper()
		items(t, q, int(n))
		for i := range n {
			if v, err := q.TryGet(); v[0] != i || err != nil {
				t.Fatalf("item %d is %v, %v", i, v, err)
			}
		}
		items(t, q, 0)
	}
	first := fill()
	if first < 10_000 {
		t.Errorf("a segment of 2 MiB had room for %d items of 32 bytes", first)
	}
	drain(first)
	for range 40 { // more often than there can be rings
		again := fill()
		if again < first/4 {
			t.Fatalf("a queue that has held %d has room for %d", first, again)
		}
		drain(again)
	}
	if n := queue.Rings(q); n < 5 || n > 20 {
		t.Errorf("%d rings", n)
	}
	proctest.Must(t, seg.Check())
	proctest.Must(t, shm.Free(q))
}

// Nothing is left of a queue that is freed, with its rings and what is passed through it.
func TestFree(t *testing.T) {
	seg := proctest.Segment(t, 4<<20)
	before := usage(t, seg)
	for _, f := range forms {
		func() {
			q := newNumbers(t, seg, f, 0, smallRing)
			for i := range uint64(100) {
				proctest.Must(t, q.tryPut(i))
			}
			proctest.Must(t, shm.Free(q.object()))
			want(t, "Put", q.tryPut(1), nil) // whoever has it open goes on
			proctest.Must(t, q.close())
		}()
		settles(t, seg, before)
	}
}

// What was allocated for an item that was not put is given back: because the queue stays full, or was shut down.
func TestNotPut(t *testing.T) {
	seg := proctest.Segment(t, 2<<20)
	q := newQueue[string](t, seg, 1)
	large := strings.Repeat("z", 100<<10)
	proctest.Must(t, q.Put(t.Context(), large))
	before := usage(t, seg)
	for range 50 { // more than there is room for
		want(t, "Put", q.Put(over(), large), context.Canceled)
		want(t, "TryPut", q.TryPut(large), queue.ErrFull)
	}
	proctest.Must(t, q.Shutdown())
	for range 50 {
		want(t, "Put", q.Put(t.Context(), large), queue.ErrShutdown)
	}
	if after := usage(t, seg); after > before {
		t.Errorf("%d bytes are in use, %d were before", after, before)
	}
}
