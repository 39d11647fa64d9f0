package shm

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// A participant has a table of waits, which says what its goroutines wait for, for people who ask and for
// nobody else: nothing goes on or stops by it. It lies in memory that the participant allocates when a wait
// first lasts long enough, and that is swept up with what else a dead one held. Only the participant writes
// it. One that has no memory for a table, or whose table is full, records nothing more.
//
//	record  entry: since, tag, then object: 0 -> offset of the block   by the participant, whose own mutex guards the entries
//	forget  object: offset -> 0                                        by the participant
//
// The slot's Waits is written once, when the table is zeroed and HELD. A reader takes it for the table of
// {slot, g} if the slot is LIVE and says that it is {slot, g}'s, and the block there is HELD by {slot, g}:
// what an earlier holder of the slot wrote counts for nothing, for introduce has taken that away before it
// said who the new one is. A kill leaves entries of a dead participant, which is none of those that are read;
// a stop leaves entries that are true, or have just been.
var _ robust.Recorder = (*Segment)(nil)

// waits is what a process knows of its own table.
type waits struct {
	mu    sync.Mutex
	table *waitTable
	none  bool   // there was no memory for it
	used  uint64 // a bit for each entry
}

// Waiting records that a goroutine of this process waits for an object, for Inspect, until done is called.
// word is the first of the object's payload, tag what tells apart owners within this process (of an rlock the number
// that its tag will have), or 0. It is for types that are built with Kind, and for waits that last: some milliseconds, so that others do not pay for
// it. Without room for a record done is nil.
func (s *Segment) Waiting(word *atomic.Uint32, since time.Time, tag uint64) (done func()) {
	defer runtime.KeepAlive(s)
	w := &s.res.waits
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.table == nil && !w.none {
		if s.begin() != nil {
			return nil // another Segment of this name, which shares the table, may go on
		}
		defer s.end()
		w.table = s.newTable()
		w.none = w.table == nil
	}
	i := bits.TrailingZeros64(^w.used)
	if w.none || i == waitCount {
		return nil
	}
	w.used |= 1 << i
	e := &w.table[i]
	e.Since.Store(since.UnixNano())
	crashpoint.Hit("shm/waiting/since")
	e.Tag.Store(tag)
	crashpoint.Hit("shm/waiting/tag")
	e.Object.Store(offsetOf(s.memory, word) - objectHead) // PAIRS WITH waitersFor
	crashpoint.Hit("shm/waiting/recorded")
	return func() {
		e.Object.Store(0)
		crashpoint.Hit("shm/waiting/forgotten")
		w.mu.Lock()
		w.used &^= 1 << i
		w.mu.Unlock()
		runtime.KeepAlive(s)
	}
}

// newTable gives this process its table, nil if there is no memory for it.
func (s *Segment) newTable() *waitTable {
	off, _, err := s.take(waitBytes) // nobody is to look for memory, and be swept up after, for this
	if err != nil {
		return nil
	}
	clear(s.hold(off, waitBytes))
	s.slot(s.self & slotMask).Waits.Store(off + objectHead) // PAIRS WITH waitTableOf
	crashpoint.Hit("shm/waiting/table")
	return s.waitTable(off + objectHead)
}

// waitTableOf is the table of the participant that slot i has, and its owner id; nil if it has none.
func (h heap) waitTableOf(i uint32) (t *waitTable, id uint32) {
	sl := h.slot(i)
	w := sl.Word.Load()
	id = ownerID(i, w)
	if slotState(w) != slotLive || uint32(sl.Who.Load()>>32) != id { // PAIRS WITH introduce
		return nil, 0
	}
	at := sl.Waits.Load()
	o, room, err := h.block(at - objectHead)
	if err != nil || room < waitBytes {
		return nil, 0
	}
	if st := o.State.Load(); st != owned(id, generationOf(st), stateHeld) {
		return nil, 0
	}
	return h.waitTable(at), id
}

// waitersFor are the living participants that wait for the object at off, and since when the first of them
// does.
func (s *Segment) waitersFor(off uint64) (ids []uint32, since time.Time) {
	for i := range min(s.header().SlotsUsed.Load(), slotCount) {
		t, id := s.waitTableOf(i)
		if t == nil {
			continue
		}
		first, waits := int64(0), false
		for j := range t {
			if t[j].Object.Load() != off {
				continue
			}
			if at := t[j].Since.Load(); !waits || at < first {
				first, waits = at, true
			}
		}
		if !waits || s.Dead(id) {
			continue
		}
		if at := time.Unix(0, first); len(ids) == 0 || at.Before(since) {
			since = at
		}
		ids = append(ids, id)
	}
	return ids, since
}

