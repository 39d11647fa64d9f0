package ring

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/race"
)

// errNoPairs is why this machine cannot use a ring of pairs.
var errNoPairs error = because{errors.ErrUnsupported, "ring: this processor cannot change 16 bytes at once"}

// mpmc is what a handle of an MPMC has that does not depend on the type of its items.
//
// The state of a slot is its word without the number of the block: {lap, FULL}, with FULL as the unit, so that the
// states that a slot passes through are adjacent numbers. A state is compared with that of {lap of p, EMPTY}, by
// the sign of the difference, so that laps may wrap around.
type mpmc struct {
	slots  unsafe.Pointer
	blocks unsafe.Pointer // nil in a ring of pairs
	mask   uint64         // slots - 1; checked when the ring was opened, never read again
	up     uint8          // shifts a position without its slot to its state
	stride uint8          // the binary logarithm of the bytes of a slot
	pairs  bool
	self   uint32
	full   uint64        // the bit FULL; what is below is the number of a block, and above that the marks
	index  uint64        // the bits of the number of a block
	marks  uint64        // the bits of the mark of the end; 0 in a ring that has none
	limit  uint64        // the most items, in a ring that has marks; checked as mask was
	number uint64        // of blocks
	size   uintptr       // of an item
	bools  *layout.Bools // in an item
	items  *race.Word
	room   *race.Word
	peers  Peers
	cells  *[mpmcCells]mpmcCell
	err    atomic.Pointer[error]

	// The guesses. Each is a position whose predecessor was once seen filled (tail), or popped (head). That stays
	// true, so they may be behind but never wrong, and whoever stores an older one over a newer does no harm.
	_         [layout.CacheLine]byte
	tailGuess atomics.Pos
	_         [layout.CacheLine - 8]byte
	headGuess atomics.Pos
	_         [layout.CacheLine - 8]byte
	roomTo    atomics.Pos   // in a ring with a limit: a position that was once seen to be popped, and limit
	mark      atomic.Uint32 // of the end, if it was seen

	refused atomic.Pointer[error] // why the last push that needed a cell got none
	joined  atomic.Uint32         // how many of mine there are
	mine    [maxMine]*producer
	lent    [maxMine]*producer // with a cell for one call; each is used again
	growing sync.Mutex         // who adds to mine, or ends it, or takes one of lent
	tries   uint32             // how often somebody wanted to add
}

// How far a slot is beyond {lap of p, EMPTY} when p is filled, and when it is popped; in units of FULL.
const (
	filled = 1
	popped = 2
)

// attach sets m up for the ring of so many slots in mem, which has been checked.
func (m *mpmc) attach(mem []byte, slots, limit uint64, form uint32, size uintptr, peers Peers) {
	m.mask, m.limit, m.size, m.peers, m.self = slots-1, limit, size, peers, peers.Self()
	k := bits.TrailingZeros64(slots)
	if form == mpmcPairs {
		// The position itself, but for the bits of the slot: {lap: 63-k, FULL: 1, zero: k}. The lowest two are the mark.
		m.pairs, m.stride, m.full, m.up = true, 4, slots, 1
		if limit != 0 {
			m.marks = 3
		}
		m.slots = unsafe.Pointer(&mem[mpmcHeaderSize])
	} else {
		// {lap: 63-b, FULL: 1, block: b}, with no more bits for the block than there must be; or two less for the lap, and the
		// mark between FULL and block.
		m.number = slots + mpmcCells
		b := bits.Len64(m.number - 1)
		m.index = 1<<b - 1
		if limit != 0 {
			m.marks = 3 << b
			b += 2
		}
		m.stride, m.full, m.up = 3, 1<<b, uint8(b+1-k)
		m.slots = unsafe.Pointer(&mem[mpmcSlotsAt])
		m.blocks = unsafe.Pointer(&mem[mpmcBlocksAt(slots)])
		m.cells = cellsAt(mem)
	}
	m.items, m.room = race.At(m.slots), race.At(unsafe.Add(m.slots, 1))
}

