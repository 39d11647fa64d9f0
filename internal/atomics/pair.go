package atomics

import "sync/atomic"

// Pair is two 64-bit words that are changed at once, by a double-width compare-and-swap; the first of them also
// by itself. It must lie at a multiple of 16. Only where HasPair is true may its CompareAndSwap be called.
type Pair struct {
	First  Pos
	Second atomic.Uint64
}

// CompareAndSwap changes both words to a and b if they are oldA and oldB, with acquire and release semantics.
func (p *Pair) CompareAndSwap(oldA, oldB, a, b uint64) bool { return casPair(p, oldA, oldB, a, b) }
