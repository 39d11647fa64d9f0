package futex

import "github.com/shoal-ipc/shoal/internal/parking"

// Counters are what waiting costs this process: how many of its threads do it now, and running totals. What ends with
// the error of its context is in neither Wakes nor Spurious.
type Counters struct {
	Threads  uint64 // that are in the kernel for waits now
	Waits    uint64 // that found the word as expected
	Wakes    uint64 // waits that ended without an error, and the word was another
	Spurious uint64 // waits that ended without an error, and the word was as before
}

// Stats reads the counters. What waits in this module is counted, too, but goroutines that wait for one
// lock, semaphore or event may count as one wait.
func Stats() Counters { return Counters(parking.Stats()) }
