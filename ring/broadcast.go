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

// Broadcast is a ring with one producer in which every reader sees every item. Readers join and leave when they
// like, in any process, and read each at its own pace. What happens when one falls behind by a whole ring was
// chosen when the ring was made:
//
//   - In a blocking ring the slowest reader holds the producer back: TryPush is false until it has read on. The
//     producer evicts a dead one when that would hold it back. A stopped process is not dead.
//   - In a lossy ring the producer waits for nobody. A reader that was overrun is told how many items it has
//     missed, exactly, and goes on with the oldest one that is still there.
//
// A reader sees the items that are pushed after it has joined: all of those that a push begun after Reader had
// returned, none that a push had finished before Reader was called, and from its first one on every one.
//
// The producer's end belongs to one handle in one process, as those of an SPSC do: from the first push (or
// Produce) until Close or the death of the process, and then whoever asks for it goes on where the last one
// stopped. Its methods (Produce, TryPush, TryPushMany, Reserve, Commit, Close) are for one goroutine at a time.
// Reader, Cap, Lossy and Err may be called from anywhere; each Reader that they give is used by one goroutine at
// a time, and any number of Readers beside each other and the producer.
//
// To close the segment (a Peers) is to die, for the others: they may give what the process had to somebody else
// from then on, and the handle notices only when it next looks where the others are. So close readers and rings,
// or stop using them, first.
//
// Pushing and popping are wait-free; a push looks at the readers only when the room that it knew of is used up,
// and never in a lossy ring. A producer that was killed did no harm: what it had not published was never pushed.
// A stopped reader holds up the producer of a blocking ring once that has filled it, and nobody else; a stopped
// producer holds up nobody but those who wait for its items.
//
// The push of an item happens before the pop that returns it; in a blocking ring also every reader's pop of an
// item before the push that uses its slot again.
//
// That slots of a lossy ring are checked by a number before and after they are copied is C. Lameter's seqlock,
// Effective Synchronization on Linux/NUMA Systems (2005); that the words between are atomic follows H.-J. Boehm,
// Can Seqlocks Get Along With Programming Language Memory Models? (2012,
// https://doi.org/10.1145/2247684.2247688).
type Broadcast[T any] struct {
	_ noCopy
	common
	head        *broadcastHeader
	lossy       bool
	all         []T   // the slots in shared memory of a blocking ring
	lending     []T   // what Reserve gave out of a lossy ring, or of items with bools
	turns       turns // the slots of a lossy ring
	audience    audience
	items, room *race.Word

	_    [layout.CacheLine]byte
	prod end
	_    [layout.CacheLine]byte
}

// BroadcastOptions choose what a slow reader means.
type BroadcastOptions struct {
	// Readers is how many readers a blocking ring can have at a time; 0 means 64. A lossy ring keeps no account of
	// its readers, and can have any number.
	Readers int
	// Lossy makes the producer overrun slow readers instead of waiting for them.
	Lossy bool
}

const (
	defaultReaders = 64
	maxReaders     = 1 << 16
	// maxBroadcast is how many slots there are at most: places in cells have 31 bits.
	maxBroadcast = 1 << 30
)

// broadcastShape is what a ring is made of.
type broadcastShape struct {
	kind, cells  uint32
	slots        uint64
	start, bytes int // where the slots begin, and what the whole needs
}

// fit works out start and bytes for items of that size; bytes is math.MaxInt if there is no such address space.
func (s *broadcastShape) fit(size uint64) {
	each := size
	if s.kind == kindLossy {
		each = strideOf(size)
	}
	s.start = broadcastHeaderSize + int(s.cells)*cellSize
	if s.bytes = math.MaxInt; each == 0 || s.slots <= uint64(math.MaxInt-s.start)/each {
		s.bytes = s.start + int(s.slots*each)
	}
}

