//go:build !amd64 || race

package atomics

// Publish stores x with release semantics. On arm64 and riscv64 sync/atomic's store is what is wanted; the race
// detector knows no other.
func (p *Pos) Publish(x uint64) { p.v.Store(x) }
