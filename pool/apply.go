package pool

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

// deadlineOf is ctx's deadline as CLOCK_MONOTONIC, 0 if it has none.
func deadlineOf(ctx context.Context) int64 {
	at, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(sys.Monotonic()+int64(min(time.Until(at), farthest)), 1)
}

// farthest is a deadline that is none, and far from overflow.
const farthest = 100 * 365 * 24 * time.Hour

// single is a call with one task.
type single[A, R any] struct {
	call
	t    *typed[A, R]
	c    *crew
	s    *state[R]
	stop func() bool
}

// receive implements receiver.
func (a *single[A, R]) receive(i int, o *outcome) {
	if !a.t.slowly(o) {
		a.set(o)
		return
	}
	o = o.own()
	a.c.decoding.Go(func() {
		a.set(o)
		o.done()
		runtime.KeepAlive(a.c)
	})
}

func (a *single[A, R]) set(o *outcome) {
	var v R
	err := a.t.decode(o, &v)
	if a.stop != nil {
		a.stop()
	}
	a.s.complete(v, err)
}

// ended implements receiver.
func (a *single[A, R]) ended() {}

// start gives the task to the pool; what goes wrong is the result.
func (a *single[A, R]) start(ctx context.Context, arg *A) {
	c, s := a.c, a.s
	fail := func(err error) {
		if a.stop != nil {
			a.stop()
		}
		var zero R
		s.complete(zero, err)
	}
	if a.t == nil {
		fail(errUnregistered)
		return
	}
	a.fn, a.to, a.only, a.full = &a.t.function, a, true, true
	ts := make([]task, 1) // it is copied
	if err := image(ctx, c, &a.call, a.t, &ts[0], arg); err != nil {
		fail(c.reason(err))
		return
	}
	err := c.begin(&a.call)
	if err == nil {
		_, err = c.give(&a.call, ts)
	}
	if err != nil {
		c.free(&ts[0])
		fail(err)
	}
}

// reason is the error of a call that failed before it began: a pool that is closed has no memory.
func (c *crew) reason(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	return err
}

// Apply runs f(a) on a worker and waits for it. When ctx ends, so does the task's context in the worker, and
// Apply returns ctx's error: at once, also if the task does not mind its context; it has the worker until it
// ends. An error of the task is a *process.RemoteError, a panic too.
func Apply[A, R any](ctx context.Context, p *Pool, f Func[A, R], a A) (r R, err error) {
	defer runtime.KeepAlive(p)
	if err := ctx.Err(); err != nil {
		return r, err
	}
	s := &state[R]{done: make(chan struct{})}
	x := &single[A, R]{t: f.f, c: p.c, s: s}
	x.deadline = deadlineOf(ctx)
	x.start(ctx, &a)
	select {
	case <-s.done:
	case <-ctx.Done():
		p.c.cancel(&x.call, ctx.Err(), context.Cause(ctx))
		<-s.done
	}
	return s.v, s.err
}

// ApplyAsync runs f(a) on a worker; errors of giving the task arrive in the result too. a is encoded before
// ApplyAsync returns. It waits only if a is large and the arguments of other tasks fill the segment
// (Options.Memory).
func ApplyAsync[A, R any](ctx context.Context, p *Pool, f Func[A, R], a A) *AsyncResult[R] {
	s := new(state[R])
	r := &AsyncResult[R]{s, p}
	x := &single[A, R]{t: f.f, c: p.c, s: s}
	s.cancel = func() { x.c.cancel(&x.call, context.Canceled, nil) }
	if err := ctx.Err(); err != nil {
		var zero R
		s.complete(zero, err)
		return r
	}
	x.deadline = deadlineOf(ctx)
	if ctx.Done() != nil {
		x.stop = context.AfterFunc(ctx, func() { x.c.cancel(&x.call, ctx.Err(), context.Cause(ctx)) })
	}
	x.start(ctx, &a)
	runtime.KeepAlive(p)
	return r
}

// image makes a task with an argument. It waits while the arguments of others take half of the segment, for
// results need room too, until ctx, or the call x, ends.
func image[A, R any](ctx context.Context, c *crew, x *call, t *typed[A, R], s *task, a *A) error {
	for {
		others := c.bytes.Load()
		err := t.image(c.seg, &s.img, a, others <= int64(c.dealer.size/2))
		if others == 0 || !errors.Is(err, shm.ErrNoSpace) {
			if err != nil {
				err = cmp.Or(c.why(x), err) // a pool that was terminated has no memory
			}
			return err
		}
		if over := c.why(x); over != nil {
			return over
		}
		select {
		case <-x.room:
		case <-time.After(time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
		if over := c.why(x); over != nil {
			return over
		}
	}
}