// shapeOf is the shape of a ring of n items with these options.
func shapeOf[T any](n int, opts []BroadcastOptions) (s broadcastShape, err error) {
	var o BroadcastOptions
	if len(opts) > 0 {
		o = opts[0]
	}
	s.slots = 1 << bits.Len64(uint64(max(n, 1)-1))
	switch {
	case o.Lossy:
		s.kind = kindLossy
	case o.Readers == 0:
		s.cells = defaultReaders
	default:
		s.cells = uint32(min(max(o.Readers, 1), maxReaders))
	}
	s.fit(uint64(reflect.TypeFor[T]().Size()))
	if n < 1 || s.slots > maxBroadcast {
		err = fmt.Errorf("ring: %d items, 1 to %d are possible", n, maxBroadcast)
	} else if o.Readers < 0 || o.Readers > maxReaders {
		err = fmt.Errorf("ring: %d readers, at most %d are possible", o.Readers, maxReaders)
	}
	return s, err
}

// BroadcastSize is how many bytes a ring of n items needs with these options, of which there is at most one; n is
// rounded up to a power of two, and at least 1. It is math.MaxInt if so many items fit into no address space.
func BroadcastSize[T any](n int, opts ...BroadcastOptions) int {
	s, _ := shapeOf[T](n, opts)
	return s.bytes
}

// NewBroadcast lays a ring of n items, rounded up to a power of two, out in mem, which must be zeroed, aligned to
// 128 bytes and at least BroadcastSize[T](n, opts...) long. The error is fs.ErrExist if there is a ring already.
// That T cannot lie in shared memory, that n or the number of readers cannot be, and that mem does not suit are
// errors too, for the programmer to read.
func NewBroadcast[T any](mem []byte, n int, peers Peers, opts ...BroadcastOptions) (*Broadcast[T], error) {
	s, err := shapeOf[T](n, opts)
	if err != nil {
		return nil, err
	}
	if err := checkMemory[T](mem, s.bytes, peers); err != nil {
		return nil, err
	}
	h := broadcastAt(mem)
	if h.magic.Load() != 0 { // PAIRS WITH NewBroadcast: store the magic
		return nil, fmt.Errorf("ring: in the memory given: %w", fs.ErrExist)
	}
	t := reflect.TypeFor[T]()
	// Who was killed before the last store may have left some of these, and nothing else.
	h.cells.Store(s.cells)
	h.hash.Store(layout.Hash(t))
	h.size.Store(uint64(t.Size()))
	h.slots.Store(s.slots)
	h.kind.Store(s.kind)
	h.version.Store(broadcastVersion)
	crashpoint.Hit("ring/broadcast/new/described")
	h.magic.Store(broadcastMagic) // PAIRS WITH OpenBroadcast: load the magic
	return attachBroadcast[T](mem, s, peers), nil
}

// OpenBroadcast finds the ring that NewBroadcast made in mem, of either kind. The error is ErrKind if there is
// none, or one of other items or of another format version, and ErrCorrupt if what the ring says of itself cannot
// be true or does not fit into mem.
func OpenBroadcast[T any](mem []byte, peers Peers) (*Broadcast[T], error) {
	if err := checkMemory[T](mem, broadcastHeaderSize, peers); err != nil {
		return nil, err
	}
	h := broadcastAt(mem)
	if h.magic.Load() != broadcastMagic { // PAIRS WITH NewBroadcast: store the magic
		return nil, fmt.Errorf("%w: no Broadcast", ErrKind)
	}
	size, hash := h.size.Load(), h.hash.Load()
	s := broadcastShape{kind: h.kind.Load(), cells: h.cells.Load(), slots: h.slots.Load()}
	if err := checkFormat[T](h.version.Load(), broadcastVersion, size, hash); err != nil {
		return nil, err
	}
	if s.kind > kindLossy || s.cells > maxReaders || (s.cells == 0) != (s.kind == kindLossy) {
		return nil, fmt.Errorf("%w: kind %d with %d cells", ErrCorrupt, s.kind, s.cells)
	}
	if bits.OnesCount64(s.slots) != 1 || s.slots > maxBroadcast {
		return nil, fmt.Errorf("%w: %d slots", ErrCorrupt, s.slots)
	}
	if s.fit(size); s.bytes > len(mem) {
		return nil, fmt.Errorf("%w: %d slots and %d cells in %d bytes", ErrCorrupt, s.slots, s.cells, len(mem))
	}
	return attachBroadcast[T](mem, s, peers), nil
}

