package parking

import (
	"sync"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/sys"
)

var hasWaitv = sync.OnceValue(sys.HasWaitv)

// noWaitv forces the fallback, noBrief leaves out the first part of a sleep, in tests.
var noWaitv, noBrief atomic.Bool

func waitv() bool { return hasWaitv() && !noWaitv.Load() }
