package parking

import (
	"context"
	"sync"
	"sync/atomic"
)

// Place is a goroutine's place in the line of this process for one word. Only who is first goes on, to the kernel if need
// be; so a process has one waiter there, however many of its goroutines want the same, and a wake lets one of them look.
type Place struct {
	key  lineKey
	turn chan struct{} // has room for one
	over func() bool
	next *Place
}

// lineKey is the word, and who waits: a test has several participants in one process.
type lineKey struct {
	word *atomic.Uint32
	self uint32
}

// lineup is a line: those behind the first.
type lineup struct{ second, last *Place }

// lines has the lines of this process. It is empty when nobody is in one.
var lines lineTable

type lineTable struct {
	mu sync.Mutex
	by map[lineKey]*lineup
}

var places = sync.Pool{New: func() any { return &Place{turn: make(chan struct{}, 1)} }}

// Enter waits until nobody else is before this goroutine in the line for w, where self is this process's owner id, and
// returns its place, which it must leave. With an error, ctx's, it has none; nor has it if the place is nil: then over is
// true, which is asked as in Wait.
func Enter(ctx context.Context, w *atomic.Uint32, self uint32, over func() bool) (*Place, error) {
	p := places.Get().(*Place)
	p.key, p.over = lineKey{w, self}, over
	if lines.first(p) {
		return p, nil
	}
	if !over() { // PAIRS WITH kick
		select {
		case <-p.turn:
			if p.key.word == nil {
				places.Put(p)
				return nil, nil
			}
			return p, nil
		case <-ctx.Done():
		}
	}
	if !lines.remove(p) {
		if <-p.turn; p.key.word != nil {
			p.Leave() // the next looks; this one has not slept on the word
		} else {
			places.Put(p)
		}
		return nil, ctx.Err()
	}
	places.Put(p)
	return nil, ctx.Err()
}

// first enters p and reports whether it is the first.
func (t *lineTable) first(p *Place) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.by[p.key]
	if l == nil {
		if t.by == nil {
			t.by = make(map[lineKey]*lineup)
		}
		t.by[p.key] = new(lineup)
		return true
	}
	p.next = nil
	if l.last != nil {
		l.last.next = p
	} else {
		l.second = p
	}
	l.last = p
	return false
}

// remove takes p out, unless it has been told to go on already.
func (t *lineTable) remove(p *Place) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	l := t.by[p.key]
	if l == nil {
		return false
	}
	return l.remove(p)
}

func (l *lineup) remove(p *Place) bool {
	var before *Place
	for q := l.second; q != nil; before, q = q, q.next {
		if q != p {
			continue
		}
		if before == nil {
			l.second = p.next
		} else {
			before.next = p.next
		}
		if l.last == p {
			l.last = before
		}
		p.next = nil
		return true
	}
	return false
}

// Leave lets the next go on.
func (p *Place) Leave() {
	lines.mu.Lock()
	l := lines.by[p.key]
	if n := l.second; n != nil {
		l.second, n.next = n.next, nil
		if l.second == nil {
			l.last = nil
		}
		n.turn <- struct{}{}
	} else {
		delete(lines.by, p.key)
	}
	lines.mu.Unlock()
	p.key, p.over = lineKey{}, nil
	places.Put(p)
}

// kick tells those to leave who are in line for a word in the given memory and whose wait is over.
func (t *lineTable) kick(in func(w *atomic.Uint32) bool) (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, l := range t.by {
		if !in(key.word) {
			continue
		}
		for p := l.second; p != nil; {
			next := p.next
			if p.over() {
				l.remove(p)
				p.key = lineKey{}
				p.turn <- struct{}{}
				n++
			}
			p = next
		}
	}
	return n
}
