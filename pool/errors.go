package pool

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
)

var (
	// ErrClosed is returned for tasks given to a pool after Close or Terminate.
	ErrClosed = errors.New("pool: closed")
	// ErrRunning is returned by Join before Close or Terminate.
	ErrRunning = errors.New("pool: still running")
	// ErrTerminated is the result of tasks that Terminate cut off.
	ErrTerminated = errors.New("pool: terminated")
	// ErrNotReady is returned by Successful too early.
	ErrNotReady = errors.New("pool: result not ready")
)

// WorkerDiedError is the result of the task that a worker had begun when it died.
type WorkerDiedError struct {
	Pid      int
	Signal   syscall.Signal // 0 if none
	ExitCode int            // -N after signal N
	Task     string         // the function's name
}

// Error implements error.
func (e *WorkerDiedError) Error() string {
	how := fmt.Sprintf("exit code %d", e.ExitCode)
	if e.Signal != 0 {
		how = fmt.Sprintf("signal %d (%v)", int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("pool: worker (pid %d) died in task %s: %s", e.Pid, e.Task, how)
}

// MapError says which items failed.
type MapError struct {
	Len    int         // of the input
	Failed []ItemError // by index
}

// ItemError is one item's failure.
type ItemError struct {
	Index int
	Err   error
}

// shown is how many failures the text of a MapError tells.
const shown = 3

// Error implements error.
func (e *MapError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pool: %d of %d items failed", len(e.Failed), e.Len)
	for i, f := range e.Failed {
		if i == shown {
			fmt.Fprintf(&b, "; and %d more", len(e.Failed)-shown)
			break
		}
		fmt.Fprintf(&b, "; item %d: %v", f.Index, f.Err)
	}
	return b.String()
}

// Unwrap gives the items' errors to errors.Is and errors.As.
func (e *MapError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f.Err
	}
	return errs
}
