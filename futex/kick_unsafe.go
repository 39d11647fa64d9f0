package futex

import (
	"runtime"
	"unsafe"
)

// Kick makes every wait of this process on a word in mem return, as if woken, and returns how many. Package
// shm uses it when handles are closed and when a process was found dead.
func Kick(mem []byte) int {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	to := from + uintptr(len(mem))
	n := 0
	waiters.Lock()
	defer waiters.Unlock()
	for w := waiters.first; w != nil; w = w.next {
		if at := uintptr(unsafe.Pointer(w.shared)); from <= at && at < to {
			w.interrupt()
			n++
		}
	}
	runtime.KeepAlive(mem)
	return n
}
