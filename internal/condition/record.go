package condition

import "github.com/shoal-ipc/shoal/internal/crashpoint"

// The fields of a record's waits; see the package documentation.
const (
	fieldBits = 14
	most      = 1<<fieldBits - 1 // of each

	granted  = 1 << 0
	returned = 1 << 14
	tagOne   = 1 << 28
	tagMask  = tagOne * (1<<4 - 1)
	all      = 1 << 32
	taken    = 1 << 46
	usedBits = 60
)

// waits is the content of a record's word, of which nobody has checked that it makes sense.
type waits uint64

func (w waits) granted() int  { return int(w / granted & most) }
func (w waits) returned() int { return int(w / returned & most) }
func (w waits) all() int      { return int(w / all & most) }
func (w waits) taken() int    { return int(w / taken & most) }

// open is how many can be notified.
func (w waits) open() int { return max(w.all()-w.granted()-w.taken(), 0) }

// free reports whether there are none.
func (w waits) free() bool { return w&^tagMask == 0 }

func (r *record) load() waits { return waits(r.waits.Load()) }

// change makes the word what f returns, until f returns what it was given: then change reports false.
func (r *record) change(f func(w waits) waits) (was waits, changed bool) {
	for {
		w := r.load()
		n := f(w)
		if n == w {
			return w, false
		}
		if r.waits.CompareAndSwap(uint64(w), uint64(n)) { // PAIRS WITH load
			return w, true
		}
	}
}

// take makes a wait that was notified one that knows it.
func (r *record) take() bool {
	if r.load().granted() == 0 {
		return false
	}
	_, ok := r.change(func(w waits) waits {
		if w.granted() == 0 || w.taken() == most {
			return w
		}
		return w - granted + taken
	})
	crashpoint.Hit("condition/record/taken")
	return ok
}

// consume ends a wait of owner that knows that it was notified. The lock is held.
func (r *record) consume(owner uint32) {
	r.change(func(w waits) waits {
		if r.owner.Load() != owner || w.taken() == 0 || w.all() == 0 { // see forsake
			return w
		}
		return w - taken - all
	})
	crashpoint.Hit("condition/record/consumed")
}

// resign ends a wait of owner that does not know that it was notified, and reports whether it was. The lock is held.
func (r *record) resign(owner uint32) (notified bool) {
	r.change(func(w waits) waits {
		switch notified = false; {
		case r.owner.Load() != owner || w.all() == 0:
			return w
		case w.open() == 0 && w.granted() != 0:
			notified = true
			return w - granted - all
		}
		return w - all
	})
	crashpoint.Hit("condition/record/resigned")
	return notified
}

// forsake ends a wait of owner without the lock, and reports whether it returns a notification. knows is whether the wait
// knows that it was notified.
func (r *record) forsake(owner uint32, knows bool) (returns bool) {
	r.change(func(w waits) waits {
		switch returns = false; {
		case r.owner.Load() != owner || w.all() == 0 || w.returned() == most:
			return w // this process has left the segment
		case knows && w.taken() != 0:
			returns = true
			return w - taken - all + returned
		case !knows && w.open() == 0 && w.granted() != 0:
			returns = true
			return w - granted - all + returned
		}
		return w - all
	})
	crashpoint.Hit("condition/record/forsaken")
	return returns
}

// drain takes away the notifications to be passed on, and of one who is dead all there is; it returns how many.
func (r *record) drain(dead bool) int {
	w, _ := r.change(func(w waits) waits {
		if dead {
			return w & tagMask
		}
		return w &^ (most * returned)
	})
	crashpoint.Hit("condition/record/drained")
	if dead {
		return w.returned() + w.granted() + w.taken()
	}
	return w.returned()
}
