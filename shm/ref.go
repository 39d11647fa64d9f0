package shm

import (
	"encoding"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/futex"
)

// Object is what every shared object of this module is: each can stand as a pointer in an exported field of
// process arguments, and arrives usable.
type Object interface {
	Handle() Handle
	Segment() *Segment
	Name() string
	Close() error // detaches this handle in this process; nobody else notices
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// Ref is a process's handle of an object: the part that all kinds have in common. A type that stands for a
// kind of object embeds it, is made by Kind, and adds UnmarshalBinary. It must not be copied.
type Ref struct {
	_    noCopy
	gen  uint32
	code Code
	shut *uint32 // 0, or shut once the handle is closed; atomic; the Segment knows it too
	seg  *Segment
	mem  []byte // the payload
	off  uint64
	name string
}

// shut is a bit that no state word of this module has, so that a fast path that compares a word with a value
// into which the handle's flag was mixed fails once the handle is closed, at the price of a load.
const shut = 1 << 4

// ShutFlag is the flag of r for such fast paths: 0, or 16 once r is closed. It is valid for as long as r is
// reachable.
func ShutFlag(r *Ref) *uint32 { return r.shut }

type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

func (r *Ref) unused() error {
	if r.seg != nil {
		return fmt.Errorf("%w: the handle is in use", os.ErrInvalid)
	}
	return nil
}

// attach makes r a handle of the object at off, which is pinned; the pin goes with the handle, or at once after an
// error.
func (r *Ref) attach(s *Segment, off uint64, gen uint32, name string, size uint64) error {
	s.mu.Lock()
	if s.closed.Load() {
		s.mu.Unlock()
		s.unpin(off)
		return os.ErrClosed
	}
	defer s.mu.Unlock()
	from := off + objectHead
	r.seg, r.off, r.gen, r.name = s, off, gen, name
	r.mem = s.memory[from : from+size : from+size]
	flag := new(uint32)
	r.shut = flag
	s.refs[flag] = struct{}{}
	runtime.AddCleanup(r, func(s *Segment) {
		unlessCut(func() error {
			s.unpin(off)
			return nil
		})
		s.forget(flag)
	}, s)
	return nil
}

// Again makes r one more handle of the object of which of is a handle, also if that was closed or the object freed
// meanwhile, and returns its memory: what was open before needs nobody's leave. The error is os.ErrClosed when the segment
// is closed.
func Again(r, of *Ref) ([]byte, error) {
	defer runtime.KeepAlive(of)
	if err := r.unused(); err != nil {
		return nil, err
	}
	s := of.seg
	if err := s.pin(of.off); err != nil {
		return nil, err
	}
	if err := r.attach(s, of.off, of.gen, of.name, uint64(len(of.mem))); err != nil {
		return nil, err
	}
	r.code = of.code
	return r.mem, nil
}

func (s *Segment) forget(flag *uint32) {
	s.mu.Lock()
	delete(s.refs, flag)
	s.mu.Unlock()
}

// Handle names the object for other processes.
func (r *Ref) Handle() Handle { return Handle{r.seg.uuid, r.off, r.gen} }

// Segment is where the object is.
func (r *Ref) Segment() *Segment { return r.seg }

// Name is the name under which the object was made, "" if it has none.
func (r *Ref) Name() string { return r.name }

// Closed reports whether this handle, or its segment, was closed in this process.
func (r *Ref) Closed() bool { return r.shut != nil && atomic.LoadUint32(r.shut) != 0 }

// Close detaches this handle: its waiting calls return os.ErrClosed, so do later ones. The object, what this
// process holds of it, and other handles are not affected. It may be called again.
func (r *Ref) Close() error {
	if r.seg == nil || atomic.SwapUint32(r.shut, shut) != 0 {
		return nil
	}
	r.seg.forget(r.shut)
	futex.Kick(r.mem)
	runtime.KeepAlive(r)
	return nil
}

// MarshalBinary implements encoding.BinaryMarshaler: the handle, for a process that has or was given the segment,
// or can open it by its name.
func (r *Ref) MarshalBinary() ([]byte, error) {
	if r.seg == nil || r.Closed() {
		return nil, os.ErrClosed
	}
	data, err := r.Handle().MarshalBinary()
	return append(data, r.seg.name...), err
}
