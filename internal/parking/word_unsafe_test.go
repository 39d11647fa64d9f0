package parking_test

import (
	"sync/atomic"
	"unsafe"
)

// wordOf is the first word of mem.
func wordOf(mem []byte) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(mem)))
}
