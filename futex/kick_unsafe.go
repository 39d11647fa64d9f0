package futex

import (
	"runtime"
	"unsafe"
)

// Kick makes the waits of this process on words in mem return, as if woken, and returns how many. Those that are in
// their first part are not among them: they ask over when that ends (see WaitUnless), and without one sleep on.
// Package shm uses it when handles are closed, and when somebody has died.
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
