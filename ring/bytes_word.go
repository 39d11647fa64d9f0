package ring

// The word of a descriptor says in what state its record is. Position t lies in slot t mod D in lap t / D, D
// being the number of descriptors, a power of two, at least 16.
//
//	state      bits    what
//	EMPTY 0    0-1     state
//	           2-63    the slot's next position: t without its lowest log2(D) bits, which are zero. The whole
//	                   position, so that a claimer that was stopped for any time never takes one lap for another.
//	CLAIMED 1  0-1     state
//	           2-12    lap modulo 2^11
//	           13-19   cell of the claimer
//	           20-35   generation of the cell modulo 2^16
//	           36-63   room claimed, in units of 8 bytes, less one
//	ABORTED 2          as CLAIMED
//	COMMITTED 3 0-1    state
//	           2-12    lap modulo 2^11
//	           13-63   bytes of the record, at most what was claimed
//
//	from       to         by                    when
//	EMPTY      CLAIMED    CAS, a producer       the claim; it takes the position, the room and names the taker
//	CLAIMED    COMMITTED  CAS, the claimer      Commit
//	CLAIMED    ABORTED    CAS, the claimer      Abort
//	CLAIMED    ABORTED    CAS, the consumer     the claimer is dead, or has closed its handle
//	COMMITTED  EMPTY      store, the consumer   Advance; of the next lap
//	ABORTED    EMPTY      store, the consumer   Next passes over it; of the next lap
const (
	stateEmpty     = 0
	stateClaimed   = 1
	stateAborted   = 2
	stateCommitted = 3
	stateMask      = 3

	lapShift, lapMask         = 2, 1<<11 - 1
	whoShift, whoMask         = 13, 1<<23 - 1 // cell and generation
	cellMask                  = bytesCells - 1
	genShift, genMask         = 7, 1<<16 - 1 // within who
	unitsShift                = 36
	lengthShift               = 13
	unit                      = 8       // records begin and end at multiples of it
	maxRoom                   = 1 << 34 // so that the units of an eighth fit
	minRoom                   = 64      // so that an eighth is a unit
	minSlots, maxSlots        = 16, 1 << 16
	roomPerSlot               = 64
	slotsPerHint       uint64 = 64 // how many claims apart hints of the tail are published; a power of two
)

// empty is the word of a slot whose next position is t.
func (r *Bytes) empty(t uint64) uint64 { return t &^ r.mask }

// lapOf is the lap of position t as words have it, in its place there.
func (r *Bytes) lapOf(t uint64) uint64 { return t >> r.lapBits & lapMask << lapShift }

// inLap reports whether w, which is not EMPTY, is of position t (or 2,048 laps away from it).
func (r *Bytes) inLap(w, t uint64) bool { return (w^r.lapOf(t))&(lapMask<<lapShift) == 0 }

// claimedWord is what a claim of size bytes by who makes of the word of position t.
func (r *Bytes) claimedWord(t, who, size uint64) uint64 {
	return (size/unit-1)<<unitsShift | who<<whoShift | r.lapOf(t) | stateClaimed
}

// sizeOf is how many bytes a CLAIMED or ABORTED word claims.
func sizeOf(w uint64) uint64 { return (w>>unitsShift + 1) * unit }

// sizeFor is how many bytes a record of n bytes occupies: at least a unit, so that ends grow.
func sizeFor(n int) uint64 { return max((uint64(n)+unit-1)&^(unit-1), unit) }

// follow is where a record of size bytes begins, and ends, if the one before it ends at e: there, or at the next
// beginning of the area if it would not be contiguous otherwise.
func (r *Bytes) follow(e, size uint64) (place, end uint64) {
	if off := e & (r.room - 1); off+size > r.room {
		e += r.room - off
	}
	return e, e + size
}