// layOut makes the ring what it is after p pushes and pops, in memory that nobody else looks at.
func (m *mpmc) layOut(p uint64) {
	for i := range m.mask + 1 {
		q := p + (i-p)&m.mask // the next position that lies in slot i
		if m.pairs {
			m.pair(q).Second.Store(0)
			m.pair(q).First.Publish(m.state(q))
		} else {
			m.slot(q).Publish(m.state(q) | i)
		}
	}
	if !m.pairs {
		for i := range m.cells {
			m.cells[i].owner.Store(0)
			m.cells[i].note.Publish(noteOf(m.mask+1+uint64(i), noBlock))
		}
	}
	m.tailGuess.Publish(p)
	m.headGuess.Publish(p)
	m.roomTo.Publish(p)
	m.mark.Store(0)
}

// arrive guesses where tail and head are. Slot 0 is at the start of lap L: so the item before that there was popped.
func (m *mpmc) arrive() {
	lap := m.slot(0).Load() &^ (2*m.full - 1) // PAIRS WITH push and pop: CAS the slot
	p := (lap >> m.up) - (m.mask + 1) + 1
	m.tailGuess.Publish(p)
	m.headGuess.Publish(p)
	m.roomTo.Publish(p)
}

// slot is the word of the slot of position p, in a ring of pairs the first.
func (m *mpmc) slot(p uint64) *atomics.Pos {
	return (*atomics.Pos)(unsafe.Add(m.slots, uintptr(p&m.mask)<<m.stride))
}

// pair is the slot of position p in a ring of pairs.
func (m *mpmc) pair(p uint64) *atomics.Pair {
	return (*atomics.Pair)(unsafe.Add(m.slots, uintptr(p&m.mask)<<4))
}

// block is where block b is; b < m.number.
func (m *mpmc) block(b uint64) unsafe.Pointer { return unsafe.Add(m.blocks, uintptr(b)*m.size) }

// state is {lap of p, EMPTY}.
func (m *mpmc) state(p uint64) uint64 { return (p &^ m.mask) << (m.up & 63) }

// past is how far the state in word is beyond {lap of p, EMPTY}.
func (m *mpmc) past(word, p uint64) int64 { return int64(word&^(m.full-1) - m.state(p)) }

// failure is why the handle cannot be used any more: corruption, or Close; else nil.
func (m *mpmc) failure() error {
	if p := m.err.Load(); p != nil {
		return *p
	}
	return nil
}

// corrupt notes that a word cannot be true, and is false.
func (m *mpmc) corrupt(what string, word, p uint64) bool {
	err := fmt.Errorf("%w: %s %#x at position %#x of %d slots", ErrCorrupt, what, word, p, m.mask+1)
	m.err.CompareAndSwap(nil, &err)
	return false
}

// lost is called when a CAS of the slot of p, in which word w was seen, has failed. Somebody must have changed the state then, or
// left a mark.
func (m *mpmc) lost(p, w uint64) bool {
	now := m.slot(p).Load() // PAIRS WITH push and pop: CAS the slot
	matters := ^(m.full - 1)
	if w&m.full == 0 { // a mark is left where nothing is
		matters |= m.marks
	}
	return (now^w)&matters != 0 || m.corrupt("unstable slot", now, p)
}

// usable reports whether a push or pop may begin.
func (m *mpmc) usable() bool {
	if m.err.Load() != nil {
		return false
	}
	return m.self != 0 || m.refuse(errNobody)
}

// seek goes from a position whose predecessor is done, with need = filled or popped, to the first position that is
// not done. Done positions are contiguous, so it gallops, and then halves. It is exact but for what happens
// meanwhile: the predecessor of its result was seen done, and the result was not done when it was looked at.
//
// Unless others go on it ends soon whatever the slots say, since the gallop comes back to the slot that it has just
// passed, a lap later, as soon as its step is as long as the ring.
func (m *mpmc) seek(p, need uint64) uint64 {
	to := p
	for step := uint64(1); ; {
		to = p + step - 1
		d := m.past(m.slot(to).Load(), to) // PAIRS WITH push and pop: CAS the slot
		if d < int64(need) {
			break
		}
		p = to + 1 + (uint64(d)-need)/(2*m.full)*(m.mask+1) // and so many laps later it is done too
		if step <= m.mask {
			step *= 2
		}
	}
	for p != to {
		q := p + (to-p)/2
		d := m.past(m.slot(q).Load(), q) // PAIRS WITH push and pop: CAS the slot
		if d < int64(need) {
			to = q
		} else {
			p = q + 1
		}
	}
	return p
}

