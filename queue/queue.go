package queue

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"os"
	"reflect"
	"runtime"
	"time"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/shm"
)

// Options are the rarer wishes of a queue.
type Options struct {
	// SlotSize is how many bytes of an item are stored in the queue's own memory; for a larger one memory of the segment is
	// allocated. 0 means: as many as each value of T takes, if that is at most 256, and otherwise 120. The most is 1 MiB.
	SlotSize int
	// MaxItem is the most bytes that an encoded item may take; 0 means 64 MiB.
	MaxItem int

	first int // for tests: the most items of the first ring of a queue without a bound
}

const (
	defaultSlot = 120 // with its head as much as a cache line or two
	largestSlot = 256
	maxSlot     = 1 << 20
	defaultMost = 64 << 20
)

// Queue is a first-in, first-out queue of T: any type that encodes (see process.Register). Any goroutine of any process may call all
// methods.
//
// What Put accepted is in shared memory, and outlives the process; there is nothing to flush. A process that is killed or stopped
// in any method, at any instruction, holds nobody up: a killed producer's item is there or was never put, and a killed consumer has lost at most
// the items that its call was about to return. (The exceptions: Join waits for who is stopped, as it does for who has an item in hand; and 64
// processes that are stopped in the middle of a put, where there are more, have all places of a ring of larger items, so that
// others wait to put.) What is put happens before the Get that returns it.
//
// Puts and gets are lock-free between processes, and make no system call while nobody sleeps. All goroutines that wait cost a
// process no more than a few threads.
type Queue[T any] struct {
	shm.Ref
	c *core[T]
}

// New makes a queue of at most n items; 0 means as many as the segment has room for. n slots of Options.SlotSize bytes are allocated
// at once, and, unless the items are of 8 bytes or less, 128 more for those on their way. The memory of a queue without a bound grows
// with what lies in it, and is not given back before the queue is freed.
//
// The errors are those of shm.Kind.New, shm.ErrType with the path of what would not cross whole, and os.ErrInvalid for a negative n
// or Options out of range.
func New[T any](seg *shm.Segment, name string, n int, opts ...Options) (*Queue[T], error) {
	q := new(Queue[T])
	if err := q.make(seg, name, n, 0, opts); err != nil {
		return nil, err
	}
	return q, nil
}

// Open finds a queue. The errors are those of shm.Kind.Open (shm.ErrKind if T does not fit), and shm.ErrType.
//
// If the queue's own type is plain data (numbers, and arrays and structs of them), T must have the same structure, field names
// included: such a struct cannot grow a field. Otherwise, as in a struct with a string, it is enough that what is put can be
// decoded. Fields are found by their names: one that an item lacks is zero, one that T lacks is left out; one whose type has
// changed makes Get fail with shm.ErrCorrupt.
func Open[T any](seg *shm.Segment, name string) (*Queue[T], error) {
	q := new(Queue[T])
	if err := q.open(seg, name); err != nil {
		return nil, err
	}
	return q, nil
}

