// Package queued knows how a queue lies in shared memory: package queue uses it, and whoever sweeps up after the dead (package
// shm) finds out by it what a queue refers to.
//
// # Layout
//
// Of a queue, aligned to 128 bytes, little-endian:
//
//	offset  size  field     written by
//	0       4     form      the maker: 1 items of plain data (ring.MPMC), 2 messages (ring.Messages)
//	4       4     flags     the maker: 1 counts what is not yet dealt with, 2 grows
//	8       8     capacity  the maker: the most items, 0 if it grows
//	16      8     slot      the maker: the size of an item, or the most bytes of a message
//	24      8     most      the maker: the most bytes of an encoded item
//	32      8     first     the maker: the most items of the first ring
//	128     128   items     the sleep word (package wait) of those who wait for items
//	256     128   room      and of those who wait for room
//	384     128   joiners   and of those who wait until all is dealt with
//	512     8     done      who is done with an item; add
//	520     4     used      so many hands were ever used; CAS, grows
//	640     248   rings     31 further rings; CAS from 0: offset / 128 << 32 | generation of the object
//	896     65536 hands     only if it counts: 4,096 of 16 bytes, one for each slot of a participant
//	+0      8     items     owner id << 32 | how many items it has got and is not done with; CAS
//	+8      8     busy      owner id << 32 | how many items it may be about to take, or to be done with; CAS
//	              the first ring, from the next multiple of 128 on
//
// The hand of the participant in slot i is number i mod 256 * 16 + i / 256, so that neighbours do not write to one line.
//
// A further ring is an object of kind "qring": the offset of the queue's object (8), its generation (4), the number of the ring, 1
// to 31 (4), and the ring from byte 128 on.
//
// A message of kind 0 is an encoded item. One of kind 1 is 24 bytes that say where the item is, which was passed (shm.Segment.Pass)
// through the queue: offset (8), length (8), stamp (4), zero (4).
package queued

import (
	"encoding/binary"
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/ring"
)

// Forms and flags of a queue, and the kinds of its messages.
const (
	Plain    = 1
	Messages = 2

	Counts = 1
	Grows  = 2

	Inline = 0
	Passed = 1
)

const (
	// MostRings is how many rings a queue has at most.
	MostRings = 32
	// RingKind is the kind of the object of a further ring.
	RingKind = "qring"
	// RingAt is where the ring lies in it.
	RingAt = layout.CacheLine
	// PassedSize is the length of a message of kind Passed.
	PassedSize = 24

	// MostHands is how many hands there are.
	MostHands = 4096
	handsAt   = 7 * layout.CacheLine
)

// Header is what a queue begins with. What is not atomic is written before the queue can be seen.
type Header struct {
	_        structs.HostLayout
	Form     uint32
	Flags    uint32
	Capacity uint64
	Slot     uint64
	Most     uint64
	First    uint64
	_        [layout.CacheLine - 40]byte

	Items   [layout.CacheLine]byte
	Room    [layout.CacheLine]byte
	Joiners [layout.CacheLine]byte

	Done atomic.Uint64
	Used atomic.Uint32
	_    [layout.CacheLine - 12]byte

	Rings [MostRings - 1]atomic.Uint64
	_     uint64
}

// Hand is what a participant has in hand.
type Hand struct {
	_     structs.HostLayout
	Items atomic.Uint64
	Busy  atomic.Uint64
}

var (
	_ [128]struct{}     = [unsafe.Offsetof(Header{}.Items)]struct{}{}
	_ [256]struct{}     = [unsafe.Offsetof(Header{}.Room)]struct{}{}
	_ [384]struct{}     = [unsafe.Offsetof(Header{}.Joiners)]struct{}{}
	_ [512]struct{}     = [unsafe.Offsetof(Header{}.Done)]struct{}{}
	_ [520]struct{}     = [unsafe.Offsetof(Header{}.Used)]struct{}{}
	_ [640]struct{}     = [unsafe.Offsetof(Header{}.Rings)]struct{}{}
	_ [handsAt]struct{} = [unsafe.Sizeof(Header{})]struct{}{}
	_ [16]struct{}      = [unsafe.Sizeof(Hand{})]struct{}{}
)

// FirstAt is where the first ring of a queue with those flags lies.
func FirstAt(flags uint32) int {
	if flags&Counts != 0 {
		return handsAt + MostHands*int(unsafe.Sizeof(Hand{}))
	}
	return handsAt
}

// At is the header of the queue in mem, whose length is at least FirstAt.
func At(mem []byte) *Header { return (*Header)(unsafe.Pointer(unsafe.SliceData(mem[:handsAt]))) }

// Hands are those of the queue in mem, which counts.
func Hands(mem []byte) *[MostHands]Hand {
	return (*[MostHands]Hand)(unsafe.Pointer(unsafe.SliceData(mem[handsAt:FirstAt(Counts)])))
}

// HandOf is the number of the hand of the participant in that slot.
func HandOf(slot uint32) uint32 { return slot%256*16 + slot/256%16 }

// Entry is how the header names a further ring.
func Entry(offset uint64, generation uint32) uint64 {
	return offset/layout.CacheLine<<32 | uint64(generation)
}

// Describe writes what the object of a further ring begins with.
func Describe(mem []byte, offset uint64, generation uint32, index int) {
	binary.LittleEndian.PutUint64(mem, offset)
	binary.LittleEndian.PutUint32(mem[8:], generation)
	binary.LittleEndian.PutUint32(mem[12:], uint32(index))
}

// Ring is what an entry names.
func Ring(entry uint64) (offset uint64, generation uint32) {
	return entry >> 32 * layout.CacheLine, uint32(entry)
}

// HasRing reports whether the queue in mem names the object as one of its further rings.
func HasRing(mem []byte, offset uint64, generation uint32) bool {
	if len(mem) < handsAt {
		return false
	}
	h := At(mem)
	for i := range h.Rings {
		if h.Rings[i].Load() == Entry(offset, generation) {
			return true
		}
	}
	return false
}

// EachPassed calls f for the memory that messages in the queue in mem refer to; ring gives the payload of the object of a further
// ring, or nil. A message that is there all the time is among them; of others it may be anything.
func EachPassed(mem []byte, further func(offset uint64, generation uint32) []byte, f func(offset uint64, stamp uint32)) {
	if len(mem) < handsAt {
		return
	}
	h := At(mem)
	at := FirstAt(h.Flags)
	if h.Form != Messages || len(mem) < at {
		return
	}
	each := func(kind uint32, b []byte) {
		if offset, _, stamp, ok := Where(kind, b); ok {
			f(offset, stamp)
		}
	}
	ring.EachMessage(mem[at:], each) // an error: there is nothing to be read
	for i := range h.Rings {
		if e := h.Rings[i].Load(); e != 0 {
			if part := further(Ring(e)); len(part) > RingAt {
				ring.EachMessage(part[RingAt:], each)
			}
		}
	}
}

// Say is the message that says where an item is.
func Say(b *[PassedSize]byte, offset, length uint64, stamp uint32) {
	binary.LittleEndian.PutUint64(b[0:], offset)
	binary.LittleEndian.PutUint64(b[8:], length)
	binary.LittleEndian.PutUint32(b[16:], stamp)
	binary.LittleEndian.PutUint32(b[20:], 0)
}

// Where is what a message says that Say made; ok is whether it is one.
func Where(kind uint32, b []byte) (offset, length uint64, stamp uint32, ok bool) {
	if kind != Passed || len(b) != PassedSize {
		return 0, 0, 0, false
	}
	return binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint32(b[16:]), true
}
