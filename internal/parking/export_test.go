package parking

import (
	"sync/atomic"
)

// ForceNoWaitv makes waits do without futex_waitv until the function that it returns is called.
func ForceNoWaitv() (undo func()) { return force(&forced.noWaitv) }

// HasRing reports whether there is a ring.
var HasRing = hasRing

// ForceNoRing makes waits do without io_uring until the function that it returns is called.
func ForceNoRing() (undo func()) { return force(&forced.noRing) }

// ForceNoBrief makes waits ready for contexts and Kick at once, until the function that it returns is called.
func ForceNoBrief() (undo func()) { return force(&forced.noBrief) }

// ForceNoDirect makes waits do without threads of their own until the function that it returns is called.
func ForceNoDirect() (undo func()) { return force(&forced.noDirect) }

// ForceNoCap makes sleeps not end by themselves until the function that it returns is called.
func ForceNoCap() (undo func()) { return force(&forced.noCap) }

func force(b *atomic.Bool) (undo func()) {
	b.Store(true)
	return func() { b.Store(false) }
}

// Waiting is how many goroutines of this process are in Wait, in the part that is ready for contexts and Kick.
func Waiting() (n int) {
	for i := range table {
		s := &table[i]
		s.mu.Lock()
		for w := s.direct; w != nil; w = w.next {
			n++
		}
		for _, e := range s.entries {
			for w := e.first; w != nil; w = w.next {
				n++
			}
		}
		s.mu.Unlock()
	}
	return n
}

// Lined is how many lines there are, those included in which only the first stands.
func Lined() (n int) {
	for i := range table {
		s := &table[i]
		s.mu.Lock()
		n += len(s.lines)
		s.mu.Unlock()
	}
	return n
}

// Groups is how many groups there are, with the one that polls, and the ring if it has entries.
func Groups() int {
	groups.mu.Lock()
	defer groups.mu.Unlock()
	n := len(groups.all)
	if groups.poll != nil {
		n++
	}
	if groups.ring != nil && groups.ring.members > 0 {
		n++
	}
	return n
}
