package atomics_test

import (
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
)

// posAt is the position at the start of mem.
func posAt(mem []byte) *atomics.Pos { return (*atomics.Pos)(unsafe.Pointer(unsafe.SliceData(mem))) }
