package parking

import (
	"context"
	"sync"
	"sync/atomic"
)

// Place is a goroutine's place in the line of this process for one word. Only who is first goes on, to the kernel if need
// be; so a process has one waiter there, however many of its goroutines want the same, and a wake lets one of them look.
type Place struct {
	key        lineKey
	turn       chan struct{} // has room for one
	over       func() bool
	waits      bool   // stands behind the first; the shard's mutex guards it and the links
	next, prev *Place // behind the first
	behind     lineup // of who is first
}

// lineKey is the word, and the line for it.
type lineKey struct {
	word *atomic.Uint32
	line uint64
}

// lineup is those behind the first.
type lineup struct{ second, last *Place }

var places = sync.Pool{New: func() any { return &Place{turn: make(chan struct{}, 1)} }}

// Enter waits until nobody else is before this goroutine in a line for w, and returns its place, which it must leave. line
// tells apart the lines for a word: those of the participants that a test has in one process, and of those who wait for
// other things. With an error, ctx's, it has none; nor has it if the place is nil: then over is
// true, which is asked as in Sleep.
func Enter(ctx context.Context, w *atomic.Uint32, line uint64, over func() bool) (*Place, error) {
	p := places.Get().(*Place)
	p.key, p.over = lineKey{w, line}, over
	s := shardOf(w)
	if s.enter(p) {
		return p, nil
	}
	if !over() { // PAIRS WITH kick
		select {
		case <-p.turn:
			if p.key.word == nil {
				p.put()
				return nil, nil
			}
			return p, nil
		case <-ctx.Done():
		}
	}
	if !s.giveUp(p) {
		if <-p.turn; p.key.word != nil {
			p.Leave() // the next looks; this one has not slept on the word
			return nil, ctx.Err()
		}
	}
	p.put()
	return nil, ctx.Err()
}

// First is Enter for who wants no other place than the first; if that is taken it returns nil.
func First(w *atomic.Uint32, line uint64) *Place {
	s := shardOf(w)
	key := lineKey{w, line}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lines[key] != nil {
		return nil
	}
	p := places.Get().(*Place)
	p.key = key
	s.begin(p)
	return p
}

// put is for who has no place any more.
func (p *Place) put() {
	p.key, p.over = lineKey{}, nil
	places.Put(p)
}

// begin makes p the first of a new line. The shard is locked.
func (s *shard) begin(p *Place) {
	if s.lines == nil {
		s.lines = make(map[lineKey]*Place)
	}
	s.lines[p.key] = p
}

// enter enters p and reports whether it is the first.
func (s *shard) enter(p *Place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first := s.lines[p.key]
	if first == nil {
		s.begin(p)
		return true
	}
	l := &first.behind
	p.waits, p.next, p.prev = true, nil, l.last
	if l.last != nil {
		l.last.next = p
	} else {
		l.second = p
	}
	l.last = p
	return false
}

// giveUp takes p out, unless it has been told to go on already.
func (s *shard) giveUp(p *Place) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !p.waits {
		return false
	}
	s.lines[p.key].behind.remove(p)
	return true
}

func (l *lineup) remove(p *Place) {
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		l.second = p.next
	}
	if p.next != nil {
		p.next.prev = p.prev
	} else {
		l.last = p.prev
	}
	p.waits, p.next, p.prev = false, nil, nil
}

// Leave lets the next go on.
func (p *Place) Leave() {
	s := shardOf(p.key.word)
	s.mu.Lock()
	if n := p.behind.second; n != nil {
		p.behind.remove(n)
		n.behind, p.behind = p.behind, lineup{}
		s.lines[p.key] = n
		n.turn <- struct{}{}
	} else {
		delete(s.lines, p.key)
	}
	s.mu.Unlock()
	p.put()
}

// kickLines tells those to leave who are in line for a word in the given memory and whose wait is over. The shard is
// locked.
func (s *shard) kickLines(in func(w *atomic.Uint32) bool) (n int) {
	for key, first := range s.lines {
		if !in(key.word) {
			continue
		}
		l := &first.behind
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
