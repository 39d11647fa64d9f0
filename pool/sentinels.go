package pool

import "github.com/shoal-ipc/shoal/internal/sentinel"

// errors.Is finds these in the error of a process or of a task, too.
var (
	_ = sentinel.Add("pool.ErrClosed", ErrClosed)
	_ = sentinel.Add("pool.ErrRunning", ErrRunning)
	_ = sentinel.Add("pool.ErrTerminated", ErrTerminated)
	_ = sentinel.Add("pool.ErrNotReady", ErrNotReady)
)