// Produce takes the producer's end for this handle, also from a dead owner. It is ErrBusy if a living process or
// another handle of this one has it, ErrCorrupt, or os.ErrClosed. The first push does the same by itself.
func (b *Broadcast[T]) Produce() error { return b.prod.join() }

// TryPushMany appends as many of vs as there is room for and returns how many: all, if the ring is lossy. In a
// blocking ring they are published at once; if not even the first has room, the producer has looked for readers
// to evict.
func (b *Broadcast[T]) TryPushMany(vs []T) int {
	e := &b.prod
	if b.lossy {
		return b.overwriteMany(vs)
	}
	n := e.upTo(len(vs))
	if n == 0 {
		return 0
	}
	if first := copy(b.all[e.index():], vs[:n]); first < n {
		copy(b.all, vs[first:n])
	}
	e.pass(n)
	return n
}

// Reserve gives up to n adjacent free slots to fill, fewer where the ring is nearly full or its end is near, none
// if it is full. What they contain is undefined. They are good until the next push, Reserve or Close, and may
// then belong to other processes. Of a lossy ring, and for items with bools, they are copies that Commit copies
// into the ring.
func (b *Broadcast[T]) Reserve(n int) []T {
	e := &b.prod
	n = e.upTo(n)
	i := e.index()
	n = min(n, int(b.slots)-i)
	e.lend(n)
	if n == 0 {
		return nil
	}
	if !b.lossy && b.bools == nil {
		return b.all[i : i+n : i+n]
	}
	if cap(b.lending) < n {
		b.lending = make([]T, n)
	}
	b.lending = b.lending[:n]
	return b.lending[:n:n]
}

// Commit publishes the first n of the slots that Reserve gave; the next Commit goes on with the rest. It panics
// if there are not so many, or if a push has used them since.
func (b *Broadcast[T]) Commit(n int) {
	e := &b.prod
	done := len(b.lending) - int(e.lent) // of what was given out as copies
	switch {
	case !e.giveBack(n, "Commit", "Reserve"):
	case b.lossy:
		b.overwriteMany(b.lending[done : done+n])
	case b.bools != nil:
		copy(b.all[e.index():], b.lending[done:done+n])
		e.pass(n)
	default:
		e.pass(n)
	}
}

// Cap is how many items the ring can hold.
func (b *Broadcast[T]) Cap() int { return int(b.slots) }

// Lossy reports whether the producer overruns slow readers instead of waiting for them.
func (b *Broadcast[T]) Lossy() bool { return b.lossy }

// Err is nil while all is well. It is ErrCorrupt from when the producer finds that a reader's place cannot be true,
// os.ErrClosed after Close, or why a push could not take its end: ErrBusy, until it is taken. Readers have errors
// of their own.
func (b *Broadcast[T]) Err() error {
	if err := b.failure(); err != nil {
		return err
	}
	if p := b.prod.refused.Load(); p != nil {
		return *p
	}
	return nil
}

// Close gives the producer's end, if this handle has it, to whoever asks for it next, at once and in this process
// too. The ring, its items and its readers stay, those of this handle included. Further pushes find the handle
// full, and Reader is os.ErrClosed. Close may be called again, and always returns nil.
func (b *Broadcast[T]) Close() error {
	b.prod.release()
	closed := os.ErrClosed
	b.err.Store(&closed)
	return nil
}

