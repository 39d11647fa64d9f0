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

// registration is that of this process for barriers.
var registration struct {
	begin sync.Once
	begun atomic.Bool   // over is there
	over  chan struct{} // closed when it has been tried
	made  atomic.Bool
}

// Settle waits until it is known whether this process can be registered for barriers, if it has begun to. A measurement does so
// first: for the few milliseconds that it takes each publication costs a fence.
func Settle() {
	if registration.begun.Load() && !registered() {
		<-registration.over
	}
}

// registered reports whether this process may publish without a fence, because the barriers of sleepers reach it. When first
// asked it begins to register for them: a process of several threads waits some milliseconds for that in the kernel,
// which nobody else needs to. Until then it fences.
func registered() bool {
	if atomics.PublishIsFenced || forced.unregistered.Load() {
		return false
	}
	if !registration.made.Load() {
		registration.begin.Do(func() {
			registration.over = make(chan struct{})
			registration.begun.Store(true)
			go func() {
				registration.made.Store(sys.RegisterBarrier())
				close(registration.over)
			}()
		})
	}
	return registration.made.Load()
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
