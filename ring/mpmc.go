package ring

import (
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"reflect"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
)

// MPMC is a ring for any number of producers and consumers, in any number of processes. Any goroutine may call
// any method at any time.
//
// It is strictly first in, first out, and linearizable, also where the answer is no: each push and each pop
// happens at one instant between its call and its return, a false of TryPush says that the ring was full at such
// an instant, one of TryPop that it was empty. So an item that TryPush accepted is found by the next TryPop,
// wherever that is. (A false that Err explains is the exception: ErrBusy, ErrCorrupt, os.ErrClosed.)
//
// Pushing and popping are lock-free between processes: no process waits for another, and one that is stopped or
// killed anywhere delays nobody. A killed producer's unfinished item was never pushed, a killed consumer's last
// item is lost with it, and nothing else: no slot, no room, no order. Within a process goroutines that push items
// of more than 8 bytes may have to wait for each other for the length of a push, if very many push at once.
//
// Items of up to 8 bytes lie in the slots themselves, where the machine can change 16 bytes at once (amd64 and
// arm64 can, and the others get errors.ErrUnsupported from OpenMPMC of a ring that these made). All others lie in
// blocks: each process that pushes has at least one of 128 cells, each with a block that is the process's own to
// write an item to. Where living processes have all of them TryPush is false, and Err is ErrBusy. Close gives the
// cells of a handle back; those of a dead process are taken over by whoever needs one. A handle that is forgotten
// without Close keeps its cells until its process dies. To close the segment (a Peers) is to die: so close the
// ring, or stop pushing, first. A push that is under way meanwhile can spoil items of other processes, also later ones.
//
// The push of an item happens before the pop that returns it, and that pop before the push that uses its slot
// again; also across processes, in what both can reach.
//
// Who polls should pause for a moment after a no: to look again at once takes the line with the slot away from who is
// about to change it, and costs both sides half of their rate.
//
// That an item is written where only its producer knows of it, and then published by one compare-and-swap, is
// what M. Herlihy calls the small-object protocol (A Methodology for Implementing Highly Concurrent Data Objects,
// 1993, https://doi.org/10.1145/161468.161469). Slots with laps are those of D. Vyukov's bounded MPMC queue
// (https://www.1024cores.net/home/lock-free-algorithms/queues/bounded-mpmc-queue), which however claims a slot
// first and fills it afterwards; here there is no such state.
type MPMC[T any] struct {
	_ noCopy
	mpmc
}

// MPMCSize is how many bytes a ring of n items needs on this machine; n is rounded up to a power of two, and at
// least 1. It is math.MaxInt if so many items fit into no address space, or are more than 2^31 of more than 8 bytes.
func MPMCSize[T any](n int) int {
	_, bytes := mpmcSpace[T](n, mpmcFormOf[T]())
	return bytes
}

// mpmcFormOf is the form in which this machine makes rings of T.
func mpmcFormOf[T any]() uint32 {
	if reflect.TypeFor[T]().Size() <= 8 && atomics.HasPair() {
		return mpmcPairs
	}
	return mpmcBlocks
}

// mpmcSpace is the number of slots and bytes for n items.
func mpmcSpace[T any](n int, form uint32) (slots uint64, bytes int) {
	slots = 1 << bits.Len64(uint64(max(n, 1)-1))
	if slots > math.MaxInt/16 {
		return slots, math.MaxInt
	}
	if form == mpmcPairs {
		return slots, mpmcHeaderSize + int(slots)*16
	}
	size := uint64(reflect.TypeFor[T]().Size())
	at := mpmcBlocksAt(slots)
	if blocks := slots + mpmcCells; slots > 1<<31 || size != 0 && blocks > (math.MaxInt-at)/size {
		return slots, math.MaxInt
	}
	return slots, int(at + (slots+mpmcCells)*size)
}

// mpmcBlocksAt is where the blocks begin: at the next line after the slots.
func mpmcBlocksAt(slots uint64) uint64 {
	return (mpmcSlotsAt + 8*slots + layout.CacheLine - 1) &^ (layout.CacheLine - 1)
}

// NewMPMC lays a ring of n items, rounded up to a power of two, out in mem, which must be zeroed, aligned to
// 128 bytes and at least MPMCSize[T](n) long. The error is fs.ErrExist if there is a ring already. That T cannot
// lie in shared memory, that n is not positive, and that mem does not suit are errors too, for the programmer to
// read.
func NewMPMC[T any](mem []byte, n int, peers Peers) (*MPMC[T], error) {
	return newMPMC[T](mem, n, peers, mpmcFormOf[T]())
}

