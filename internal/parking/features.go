package parking

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
)

var hasWaitv = sync.OnceValue(sys.HasWaitv)

// forced leaves out, in tests, what there is a fallback for: futex_waitv, the first part of a sleep, sleeping directly; and
// what makes up for a lost wake, the cap.
var forced struct{ noWaitv, noBrief, noDirect, noCap atomic.Bool }

func waitv() bool { return hasWaitv() && !forced.noWaitv.Load() }

// sleepCap is the longest time in one sleep.
func sleepCap() time.Duration {
	if forced.noCap.Load() {
		return time.Hour
	}
	return waitCap
}
