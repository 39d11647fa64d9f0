package shm

import (
	"errors"
	"fmt"
	"math"
	"os"
	"syscall"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// The heap is a row of blocks from heapAt to Top. Blocks are laid at the end, never moved, split or merged,
// so an offset that once was the start of a block always is.
//
//	lay      Claim of the block at Top: 0 -> owner<<32 | units    one compare-and-swap takes and names
//	advance  Top: t -> t + size of the block at t                 by anybody who finds the block at Top laid
//	publish  State: {NEW} -> {LIVE, generation}                   the object is whole; if named, after link
//	link     bucket of the directory: h -> the object, whose Next is h
//	give up  State: {NEW} -> {FREE, generation}                   the name was taken meanwhile
//
// An object with a name exists from the moment it is linked: whoever meets it there publishes it, if its
// maker has not yet. Nobody waits for anybody: laying, opening and naming are lock-free, and a process
// stopped or killed at any point delays nobody. A kill leaves, between lay and publish (or link), one block
// that nobody has, in state NEW with a dead owner in its Claim; at any other point nothing.
//
// Memory is touched only below Committed, which is raised after the memory was reserved, so that a full
// memory file system is an error here and not a fault there. Fresh memory is zero.
const (
	stateNew  = 0
	stateLive = 1
	stateFree = 2
	stateMask = 1<<4 - 1

	// commitLeast is how much is reserved at once at least, a hundredth of a millisecond of work; commitMost
	// at most: some kernels undo a reservation that a signal interrupts, and a large one would never come to
	// its end.
	commitLeast = 64 << 10
	commitMost  = 4 << 20
)

func generationOf(state uint64) uint32 { return uint32(state) >> 4 }

// heap is what laying and finding blocks needs.
type heap struct {
	memory
	file *os.File
	self uint32
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

// lay takes a new block with room for payload bytes after its header and returns its offset.
func (h heap) lay(payload uint64) (uint64, error) {
	size := uint64(len(h.memory))
	if payload > size || layout.Up(payload, unit)/unit+1 > math.MaxUint32 {
		return 0, fmt.Errorf("%w: %d bytes in a segment of %d", ErrNoSpace, payload, size)
	}
	need := objectHead + layout.Up(payload, unit)
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
		if o.Claim.CompareAndSwap(0, uint64(h.self)<<32|need/unit) {
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

// block checks that an object may begin at off and returns it with the size of what follows its header. Only
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
// memory, until f returns false or something contradicts itself.
func (h heap) blocks(f func(off uint64, o *object, room uint64) bool) {
	top, err := h.top()
	if err != nil {
		return
	}
	for off := uint64(heapAt); off < top; {
		o, room, err := h.block(off)
		if err != nil || !f(off, o, room) {
			return
		}
		off += objectHead + room
	}
}

// publish makes a whole object live.
func (o *object) publish() (generation uint32) {
	s := o.State.Load()
	if s&stateMask == stateNew {
		next := (generationOf(s) + 1) & (1<<28 - 1)
		o.State.CompareAndSwap(s, uint64(next)<<4|stateLive)
	}
	return generationOf(o.State.Load())
}

// giveUp makes an object that was never published memory to be reused.
func (o *object) giveUp() {
	s := o.State.Load()
	o.State.CompareAndSwap(s, s&^stateMask|stateFree)
}
