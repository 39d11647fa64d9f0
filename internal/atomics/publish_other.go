//go:build !amd64 || race

package atomics

// PublishIsFenced is whether a load by sync/atomic that follows Publish is done after the position is visible to all.
// It is: both are operations of sync/atomic, which the Go memory model puts into one order. On 386, and on amd64 with the
// race detector, the store is an XCHG; on arm64 it is an STLR, which a later LDAR does not overtake; riscv64 has fences.
const PublishIsFenced = true

// Publish stores x with release semantics. On arm64 and riscv64 sync/atomic's store is what is wanted; the race
// detector knows no other.
func (p *Pos) Publish(x uint64) { p.v.Store(x) }
