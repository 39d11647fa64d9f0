package wait

import (
	"sync"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// forced leaves out, in tests, what there is a fallback for: being registered, calling for barriers, asking for FENCED; and,
// to see that the tests notice, the barrier itself, without saying so.
var forced struct{ unregistered, refused, unasked, blind atomic.Bool }

// register registers this process, once.
var register = sync.OnceValue(sys.RegisterBarrier)

// registered reports whether this process may publish without a fence, because the barriers of sleepers reach it; it
// registers for them when first asked.
func registered() bool {
	return !atomics.PublishIsFenced && !forced.unregistered.Load() && register()
}

// barrier calls for a full barrier in all who are registered, and reports whether there was one.
func barrier() bool {
	switch {
	case forced.refused.Load():
		return false
	case forced.blind.Load():
		return true
	}
	return sys.Barrier()
}
