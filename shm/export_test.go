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

// UUID is the identity of a segment.
func UUID(s *Segment) [16]byte { return s.uuid }

// The ways in which a file gets its name, and the bytes that are locked meanwhile.
var Ways = []way{wayEmptyPath, wayProc, wayRename}

const (
	AttachByte = attachByte
	RemoveByte = removeByte
	TempPrefix = tempPrefix
)

// CreateBy makes a segment in one way and in no other.
func CreateBy(w way, name string, size int) (*Segment, error) {
	return enterNamed("create", name, Options{}, func(p *place) (*Segment, error) { return p.createBy(size, Options{}, w) })
}
