package atomics

import "sync/atomic"

// Pos is a 64-bit position that one side writes and others read, or that many change by CompareAndSwap. Its size and alignment are 8 on every
// architecture.
//
// Publish is a release store: whatever the publisher wrote before it is seen by everybody who loads the new
// position. It is no full barrier: a load that follows it may be done before it is visible, so a publisher
// that must then look at a sleeper's flag needs a barrier of its own. sync/atomic's Store is a full barrier
// on amd64 (XCHG), which costs ten times as much as the rest of a ring's push.
type Pos struct{ v atomic.Uint64 }

// Load is an acquire load.
func (p *Pos) Load() uint64 { return p.v.Load() }

// CompareAndSwap replaces old by x, and is a full barrier. It may meet Publish of the same position only where
// the two cannot happen at once.
func (p *Pos) CompareAndSwap(old, x uint64) bool { return p.v.CompareAndSwap(old, x) }
