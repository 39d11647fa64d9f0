package shm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"runtime/debug"
	"syscall"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// The heap is a row of blocks from heapAt to Top. Blocks are laid at the end. They are never moved or merged, and a
// block is only split by its owner, so an offset that once was the start of a block always is, and words of a
// block's header that outlive its object (State, Next, More, Open) are always such words. That is what
// makes it safe to look at a block that somebody else is just taking for something else.
//
// The state of a block decides alone whose it is; all else that helps to find one (the hints, the caches) may be
// lost or wrong without harm.
//
//	NEW    {owner}  the owner makes an object of it, or keeps it for later. State 0: the owner is who laid it (Claim)
//	HELD   {owner}  the owner uses it as plain memory (Segment.Allocate)
//	LIVE            an object
//	LIMBO           an object that was freed; processes may have it open
//	FREE            nobody's
//	MORE   {owner}  lists openers of an object, for ever; the owner laid it there
//	PASSED {owner}  plain memory that the owner has given up, for whoever claims it (pass.go)
//
//	lay      Claim of the block at Top: 0 -> owner<<32 | units       one compare-and-swap takes and names
//	advance  Top: t -> t + size of the block at t                    by anybody who finds the block at Top laid
//	take     {g, FREE}           -> {self, g, NEW}
//	split    Claim: units -> fewer, by the owner of a NEW block, once the rest has the header of a NEW block of the same owner
//	publish  {owner, g, NEW}     -> {g+1, LIVE}                      the object is whole; if named, after link
//	link     bucket of the directory: h -> the object, whose Next is h (directory.go)
//	free     {g, LIVE}           -> {g, LIMBO}                       by anybody: Free, Remove
//	collect  {g, LIMBO}          -> {self, g, NEW}                   by anybody who found that nobody has it open (open.go)
//	give     {self, g, NEW}      -> {g, FREE}
//	hold     {self, g, NEW}      -> {self, g, HELD}
//	drop     {self, g, HELD}     -> {self, g, NEW}
//	pass     {self, g, HELD}     -> {self, g+1, PASSED}
//	claim    {any, g, PASSED}    -> {self, g, HELD}                  by whoever was told the block and g
//	sweep    {dead, g, NEW|HELD} -> {g, FREE}                        by whoever sweeps up after a death (sweep.go); so LIMBO
//	         without openers, MORE of a dead owner if it is not linked, and PASSED that nobody can claim any more
//	extend   {self, g, NEW}      -> {self, g, MORE}                  before it is linked to the object
//
// An object with a name exists from the moment it is linked: whoever meets it there publishes it, if its
// maker has not yet. Nobody waits for anybody: a process stopped or killed at any point delays nobody, and
// what a killed one had in NEW or HELD becomes free. What a stopped one has is not available to others: the
// blocks that it keeps, and freed objects that it has open.
//
// Memory is touched only below Committed, which is raised after the memory was reserved, so that a full
// memory file system is an error here and not a fault there. Fresh memory is zero.
const (
	stateNew    = 0
	stateLive   = 1
	stateFree   = 2
	stateLimbo  = 3
	stateHeld   = 4
	stateMore   = 5
	statePassed = 6
	stateMask   = 1<<4 - 1

	// commitLeast is how much is reserved at once at least, a hundredth of a millisecond of work; commitMost
	// at most: some kernels undo a reservation that a signal interrupts, and a large one would never come to
	// its end.
	commitLeast = 64 << 10
	commitMost  = 4 << 20
)

func generationOf(state uint64) uint32 { return uint32(state) >> 4 }

// owned is a state with an owner; free ones have none.
func owned(owner uint32, generation uint32, state uint64) uint64 {
	return uint64(owner)<<32 | uint64(generation)<<4 | state
}

// heap is what laying and finding blocks needs.
type heap struct {
	memory
	file  *os.File
	self  uint32
	spare *spare
}

// commit reserves memory for part of a segment.
func commit(f *os.File, off, n uint64) error {
	err := sys.Commit(f, int64(off), int64(n))
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EFBIG) || errors.Is(err, syscall.ENOMEM) {
		what := "the file system is full"
		if errors.Is(err, syscall.EFBIG) {
			what = "the limit on the size of files (ulimit -f) is too low"
		}
		return fmt.Errorf("%w: reserving %d bytes of %s: %s: %w", ErrNoSpace, n, f.Name(), what, err)
	}
	return err
}

// enoughFrom is the size from which on a reservation is held against the memory that is left: asking costs a
// tenth of a millisecond.
const enoughFrom = 64 << 20

// enough is an error if reserving n bytes would exceed what the control group may have: the kernel gives no
// error then, it kills. Others may take the memory meanwhile; it is the best one can do.
func enough(n uint64) error {
	if n < enoughFrom {
		return nil
	}
	if left, ok := sys.MemoryLeft(); ok && int64(n) > left {
		return fmt.Errorf("%w: reserving %d bytes: the memory limit of this process's control group leaves %d: %w",
			ErrNoSpace, n, max(left, 0), syscall.ENOSPC)
	}
	return nil
}

// commitTo makes [0, end) safe to touch; end is at most the size.
func (h heap) commitTo(end uint64) error {
	size := uint64(len(h.memory))
	word := &h.header().Committed
	if c := word.Load(); end > c {
		if err := enough(end - c); err != nil {
			return err
		}
	}
	for {
		c := word.Load()
		if c < heapAt || c > size {
			return fmt.Errorf("%w: %d bytes committed of %d", ErrCorrupt, c, size)
		}
		if c >= end {
			return nil
		}
		to := min(max(end, c+commitLeast), c+commitMost, size)
		if err := commit(h.file, c, to-c); err != nil {
			if to <= end || !errors.Is(err, ErrNoSpace) {
				return err
			}
			if to = end; commit(h.file, c, to-c) != nil {
				return err
			}
		}
		crashpoint.Hit("shm/commit/reserved")
		word.CompareAndSwap(c, to) // a lower value would only be reserved again
	}
}

