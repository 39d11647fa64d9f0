package pool

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
)

// MapOptions are the rarer wishes of Map, MapAsync, Imap and ImapUnordered.
type MapOptions struct {
	// ChunkSize is how many items go to a worker at once. 0 means as many as suits how long they take: one, if
	// that is a millisecond or more. Each item is a task of its own in any case: if its worker dies no other is
	// lost, and what a worker has not begun is given to others when it takes too long.
	ChunkSize int
	// Window is how many items Imap and ImapUnordered take from the input that they have not yielded. 0 means
	// four chunks for each worker, and more while items take less than that is good for.
	Window int
}

// mapOptions are the MapOptions that a caller gave or left out.
func mapOptions(opts []MapOptions) MapOptions {
	switch len(opts) {
	case 0:
		return MapOptions{}
	case 1:
		if opts[0].ChunkSize < 0 || opts[0].Window < 0 {
			panic(errors.New("pool: MapOptions that are less than 0"))
		}
		return opts[0]
	}
	panic(errors.New("pool: more than one MapOptions"))
}

// mapping is a Map.
type mapping[A, R any] struct {
	call
	t    *typed[A, R]
	c    *crew
	out  []R
	left atomic.Int64 // items without a result
	end  func(out []R, err error)

	mu     sync.Mutex
	failed []ItemError
}

// receive implements receiver.
func (m *mapping[A, R]) receive(i int, o *outcome) {
	if !m.t.slowly(o) {
		m.set(i, m.t.decode(o, &m.out[i]))
		return
	}
	o = o.own()
	m.c.decoding.Go(func() {
		m.set(i, m.t.decode(o, &m.out[i]))
		o.done()
		runtime.KeepAlive(m.c)
	})
}

// ended implements receiver.
func (m *mapping[A, R]) ended() {}

// set notes that item i has its result.
func (m *mapping[A, R]) set(i int, err error) {
	if err != nil {
		m.mu.Lock()
		m.failed = append(m.failed, ItemError{i, err})
		m.mu.Unlock()
	}
	if m.left.Add(-1) > 0 {
		return
	}
	if len(m.failed) == 0 {
		m.end(m.out, nil)
		return
	}
	slices.SortFunc(m.failed, func(a, b ItemError) int { return cmp.Compare(a.Index, b.Index) })
	m.end(m.out, &MapError{Len: len(m.out), Failed: m.failed})
}

// batch is how many tasks are given at once.
const batch = 64

// feed gives the tasks. It returns when all are given, or the call is over.
func (m *mapping[A, R]) feed(xs []A) {
	var ts [batch]task
	for i := 0; i < len(xs); {
		n, bytes := 0, 0
		for ; i < len(xs) && n < batch && bytes < 64<<10; i++ {
			t := &ts[n]
			*t = task{i: i}
			if err := image(context.Background(), m.c, &m.call, m.t, t, &xs[i]); err != nil {
				m.set(i, err)
				continue
			}
			bytes += int(t.img.size)
			n++
		}
		more, err := m.c.give(&m.call, ts[:n])
		if err != nil {
			for k := range ts[:n] {
				m.c.free(&ts[k])
				m.set(ts[k].i, err)
			}
			for ; i < len(xs); i++ {
				m.set(i, err)
			}
			break
		}
		if !more {
			select {
			case <-m.room:
			case <-m.gone:
			}
		}
	}
	m.c.fill(&m.call)
}

// Map runs f on every x and returns the results in order. If some fail the error is a *MapError, and the
// results of the others are there. When ctx ends those that have no result then have failed with its error.
func Map[A, R any](ctx context.Context, p *Pool, f Func[A, R], xs []A, opts ...MapOptions) ([]R, error) {
	defer runtime.KeepAlive(p)
	m, err := newMapping(ctx, p, f, xs, opts)
	if m == nil {
		return make([]R, 0), err
	}
	done := make(chan struct{})
	var failed error
	m.end = func(_ []R, err error) {
		failed = err
		close(done)
	}
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { p.c.cancel(&m.call, ctx.Err(), context.Cause(ctx)) })()
	}
	m.feed(xs)
	<-done
	return m.out, failed
}

// MapAsync is Map without waiting. xs must not change until the result is there.
func MapAsync[A, R any](ctx context.Context, p *Pool, f Func[A, R], xs []A, opts ...MapOptions) *AsyncResult[[]R] {
	s := new(state[[]R])
	r := &AsyncResult[[]R]{s, p}
	m, err := newMapping(ctx, p, f, xs, opts)
	if m == nil {
		s.complete(make([]R, 0), err)
		return r
	}
	c := p.c
	s.cancel = func() { c.cancel(&m.call, context.Canceled, nil) }
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { c.cancel(&m.call, ctx.Err(), context.Cause(ctx)) })
	}
	m.end = func(out []R, err error) {
		stop()
		s.complete(out, err)
	}
	go m.feed(xs)
	runtime.KeepAlive(p)
	return r
}

// newMapping opens a Map; it is nil if there is nothing to do, or an error.
func newMapping[A, R any](ctx context.Context, p *Pool, f Func[A, R], xs []A, opts []MapOptions) (*mapping[A, R], error) {
	o := mapOptions(opts)
	if f.f == nil {
		return nil, errUnregistered
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	m := &mapping[A, R]{t: f.f, c: p.c, out: make([]R, len(xs))}
	m.left.Store(int64(len(xs)))
	m.prepare(ctx, &f.f.function, m, o)
	if err := p.c.begin(&m.call); err != nil {
		return nil, err
	}
	if len(xs) == 0 {
		p.c.fill(&m.call)
		return nil, nil
	}
	return m, nil
}

// prepare fills in what calls of several tasks have in common.
func (x *call) prepare(ctx context.Context, fn *function, to receiver, o MapOptions) {
	x.fn, x.to, x.chunk, x.deadline = fn, to, o.ChunkSize, deadlineOf(ctx)
	x.room, x.gone = make(chan struct{}, 1), make(chan struct{})
}
