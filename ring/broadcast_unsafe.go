package ring

import (
	"fmt"
	"reflect"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/race"
)

// attachBroadcast makes a handle of the ring of that shape in mem, which has been checked.
func attachBroadcast[T any](mem []byte, s broadcastShape, peers Peers) *Broadcast[T] {
	h := broadcastAt(mem)
	b := &Broadcast[T]{head: h, lossy: s.kind == kindLossy}
	b.common = common{
		slots: s.slots, size: reflect.TypeFor[T]().Size(), bools: layout.BoolsOf(reflect.TypeFor[T]()), peers: peers,
	}
	b.items, b.room = race.At(unsafe.Pointer(&h.tail)), race.At(unsafe.Pointer(&h.used))
	b.prod = end{
		mask: s.slots - 1, own: &h.tail, publish: b.items, ahead: s.slots, look: b.room, claim: &h.producer,
		ring: &b.common,
	}
	if b.lossy {
		b.turns = turnsAt(mem, s.start, s.slots, b.size)
		b.base = b.turns.first
		b.prod.find = b.resume
	} else {
		b.all = itemsAt[T](mem, s.start, s.slots)
		b.base = unsafe.Pointer(unsafe.SliceData(b.all))
		b.audience = audience{head: h, cells: cellsOf(mem, s.cells), slots: s.slots, peers: peers}
		b.prod.find = func() uint64 { return b.audience.slowest(b.prod.at) }
	}
	b.prod.slots = b.base
	return b
}

// reader makes the handle of a reader that has joined at a position.
func (b *Broadcast[T]) reader(c *cell, self uint32, at uint64) *Reader[T] {
	r := &Reader[T]{
		head: b.head, lossy: b.lossy, all: b.all, turns: b.turns, cell: c, tag: placed(self, 0),
	}
	r.common = common{base: b.base, slots: b.slots, size: b.size, bools: b.bools, peers: b.peers}
	r.cons = end{
		slots: b.base, mask: b.slots - 1, publish: b.room, other: &b.head.tail, look: b.items, mine: self,
		ring: &r.common, keep: r.keep, at: at,
	}
	r.cons.stop()
	if r.bools != nil && !r.lossy {
		n := min(r.slots, maxStaged)
		r.staging = make([]T, n)
		r.cons.slots, r.cons.mask, r.cons.staged = unsafe.Pointer(unsafe.SliceData(r.staging)), n-1, true
	}
	return r
}

// TryPush appends v and reports true. It reports false if the ring is blocking and full, which means that a living
// reader is too far behind; or if it is corrupt or the producer's end is taken (see Err).
func (b *Broadcast[T]) TryPush(v T) bool {
	e := &b.prod
	if e.at == e.limit && !e.more() {
		return false
	}
	if b.lossy {
		b.overwrite(unsafe.Pointer(&v))
		return true
	}
	*(*T)(unsafe.Add(e.slots, uintptr(e.at&e.mask)*unsafe.Sizeof(v))) = v
	if crashpoint.Enabled {
		crashpoint.Hit("ring/broadcast/written")
	}
	e.at++
	e.publish.Release()
	e.own.Publish(e.at) // PAIRS WITH update and place: load the tail; take: load its own
	return true
}

// resume is what the producer of a lossy ring does instead of looking for the others. It comes here after it has
// taken the end, so the last owner may have been killed after it had shown an item and before it counted it.
func (b *Broadcast[T]) resume() uint64 {
	e := &b.prod
	if turn, _ := b.turns.slot(e.at); turn.Load() == b.turns.whole(e.at) { // PAIRS WITH overwrite: publish the turn
		e.at++
		e.own.Publish(e.at) // PAIRS WITH catchUp and Reader: load the tail
	}
	return e.at
}

// overwrite puts the item at from into the slot of the tail. There is room.
func (b *Broadcast[T]) overwrite(from unsafe.Pointer) {
	e := &b.prod
	turn, item := b.turns.slot(e.at)
	whole := b.turns.whole(e.at)
	turn.Publish(whole - 1) // PAIRS WITH read: load the turn after the item
	if crashpoint.Enabled {
		crashpoint.Hit("ring/overwrite/begun")
	}
	writeWords(item, from, b.size)
	e.publish.Release()
	if crashpoint.Enabled {
		crashpoint.Hit("ring/overwrite/written")
	}
	turn.Publish(whole) // PAIRS WITH read: load the turn before the item; resume and Reader: load it
	if crashpoint.Enabled {
		crashpoint.Hit("ring/overwrite/shown")
	}
	e.at++
	e.own.Publish(e.at) // PAIRS WITH catchUp and Reader: load the tail; take: load its own
}

// overwriteMany puts all of vs into a lossy ring, unless the end is somebody else's, and returns how many.
func (b *Broadcast[T]) overwriteMany(vs []T) int {
	e := &b.prod
	for i := range vs {
		if e.at == e.limit && !e.more() {
			return i
		}
		b.overwrite(unsafe.Pointer(&vs[i]))
	}
	return len(vs)
}

// read copies the item of position p to the given place. It returns 0 if that is the item, a negative number if it is
// not yet there, and a positive one if it was written over.
func (t *turns) read(p uint64, to unsafe.Pointer) int64 {
	turn, item := t.slot(p)
	if d := int64(turn.Load() - t.whole(p)); d != 0 { // PAIRS WITH overwrite: publish that the item is there
		return d
	}
	if crashpoint.Enabled {
		crashpoint.Hit("ring/read/found") // where a stop lets the producer write over the item
	}
	readWords(to, item, t.size)
	return int64(turn.Load() - t.whole(p)) // PAIRS WITH overwrite: publish that the item is being written
}

