package ring

import (
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/race"
)

// Sizes and constants that the tests check.
const (
	BytesHeaderSize = bytesHeaderSize
	BytesMagic      = bytesMagic
	BytesCells      = bytesCells
	DescriptorSize  = descriptorSize
	StateEmpty      = stateEmpty
	StateClaimed    = stateClaimed
	StateAborted    = stateAborted
	StateCommitted  = stateCommitted
)

// BytesHeader and Descriptor are the shared parts, for the table of offsets.
type (
	BytesHeader = bytesHeader
	Descriptor  = descriptor
)

// SetStart makes an empty ring what it would be after so many records that ended at byte from. No handle may have
// written or read yet.
func (r *Bytes) SetStart(at, from uint64) {
	h := r.header
	for i := range r.mask + 1 {
		d := r.slot(at + i)
		d.word.Publish(r.empty(at + i))
		d.end.Publish(from)
	}
	h.tail.Publish(at)
	h.head.Publish(at)
	h.freed.Publish(from)
	r.hint.Publish(at)
	r.noted.Publish(from)
}

// Start reads the consumer's position, and where it is in bytes.
func (r *Bytes) Start() (at, from uint64) { return r.header.head.Load(), r.header.freed.Load() }

// Slots is how many descriptors there are.
func (r *Bytes) Slots() uint64 { return r.mask + 1 }

// Word is the word of the descriptor of position t.
func (r *Bytes) Word(t uint64) uint64 { return r.slot(t).word.Load() }

// SetWord writes it.
func (r *Bytes) SetWord(t, w uint64) { r.slot(t).word.Publish(w) }

// End is where the record at t ends, if that is said.
func (r *Bytes) End(t uint64) uint64 { return r.slot(t).end.Load() }

// SetEnd writes it.
func (r *Bytes) SetEnd(t, e uint64) { r.slot(t).end.Publish(e) }

// SetHint makes this handle and the header believe that the next position to claim is t.
func (r *Bytes) SetHint(t uint64) {
	r.hint.Publish(t)
	r.header.tail.Publish(t)
}

// Hint is what the header says of it.
func (r *Bytes) Hint() uint64 { return r.header.tail.Load() }

// SetHead writes what the consumer publishes.
func (r *Bytes) SetHead(at, from uint64) {
	r.header.head.Publish(at)
	r.header.freed.Publish(from)
}

// Consumer reads who has the consumer's end.
func (r *Bytes) Consumer() uint32 { return r.header.consumer.Load() }

// Cell is one of those of producers.
func (r *Bytes) Cell(i int) *atomic.Uint64 { return &r.header.cells[i] }

// Claim claims as Reserve does, and is killed or stopped before it says where the record ends, if placed is not set.
func (r *Bytes) Claim(n int, placed bool) Record {
	c, ok := r.Reserve(n)
	if ok && !placed {
		d := r.slot(c.at)
		d.end.Publish(r.slot(c.at-1).end.Load() - uint64(len(r.area)))
	}
	return c
}

// At is the position of a record.
func (c Record) At() uint64 { return c.at }

// Follow is where a record of n bytes begins and ends after one that ends at e.
func (r *Bytes) Follow(e uint64, n int) (place, end uint64) { return r.follow(e, sizeFor(n)) }

// ClearBytesMagic leaves the ring in mem as a NewBytes does that was killed before its last store.
func ClearBytesMagic(mem []byte) { bytesAt(mem).magic.Store(0) }

// Unannotate hides the hand-overs of r from the race detector.
func (r *Bytes) Unannotate() {
	var nobody *race.Word
	r.items, r.gone = nobody, nobody
}

// NoSpin makes Next ask at once.
func (r *Bytes) NoSpin() { r.spins = 0 }

// Spin makes Next look so often again before it asks.
func (r *Bytes) Spin(n int) { r.spins = n }

// SetConsumer writes who has the consumer's end.
func (r *Bytes) SetConsumer(id uint32) { r.header.consumer.Store(id) }
