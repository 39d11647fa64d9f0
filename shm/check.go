package shm

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// Check verifies the whole segment: header, participants, blocks, directory, and the owner words of what is
// guarded by a lock. It returns nil, or the errors.Join of an error for each inconsistency, of the form
//
//	shm: offset 536704: what is wrong there: shm: corrupt
//
// which wraps ErrCorrupt; the offset is that of the field, in bytes from the beginning of the segment. What
// lies behind a block whose length is wrong is not looked at.
//
// Check may be called at any time, from any goroutine of any process, also after Close: it takes no lock,
// changes nothing, and holds nobody up. What others are in the middle of, and what a process that was killed
// leaves, is no inconsistency. It takes time and memory in proportion to the number of objects.
func (s *Segment) Check() error {
	c := checker{heap: s.heap, end: heapAt}
	c.checkHeader(s.uuid)
	c.checkSlots()
	c.checkHeap()
	runtime.KeepAlive(s)
	return errors.Join(c.found...)
}

// checker is one look at a segment that others change meanwhile. It knows from the order of their writes, and
// from which words only grow, what must be true of the words that it reads one after the other.
type checker struct {
	heap
	found  []error
	blocks []checked // in the order of their memory
	end    uint64    // of the last of them
}

// checked is a block that was looked at.
type checked struct {
	off       uint64
	described bool // what the object says of itself was checked
	named     bool // it was an object with a name before the buckets were read
	linked    bool // it is in a chain
}

func (c *checker) wrong(at uint64, format string, args ...any) {
	c.found = append(c.found, fmt.Errorf("shm: offset %d: %s: %w", at, fmt.Sprintf(format, args...), ErrCorrupt))
}

// zero checks bytes that are reserved.
func (c *checker) zero(from, to uint64) {
	for i, b := range c.memory[from:to] { // each is read once: whoever wrote one may write another
		if b != 0 {
			c.wrong(from+uint64(i), "reserved byte is %#x", b)
			return
		}
	}
}

// given reports whether owner id was given out. Each generation of a slot but the first began after a free, so
// until there were as many frees as generations those of a slot have only grown; after that all may be.
func (c *checker) given(id uint32) bool {
	i := id & slotMask
	if id>>slotBits == 0 || i >= min(c.header().SlotsUsed.Load(), slotCount) {
		return false
	}
	return id>>slotBits <= c.slot(i).Word.Load()>>slotBits || c.wrapped()
}

func (c *checker) wrapped() bool { return c.header().Freed.Load() >= 1<<(32-slotBits)-1 }

func (c *checker) checkHeader(uuid inherit.UUID) {
	h := c.header()
	if h.Magic != magic {
		c.wrong(offsetOf(c.memory, &h.Magic), "magic %q", h.Magic)
	}
	if h.Version != formatVersion {
		c.wrong(offsetOf(c.memory, &h.Version), "format version %d", h.Version)
	}
	if h.Flags&^flagNamed != 0 {
		c.wrong(offsetOf(c.memory, &h.Flags), "flags %#x", h.Flags)
	}
	if h.Size != uint64(len(c.memory)) {
		c.wrong(offsetOf(c.memory, &h.Size), "size %d of a segment of %d bytes", h.Size, len(c.memory))
	}
	if h.UUID != uuid {
		c.wrong(offsetOf(c.memory, &h.UUID), "UUID %x, it was %x", h.UUID, uuid)
	}
	if h.HeapAt != heapAt {
		c.wrong(offsetOf(c.memory, &h.HeapAt), "heap at %d", h.HeapAt)
	}
	if !c.given(h.Creator) {
		c.wrong(offsetOf(c.memory, &h.Creator), "creator %#x, which no participant was", h.Creator)
	}
	used, freed, deaths := offsetOf(c.memory, &h.SlotsUsed), offsetOf(c.memory, &h.Freed), offsetOf(c.memory, &h.DeathEpoch)
	top, committed := offsetOf(c.memory, &h.Top), offsetOf(c.memory, &h.Committed)
	c.zero(offsetOf(c.memory, &h.HeapAt)+8, used)
	c.zero(used+4, freed)
	c.zero(freed+8, deaths)
	c.zero(deaths+4, top)
	c.zero(top+8, committed)
	c.zero(committed+8, offsetOf(c.memory, &h.Name))
	if h.Flags&flagNamed == 0 {
		c.zero(offsetOf(c.memory, &h.Name), dirAt)
	} else if segmentName(h) == "" {
		c.wrong(offsetOf(c.memory, &h.Name), "name of the segment %q", strings.TrimRight(string(h.Name[:]), "\x00"))
	}
}

