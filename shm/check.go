package shm

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/condition"
	"github.com/shoal-ipc/shoal/internal/inherit"
)

// Check verifies the whole segment: header, participants, blocks, directory, the owner words of what is
// guarded by a lock, the permits of semaphores, who reads, barriers, and who waits for conditions. It returns nil, or
// the errors.Join of an error for each inconsistency, of the form
//
//	shm: offset 553088: what is wrong there: shm: corrupt
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
// from which words only grow, what must be true of the words that it reads one after the other. What it reads of
// an object counts if the object's state, which has the generation, is the same before and after.
type checker struct {
	heap
	found  []error
	offs   []uint64 // of the blocks, in their order
	named  []named  // objects with a name, before the chains were read
	linked []linked // conditions with further records
	end    uint64   // of the last block
	vain   int      // looks for blocks that are not there
}

// named is an object with a name.
type named struct {
	off, state uint64
	bucket     uint32
	name       string
}

// linked is a condition at off that says that its further records are at to.
type linked struct{ off, state, to uint64 }

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
		c.zero(offsetOf(c.memory, &s.Guard)+4, offsetOf(c.memory, &s.Node))
		c.zero(offsetOf(c.memory, &s.Node)+8, at+unit)
	}
}

func (c *checker) checkHeap() {
	if !c.walk() {
		return
	}
	slices.SortFunc(c.named, func(a, b named) int { return cmp.Compare(a.bucket, b.bucket) })
	rest := c.named
	for i := range uint32(dirBuckets) {
		n := 0
		for n < len(rest) && rest[n].bucket == i {
			n++
		}
		c.chain(i, rest[:n])
		rest = rest[n:]
	}
	c.checkHints()
	c.checkWaits()
	for _, m := range c.linked { // these are there for as long as the condition is
		if at := m.off + objectHead + condition.MoreAt; !c.begins(m.to) && c.object(m.off).State.Load() == m.state {
			c.wrong(at, "further records of a condition at %d, where no block begins", m.to)
		}
	}
}

// checkWaits checks that the tables of waits lie in memory of who has them, and name blocks.
func (c *checker) checkWaits() {
	for i := range min(c.header().SlotsUsed.Load(), slotCount) {
		s := c.slot(i)
		before := s.Word.Load()
		introduced := slotState(before) == slotLive && uint32(s.Who.Load()>>32) == ownerID(i, before)
		at := s.Waits.Load() // in this order: it may be an earlier holder's until who is introduced
		if at == 0 {
			continue
		}
		t, _ := c.waitTableOf(i)
		if !c.begins(at-objectHead) || introduced && t == nil && s.Word.Load() == before {
			c.wrong(offsetOf(c.memory, &s.Waits), "participant slot %d has its waits at %d, where it has no memory", i, at)
			continue
		}
		for j := 0; t != nil && j < waitCount; j++ {
			o := t[j].Object.Load()
			if o != 0 && !c.begins(o) && s.Word.Load() == before {
				c.wrong(offsetOf(c.memory, &t[j].Object), "wait for an object at %d, where no block begins", o)
			}
		}
	}
}

// walk checks the blocks from the end of those that were checked to that of the heap, and reports whether it
// got there.
func (c *checker) walk() bool {
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
		end, ok := c.laid(top)
		if !ok {
			return false
		}
		c.offs = append(c.offs, c.end)
		c.block(c.end, end)
		c.end = end
	}
	if c.end+objectHead > n || c.object(c.end).Claim.Load() == 0 {
		return true
	}
	// A block that was laid and is not counted yet, or that whose death left it so: the next one helps.
	_, ok := c.laid(h.Committed.Load())
	return ok
}

// laid checks the claim of the block at the end of those that were checked, which is to lie below limit, and returns
// its end.
func (c *checker) laid(limit uint64) (end uint64, ok bool) {
	claim := c.object(c.end).Claim.Load()
	end, err := c.after(c.end, claim)
	if err != nil || end > limit {
		c.wrong(c.end, "block of %d units, the heap ends at %d", uint32(claim), limit)
		return 0, false
	}
	if owner := uint32(claim >> 32); !c.given(owner) {
		c.wrong(c.end, "block of %#x, which no participant was", owner)
	}
	return end, true
}

