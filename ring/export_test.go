package ring

import (
	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/race"
)

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

// Constants of an MPMC that the tests check.
const (
	MPMCHeaderSize = mpmcHeaderSize
	MPMCCells      = mpmcCells
	MPMCCellSize   = mpmcCellSize
	MPMCSlotsAt    = mpmcSlotsAt
	MPMCBlocks     = mpmcBlocks
	MPMCPairs      = mpmcPairs
	MaxMine        = maxMine
)

// MPMCHeader and MPMCCell are the shared parts, for the table of offsets.
type (
	MPMCHeader = mpmcHeader
	MPMCCell   = mpmcCell
)

// Forms are the forms in which this machine can make a ring of items of so many bytes.
func Forms(size uintptr) []uint32 {
	if size <= 8 && atomics.HasPair() {
		return []uint32{mpmcBlocks, mpmcPairs}
	}
	return []uint32{mpmcBlocks}
}

// MPMCSizeIn and NewMPMCIn are MPMCSize and NewMPMC with the form given.
func MPMCSizeIn[T any](n int, form uint32) int {
	_, bytes := mpmcSpace[T](n, form)
	return bytes
}

func NewMPMCIn[T any](mem []byte, n int, peers Peers, form uint32) (*MPMC[T], error) {
	return newMPMC[T](mem, n, peers, form)
}

// SetPosition makes the ring what it is after p pushes and pops. No other handle may be in use.
func (r *MPMC[T]) SetPosition(p uint64) { r.layOut(p) }

// PositionBits is how many bits of a position the slots keep: after so many items their words come back.
func (r *MPMC[T]) PositionBits() int { return 64 - int(r.up) }

// Forget makes the handle guess anew where tail and head are.
func (r *MPMC[T]) Forget() { r.arrive() }

// Reclaim frees the cells of the dead, as a producer does that finds no free one.
func (r *MPMC[T]) Reclaim() { r.reclaim() }

// Unannotate hides the hand-overs of r from the race detector.
func (r *MPMC[T]) Unannotate() {
	var nobody *race.Word
	r.items, r.room = nobody, nobody
}

// ClearMPMCMagic leaves the ring in mem as a NewMPMC does that was killed before its last store.
func ClearMPMCMagic(mem []byte) { mpmcAt(mem).magic.Store(0) }

// CellOwners reads who has the cells of a ring of blocks.
func (r *MPMC[T]) CellOwners() (owners [MPMCCells]uint32) {
	for i := range r.cells {
		owners[i] = r.cells[i].owner.Load()
	}
	return owners
}

// SetCellOwner writes who has a cell.
func (r *MPMC[T]) SetCellOwner(i int, owner uint32) { r.cells[i].owner.Store(owner) }

// Note reads and SetNote writes the note of a cell.
func (r *MPMC[T]) Note(i int) (have, want uint64) {
	n := r.cells[i].note.Load()
	return n >> 32, n & noBlock
}

func (r *MPMC[T]) SetNote(i int, have, want uint64) { r.cells[i].note.Publish(noteOf(have, want)) }

// SlotBlock is the block that slot i names.
func (r *MPMC[T]) SlotBlock(i int) uint64 { return r.slot(uint64(i)).Load() & (r.full - 1) }

// Tail is the position that the next push fills.
func (r *MPMC[T]) Tail() uint64 {
	p, _ := r.seek(r.tailGuess.Load(), filled*r.full)
	return p
}

// SetSlot writes the word of slot i.
func (r *MPMC[T]) SetSlot(i int, word uint64) { r.slot(uint64(i)).Publish(word) }
