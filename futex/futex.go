package futex

import (
	"context"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/parking"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// Wait sleeps while *w is old, until a wake, ctx is done, or about a second has passed; nil says nothing
// about *w: look again. A call that finds *w different returns nil, also when ctx is done. The errors are
// ctx's, context.DeadlineExceeded itself when the context's deadline ended the sleep.
func Wait(ctx context.Context, w *atomic.Uint32, old uint32) error {
	return parking.Wait(ctx, w, old, nil)
}

// Wake wakes at most n sleepers of any process on w and returns how many kernel waiters that were; it never
// blocks.
func Wake(w *atomic.Uint32, n int) int {
	if n <= 0 {
		return 0
	}
	return sys.FutexWake(w, n)
}

// Kick makes the waits of this process on words in mem return, as if woken, and returns how many. Those that are in
// their first 5 ms are not among them.
func Kick(mem []byte) int { return parking.Kick(mem) }