// TryPop returns the next item and how many were lost before it, which are none in a blocking ring. It reports false
// if there is no item, if the reader is closed or what it finds is corrupt (see Err), and if the producer of a lossy
// ring has overrun the reader time and again during the call; then and only then it may be false though there are
// items.
func (r *Reader[T]) TryPop() (v T, lost uint64, ok bool) {
	e := &r.cons
	if r.lossy {
		if !r.chase(unsafe.Pointer(&v), true) {
			var none T // instead of parts of several items
			return none, 0, false
		}
		lost, r.lost = r.lost, 0
		return v, lost, true
	}
	if e.at == e.limit && !e.more() {
		return v, 0, false
	}
	v = *(*T)(unsafe.Add(e.slots, uintptr(e.at&e.mask)*unsafe.Sizeof(v)))
	if crashpoint.Enabled {
		crashpoint.Hit("ring/broadcast/copied")
	}
	e.at++
	e.publish.Release()
	r.cell.word.Publish(r.tag | e.at&cellPlace) // PAIRS WITH lag: load the word
	return v, 0, true
}

// pass publishes that n positions more are read, n being at most what upTo returned.
func (r *Reader[T]) pass(n int) {
	e := &r.cons
	if e.limit-e.at < uint64(n) { // staged items were passed over
		e.limit = e.at + uint64(n)
	}
	e.at += uint64(n)
	e.publish.Release()
	crashpoint.Hit("ring/reader/done")
	r.cell.word.Publish(r.tag | e.at&cellPlace) // PAIRS WITH lag: load the word
	crashpoint.Hit("ring/reader/published")
}

// chase copies the next item of a lossy ring to the given place, or reports false. It goes on behind items that are
// lost only if it may.
func (r *Reader[T]) chase(to unsafe.Pointer, further bool) bool {
	e := &r.cons
	if r.failure() != nil {
		return false
	}
	for try := range maxTries {
		d := r.turns.read(e.at, to)
		if d == 0 {
			e.at++
			e.look.Acquire()
			r.bools.Normalise(to)
			return true
		}
		if d < 0 {
			// It is being written, or the slot has the item of one lap before.
			if d != -1 && d != -2*int64(r.slots) {
				r.corrupt(fmt.Errorf("%w: the turn of position %#x is off by %d", ErrCorrupt, e.at, d))
			}
			return false
		}
		if !further || !r.catchUp(try) {
			return false
		}
	}
	return false
}

// catchUp goes on to the oldest item that is still there, after the next one was found written over. After some tries
// it leaves out more and more of the oldest, which are the next to be written over: a reader that copies more slowly
// than the producer writes shall not do so in vain for ever.
func (r *Reader[T]) catchUp(try int) bool {
	e := &r.cons
	tail := r.head.tail.Load() // PAIRS WITH overwrite and resume: publish the tail
	if tail-e.at < r.slots || tail-e.at > 1<<63 {
		r.corrupt(fmt.Errorf("%w: position %#x is written over, and the tail is %#x with %d slots",
			ErrCorrupt, e.at, tail, r.slots))
		return false
	}
	next := tail - r.slots
	if next == e.at {
		next++ // that slot is being given to the tail
	}
	if half := maxTries / 2; try >= half {
		if left := max(r.slots>>(try-half+1), 1); tail-next > left {
			next = tail - left
		}
	}
	r.lost += next - e.at
	e.at = next
	return true
}

// chaseMany pops items of a lossy ring up to the next gap.
func (r *Reader[T]) chaseMany(dst []T) (n int, lost uint64) {
	for n < len(dst) && r.chase(unsafe.Pointer(&dst[n]), n == 0) {
		n++
	}
	if n < len(dst) {
		clear(dst[n : n+1]) // instead of parts of several items
	}
	if n > 0 {
		lost, r.lost = r.lost, 0
	}
	return n, lost
}

// corrupt makes the reader useless.
func (r *Reader[T]) corrupt(err error) { r.err.CompareAndSwap(nil, &err) }

// keep finds out whether the reader still has its cell.
func (r *Reader[T]) keep() error {
	e := &r.cons
	if r.cell.word.Load() == r.tag|e.at&cellPlace { // PAIRS WITH lag: CAS the word when it evicts
		return nil
	}
	if r.peers.Dead(e.mine) {
		return errNobody
	}
	err := fmt.Errorf("%w: the cell of a reader was changed by somebody else", ErrCorrupt)
	r.corrupt(err)
	return err
}

// leave gives the cell back.
func (r *Reader[T]) leave() {
	e := &r.cons
	if r.cell != nil && e.mine != 0 {
		e.publish.Release()
		crashpoint.Hit("ring/leave/leaving")
		r.cell.word.CompareAndSwap(r.tag|e.at&cellPlace, 0) // PAIRS WITH lag and join: load and CAS the word
		e.mine = 0
	}
	e.stop()
	e.lent = 0
}

// normalise makes the bools in items, which are private copies, valid.
func (r *Reader[T]) normalise(items []T) {
	r.bools.NormaliseN(unsafe.Pointer(unsafe.SliceData(items)), len(items), r.size)
}
