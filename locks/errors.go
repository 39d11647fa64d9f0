package locks

import (
	"github.com/shoal-ipc/shoal/internal/barrier"
	"github.com/shoal-ipc/shoal/internal/permits"
	"github.com/shoal-ipc/shoal/internal/robust"
)

var (
	// ErrNotLocked is returned when a lock is released that is not held.
	ErrNotLocked = robust.ErrNotLocked
	// ErrOwnerDied is returned to every acquirer, none of which then holds the lock, from the death of an
	// owner until somebody's Recover has succeeded. It is returned in the same way when the owner lives, but left the
	// lock because the function that With ran panicked or ended its goroutine. Only Condition.Wait and WaitFor return it
	// with the lock held.
	ErrOwnerDied = robust.ErrOwnerDied
	// ErrNotOwner is returned when a process releases what another process holds, an Owner what another Owner holds, or
	// a process a permit of a semaphore with Recover of which it holds none.
	ErrNotOwner = robust.ErrNotOwner
	// ErrOverReleased is returned when a semaphore is released above the number of permits that it can have: a bounded one
	// its first value.
	ErrOverReleased = permits.ErrOverReleased
	// ErrBroken is returned from a barrier that was aborted, timed out or lost a party.
	ErrBroken = barrier.ErrBroken
)
