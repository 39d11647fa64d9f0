package queue

import (
	"errors"
	"fmt"
)

var (
	// ErrFull is returned by TryPut on a full queue.
	ErrFull = errors.New("queue: full")
	// ErrEmpty is returned by TryGet on an empty queue.
	ErrEmpty = errors.New("queue: empty")
	// ErrShutdown is returned by puts after Shutdown, and by gets once the queue is also empty.
	ErrShutdown = errors.New("queue: shut down")
	// ErrTaskDone is returned by TaskDone called more often than items were got.
	ErrTaskDone = errors.New("queue: TaskDone called too often")
)

// LostError is returned by Join when consumers died between Get and TaskDone.
type LostError struct {
	Items int // that nobody will deal with, and that this handle's Join has not reported before
}

// Error implements error.
func (e *LostError) Error() string {
	if e.Items == 1 {
		return "queue: a consumer died with an item in hand"
	}
	return fmt.Sprintf("queue: consumers died with %d items in hand", e.Items)
}
