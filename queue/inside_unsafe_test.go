package queue

import (
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// Peeked is what Get of a queue of messages knows of the oldest before it claims it.
type Peeked[T any] struct {
	c              *core[T]
	t              ring.Ticket
	Offset, Length uint64
	Stamp          uint32
}

// Peek is the first part of Get. The oldest item must be one that was passed.
func Peek[T any](q *Queue[T]) (p Peeked[T]) {
	p.c = q.c
	kind, b, t, _ := q.c.get.Load().messages.Peek(nil)
	p.t = t
	p.Offset, p.Length, p.Stamp, _ = queued.Where(kind, b)
	return p
}

// Claim is the second part.
func (p Peeked[T]) Claim() (v T, done bool, err error) {
	done, err = p.c.claim(p.c.get.Load(), p.t, p.Offset, p.Length, p.Stamp, &v)
	return v, done, err
}

// Hand is the use of a queue that counts by the participant id.
type Hand struct{ h *hands }

// HandIn is that of this process, if id is 0.
func HandIn[T any](q *JoinableQueue[T], id uint32) Hand {
	if id == 0 {
		return Hand{q.c.hands}
	}
	h := *q.c.hands
	h.self, h.mine = id, &h.all[queued.HandOf(id%queued.MostHands)]
	h.h.Used.Store(queued.MostHands)
	return Hand{&h}
}

// Grab, Settle and Finish are the parts of Get, and TaskDone.
func (h Hand) Grab(n int)        { h.h.grab(n) }
func (h Hand) Settle(n, got int) { h.h.settle(n, got) }
func (h Hand) Finish() error     { return h.h.finish() }

// MayGet is what one who sleeps in Get is asked.
func MayGet[T any](q *Queue[T]) bool { return q.c.mayGet() }

// MayEnd is what one who sleeps in Join is asked.
func MayEnd[T any](q *JoinableQueue[T]) bool { return q.c.mayEnd() }

// Header is the queue's.
func Header[T any](q *Queue[T]) *queued.Header { return q.c.h }

// EndRing ends the ring of that index with the mark that says that there is one more.
func EndRing[T any](q *Queue[T], index int) error {
	l, err := q.c.lane(index)
	if err == nil {
		l.end(endMore)
	}
	return err
}

// CloseRings does what a Close does that has come between two steps of another goroutine's call.
func CloseRings[T any](q *Queue[T]) {
	for _, l := range q.c.lanes {
		l.close()
	}
}

// Slot is word i of the slots of the first ring, as of a queue of pairs.
func Slot[T any](q *Queue[T], i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&q.c.mem[queued.FirstAt(q.c.flags)+384+16*i]))
}

// Cells are the owners of the cells of the first ring, which has blocks.
func Cells[T any](q *Queue[T]) (owners [128]*atomic.Uint32) {
	for i := range owners {
		owners[i] = (*atomic.Uint32)(unsafe.Pointer(&q.c.mem[queued.FirstAt(q.c.flags)+384+64*i+8]))
	}
	return owners
}

// Pop is Get without what is in hand.
func Pop[T any](q *JoinableQueue[T]) (v T, err error) {
	_, err = q.c.pop(&v)
	return v, err
}

// LayInBlocks lays a ring of n items after the last one of a queue that grows, as a machine does that cannot change 16 bytes at once.
func LayInBlocks[T any](q *Queue[T], n int) error {
	l, err := q.c.lane(0)
	if err != nil {
		return err
	}
	part := new(shm.Ref)
	_, err = ringKind.New(part, q.c.seg, "", queued.RingAt+ringSize[T](q.c.form, n, q.c.slot, true), func(mem []byte) error {
		queued.Describe(mem, q.c.keep.Handle().Offset, q.c.keep.Handle().Generation, 1)
		return newRing[T](mem[queued.RingAt:], q.c.form, n, q.c.slot, true, q.c.seg)
	})
	if err == nil {
		q.c.h.Rings[0].Store(queued.Entry(part.Handle().Offset, part.Handle().Generation))
		l.end(endMore)
	}
	return err
}

// InBlocks is of which rings of a queue of plain data the items lie in blocks.
func InBlocks[T any](q *Queue[T]) (is []bool) {
	for i := 0; ; i++ {
		l, err := q.c.lane(i)
		if err != nil {
			return nil
		}
		is = append(is, l.plain.InBlocks())
		if l.mark() != endMore {
			return is
		}
	}
}
