package shm

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"unicode/utf8"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// The directory finds objects by name: buckets, each the head of a chain of objects, newest first.
//
//	bits 0-39   offset of the newest object, in units of 128 bytes; 0 at the end
//	bits 40-63  how often the bucket was changed
//
// An object is linked by one compare-and-swap of the bucket from the value whose whole chain was searched, so no
// other object of that name can have come in between.
const (
	maxName    = 200
	offsetBits = 40
	offsetMask = 1<<offsetBits - 1
)

func checkName(name string) error {
	if len(name) > maxName || !utf8.ValidString(name) {
		return fmt.Errorf("%w: the name of an object is at most %d bytes of UTF-8, this has %d", fs.ErrInvalid, maxName, len(name))
	}
	return nil
}

func bucketOf(name string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(name))
	return h.Sum32() % dirBuckets
}

// find searches the chain that begins with the bucket value head. off is 0 if the name is not there.
func (h heap) find(head uint64, name string) (off uint64, err error) {
	next := (head & offsetMask) * unit
	// A chain cannot have more objects than fit into the heap.
	for left := len(h.memory) / unit; next != 0; left-- {
		o, room, err := h.block(next)
		if err != nil {
			return 0, err
		}
		if left == 0 {
			return 0, fmt.Errorf("%w: the chain of bucket %d has no end", ErrCorrupt, bucketOf(name))
		}
		if _, n, _, err := h.texts(next, o, room); err != nil {
			return 0, err
		} else if string(n) == name {
			o.publish()
			if o.State.Load()&stateMask == stateLive {
				return next, nil
			}
		}
		next = o.Next.Load()
	}
	return 0, nil
}

// lookup finds the object name; 0 if there is none.
func (h heap) lookup(name string) (uint64, error) {
	return h.find(h.bucket(bucketOf(name)).Load(), name)
}

// link enters the object at off under name, which it bears. It returns the offset of another object of that
// name if there is one.
func (h heap) link(off uint64, name string) (other uint64, err error) {
	b := h.bucket(bucketOf(name))
	for {
		head := b.Load()
		if other, err := h.find(head, name); other != 0 || err != nil {
			return other, err
		}
		h.object(off).Next.Store((head & offsetMask) * unit)
		crashpoint.Hit("shm/link/next")
		if b.CompareAndSwap(head, head&^offsetMask+1<<offsetBits|off/unit) {
			crashpoint.Hit("shm/link/linked")
			return 0, nil
		}
	}
}

// texts returns the size of the object's payload, its name and the name of its type, which follow the payload.
func (h heap) texts(off uint64, o *object, room uint64) (size uint64, name, typ []byte, err error) {
	size, n, t := o.Size, uint64(o.NameLen), uint64(o.TypeLen)
	if size > room || n+t > room-size {
		return 0, nil, nil, fmt.Errorf("%w: object at %d does not fit into its block", ErrCorrupt, off)
	}
	at := off + objectHead + size
	return size, h.memory[at : at+n : at+n], h.memory[at+n : at+n+t : at+n+t], nil
}
