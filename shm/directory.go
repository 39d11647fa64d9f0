package shm

import (
	"fmt"
	"hash/fnv"
	"io/fs"
	"sync/atomic"
	"unicode/utf8"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// The directory finds objects by name: buckets, each the head of a chain of objects, newest first. It is the list
// of M. Michael, "High performance dynamic lock-free hash tables and list-based sets" (SPAA 2002), with tags, and
// with all insertions at the head. A link, the word of a bucket or an object's Next:
//
//	bits 0-35   offset of the next object, in units of 128 bytes; 0 at the end
//	bit  36     MARKED: the object that this is the Next of leaves the chain, and the word does not change any more
//	bits 37-63  tag: one more with every change of this word, also when the block has become another object
//
//	insert  bucket: h -> the object, whose Next was set to what h leads to   by its maker, if the whole chain from h has no such name
//	mark    Next of an object in LIMBO: n -> n MARKED                        by anybody who meets it
//	unlink  the link that leads to a marked object: -> what its Next leads to   likewise
//
// An object is linked by one compare-and-swap of the bucket from the value whose whole chain was searched, so no
// other object of that name can have come in between. Who searches looks at a link again after having read the
// object that it leads to: if the link has not changed, what was read is of an object that was linked then. So it
// does no harm to stand on an object that is unlinked and made into another.
const (
	maxName    = 200
	offsetBits = 36
	offsetMask = 1<<offsetBits - 1
	linkMarked = 1 << offsetBits
	linkTag    = linkMarked << 1

	// maxSize is how large a segment can be, for links to reach all of it.
	maxSize = unit << offsetBits
)

// relink is the link that follows l in the same word, to the object at off.
func relink(l, off uint64) uint64 { return l&^(linkTag-1) + linkTag | off/unit }

func linkTo(l uint64) (off uint64) { return (l & offsetMask) * unit }

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

// found is an object in the directory. Its offset is 0 if there is none.
type found struct {
	off   uint64
	state uint64 // LIVE
}

// find searches the chain that begins at bucket for name; "" is nobody's, so that the whole chain is seen. On the way
// it publishes what is linked and unlinks what was freed. If there is no such object, head is the value of the bucket
// from which the chain was searched.
func (h heap) find(bucket *atomic.Uint64, name string) (f found, head uint64, err error) {
	left := len(h.memory) / unit // steps in all: each change by others may make us begin anew
again:
	link := bucket
	l := link.Load()
	head = l
	// A chain cannot have more objects than there are blocks: what is linked was laid before. Each is met four times at
	// most: to be published, marked, unlinked or passed.
	most := 4 * (h.header().Top.Load() - heapAt) / unit
	for n := uint64(0); linkTo(l) != 0; n++ {
		if left--; left < 0 || n > most {
			return found{}, 0, fmt.Errorf("%w: a chain of the directory has no end", ErrCorrupt)
		}
		off := linkTo(l)
		o, room, err := h.block(off)
		if err != nil {
			if link.Load() != l {
				goto again
			}
			return found{}, 0, err
		}
		next, s := o.Next.Load(), o.State.Load()
		_, n, _, err := h.texts(off, o, room)
		same := err == nil && string(n) == name
		crashpoint.Hit("shm/find/read")
		if link.Load() != l { // PAIRS WITH unlink and insert: what was read is of an object in this chain
			goto again
		}
		if err != nil {
			return found{}, 0, err
		}
		switch {
		case next&linkMarked != 0:
			to := relink(l, linkTo(next))
			if !link.CompareAndSwap(l, to) {
				goto again
			}
			crashpoint.Hit("shm/find/unlinked")
			if l = to; link == bucket {
				head = l
			}
			continue
		case s&stateMask == stateLimbo:
			o.Next.CompareAndSwap(next, relink(next, linkTo(next))|linkMarked)
			crashpoint.Hit("shm/find/marked")
			continue
		case s&stateMask == stateNew:
			o.publishFrom(s)
			crashpoint.Hit("shm/find/published")
			continue
		case s&stateMask != stateLive || s>>32 != 0:
			return found{}, 0, fmt.Errorf("%w: the object at %d of the directory is in state %#x", ErrCorrupt, off, s)
		case same:
			return found{off, s}, 0, nil
		}
		link, l = &o.Next, next
	}
	return found{}, head, nil
}

// lookup finds the object name.
func (h heap) lookup(name string) (found, error) {
	f, _, err := h.find(h.bucket(bucketOf(name)), name)
	return f, err
}

// link enters the object at off under name, which it bears. It returns false if another object has the name.
func (h heap) link(off uint64, name string) (bool, error) {
	b := h.bucket(bucketOf(name))
	for {
		f, head, err := h.find(b, name)
		if f.off != 0 || err != nil {
			return false, err
		}
		// Nobody else changes the Next of an object that is in no chain: whoever once had it in his hands
		// expects a tag of then.
		next := &h.object(off).Next
		next.Store(relink(next.Load(), linkTo(head)))
		crashpoint.Hit("shm/link/next")
		if b.CompareAndSwap(head, relink(head, off)) { // PAIRS WITH find: the bucket is read
			crashpoint.Hit("shm/link/linked")
			return true, nil
		}
	}
}

// unlink makes sure that the object at off, which is in LIMBO, or whose dead maker may have linked it, is in no
// chain, or is published. Once found in LIMBO or unlinked an object is not linked again.
func (h heap) unlink(off uint64, o *object, room uint64) error {
	_, name, _, err := h.texts(off, o, room)
	if err != nil || len(name) == 0 {
		return err
	}
	_, _, err = h.find(h.bucket(bucketOf(string(name))), "")
	return err
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