// TryPush appends v and reports true, or reports false if the ring is full or was ended, or for a reason that Err tells.
func (r *MPMC[T]) TryPush(v T) bool {
	if unsafe.Sizeof(v) <= 8 && r.pairs {
		var word uint64
		*(*T)(unsafe.Pointer(&word)) = v
		ok := r.pushPair(word)
		runtime.KeepAlive(r)
		return ok
	}
	c := r.take()
	if c == nil {
		return false
	}
	*(*T)(r.block(c.block)) = v
	if crashpoint.Enabled {
		crashpoint.Hit("ring/mpmc/push/written")
	}
	ok := r.pushBlock(c)
	r.done(c)
	runtime.KeepAlive(r)
	return ok
}

// TryPop takes the oldest item, or reports false if the ring is empty, or for a reason that Err tells.
func (r *MPMC[T]) TryPop() (v T, ok bool) {
	if unsafe.Sizeof(v) <= 8 && r.pairs {
		word, ok := r.popPair()
		if ok {
			v = *(*T)(unsafe.Pointer(&word))
			r.bools.Normalise(unsafe.Pointer(&v))
		}
		runtime.KeepAlive(r)
		return v, ok
	}
	if !r.usable() {
		return v, false
	}
	p := r.headGuess.Load()
	for {
		s := r.slot(p)
		w := s.Load() // PAIRS WITH pushBlock: CAS the slot
		switch d := r.past(w, p); {
		case d == filled*int64(r.full):
			b := w & r.index
			if b >= r.number {
				return v, r.corrupt("slot", w, p)
			}
			// If another consumer takes the item meanwhile a producer may write over it, but then the CAS fails: the
			// state of a slot does not come back. Its release keeps the reads before it.
			item := *(*T)(r.block(b))
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/pop/copied")
			}
			r.room.Release()
			if !s.CompareAndSwap(w, w+r.full) { // PAIRS WITH pushBlock: load and CAS the slot
				if !r.lost(p, w) {
					return v, false
				}
				continue
			}
			r.items.Acquire()
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/pop/taken")
			}
			r.headGuess.Publish(p + 1)
			r.bools.Normalise(unsafe.Pointer(&item))
			runtime.KeepAlive(r)
			return item, true
		case d == 0: // all before p are popped, p is not filled
			r.headGuess.Publish(p)
			r.seen(w)
			return v, false
		case d < 0:
			return v, r.corrupt("slot", w, p)
		}
		p = r.seek(p, popped*r.full)
	}
}

// TryPushMany appends as many of vs, one after the other, as there is room for, and returns how many: fewer than
// all means that the ring was full, or ended. Items of others may come between them.
func (r *MPMC[T]) TryPushMany(vs []T) (n int) {
	if len(vs) == 0 {
		return 0
	}
	if unsafe.Sizeof(vs[0]) <= 8 && r.pairs {
		n = r.pushPairs(vs)
	} else if c := r.take(); c != nil {
		for n < len(vs) {
			*(*T)(r.block(c.block)) = vs[n]
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/push/written")
			}
			if !r.pushBlock(c) {
				break
			}
			n++
		}
		r.done(c)
	}
	runtime.KeepAlive(r)
	return n
}

// TryPopMany takes the oldest items, as many as there are and dst holds, and returns how many: fewer than dst
// holds means that none is left of those that were in the ring when it was called. Those that it has taken are lost if the
// process is killed in it.
func (r *MPMC[T]) TryPopMany(dst []T) (n int) {
	if len(dst) == 0 {
		return 0
	}
	if unsafe.Sizeof(dst[0]) <= 8 && r.pairs {
		n = r.popPairs(dst)
	} else {
		for n < len(dst) {
			v, ok := r.TryPop()
			if !ok {
				break
			}
			dst[n] = v
			n++
		}
	}
	runtime.KeepAlive(r)
	return n
}