// vainMost is how many blocks that are not there are looked for by another walk, of all blocks. Each is an inconsistency;
// what begins after that many of them, and after the last walk, is called one too.
const vainMost = 10

// begins reports whether a block begins at off. Blocks that were laid or split off since the walk are found by another.
func (c *checker) begins(off uint64) bool {
	if _, ok := slices.BinarySearch(c.offs, off); ok {
		return true
	}
	if off < heapAt || off%unit != 0 || c.vain == vainMost {
		return false
	}
	c.offs = c.offs[:0]
	c.heap.blocks(func(off uint64, o *object, room uint64) bool {
		c.offs = append(c.offs, off)
		return true
	})
	_, ok := slices.BinarySearch(c.offs, off)
	if !ok {
		c.vain++
	}
	return ok
}

// block checks the block from off to end, which was laid.
func (c *checker) block(off, end uint64) {
	o := c.object(off)
	st := o.State.Load()
	at := offsetOf(c.memory, &o.State)
	owner := uint32(st >> 32)
	switch st & stateMask {
	case stateNew, stateHeld, stateMore, statePassed:
		if st != stateNew && !c.given(owner) {
			c.wrong(at, "block of %#x, which no participant was", owner)
		}
	case stateFree, stateLimbo, stateLive:
		if owner != 0 {
			c.wrong(at, "block in state %d has owner %#x", st&stateMask, owner)
		}
	default:
		c.wrong(at, "block in state %d", st&stateMask)
		return
	}
	switch st & stateMask {
	case stateLive:
		if generationOf(st) == 0 {
			c.wrong(at, "object of generation 0")
		}
		if name := c.described(off, end, o, st); name != "" {
			c.named = append(c.named, named{off, st, bucketOf(name), name})
		}
	case stateMore:
		if end-off < objectHead+unit {
			c.wrong(off, "block for openers of %d bytes", end-off)
		} else if m := c.openersMore(off + objectHead); !c.begins(m.Of) && o.State.Load() == st { // else it was swept up
			c.wrong(offsetOf(c.memory, &m.Of), "openers of an object at %d, where no block begins", m.Of)
		}
	}
	for i := range o.Open {
		c.opener(&o.Open[i])
	}
	if more := o.More.Load(); more != 0 && c.more(more) == nil {
		c.wrong(offsetOf(c.memory, &o.More), "openers at %d, where there are none", more)
	} else if more != 0 {
		m := c.more(more)
		for i := range m.Open {
			c.opener(&m.Open[i])
		}
	}
}

// opener checks a cell of the openers of an object.
func (c *checker) opener(cell *atomic.Uint32) {
	if id := cell.Load(); id != 0 && !c.given(id) {
		c.wrong(offsetOf(c.memory, cell), "open in %#x, which no participant was", id)
	}
}

// described checks what the object at off, whose state is st, says of itself, and returns its name.
func (c *checker) described(off, end uint64, o *object, st uint64) (name string) {
	before := len(c.found)
	defer func() {
		if o.State.Load() != st { // it was freed meanwhile
			c.found = c.found[:before]
			name = ""
		}
	}()
	room := end - off - objectHead
	size, text, _, err := c.texts(off, o, room)
	if err != nil {
		c.wrong(offsetOf(c.memory, &o.Size), "payload of %d bytes, names of %d and %d, room for %d", o.Size, o.NameLen, o.TypeLen, room)
		return ""
	}
	name = string(text)
	kind := kindName(o.Kind)
	for _, b := range o.Kind[len(kind):] {
		if b != 0 {
			c.wrong(offsetOf(c.memory, &o.Kind), "kind %q", o.Kind)
			break
		}
	}
	if checkName(name) != nil {
		c.wrong(off+objectHead+size, "name %q", name)
	}
	if !c.given(o.Creator) {
		c.wrong(offsetOf(c.memory, &o.Creator), "object made by %#x, which no participant was", o.Creator)
	}
	if code := Code(o.Code); code != 0 && (code.Size() == 0 || code.hash() != o.Hash) {
		c.wrong(offsetOf(c.memory, &o.Code), "code %q of %s", code, describe(kind, "", o.Hash))
	}
	c.zero(offsetOf(c.memory, &o.Code)+1, offsetOf(c.memory, &o.Created))
	if w, ok := owningOf(o.Owners, size); ok {
		from := off + objectHead
		if at, word, wrong := w.check(c.memory[from:from+size], c.given); wrong {
			c.wrong(from+uint64(at), "word %#x of a %s", word, w.what)
		}
	} else if o.Owners != (ownerWords{}) && o.Owners != passage && !(o.Owners == partOf && size >= partSize) { // what it is part of may be gone
		c.wrong(offsetOf(c.memory, &o.Owners), "owner words %+v in %d bytes", o.Owners, size)
	}
	if check, ok := waitersOf(kind, size); ok {
		from := off + objectHead
		mem := c.memory[from : from+size]
		if at, word, wrong := check(mem, c.given); wrong {
			c.wrong(from+uint64(at), "word %#x of a condition", word)
		} else if kind != conditionName {
		} else if to := condition.Further(mem); to != 0 {
			c.linked = append(c.linked, linked{off, st, to})
		}
	}
	return name
}

