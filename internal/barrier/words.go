package barrier

import (
	"slices"
	"sort"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// The word; see the package documentation.
const (
	wordBroken  = 1 << 0
	wordSleeps  = 1 << 1
	wordPass    = 1 << 2
	passMask    = 1<<30 - 1
	historyAt   = 32
	historyBits = 32

	memberStarted = 1 << 31

	everybody = 1<<31 - 1
)

// passOf is the pass of a word.
func passOf(w uint64) uint32 { return uint32(w) >> 2 }

// after is the word after the pass of w, which ended with a reset or was completed (0).
func after(w, reset uint64) uint64 {
	return (w>>historyAt<<1|reset)<<historyAt | uint64((passOf(w)+1)&passMask*wordPass)
}

// ownerOf is whom an arrival or a member names.
func ownerOf(cell uint64) uint32 { return uint32(cell >> 32) }

// handles is how many handles bind a member.
func handles(member uint64) uint32 { return uint32(member &^ memberStarted) }

func cell(owner, low uint32) uint64 { return uint64(owner)<<32 | uint64(low) }

// words is a barrier in shared memory.
type words struct {
	word              *atomic.Uint64
	low               *atomic.Uint32
	arrivals, members []atomic.Uint64
}

// came reports whether cell i names an arrival of pass p.
func (b *words) came(i int, p uint32) bool {
	a := b.arrivals[i].Load()
	return ownerOf(a) != 0 && uint32(a) == p
}

// arrived is how many have come in pass p.
func (b *words) arrived(p uint32) int {
	return sort.Search(len(b.arrivals), func(i int) bool { return !b.came(i, p) })
}

// arrive takes the next cell of pass p for the process self. There is none if all have come, or if the pass is over.
func (b *words) arrive(p, self uint32) (i int, ok bool) {
	for i = b.arrived(p); i < len(b.arrivals); {
		a := b.arrivals[i].Load()
		switch {
		case ownerOf(a) != 0 && uint32(a) == p:
			i++
		case passOf(b.word.Load()) != p: // a may have been taken in the next pass
			return 0, false
		case b.arrivals[i].CompareAndSwap(a, cell(self, p)):
			return i, true
		}
	}
	return 0, false
}

// bound is whom the members name, and the arrivals of the pass.
func (b *words) bound() (ids []uint32) {
	last := uint32(0) // a process that has many cells in a row is named once
	name := func(cell uint64) {
		if id := ownerOf(cell); id != 0 && id != last {
			ids = append(ids, id)
			last = id
		}
	}
	for i := range b.members {
		name(b.members[i].Load())
	}
	p := passOf(b.word.Load())
	for i := range b.arrived(p) {
		name(b.arrivals[i].Load())
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// lost reports whether one of those who are bound in pass p is dead, but for who asks.
func (b *words) lost(p, self uint32, dead func(id uint32) bool) bool {
	last := uint32(0) // who was alive last
	lost := func(cell uint64) bool {
		id := ownerOf(cell)
		if id == 0 || id == last || id == self {
			return false
		}
		last = id
		return dead(id)
	}
	for i := range b.members {
		if lost(b.members[i].Load()) {
			return true
		}
	}
	for i := range b.arrivals {
		a := b.arrivals[i].Load()
		if uint32(a) != p { // the others have not come
			break
		}
		if lost(a) {
			return true
		}
	}
	return false
}

// spoil breaks pass p. It did not if the pass is over, or broken already.
func (b *words) spoil(p uint32) (did bool) {
	for {
		w := b.word.Load()
		if passOf(w) != p || w&wordBroken != 0 {
			return false
		}
		if !b.word.CompareAndSwap(w, w&^wordSleeps|wordBroken) { // PAIRS WITH outcome
			continue
		}
		crashpoint.Hit("barrier/break/broken")
		if w&wordSleeps != 0 {
			futex.Wake(b.low, everybody)
		}
		crashpoint.Hit("barrier/break/woken")
		return true
	}
}

// broken reports whether the word is in pass p, and broken.
func (b *words) broken(p uint32) bool {
	w := b.word.Load()
	return passOf(w) == p && w&wordBroken != 0
}

// outcome is how pass p ended, if it has.
func (b *words) outcome(p uint32) (over bool, err error) {
	w := b.word.Load() // PAIRS WITH complete, spoil, Reset
	ago := (passOf(w) - p) & passMask
	switch {
	case ago == 0 && w&wordBroken == 0:
		return false, nil
	case ago == 0 || ago > historyBits || w>>(historyAt+ago-1)&1 != 0:
		return true, ErrBroken
	}
	return true, nil
}

// bury frees the cells of members that died before pass p, which is broken, was followed by another one. Of those who
// die after that it must leave the cells, because they are to break the next pass; so who is dead is asked before the
// word is looked at.
func (b *words) bury(p uint32, dead func(id uint32) bool) {
	cells := make(map[int]uint64)
	for i := range b.members {
		if m := b.members[i].Load(); m != 0 && dead(ownerOf(m)) {
			cells[i] = m
		}
	}
	if !b.broken(p) {
		return
	}
	for i, m := range cells {
		b.members[i].CompareAndSwap(m, 0)
		crashpoint.Hit("barrier/bury/freed")
	}
}

// Bound is the participants that the barrier whose whole payload is mem waits for by name: each once.
func Bound(mem []byte) []uint32 {
	b := in(mem)
	return b.bound()
}

// Came is who has arrived in the pass of the barrier whose whole payload is mem.
func Came(mem []byte) (ids []uint32) {
	b := in(mem)
	p := passOf(b.word.Load())
	for i := range b.arrived(p) {
		ids = append(ids, ownerOf(b.arrivals[i].Load()))
	}
	return ids
}

// Lost reports whether somebody of whom dead says so is bound to the barrier whose whole payload is mem.
func Lost(mem []byte, dead func(id uint32) bool) bool {
	b := in(mem)
	return b.lost(passOf(b.word.Load()), 0, dead)
}

// Bury breaks the barrier whose whole payload is mem, and forgets its members that are dead.
func Bury(mem []byte, dead func(id uint32) bool) {
	b := in(mem)
	p := passOf(b.word.Load())
	if b.lost(p, 0, dead) {
		b.spoil(p)
		b.bury(p, dead)
	}
}

// Enlist binds the process that will be the participant id to the barrier whose whole payload is mem, until it or a
// handle of it ends that. It does not if there are as many members as parties.
func Enlist(mem []byte, id uint32) {
	b := in(mem)
	for i := range b.members {
		m := b.members[i].Load()
		if ownerOf(m) == id || m == 0 && b.members[i].CompareAndSwap(0, cell(id, memberStarted)) {
			crashpoint.Hit("barrier/enlist/enlisted")
			return
		}
	}
}

// Dismiss undoes Enlist for a process that has not begun.
func Dismiss(mem []byte, id uint32) {
	b := in(mem)
	for i := range b.members {
		if b.members[i].CompareAndSwap(cell(id, memberStarted), 0) {
			crashpoint.Hit("barrier/dismiss/dismissed")
			return
		}
	}
}

// Check returns the offset of the first word in the barrier whose whole payload is mem to which no step leads, what it
// is, and whether there is one; given tells which owner ids there can be.
func Check(mem []byte, given func(id uint32) bool) (at int, w uint64, wrong bool) {
	b := in(mem)
	if n := payloadOf(mem).parties; n != uint32(len(b.members)) {
		return partiesAt, uint64(n), true
	}
	if w := b.word.Load(); w&wordBroken != 0 && w&wordSleeps != 0 {
		return 0, w, true
	}
	for i := range b.arrivals {
		if a := b.arrivals[i].Load(); a != 0 && (uint32(a) > passMask || !given(ownerOf(a))) {
			return CellsAt + Stride*i, a, true
		}
	}
	for i := range b.members {
		if m := b.members[i].Load(); m != 0 && !given(ownerOf(m)) {
			return CellsAt + Stride*(len(b.arrivals)+i), m, true
		}
	}
	return 0, 0, false
}
