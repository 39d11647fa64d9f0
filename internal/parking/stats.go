package parking

import "sync/atomic"

// Counters are running totals of this process.
type Counters struct {
	Threads  uint64 // that are in the kernel for waits now
	Waits    uint64 // that found the word as expected
	Wakes    uint64 // waits that ended without an error, and the word was another
	Spurious uint64 // waits that ended without an error, and the word was as before
}

var total struct{ waits, wakes, spurious atomic.Uint64 }

// Stats reads the counters, one after the other.
func Stats() Counters {
	groups.mu.Lock()
	threads := len(groups.all)
	groups.mu.Unlock()
	return Counters{uint64(threads) + uint64(direct.now.Load()), total.waits.Load(), total.wakes.Load(), total.spurious.Load()}
}