// pushBlock publishes what c's producer has written to its block.
func (m *mpmc) pushBlock(c *producer) bool {
	p := m.tailGuess.Load()
	for {
		s := m.slot(p)
		w := s.Load() // PAIRS WITH TryPop: CAS the slot; pushBlock: CAS the slot
		switch d := m.past(w, p); {
		case d == 0: // p-1 is filled, p is not
			b := w & m.index
			if b >= m.number || b == c.block {
				return m.corrupt("slot", w, p)
			}
			if m.limit != 0 && !m.allows(w, p) {
				m.tailGuess.Publish(p)
				return false
			}
			// Whoever has taken the cell over, because this process has left, has pushed since, as a rule, and then the
			// CAS would fail too; but not the next one.
			if c.cell.owner.Load() != m.self { // PAIRS WITH reclaim: CAS the owner
				return m.leave()
			}
			c.cell.note.Publish(noteOf(c.block, b)) // PAIRS WITH reclaim: load the note
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/push/noted")
			}
			m.items.Release()
			// PAIRS WITH TryPop: load and CAS the slot; pushBlock: load and CAS the slot. The item, and the note, are
			// visible before it.
			if !s.CompareAndSwap(w, m.state(p)+m.full|c.block) {
				if !m.lost(p, w) {
					return false
				}
				continue
			}
			m.room.Acquire()
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/push/published")
			}
			c.block = b
			m.tailGuess.Publish(p + 1)
			return true
		case d == -int64(m.full) && m.limit == 0: // p-1 is filled, p-slots is not popped
			m.tailGuess.Publish(p)
			return false
		case d < 0:
			return m.corrupt("slot", w, p)
		}
		p = m.seek(p, filled*m.full)
	}
}

// pushPair pushes an item that fits into a slot.
func (m *mpmc) pushPair(word uint64) bool {
	if !m.usable() {
		return false
	}
	p, ok := m.publish(m.tailGuess.Load(), word)
	m.tailGuess.Publish(p)
	return ok
}

// publish puts word into the first slot at or after p that it can, and returns the next position. If it is false
// the ring is full, or corrupt.
func (m *mpmc) publish(p, word uint64) (uint64, bool) {
	for {
		s := m.pair(p)
		w := s.First.Load()     // PAIRS WITH popPair: CAS the slot; publish: CAS the slot
		last := s.Second.Load() // what no pop clears
		switch d := m.past(w, p); {
		case d == 0: // p-1 is filled, p is not
			if m.limit != 0 && !m.allows(w, p) {
				return p, false
			}
			m.items.Release()
			// PAIRS WITH popPair: load and CAS the slot; publish: load and CAS the slot.
			if !s.CompareAndSwap(w, last, w+m.full, word) {
				if !m.lost(p, w) {
					return p, false
				}
				continue
			}
			m.room.Acquire()
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/push/published")
			}
			return p + 1, true
		case d == -int64(m.full) && m.limit == 0: // p-1 is filled, p-slots is not popped
			return p, false
		case d < 0:
			return p, m.corrupt("slot", w, p)
		}
		p = m.seek(p, filled*m.full)
	}
}

// allows reports whether a ring with a limit can take an item at the tail p, whose word is w.
func (m *mpmc) allows(w, p uint64) bool {
	return w&m.marks == 0 && int64(m.roomTo.Load()-p) > 0 || m.looks(w, p)
}

// looks is allows for who must look at the mark, or at what was popped. That room is left is never wrong, and may come late.
//
//go:noinline
func (m *mpmc) looks(w, p uint64) bool {
	if m.seen(w); w&m.marks != 0 {
		return false
	}
	head := m.seek(m.headGuess.Load(), popped*m.full)
	m.headGuess.Publish(head)
	m.roomTo.Publish(head + m.limit)
	return int64(head+m.limit-p) > 0
}

// seen notes the mark in the word of a slot that is not filled, if there is one.
func (m *mpmc) seen(w uint64) {
	if w&m.marks != 0 {
		m.mark.Store(uint32(w & m.marks / (m.index + 1)))
	}
}

// end leaves the mark in the word of the tail's slot, which is not filled in a ring with a limit.
func (m *mpmc) end(mark int) bool {
	if m.marks == 0 || mark < 1 || mark > 3 || !m.usable() {
		return false
	}
	set := uint64(mark) * (m.index + 1)
	p := m.tailGuess.Load()
	for m.err.Load() == nil {
		w := m.slot(p).Load() // PAIRS WITH push and pop: CAS the slot
		switch d := m.past(w, p); {
		case d == 0 && w&m.marks != 0:
			m.seen(w)
			return false
		case d == 0:
			if !m.slot(p).CompareAndSwap(w, w|set) { // PAIRS WITH push and pop: load and CAS the slot
				if !m.lost(p, w) {
					return false
				}
				continue
			}
			crashpoint.Hit("ring/mpmc/end/marked")
			m.seen(w | set)
			return true
		case d < 0:
			return m.corrupt("slot", w, p)
		}
		p = m.seek(p, filled*m.full)
	}
	return false
}

