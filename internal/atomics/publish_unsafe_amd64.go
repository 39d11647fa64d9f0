//go:build !race

package atomics

import "unsafe"

// PublishIsFenced is whether a load by sync/atomic that follows Publish is done after the position is visible to all.
// Here it may be done before: the store waits in the processor's store buffer, and the load does not wait for it.
const PublishIsFenced = false

// Publish stores x with release semantics.
//
// It is an ordinary store that the compiler inlines: amd64 keeps stores in order (Intel SDM 8.2.2, AMD APM2
// 7.2), and the compiler keeps them in program order because each store depends on the memory state that the
// one before it made. The language does not promise the latter; TestPublishOrder reads the compiled code.
func (p *Pos) Publish(x uint64) { *(*uint64)(unsafe.Pointer(&p.v)) = x }

// Store publishes x and is a full barrier too, for the rare publisher that must then look at what others wrote.
func (p *Pos) Store(x uint64) { p.v.Store(x) }
