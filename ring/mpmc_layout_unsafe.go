package ring

import (
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/layout"
)

const (
	mpmcMagic   = 0x636d706d2e6c6873 // "shl.mpmc", as a little-endian number
	mpmcVersion = 2

	mpmcBlocks   = 1 // the form of an MPMC whose slots name blocks
	mpmcPairs    = 2 // and of one whose slots contain the items
	mpmcMessages = 3 // and of one of messages, in blocks
)

// mpmcHeader is the shared part of an MPMC in front of its cells and slots; the order of the fields is the format
// (doc.go, Layout). What NewMPMC alone writes is atomic too, so that OpenMPMC provably loads it once.
type mpmcHeader struct {
	_       structs.HostLayout
	magic   atomic.Uint64
	version atomic.Uint32
	form    atomic.Uint32
	slots   atomic.Uint64
	size    atomic.Uint64
	hash    atomic.Uint64
	limit   atomic.Uint64 // the most items, less than slots; 0 in a ring that cannot be ended
	_       [layout.CacheLine - 48]byte

	itemsSleep [layout.CacheLine]byte // reserved
	roomSleep  [layout.CacheLine]byte // reserved
}

// mpmcCell belongs to a producer. Its two words lie in one line because one process writes both. Cells are half as
// far apart as other words that different processes write: a producer writes its cell again and again and nobody
// else reads it, so there is nothing that fetching the neighbour with it could cost, and a ring is 8 KiB smaller.
type mpmcCell struct {
	_     structs.HostLayout
	note  atomics.Pos   // have<<32 | want, by its owner
	owner atomic.Uint32 // the claim: owner id of the process that has the cell
	_     [mpmcCellSize - 12]byte
}

const (
	mpmcHeaderSize = 3 * layout.CacheLine
	mpmcCells      = 128
	mpmcCellSize   = 64
	mpmcSlotsAt    = mpmcHeaderSize + mpmcCells*mpmcCellSize // of an MPMC of blocks
)

var (
	_ [0]struct{}                    = [unsafe.Offsetof(mpmcHeader{}.magic)]struct{}{}
	_ [8]struct{}                    = [unsafe.Offsetof(mpmcHeader{}.version)]struct{}{}
	_ [12]struct{}                   = [unsafe.Offsetof(mpmcHeader{}.form)]struct{}{}
	_ [16]struct{}                   = [unsafe.Offsetof(mpmcHeader{}.slots)]struct{}{}
	_ [24]struct{}                   = [unsafe.Offsetof(mpmcHeader{}.size)]struct{}{}
	_ [32]struct{}                   = [unsafe.Offsetof(mpmcHeader{}.hash)]struct{}{}
	_ [40]struct{}                   = [unsafe.Offsetof(mpmcHeader{}.limit)]struct{}{}
	_ [1 * layout.CacheLine]struct{} = [unsafe.Offsetof(mpmcHeader{}.itemsSleep)]struct{}{}
	_ [2 * layout.CacheLine]struct{} = [unsafe.Offsetof(mpmcHeader{}.roomSleep)]struct{}{}
	_ [mpmcHeaderSize]struct{}       = [unsafe.Sizeof(mpmcHeader{})]struct{}{}
	_ [0]struct{}                    = [unsafe.Offsetof(mpmcCell{}.note)]struct{}{}
	_ [8]struct{}                    = [unsafe.Offsetof(mpmcCell{}.owner)]struct{}{}
	_ [mpmcCellSize]struct{}         = [unsafe.Sizeof(mpmcCell{})]struct{}{}
	_ [0]struct{}                    = [mpmcSlotsAt % layout.CacheLine]struct{}{}
	_ [16]struct{}                   = [unsafe.Sizeof(atomics.Pair{})]struct{}{}
)

// mpmcAt is the header at the start of mem, which is aligned and long enough.
func mpmcAt(mem []byte) *mpmcHeader { return (*mpmcHeader)(unsafe.Pointer(unsafe.SliceData(mem))) }

// cellsAt is the cells of the MPMC of blocks in mem, which is long enough.
func cellsAt(mem []byte) *[mpmcCells]mpmcCell {
	return (*[mpmcCells]mpmcCell)(unsafe.Pointer(&mem[mpmcHeaderSize]))
}
