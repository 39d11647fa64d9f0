package shm

import "errors"

var (
	// ErrKind is returned by Open… when the name belongs to an object of another kind or element type.
	ErrKind = errors.New("shm: object of another kind or type")
	// ErrNoSpace is returned when the segment, or the memory behind it (then also syscall.ENOSPC), is full.
	ErrNoSpace = errors.New("shm: no space left")
	// ErrCorrupt is returned when shared bytes contradict themselves.
	ErrCorrupt = errors.New("shm: corrupt")
	// ErrVersion is returned when a segment has another format version.
	ErrVersion = errors.New("shm: format version not supported")
	// ErrSize is returned when an existing segment is smaller than asked.
	ErrSize = errors.New("shm: existing segment is smaller than asked")
	// ErrUnreachable is returned when a handle arrives from a segment that this process cannot map: its parent did
	// not hand it over, no process of the tree that it belongs to gave it when asked, and it has no name, or the name
	// leads to nothing, to another segment, or to one that this process may not open.
	ErrUnreachable = errors.New("shm: segment not reachable from this process")
	// ErrForked is returned in a process that was forked (by C or Python, without exec) from one that has
	// segments mapped. It has none of them: see the package's documentation.
	ErrForked = errors.New("shm: used after fork")
	// ErrStale is returned for a handle of an object that is not there any more.
	ErrStale = errors.New("shm: object has been freed")
	// ErrType is returned (and is the panic of process.Register) when a type cannot cross or be shared.
	ErrType = errors.New("shm: type cannot be shared")
)
