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
// blocks: who pushes has one of 128 cells, each with a block that is its own to write an item to. The processes that came first
// keep half of them; the others take one for each push. Where living processes have all of them
// at once TryPush is false, and Err is ErrBusy. Close gives the cells of a handle back, when no push uses them any more;
// those of a dead process are taken over by whoever needs one. A handle that is forgotten
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

// MPMCOptions are the rarer wishes of an MPMC.
type MPMCOptions struct {
	// Exact makes n itself what the ring can hold, instead of the next power of two, and makes the ring one that can be ended
	// (End). It has more slots than items then, at least 4.
	Exact bool
	// Blocks lays items of up to 8 bytes in blocks too, as machines do that cannot change 16 bytes at once: for a ring that such ones
	// are to open.
	Blocks bool
}

// exact is the one that is given, if any.
func exact(opts []MPMCOptions) bool { return len(opts) > 0 && opts[0].Exact }

// MPMCSize is how many bytes a ring of n items needs on this machine; n is rounded up to a power of two, unless the ring is
// to be exact, and at least 1. It is math.MaxInt if so many items fit into no address space, or are more than 2^31 of more
// than 8 bytes.
func MPMCSize[T any](n int, opts ...MPMCOptions) int {
	_, bytes := mpmcSpace(slotsFor(n, exact(opts)), reflect.TypeFor[T]().Size(), mpmcFormOf[T](opts...))
	return bytes
}

// slotsFor is how many slots a ring of n items has.
func slotsFor(n int, exact bool) uint64 {
	if exact {
		return 1 << max(bits.Len64(uint64(max(n, 1))), 2) // one more at least, and room for the mark in a pair
	}
	return 1 << bits.Len64(uint64(max(n, 1)-1))
}

// mpmcFormOf is the form in which this machine makes rings of T.
func mpmcFormOf[T any](opts ...MPMCOptions) uint32 {
	if reflect.TypeFor[T]().Size() <= 8 && atomics.HasPair() && (len(opts) == 0 || !opts[0].Blocks) {
		return mpmcPairs
	}
	return mpmcBlocks
}

