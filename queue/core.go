package queue

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// core is what a handle has besides its Ref. It keeps the memory by a Ref of its own, so that it can give back the places in rings
// when nobody has the handle any more.
type core[T any] struct {
	keep  shm.Ref
	shut  *uint32 // of the handle: not 0 once it is closed; atomic
	seg   *shm.Segment
	mem   []byte
	h     *queued.Header
	form  uint32
	flags uint32
	limit int // capacity, 0 if the queue grows
	slot  int
	most  int
	codec *codec.Codec[T]
	hands *hands // nil unless the queue counts

	put, get atomic.Pointer[lane[T]] // where this handle puts, and gets

	items, room, joiners   *wait.Word
	spinGet, spinPut       robust.Spin
	mayGet, mayPut, mayEnd func() bool // what is waited for

	mu     sync.Mutex
	lanes  []*lane[T]
	opened atomic.Pointer[[]*lane[T]] // lanes, for who cannot wait for mu
	closed bool
	told   uint64 // lost items that Join has reported
}

// attach makes the core of a handle of the queue in mem, whose Ref is r.
func attach[T any](r *shm.Ref, mem []byte, c *codec.Codec[T]) (*core[T], error) {
	q := &core[T]{seg: r.Segment(), shut: shm.ShutFlag(r), codec: c}
	var err error
	if q.mem, err = shm.Again(&q.keep, r); err != nil {
		return nil, err
	}
	h := queued.At(mem)
	q.h, q.form, q.flags = h, h.Form, h.Flags
	capacity, slot, most := h.Capacity, h.Slot, h.Most
	if q.form != queued.Plain && q.form != queued.Messages || q.form == queued.Plain && !c.Plain() || slot > maxSlot ||
		q.form == queued.Messages && slot < queued.PassedSize || most > math.MaxInt || capacity > math.MaxInt ||
		(q.flags&queued.Grows != 0) != (capacity == 0) || len(mem) < queued.FirstAt(q.flags) {
		return nil, fmt.Errorf("%w: a queue of form %d, %d slots of %d bytes, items of %d", shm.ErrCorrupt, q.form, capacity, slot, most)
	}
	q.limit, q.slot, q.most = int(capacity), int(slot), int(most)
	if q.flags&queued.Counts != 0 {
		q.hands = handsOf(q.seg, mem)
	}
	for _, w := range []struct {
		to  **wait.Word
		mem *[128]byte
	}{{&q.items, &h.Items}, {&q.room, &h.Room}, {&q.joiners, &h.Joiners}} {
		if *w.to, err = wait.New(w.mem[:]); err != nil {
			return nil, err
		}
	}
	first, err := q.lane(0)
	if err != nil {
		return nil, err
	}
	q.put.Store(first)
	q.get.Store(first)
	q.mayGet = func() bool { return q.isShut() || q.there() }
	q.mayPut = func() bool {
		l := q.put.Load()
		return q.isShut() || l.mark() != 0 || l.broken() != nil || l.length() < l.capacity()
	}
	q.mayEnd = func() bool { return q.isShut() || q.mayBeDrained() }
	return q, nil
}

func (c *core[T]) isShut() bool { return atomic.LoadUint32(c.shut) != 0 }

// there reports whether a get may find something, be it the end.
func (c *core[T]) there() bool {
	l := c.get.Load()
	return l.length() != 0 || l.mark() != 0 || l.broken() != nil
}

// close gives back what this handle has in the rings.
func (c *core[T]) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, l := range c.lanes {
		l.close()
	}
}

// forget is close for a handle that nobody has any more. It is called by the runtime, and so must not end the process if the file of
// the segment was cut off, by whoever may write it.
func (c *core[T]) forget() {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		v := recover()
		if _, fault := v.(interface{ Addr() uintptr }); v != nil && !fault {
			panic(v)
		}
	}()
	c.close()
}

// parcel is an item on its way into the queue, encoded.
type parcel struct {
	buf    *[]byte // of b, from buffers
	b      []byte  // the message
	kind   uint32
	offset uint64 // of kind Passed: what was passed
	stamp  uint32
}

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// pack encodes v; unpack is to follow.
func (c *core[T]) pack(p *parcel, v *T) error {
	n, err := c.codec.Size(v)
	if err != nil {
		return err
	}
	if n > c.most {
		return fmt.Errorf("%w: an item of %d bytes, more than %d", os.ErrInvalid, n, c.most)
	}
	p.buf = buffers.Get().(*[]byte)
	p.b = (*p.buf)[:0]
	if n <= c.slot {
		p.b, err = c.codec.Append(p.b, v)
		*p.buf = p.b[:0]
		if err != nil || len(p.b) <= c.slot {
			return err
		}
		if n = len(p.b); n > c.most { // it encodes itself, longer than it said
			return fmt.Errorf("%w: an item of %d bytes, more than %d", os.ErrInvalid, n, c.most)
		}
	}
	return c.pass(p, v, n)
}

