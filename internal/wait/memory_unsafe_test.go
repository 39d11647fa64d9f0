package wait_test

import (
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/wait"
)

// memory is zeroed memory for a Word, aligned as it wants.
func memory() []byte {
	mem := make([]byte, 2*wait.Size)
	off := -uintptr(unsafe.Pointer(unsafe.SliceData(mem))) % wait.Size
	return mem[off : off+wait.Size]
}
