package sys

import "sync/atomic"

// MemoryLeftIn is MemoryLeft of a file system, without swap.
var MemoryLeftIn = memoryLeft

// MonotonicBy is Monotonic of a process that reads the kernel's clock like this when it starts.
func MonotonicBy(kernel func() int64) (now func() int64) { return readClocks(kernel).now }

// Exiting reads a stat file.
func Exiting(stat []byte) bool { return exiting(stat) }

// DyingIn is Dying of the process with that directory.
func DyingIn(proc string) bool { return dying(proc) }

// CompletedAfter is Completed of a ring that has had that many completions, and since then those of waits 1 to n.
func CompletedAfter(had uint32, n int, f func(id uint64, err error)) {
	r := &FutexRing{done: make([]ringResult, 16)}
	var words [3]atomic.Uint32
	r.cq.head, r.cq.tail, r.sq.flags = &words[0], &words[1], &words[2]
	r.cq.head.Store(had)
	r.cq.tail.Store(had + uint32(n))
	for i := range n {
		r.done[(uint64(had)+uint64(i))%16].id = uint64(i + 1)
	}
	r.Completed(f)
}
