package futex

import "github.com/shoal-ipc/shoal/internal/parking"

// Counters are running totals of this process.
type Counters struct {
	Threads  uint64 // that are in the kernel for waits now
	Waits    uint64 // that found the word as expected
	Wakes    uint64 // waits that ended without an error, and the word was another
	Spurious uint64 // waits that ended without an error, and the word was as before
}

// Stats reads the counters. What waits in this module is counted, too.
func Stats() Counters { return Counters(parking.Stats()) }
