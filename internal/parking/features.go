package parking

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
)

var hasWaitv = sync.OnceValue(sys.HasWaitv)

// hasRing is whether the kernel waits for words on an io_uring, and lets this process.
var hasRing = sync.OnceValue(func() bool {
	r, err := sys.NewFutexRing(1)
	if err == nil {
		r.Close()
	}
	return err == nil
})

// forced leaves out, in tests, what there is a fallback for: futex_waitv, the ring, the first part of a sleep, sleeping
// directly; and what makes up for a lost wake, the cap.
var forced struct{ noWaitv, noRing, noBrief, noDirect, noCap atomic.Bool }

func waitv() bool { return hasWaitv() && !forced.noWaitv.Load() }

// sleepCap is the longest time in one sleep.
func sleepCap() time.Duration {
	if forced.noCap.Load() {
		return time.Hour
	}
	return waitCap
}