// pass encodes v, which takes n bytes, into memory of the segment, and passes that.
func (c *core[T]) pass(p *parcel, v *T, n int) error {
	offset, mem, err := c.seg.Allocate(n)
	if err != nil {
		return err
	}
	defer func() { // also if it encodes itself, and panics
		if p.kind != queued.Passed {
			c.seg.Deallocate(offset)
		}
	}()
	b, err := c.codec.Append(mem[:0], v)
	if err != nil {
		return err
	}
	if len(b) > n {
		return fmt.Errorf("%w: an item says that it takes %d bytes, and takes %d", os.ErrInvalid, n, len(b))
	}
	if p.stamp, err = c.seg.Pass(offset, &c.keep); err != nil {
		return err
	}
	p.kind, p.offset = queued.Passed, offset
	crashpoint.Hit("queue/put/passed")
	var where [queued.PassedSize]byte
	queued.Say(&where, offset, uint64(len(b)), p.stamp)
	p.b = append(p.b[:0], where[:]...)
	*p.buf = p.b[:0]
	return nil
}

// unpack ends the use of a parcel; one that was not sent is taken back.
func (c *core[T]) unpack(p *parcel, sent bool) {
	if p.kind == queued.Passed && !sent {
		if _, err := c.seg.Claim(p.offset, p.stamp, 0); err == nil {
			c.seg.Deallocate(p.offset)
		}
	}
	if p.buf != nil && cap(*p.buf) <= 64<<10 {
		buffers.Put(p.buf)
	}
}

// push puts one item into the queue: v if it is plain data, else p, which is v packed. It is ErrFull, or ErrShutdown, errBusy, or worse.
func (c *core[T]) push(v *T, p *parcel) error {
	for {
		if c.isShut() {
			return os.ErrClosed
		}
		l := c.put.Load()
		var ok bool
		if l.plain != nil {
			ok = l.plain.TryPush(*v)
		} else {
			ok = l.messages.TryPush(p.kind, p.b)
		}
		if ok {
			c.items.Wake()
			return nil
		}
		if err := c.refused(l); err != nil {
			return err
		}
	}
}

// errBusy says that all cells of a ring are in use. They are borrowed for the time of a push, but for those of the first who came.
var errBusy = fmt.Errorf("very many processes put at once: %w", ring.ErrBusy)

// refused finds out why the ring of l did not take an item. nil is to try again, in the lane that is put by then.
func (c *core[T]) refused(l *lane[T]) error {
	err := l.err()
	mark := l.markSeen()
	if mark == 0 && err != nil { // it may have said no for that reason
		mark = l.mark()
	}
	if mark == endMore {
		next, err := c.lane(l.index + 1)
		if err == nil {
			c.put.CompareAndSwap(l, next)
		}
		return err
	}
	if mark != 0 {
		return ErrShutdown
	}
	switch {
	case errors.Is(err, ring.ErrBusy):
		return errBusy
	case err != nil:
		return err
	case c.flags&queued.Grows == 0:
		return ErrFull
	}
	if l.length() < l.capacity() { // there is room by now
		return nil
	}
	return c.grow(l)
}

// take gets one item. It is ErrEmpty, ErrShutdown, or worse; an item that cannot be decoded is gone.
func (c *core[T]) take(v *T) error {
	if c.isShut() {
		return os.ErrClosed
	}
	if c.hands != nil {
		return c.takeInHand(v)
	}
	_, err := c.pop(v)
	return err
}

// takeInHand is take of a queue that counts.
func (c *core[T]) takeInHand(v *T) (err error) {
	if !c.there() { // else who looks again and again would seem to have something in hand
		return ErrEmpty
	}
	if err := c.hands.grab(1); err != nil {
		return err
	}
	got := 0
	defer func() { // also if the item decodes itself, and panics: then it is lost
		c.hands.settle(1, got)
		if got == 0 {
			c.joiners.Wake()
		}
	}()
	crashpoint.Hit("queue/get/grabbed")
	popped, err := c.pop(v)
	if popped && err == nil {
		got = 1
	} else if popped { // nobody will deal with it
		c.hands.done()
	}
	return err
}

// pop is take without what is in hand. popped is whether an item has left the queue, also if it cannot be decoded.
func (c *core[T]) pop(v *T) (popped bool, err error) {
	for ended := (*lane[T])(nil); ; {
		l := c.get.Load()
		if l.plain != nil {
			if *v, popped = l.plain.TryPop(); popped {
				c.taken()
				return true, nil
			}
		} else if popped, err := c.popMessage(l, v); popped || err != nil {
			return popped, err
		}
		mark := l.markSeen()
		if err := l.broken(); err != nil { // closed meanwhile, perhaps
			return false, err
		}
		if mark == 0 {
			return false, ErrEmpty
		}
		if ended != l { // all that was pushed is there now
			ended = l
			continue
		}
		if mark != endMore {
			return false, ErrShutdown
		}
		next, err := c.lane(l.index + 1)
		if err != nil {
			return false, err
		}
		c.get.CompareAndSwap(l, next)
	}
}

