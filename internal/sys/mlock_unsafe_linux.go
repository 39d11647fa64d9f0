package sys

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mlock pins mem as it is touched; package unix has no mlock2.
func mlock(mem []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_MLOCK2, uintptr(unsafe.Pointer(unsafe.SliceData(mem))), uintptr(len(mem)), unix.MLOCK_ONFAULT)
	if errno != 0 {
		return errno
	}
	return nil
}
