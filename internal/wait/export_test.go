package wait

import (
	"slices"
	"sync/atomic"
)

// Bits of the state.
const (
	Sleepers = sleepers
	One      = one
	Several  = several
	Waking   = waking
	Fenced   = fenced
	Sure     = sure
	Bare     = bare
	Turns    = turns
	Turn     = turn
	Wakes    = wakes
	Enough   = enough
)

// Shared is what is in shared memory.
type Shared = shared

// State is the word itself.
func (w *Word) State() *atomic.Uint32 { return w.state }

// Counts are running totals of a Word.
type Counts struct{ Wakes, Barriers, Late uint64 }

// Counts reads them.
func (w *Word) Counts() Counts { return Counts{w.wakes.Load(), w.barriers.Load(), w.late.Load()} }

// OnMissed has f called when a sleep on a state ended by itself and there was something to wake up for.
func (w *Word) OnMissed(f func(state uint32)) { w.missed = f }

// Force forces fallbacks in this process: unregistered, refused, unasked, and blind, see forced. Without names it forces
// none.
func Force(names ...string) {
	forced.unregistered.Store(slices.Contains(names, "unregistered"))
	forced.refused.Store(slices.Contains(names, "refused"))
	forced.unasked.Store(slices.Contains(names, "unasked"))
	forced.blind.Store(slices.Contains(names, "blind"))
}

// Registered reports whether this process is registered, or says so when that has come to an end.
func Registered() bool {
	registered()
	Settle()
	return registered()
}
