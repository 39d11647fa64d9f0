package pool

import (
	"context"
	"iter"
	"runtime"
	"sync"
	"time"
)

// imap is an Imap, or ImapUnordered.
type imap[A, R any] struct {
	call
	t      *typed[A, R]
	c      *crew
	o      MapOptions
	signal chan struct{} // a token, when there is something new for who yields

	mu      sync.Mutex
	got     []item[R]
	taken   int // from the input, or about to be
	given   int // of these, to the pool: each comes to put once
	yielded int
	waiting bool // who takes from the input waits for the window
	moved   chan struct{}
	done    bool // no more is taken
	left    bool // nobody yields any more, so nothing is given
	panics  any  // what the input panicked with
}

type item[R any] struct {
	i   int
	v   R
	err error
}

// receive implements receiver.
func (m *imap[A, R]) receive(i int, o *outcome) {
	if !m.t.slowly(o) {
		m.set(i, o)
		return
	}
	o = o.own()
	m.c.decoding.Go(func() {
		m.set(i, o)
		o.done()
		runtime.KeepAlive(m.c)
	})
}

// ended implements receiver.
func (m *imap[A, R]) ended() {}

func (m *imap[A, R]) set(i int, o *outcome) {
	it := item[R]{i: i}
	it.err = m.t.decode(o, &it.v)
	m.put(it)
}

func (m *imap[A, R]) put(it item[R]) {
	m.mu.Lock()
	m.got = append(m.got, it)
	m.mu.Unlock()
	m.tell()
}

func (m *imap[A, R]) tell() {
	select {
	case m.signal <- struct{}{}:
	default:
	}
}

// window is how many items may be taken and not yielded.
func (m *imap[A, R]) window() int {
	if m.o.Window > 0 {
		return m.o.Window
	}
	least := 4 * max(m.o.ChunkSize, 1) * m.c.size
	each := m.fn.each.Load()
	if each == 0 {
		return least
	}
	return max(least, min(int(2*aheadFor/time.Duration(each)), slots)*m.c.size)
}

// enter waits until one more item may be taken from the input; it is false if none is wanted.
func (m *imap[A, R]) enter() bool {
	for {
		m.mu.Lock()
		if m.taken-m.yielded < m.window() {
			m.taken++
			m.mu.Unlock()
			select {
			case <-m.gone:
				return false
			default:
				return true
			}
		}
		m.waiting = true
		m.mu.Unlock()
		select {
		case <-m.moved:
		case <-m.gone:
			return false
		}
	}
}

// feed takes the input. It runs in a goroutine of its own, for the input may wait for what is yielded.
func (m *imap[A, R]) feed(xs iter.Seq[A]) {
	normal := false
	defer func() {
		m.mu.Lock()
		if !normal {
			m.panics = recover() // nil: the input ended the goroutine, hence itself
		}
		m.done = true
		m.mu.Unlock()
		m.c.fill(&m.call)
		m.tell()
	}()
	if m.enter() {
		for x := range xs {
			i, ok := m.number()
			if !ok || !m.one(i, &x) || !m.enter() {
				break
			}
		}
	}
	normal = true
}

// number is the place of an item that is about to be given; ok is false if nobody would yield its result.
func (m *imap[A, R]) number() (i int, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left {
		return 0, false
	}
	m.given++
	return m.given - 1, true
}

// one gives a task; it is false if the call is over.
func (m *imap[A, R]) one(i int, x *A) bool {
	var ts [1]task
	ts[0].i = i
	if err := image(context.Background(), m.c, &m.call, m.t, &ts[0], x); err != nil {
		m.put(item[R]{i: i, err: err})
		return true
	}
	more, err := m.c.give(&m.call, ts[:])
	if err != nil {
		m.c.free(&ts[0])
		m.put(item[R]{i: i, err: err})
		return false
	}
	if !more {
		select {
		case <-m.room:
		case <-m.gone:
		}
	}
	return true
}

// Imap yields results in the order of the input, which may be endless; ImapUnordered as they come. A failed item is an
// error in its place and the iteration goes on. When ctx ends, or the pool is terminated, the items under way fail with the error
// of that, no more are taken, and the loop ends, also while the input waits for something; at least one error is yielded. Results
// that are there already are yielded still: who wants none of them leaves the loop, which cancels what is under way.
//
// The input is taken a window ahead (MapOptions), in a goroutine of its own, which may still be in it after the loop has ended
// early: it ends when the input next yields. A panic in the input comes out of the loop, if that has not ended, after the results of
// what was taken before.
func Imap[A, R any](ctx context.Context, p *Pool, f Func[A, R], xs iter.Seq[A], opts ...MapOptions) iter.Seq2[R, error] {
	o := mapOptions(opts)
	return func(yield func(R, error) bool) { iterate(ctx, p, f, xs, o, true, yield) }
}

// ImapUnordered is Imap, but yields results as they come.
func ImapUnordered[A, R any](ctx context.Context, p *Pool, f Func[A, R], xs iter.Seq[A], opts ...MapOptions) iter.Seq2[R, error] {
	o := mapOptions(opts)
	return func(yield func(R, error) bool) { iterate(ctx, p, f, xs, o, false, yield) }
}

func iterate[A, R any](ctx context.Context, p *Pool, f Func[A, R], xs iter.Seq[A], o MapOptions, ordered bool, yield func(R, error) bool) {
	defer runtime.KeepAlive(p)
	var zero R
	if f.f == nil {
		yield(zero, errUnregistered)
		return
	}
	if err := ctx.Err(); err != nil {
		yield(zero, err)
		return
	}
	m := &imap[A, R]{t: f.f, c: p.c, o: o, signal: make(chan struct{}, 1), moved: make(chan struct{}, 1)}
	m.prepare(ctx, &f.f.function, m, o)
	if err := p.c.begin(&m.call); err != nil {
		yield(zero, err)
		return
	}
	defer p.c.cancel(&m.call, context.Canceled, nil)
	if ctx.Done() != nil {
		defer context.AfterFunc(ctx, func() { p.c.cancel(&m.call, ctx.Err(), context.Cause(ctx)) })()
	}
	go m.feed(xs)

	var got []item[R]
	later := make(map[int]item[R]) // that came before their turn
	next, failed := 0, false
	gone := m.gone // nil when the call is seen to be over
	emit := func(it item[R]) bool {
		next++
		failed = failed || it.err != nil
		return yield(it.v, it.err)
	}
	for {
		m.mu.Lock()
		got, m.got = m.got, got[:0]
		m.yielded = next
		if m.waiting && m.taken-m.yielded < m.window() {
			m.waiting = false
			select {
			case m.moved <- struct{}{}:
			default:
			}
		}
		ended := (m.done || gone == nil) && next == m.given
		m.left = ended
		panics := m.panics
		m.mu.Unlock()
		if len(got) == 0 {
			if ended {
				if panics != nil {
					panic(panics)
				}
				break
			}
			select {
			case <-m.signal:
			case <-gone: // what was given has failed, or will; for the input, which may wait for ever, nobody waits
				gone = nil
			}
			continue
		}
		for k := range got {
			it := got[k]
			got[k] = item[R]{}
			if !ordered {
				if !emit(it) {
					return
				}
				continue
			}
			if it.i != next {
				later[it.i] = it
				continue
			}
			for ok := true; ok; {
				if !emit(it) {
					return
				}
				if it, ok = later[next]; ok {
					delete(later, next)
				}
			}
		}
	}
	if over := p.c.why(&m.call); over != nil && !failed {
		yield(zero, over)
	}
}

// why says why a call is over, if it is by force.
func (c *crew) why(x *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return x.over
}
