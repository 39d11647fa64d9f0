package condition

import (
	"structs"
	"sync/atomic"
	"unsafe"
)

const (
	// Size is the size of a condition's payload.
	Size = recordsAt + inline*recordSize
	// SizeMore is that of its further records.
	SizeMore = recordsAt + further*recordSize

	// Of the guard, which package guard lays out.
	lockAt           = 8
	lockGenerationAt = 16
	modeAt           = 20

	generationAt = 24
	// MoreAt is where the offset of the further records is.
	MoreAt = 32

	ticketsAt = 40
	recordsAt = 128

	recordSize = 32
	waitsAt    = 8
	ticketAt   = 16

	inline  = 8
	further = 1016
)

// payload is the beginning of a condition's payload.
type payload struct {
	_          structs.HostLayout
	_          [generationAt]byte
	generation atomic.Uint32
	_          uint32
	more       atomic.Uint64
	tickets    atomic.Uint64
}

// record is for the waits of one process.
type record struct {
	_      structs.HostLayout
	owner  atomic.Uint32
	_      uint32
	waits  atomic.Uint64
	ticket atomic.Uint64
	_      uint64
}

var (
	_ [recordSize]struct{}   = [unsafe.Sizeof(record{})]struct{}{}
	_ [generationAt]struct{} = [unsafe.Offsetof(payload{}.generation)]struct{}{}
	_ [MoreAt]struct{}       = [unsafe.Offsetof(payload{}.more)]struct{}{}
	_ [ticketsAt]struct{}    = [unsafe.Offsetof(payload{}.tickets)]struct{}{}
	_ [waitsAt]struct{}      = [unsafe.Offsetof(record{}.waits)]struct{}{}
	_ [ticketAt]struct{}     = [unsafe.Offsetof(record{}.ticket)]struct{}{}
)

func payloadOf(mem []byte) *payload {
	return (*payload)(unsafe.Pointer(unsafe.SliceData(mem[:recordsAt])))
}

// recordsIn is the n records in mem, a condition's payload or its further records, 32-aligned.
func recordsIn(mem []byte, n int) []record {
	mem = mem[recordsAt : recordsAt+n*recordSize]
	return unsafe.Slice((*record)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}

// object is the first word of the payload.
func object(mem []byte) *atomic.Uint32 {
	return (*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(mem)))
}

// low is the futex word: the low half of a little-endian word is at its address; segments exist on little-endian machines only.
func (r *record) low() *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&r.waits)) }
