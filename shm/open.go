package shm

import (
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// A process that has an object open says so in the block's header: eight cells of owner ids there, and blocks in state
// MORE with more of them when these are taken. The memory of a freed object becomes another's only when no cell names
// anybody.
//
//	open    a cell: 0 -> self, then look whether the object still lives        one cell for a process, however many handles it has
//	close   the cell: self -> 0, when the last handle has become unreachable; then collect, if the object was freed
//	free    the state: LIVE -> LIMBO, then look whether a cell names anybody; if not, collect
//	sweep   a cell: dead -> 0, by whoever sweeps up after a death
//
// Either who opens sees that the object was freed, or who frees sees that it is open: both write first and look
// then. Who opens what was freed meanwhile closes it again, and so collects what the other left to him. An opener
// that comes late finds another object, or none, in the block: he sees that by the generation, and no more
// was done to it than to take a cell and give it back. The cells are never used for anything else.
//
// A handle counts as open until it is unreachable, not until it is closed: a call that Close overtakes, and who keeps a slice
// of a Block, may still be at work in the memory. So memory is reused after a run of the garbage collector, and a process that
// closed its segment still counts until then.
const moreCount = unit/4 - 4 // cells of a block in state MORE

// openers are the processes that have the object at off open. f is called with each cell, until it returns true.
func (h heap) openers(o *object, f func(cell *atomic.Uint32) bool) (found bool) {
	for i := range o.Open {
		if f(&o.Open[i]) {
			return true
		}
	}
	more := o.More.Load()
	for range slotCount / moreCount { // enough for all there can be
		m := h.more(more)
		if m == nil {
			return false
		}
		for i := range m.Open {
			if f(&m.Open[i]) {
				return true
			}
		}
		more = m.Next.Load()
	}
	return false
}

// more is what is in the block at off, nil if that is no such block.
func (h heap) more(off uint64) *openersMore {
	if off == 0 {
		return nil
	}
	o, room, err := h.block(off)
	if err != nil || room < unit || o.State.Load()&stateMask != stateMore {
		return nil
	}
	return h.openersMore(off + objectHead)
}

// enroll enters this process among the openers of the object at off.
func (h heap) enroll(off uint64, o *object) error {
	enter := func(cell *atomic.Uint32) bool {
		id := cell.Load()
		return (id == 0 || h.knownGone(id)) && cell.CompareAndSwap(id, h.self) // PAIRS WITH collect: the cells are read
	}
	for !h.openers(o, enter) {
		if err := h.extend(off, o); err != nil {
			return err
		}
	}
	crashpoint.Hit("shm/open/enrolled")
	return nil
}

// extend makes room for more openers of the object at off.
func (h heap) extend(off uint64, o *object) error {
	at, _, err := h.take(unit)
	if err != nil {
		return err
	}
	b := h.object(at)
	m := h.openersMore(at + objectHead)
	clear(h.memory[at+objectHead : at+objectHead+unit])
	m.Of = off
	s := b.State.Load()
	b.State.Store(owned(h.self, generationOf(s), stateMore))
	crashpoint.Hit("shm/extend/made")
	last := &o.More
	for range slotCount / moreCount {
		if last.CompareAndSwap(0, at) {
			crashpoint.Hit("shm/extend/linked")
			return nil
		}
		n := h.more(last.Load())
		if n == nil {
			break
		}
		last = &n.Next
	}
	b.State.Store(owned(h.self, generationOf(s), stateNew))
	h.keep(at)
	return ErrCorrupt
}

// extends reports whether the block at off, in state MORE, is linked to its object.
func (h heap) extends(off uint64) bool {
	of := h.openersMore(off + objectHead).Of
	o, _, err := h.block(of)
	if err != nil {
		return false
	}
	more := o.More.Load()
	for range slotCount / moreCount {
		if more == off {
			return true
		}
		m := h.more(more)
		if m == nil {
			return false
		}
		more = m.Next.Load()
	}
	return false
}

// depart takes this process from the openers.
func (h heap) depart(o *object) {
	h.openers(o, func(cell *atomic.Uint32) bool {
		return cell.Load() == h.self && cell.CompareAndSwap(h.self, 0) // PAIRS WITH collect: the cells are read
	})
	crashpoint.Hit("shm/open/departed")
}

// isOpen reports whether anybody has the object open, and takes the gone from its cells.
func (h heap) isOpen(o *object, gone func(id uint32) bool) bool {
	return h.openers(o, func(cell *atomic.Uint32) bool {
		id := cell.Load()
		if id != 0 && gone(id) {
			id = vacate(cell, id)
		}
		return id != 0
	})
}

// vacate takes id, who is gone, from the cell and returns who is there.
func vacate(cell *atomic.Uint32, id uint32) uint32 {
	cell.CompareAndSwap(id, 0)
	crashpoint.Hit("shm/open/swept")
	return cell.Load()
}

// unused reports whether nobody has the object at off open, whose state is LIMBO, and takes it from the directory.
func (h heap) unused(off uint64, o *object, room uint64, gone func(id uint32) bool) bool {
	return !h.isOpen(o, gone) && h.unlink(off, o, room) == nil
}

// collect makes the block at off memory of this process, if its object was freed and nobody has it open.
func (h heap) collect(off uint64) {
	o, room, err := h.block(off)
	if err != nil {
		return
	}
	s := o.State.Load() // PAIRS WITH free: the state is set
	if s&stateMask != stateLimbo || !h.unused(off, o, room, h.knownGone) {
		return
	}
	if o.State.CompareAndSwap(s, owned(h.self, generationOf(s), stateNew)) {
		crashpoint.Hit("shm/collect/taken")
		h.keep(off)
	}
}

// pin keeps the memory of the block at off from becoming another's for as long as it is pinned; what is there is for the
// caller to find out, then. Pins are counted, and one goes with each handle.
func (s *Segment) pin(off uint64) error {
	r := s.res
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	if r.pins[off] == 0 {
		o, _, err := s.block(off)
		if err != nil {
			return err
		}
		if err := s.enroll(off, o); err != nil {
			return err
		}
	}
	r.pins[off]++
	return nil
}

// unpin ends a pin.
func (s *Segment) unpin(off uint64) {
	s.res.busy.Add(1) // PAIRS WITH part: no pins, then busy
	defer s.end()     // until then s is reachable, also if the last handle is gone
	if s.unpinned(off) {
		s.collect(off)
	}
}

// unpinned ends a pin and reports whether it was the last.
func (s *Segment) unpinned(off uint64) bool {
	r := s.res
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.pins[off]--; r.pins[off] != 0 {
		return false
	}
	delete(r.pins, off)
	s.depart(s.object(off))
	return true
}
