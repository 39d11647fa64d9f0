package shm

import (
	"fmt"
	"io/fs"
	"os"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// Free frees an object without a name, for everybody: its handles cannot be opened any more (ErrStale). Like the file
// behind a descriptor, what was opened before goes on working, o included; the memory becomes another object's when no
// living process has the object open any more, that is: when all its handles are unreachable, closed or
// not, or their processes have ended. A process that is stopped keeps what it has open.
//
// Of several that free an object one succeeds, the others get ErrStale. An object with a name is freed by Segment.Remove;
// here it is fs.ErrInvalid. The other error is os.ErrClosed, when o's segment is closed; whether o itself is
// does not matter.
func Free(o Object) error {
	s := o.Segment()
	defer runtime.KeepAlive(o)
	if s == nil {
		return fmt.Errorf("shm: free: %w", os.ErrClosed)
	}
	if err := s.begin(); err != nil {
		return fmt.Errorf("shm: free: %w", err)
	}
	defer s.end()
	if o.Name() != "" {
		return fmt.Errorf("shm: free: %w: object %q has a name: Segment.Remove", fs.ErrInvalid, o.Name())
	}
	h := o.Handle()
	if err := s.freeObject(found{h.Offset, uint64(h.Generation)<<4 | stateLive}); err != nil {
		return fmt.Errorf("shm: free: %w", err)
	}
	return nil
}

// Remove frees the object name as Free does one without; the name can be used again at once. The errors are
// fs.ErrNotExist, ErrCorrupt and os.ErrClosed.
func (s *Segment) Remove(name string) error {
	defer runtime.KeepAlive(s)
	if err := s.remove(name); err != nil {
		return fmt.Errorf("shm: remove %q: %w", name[:min(len(name), maxName)], err)
	}
	return nil
}

func (s *Segment) remove(name string) error {
	if err := s.begin(); err != nil {
		return err
	}
	defer s.end()
	if name == "" {
		return fs.ErrNotExist
	}
	for {
		f, err := s.lookup(name)
		if err != nil {
			return err
		}
		if f.off == 0 {
			return fs.ErrNotExist
		}
		if err := s.freeObject(f); err != ErrStale { // else somebody else was faster
			return err
		}
	}
}

// freeObject frees an object. The error is ErrStale itself if it is not there any more.
func (s *Segment) freeObject(f found) error {
	o, room, err := s.block(f.off)
	if err != nil {
		return err
	}
	if !o.State.CompareAndSwap(f.state, f.state&^stateMask|stateLimbo) { // PAIRS WITH pin: the state is read
		return ErrStale
	}
	crashpoint.Hit("shm/free/freed")
	// The name before all else, so that it can be used again however long the memory is still in use.
	if err := s.unlink(f.off, o, room); err != nil {
		return err
	}
	s.collect(f.off)
	return nil
}

// Allocate takes size bytes of plain memory, which belongs to this process until Deallocate, or until the process dies
// or leaves the segment: then it becomes somebody else's. It is aligned to 128 and not zeroed. offset tells others,
// who must not use it any longer than that, where it is (Memory). It is for building structures; what is to live longer
// than a process is a Block, and so is what others are to give back.
//
// Allocate and Deallocate may be called from any goroutine; they take some tens of nanoseconds, wait for nobody and allocate
// nothing of Go's. The errors are ErrNoSpace, ErrCorrupt and os.ErrClosed.
func (s *Segment) Allocate(size int) (offset uint64, mem []byte, err error) {
	if err := s.begin(); err != nil {
		return 0, nil, fmt.Errorf("shm: allocate: %w", err)
	}
	defer s.end()
	if size < 0 {
		return 0, nil, fmt.Errorf("shm: allocate: size %d: %w", size, os.ErrInvalid)
	}
	off, _, err := s.obtain(uint64(size))
	if err != nil {
		return 0, nil, fmt.Errorf("shm: allocate: %w", err)
	}
	return off + objectHead, s.hold(off, size), nil
}

// hold makes the block at off, which this process has in state NEW, plain memory of size bytes.
func (s *Segment) hold(off uint64, size int) []byte {
	o := s.object(off)
	o.State.Store(owned(s.self, generationOf(o.State.Load()), stateHeld))
	crashpoint.Hit("shm/allocate/held")
	at := off + objectHead
	return s.memory[at : at+uint64(size) : at+uint64(size)]
}

// Deallocate gives back what Allocate of this process returned at offset. The error is ErrStale if this process has nothing
// there, as when it was given back already; the others are ErrCorrupt and os.ErrClosed.
func (s *Segment) Deallocate(offset uint64) error {
	if err := s.begin(); err != nil {
		return fmt.Errorf("shm: deallocate: %w", err)
	}
	defer s.end()
	off := offset - objectHead
	o, _, err := s.block(off)
	if err != nil {
		return fmt.Errorf("shm: deallocate %d: %w", offset, err)
	}
	st := o.State.Load()
	if st != owned(s.self, generationOf(st), stateHeld) ||
		!o.State.CompareAndSwap(st, owned(s.self, generationOf(st), stateNew)) {
		return fmt.Errorf("shm: deallocate %d: this process has nothing there: %w", offset, ErrStale)
	}
	crashpoint.Hit("shm/deallocate/dropped")
	s.keep(off)
	return nil
}

// Memory is size bytes at an offset that Allocate returned, to this process or another. Who has them, and whether they are still
// what they were, is for the callers to know. The error is ErrCorrupt if they lie outside of the heap.
func (s *Segment) Memory(offset uint64, size int) ([]byte, error) {
	defer runtime.KeepAlive(s)
	top, err := s.top()
	if err != nil {
		return nil, fmt.Errorf("shm: memory at %d: %w", offset, err)
	}
	if offset < heapAt || size < 0 || offset > top || uint64(size) > top-offset || top > s.header().Committed.Load() {
		return nil, fmt.Errorf("shm: memory at %d: %w: %d bytes", offset, ErrCorrupt, size)
	}
	return s.memory[offset : offset+uint64(size) : offset+uint64(size)], nil
}
