package queue_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// A copy of a message that was taken meanwhile may have the offset of one and the stamp of another; and the two may be those of a
// third, which is not the oldest.
func TestTornMessage(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	q := newQueue[string](t, seg, 4)
	long := func(s string) string { return strings.Repeat(s, 500) }
	proctest.Must(t, q.Put(t.Context(), long("a")))
	late := queue.Peek(q)
	if v, err := q.Get(t.Context()); err != nil || v != long("a") {
		t.Fatal(v, err)
	}
	proctest.Must(t, q.Put(t.Context(), long("c")))
	third := queue.Peek(q)
	if late.Stamp == third.Stamp {
		t.Fatal("a stamp twice")
	}
	if _, err := q.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	proctest.Must(t, q.Put(t.Context(), "b"))
	proctest.Must(t, q.Put(t.Context(), long("d")))
	for range 3 { // whatever was passed there since
		late.Stamp++
		if v, done, err := late.Claim(); done || err != nil {
			t.Fatalf("got %.10q, which is not the oldest, %v", v, err)
		}
	}
	for _, want := range []string{"b", long("d")} {
		if v, err := q.TryGet(); err != nil || v != want {
			t.Fatalf("%.10q, %v", v, err)
		}
	}
}

// other makes a participant that lives until the test ends, or the function that is returned is called.
func other(t *testing.T, seg *shm.Segment) (id uint32, end func()) {
	t.Helper()
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	end = sync.OnceFunc(gift.Sent) // its only descriptors
	t.Cleanup(end)
	return gift.Owner, end
}

func newJoinable[T any](t *testing.T, seg *shm.Segment, n int) *queue.JoinableQueue[T] {
	t.Helper()
	q, err := queue.NewJoinable[T](seg, "", n)
	proctest.Must(t, err)
	return q
}

// A Join that returns while others put says nothing of what they have put since.
func TestJoinWhileOthersPut(t *testing.T) {
	q := newJoinable[int](t, proctest.Segment(t, 1<<20), 8)
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 2 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if err := q.Join(ctx); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 20_000 {
		proctest.Must(t, q.Put(t.Context(), 1))
		_, err := q.TryGet()
		proctest.Must(t, err)
		proctest.Must(t, q.TaskDone())
	}
	cancel()
	wg.Wait()
	proctest.Must(t, q.Join(t.Context()))
}

// TaskDone for an item of another process, by one that is in Get just then, is for that item and not for what Get may find.
func TestTaskDoneDuringGet(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	q := newJoinable[int](t, seg, 8)
	id, die := other(t, seg)
	his, mine := queue.HandIn(q, id), queue.HandIn(q, 0)
	get := func(h queue.Hand) {
		h.Grab(1)
		if _, err := queue.Pop(q); err != nil {
			t.Fatal(err)
		}
		h.Settle(1, 1)
	}
	proctest.Must(t, q.Put(t.Context(), 1))
	get(his)
	mine.Grab(1)
	proctest.Must(t, q.TaskDone())
	mine.Settle(1, 0)
	if queue.MayEnd(q) != true || q.Unfinished() != 0 {
		t.Fatalf("%d unfinished of none", q.Unfinished())
	}
	proctest.Must(t, q.Join(t.Context()))
	if err := q.TaskDone(); !errors.Is(err, queue.ErrTaskDone) {
		t.Fatal(err)
	}

	// The same, and Get finds an item: it is this process's then, whatever becomes of the other one.
	for range 2 {
		proctest.Must(t, q.Put(t.Context(), 2))
	}
	get(his)
	mine.Grab(1)
	proctest.Must(t, q.TaskDone())
	if _, err := queue.Pop(q); err != nil {
		t.Fatal(err)
	}
	mine.Settle(1, 1)
	die()
	if queue.MayEnd(q) || q.Unfinished() != 1 {
		t.Fatal("an item in a hand is forgotten")
	}
	proctest.Must(t, q.TaskDone())
	proctest.Must(t, q.Join(t.Context()))
}

// Who is in Get, and has not taken anything yet, has nothing; who has taken something, and not noted it yet, has that.
func TestUnfinishedDuringGet(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	q := newJoinable[int](t, seg, 8)
	proctest.Must(t, q.Put(t.Context(), 1))
	mine := queue.HandIn(q, 0)
	mine.Grab(5)
	if n := q.Unfinished(); n != 1 {
		t.Errorf("%d unfinished of 1, before the take", n)
	}
	if _, err := queue.Pop(q); err != nil {
		t.Fatal(err)
	}
	if n := q.Unfinished(); n != 1 || queue.MayEnd(q) {
		t.Errorf("%d unfinished of 1, after it", n)
	}
	mine.Settle(5, 1)
	if n := q.Unfinished(); n != 1 || queue.MayEnd(q) {
		t.Errorf("%d unfinished of 1, in hand", n)
	}
	proctest.Must(t, q.TaskDone())
	proctest.Must(t, q.Join(t.Context()))
}

