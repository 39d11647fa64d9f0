package ring

import "github.com/shoal-ipc/shoal/internal/race"

// Header sizes and constants that the tests check.
const (
	SPSCHeaderSize = spscHeaderSize
	SPSCMagic      = spscMagic
	SPSCVersion    = spscVersion
	MaxStaged      = maxStaged
)

// SPSCHeader is the shared part, for the table of offsets.
type SPSCHeader = spscHeader

// SetPositions makes tail and head of the ring in mem what they would be after so many pushes and pops, or what
// they can never be. No handle may have an end meanwhile.
func SetPositions(mem []byte, tail, head uint64) {
	h := spscAt(mem)
	h.tail.Publish(tail)
	h.head.Publish(head)
}

// Positions reads them.
func Positions(mem []byte) (tail, head uint64) {
	h := spscAt(mem)
	return h.tail.Load(), h.head.Load()
}

// Owners reads who has the producer's and the consumer's end.
func Owners(mem []byte) (producer, consumer uint32) {
	h := spscAt(mem)
	return h.producer.Load(), h.consumer.Load()
}

// SetOwners writes the claims.
func SetOwners(mem []byte, producer, consumer uint32) {
	h := spscAt(mem)
	h.producer.Store(producer)
	h.consumer.Store(consumer)
}

// ClearMagic leaves the ring in mem as a NewSPSC does that was killed before its last store.
func ClearMagic(mem []byte) { spscAt(mem).magic.Store(0) }

// Unannotate hides the hand-overs of r from the race detector.
func (r *SPSC[T]) Unannotate() {
	var nobody *race.Word
	r.prod.publish, r.prod.look = nobody, nobody
	r.cons.publish, r.cons.look = nobody, nobody
}
