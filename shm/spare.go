package shm

import (
	"errors"
	"math/bits"
	"sync"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// Blocks come in classes of sizes: each size up to 16 units, then eight sizes for each power of two; a block that is
// asked for is made as large as the least of its class, so at most an eighth of it is wasted, beside its header and
// the rest of its last unit. Blocks of more than largest are as large as asked. A block serves its class, or,
// split, when there is no other memory left, smaller ones; never larger ones.
//
// A process keeps blocks that it gave up for itself, up to a limit, in state NEW. What is beyond that is FREE, and found by
// others in two ways. The header has eight hints for each class, offsets of blocks that were free; whoever finds one
// that is not takes it away. And before a block is laid some others are looked at, for free ones without a hint: each
// time for as long as that finds any, else a few for every block that is laid. Before a segment counts as full all
// blocks are looked at.
const (
	classStep = 8 // sizes for each power of two
	largest   = 1 << 20 / unit

	keepClasses = 57       // a process keeps blocks of these classes, of up to keepBytes
	keepBytes   = 64 << 10 // of each class
	keepBlocks  = 64       // of each class, at most
	keepShare   = 64       // of all classes together, this part of the segment

	// lookMost is how many blocks are looked at at once, lookAhead how many at least for each that is laid.
	lookMost  = 256
	lookAhead = 4
)

// classOf is the class of blocks of that many units: that of the least size that it has room for.
func classOf(units uint64) int {
	k := bits.Len64(units) - 1
	if k < 3 {
		return int(units)
	}
	return classStep*(k-3) + int(units>>(k-3))
}

// inClass is how many units a block gets for which so many are needed.
func inClass(units uint64) uint64 {
	if units > largest || units < 2*classStep {
		return units
	}
	step := uint64(1) << (bits.Len64(units) - 4)
	return (units + step - 1) &^ (step - 1)
}

// keepMost is how many blocks of a class a process keeps.
func keepMost(units uint64) int { return int(min(keepBlocks, keepBytes/(units*unit))) }

// spare is what a process keeps of a segment.
type spare struct {
	mu   sync.Mutex
	kept [keepClasses][]uint64 // offsets of blocks in state NEW of this process
	room uint64                // units that may be kept beside them
	look struct {              // at blocks without hints
		at uint64
		// dry is how many blocks of a class are to be laid before it is looked for again, as the last look found none.
		// The last stands for all classes that are not kept.
		dry [keepClasses + 1]int
	}
}

func newSpare(size int) *spare { return &spare{room: uint64(size) / keepShare / unit} }

// keep puts the block at off, of that many units, which this process has in state NEW, aside. It returns blocks that
// are to be given.
func (s *spare) keep(off, units uint64) (give []uint64) {
	c := classOf(units)
	if c >= keepClasses || inClass(units) != units {
		return []uint64{off}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.room < units {
		return []uint64{off}
	}
	s.room -= units
	k := append(s.kept[c], off)
	if n := keepMost(units); len(k) > n {
		give = append(give, k[:(n+1)/2]...)
		k = append(k[:0], k[len(give):]...)
		s.room += units * uint64(len(give))
	}
	s.kept[c] = k
	return give
}

// take takes a block of that many units, as inClass says, from what is kept; 0 if there is none.
func (s *spare) take(units uint64) (off uint64) {
	c := classOf(units)
	if c >= keepClasses || inClass(units) != units {
		return 0
	}
	s.mu.Lock()
	if k := s.kept[c]; len(k) > 0 {
		off = k[len(k)-1]
		s.kept[c] = k[:len(k)-1]
		s.room += units
	}
	s.mu.Unlock()
	return off
}

// all takes all that is kept.
func (s *spare) all() (offs []uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, k := range s.kept {
		for _, off := range k {
			s.room += leastOf(c)
			offs = append(offs, off)
		}
		s.kept[c] = nil
	}
	return offs
}

// leastOf is the least size of a class, in units, which is that of the kept ones.
func leastOf(c int) uint64 {
	if c < 2*classStep {
		return uint64(c)
	}
	return uint64(classStep+c%classStep) << (c/classStep - 1)
}

// take gets a block with room for payload bytes, in state NEW of this process; fresh says that the payload is zero.
func (h heap) take(payload uint64) (off uint64, fresh bool, err error) {
	need, err := h.blockUnits(payload)
	if err != nil {
		return 0, false, err
	}
	units := inClass(need)
	if off := h.spare.take(units); off != 0 {
		return off, false, nil
	}
	if off := h.hinted(need, units); off != 0 {
		return off, false, nil
	}
	if off := h.lookAround(need, units); off != 0 {
		return off, false, nil
	}
	off, err = h.lay(units)
	if err == nil || !errors.Is(err, ErrNoSpace) {
		return off, err == nil, err
	}
	if off := h.search(need, units); off != 0 {
		return off, false, nil
	}
	if need < units { // a little less would do
		if off, e := h.lay(need); e == nil {
			return off, true, nil
		}
	}
	return 0, false, err
}

// keep puts a block of this process in state NEW aside, for itself or for others.
func (h heap) keep(off uint64) {
	_, room, err := h.block(off)
	if err != nil { // it may be of any length
		return
	}
	for _, off := range h.spare.keep(off, (objectHead+room)/unit) {
		o := h.object(off)
		h.give(off, o, o.State.Load())
	}
}

// giveAll gives all that is kept.
func (h heap) giveAll() {
	for _, off := range h.spare.all() {
		o := h.object(off)
		h.give(off, o, o.State.Load())
	}
}

func (o *object) units() uint64 { return o.Claim.Load() & (1<<32 - 1) }

// claimFree takes the block at off if it is free and has at least that many units.
func (h heap) claimFree(off, units uint64) bool {
	o, room, err := h.block(off)
	if err != nil {
		return false
	}
	s := o.State.Load()
	if s&stateMask != stateFree || objectHead+room < units*unit {
		return false
	}
	crashpoint.Hit("shm/take/looked")
	if !o.State.CompareAndSwap(s, owned(h.self, generationOf(s), stateNew)) {
		return false
	}
	crashpoint.Hit("shm/take/taken")
	if _, room, err := h.block(off); err != nil || objectHead+room < units*unit { // it was split since
		h.give(off, o, o.State.Load())
		return false
	}
	return true
}

// hint tells others of the free block at off.
func (h heap) hint(off uint64, o *object) {
	c := classOf(o.units())
	for i := range hintCount {
		w := h.hintWord(c, i)
		if v := w.Load(); v == off {
			return
		} else if v == 0 && w.CompareAndSwap(0, off) {
			crashpoint.Hit("shm/hint/left")
			return
		}
	}
}

// hinted takes a free block with room for need units of which there is a hint; units is need as inClass says. The
// class that need falls into has some that are large enough, if need is no least size.
func (h heap) hinted(need, units uint64) uint64 {
	for c := classOf(units); ; c = classOf(need) {
		for i := range hintCount {
			w := h.hintWord(c, i)
			off := w.Load()
			if off == 0 {
				continue
			}
			got := h.claimFree(off, need)
			if o, _, err := h.block(off); got || err != nil || o.State.Load()&stateMask != stateFree || classOf(o.units()) != c {
				w.CompareAndSwap(off, 0)
				crashpoint.Hit("shm/hint/taken")
			}
			if got {
				return off
			}
		}
		if c == classOf(need) {
			return 0
		}
	}
}

// lookAround looks at some blocks for one with room for need units, which is units as inClass says. More of these it
// keeps, of other free ones it leaves hints.
func (h heap) lookAround(need, units uint64) (got uint64) {
	l := &h.spare.look
	c := min(classOf(units), keepClasses)
	h.spare.mu.Lock()
	if l.dry[c] > 0 {
		l.dry[c]--
		h.spare.mu.Unlock()
		return 0
	}
	at := l.at
	h.spare.mu.Unlock()

	top, err := h.top()
	if err != nil {
		return 0
	}
	for range lookMost {
		if at < heapAt || at >= top {
			at = heapAt
		}
		o, room, err := h.block(at)
		if err != nil {
			return got
		}
		if o.State.Load()&stateMask == stateFree {
			n := (objectHead + room) / unit
			switch {
			case got == 0 && n >= need && classOf(n) == classOf(units):
				if h.claimFree(at, need) {
					got = at
				}
			case n == units:
				if h.claimFree(at, units) {
					h.keep(at)
				}
			default:
				h.hint(at, o)
			}
		}
		at += objectHead + room
	}
	h.spare.mu.Lock()
	l.at = at
	if got == 0 {
		l.dry[c] = lookMost / lookAhead
	}
	h.spare.mu.Unlock()
	return got
}

// search looks for need units, which is units as inClass says, among all free blocks, when there is no memory left at the
// end of the heap. A look at all blocks costs much, so more of what was looked for is kept.
func (h heap) search(need, units uint64) uint64 {
	off := h.searchOnce(need, units)
	if off == 0 {
		h.giveAll()
		off = h.searchOnce(need, units)
	}
	return off
}

// searchOnce finds a block of the class, or else the least that is large enough, which it cuts.
func (h heap) searchOnce(need, units uint64) (got uint64) {
	most := 0
	if classOf(units) < keepClasses && inClass(units) == units {
		most = keepMost(units)
	}
	for {
		best, least, kept := uint64(0), uint64(0), 0
		h.blocks(func(off uint64, o *object, room uint64) bool {
			n := (objectHead + room) / unit
			switch {
			case o.State.Load()&stateMask != stateFree:
			case n == units:
				if !h.claimFree(off, units) {
					break
				}
				if got == 0 {
					got = off
				} else {
					h.keep(off)
					kept++
				}
			case n >= need && (best == 0 || n < least):
				best, least = off, n
			}
			return got == 0 || kept < most
		})
		if got != 0 || best == 0 {
			return got
		}
		if !h.claimFree(best, need) {
			continue
		}
		if least < units {
			units, most = need, 0
		}
		// Others find no memory in the rest as long as this process has it, so it is given before the others are cut.
		if _, room, err := h.block(best); err == nil {
			few := min((objectHead+room)/unit/units, uint64(most)+1)
			if rest := h.split(best, few*units); rest != 0 {
				o := h.object(rest)
				h.give(rest, o, o.State.Load())
			}
		}
		for rest := h.split(best, units); rest != 0; {
			more := h.split(rest, units)
			h.keep(rest)
			rest = more
		}
		return best
	}
}

// split makes the rest of the block at off, which this process has in state NEW, another such block, and returns its
// offset; 0 if there is too little.
func (h heap) split(off, units uint64) (rest uint64) {
	o, room, err := h.block(off)
	if err != nil || objectHead+room < (units+2)*unit {
		return 0
	}
	n := (objectHead+room)/unit - units
	rest = off + units*unit
	clear(h.memory[rest : rest+objectHead])
	r := h.object(rest)
	r.Claim.Store(uint64(h.self)<<32 | n)
	crashpoint.Hit("shm/split/rest")
	r.State.Store(owned(h.self, 0, stateNew))
	crashpoint.Hit("shm/split/owned")
	o.Claim.Store(o.Claim.Load()&^(1<<32-1) | units) // PAIRS WITH block: the length is read
	crashpoint.Hit("shm/split/split")
	return rest
}