// What a dead consumer had in hand is told once, whatever others have in hand and put.
func TestJoinTellsOfTheDead(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	q := newJoinable[int](t, seg, 8)
	id, die := other(t, seg)
	his := queue.HandIn(q, id)
	for range 3 {
		proctest.Must(t, q.Put(t.Context(), 1))
	}
	his.Grab(2)
	for range 2 {
		if _, err := queue.Pop(q); err != nil {
			t.Fatal(err)
		}
	}
	his.Settle(2, 1) // and it is killed before it notes the second
	his.Grab(1)
	die()
	if _, err := q.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := q.Join(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	proctest.Must(t, q.TaskDone())
	err := q.Join(t.Context())
	if lost, ok := errors.AsType[*queue.LostError](err); !ok || lost.Items != 2 {
		t.Fatal(err)
	}
	proctest.Must(t, q.Join(t.Context()))
}

// All places of a ring being taken concerns those who put, and nobody else.
func TestBusyDoesNotEndSleeps(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	q := newQueue[string](t, seg, 4)
	id, die := other(t, seg)
	for _, c := range queue.Cells(q) {
		if c.Load() == 0 {
			c.Store(id)
		}
	}
	if err := q.TryPut("x"); !errors.Is(err, ring.ErrBusy) {
		t.Fatal(err)
	}
	if queue.MayGet(q) {
		t.Error("there is nothing to get, and who waits would look again and again")
	}
	die()
	proctest.Must(t, q.Put(t.Context(), "x"))
	if v, err := q.TryGet(); v != "x" || err != nil {
		t.Fatal(v, err)
	}
}

// A Close that comes between two steps of a Get does not make it say that the queue is shut down and empty.
func TestCloseDuringGetAfterShutdown(t *testing.T) {
	for _, form := range []func(t *testing.T, seg *shm.Segment) error{
		func(t *testing.T, seg *shm.Segment) error { return closedDuringGet(newQueue[int](t, seg, 4)) },
		func(t *testing.T, seg *shm.Segment) error { return closedDuringGet(newQueue[string](t, seg, 4)) },
	} {
		if err := form(t, proctest.Segment(t, 1<<20)); !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	}
}

func closedDuringGet[T any](q *queue.Queue[T]) error {
	var zero T
	if err := errors.Join(q.TryPut(zero), q.Shutdown()); err != nil {
		return err
	}
	queue.CloseRings(q)
	_, err := q.TryGet()
	return err
}

// What the memory says of a queue is read once, and held against what its rings say.
func TestHostileHeader(t *testing.T) {
	seg := proctest.Segment(t, 8<<20)
	q := newQueue[string](t, seg, 4)
	queue.Header(q).Slot = 5000 // of a ring with slots of 120
	var again queue.Queue[string]
	data, err := q.MarshalBinary()
	proctest.Must(t, err)
	if err := again.UnmarshalBinary(data); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("opened: %v", err)
		again.TryPut(strings.Repeat("x", 1000)) // and panics
	}
	queue.Header(q).Slot = 8 // too small for what says where an item is
	var third queue.Queue[string]
	if err := third.UnmarshalBinary(data); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("opened: %v", err)
	}

	g := newQueue[int](t, seg, 0)
	fill := func() error {
		for range 600 {
			if err := g.TryPut(1); err != nil {
				return err
			}
		}
		return nil
	}
	queue.Header(g).Flags, queue.Header(g).Slot = queued.Counts, 1<<63
	proctest.Must(t, fill()) // into the second ring

	// A chain of rings that all say that there is one more ends.
	proctest.Must(t, queue.EndRing(g, 1))
	rings := &queue.Header(g).Rings
	for i := range rings {
		rings[i].Store(rings[0].Load())
	}
	if err := fill(); !errors.Is(err, shm.ErrCorrupt) {
		t.Error(err)
	}
	g.Len()
	if err := g.Shutdown(); !errors.Is(err, shm.ErrCorrupt) {
		t.Error(err)
	}
}

// Slots that contradict each other are an error, and nobody looks at them for ever.
func TestHostileSlots(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	q := newJoinable[int](t, seg, 3)
	if queue.InBlocks(&q.Queue)[0] {
		t.Skip("this processor cannot change two words at once")
	}
	proctest.Must(t, q.Put(t.Context(), 1))
	if _, err := q.Get(t.Context()); err != nil {
		t.Fatal(err)
	}
	proctest.Must(t, q.TaskDone())
	word := queue.Slot(&q.Queue, 1)
	was := word.Load()
	word.Store(was - 4) // filled, a lap ago, though so were fewer than there is room for
	if err := q.TryPut(1); !errors.Is(err, shm.ErrCorrupt) {
		t.Fatal(err)
	}
	if err := q.Put(t.Context(), 1); !errors.Is(err, shm.ErrCorrupt) {
		t.Fatal(err)
	}
	if err := q.Join(t.Context()); !errors.Is(err, shm.ErrCorrupt) {
		t.Fatal(err)
	}
}

