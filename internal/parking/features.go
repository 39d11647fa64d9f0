package parking

import (
	"sync"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/sys"
)

var hasWaitv = sync.OnceValue(sys.HasWaitv)

// forced leaves out, in tests, what there is a fallback for: futex_waitv, the first part of a sleep, sleeping directly.
var forced struct{ noWaitv, noBrief, noDirect atomic.Bool }

func waitv() bool { return hasWaitv() && !forced.noWaitv.Load() }
