package queue

import (
	"errors"
	"fmt"
	"os"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// How a ring of a queue ends; see the package documentation.
const (
	endShutdown = 1 // there will be no more items
	endMore     = 2 // the next ones are in the next ring
)

// lane is this handle's use of one of the rings of a queue. One of the two is not nil.
type lane[T any] struct {
	index    int
	plain    *ring.MPMC[T]
	messages *ring.Messages
}

func (l *lane[T]) mark() int {
	if l.plain != nil {
		return l.plain.Mark()
	}
	return l.messages.Mark()
}

// markSeen is what mark was when the ring last said no to this handle.
func (l *lane[T]) markSeen() int {
	if l.plain != nil {
		return l.plain.MarkSeen()
	}
	return l.messages.MarkSeen()
}

func (l *lane[T]) length() int {
	if l.plain != nil {
		return l.plain.Len()
	}
	return l.messages.Len()
}

func (l *lane[T]) capacity() int {
	if l.plain != nil {
		return l.plain.Cap()
	}
	return l.messages.Cap()
}

func (l *lane[T]) pushed() uint64 {
	if l.plain != nil {
		return l.plain.Pushed()
	}
	return l.messages.Pushed()
}

func (l *lane[T]) end(mark int) bool {
	if l.plain != nil {
		return l.plain.End(mark)
	}
	return l.messages.End(mark)
}

func (l *lane[T]) close() {
	if l.plain != nil {
		l.plain.Close()
	} else {
		l.messages.Close()
	}
}

// err is why the ring said no, if that is not for want of items or room.
func (l *lane[T]) err() (err error) {
	if l.plain != nil {
		err = l.plain.Err()
	} else {
		err = l.messages.Err()
	}
	if errors.Is(err, ring.ErrCorrupt) {
		err = fmt.Errorf("%w: %w", shm.ErrCorrupt, err)
	}
	return err
}

// broken is err, but for what concerns puts alone: that all places of the ring are taken, or were when this handle last put.
func (l *lane[T]) broken() error {
	if err := l.err(); !errors.Is(err, ring.ErrBusy) {
		return err
	}
	return nil
}

// lane is the lane of that index, which exists.
func (c *core[T]) lane(index int) (*lane[T], error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, os.ErrClosed
	}
	for len(c.lanes) <= index {
		l, err := c.open(len(c.lanes))
		if err != nil {
			return nil, err
		}
		c.lanes = append(c.lanes, l)
		opened := c.lanes
		c.opened.Store(&opened)
	}
	return c.lanes[index], nil
}

// open opens the ring of that index.
func (c *core[T]) open(index int) (*lane[T], error) {
	l := &lane[T]{index: index}
	if index == queued.MostRings {
		return nil, fmt.Errorf("%w: more than %d rings of a queue", shm.ErrCorrupt, index)
	}
	mem := c.mem[queued.FirstAt(c.flags):]
	if index > 0 {
		offset, gen := queued.Ring(c.h.Rings[index-1].Load()) // PAIRS WITH grow: CAS the entry
		var err error
		if mem, err = ringKind.PartIn(c.seg, &c.keep, offset, gen); err != nil {
			return nil, fmt.Errorf("%w: ring %d of a queue: %w", shm.ErrCorrupt, index, err)
		}
		mem = mem[queued.RingAt:]
	}
	var err error
	if c.form == queued.Plain {
		l.plain, err = ring.OpenMPMC[T](mem, peers{c.seg})
	} else {
		l.messages, err = ring.OpenMessages(mem, peers{c.seg})
	}
	if err == nil && l.messages != nil && l.messages.Size() < c.slot {
		err = fmt.Errorf("%w: messages of %d bytes", ring.ErrCorrupt, l.messages.Size())
	}
	if errors.Is(err, ring.ErrCorrupt) || errors.Is(err, ring.ErrKind) {
		err = fmt.Errorf("%w: %w", shm.ErrCorrupt, err)
	}
	return l, err
}

