// Package locks has Python's synchronisation objects in shared memory, between goroutines and processes alike.
//
// An error never comes with ownership: when Acquire returns one, the caller does not hold the lock.
//
// # Layout
//
// The payload of a lock; docs/LAYOUT.md and package robust have its states.
//
//	0   8   owner word   whoever takes or frees the lock, marks its owner dead, or waits; CAS
//
// Those of semaphores and events are in package permits.
package locks
