package ring

import (
	"encoding/binary"
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
)

const (
	broadcastMagic   = 0x747363622e6c6873 // "shl.bcst", as a little-endian number
	broadcastVersion = 1
)

// The kinds of a Broadcast.
const (
	kindBlocking = 0
	kindLossy    = 1
)

// broadcastHeader is the shared part of a Broadcast in front of its cells and slots; the order of the fields is
// the format (doc.go, Layout of Broadcast).
type broadcastHeader struct {
	_       structs.HostLayout
	magic   atomic.Uint64
	version atomic.Uint32
	kind    atomic.Uint32
	slots   atomic.Uint64
	size    atomic.Uint64
	hash    atomic.Uint64
	cells   atomic.Uint32
	_       uint32
	_       [layout.CacheLine - 48]byte

	tail     atomics.Pos   // next slot to fill; published by the producer
	producer atomic.Uint32 // the claim: owner id of who has the producer's end
	_        [layout.CacheLine - 12]byte

	used atomic.Uint32 // all cells from this one on were never taken; raised by who joins
	_    [layout.CacheLine - 4]byte

	itemsSleep [layout.CacheLine]byte // reserved
	roomSleep  [layout.CacheLine]byte // reserved
}

const broadcastHeaderSize = 5 * layout.CacheLine

var (
	_ [0]struct{}                    = [unsafe.Offsetof(broadcastHeader{}.magic)]struct{}{}
	_ [8]struct{}                    = [unsafe.Offsetof(broadcastHeader{}.version)]struct{}{}
	_ [12]struct{}                   = [unsafe.Offsetof(broadcastHeader{}.kind)]struct{}{}
	_ [16]struct{}                   = [unsafe.Offsetof(broadcastHeader{}.slots)]struct{}{}
	_ [24]struct{}                   = [unsafe.Offsetof(broadcastHeader{}.size)]struct{}{}
	_ [32]struct{}                   = [unsafe.Offsetof(broadcastHeader{}.hash)]struct{}{}
	_ [40]struct{}                   = [unsafe.Offsetof(broadcastHeader{}.cells)]struct{}{}
	_ [1 * layout.CacheLine]struct{} = [unsafe.Offsetof(broadcastHeader{}.tail)]struct{}{}
	_ [136]struct{}                  = [unsafe.Offsetof(broadcastHeader{}.producer)]struct{}{}
	_ [2 * layout.CacheLine]struct{} = [unsafe.Offsetof(broadcastHeader{}.used)]struct{}{}
	_ [3 * layout.CacheLine]struct{} = [unsafe.Offsetof(broadcastHeader{}.itemsSleep)]struct{}{}
	_ [4 * layout.CacheLine]struct{} = [unsafe.Offsetof(broadcastHeader{}.roomSleep)]struct{}{}
	_ [broadcastHeaderSize]struct{}  = [unsafe.Sizeof(broadcastHeader{})]struct{}{}
)

// cell is where a reader of a blocking ring says where it is. Its word has
//
//	bits 32 to 63  the owner id of the reader's process, 0: nobody, whatever the other bits are
//	bit 31         joining: it has no place yet
//	bits 0 to 30   its place: its position modulo 2^31, if it is not joining
//
// and these transitions:
//
//	from            to             by
//	nobody, a dead  joining        CAS of the reader that takes the cell
//	joining         place          CAS of that reader, or of the producer when it looks at the cell
//	place           the next one   store of the reader: it alone changes the word, for as long as it lives
//	place           0              CAS of the reader that leaves, or of the producer if its process is dead
type cell struct {
	_    structs.HostLayout
	word atomics.Pos
	_    [layout.CacheLine - 8]byte
}

const cellSize = layout.CacheLine

var (
	_ [0]struct{}        = [unsafe.Offsetof(cell{}.word)]struct{}{}
	_ [cellSize]struct{} = [unsafe.Sizeof(cell{})]struct{}{}
)

const (
	cellJoining = 1 << 31
	cellPlace   = 1<<31 - 1
)

