package parking

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// Kick ends the waits of this process on words in mem that are over, or have nothing to ask, and returns how many. Those
// that are in their first part are not among them: they ask over when that ends.
func Kick(mem []byte) int {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	to := from + uintptr(len(mem))
	in := func(w *atomic.Uint32) bool {
		at := uintptr(unsafe.Pointer(w))
		return from <= at && at < to
	}
	n := lines.kick(in)
	waiters.Lock()
	defer waiters.Unlock()
	for w := waiters.first; w != nil; w = w.next {
		if in(w.shared) && (w.over == nil || w.over()) {
			w.interrupt()
			n++
		}
	}
	runtime.KeepAlive(mem)
	return n
}
