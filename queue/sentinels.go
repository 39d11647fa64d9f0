package queue

import "github.com/shoal-ipc/shoal/internal/sentinel"

// errors.Is finds these in the error of a process or of a task, too.
var (
	_ = sentinel.Add("queue.ErrFull", ErrFull)
	_ = sentinel.Add("queue.ErrEmpty", ErrEmpty)
	_ = sentinel.Add("queue.ErrShutdown", ErrShutdown)
	_ = sentinel.Add("queue.ErrTaskDone", ErrTaskDone)
)