// ownerIn is the owner id in a cell's word.
func ownerIn(w uint64) uint32 { return uint32(w >> 32) }

// joining is the word of a reader without a place.
func joining(owner uint32) uint64 { return uint64(owner)<<32 | cellJoining }

// placed is the word of a reader at a position.
func placed(owner uint32, at uint64) uint64 { return uint64(owner)<<32 | at&cellPlace }

// broadcastAt is the header at the start of mem, which is aligned and long enough.
func broadcastAt(mem []byte) *broadcastHeader {
	return (*broadcastHeader)(unsafe.Pointer(unsafe.SliceData(mem)))
}

// cellsOf is the n cells behind the header; n has been checked against len(mem).
func cellsOf(mem []byte, n uint32) []cell {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*cell)(unsafe.Pointer(&mem[broadcastHeaderSize])), n)
}

// itemsAt is the memory from offset at on as n items; both have been checked against len(mem).
func itemsAt[T any](mem []byte, at int, n uint64) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[at])), n)
}

// turns is the slots of a lossy ring. Each is a turn, which tells what is in it, and an item, written and read in
// words of 64 bits. Of a slot s the turn is 0 at first; of position p, which is s modulo the number of slots S, it
// is whole(p) = 2*(p-s+S) when the item of p is there, and one less while that is being written.
type turns struct {
	first  unsafe.Pointer
	count  uint64 // a power of two
	size   uintptr
	stride uintptr
}

const turnSize = 8

// strideOf is how far slots for items of that size lie apart in a lossy ring.
func strideOf(size uint64) uint64 { return turnSize + layout.Up(size, 8) }

func turnsAt(mem []byte, at int, count uint64, size uintptr) turns {
	return turns{unsafe.Pointer(&mem[at]), count, size, uintptr(strideOf(uint64(size)))}
}

// slot is where the turn and the item of position p lie.
func (t *turns) slot(p uint64) (turn *atomics.Pos, item unsafe.Pointer) {
	at := unsafe.Add(t.first, uintptr(p&(t.count-1))*t.stride)
	return (*atomics.Pos)(at), unsafe.Add(at, turnSize)
}

// whole is the turn of a slot that has the item of position p.
func (t *turns) whole(p uint64) uint64 { return 2 * (p&^(t.count-1) + t.count) }

// writeWords copies size bytes at from into the item at to. The words are published one by one so that none can
// overtake the turn, nor be overtaken by it.
func writeWords(to, from unsafe.Pointer, size uintptr) {
	at := uintptr(0)
	for ; at+8 <= size; at += 8 {
		word := binary.NativeEndian.Uint64(unsafe.Slice((*byte)(unsafe.Add(from, at)), 8))
		(*atomics.Pos)(unsafe.Add(to, at)).Publish(word) // PAIRS WITH readWords: load it
		if crashpoint.Enabled {
			crashpoint.Hit("ring/overwrite/word")
		}
	}
	if at < size {
		var last [8]byte
		copy(last[:], unsafe.Slice((*byte)(unsafe.Add(from, at)), size-at))
		(*atomics.Pos)(unsafe.Add(to, at)).Publish(binary.NativeEndian.Uint64(last[:])) // PAIRS WITH readWords: load it
	}
}

// readWords copies the item at from to size bytes at to. They may be parts of several items.
func readWords(to, from unsafe.Pointer, size uintptr) {
	at := uintptr(0)
	for ; at+8 <= size; at += 8 {
		word := (*atomics.Pos)(unsafe.Add(from, at)).Load() // PAIRS WITH writeWords: publish it
		binary.NativeEndian.PutUint64(unsafe.Slice((*byte)(unsafe.Add(to, at)), 8), word)
	}
	if at < size {
		var last [8]byte
		binary.NativeEndian.PutUint64(last[:], (*atomics.Pos)(unsafe.Add(from, at)).Load()) // PAIRS WITH writeWords: publish it
		copy(unsafe.Slice((*byte)(unsafe.Add(to, at)), size-at), last[:])
	}
}
