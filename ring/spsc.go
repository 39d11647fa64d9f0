package ring

import (
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"reflect"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/race"
)

// SPSC is a ring for one producer and one consumer, in one process or two.
//
// Each end belongs to one handle in one process, from its first push or pop (or Produce, Consume) until Close
// or the death of the process; then another may take it over, and goes on where the last one stopped. In
// between everybody else gets ErrBusy. A handle that is forgotten without Close keeps its ends until its
// process dies. To close the segment (a Peers) is to die: another process may take the ends over from then on,
// and the handle notices only when it next looks at the other end, so close the ring, or stop using it, first.
//
// An end is used by one goroutine at a time: the methods of the producer's end (Produce, TryPush, TryPushMany,
// Reserve, Commit) may run beside those of the consumer's (Consume, TryPop, TryPopMany, Peek, Advance), but not
// beside each other, and Close beside none of these. Len, Cap and Err may be called from anywhere.
//
// Pushing and popping are wait-free. A stopped process delays the other end as an empty or a full ring does; a
// killed one does no harm beyond that: what it had not published was never pushed, and an item it had taken
// without saying so is delivered again (package documentation, Protocol).
//
// The push of an item happens before the pop that returns it, and that pop before the push that uses its slot
// again; also across processes, in what both can reach.
//
// The positions that both sides cache are those of L. Lamport, Specifying Concurrent Program Modules (1983),
// and P. P. C. Lee, T. Bu, G. Chandranmenon, A Lock-Free, Cache-Efficient Shared Ring Buffer for Multi-Core
// Architectures (2009, https://doi.org/10.1145/1882486.1882508).
type SPSC[T any] struct {
	_ noCopy
	common
	all         []T // the slots in shared memory
	staging     []T // where the consumer's copies of items with bools lie
	lending     []T // what Reserve gave out of items with bools
	items, room *race.Word

	// The ends are used by two goroutines, so they lie apart as in the shared part, whatever the address of the
	// whole.
	_    [layout.CacheLine]byte
	prod end
	_    [layout.CacheLine]byte
	cons end
	_    [layout.CacheLine]byte
}

// noCopy makes go vet report a handle that is copied.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// maxStaged is how many items with bools the consumer copies out of the ring at a time.
const maxStaged = 32

// SPSCSize is how many bytes a ring of n items needs; n is rounded up to a power of two, and at least 1. It is
// math.MaxInt if so many items fit into no address space.
func SPSCSize[T any](n int) int {
	_, bytes := spscSpace[T](n)
	return bytes
}

// spscSpace is the number of slots and bytes for n items.
func spscSpace[T any](n int) (slots uint64, bytes int) {
	size := uint64(reflect.TypeFor[T]().Size())
	slots = 1 << bits.Len64(uint64(max(n, 1)-1))
	if size != 0 && slots > (math.MaxInt-spscHeaderSize)/size {
		return slots, math.MaxInt
	}
	return slots, spscHeaderSize + int(slots*size)
}

// NewSPSC lays a ring of n items, rounded up to a power of two, out in mem, which must be zeroed, aligned to
// 128 bytes and at least SPSCSize[T](n) long. The error is fs.ErrExist if there is a ring already. That T
// cannot lie in shared memory, that n is not positive, and that mem does not suit are errors too, for the
// programmer to read.
func NewSPSC[T any](mem []byte, n int, peers Peers) (*SPSC[T], error) {
	if n < 1 {
		return nil, fmt.Errorf("ring: %d items", n)
	}
	slots, bytes := spscSpace[T](n)
	if err := checkMemory[T](mem, bytes, peers); err != nil {
		return nil, err
	}
	h := spscAt(mem)
	if h.magic.Load() != 0 { // PAIRS WITH NewSPSC: store the magic
		return nil, fmt.Errorf("ring: in the memory given: %w", fs.ErrExist)
	}
	t := reflect.TypeFor[T]()
	h.tail.Publish(0)
	h.producer.Store(0)
	h.head.Publish(0)
	h.consumer.Store(0)
	h.hash.Store(layout.Hash(t))
	h.size.Store(uint64(t.Size()))
	h.slots.Store(slots)
	h.version.Store(spscVersion)
	crashpoint.Hit("ring/new/described")
	h.magic.Store(spscMagic) // PAIRS WITH OpenSPSC: load the magic
	return attachSPSC[T](mem, slots, peers), nil
}