// popMessage pops one message from the ring of l, if there is one.
func (c *core[T]) popMessage(l *lane[T], v *T) (popped bool, err error) {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	for {
		kind, b, t, ok := l.messages.Peek((*buf)[:0])
		if !ok {
			return false, nil
		}
		*buf = b[:0]
		if offset, length, stamp, passed := queued.Where(kind, b); passed {
			if done, err := c.claim(l, t, offset, length, stamp, v); done || err != nil {
				return done, err
			}
			continue
		}
		if crashpoint.Enabled {
			crashpoint.Hit("queue/get/copied")
		}
		if l.messages.Take(t) {
			c.taken()
			return true, c.decode(b, v)
		}
		if l.broken() != nil {
			return false, nil
		}
	}
}

// claim takes an item that was passed, as a message says that was peeked. It is claimed first: so who is killed before the message
// is taken has it, and whoever meets the message sees that it has been claimed, and takes it away. done is whether this was the one
// to get it. What the message says counts only if it is known to be whole: offset and stamp of two messages may be those of a third.
func (c *core[T]) claim(l *lane[T], t ring.Ticket, offset, length uint64, stamp uint32, v *T) (done bool, err error) {
	if !l.messages.Still(t) {
		return false, l.broken()
	}
	var mem []byte
	if length <= uint64(c.most) {
		mem, err = c.seg.Claim(offset, stamp, int(length))
	} else {
		err = fmt.Errorf("%w: an item of %d bytes", shm.ErrCorrupt, length)
	}
	crashpoint.Hit("queue/get/claimed")
	if err != nil && !errors.Is(err, shm.ErrStale) && !errors.Is(err, shm.ErrCorrupt) { // this process has left, say
		return false, err
	}
	took := l.messages.Take(t)
	if took {
		c.taken()
	}
	switch {
	case err == nil:
		defer c.seg.Deallocate(offset)
		return true, c.decode(mem, v)
	case took && !errors.Is(err, shm.ErrStale): // the message itself was wrong, and is gone
		return true, err
	}
	return false, nil
}

// taken is called when an item has left the queue.
func (c *core[T]) taken() {
	if c.limit != 0 {
		c.room.Wake()
	}
}

// decode decodes an item.
func (c *core[T]) decode(b []byte, v *T) error { return c.codec.Decode(b, v) }

// length is how many items there are.
func (c *core[T]) length() (int, error) {
	for {
		l := c.get.Load()
		before := l.length()
		if l.mark() != endMore { // nor was it before
			return before, nil
		}
		// What is in this ring only gets less, and what is behind it only begins to when it is empty.
		n := 0
		for at, err := c.lane(l.index + 1); ; at, err = c.lane(at.index + 1) {
			if err != nil {
				return 0, err
			}
			n += at.length()
			if at.mark() != endMore {
				break
			}
		}
		if after := l.length(); after == before && after != 0 {
			return n + after, nil
		} else if after == 0 {
			next, err := c.lane(l.index + 1)
			if err != nil {
				return 0, err
			}
			c.get.CompareAndSwap(l, next)
		}
	}
}

// shutdown ends the queue.
func (c *core[T]) shutdown() error {
	for {
		if c.isShut() {
			return os.ErrClosed
		}
		l := c.put.Load()
		if !l.end(endShutdown) {
			if err := l.broken(); err != nil {
				return err
			}
			if l.mark() == endMore {
				next, err := c.lane(l.index + 1)
				if err != nil {
					return err
				}
				c.put.CompareAndSwap(l, next)
				continue
			}
		}
		crashpoint.Hit("queue/shutdown/ended")
		c.items.WakeAll()
		c.room.WakeAll()
		return nil
	}
}

// stale reports whether the item of the oldest message was claimed, by one who is about to take the message away, or died.
func (c *core[T]) stale() bool {
	_, stale := c.oldest()
	return stale
}

func (c *core[T]) oldest() (t ring.Ticket, stale bool) {
	l := c.get.Load()
	if l.messages == nil {
		return t, false
	}
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	kind, b, t, ok := l.messages.Peek((*buf)[:0])
	*buf = b[:0]
	offset, _, stamp, passed := queued.Where(kind, b)
	return t, ok && passed && !c.seg.Passed(offset, stamp)
}

// help takes the oldest message away if it is stale, and reports whether it was.
func (c *core[T]) help() bool {
	l := c.get.Load()
	t, stale := c.oldest()
	if !stale || l != c.get.Load() || !l.messages.Take(t) {
		return false
	}
	c.taken()
	return true
}
