package shm

import (
	"os"
	"reflect"
)

// The types and places of the format.
var (
	HeaderType = reflect.TypeFor[header]()
	SlotType   = reflect.TypeFor[slot]()
	ObjectType = reflect.TypeFor[object]()
)

const (
	DirAt    = dirAt
	HintsAt  = hintsAt
	SlotsAt  = slotsAt
	HeapAt   = heapAt
	LockBase = lockBase
)

// BucketAt is where the bucket of a name is.
func BucketAt(name string) int { return dirAt + 8*int(bucketOf(name)) }

// Memory is the whole segment, for those who play the vandal.
func Memory(s *Segment) []byte { return s.memory }

// TakeOver moves the life of a participant to a description of the caller's own, as a child does.
var TakeOver = takeOver

// LockAt is the first byte of an owner id.
var LockAt = lockAt

// Life is the description that this process's life in s is bound to.
func Life(s *Segment) *os.File { return s.res.alive }

// File is the description that is mapped.
func File(s *Segment) *os.File { return s.file }

// As is s as the participant id sees it.
func As(s *Segment, id uint32) *Segment {
	c := &Segment{heap: s.heap, uuid: s.uuid, pins: make(map[uint64]int)}
	c.self, c.spare = id, newSpare(len(s.memory))
	return c
}

// Pin and Unpin open and close what is at an offset.
func Pin(s *Segment, off uint64) error { return s.pin(off) }

func Unpin(s *Segment, off uint64) { s.unpin(off) }

// Pinned is how many objects s has open.
func Pinned(s *Segment) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.pins)
}

// Spill gives all that the process keeps.
func Spill(s *Segment) { s.giveAll() }

// Tidy sweeps up after those that are gone.
func Tidy(s *Segment) (int, error) { return s.tidy(false) }

// ClassOf and InClass are about sizes of blocks in units.
var (
	ClassOf = classOf
	InClass = inClass
	LeastOf = leastOf
)

// PayloadAt is where the payload of an object is.
func PayloadAt(h Handle) uint64 { return h.Offset + objectHead }