// look is the mark that the ring was ended with, 0 if it was not.
func (m *mpmc) look() int {
	if m.marks != 0 && m.mark.Load() == 0 {
		p := m.seek(m.tailGuess.Load(), filled*m.full)
		m.tailGuess.Publish(p)
		if w := m.slot(p).Load(); m.past(w, p) == 0 { // PAIRS WITH end: CAS the slot
			m.seen(w)
		}
	}
	return int(m.mark.Load())
}

// popPair pops an item that lies in its slot.
func (m *mpmc) popPair() (word uint64, ok bool) {
	if !m.usable() {
		return 0, false
	}
	p := m.headGuess.Load()
	for {
		s := m.pair(p)
		w := s.First.Load() // PAIRS WITH publish: CAS the slot
		switch d := m.past(w, p); {
		case d == filled*int64(m.full):
			word = s.Second.Load()
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/pop/copied")
			}
			m.room.Release()
			if !s.First.CompareAndSwap(w, w+m.full) { // PAIRS WITH publish: load and CAS the slot
				if !m.lost(p, w) {
					return 0, false
				}
				continue
			}
			m.items.Acquire()
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/pop/taken")
			}
			m.headGuess.Publish(p + 1)
			return word, true
		case d == 0: // all before p are popped, p is not filled
			m.headGuess.Publish(p)
			m.seen(w)
			return 0, false
		case d < 0:
			return 0, m.corrupt("slot", w, p)
		}
		p = m.seek(p, popped*m.full)
	}
}

// pushPairs is TryPushMany of a ring of pairs.
func (r *MPMC[T]) pushPairs(vs []T) (n int) {
	if !r.usable() {
		return 0
	}
	p, ok := r.tailGuess.Load(), true
	for n < len(vs) {
		var word uint64
		*(*T)(unsafe.Pointer(&word)) = vs[n]
		if p, ok = r.publish(p, word); !ok {
			break
		}
		n++
	}
	r.tailGuess.Publish(p)
	return n
}

// maxRead is how many items TryPopMany of a ring of pairs reads before it takes them.
const maxRead = 32

// popPairs is TryPopMany of a ring of pairs. It reads many items and takes them afterwards, because nothing can be
// read from memory while a compare-and-swap is under way.
func (r *MPMC[T]) popPairs(dst []T) (n int) {
	if !r.usable() {
		return 0
	}
	p := r.headGuess.Load()
	for n < len(dst) {
		var words [maxRead]uint64
		most, k, d, w := min(len(dst)-n, maxRead), 0, int64(0), uint64(0)
		for ; k < most; k++ {
			s := r.pair(p + uint64(k))
			w = s.First.Load() // PAIRS WITH publish: CAS the slot
			d = r.past(w, p+uint64(k))
			if d != filled*int64(r.full) {
				break
			}
			words[k] = s.Second.Load()
		}
		if k == 0 && d == 0 {
			r.seen(w)
			break // all before p are popped, p is not filled
		}
		if k == 0 && d < 0 {
			r.corrupt("slot", uint64(d), p)
			break
		}
		if k == 0 {
			p = r.seek(p, popped*r.full)
			continue
		}
		if crashpoint.Enabled {
			crashpoint.Hit("ring/mpmc/pop/copied")
		}
		got := 0
		for ; got < k; got++ {
			s := r.pair(p)
			w := r.state(p) + r.full
			r.room.Release()
			if !s.First.CompareAndSwap(w, w+r.full) { // PAIRS WITH publish: load and CAS the slot
				if !r.lost(p, w) {
					most = 0
				}
				break
			}
			r.items.Acquire()
			if crashpoint.Enabled {
				crashpoint.Hit("ring/mpmc/pop/taken")
			}
			dst[n+got] = *(*T)(unsafe.Pointer(&words[got]))
			p++
		}
		n += got
		if got == k && k < most || most == 0 {
			break // nothing was there behind these, or the ring is corrupt
		}
	}
	r.headGuess.Publish(p)
	if r.bools != nil && n > 0 {
		r.bools.NormaliseN(unsafe.Pointer(unsafe.SliceData(dst)), n, r.size)
	}
	return n
}
