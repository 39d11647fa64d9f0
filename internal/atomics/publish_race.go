//go:build race

package atomics

// PublishIsFenced is whether a load by sync/atomic that follows Publish is done after the position is visible to all.
// With the race detector that is so because Publish exchanges, and amd64 has no other exchange than a locked one. A store by
// sync/atomic would not do: it is the detector's own, with release semantics and no more, and in memory that Go did not
// allocate, as that of a segment, it takes none of the detector's locks either. On amd64 it is an ordinary store there.
const PublishIsFenced = true

// Publish stores x with release semantics.
func (p *Pos) Publish(x uint64) { p.v.Swap(x) }

// Store publishes x and is a full barrier too, for the rare publisher that must then look at what others wrote.
func (p *Pos) Store(x uint64) { p.v.Swap(x) }