// overgrown is longer each time that it is encoded, up to a point.
type overgrown struct {
	N     *int
	Panic bool
}

func (o *overgrown) MarshalBinary() ([]byte, error) {
	if *o.N += 100; o.Panic && *o.N >= 500 {
		panic("overgrown")
	}
	if !o.Panic {
		return make([]byte, min(*o.N, 200)), nil
	}
	return make([]byte, *o.N), nil
}

func (o *overgrown) UnmarshalBinary([]byte) error { return nil }

// An item that takes more than MaxItem is not put, also if it said that it takes less; and one that panics leaves nothing behind.
func TestOvergrown(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	q := newQueue[*overgrown](t, seg, 4, queue.Options{MaxItem: 150, SlotSize: 130})
	for n := range 150 {
		err := q.TryPut(&overgrown{N: &n})
		if err == nil {
			_, err = q.TryGet()
			proctest.Must(t, err)
		} else if !errors.Is(err, os.ErrInvalid) {
			t.Fatal(err)
		}
	}
	big := newQueue[*overgrown](t, seg, 4)
	before := inUse(t, seg)
	for n := 250; n < 550; n += 50 {
		func() {
			defer func() { recover() }()
			at := n
			if big.TryPut(&overgrown{N: &at, Panic: true}) == nil {
				big.TryGet()
			}
		}()
	}
	_, err := seg.Repair()
	proctest.Must(t, err)
	if after := inUse(t, seg); after > before {
		t.Errorf("%d bytes are in use, %d were", after, before)
	}
}

func inUse(t *testing.T, seg *shm.Segment) int {
	t.Helper()
	_, err := seg.Repair()
	proctest.Must(t, err)
	return seg.Info().Used
}

var leaver = proctest.NewRole("queue-leave", func(ctx context.Context, c *proctest.Child, q *queue.Queue[string]) error {
	if err := q.Put(ctx, "mine"); err != nil {
		return err
	}
	if err := q.Segment().Close(); err != nil {
		return err
	}
	c.Say("left")
	c.Hear()
	runtime.KeepAlive(q)
	return nil
})

// Who closes its segment is dead, but may be at work in a Put: its place in the ring is nobody else's while it can be.
func TestSegmentClosedDuringPut(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	q := newQueue[string](t, seg, 4)
	p := leaver.Start(t, q)
	p.WaitLine("left")
	id, _ := other(t, seg)
	for _, c := range queue.Cells(q) {
		if c.Load() == 0 {
			c.Store(id)
		}
	}
	if err := q.TryPut("x"); err == nil {
		t.Error("put from the place of a process that may be writing there")
	}
	if v, err := q.TryGet(); v != "mine" || err != nil {
		t.Fatal(v, err)
	}
	p.Kill()
	proctest.Must(t, q.Put(t.Context(), "x"))
}

// A queue grows by rings of the form that it has, whatever machine finds it full: others could not open them.
func TestGrowsInItsForm(t *testing.T) {
	seg := proctest.Segment(t, 8<<20)
	q := newQueue[int](t, seg, 0)
	proctest.Must(t, queue.LayInBlocks(q, 63))
	for i := range 200 {
		proctest.Must(t, q.TryPut(i))
	}
	if is := queue.InBlocks(q); len(is) != 4 || !is[1] || !is[2] || !is[3] {
		t.Error(is)
	}
	for i := range 200 {
		if v, err := q.TryGet(); v != i || err != nil {
			t.Fatal(v, err)
		}
	}
}

// A handle that was forgotten without Close gives back its places in the rings, and its memory.
func TestForgottenHandles(t *testing.T) {
	seg := proctest.Segment(t, 8<<20)
	q := newQueue[string](t, seg, 8)
	data, err := q.MarshalBinary()
	proctest.Must(t, err)
	kept := func() (n int) {
		for _, c := range queue.Cells(q) {
			if c.Load() != 0 {
				n++
			}
		}
		return n
	}
	before := kept()
	proctest.Watch(t)
	for range 200 {
		again := new(queue.Queue[string])
		proctest.Must(t, again.UnmarshalBinary(data))
		proctest.Must(t, again.TryPut("x"))
		if _, err := again.TryGet(); err != nil {
			t.Fatal(err)
		}
		short, cancel := context.WithTimeout(t.Context(), time.Microsecond)
		again.PutMany(short, make([]string, 3))
		again.GetMany(short, make([]string, 5))
		cancel()
	}
	for kept() > before { // else it does not end
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	runtime.KeepAlive(q)
}