// top is the checked end of the heap.
func (h heap) top() (uint64, error) {
	t := h.header().Top.Load()
	if t < heapAt || t > uint64(len(h.memory)) || t%unit != 0 {
		return 0, fmt.Errorf("%w: heap ends at %d", ErrCorrupt, t)
	}
	return t, nil
}

// blockUnits is how many units a block takes whose payload is that many bytes.
func (h heap) blockUnits(payload uint64) (uint64, error) {
	size := uint64(len(h.memory))
	units := layout.Up(payload, unit)/unit + objectHead/unit
	if payload > size || units > math.MaxUint32 {
		return 0, fmt.Errorf("%w: %d bytes in a segment of %d", ErrNoSpace, payload, size)
	}
	return units, nil
}

// lay makes a new block of that many units at the end of the heap, in state NEW, and returns its offset.
func (h heap) lay(units uint64) (uint64, error) {
	size, need := uint64(len(h.memory)), units*unit
	for {
		t, err := h.top()
		if err != nil {
			return 0, err
		}
		if need > size-t {
			return 0, fmt.Errorf("%w: %d bytes wanted, %d left of a segment of %d", ErrNoSpace, need, size-t, size)
		}
		if err := h.commitTo(t + need); err != nil {
			return 0, err
		}
		o := h.object(t)
		if c := o.Claim.Load(); c != 0 {
			next, err := h.after(t, c)
			if err != nil {
				return 0, err
			}
			h.header().Top.CompareAndSwap(t, next)
			crashpoint.Hit("shm/lay/helped")
			continue
		}
		if o.Claim.CompareAndSwap(0, uint64(h.self)<<32|units) {
			crashpoint.Hit("shm/lay/claimed")
			h.header().Top.CompareAndSwap(t, t+need)
			crashpoint.Hit("shm/lay/advanced")
			return t, nil
		}
	}
}

// after is the end of the block at off, whose Claim is c.
func (h heap) after(off, c uint64) (uint64, error) {
	units := c & math.MaxUint32
	if units < 1 || units > (uint64(len(h.memory))-off)/unit {
		return 0, fmt.Errorf("%w: block at %d of %d units", ErrCorrupt, off, units)
	}
	return off + units*unit, nil
}

// block checks that a block may begin at off and returns it with the size of what follows its header. Only
// what lies inside the heap is touched.
func (h heap) block(off uint64) (*object, uint64, error) {
	top, err := h.top()
	if err != nil {
		return nil, 0, err
	}
	if off < heapAt || off%unit != 0 || off >= top || top > h.header().Committed.Load() {
		return nil, 0, fmt.Errorf("%w: no object at %d", ErrCorrupt, off)
	}
	o := h.object(off)
	end, err := h.after(off, o.Claim.Load())
	if err != nil {
		return nil, 0, err
	}
	if end > top {
		return nil, 0, fmt.Errorf("%w: block at %d ends at %d, the heap at %d", ErrCorrupt, off, end, top)
	}
	return o, end - off - objectHead, nil
}

// blocks calls f with each block, its offset and the size of what follows its header, in the order of their
// memory, until f returns false. The error is ErrCorrupt where something contradicts itself.
func (h heap) blocks(f func(off uint64, o *object, room uint64) bool) error {
	top, err := h.top()
	if err != nil {
		return err
	}
	for off := uint64(heapAt); off < top; {
		o, room, err := h.block(off)
		if err != nil {
			return err
		}
		if !f(off, o, room) {
			return nil
		}
		off += objectHead + room
	}
	return nil
}

// owner is who has a block in state s: NEW, HELD, MORE or PASSED.
func (o *object) owner(s uint64) uint32 {
	if s == stateNew { // as it was laid
		return uint32(o.Claim.Load() >> 32)
	}
	return uint32(s >> 32)
}

// publish makes an object live that this process made.
func (o *object) publish() {
	if s := o.State.Load(); s&stateMask == stateNew {
		o.publishFrom(s)
	}
}

// publishFrom makes the object whose state is s, NEW, live. s was read while the object was linked.
func (o *object) publishFrom(s uint64) {
	o.State.CompareAndSwap(s, uint64(generationAfter(s))<<4|stateLive)
}

// generationAfter is the generation after that of a state.
func generationAfter(s uint64) uint32 {
	next := (generationOf(s) + 1) & (1<<28 - 1)
	if next == 0 { // that of no object, also after they have wrapped
		next = 1
	}
	return next
}

// give makes the block at off, whose state is s and which this process has, nobody's.
func (h heap) give(off uint64, o *object, s uint64) {
	o.State.Store(owned(0, generationOf(s), stateFree))
	crashpoint.Hit("shm/give/free")
	h.hint(off, o)
}

// unlessCut calls f, and makes it ErrCorrupt if f looks at memory that is not there: the file of a segment with a name
// can be cut off by whoever may write it.
func unlessCut(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		v := recover()
		if fault, ok := v.(interface{ Addr() uintptr }); ok {
			err = fmt.Errorf("%w: memory that was cut off (%v)", ErrCorrupt, fault)
		} else if v != nil {
			panic(v)
		}
	}()
	return f()
}
