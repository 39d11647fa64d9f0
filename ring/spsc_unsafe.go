package ring

import (
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/race"
)

// TryPush appends v and reports true, or reports false if the ring is full, or corrupt, or the producer's end
// is taken (see Err).
func (r *SPSC[T]) TryPush(v T) bool {
	e := &r.prod
	if e.at == e.limit && !spill((*end).more, e) {
		return false
	}
	*(*T)(unsafe.Add(e.slots, uintptr(e.at&e.mask)*unsafe.Sizeof(v))) = v
	if crashpoint.Enabled {
		crashpoint.Hit("ring/push/written")
	}
	e.at++
	e.publish.Release()
	e.own.Publish(e.at) // PAIRS WITH update: load the other position; take: load its own
	return true
}

// TryPop takes the oldest item, or reports false if the ring is empty, or corrupt, or the consumer's end is
// taken (see Err).
func (r *SPSC[T]) TryPop() (v T, ok bool) {
	e := &r.cons
	if e.at == e.limit && !spill((*end).more, e) {
		return v, false
	}
	v = *(*T)(unsafe.Add(e.slots, uintptr(e.at&e.mask)*unsafe.Sizeof(v)))
	if crashpoint.Enabled {
		crashpoint.Hit("ring/pop/copied")
	}
	e.at++
	e.publish.Release()
	e.own.Publish(e.at) // PAIRS WITH update: load the other position; take: load its own
	return v, true
}

// normalise makes the bools in items, which are private copies, valid.
func (r *SPSC[T]) normalise(items []T) {
	r.bools.NormaliseN(unsafe.Pointer(unsafe.SliceData(items)), len(items), r.size)
}

// attach makes the two ends in this process. Neither is taken yet, so the fast paths stop at once.
func (r *SPSC[T]) attach() {
	h := r.header
	r.base = unsafe.Pointer(unsafe.SliceData(r.all))
	r.items, r.room = race.At(unsafe.Pointer(&h.tail)), race.At(unsafe.Pointer(&h.head))
	r.prod = end{
		slots: r.base, mask: r.slots - 1, own: &h.tail, publish: r.items,
		ahead: r.slots, other: &h.head, look: r.room, claim: &h.producer, ring: &r.common,
	}
	r.cons = end{
		slots: r.base, mask: r.slots - 1, own: &h.head, publish: r.room,
		other: &h.tail, look: r.items, claim: &h.consumer, ring: &r.common,
	}
	if r.bools != nil {
		n := min(r.slots, maxStaged)
		r.staging = make([]T, n)
		r.cons.slots, r.cons.mask, r.cons.staged = unsafe.Pointer(unsafe.SliceData(r.staging)), n-1, true
	}
}
