package pool

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
)

// AsyncResult is a result that is, or will be, there. It completes exactly once, whatever happens. All methods
// may be called from any goroutine. A pool whose results somebody still waits for is not garbage.
type AsyncResult[R any] struct {
	s *state[R]
	p *Pool
}

// state is an AsyncResult without what the pool must not hold.
type state[R any] struct {
	v      R
	err    error
	over   atomic.Bool // v and err are final
	cancel func()

	mu   sync.Mutex
	done chan struct{} // nil until somebody asks for it
	then []func()
}

// complete sets the result, if it is the first to.
func (s *state[R]) complete(v R, err error) {
	s.mu.Lock()
	if s.over.Load() {
		s.mu.Unlock()
		return
	}
	s.v, s.err = v, err
	s.over.Store(true)
	if s.done != nil {
		close(s.done)
	}
	then := s.then
	s.then = nil
	s.mu.Unlock()
	for _, f := range then {
		go f()
	}
}

// wait is a channel that is closed when the result is there.
func (s *state[R]) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done == nil {
		s.done = make(chan struct{})
		if s.over.Load() {
			close(s.done)
		}
	}
	return s.done
}

// Get waits for the result; it may be called again. When ctx ends before it is there, that is the error, and
// the task goes on.
func (r *AsyncResult[R]) Get(ctx context.Context) (v R, err error) {
	if err := r.Wait(ctx); err != nil {
		return v, err
	}
	return r.s.v, r.s.err
}

// Wait waits until the result is ready; its error is only ctx's.
func (r *AsyncResult[R]) Wait(ctx context.Context) error {
	defer runtime.KeepAlive(r)
	if r.s.over.Load() {
		return nil
	}
	select {
	case <-r.s.wait():
		return nil
	case <-ctx.Done():
		if r.s.over.Load() {
			return nil
		}
		return ctx.Err()
	}
}

// Done is closed when the result is ready.
func (r *AsyncResult[R]) Done() <-chan struct{} {
	defer runtime.KeepAlive(r)
	return r.s.wait()
}

// Ready reports whether the result is ready.
func (r *AsyncResult[R]) Ready() bool {
	defer runtime.KeepAlive(r)
	return r.s.over.Load()
}

// Successful reports whether it ended without an error; the error is ErrNotReady if it has not ended.
func (r *AsyncResult[R]) Successful() (bool, error) {
	defer runtime.KeepAlive(r)
	if !r.s.over.Load() {
		return false, ErrNotReady
	}
	return r.s.err == nil, nil
}

// OnDone calls f, in a goroutine of its own, with the result. f may block without harm to the pool; if it
// panics, that is written to the standard error.
func (r *AsyncResult[R]) OnDone(f func(v R, err error)) {
	s, p := r.s, r.p
	then := func() {
		defer runtime.KeepAlive(p)
		defer func() {
			if v := recover(); v != nil {
				fmt.Fprintf(os.Stderr, "pool: OnDone: panic: %v\n%s", v, debug.Stack())
			}
		}()
		f(s.v, s.err)
	}
	s.mu.Lock()
	if !s.over.Load() {
		s.then = append(s.then, then)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	go then()
}

// Cancel ends the task's context; a task that has not begun does not begin. The result is context.Canceled, if
// it is not there yet, and of a task that has begun it does not wait for the end.
func (r *AsyncResult[R]) Cancel() {
	defer runtime.KeepAlive(r)
	if !r.s.over.Load() {
		r.s.cancel()
	}
}