// OpenSPSC finds the ring that NewSPSC made in mem. The error is ErrKind if there is none, or one of other
// items or of another format version, and ErrCorrupt if what the ring says of itself cannot be true or does not
// fit into mem.
func OpenSPSC[T any](mem []byte, peers Peers) (*SPSC[T], error) {
	if err := checkMemory[T](mem, spscHeaderSize, peers); err != nil {
		return nil, err
	}
	h := spscAt(mem)
	if h.magic.Load() != spscMagic { // PAIRS WITH NewSPSC: store the magic
		return nil, fmt.Errorf("%w: no SPSC", ErrKind)
	}
	size, hash, slots := h.size.Load(), h.hash.Load(), h.slots.Load()
	if err := checkFormat[T](h.version.Load(), spscVersion, size, hash); err != nil {
		return nil, err
	}
	if fit := uint64(len(mem)-spscHeaderSize) / size; bits.OnesCount64(slots) != 1 || slots > fit {
		return nil, fmt.Errorf("%w: %d slots in memory for %d", ErrCorrupt, slots, fit)
	}
	return attachSPSC[T](mem, slots, peers), nil
}

// checkMemory is what making and finding a ring of T ask alike.
func checkMemory[T any](mem []byte, bytes int, peers Peers) error {
	if err := layout.Plain(reflect.TypeFor[T]()); err != nil {
		return fmt.Errorf("ring: items cannot lie in shared memory: %w", err)
	}
	return checkPlain(mem, bytes, peers)
}

// checkPlain is what making and finding any ring asks.
func checkPlain(mem []byte, bytes int, peers Peers) error {
	if peers == nil {
		return fmt.Errorf("ring: no Peers")
	}
	if len(mem) < bytes {
		return fmt.Errorf("ring: %d bytes of memory, %d needed", len(mem), bytes)
	}
	if !aligned(mem) {
		return fmt.Errorf("ring: memory not aligned to %d bytes", layout.CacheLine)
	}
	return nil
}

// checkFormat is what finding a ring of T asks of what it says of itself, all kinds alike.
func checkFormat[T any](version, want uint32, size, hash uint64) error {
	t := reflect.TypeFor[T]()
	switch {
	case version != want:
		return fmt.Errorf("%w: format version %d, not %d", ErrKind, version, want)
	case hash != layout.Hash(t):
		return fmt.Errorf("%w: its items are not %s", ErrKind, t)
	case size != uint64(t.Size()):
		return fmt.Errorf("%w: items of %d bytes, but %s has %d", ErrCorrupt, size, t, t.Size())
	}
	return nil
}

// attachSPSC makes a handle of the ring of so many slots in mem, which has been checked.
func attachSPSC[T any](mem []byte, slots uint64, peers Peers) *SPSC[T] {
	r := &SPSC[T]{all: slotsOf[T](mem, slots)}
	r.common = common{
		header: spscAt(mem), slots: slots, size: reflect.TypeFor[T]().Size(),
		bools: layout.BoolsOf(reflect.TypeFor[T]()), peers: peers,
	}
	r.attach()
	return r
}

// Produce takes the producer's end for this handle, also from a dead owner. It is ErrBusy if a living process
// or another handle of this one has it, ErrCorrupt, or os.ErrClosed. The first push does the same by itself.
func (r *SPSC[T]) Produce() error { return r.prod.join() }

// Consume takes the consumer's end, as Produce does the producer's. The first pop does the same by itself.
func (r *SPSC[T]) Consume() error { return r.cons.join() }

// TryPushMany appends as many of vs as there is room for, publishes them at once, and returns how many.
func (r *SPSC[T]) TryPushMany(vs []T) int {
	n := r.prod.upTo(len(vs))
	if n == 0 {
		return 0
	}
	if first := copy(r.all[r.prod.index():], vs[:n]); first < n {
		copy(r.all, vs[first:n])
	}
	r.prod.pass(n)
	return n
}

