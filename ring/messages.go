package ring

import (
	"fmt"
	"math"
	"runtime"
)

// Messages is an MPMC whose items are messages: a kind, which is the users' affair, and any number of bytes up to a size that is
// chosen when the ring is made. All that MPMC says of a ring of larger items, and of an exact one, is true of it.
//
// Besides popping a message one can look at it first (Peek) and take it then (Take): whatever one does between the two, another
// consumer may do it too, and only one Take succeeds. Whoever is killed or stopped between the two has changed nothing.
//
// What a message refers to in other shared memory can so be made one's own before the message is gone, by a compare-and-swap of which
// one succeeds (shm.Segment.Claim): killed anywhere, one leaves either the message or something that has an owner.
type Messages struct {
	_ noCopy
	mpmc
	most int
}

// Ticket says which message Peek has seen.
type Ticket struct{ position, word uint64 }

// MessagesSize is how many bytes a ring of n messages of up to size bytes needs. It is math.MaxInt if so many fit into no
// address space.
func MessagesSize(n, size int) int {
	stride, err := messageStride(size)
	if err != nil {
		return math.MaxInt
	}
	_, bytes := mpmcSpace(slotsFor(n, true), stride, mpmcMessages)
	return bytes
}

// messageStride is how many bytes the block of a message takes: its length and kind, and then size bytes.
func messageStride(size int) (uintptr, error) {
	if size < 0 || size > math.MaxInt32-16 {
		return 0, fmt.Errorf("ring: messages of %d bytes", size)
	}
	return uintptr(messageHead + (size+7)&^7), nil
}

// NewMessages lays a ring of at most n messages of up to size bytes out in mem, as NewMPMC does. It can be ended.
func NewMessages(mem []byte, n, size int, peers Peers) (*Messages, error) {
	if n < 1 {
		return nil, fmt.Errorf("ring: %d items", n)
	}
	stride, err := messageStride(size)
	if err != nil {
		return nil, err
	}
	slots, bytes := mpmcSpace(slotsFor(n, true), stride, mpmcMessages)
	if err := checkPlain(mem, bytes, peers); err != nil {
		return nil, err
	}
	r := attachMessages(mem, slots, uint64(n), uint64(size), stride, peers)
	if err := r.describe(mem, mpmcMessages, uintptr(size), 0); err != nil {
		return nil, err
	}
	return r, nil
}

// OpenMessages finds the ring that NewMessages made in mem. The errors are those of OpenMPMC.
func OpenMessages(mem []byte, peers Peers) (*Messages, error) {
	if err := checkPlain(mem, mpmcHeaderSize, peers); err != nil {
		return nil, err
	}
	h := mpmcAt(mem)
	if h.magic.Load() != mpmcMagic || h.version.Load() != mpmcVersion || h.form.Load() != mpmcMessages { // PAIRS WITH describe: store the magic
		return nil, fmt.Errorf("%w: no ring of messages of format version %d", ErrKind, mpmcVersion)
	}
	size := h.size.Load()
	stride, err := messageStride(int(min(size, math.MaxInt32)))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	slots, limit, err := h.slotsIn(mem, stride, mpmcMessages)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		return nil, fmt.Errorf("%w: messages without a limit", ErrCorrupt)
	}
	r := attachMessages(mem, slots, limit, size, stride, peers)
	r.arrive()
	return r, nil
}

func attachMessages(mem []byte, slots, limit, size uint64, stride uintptr, peers Peers) *Messages {
	r := &Messages{most: int(size)}
	r.attach(mem, slots, limit, mpmcMessages, stride, peers)
	return r
}

// Size is the most bytes that a message has.
func (r *Messages) Size() int { return r.most }

// Len, Cap, End, Mark, Err and Close are as MPMC's.
func (r *Messages) Len() int {
	n := r.length()
	runtime.KeepAlive(r)
	return n
}

// Pushed is how many messages were ever pushed, as MPMC.Pushed is.
func (r *Messages) Pushed() uint64 {
	n := r.pushed()
	runtime.KeepAlive(r)
	return n
}

// Cap is how many messages the ring can hold.
func (r *Messages) Cap() int { return r.capacity() }

// End ends the ring as MPMC.End does.
func (r *Messages) End(mark int) bool {
	ok := r.end(mark)
	runtime.KeepAlive(r)
	return ok
}

// Mark is what the ring was ended with, as MPMC.Mark is.
func (r *Messages) Mark() int {
	n := r.look()
	runtime.KeepAlive(r)
	return n
}

// MarkSeen is as MPMC.MarkSeen.
func (r *Messages) MarkSeen() int { return int(r.mark.Load()) }

// Err is as MPMC.Err.
func (r *Messages) Err() error { return r.reason() }

// Close is as MPMC.Close.
func (r *Messages) Close() error { return r.close() }