// OpenOrNew finds a queue (whose capacity and options stand) or makes one. The errors are those of Open and New.
func OpenOrNew[T any](seg *shm.Segment, name string, n int, opts ...Options) (*Queue[T], error) {
	q := new(Queue[T])
	if err := q.openOrMake(seg, name, n, 0, opts); err != nil {
		return nil, err
	}
	return q, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (q *Queue[T]) UnmarshalBinary(data []byte) error {
	c, k, err := kindOf[T]()
	if err != nil {
		return err
	}
	mem, err := k.Unmarshal(&q.Ref, data)
	return q.use(mem, c, err)
}

// kindOf is the codec of T, and the kind of its queues.
func kindOf[T any]() (*codec.Codec[T], shm.Kind, error) {
	c, err := codec.Of[T]()
	if err != nil {
		return nil, shm.Kind{}, fmt.Errorf("queue: %w", err)
	}
	t := reflect.TypeFor[T]()
	k := shm.Kind{Name: "queue", Type: t.String(), Min: queued.FirstAt(0), Passage: true, Hash: family(t)}
	if c.Plain() {
		k.Hash = layout.Hash(t)
	}
	return c, k, nil
}

func (q *Queue[T]) open(seg *shm.Segment, name string) error {
	c, k, err := kindOf[T]()
	if err != nil {
		return err
	}
	mem, err := k.Open(&q.Ref, seg, name)
	return q.use(mem, c, err)
}

func (q *Queue[T]) openOrMake(seg *shm.Segment, name string, n int, flags uint32, opts []Options) error {
	for {
		if name != "" {
			if err := q.open(seg, name); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		if err := q.make(seg, name, n, flags, opts); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

func (q *Queue[T]) make(seg *shm.Segment, name string, n int, flags uint32, opts []Options) error {
	var o Options
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		panic("queue: more than one Options")
	}
	c, k, err := kindOf[T]()
	if err != nil {
		return err
	}
	if n < 0 || o.SlotSize < 0 || o.SlotSize > maxSlot || o.MaxItem < 0 || uint64(n) > 1<<40 {
		return fmt.Errorf("queue: new %q: %w: %d items, slots of %d bytes, items of %d", name, os.ErrInvalid, n, o.SlotSize, o.MaxItem)
	}
	if o.MaxItem == 0 {
		o.MaxItem = defaultMost
	}
	form, slot := formOf(c, o.SlotSize)
	first := n
	if n == 0 {
		flags |= queued.Grows
		if first = o.first; first == 0 {
			first = firstRing
		}
	}
	size := ringSize[T](form, first, slot, false)
	if size > math.MaxInt-queued.FirstAt(flags) {
		return fmt.Errorf("queue: new %q: %w: %d items of %d bytes", name, shm.ErrNoSpace, n, slot)
	}
	mem, err := k.New(&q.Ref, seg, name, queued.FirstAt(flags)+size, func(mem []byte) error {
		h := queued.At(mem)
		h.Form, h.Flags = form, flags
		h.Capacity, h.Slot, h.Most, h.First = uint64(n), uint64(slot), uint64(o.MaxItem), uint64(first)
		return newRing[T](mem[queued.FirstAt(flags):], form, first, slot, false, seg)
	})
	return q.use(mem, c, err)
}

// formOf is the form of a queue, and the size of its slots.
func formOf[T any](c *codec.Codec[T], asked int) (form uint32, slot int) {
	fixed, ok := c.Fixed()
	if c.Plain() {
		if fixed <= max(asked, largestSlot) && (asked == 0 || fixed <= asked) {
			return queued.Plain, fixed
		}
	}
	switch {
	case asked != 0:
		slot = asked
	case ok && fixed <= largestSlot:
		slot = fixed
	case c.Plain():
		slot = 0 // no item fits
	default:
		slot = defaultSlot
	}
	return queued.Messages, max(slot, queued.PassedSize)
}

// use makes q a handle of the queue in mem, if there is no error.
func (q *Queue[T]) use(mem []byte, c *codec.Codec[T], err error) error {
	if err != nil {
		return err
	}
	q.c, err = attach(&q.Ref, mem, c)
	if err != nil {
		q.Ref.Close()
		return fmt.Errorf("queue: open %q: %w", q.Name(), err)
	}
	runtime.AddCleanup(q, (*core[T]).forget, q.c)
	return nil
}

// Close detaches this handle: its waiting calls return os.ErrClosed, so do later ones. The queue goes on.
func (q *Queue[T]) Close() error {
	defer runtime.KeepAlive(q)
	if q.c == nil {
		return nil
	}
	err := q.Ref.Close()
	q.c.close()
	return err
}

// named adds the queue's name to an error of the process's own making.
func (q *Queue[T]) named(err error) error {
	switch {
	case err == nil, err == ErrEmpty, err == ErrFull, err == ErrShutdown:
		return err
	case q.c.isShut():
		err = os.ErrClosed
	}
	return fmt.Errorf("queue %q: %w", q.Name(), err)
}

// mustBeOpen panics with os.ErrClosed for methods that have no error.
func (q *Queue[T]) mustBeOpen() {
	if q.c.isShut() {
		panic(os.ErrClosed)
	}
}

// Put adds v, waiting for room. When it returns nil, v is in shared memory and outlives this process.
//
// A full queue lets those who wait put as others get, in no fixed order. The errors are ErrShutdown, ctx's, os.ErrClosed, shm.ErrNoSpace
// at once if v is too large for a slot and the segment has no room for it (or the queue has no bound, and the segment no room for more of
// them), os.ErrInvalid if v takes more than Options.MaxItem, and that of encoding v: then nothing was put.
func (q *Queue[T]) Put(ctx context.Context, v T) error {
	c := q.c
	if c.form == queued.Plain {
		err := c.push(&v, nil)
		if err == ErrFull || err == errBusy {
			err = c.await(ctx, &v, nil, err)
		}
		if err != nil {
			err = q.named(err)
		}
		runtime.KeepAlive(q)
		return err
	}
	defer runtime.KeepAlive(q)
	var p parcel
	err := c.pack(&p, &v)
	if err == nil {
		if err = c.push(nil, &p); err == ErrFull || err == errBusy {
			err = c.await(ctx, nil, &p, err)
		}
	}
	c.unpack(&p, err == nil)
	return q.named(err)
}

// mostPause is how many pauses of package robust who looks again makes at most between two looks, about a microsecond. Each look takes the
// line with the slot away from who is about to change it; so who waits longer leaves the other side time for several items.
const mostPause = 16

// await is Put of who found the queue full, or all places of a ring taken.
func (c *core[T]) await(ctx context.Context, v *T, p *parcel, err error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	spins := c.spinPut.Begin()
	for spins.Left > 0 { // there is no hurry: let there be room for several
		spins.Left -= 2 * mostPause
		atomics.Pause(2 * mostPause * robust.SpinPause)
		if err == ErrFull && !c.mayPut() { // a message would be written to be refused
			continue
		}
		if err = c.push(v, p); err != ErrFull && err != errBusy {
			spins.End(true)
			return err
		}
	}
	spins.End(false)
	s := c.room.Sleeper()
	defer s.End()
	for pause := 50 * time.Microsecond; ; {
		if err == errBusy { // nobody says when a place is free; it is soon
			if err := sleep(ctx, pause); err != nil {
				return err
			}
			pause = min(2*pause, 5*time.Millisecond)
		} else if err := s.Wait(ctx, c.mayPut); err != nil {
			return err
		}
		if err = c.push(v, p); err != ErrFull && err != errBusy {
			return err
		}
	}
}

// sleep waits for that long, or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// TryPut adds v if there is room, else ErrFull. The other errors are those of Put, and ring.ErrBusy if more than 64 processes that have
// others of this queue's places are in the middle of a put: then Put tries again.
func (q *Queue[T]) TryPut(v T) error {
	c := q.c
	if c.form == queued.Plain {
		err := c.push(&v, nil)
		if err != nil {
			err = q.named(err)
		}
		runtime.KeepAlive(q)
		return err
	}
	defer runtime.KeepAlive(q)
	if c.limit != 0 && !c.mayPut() { // it need not be encoded
		return ErrFull
	}
	var p parcel
	err := c.pack(&p, &v)
	if err == nil {
		err = c.push(nil, &p)
	}
	c.unpack(&p, err == nil)
	return q.named(err)
}

// PutMany adds vs in order, waiting for room, and returns how many it added. Items of others may come between them. The errors are
// those of Put.
func (q *Queue[T]) PutMany(ctx context.Context, vs []T) (int, error) {
	defer runtime.KeepAlive(q)
	c := q.c
	n := 0
	for n < len(vs) {
		if c.form == queued.Plain && !c.isShut() {
			if k := c.put.Load().plain.TryPushMany(vs[n:]); k > 0 {
				n += k
				c.items.Wake()
				continue
			}
		}
		if err := q.Put(ctx, vs[n]); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Get takes the oldest item, waiting for one. Those who wait get items in no fixed order. The errors are ErrShutdown, ctx's, os.ErrClosed,
// and that of decoding (shm.ErrCorrupt, or shm.ErrUnreachable for an object in a segment that cannot be found): then the item is gone.
func (q *Queue[T]) Get(ctx context.Context) (v T, err error) {
	if err = q.c.take(&v); err == ErrEmpty {
		err = q.c.awaitItem(ctx, &v)
	}
	if err != nil {
		err = q.named(err)
	}
	runtime.KeepAlive(q)
	return v, err
}

// awaitItem is Get of who found the queue empty.
func (c *core[T]) awaitItem(ctx context.Context, v *T) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	spins := c.spinGet.Begin()
	for n := 1; spins.Left > 0; n = min(2*n, mostPause) {
		spins.Left -= n
		atomics.Pause(uint32(n) * robust.SpinPause)
		if err := c.take(v); err != ErrEmpty {
			spins.End(true)
			return err
		}
	}
	spins.End(false)
	s := c.items.Sleeper()
	defer s.End()
	for {
		if err := s.Wait(ctx, c.mayGet); err != nil {
			return err
		}
		if err := c.take(v); err != ErrEmpty {
			return err
		}
	}
}

// TryGet takes the oldest item if there is one, else ErrEmpty. The other errors are those of Get.
func (q *Queue[T]) TryGet() (v T, err error) {
	if err = q.c.take(&v); err != nil {
		err = q.named(err)
	}
	runtime.KeepAlive(q)
	return v, err
}

// GetMany waits for one item and takes as many as there are and dst holds, and returns how many. If these are few, it looks once more
// a microsecond later. The errors are those of Get; with an
// error there may be items, which were got before it.
func (q *Queue[T]) GetMany(ctx context.Context, dst []T) (int, error) {
	defer runtime.KeepAlive(q)
	c := q.c
	n, paused := 0, false
	for n < len(dst) {
		if c.form == queued.Plain {
			k, err := c.takeMany(dst[n:])
			n += k
			if err != nil {
				return n, q.named(err)
			}
			if n == len(dst) {
				break
			}
		}
		if n == 0 {
			v, err := q.Get(ctx)
			if err != nil {
				return 0, err
			}
			dst[0], n = v, 1
			continue
		}
		if c.form == queued.Plain && c.get.Load().markSeen() == 0 {
			// To take them as they come, one by one, costs both sides more than to let some gather.
			if paused {
				break
			}
			paused = true
			atomics.Pause(mostPause * robust.SpinPause)
			continue
		}
		if err := c.take(&dst[n]); err == ErrEmpty || err == ErrShutdown {
			break
		} else if err != nil {
			return n, q.named(err)
		}
		n++
	}
	return n, nil
}

// takeMany takes what there is in the present ring of a queue of plain data.
func (c *core[T]) takeMany(dst []T) (n int, err error) {
	if c.isShut() {
		return 0, os.ErrClosed
	}
	if c.hands != nil {
		if !c.there() {
			return 0, nil
		}
		dst = dst[:min(len(dst), mostInHand/2)]
		if err := c.hands.grab(len(dst)); err != nil {
			return 0, err
		}
	}
	n = c.get.Load().plain.TryPopMany(dst)
	if n > 0 {
		c.taken()
	}
	if c.hands != nil {
		c.hands.settle(len(dst), n)
		if n == 0 {
			c.joiners.Wake()
		}
	}
	return n, nil
}

// All gets items until the queue is shut down and empty; any other end comes as the last pair's error.
func (q *Queue[T]) All(ctx context.Context) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for {
			v, err := q.Get(ctx)
			if err == ErrShutdown {
				return
			}
			if !yield(v, err) || err != nil {
				return
			}
		}
	}
}

// Len is the number of items at an instant during the call. It is 0 if the queue's memory contradicts itself, as Get then says.
func (q *Queue[T]) Len() int {
	defer runtime.KeepAlive(q)
	q.mustBeOpen()
	n, _ := q.c.length()
	return n
}

// Cap is the most items that there can be, 0 if there is no fixed bound.
func (q *Queue[T]) Cap() int {
	q.mustBeOpen()
	return q.c.limit
}

// Shutdown ends the queue for everybody: no put succeeds any more, those who wait to put get ErrShutdown, and gets drain what is there.
// (Close is this handle's affair only.) It may be called again. The errors are os.ErrClosed and shm.ErrCorrupt.
func (q *Queue[T]) Shutdown() error {
	defer runtime.KeepAlive(q)
	return q.named(q.c.shutdown())
}
