package shm

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Uint32 is the word at byte off, which is a multiple of 4, for futex; keep b reachable while you use it.
func (b *Block) Uint32(off int) *atomic.Uint32 { return Word32(b.mem, off) }

// Word32 is the word at byte off, which is a multiple of 4, of memory of an object or of Segment.Allocate, for atomic
// operations and for futex; keep what the memory belongs to reachable while you use it.
func Word32(mem []byte, off int) *atomic.Uint32 {
	if off%4 != 0 {
		panic(fmt.Sprintf("shm: word at byte %d is not aligned", off))
	}
	return (*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(mem[off:][:4])))
}
