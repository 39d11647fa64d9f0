package ring

import "errors"

var (
	// ErrBusy is returned when a living process, or another handle in this one, has the end of a ring that was
	// asked for, when living processes have all cells of an MPMC, and when a Broadcast has as many readers as it can.
	ErrBusy = errors.New("ring: in use, the end or all places")
	// ErrKind is returned by Open… when the memory holds no ring of that kind, or one of other items or of
	// another format version.
	ErrKind = errors.New("ring: memory does not hold such a ring")
	// ErrCorrupt is returned when shared bytes contradict themselves.
	ErrCorrupt = errors.New("ring: corrupt")
)

// Peers tells a ring who this process is and which others are dead; a *shm.Segment is one. Its methods may be
// called from any goroutine.
type Peers interface {
	// Self is this process's owner id, which no other process has or had. 0 is nobody: a process that may look
	// but not own.
	Self() uint32
	// Dead reports whether the process with that id is known to be dead, so that it will never touch the ring
	// again. A stopped one is not.
	Dead(id uint32) bool
}