// peers tells rings of a process that it is dead when it cannot be at work in them any more. One that has closed its segment can.
type peers struct{ *shm.Segment }

// Dead implements ring.Peers.
func (p peers) Dead(id uint32) bool { return p.Gone(id) }

var ringKind = shm.Kind{Name: queued.RingKind, Min: queued.RingAt, Part: true}

// ringSize is how many bytes a ring of n items of slot bytes needs; blocks is whether items of up to 8 bytes are to lie in blocks.
func ringSize[T any](form uint32, n, slot int, blocks bool) int {
	if form == queued.Plain {
		return ring.MPMCSize[T](n, ring.MPMCOptions{Exact: true, Blocks: blocks})
	}
	return ring.MessagesSize(n, slot)
}

// newRing makes a ring in mem.
func newRing[T any](mem []byte, form uint32, n, slot int, blocks bool, seg *shm.Segment) error {
	if form == queued.Plain {
		r, err := ring.NewMPMC[T](mem, n, seg, ring.MPMCOptions{Exact: true, Blocks: blocks})
		if err == nil {
			r.Close()
		}
		return err
	}
	r, err := ring.NewMessages(mem, n, slot, seg)
	if err == nil {
		r.Close()
	}
	return err
}

// grow is for who found the ring of l full, in a queue that grows: it makes the next ring, if there is none, ends this one, and goes on
// there.
func (c *core[T]) grow(l *lane[T]) error {
	if l.index+1 == queued.MostRings {
		return fmt.Errorf("%w: %d rings", shm.ErrNoSpace, queued.MostRings)
	}
	entry := &c.h.Rings[l.index]
	if entry.Load() == 0 { // PAIRS WITH grow: CAS the entry
		if err := c.addRing(entry, l); err != nil && entry.Load() == 0 { // PAIRS WITH grow: CAS the entry
			return err
		}
	}
	l.end(endMore)
	crashpoint.Hit("queue/grow/ended")
	return nil
}

// addRing makes the ring after l, unless somebody else does. It is to be twice as large, or half as large again if there is no memory
// for that. A smaller one would be what is left of the queue when the others are drained, and use up one of the few. It is of l's form:
// somebody may use the queue whose machine is another.
func (c *core[T]) addRing(entry interface{ CompareAndSwap(old, new uint64) bool }, l *lane[T]) error {
	part, blocks := new(shm.Ref), l.plain != nil && l.plain.InBlocks()
	for n := 2*l.capacity() + 1; ; n = l.capacity() + l.capacity()/2 + 1 {
		_, err := ringKind.New(part, c.seg, "", queued.RingAt+ringSize[T](c.form, n, c.slot, blocks), func(mem []byte) error {
			queued.Describe(mem, c.keep.Handle().Offset, c.keep.Handle().Generation, l.index+1)
			return newRing[T](mem[queued.RingAt:], c.form, n, c.slot, blocks, c.seg)
		})
		if err == nil {
			break
		}
		if !errors.Is(err, shm.ErrNoSpace) || n <= 2*l.capacity() {
			return err
		}
	}
	crashpoint.Hit("queue/grow/made")
	h := part.Handle()
	name := queued.Entry(h.Offset, h.Generation)
	if at, _ := queued.Ring(name); at != h.Offset {
		shm.Free(handleOf{part})
		return fmt.Errorf("%w: a ring at %d, which an entry cannot name", shm.ErrNoSpace, h.Offset)
	}
	if entry.CompareAndSwap(0, name) { // PAIRS WITH grow, open: load the entry
		crashpoint.Hit("queue/grow/added")
		return nil
	}
	return shm.Free(handleOf{part})
}

// firstRing is how many items the first ring of a queue that grows holds.
const firstRing = 511

// handleOf makes a Ref an object, to be freed.
type handleOf struct{ *shm.Ref }

func (handleOf) UnmarshalBinary([]byte) error { return errors.ErrUnsupported }
