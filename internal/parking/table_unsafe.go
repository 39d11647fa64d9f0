package parking

import (
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"
)

// table has every goroutine of this process that waits, in a shard by the word that it waits for, so that those who come
// and go seldom meet at one mutex. It is empty when nobody waits.
var table [shards]shard

const (
	shardBits = 6
	shards    = 1 << shardBits
)

// shard is what waits for a part of all words.
type shard struct {
	mu      sync.Mutex         // before groups.mu
	lines   map[lineKey]*Place // those who are first
	entries map[entryKey]*entry
	direct  *waiter // the first of those that sleep in the kernel themselves
	debts   []debt
}

// shardOf is the shard of a word.
func shardOf(w *atomic.Uint32) *shard {
	const golden = 0x9e3779b1 // 2^32 divided by the golden ratio: near addresses come to lie far apart
	return &table[uint32(uintptr(unsafe.Pointer(w))>>2)*golden>>(32-shardBits)]
}

// Kick ends the waits of this process on words in mem that are over, or have nothing to ask, and returns how many. Those
// that are in their first part are not among them: they ask over when that ends.
func Kick(mem []byte) (n int) {
	from := uintptr(unsafe.Pointer(unsafe.SliceData(mem)))
	to := from + uintptr(len(mem))
	in := func(w *atomic.Uint32) bool {
		at := uintptr(unsafe.Pointer(w))
		return from <= at && at < to
	}
	for i := range table {
		s := &table[i]
		s.mu.Lock()
		n += s.kickLines(in) + s.kickDirect(in) + s.kickEntries(in)
		words, _ := s.take(make([]*atomic.Uint32, 0, len(s.debts)), in)
		wakeEach(words)
		s.mu.Unlock()
	}
	runtime.KeepAlive(mem)
	return n
}