func (c *checker) checkSlots() {
	h := c.header()
	used := h.SlotsUsed.Load()
	if used < 1 || used > slotCount {
		c.wrong(offsetOf(c.memory, &h.SlotsUsed), "%d participant slots used of %d", used, slotCount)
		used = min(used, slotCount)
	}
	for i := range used {
		s := c.slot(i)
		// In this order: who is written after the generation of the word, the stamp before FREE and after it
		// was taken from the clock.
		who, w, stamp := uint32(s.Who.Load()>>32), s.Word.Load(), s.Freed.Load()
		freed := h.Freed.Load()
		at := offsetOf(c.memory, &s.Word)
		switch g := w >> slotBits; {
		case slotState(w) > slotDead:
			c.wrong(at, "participant slot %d in state %d", i, slotState(w))
		case g == 0 || uint64(g)-1 > freed && !c.wrapped():
			c.wrong(at, "participant slot %d of generation %d after %d slots were freed", i, g, freed)
		}
		if who != 0 && (who&slotMask != i || !c.given(who)) {
			c.wrong(offsetOf(c.memory, &s.Who), "participant slot %d says that it is %#x", i, who)
		}
		if stamp > freed || stamp == 0 && slotState(w) == slotFree {
			c.wrong(offsetOf(c.memory, &s.Freed), "participant slot %d has stamp %d of %d", i, stamp, freed)
		}
		c.zero(offsetOf(c.memory, &s.Doorbell), offsetOf(c.memory, &s.Who))
		c.zero(offsetOf(c.memory, &s.Waits), at+unit)
	}
}

func (c *checker) checkHeap() {
	if !c.walk(true) {
		return
	}
	var heads [dirBuckets]uint64
	for i := range heads {
		heads[i] = c.bucket(uint32(i)).Load()
	}
	if !c.walk(false) { // what was linked meanwhile
		return
	}
	for i, head := range heads {
		c.chain(uint32(i), head)
	}
	for _, b := range c.blocks {
		if !b.named || b.linked {
			continue
		}
		if _, name, _, err := c.texts(b.off, c.object(b.off), c.room(b.off)); err == nil {
			i := bucketOf(string(name))
			c.wrong(offsetOf(c.memory, c.bucket(i)), "bucket %d has no object %q, which is at %d", i, name, b.off)
		}
	}
}

// walk checks the blocks from the end of those that were checked to that of the heap, and reports whether it
// got there; early is whether the buckets are yet to be read.
func (c *checker) walk(early bool) bool {
	h := c.header()
	top, err := c.top()
	if err != nil {
		c.wrong(offsetOf(c.memory, &h.Top), "heap ends at %d", h.Top.Load())
		return false
	}
	n := h.Committed.Load() // after top, which is not raised before it
	if n < top || n > uint64(len(c.memory)) || n%unit != 0 {
		c.wrong(offsetOf(c.memory, &h.Committed), "%d bytes committed, the heap ends at %d of %d", n, top, len(c.memory))
		return false
	}
	for c.end < top {
		if !c.laid(top) {
			return false
		}
		c.block(early)
	}
	if c.end+objectHead > n || c.object(c.end).Claim.Load() == 0 {
		return true
	}
	// A block that was laid and is not counted yet, or that whose death left it so: the next one helps.
	return c.laid(h.Committed.Load())
}

// laid checks the claim of the block at the end of those that were checked, which is to lie below limit.
func (c *checker) laid(limit uint64) bool {
	claim := c.object(c.end).Claim.Load()
	if end, err := c.after(c.end, claim); err != nil || end > limit {
		c.wrong(c.end, "block of %d units, the heap ends at %d", uint32(claim), limit)
		return false
	}
	if owner := uint32(claim >> 32); !c.given(owner) {
		c.wrong(c.end, "block of %#x, which no participant was", owner)
	}
	return true
}

