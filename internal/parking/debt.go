package parking

import (
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// debt is a wake that is to be made when something happens to another word, in whose shard it is.
type debt struct{ until, w *atomic.Uint32 }

// Owe notes that one who sleeps on w is to be woken by Pay(until). A Kick of until's memory wakes him, too, since nobody may
// be left who would pay.
func Owe(until, w *atomic.Uint32) {
	s := shardOf(until)
	s.mu.Lock()
	defer s.mu.Unlock()
	d := debt{until, w}
	for i := range s.debts {
		if s.debts[i] == d {
			return
		}
	}
	s.debts = append(s.debts, d)
}

// Pay wakes whom Owe noted.
func Pay(until *atomic.Uint32) {
	s := shardOf(until)
	var some [16]*atomic.Uint32 // a wake may let another run on this CPU, so it is made when the shard is free
	for more := true; more; {
		words := some[:0]
		s.mu.Lock()
		words, more = s.take(words, func(w *atomic.Uint32) bool { return w == until })
		s.mu.Unlock()
		wakeEach(words)
	}
}

// take takes out the words whose sleepers are to be woken when something happens to a word of which in says that, until
// words has no room for more of them. The shard is locked.
func (s *shard) take(words []*atomic.Uint32, in func(until *atomic.Uint32) bool) (_ []*atomic.Uint32, more bool) {
	kept := s.debts[:0]
	for _, d := range s.debts {
		switch {
		case !in(d.until):
			kept = append(kept, d)
		case len(words) == cap(words):
			kept, more = append(kept, d), true
		default:
			words = append(words, d.w)
		}
	}
	clear(s.debts[len(kept):])
	s.debts = kept
	return words, more
}

func wakeEach(words []*atomic.Uint32) {
	for _, w := range words {
		sys.FutexWake(w, 1)
	}
}
