package ring

import (
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/layout"
)

const (
	spscMagic   = 0x637370732e6c6873 // "shl.spsc", as a little-endian number
	spscVersion = 1
)

// spscHeader is the shared part of an SPSC in front of its slots; the order of the fields is the format
// (doc.go, Layout). What NewSPSC alone writes is atomic too, so that OpenSPSC provably loads it once.
type spscHeader struct {
	_       structs.HostLayout
	magic   atomic.Uint64
	version atomic.Uint32
	_       uint32
	slots   atomic.Uint64
	size    atomic.Uint64
	hash    atomic.Uint64
	_       [layout.CacheLine - 40]byte

	tail     atomics.Pos   // next slot to fill; published by the producer
	producer atomic.Uint32 // the claim: owner id of who has the producer's end
	_        [layout.CacheLine - 12]byte

	head     atomics.Pos   // oldest filled slot; published by the consumer
	consumer atomic.Uint32 // the claim: owner id of who has the consumer's end
	_        [layout.CacheLine - 12]byte

	itemsSleep [layout.CacheLine]byte // reserved
	roomSleep  [layout.CacheLine]byte // reserved
}

const spscHeaderSize = 5 * layout.CacheLine

var (
	_ [0]struct{}                    = [unsafe.Offsetof(spscHeader{}.magic)]struct{}{}
	_ [8]struct{}                    = [unsafe.Offsetof(spscHeader{}.version)]struct{}{}
	_ [16]struct{}                   = [unsafe.Offsetof(spscHeader{}.slots)]struct{}{}
	_ [24]struct{}                   = [unsafe.Offsetof(spscHeader{}.size)]struct{}{}
	_ [32]struct{}                   = [unsafe.Offsetof(spscHeader{}.hash)]struct{}{}
	_ [1 * layout.CacheLine]struct{} = [unsafe.Offsetof(spscHeader{}.tail)]struct{}{}
	_ [136]struct{}                  = [unsafe.Offsetof(spscHeader{}.producer)]struct{}{}
	_ [2 * layout.CacheLine]struct{} = [unsafe.Offsetof(spscHeader{}.head)]struct{}{}
	_ [264]struct{}                  = [unsafe.Offsetof(spscHeader{}.consumer)]struct{}{}
	_ [3 * layout.CacheLine]struct{} = [unsafe.Offsetof(spscHeader{}.itemsSleep)]struct{}{}
	_ [4 * layout.CacheLine]struct{} = [unsafe.Offsetof(spscHeader{}.roomSleep)]struct{}{}
	_ [spscHeaderSize]struct{}       = [unsafe.Sizeof(spscHeader{})]struct{}{}
)

// aligned reports whether mem begins at a multiple of the line that keeps words apart.
func aligned(mem []byte) bool {
	return uintptr(unsafe.Pointer(unsafe.SliceData(mem)))%layout.CacheLine == 0
}

// spscAt is the header at the start of mem, which is aligned and long enough.
func spscAt(mem []byte) *spscHeader { return (*spscHeader)(unsafe.Pointer(unsafe.SliceData(mem))) }

// slotsOf is the memory behind the header as n items; n has been checked against len(mem).
func slotsOf[T any](mem []byte, n uint64) []T {
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[spscHeaderSize])), n)
}