// mpmcSpace is how many bytes so many slots take, of items of that size.
func mpmcSpace(slots uint64, itemSize uintptr, form uint32) (_ uint64, bytes int) {
	if slots > math.MaxInt/16 {
		return slots, math.MaxInt
	}
	if form == mpmcPairs {
		return slots, mpmcHeaderSize + int(slots)*16
	}
	size := uint64(itemSize)
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

// NewMPMC lays a ring of n items, rounded up to a power of two unless it is to be exact, out in mem, which must be zeroed,
// aligned to 128 bytes and at least MPMCSize[T](n, opts...) long. The error is fs.ErrExist if there is a ring already. That T cannot
// lie in shared memory, that n is not positive, and that mem does not suit are errors too, for the programmer to
// read.
func NewMPMC[T any](mem []byte, n int, peers Peers, opts ...MPMCOptions) (*MPMC[T], error) {
	return newMPMC[T](mem, n, peers, mpmcFormOf[T](opts...), exact(opts))
}

func newMPMC[T any](mem []byte, n int, peers Peers, form uint32, exact bool) (*MPMC[T], error) {
	if n < 1 {
		return nil, fmt.Errorf("ring: %d items", n)
	}
	t := reflect.TypeFor[T]()
	slots, bytes := mpmcSpace(slotsFor(n, exact), t.Size(), form)
	if err := checkMemory[T](mem, bytes, peers); err != nil {
		return nil, err
	}
	if !exact {
		n = 0
	}
	r := attachMPMC[T](mem, slots, uint64(n), form, peers)
	if err := r.describe(mem, form, t.Size(), layout.Hash(t)); err != nil {
		return nil, err
	}
	return r, nil
}

// describe lays the ring out in mem, and says what it is.
func (m *mpmc) describe(mem []byte, form uint32, size uintptr, hash uint64) error {
	h := mpmcAt(mem)
	if h.magic.Load() != 0 { // PAIRS WITH describe: store the magic
		return fmt.Errorf("ring: in the memory given: %w", fs.ErrExist)
	}
	m.layOut(0)
	crashpoint.Hit("ring/mpmc/new/laid-out")
	h.hash.Store(hash)
	h.size.Store(uint64(size))
	h.slots.Store(m.mask + 1)
	h.limit.Store(m.limit)
	h.form.Store(form)
	h.version.Store(mpmcVersion)
	crashpoint.Hit("ring/mpmc/new/described")
	h.magic.Store(mpmcMagic) // PAIRS WITH openedSlots: load the magic
	return nil
}

// OpenMPMC finds the ring that NewMPMC made in mem. The error is ErrKind if there is none, or one of other items
// or of another format version, errors.ErrUnsupported if this machine lacks the instruction that the ring needs,
// and ErrCorrupt if what the ring says of itself cannot be true or does not fit into mem.
func OpenMPMC[T any](mem []byte, peers Peers) (*MPMC[T], error) {
	if err := checkMemory[T](mem, mpmcHeaderSize, peers); err != nil {
		return nil, err
	}
	h := mpmcAt(mem)
	if h.magic.Load() != mpmcMagic { // PAIRS WITH describe: store the magic
		return nil, fmt.Errorf("%w: no MPMC", ErrKind)
	}
	size, hash, form := h.size.Load(), h.hash.Load(), h.form.Load()
	if form == mpmcMessages {
		return nil, fmt.Errorf("%w: one of messages", ErrKind)
	}
	if err := checkFormat[T](h.version.Load(), mpmcVersion, size, hash); err != nil {
		return nil, err
	}
	if form != mpmcBlocks && (form != mpmcPairs || size > 8) {
		return nil, fmt.Errorf("%w: form %d with items of %d bytes", ErrCorrupt, form, size)
	}
	if form == mpmcPairs && !atomics.HasPair() {
		return nil, errNoPairs
	}
	slots, limit, err := h.slotsIn(mem, uintptr(size), form)
	if err != nil {
		return nil, err
	}
	r := attachMPMC[T](mem, slots, limit, form, peers)
	r.arrive()
	return r, nil
}

// slotsIn is how many slots the ring in mem has, with items of that size in blocks or slots, and how many items it holds at most, 0
// if that is as many.
func (h *mpmcHeader) slotsIn(mem []byte, size uintptr, form uint32) (slots, limit uint64, err error) {
	slots, limit = h.slots.Load(), h.limit.Load()
	if bits.OnesCount64(slots) != 1 || slots > math.MaxInt/16 || limit != 0 && (limit >= slots || slots < 4) {
		return 0, 0, fmt.Errorf("%w: %d slots, at most %d items", ErrCorrupt, slots, limit)
	}
	if _, bytes := mpmcSpace(slots, size, form); bytes > len(mem) {
		return 0, 0, fmt.Errorf("%w: %d slots in %d bytes of memory", ErrCorrupt, slots, len(mem))
	}
	return slots, limit, nil
}

// attachMPMC makes a handle of the ring of so many slots in mem, which has been checked.
func attachMPMC[T any](mem []byte, slots, limit uint64, form uint32, peers Peers) *MPMC[T] {
	t := reflect.TypeFor[T]()
	r := &MPMC[T]{}
	r.attach(mem, slots, limit, form, t.Size(), peers)
	r.bools = layout.BoolsOf(t)
	return r
}

// Len is how many items the ring holds, or held at an instant during the call. It is lock-free: what it repeats itself for are
// an item that somebody popped and one that somebody pushed; after ten thousand of each it gives up, and is a little wrong.
func (r *MPMC[T]) Len() int {
	n := r.length()
	runtime.KeepAlive(r)
	return n
}

func (m *mpmc) length() int {
	head := m.seek(m.headGuess.Load(), popped*m.full)
	tail := m.seek(later(m.tailGuess.Load(), head), filled*m.full)
	for range 10_000 { // for ever, but for words that somebody changes in vain
		was := head
		if head = m.seek(head, popped*m.full); head == was {
			break // so it was when the tail was looked at
		}
		was = tail
		if tail = m.seek(later(tail, head), filled*m.full); tail == was {
			break // so it was when the head was looked at
		}
	}
	m.headGuess.Publish(head)
	m.tailGuess.Publish(tail)
	return int(max(0, min(int64(tail-head), int64(m.capacity()))))
}

// later is the later of two positions.
func later(p, q uint64) uint64 {
	if int64(q-p) > 0 {
		return q
	}
	return p
}

// Pushed is how many items were ever pushed, modulo a power of two from 2^54 on.
func (r *MPMC[T]) Pushed() uint64 {
	n := r.pushed()
	runtime.KeepAlive(r)
	return n
}

func (m *mpmc) pushed() uint64 {
	p := m.seek(m.tailGuess.Load(), filled*m.full)
	m.tailGuess.Publish(p)
	return p
}

// Cap is how many items the ring can hold.
func (r *MPMC[T]) Cap() int { return r.capacity() }

// InBlocks reports whether the items lie in blocks (MPMCOptions.Blocks), so that any machine can open the ring.
func (r *MPMC[T]) InBlocks() bool { return !r.pairs }

func (m *mpmc) capacity() int {
	if m.limit != 0 {
		return int(m.limit)
	}
	return int(m.mask + 1)
}

// End ends an exact ring for everybody: it leaves a mark, 1 to 3, at the end of the items, and no push succeeds any more. The
// items that are there can be popped; who finds the ring empty then sees the mark (Mark). Of several that end a ring one does it,
// at one instant, and gets true. Any other ring cannot be ended, nor can one that is corrupt, nor by who may not push (Err).
func (r *MPMC[T]) End(mark int) bool {
	ok := r.end(mark)
	runtime.KeepAlive(r)
	return ok
}

// Mark is what the ring was ended with, 0 if it was not. It stays: a push that begins after Mark was seen fails, and a pop that
// begins after that and finds nothing says that all items are popped.
func (r *MPMC[T]) Mark() int {
	n := r.look()
	runtime.KeepAlive(r)
	return n
}

// MarkSeen is the mark as far as this handle has come across it, without another look: after a TryPop that found nothing, or a
// TryPush that found no room, what Mark would have been at that instant.
func (r *MPMC[T]) MarkSeen() int { return int(r.mark.Load()) }

// Err is nil while all is well. It is ErrCorrupt from when a word is found that cannot be true, os.ErrClosed after
// Close or when this process has left, or why a push was refused: ErrBusy, until one is not.
func (r *MPMC[T]) Err() error { return r.reason() }

func (m *mpmc) reason() error {
	if err := m.failure(); err != nil {
		return err
	}
	if p := m.refused.Load(); p != nil {
		return *p
	}
	return nil
}

// Close gives the cells that this handle has to whoever asks for them next. The ring and its items stay. Further
// pushes and pops find the handle full and empty. Close may be called again, and always returns nil.
func (r *MPMC[T]) Close() error { return r.close() }

func (m *mpmc) close() error {
	closed := os.ErrClosed
	m.err.Store(&closed)
	m.giveBack()
	return nil
}
