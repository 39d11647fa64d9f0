package locks

import "github.com/shoal-ipc/shoal/internal/robust"

var (
	// ErrNotLocked is returned when a lock is released that is not held.
	ErrNotLocked = robust.ErrNotLocked
	// ErrOwnerDied is returned to every acquirer, none of which then holds the lock, from the death of an
	// owner until somebody's Recover has succeeded.
	ErrOwnerDied = robust.ErrOwnerDied
	// ErrNotOwner is returned when a process releases what another process holds, or an Owner what another Owner holds.
	ErrNotOwner = robust.ErrNotOwner
)
