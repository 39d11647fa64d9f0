package condition

import "encoding/binary"

// The modes of a guard (package guard) that a condition can have.
const (
	modeOwn       = 0
	modeGiven     = 1
	modeRecursive = 3
)

// unit is what the offsets of objects are multiples of.
const unit = 128

// Check returns the offset of the first word in the condition whose payload is mem to which no step leads, what it is, and
// whether there is one; given tells which owner ids there can be. The owner word of a lock of its own is for package robust.
// It may be called at any time: what a process that was killed leaves, or is in the middle of, is no such word.
func Check(mem []byte, given func(id uint32) bool) (at int, w uint64, wrong bool) {
	lock, generation := binary.LittleEndian.Uint64(mem[lockAt:]), binary.LittleEndian.Uint32(mem[lockGenerationAt:])
	switch mode := binary.LittleEndian.Uint32(mem[modeAt:]); {
	case mode == modeOwn && lock != 0, mode != modeOwn && (lock == 0 || lock%unit != 0):
		return lockAt, lock, true
	case (mode == modeOwn) != (generation == 0):
		return lockGenerationAt, uint64(generation), true
	case mode != modeOwn && mode != modeGiven && mode != modeRecursive:
		return modeAt, uint64(mode), true
	case mode != modeOwn:
		if at, w, wrong := zero(mem, 0, lockAt); wrong {
			return at, w, true
		}
	}
	p := payloadOf(mem)
	if o := p.more.Load(); o%unit != 0 { // PAIRS WITH extend: the generation is there before it
		return MoreAt, o, true
	} else if o != 0 && p.generation.Load() == 0 {
		return generationAt, 0, true
	}
	if at, w, wrong := zero(mem, generationAt+4, MoreAt); wrong {
		return at, w, true
	}
	if at, w, wrong := zero(mem, ticketsAt+8, recordsAt); wrong {
		return at, w, true
	}
	records := recordsIn(mem, inline)
	for i := range records {
		r, at := &records[i], recordsAt+i*recordSize
		// In this order: it was drawn before it was written.
		if t := r.ticket.Load(); t > p.tickets.Load() {
			return at + ticketAt, t, true
		}
	}
	return checkRecords(mem, records, given)
}

// CheckMore is Check for the further records of a condition, whose payload is mem.
func CheckMore(mem []byte, given func(id uint32) bool) (at int, w uint64, wrong bool) {
	if o := binary.LittleEndian.Uint64(mem); o == 0 || o%unit != 0 {
		return 0, o, true
	}
	if binary.LittleEndian.Uint32(mem[8:]) == 0 {
		return 8, 0, true
	}
	if at, w, wrong := zero(mem, 12, recordsAt); wrong {
		return at, w, true
	}
	return checkRecords(mem, recordsIn(mem, further), given)
}

// checkRecords is the part of Check and CheckMore that concerns the records in mem.
func checkRecords(mem []byte, records []record, given func(id uint32) bool) (at int, w uint64, wrong bool) {
	for i := range records {
		r, at := &records[i], recordsAt+i*recordSize
		// In this order: who has a record is named before there are waits in it, and somebody is from then on.
		w, id := r.load(), r.owner.Load()
		switch {
		case id != 0 && !given(id):
			return at, uint64(id), true
		case w>>usedBits != 0, w.all() < w.granted()+w.taken(), id == 0 && !w.free():
			return at + waitsAt, uint64(w), true
		}
		if at, w, wrong := zero(mem, at+4, at+waitsAt); wrong {
			return at, w, true
		}
		if at, w, wrong := zero(mem, at+ticketAt+8, at+recordSize); wrong {
			return at, w, true
		}
	}
	return 0, 0, false
}

// zero finds the first byte of mem from an offset to another that is not 0, each of which is read once.
func zero(mem []byte, from, to int) (at int, w uint64, wrong bool) {
	for i, b := range mem[from:to] {
		if b != 0 {
			return from + i, uint64(b), true
		}
	}
	return 0, 0, false
}

// Further is where the further records are of the condition whose payload is mem, 0 if there are none.
func Further(mem []byte) (offset uint64) { return payloadOf(mem).more.Load() } // PAIRS WITH extend
