// Package locks has Python's synchronisation objects in shared memory, between goroutines and processes alike.
//
// An error never comes with ownership: when Acquire returns one, the caller does not hold the lock. The exception is a
// Condition: its Wait and WaitFor, which are called with the lock held, return with it held, also with an error (but
// os.ErrClosed), so that `defer c.Release()` after Acquire is right.
//
// # Layout
//
// The payload of a lock; docs/LAYOUT.md and package robust have its states.
//
//	0   8   owner word   whoever takes or frees the lock, marks its owner dead, or waits; CAS
//
// The payload of a recursive lock:
//
//	0   8   owner word   the same
//	8   8   tag          the number of the Owner that holds the lock, 0 if it is not known; who holds it, release
//
// Those of semaphores and events are in package permits, that of a reader-writer lock is in package rw, that of a barrier in
// package barrier, and that of a condition in package condition.
package locks
