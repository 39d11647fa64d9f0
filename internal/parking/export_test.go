package parking

import (
	"sync/atomic"
)

// ForceNoWaitv makes waits do without futex_waitv until the function that it returns is called.
func ForceNoWaitv() (undo func()) { return force(&forced.noWaitv) }

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

// MostGrouped is how many words groups have room for.
const MostGrouped = mostGroups * groupSize

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

// Groups is how many groups there are, the one that polls included.
func Groups() int {
	groups.mu.Lock()
	defer groups.mu.Unlock()
	if groups.poll != nil {
		return len(groups.all) + 1
	}
	return len(groups.all)
}
