package ring

import (
	"reflect"

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

// What the tests check of a Broadcast.
const (
	BroadcastHeaderSize = broadcastHeaderSize
	MaxReaders          = maxReaders
	MaxBroadcast        = maxBroadcast
)

// BroadcastHeader and Cell are the shared parts, for the table of offsets.
type (
	BroadcastHeader = broadcastHeader
	Cell            = cell
)

// StartAt makes the ring in mem, whose items are of T and which nobody uses, what it would be after so many pushes.
func StartAt[T any](mem []byte, tail uint64) {
	h := broadcastAt(mem)
	h.tail.Publish(tail)
	if h.kind.Load() == kindLossy {
		t := turnsOf[T](mem)
		for p := tail - t.count; p != tail; p++ {
			turn, _ := t.slot(p)
			turn.Publish(t.whole(p))
		}
	}
}

func turnsOf[T any](mem []byte) turns {
	var v T
	h := broadcastAt(mem)
	return turnsAt(mem, broadcastHeaderSize, h.slots.Load(), reflect.TypeOf(v).Size())
}

// Tail reads the tail, SetTail writes it alone.
func Tail(mem []byte) uint64       { return broadcastAt(mem).tail.Load() }
func SetTail(mem []byte, p uint64) { broadcastAt(mem).tail.Publish(p) }

// CellWord reads the word of cell i, SetCell writes it and counts the cell as used.
func CellWord(mem []byte, i int) uint64 {
	return cellsOf(mem, broadcastAt(mem).cells.Load())[i].word.Load()
}

func SetCell(mem []byte, i int, word uint64) {
	h := broadcastAt(mem)
	cellsOf(mem, h.cells.Load())[i].word.Publish(word)
	h.used.Store(max(h.used.Load(), uint32(i)+1))
}

// Joining and Placed are words of cells.
func Joining(owner uint32) uint64           { return joining(owner) }
func Placed(owner uint32, at uint64) uint64 { return placed(owner, at) }

// Turn reads how far the turn of position p in a lossy ring of T is off from having its item; SetTurn makes it that.
func Turn[T any](mem []byte, p uint64) int64 {
	t := turnsOf[T](mem)
	turn, _ := t.slot(p)
	return int64(turn.Load() - t.whole(p))
}

func SetTurn[T any](mem []byte, p uint64, off int64) {
	t := turnsOf[T](mem)
	turn, _ := t.slot(p)
	turn.Publish(t.whole(p) + uint64(off))
}

// PlaceStale is what a reader does that was stopped between taking cell i and its CAS, in which it wants to begin at
// the given position; it reports where it begins.
func (b *Broadcast[T]) PlaceStale(i int, self uint32, stop func()) (uint64, error) {
	stop()
	return b.audience.place(&b.audience.cells[i], self)
}

// ClearBroadcastMagic leaves the ring in mem as a NewBroadcast does that was killed before its last store.
func ClearBroadcastMagic(mem []byte) { broadcastAt(mem).magic.Store(0) }

// UnannotateBroadcast hides the hand-overs of b and r from the race detector.
func UnannotateBroadcast[T any](b *Broadcast[T], rs ...*Reader[T]) {
	var nobody *race.Word
	b.prod.publish, b.prod.look = nobody, nobody
	for _, r := range rs {
		r.cons.publish, r.cons.look = nobody, nobody
	}
}

// CellWord is what r has in its cell, as far as it knows.
func (r *Reader[T]) CellWord() uint64 { return r.tag | r.cons.at&cellPlace }

// TailOf reads the tail.
func TailOf[T any](b *Broadcast[T]) uint64 { return b.head.tail.Load() }

// Constants of an MPMC that the tests check.
const (
	MPMCHeaderSize = mpmcHeaderSize
	MPMCCells      = mpmcCells
	MPMCCellSize   = mpmcCellSize
	MPMCSlotsAt    = mpmcSlotsAt
	MPMCBlocks     = mpmcBlocks
	MPMCPairs      = mpmcPairs
	MPMCMessages   = mpmcMessages
	MaxMine        = maxMine
	MessageHead    = messageHead
)

// MPMCHeader, MPMCCell and Message are the shared parts, for the table of offsets.
type (
	MPMCHeader = mpmcHeader
	MPMCCell   = mpmcCell
	Message    = message
)

// Forms are the forms in which this machine can make a ring of items of so many bytes.
func Forms(size uintptr) []uint32 {
	if size <= 8 && atomics.HasPair() {
		return []uint32{mpmcBlocks, mpmcPairs, mpmcBlocks | Exact, mpmcPairs | Exact}
	}
	return []uint32{mpmcBlocks, mpmcBlocks | Exact}
}

// Exact in a form says that the ring is to be exact.
const Exact = 1 << 16

// MPMCSizeIn and NewMPMCIn are MPMCSize and NewMPMC with the form given.
func MPMCSizeIn[T any](n int, form uint32) int {
	_, bytes := mpmcSpace(slotsFor(n, form&Exact != 0), reflect.TypeFor[T]().Size(), form&^Exact)
	return bytes
}

func NewMPMCIn[T any](mem []byte, n int, peers Peers, form uint32) (*MPMC[T], error) {
	return newMPMC[T](mem, n, peers, form&^Exact, form&Exact != 0)
}

// SetPosition makes the ring what it is after p pushes and pops. No other handle may be in use.
func (r *mpmc) SetPosition(p uint64) { r.layOut(p) }

// PositionBits is how many bits of a position the slots keep: after so many items their words come back.
func (r *mpmc) PositionBits() int { return 64 - int(r.up) }

// Forget makes the handle guess anew where tail and head are.
func (r *mpmc) Forget() { r.arrive() }

// Reclaim frees the cells of the dead, as a producer does that finds no free one.
func (r *mpmc) Reclaim() { r.reclaim() }

// Leave closes the segment that r's peers are.
func (r *mpmc) Leave() error { return r.peers.(interface{ Close() error }).Close() }

// Unannotate hides the hand-overs of r from the race detector.
func (r *mpmc) Unannotate() {
	var nobody *race.Word
	r.items, r.room = nobody, nobody
}

// ClearMPMCMagic leaves the ring in mem as a NewMPMC does that was killed before its last store.
func ClearMPMCMagic(mem []byte) { mpmcAt(mem).magic.Store(0) }

// CellOwners reads who has the cells of a ring of blocks.
func (r *mpmc) CellOwners() (owners [MPMCCells]uint32) {
	for i := range r.cells {
		owners[i] = r.cells[i].owner.Load()
	}
	return owners
}

// SetCellOwner writes who has a cell.
func (r *mpmc) SetCellOwner(i int, owner uint32) { r.cells[i].owner.Store(owner) }

// Note reads and SetNote writes the note of a cell.
func (r *mpmc) Note(i int) (have, want uint64) {
	n := r.cells[i].note.Load()
	return n >> 32, n & noBlock
}

func (r *mpmc) SetNote(i int, have, want uint64) { r.cells[i].note.Publish(noteOf(have, want)) }

// SlotBlock is the block that slot i names.
func (r *mpmc) SlotBlock(i int) uint64 { return r.slot(uint64(i)).Load() & r.index }

// Tail is the position that the next push fills.
func (r *mpmc) Tail() uint64 { return r.seek(r.tailGuess.Load(), filled*r.full) }

// SetSlot writes the word of slot i.
func (r *mpmc) SetSlot(i int, word uint64) { r.slot(uint64(i)).Publish(word) }

// Slots is how many slots the ring has.
func (r *mpmc) Slots() int { return int(r.mask + 1) }