// Reader joins the ring behind its newest item: the first that the new reader sees is the next one to be pushed.
// The error is ErrBusy if a blocking ring has as many living readers as it can, ErrCorrupt, or os.ErrClosed, which
// it also is if this process is no participant and the ring is blocking. (Who only looks can read a lossy ring.)
func (b *Broadcast[T]) Reader() (*Reader[T], error) {
	if err := b.failure(); err != nil {
		return nil, err
	}
	if b.lossy {
		at := b.head.tail.Load() // PAIRS WITH overwrite: publish the tail
		if turn, _ := b.turns.slot(at); turn.Load() == b.turns.whole(at) {
			at++ // its producer is about to count it, or was killed before it could
		}
		return b.reader(nil, 0, at), nil
	}
	self := b.peers.Self()
	if self == 0 || b.peers.Dead(self) {
		return nil, errNobody
	}
	c, at, err := b.audience.join(self)
	if err != nil {
		return nil, err
	}
	return b.reader(c, self, at), nil
}

// Reader reads a Broadcast at its own pace, from one goroutine at a time. In a blocking ring it holds the producer
// back from when it has joined until Close or the death of its process; one that is forgotten without Close does
// so as well.
type Reader[T any] struct {
	_ noCopy
	common
	head    *broadcastHeader
	lossy   bool
	all     []T   // the slots in shared memory of a blocking ring
	staging []T   // where copies of items with bools lie
	turns   turns // the slots of a lossy ring
	lost    uint64
	cell    *cell  // of a blocking ring
	tag     uint64 // the word of the cell, without the place
	cons    end
}

// TryPopMany takes the oldest items, as many as there are and dst holds, and returns how many, and how many were
// lost before the first of them. Where a lossy ring has lost items in between it stops, and dst may be changed
// beyond what is returned.
func (r *Reader[T]) TryPopMany(dst []T) (n int, lost uint64) {
	e := &r.cons
	if r.lossy {
		return r.chaseMany(dst)
	}
	n = e.upTo(len(dst))
	if n == 0 {
		return 0, 0
	}
	if first := copy(dst[:n], r.all[e.index():]); first < n {
		copy(dst[first:n], r.all)
	}
	if r.bools != nil {
		r.normalise(dst[:n])
	}
	r.pass(n)
	return n, 0
}

// Peek gives up to n of the oldest items of a blocking ring, adjacent and in place, fewer where the ring's end is
// near, none if there are none. They are good until Advance, the next pop or Close: the producer does not write
// over them, but a process that breaks the rules may. Of items with bools Peek gives copies, at most 32, whose
// bools are valid. Of a lossy ring, whose producer waits for nobody, it gives nothing.
func (r *Reader[T]) Peek(n int) []T {
	if r.lossy {
		return nil
	}
	return peek(&r.cons, r.all, r.staging, n)
}

// Advance goes on by the first n of the items that Peek gave; the next Advance goes on with the rest. It panics if
// there are not so many, or if a pop has taken them since.
func (r *Reader[T]) Advance(n int) {
	if r.cons.giveBack(n, "Advance", "Peek") {
		r.pass(n)
	}
}

// Len is how many items are there for the reader, as far as one can say while others are pushed. Items of a lossy
// ring that it has lost but was not yet told of do not count.
func (r *Reader[T]) Len() int {
	n := r.head.tail.Load() - r.cons.at // PAIRS WITH pass, overwrite and the fast path of TryPush: publish the tail
	if n > 1<<63 {
		return 0 // the newest item was read before its producer has counted it
	}
	return int(min(n, r.slots))
}

// Err is nil while all is well. It is ErrCorrupt from when the reader finds that what others wrote cannot be true,
// and os.ErrClosed after Close and when the reader was evicted, as this process has left the segment.
func (r *Reader[T]) Err() error {
	if err := r.failure(); err != nil {
		return err
	}
	if p := r.cons.refused.Load(); p != nil {
		return *p
	}
	return nil
}

// Close leaves the ring, so that it no longer holds the producer back. Further pops find nothing. Close may be
// called again, and always returns nil.
func (r *Reader[T]) Close() error {
	r.leave()
	closed := os.ErrClosed
	r.err.Store(&closed)
	return nil
}
