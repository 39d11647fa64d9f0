//go:build !amd64 && !race

package atomics

// PublishIsFenced is whether a load by sync/atomic that follows Publish is done after the position is visible to all.
// It is: both are operations of sync/atomic, which the Go memory model puts into one order. On 386 the store is followed by a
// locked instruction; on arm64 it is an STLR, which a later LDAR does not overtake; riscv64 has fences.
const PublishIsFenced = true

// Publish stores x with release semantics. On arm64 and riscv64 sync/atomic's store is what is wanted.
func (p *Pos) Publish(x uint64) { p.v.Store(x) }

// Store publishes x and is a full barrier too, for the rare publisher that must then look at what others wrote.
func (p *Pos) Store(x uint64) { p.v.Store(x) }
