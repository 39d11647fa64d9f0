package ring

import (
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/layout"
)

// producer is a cell that belongs to this handle. It is used by one goroutine at a time: who has set busy.
type producer struct {
	busy  atomics.Pos
	block uint64 // the private block, checked
	cell  *mpmcCell
	// borrowed says that it is this handle's for one call only, and in nobody's list.
	borrowed bool
	_        [layout.CacheLine - 16 - 2*unsafe.Sizeof(uintptr(0))]byte // several goroutines push at once
}

// spread is a number from 0 to n-1 that tends to be the same for one goroutine and different for several: it is
// made of the address of the goroutine's stack.
func spread(n uint32) uint32 {
	var here byte
	h := uint32(uintptr(unsafe.Pointer(&here))>>11) * 0x9e3779b1
	return uint32(uint64(h) * uint64(n) >> 32)
}