func newMPMC[T any](mem []byte, n int, peers Peers, form uint32) (*MPMC[T], error) {
	if n < 1 {
		return nil, fmt.Errorf("ring: %d items", n)
	}
	slots, bytes := mpmcSpace[T](n, form)
	if err := checkMemory[T](mem, bytes, peers); err != nil {
		return nil, err
	}
	h := mpmcAt(mem)
	if h.magic.Load() != 0 { // PAIRS WITH NewMPMC: store the magic
		return nil, fmt.Errorf("ring: in the memory given: %w", fs.ErrExist)
	}
	t := reflect.TypeFor[T]()
	r := attachMPMC[T](mem, slots, form, peers)
	r.layOut(0)
	crashpoint.Hit("ring/mpmc/new/laid-out")
	h.hash.Store(layout.Hash(t))
	h.size.Store(uint64(t.Size()))
	h.slots.Store(slots)
	h.form.Store(form)
	h.version.Store(mpmcVersion)
	crashpoint.Hit("ring/mpmc/new/described")
	h.magic.Store(mpmcMagic) // PAIRS WITH OpenMPMC: load the magic
	return r, nil
}

// OpenMPMC finds the ring that NewMPMC made in mem. The error is ErrKind if there is none, or one of other items
// or of another format version, errors.ErrUnsupported if this machine lacks the instruction that the ring needs,
// and ErrCorrupt if what the ring says of itself cannot be true or does not fit into mem.
func OpenMPMC[T any](mem []byte, peers Peers) (*MPMC[T], error) {
	if err := checkMemory[T](mem, mpmcHeaderSize, peers); err != nil {
		return nil, err
	}
	h := mpmcAt(mem)
	if h.magic.Load() != mpmcMagic { // PAIRS WITH NewMPMC: store the magic
		return nil, fmt.Errorf("%w: no MPMC", ErrKind)
	}
	size, hash, slots, form := h.size.Load(), h.hash.Load(), h.slots.Load(), h.form.Load()
	if err := checkFormat[T](h.version.Load(), mpmcVersion, size, hash); err != nil {
		return nil, err
	}
	if form != mpmcBlocks && (form != mpmcPairs || size > 8) {
		return nil, fmt.Errorf("%w: form %d with items of %d bytes", ErrCorrupt, form, size)
	}
	if form == mpmcPairs && !atomics.HasPair() {
		return nil, errNoPairs
	}
	if bits.OnesCount64(slots) != 1 || slots > math.MaxInt/16 {
		return nil, fmt.Errorf("%w: %d slots", ErrCorrupt, slots)
	}
	if _, bytes := mpmcSpace[T](int(slots), form); bytes > len(mem) {
		return nil, fmt.Errorf("%w: %d slots in %d bytes of memory", ErrCorrupt, slots, len(mem))
	}
	r := attachMPMC[T](mem, slots, form, peers)
	r.arrive()
	return r, nil
}

// attachMPMC makes a handle of the ring of so many slots in mem, which has been checked.
func attachMPMC[T any](mem []byte, slots uint64, form uint32, peers Peers) *MPMC[T] {
	t := reflect.TypeFor[T]()
	r := &MPMC[T]{}
	r.attach(mem, slots, form, t.Size(), peers)
	r.bools = layout.BoolsOf(t)
	return r
}

// Len is how many items the ring holds, as far as one can say while others push and pop.
func (r *MPMC[T]) Len() int {
	head := r.seek(r.headGuess.Load(), popped*r.full)
	tail := r.seek(later(r.tailGuess.Load(), head), filled*r.full)
	runtime.KeepAlive(r)
	r.headGuess.Publish(head)
	r.tailGuess.Publish(tail)
	return int(min(tail-head, r.mask+1)) // pushes and pops between the two can make it seem more
}

// later is the later of two positions.
func later(p, q uint64) uint64 {
	if int64(q-p) > 0 {
		return q
	}
	return p
}

// Cap is how many items the ring can hold.
func (r *MPMC[T]) Cap() int { return int(r.mask + 1) }

// Err is nil while all is well. It is ErrCorrupt from when a word is found that cannot be true, os.ErrClosed after
// Close or when this process has left, or why a push was refused: ErrBusy, until one is not.
func (r *MPMC[T]) Err() error {
	if err := r.failure(); err != nil {
		return err
	}
	if p := r.refused.Load(); p != nil {
		return *p
	}
	return nil
}

// Close gives the cells that this handle has to whoever asks for them next. The ring and its items stay. Further
// pushes and pops find the handle full and empty. Close may be called again, and always returns nil.
func (r *MPMC[T]) Close() error {
	closed := os.ErrClosed
	r.err.Store(&closed)
	r.giveBack()
	return nil
}