// room is the size of what follows the header of the block at off, which was laid.
func (c *checker) room(off uint64) uint64 {
	end, err := c.after(off, c.object(off).Claim.Load())
	if err != nil {
		return 0
	}
	return end - off - objectHead
}

// block checks the next block, which was laid.
func (c *checker) block(early bool) {
	off, o := c.end, c.object(c.end)
	b := checked{off: off}
	st := o.State.Load()
	at := offsetOf(c.memory, &o.State)
	switch st & stateMask {
	case stateNew, stateFree:
	case stateLive:
		if generationOf(st) == 0 {
			c.wrong(at, "object of generation 0")
		}
		c.described(off, o)
		b.described, b.named = true, early && o.NameLen != 0
	default:
		c.wrong(at, "block in state %d", st&stateMask)
	}
	if owner := uint32(st >> 32); owner != 0 && !c.given(owner) {
		c.wrong(at, "state set by %#x, which no participant was", owner)
	}
	c.blocks = append(c.blocks, b)
	c.end = off + objectHead + c.room(off)
}

// described checks what the object at off says of itself; it is whole.
func (c *checker) described(off uint64, o *object) {
	size, name, _, err := c.texts(off, o, c.room(off))
	if err != nil {
		c.wrong(offsetOf(c.memory, &o.Size), "payload of %d bytes, names of %d and %d, room for %d",
			o.Size, o.NameLen, o.TypeLen, c.room(off))
		return
	}
	kind := kindName(o.Kind)
	for _, b := range o.Kind[len(kind):] {
		if b != 0 {
			c.wrong(offsetOf(c.memory, &o.Kind), "kind %q", o.Kind)
			break
		}
	}
	if checkName(string(name)) != nil {
		c.wrong(off+objectHead+size, "name %q", name)
	}
	if layer := uint32(o.Claim.Load() >> 32); o.Creator != layer {
		c.wrong(offsetOf(c.memory, &o.Creator), "object made by %#x in a block of %#x", o.Creator, layer)
	}
	code := offsetOf(c.memory, &o.Code)
	owners := offsetOf(c.memory, &o.Owners)
	c.zero(code+1, offsetOf(c.memory, &o.Created))
	c.zero(offsetOf(c.memory, &o.More), owners)
	c.zero(owners+16, off+objectHead)
	switch {
	case o.Owners == ownerWords{}:
	case o.Owners == robustWord && size >= robust.Size:
		at := off + objectHead
		w := c.word(at).Load()
		if !robust.Valid(w) || w>>32 != 0 && !c.given(uint32(w>>32)) {
			c.wrong(at, "owner word %#x", w)
		}
	default:
		c.wrong(owners, "owner words %+v in %d bytes", o.Owners, size)
	}
}

// chain checks the objects of bucket i, whose value is head. They are all among the blocks that were checked.
func (c *checker) chain(i uint32, head uint64) {
	names := make(map[string]bool)
	at := offsetOf(c.memory, c.bucket(i)) // the word that leads on
	for off := (head & offsetMask) * unit; off != 0; {
		n, ok := slices.BinarySearchFunc(c.blocks, off, func(b checked, off uint64) int { return cmp.Compare(b.off, off) })
		if !ok {
			c.wrong(at, "the chain of bucket %d goes on at %d, where no block begins", i, off)
			return
		}
		b, o := &c.blocks[n], c.object(off)
		if b.linked {
			c.wrong(at, "the chain of bucket %d goes on at %d, which a chain has had", i, off)
			return
		}
		b.linked = true
		if o.State.Load()&stateMask == stateFree {
			c.wrong(offsetOf(c.memory, &o.State), "bucket %d has an object that was given up", i)
		}
		if !b.described {
			c.described(off, o)
		}
		if size, name, _, err := c.texts(off, o, c.room(off)); err == nil {
			if b := bucketOf(string(name)); b != i || len(name) == 0 {
				c.wrong(off+objectHead+size, "name %q in bucket %d, not %d", name, i, b)
			}
			if names[string(name)] {
				c.wrong(off+objectHead+size, "name %q twice", name)
			}
			names[string(name)] = true
		}
		at, off = offsetOf(c.memory, &o.Next), o.Next.Load()
	}
}
