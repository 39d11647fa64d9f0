package shm

import (
	"github.com/shoal-ipc/shoal/internal/barrier"
	"github.com/shoal-ipc/shoal/internal/condition"
	"github.com/shoal-ipc/shoal/internal/permits"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/internal/rw"
)

// robustWord says that the payload begins with an owner word of package robust.
var robustWord = ownerWords{Count: 1, Class: 1}

// permitCells says that the payload, which has size bytes, is a semaphore of cells of package permits.
func permitCells(size uint64) ownerWords {
	return ownerWords{At: permits.CellsAt, Count: uint32((size - permits.CellsAt) / 4), Stride: 4, Class: 2}
}

// readerCells says that the payload is a reader-writer lock of package rw.
var readerCells = ownerWords{At: rw.CellsAt, Count: rw.Cells, Stride: rw.Stride, Class: 3}

// barrierCells says that the payload, which has size bytes, is a barrier of package barrier: arrivals and members name
// processes.
func barrierCells(size uint64) ownerWords {
	return ownerWords{At: barrier.CellsAt, Count: uint32((size - barrier.CellsAt) / barrier.Stride), Stride: barrier.Stride, Class: 4}
}

// hasMembers reports whether the owner words of an object whose payload has size bytes are those of barrierCells.
func hasMembers(o ownerWords, size uint64) bool {
	return size >= barrier.CellsAt && size <= uint64(barrier.Size(barrier.Most)) && o == barrierCells(size)
}

// partOf says that the payload begins with whose part it is.
var partOf = ownerWords{Count: 1, Stride: partSize, Class: 5}

const partSize = 16

// passage says that the payload is a queue of package queued.
var passage = ownerWords{Count: 1, Class: 6}

// owning is what can be done with a payload that names participants, without knowing the object's type.
type owning struct {
	what      string
	holders   func(mem []byte) []uint32                                                   // whom it names
	abandoned func(mem []byte, dead func(id uint32) bool) bool                            // whether it names the dead
	bury      func(mem []byte, dead func(id uint32) bool)                                 // takes them out
	check     func(mem []byte, given func(id uint32) bool) (at int, w uint64, wrong bool) // the first word that cannot be
	came      func(mem []byte) []uint32                                                   // nil, or whom it names who wait as others do
}

// owningOf is what can be done with a payload of size bytes whose header has o; ok is whether there is something.
func owningOf(o ownerWords, size uint64) (_ owning, ok bool) {
	switch {
	case o == robustWord && size >= robust.Size:
		return owning{"lock", robust.Holders, robust.Abandoned, robust.Bury, robust.Check, nil}, true
	case o == readerCells && size == rw.Size:
		return owning{"reader-writer lock", rw.Holders, rw.Abandoned, rw.Bury, rw.Check, nil}, true
	case size >= permits.CellsAt && size <= uint64(permits.SizeCells(permits.MostCells)) && o == permitCells(size):
		return owning{"semaphore", permits.Holders, permits.Abandoned, permits.Recall, permits.Check, nil}, true
	case hasMembers(o, size):
		return owning{"barrier", barrier.Bound, barrier.Lost, barrier.Bury, barrier.Check, barrier.Came}, true
	}
	return owning{}, false
}

// The kinds of a condition and of its further records. Owner words say nothing of the processes that wait: these own
// nothing, and who looks for what they were notified of finds them by himself.
const (
	conditionName = "cond"
	waitersName   = "waiters"
)

// waitersOf is how to check what waits in a payload of size bytes of an object of that kind; ok is whether something does.
func waitersOf(kind string, size uint64) (check func(mem []byte, given func(id uint32) bool) (at int, w uint64, wrong bool), ok bool) {
	switch {
	case kind == conditionName && size == condition.Size:
		return condition.Check, true
	case kind == waitersName && size == condition.SizeMore:
		return condition.CheckMore, true
	}
	return nil, false
}

// owningAt is what can be done with the payload of the object at off, and that payload.
func (h heap) owningAt(off uint64, o *object, room uint64) (w owning, mem []byte, ok bool) {
	size, _, _, err := h.texts(off, o, room)
	if err != nil {
		return w, nil, false
	}
	w, ok = owningOf(o.Owners, size)
	return w, h.memory[off+objectHead:][:size], ok
}