// TryPopMany takes the oldest items, as many as there are and dst holds, and returns how many.
func (r *SPSC[T]) TryPopMany(dst []T) int {
	n := r.cons.upTo(len(dst))
	if n == 0 {
		return 0
	}
	if first := copy(dst[:n], r.all[r.cons.index():]); first < n {
		copy(dst[first:n], r.all)
	}
	if r.bools != nil {
		r.normalise(dst[:n])
	}
	r.cons.pass(n)
	return n
}

// Reserve gives up to n adjacent free slots to fill, fewer where the ring is nearly full or its end is near,
// none if it is full. What they contain is undefined. They are good until the next push, Reserve or Close, and
// may then belong to the other process. For items with bools the slots are zeroed copies that Commit copies
// into the ring.
func (r *SPSC[T]) Reserve(n int) []T {
	e := &r.prod
	n = e.upTo(n)
	i := e.index()
	n = min(n, len(r.all)-i)
	e.lend(n)
	if n == 0 {
		return nil
	}
	if r.bools == nil {
		return r.all[i : i+n : i+n]
	}
	r.lending = make([]T, n)
	return r.lending
}

// Commit publishes the first n of the slots that Reserve gave; the next Commit goes on with the rest. It panics
// if there are not so many, or if a push has used them since.
func (r *SPSC[T]) Commit(n int) {
	e := &r.prod
	if !e.giveBack(n, "Commit", "Reserve") {
		return
	}
	if r.bools != nil {
		copy(r.all[e.index():], r.lending[:n])
		r.lending = r.lending[n:]
	}
	e.pass(n)
}

// Peek gives up to n of the oldest items, adjacent and in place, fewer where the ring's end is near, none if it
// is empty. They are good until Advance, the next pop or Close; another process that breaks the rules may
// change them meanwhile. Of items with bools Peek gives copies, at most 32, whose bools are valid.
func (r *SPSC[T]) Peek(n int) []T {
	return peek(&r.cons, r.all, r.staging, n)
}

// peek lends the next n items of a consumer or reader, as many as are adjacent: of the slots, or of its copies if it
// has some.
func peek[T any](e *end, slots, staging []T, n int) []T {
	n = e.upTo(n)
	from, i := slots, e.index()
	if e.staged {
		if e.limit-e.at < uint64(n) {
			e.stage()
		}
		n = min(n, int(e.limit-e.at))
		from, i = staging, int(e.at&e.mask)
	}
	n = min(n, len(from)-i)
	e.lend(n)
	if n == 0 {
		return nil
	}
	return from[i : i+n : i+n]
}

// Advance frees the first n of the items that Peek gave; the next Advance goes on with the rest. It panics if
// there are not so many, or if a pop has taken them since.
func (r *SPSC[T]) Advance(n int) {
	if r.cons.giveBack(n, "Advance", "Peek") {
		r.cons.pass(n)
	}
}

// Len is how many items the ring holds, as far as one can say while others push and pop.
func (r *SPSC[T]) Len() int {
	head := r.header.head.Load()
	n := r.header.tail.Load() - head
	return int(min(n, r.slots)) // pops and pushes between the two loads can make it seem more
}

// Cap is how many items the ring can hold.
func (r *SPSC[T]) Cap() int { return len(r.all) }

// Err is nil while all is well. It is ErrCorrupt from when an end finds that the other's position cannot be true,
// os.ErrClosed after Close, or why a push or pop could not take its end: ErrBusy, until it is taken.
func (r *SPSC[T]) Err() error {
	if err := r.failure(); err != nil {
		return err
	}
	for _, e := range []*end{&r.prod, &r.cons} {
		if p := e.refused.Load(); p != nil {
			return *p
		}
	}
	return nil
}

// Close gives the ends that this handle has to whoever asks for them next, at once and in this process too. The
// ring and its items stay. Further pushes and pops find the handle full and empty. Close may be called again,
// and always returns nil.
func (r *SPSC[T]) Close() error {
	r.prod.release()
	r.cons.release()
	closed := os.ErrClosed
	r.err.Store(&closed)
	return nil
}