// Inspect tells which living participants hold the object, as far as it says so (see Kind.Guarded), which
// wait for it, and since when the first of these does. Who has waited for some milliseconds only is not among
// them, nor is a wait of which there was no room for a record. It is for types that are built with Kind. The
// errors are ErrStale, ErrCorrupt and os.ErrClosed.
func Inspect(o Object) (owners, waiters []Participant, since time.Time, err error) {
	defer runtime.KeepAlive(o)
	s := o.Segment()
	if s == nil || s.closed.Load() {
		return nil, nil, since, fmt.Errorf("shm: inspect: %w", os.ErrClosed)
	}
	held, err := s.holders(o.Handle())
	if err != nil {
		return nil, nil, since, fmt.Errorf("shm: inspect %q: %w", o.Name(), err)
	}
	held = slices.DeleteFunc(held, s.Dead)
	ids, since := s.waitersFor(o.Handle().Offset)
	return s.participants(held), s.participants(ids), since, nil
}

// Wait is one wait of a participant, and who holds what it waits for.
type Wait struct {
	Waiter  uint32 // owner id
	Tag     uint64 // as it was given to Segment.Waiting
	Object  uint64 // the offset that the object's Handle has
	Since   int64  // nanoseconds since 1970
	Holders []uint32
	HeldBy  uint64 // if the wait has a tag, that of who holds the object, 0 if it is not known
}

// Waits are the waits of the living participants for what living participants hold, as far as they are recorded (see
// Inspect). It is for types that are built with Kind. The error is os.ErrClosed.
func Waits(s *Segment) (waits []Wait, err error) {
	defer runtime.KeepAlive(s)
	if s.closed.Load() {
		return nil, fmt.Errorf("shm: waits: %w", os.ErrClosed)
	}
	for i := range min(s.header().SlotsUsed.Load(), slotCount) {
		t, id := s.waitTableOf(i)
		if t == nil || s.Dead(id) {
			continue
		}
		for j := range t {
			w := Wait{Waiter: id, Object: t[j].Object.Load(), Tag: t[j].Tag.Load(), Since: t[j].Since.Load()}
			if w.Object == 0 {
				continue
			}
			o, room, err := s.block(w.Object)
			if err != nil {
				continue // an object that was freed meanwhile
			}
			if w.Tag != 0 && o.Owners == robustWord && room >= robust.HolderSize {
				w.HeldBy = robust.Tag(s.memory[w.Object+objectHead:])
			}
			w.Holders = slices.DeleteFunc(s.holding(w.Object, o, room), s.Dead)
			waits = append(waits, w)
		}
	}
	s.uncross(waits)
	return waits, nil
}

// uncross takes those from the holders in waits who have come to the barrier that is waited for, and wait for nothing else: each
// party waits for others, and not for those. Who waits for something else too, in another goroutine, may be to come once more.
func (s *Segment) uncross(waits []Wait) {
	for i := range waits {
		w := &waits[i]
		o, room, err := s.block(w.Object)
		if err != nil {
			continue
		}
		own, mem, ok := s.owningAt(w.Object, o, room)
		if !ok || own.came == nil {
			continue
		}
		came := own.came(mem)
		w.Holders = slices.DeleteFunc(w.Holders, func(id uint32) bool {
			return slices.Contains(came, id) && !slices.ContainsFunc(waits, func(v Wait) bool { return v.Waiter == id && v.Object != w.Object })
		})
	}
}

// holders are the participants that the owner words of an object name.
func (s *Segment) holders(h Handle) (ids []uint32, err error) {
	o, room, err := s.block(h.Offset)
	if err != nil {
		return nil, err
	}
	if st := o.State.Load(); generationOf(st) != h.Generation || st&stateMask != stateLive && st&stateMask != stateLimbo {
		return nil, ErrStale
	}
	return s.holding(h.Offset, o, room), nil
}

// holding are the participants that the owner words of the object at off name.
func (h heap) holding(off uint64, o *object, room uint64) (ids []uint32) {
	if w, mem, ok := h.owningAt(off, o, room); ok {
		ids = w.holders(mem)
	}
	return ids
}

// awaited are the other participants that hold what this process waits for, as far as its table says. An object may have
// become another one meanwhile: then they are some who hold that.
func (h heap) awaited() (ids []uint32) {
	t, _ := h.waitTableOf(h.self & slotMask)
	for i := 0; t != nil && i < waitCount; i++ {
		off := t[i].Object.Load()
		if off == 0 {
			continue
		}
		if o, room, err := h.block(off); err == nil {
			ids = append(ids, h.holding(off, o, room)...)
		}
	}
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), func(id uint32) bool { return id == h.self })
}

// participants describes those of ids that are not gone yet.
func (s *Segment) participants(ids []uint32) (ps []Participant) {
	for _, id := range ids {
		if p, of, ok := s.participant(id & slotMask); ok && of == id {
			ps = append(ps, p)
		}
	}
	return ps
}
