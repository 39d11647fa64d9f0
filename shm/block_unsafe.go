package shm

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// Uint32 is the word at byte off, which is a multiple of 4, for futex; keep b reachable while you use it.
func (b *Block) Uint32(off int) *atomic.Uint32 {
	if off%4 != 0 {
		panic(fmt.Sprintf("shm: word at byte %d is not aligned", off))
	}
	return (*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(b.mem[off:][:4])))
}
