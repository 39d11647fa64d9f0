package ring

import (
	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// Consume takes the consumer's end for this handle, also from a dead owner. It is ErrBusy if a living process or
// another handle of this one has it, ErrCorrupt, or os.ErrClosed. The first Next does the same by itself.
func (r *Bytes) Consume() error {
	if err := r.take(); err != nil {
		return err
	}
	return r.failure()
}

// Next gives the oldest record, in place. It is good until Advance or Close; without Advance, Next gives the same
// again. It reports false if there is none, if the oldest one is claimed by a living process that has not finished
// it yet, if the ring is corrupt, or if the consumer's end is taken (see Err). The bytes are another process's: one that
// breaks the rules may change them meanwhile. Next frees the records of the dead and the aborted ones that it passes
// over, also if it reports false then: there may be room for who waits for that.
func (r *Bytes) Next() (p []byte, ok bool) {
	if r.mine == 0 || r.err.Load() != nil {
		if !r.resume() {
			return nil, false
		}
	}
	spins := r.spins
	for range 2 * (r.mask + 1) { // so many tombstones at most, each of which may have to be made first
		d := r.slot(r.at)
		w := d.word.Load() // PAIRS WITH commit, claim and Record.Abort: CAS the word
		for ; w&stateMask == stateClaimed && spins > 0; spins-- {
			// It may be a matter of nanoseconds, and to ask for a process costs more.
			atomics.Pause(1)
			w = d.word.Load() // PAIRS WITH commit and Record.Abort: CAS the word
		}
		if w == r.empty(r.at) {
			r.resume() // so that one that has left notices
			return nil, false
		}
		state := w & stateMask
		if state == stateEmpty || !r.inLap(w, r.at) {
			if r.resume() {
				r.corrupt("descriptor %#x at position %#x", w, r.at)
			}
			return nil, false
		}
		if state == stateClaimed {
			if !r.resume() || !r.bury(d, w) {
				return nil, false
			}
			continue
		}
		end := d.end.Load() // PAIRS WITH claim, endBefore and bury: CAS the end
		size := end - r.from
		place, _ := r.follow(r.from, size)
		length := uint64(0)
		if state == stateCommitted {
			length = w >> lengthShift
		}
		// One that was not contiguous at from begins with the area, and ends somewhere in that.
		if size%unit != 0 || size == 0 || size > r.room || int64(end-place) <= 0 || length > end-place {
			if r.resume() {
				r.corrupt("descriptor %#x at position %#x, record of %d bytes from %#x to %#x",
					w, r.at, length, r.from, end)
			}
			return nil, false
		}
		if state == stateAborted {
			if r.header.consumer.Load() != r.mine { // PAIRS WITH take: CAS the claim
				// This process has left, and another has taken over: it is that one's to pass over.
				if !r.resume() {
					return nil, false
				}
				continue
			}
			r.pass(end)
			spins = r.spins
			continue
		}
		r.items.Acquire()
		r.handed, r.until = true, end
		offset := place & (r.room - 1)
		return r.area[offset : offset+length : offset+length], true
	}
	return nil, false
}

// Advance frees the record that Next gave, unless the consumer's end was taken away since. It panics if Next has given
// none since the last Advance.
func (r *Bytes) Advance() {
	if !r.handed {
		if r.taken {
			r.taken = false
			return // nothing another process does leads to a panic
		}
		panic("ring: Advance without a record that Next gave")
	}
	r.handed, r.taken = false, false
	if r.header.consumer.Load() != r.mine { // PAIRS WITH take: CAS the claim
		r.mine = 0 // this process has left, and another has taken over: the record is that one's
		return
	}
	r.pass(r.until)
}

// pass goes on to the next record, which begins at end or after it. A consumer that dies on the way has said enough
// for the next one to finish it (tidy).
func (r *Bytes) pass(end uint64) {
	h, d := r.header, r.slot(r.at)
	r.handed = false
	r.gone.Release()
	crashpoint.Hit("bytes/pass/done")
	h.freed.Publish(end) // PAIRS WITH claim and take: load where the next record begins
	crashpoint.Hit("bytes/pass/freed")
	r.from = end
	r.at++
	h.head.Publish(r.at) // PAIRS WITH search and take: load the position
	crashpoint.Hit("bytes/pass/passed")
	d.word.Publish(r.empty(r.at + r.mask)) // PAIRS WITH claim: load the word
	crashpoint.Hit("bytes/pass/emptied")
}

// bury makes a tombstone of the record here, whose word is w, if its claimer is dead or has left its cell, and
// reports whether it has changed something.
//
// The word was loaded before the cell. So if the cell has a new generation, that is not the claimer's; and if it has the
// claimer's, who owns it is the claimer, or nobody: then that has closed its handle.
func (r *Bytes) bury(d *descriptor, w uint64) bool {
	who := w >> whoShift & whoMask
	cell := r.header.cells[who&cellMask].Load() // PAIRS WITH join and leave: CAS the cell
	owner, generation := uint32(cell), cell>>32&genMask
	if owner != 0 && generation == who>>genShift && (owner == r.mine || !r.peers.Dead(owner)) {
		return false
	}
	size := sizeOf(w)
	if size > r.room/8 {
		r.corrupt("%d bytes claimed at position %#x", size, r.at)
		return false
	}
	// First the end: a tombstone has one, as all that is finished.
	if e := d.end.Load(); int64(e-r.from) <= 0 { // PAIRS WITH claim and endBefore: CAS the end
		_, end := r.follow(r.from, size)
		d.end.CompareAndSwap(e, end) // PAIRS WITH endBefore: load the end
	}
	crashpoint.Hit("bytes/bury/placed")
	// It fails if the claimer, dead or not, was quicker.
	d.word.CompareAndSwap(w, w^stateClaimed^stateAborted) // PAIRS WITH commit and Record.Abort: CAS the word
	crashpoint.Hit("bytes/bury/buried")
	return true
}

// resume takes the end if this handle does not have it, or not any more. If it could not, Err says why.
func (r *Bytes) resume() bool {
	if err := r.take(); err != nil {
		refuse(&r.reading.refused, err)
		return false
	}
	return r.err.Load() == nil
}

// take claims the consumer's end for this handle, if it does not have it already.
func (r *Bytes) take() error {
	if err := r.failure(); err != nil {
		return err
	}
	claim := &r.header.consumer
	if r.mine != 0 && claim.Load() == r.mine { // PAIRS WITH take: CAS the claim
		return nil
	}
	r.taken = r.taken || r.handed
	r.mine, r.handed = 0, false
	self := r.peers.Self()
	if self == 0 || r.peers.Dead(self) {
		return errNobody
	}
	owner := claim.Load() // PAIRS WITH take and Close: CAS the claim
	if owner != 0 && (owner == self || !r.peers.Dead(owner)) {
		return ErrBusy
	}
	// PAIRS WITH take and Close: CAS the claim. It fails only if somebody else has just taken the end.
	if !claim.CompareAndSwap(owner, self) {
		return ErrBusy
	}
	crashpoint.Hit("bytes/take/taken")
	r.mine = self
	r.reading.refused.Store(nil)
	// The order after the last owner, which may be another handle in this process.
	r.gone.Acquire()
	r.at, r.from = r.header.head.Load(), r.header.freed.Load() // PAIRS WITH pass: publish both
	r.tidy()
	return nil
}

// tidy does what the last consumer has not done of pass.
func (r *Bytes) tidy() {
	h := r.header
	last := r.slot(r.at - 1)
	// The one before is passed but not empty. Else it is that, or claimed again, in the next lap.
	// PAIRS WITH pass: publish EMPTY.
	if w := last.word.Load(); w&stateMask != stateEmpty && r.inLap(w, r.at-1) {
		last.word.Publish(r.empty(r.at + r.mask)) // PAIRS WITH claim: load the word
		crashpoint.Hit("bytes/tidy/emptied")
	}
	// The one here is freed but not passed: its end stands there already. (Only what is finished has an end.)
	d := r.slot(r.at)
	w := d.word.Load() // PAIRS WITH commit and bury: CAS the word
	finished := w&stateMask == stateCommitted || w&stateMask == stateAborted
	if finished && r.inLap(w, r.at) && d.end.Load() == r.from { // PAIRS WITH claim and bury: CAS the end
		r.at++
		h.head.Publish(r.at) // PAIRS WITH search and take: load the position
		crashpoint.Hit("bytes/tidy/passed")
		d.word.Publish(r.empty(r.at + r.mask)) // PAIRS WITH claim: load the word
		crashpoint.Hit("bytes/tidy/emptied-too")
	}
}