// chain checks the objects of bucket i, in which those named are to be found.
func (c *checker) chain(i uint32, want []named) {
	const tries = 100 // a chain that changes all the time is for another time
	for range tries {
		before := len(c.found)
		met, ok := c.follow(i)
		if !ok {
			c.found = c.found[:before]
			continue
		}
		if len(met) == 0 && len(want) == 0 {
			return
		}
		there := make(map[uint64]bool)
		for _, m := range met {
			there[m.off] = true
		}
		for _, w := range want {
			if !there[w.off] && w.lives(c) {
				c.wrong(offsetOf(c.memory, c.bucket(i)), "bucket %d has no object %q, which is at %d", i, w.name, w.off)
			}
		}
		names := make(map[string]bool)
		for _, m := range met {
			if !m.lives(c) {
				continue
			}
			if names[m.name] {
				c.wrong(m.off+objectHead+c.object(m.off).Size, "name %q twice", m.name)
			}
			names[m.name] = true
		}
		return
	}
}

func (n named) lives(c *checker) bool {
	return n.state&stateMask == stateLive && c.object(n.off).State.Load() == n.state
}

// follow returns the objects of bucket i, newest first. It returns false if the chain changed meanwhile.
func (c *checker) follow(i uint32) (met []named, ok bool) {
	link := c.bucket(i)
	l := link.Load()
	if linkTo(l) == 0 {
		return nil, true
	}
	seen := make(map[uint64]bool)
	at := offsetOf(c.memory, link) // the word that led to off
	for off := linkTo(l); off != 0; {
		begins := c.begins(off)
		switch {
		case link.Load() != l:
			return met, false
		case seen[off]:
			c.wrong(at, "the chain of bucket %d goes on at %d, where it has been", i, off)
			return met, true
		case !begins:
			c.wrong(at, "the chain of bucket %d goes on at %d, where no block begins", i, off)
			return met, true
		}
		o, room, err := c.heap.block(off)
		if err != nil {
			return met, true // it was found when the blocks were looked at
		}
		next, st := o.Next.Load(), o.State.Load()
		size, name, _, err := c.texts(off, o, room)
		n := named{off, st, i, string(name)}
		if link.Load() != l {
			return met, false
		}
		switch st & stateMask {
		case stateNew, stateLive, stateLimbo:
		default:
			c.wrong(offsetOf(c.memory, &o.State), "bucket %d has a block in state %d", i, st&stateMask)
		}
		if err == nil && (len(n.name) == 0 || bucketOf(n.name) != i) {
			c.wrong(off+objectHead+size, "name %q in bucket %d", n.name, i)
		}
		met, seen[off] = append(met, n), true
		at = offsetOf(c.memory, &o.Next)
		// While the link to a marked object stands, what that leads to is in the chain: it is unlinked after it.
		if next&linkMarked == 0 {
			link, l = &o.Next, next
		}
		off = linkTo(next)
	}
	return met, link.Load() == l
}

// checkHints checks that each hint is at a block.
func (c *checker) checkHints() {
	for class := range classCount {
		for i := range hintCount {
			w := c.hintWord(class, i)
			if off := w.Load(); off != 0 && !c.begins(off) {
				c.wrong(offsetOf(c.memory, w), "hint at %d, where no block begins", off)
			}
		}
	}
}
