// Package lifetime has the context of what runs for somebody in another process: it has that one's deadline from the
// beginning, and ends when, how and why it is told to.
//
// The contexts of the standard library cannot do that. A deadline ends them at its time with a cause that was
// known before; the other process, whose own context ends at the same time, tells the cause when it has ended.
package lifetime

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// slack is how long a Context waits, after its deadline, for the other process to say why. If that one is
// stopped, or slow, the Context ends without having heard of it.
const slack = 10 * time.Millisecond

// Context is a context.Context that ends when End is called, or soon after its deadline. Its methods may be
// called from any goroutine.
type Context struct {
	deadline time.Time
	ended    atomic.Pointer[ending]
	look     *look // nil where there are processors enough

	// What follows is made when somebody asks for it: most that runs never does.
	mu    sync.Mutex
	done  chan struct{}
	timer *time.Timer
	after map[*func()]struct{}
	// base ends first, and has the cause: context.Cause finds it through Value. Nobody sees its own end.
	base     context.Context
	setCause context.CancelCauseFunc
}

// ending is what Err returns, and why.
type ending struct{ err, cause error }

// New returns a Context with a deadline, or none if that is zero.
func New(deadline time.Time) *Context {
	c := &Context{deadline: deadline}
	if !deadline.IsZero() {
		c.mu.Lock()
		defer c.mu.Unlock()
		left := min(time.Until(deadline), math.MaxInt64-slack) // of a deadline that is far it is the longest there is
		c.timer = time.AfterFunc(left+slack, func() { c.End(context.DeadlineExceeded, nil) })
	}
	return c
}

// End ends c with err, which is context.Canceled or context.DeadlineExceeded; with no cause err is the cause.
// The first call counts.
func (c *Context) End(err, cause error) {
	if cause == nil {
		cause = err
	}
	c.mu.Lock()
	if c.ended.Load() != nil {
		c.mu.Unlock()
		return
	}
	if c.base != nil {
		c.setCause(cause)
	}
	c.ended.Store(&ending{err, cause})
	if c.done != nil {
		close(c.done)
	}
	if c.timer != nil {
		c.timer.Stop()
	}
	after := c.after
	c.after = nil
	c.mu.Unlock()
	for f := range after {
		go (*f)()
	}
}

// Deadline implements context.Context.
func (c *Context) Deadline() (deadline time.Time, ok bool) { return c.deadline, !c.deadline.IsZero() }

// Done implements context.Context.
func (c *Context) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended.Load() != nil {
			close(c.done)
		}
	}
	return c.done
}

// Err implements context.Context. It costs a load, and a little more after Look.
func (c *Context) Err() error {
	e := c.ended.Load()
	if e == nil && c.look != nil {
		c.look.call()
		e = c.ended.Load()
	}
	if e != nil {
		return e.err
	}
	return nil
}

// Look is for a process with one processor, before anybody else has c. A goroutine there that computes, and
// calls Err now and then, keeps the one that hears from the other process waiting for some 10 to 20 ms, for Go
// looks only so often whether something has come. So Err asks arrived, every half a millisecond or so, and lets
// others run when that is true.
func (c *Context) Look(arrived func() bool) { c.look = &look{arrived: arrived} }

// look counts calls, and from time to time takes the time, so that it costs little however often Err is called.
type look struct {
	arrived func() bool
	left    atomic.Int64 // calls until the next look at the clock

	mu   sync.Mutex
	size int64     // how many calls there were to be since
	at   time.Time // the last look
}

const (
	lookEvery = 500 * time.Microsecond
	lookMost  = 1 << 16               // calls between looks at the clock
	yield     = 50 * time.Microsecond // enough to find nothing to run, and to look for what has come
)

func (l *look) call() {
	if l.left.Add(-1) > 0 || !l.mu.TryLock() {
		return
	}
	now := time.Now()
	took := now.Sub(l.at)
	each := max(took/time.Duration(max(l.size, 1)), 1)
	l.size = min(max(int64(lookEvery/each), 1), lookMost, 2*max(l.size, 1))
	l.at = now
	l.left.Store(l.size)
	l.mu.Unlock()
	if took >= lookEvery/4 && l.arrived() {
		time.Sleep(yield)
	}
}

// Value implements context.Context; there are no values but what context.Cause asks for.
func (c *Context) Value(key any) any {
	c.mu.Lock()
	if c.base == nil {
		c.base, c.setCause = context.WithCancelCause(context.Background())
		if e := c.ended.Load(); e != nil {
			c.setCause(e.cause)
		}
	}
	base := c.base
	c.mu.Unlock()
	return base.Value(key)
}

// AfterFunc is what contexts that are derived from c use, so that they need no goroutine each: see context.AfterFunc.
func (c *Context) AfterFunc(f func()) (stop func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended.Load() != nil {
		go f()
		return func() bool { return false }
	}
	if c.after == nil {
		c.after = make(map[*func()]struct{})
	}
	key := &f
	c.after[key] = struct{}{}
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		_, waiting := c.after[key]
		delete(c.after, key)
		return waiting
	}
}

// String says what c is where contexts are printed.
func (c *Context) String() string { return "lifetime.Context" }
