package ring

import (
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/race"
)

const (
	bytesMagic   = 0x657479622e6c6873 // "shl.byte", as a little-endian number
	bytesVersion = 1
)

// bytesHeader is the shared part of a Bytes in front of its descriptors; the order of the fields is the format
// (doc.go, Layout of Bytes). What NewBytes alone writes is atomic too, so that OpenBytes provably loads it once.
type bytesHeader struct {
	_       structs.HostLayout
	magic   atomic.Uint64
	version atomic.Uint32
	_       uint32
	room    atomic.Uint64
	slots   atomic.Uint64
	_       [layout.CacheLine - 32]byte

	tail atomics.Pos // a position that is not beyond the next to claim; a hint, published by claimers now and then
	_    [layout.CacheLine - 8]byte

	head     atomics.Pos   // the oldest record that is not passed over; published by the consumer
	freed    atomics.Pos   // where that begins, or what is skipped before it, in bytes; published by the consumer
	consumer atomic.Uint32 // the claim: owner id of who has the consumer's end
	_        [layout.CacheLine - 20]byte

	itemsSleep [layout.CacheLine]byte // reserved
	roomSleep  [layout.CacheLine]byte // reserved

	cells [bytesCells]atomic.Uint64 // who produces: generation << 32 | owner id
}

// descriptor says what one record is. The bits of word are listed in bytes_word.go.
type descriptor struct {
	_    structs.HostLayout
	word atomics.Pos // CAS by producers and for tombstones; the consumer alone stores
	end  atomics.Pos // where the record ends, in bytes since the beginning; CAS by whoever needs it
}

const (
	bytesCells      = 128
	descriptorSize  = 16
	bytesHeaderSize = 5*layout.CacheLine + 8*bytesCells
)

var (
	_ [0]struct{}                    = [unsafe.Offsetof(bytesHeader{}.magic)]struct{}{}
	_ [8]struct{}                    = [unsafe.Offsetof(bytesHeader{}.version)]struct{}{}
	_ [16]struct{}                   = [unsafe.Offsetof(bytesHeader{}.room)]struct{}{}
	_ [24]struct{}                   = [unsafe.Offsetof(bytesHeader{}.slots)]struct{}{}
	_ [1 * layout.CacheLine]struct{} = [unsafe.Offsetof(bytesHeader{}.tail)]struct{}{}
	_ [2 * layout.CacheLine]struct{} = [unsafe.Offsetof(bytesHeader{}.head)]struct{}{}
	_ [264]struct{}                  = [unsafe.Offsetof(bytesHeader{}.freed)]struct{}{}
	_ [272]struct{}                  = [unsafe.Offsetof(bytesHeader{}.consumer)]struct{}{}
	_ [3 * layout.CacheLine]struct{} = [unsafe.Offsetof(bytesHeader{}.itemsSleep)]struct{}{}
	_ [4 * layout.CacheLine]struct{} = [unsafe.Offsetof(bytesHeader{}.roomSleep)]struct{}{}
	_ [5 * layout.CacheLine]struct{} = [unsafe.Offsetof(bytesHeader{}.cells)]struct{}{}
	_ [bytesHeaderSize]struct{}      = [unsafe.Sizeof(bytesHeader{})]struct{}{}
	_ [0]struct{}                    = [unsafe.Offsetof(descriptor{}.word)]struct{}{}
	_ [8]struct{}                    = [unsafe.Offsetof(descriptor{}.end)]struct{}{}
	_ [descriptorSize]struct{}       = [unsafe.Sizeof(descriptor{})]struct{}{}
)

// bytesAt is the header at the start of mem, which is aligned and long enough.
func bytesAt(mem []byte) *bytesHeader { return (*bytesHeader)(unsafe.Pointer(unsafe.SliceData(mem))) }

// descriptors are those of one ring.
type descriptors struct {
	first unsafe.Pointer
	mask  uint64 // their number, a power of two, less one; checked when the ring was opened and never read again
}

// descriptorsAt are the n descriptors of the ring in mem, which has been checked.
func descriptorsAt(mem []byte, n uint64) descriptors {
	return descriptors{first: unsafe.Pointer(&mem[bytesHeaderSize]), mask: n - 1}
}

// slot is the descriptor of position t.
func (d *descriptors) slot(t uint64) *descriptor {
	return (*descriptor)(unsafe.Add(d.first, uintptr(t&d.mask)*descriptorSize))
}

// handOvers stand for the records and for the room that is free.
func (h *bytesHeader) handOvers() (items, gone *race.Word) {
	return race.At(unsafe.Pointer(&h.tail)), race.At(unsafe.Pointer(&h.head))
}
