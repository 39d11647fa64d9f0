package ring

import "github.com/shoal-ipc/shoal/internal/crashpoint"

// claim takes the next position and room for a record of n bytes: the one CAS of a descriptor from EMPTY to
// CLAIMED. It returns the position, the word that the descriptor has now, and the offset of the room in the area.
//
// What a claimer computes before its CAS is right if that succeeds: the position t was then not yet claimed, so the
// record before it was the last one, and where that ends could not have been overwritten. If it is not the last
// position any more the CAS fails, because EMPTY words have whole positions.
func (r *Bytes) claim(n int) (t, w, offset uint64, ok bool) {
	if uint(n) > uint(r.room/8) {
		refuse(&r.writing.refused, r.tooLong)
		return 0, 0, 0, false
	}
	who, ok := r.member()
	if !ok {
		return 0, 0, 0, false
	}
	size := sizeFor(n)
	t = r.hint.Load()
	if hint := r.header.tail.Load(); int64(hint-t) > 0 { // PAIRS WITH claim: publish the hint
		t = hint
	}
	for range r.tries {
		d := r.slot(t)
		free := r.empty(t)
		// PAIRS WITH pass: publish EMPTY; claim: CAS to CLAIMED.
		if w = d.word.Load(); w != free {
			next, full := r.search(t, w)
			if full {
				return 0, 0, 0, false
			}
			t = next
			continue
		}
		e, ok := r.endBefore(t)
		if !ok {
			if d.word.Load() == free { // t lies beyond the tail: somebody wrote nonsense into the hint
				t = r.header.head.Load() // PAIRS WITH pass: publish the position
			}
			continue
		}
		place, end := r.follow(e, size)
		if end-r.noted.Load() > r.room {
			freed := r.header.freed.Load() // PAIRS WITH pass: publish where the next record begins
			r.noted.Publish(freed)
			if end-freed > r.room {
				if d.word.Load() != free { // e may be of another lap
					continue
				}
				if e-freed > r.room {
					r.corrupt("the last record ends at %#x and the first begins at %#x, %d bytes", e, freed, r.room)
				}
				return 0, 0, 0, false
			}
		}
		if e%unit != 0 {
			if d.word.Load() == free {
				r.corrupt("a record ends at %#x", e)
				return 0, 0, 0, false
			}
			continue
		}
		w = r.claimedWord(t, who, size)
		// PAIRS WITH Next, claim and bury: load the word.
		if !d.word.CompareAndSwap(free, w) {
			continue // somebody has claimed t; search finds what follows
		}
		crashpoint.Hit("bytes/claim/claimed")
		r.gone.Acquire()
		// Where the record ends must be there before the next claim and before the commit. If it is not the end of an
		// earlier record that stands there, somebody else has put it there already, and perhaps a later one since.
		// Ends only grow, so that a CAS from one that was seen never hits another lap.
		if old := d.end.Load(); int64(old-e) <= 0 {
			d.end.CompareAndSwap(old, end) // PAIRS WITH endBefore and Next: load the end
		}
		crashpoint.Hit("bytes/claim/placed")
		r.hint.Publish(t + 1)
		if (t+1)%slotsPerHint == 0 {
			// A store by one that was stopped may take the hint back. Then it is a worse hint, until the next store.
			r.header.tail.Publish(t + 1) // PAIRS WITH claim and attachBytes: load the hint
		}
		crashpoint.Hit("bytes/claim/done")
		if r.writing.refused.Load() != nil {
			r.writing.refused.Store(nil)
		}
		return t, w, place & (r.room - 1), true
	}
	return 0, 0, 0, false // so often only in corrupt memory
}

// commit publishes n bytes of the record at t, whose descriptor has the word w since this process has claimed it.
// It fails if the record was made a tombstone meanwhile, because this process has closed its handle or left.
func (r *Bytes) commit(t, w uint64, n int) bool {
	r.items.Release()
	crashpoint.Hit("bytes/commit/written")
	done := uint64(n)<<lengthShift | w&(lapMask<<lapShift) | stateCommitted
	ok := r.slot(t).word.CompareAndSwap(w, done) // PAIRS WITH Next: load the word
	crashpoint.Hit("bytes/commit/committed")
	return ok
}

// search finds where to go on when the descriptor of t has the word w, which says that t is not there to claim, or
// reports that all descriptors are in use.
func (r *Bytes) search(t, w uint64) (next uint64, full bool) {
	if w&stateMask == stateEmpty {
		// It had its last record one lap before, so that was claimed, and what follows may not be.
		if last := w | t&r.mask - (r.mask + 1); int64(last-t) >= 0 {
			return last + 1, false
		}
		return r.header.head.Load(), false // the hint was beyond the tail: somebody wrote nonsense there
	}
	if r.inLap(w, t) {
		return t + 1, false
	}
	head := r.header.head.Load() // PAIRS WITH pass: publish the position
	oldest := t - (r.mask + 1)
	if r.inLap(w, oldest) && head-oldest <= 1 && r.slot(t-1).word.Load() != r.empty(t-1) {
		// All positions from the oldest to t-1 are claimed. (The consumer has published a new head if it is in the
		// middle of freeing the oldest.)
		return t, true
	}
	return head, false // t is far behind, or beyond the tail
}

// endBefore is where the record before t ends, t having been seen unclaimed. The claim of t proves the answer,
// which may be nonsense if somebody claims t meanwhile. It is false if the position before t is not claimed, so that
// t cannot be, or if t is claimed now.
func (r *Bytes) endBefore(t uint64) (end uint64, ok bool) {
	d := r.slot(t - 1)
	w, e := d.word.Load(), d.end.Load() // PAIRS WITH claim: CAS to CLAIMED, CAS the end
	if w&stateMask != stateClaimed {
		// Committed, aborted and freed records have their end.
		return e, w != r.empty(t-1)
	}
	before := r.slot(t - 2).end.Load() // PAIRS WITH claim and endBefore: CAS the end
	if int64(e-before) > 0 {
		return e, true
	}
	// The claimer has not said yet where its record ends, or could not any more. It follows from the end before it,
	// which had to be there for the claim. All of that was true if t is still to be claimed.
	if r.slot(t).word.Load() != r.empty(t) {
		return 0, false
	}
	_, end = r.follow(before, sizeOf(w))
	crashpoint.Hit("bytes/help/computed")
	d.end.CompareAndSwap(e, end) // PAIRS WITH endBefore and Next: load the end
	crashpoint.Hit("bytes/help/placed")
	return end, true
}

// member returns what names this handle in words: its cell, which it takes if it has none.
func (r *Bytes) member() (who uint64, ok bool) {
	if r.err.Load() != nil {
		return 0, false
	}
	if m := r.joined.Load(); m != nil && m.holds() {
		return m.who, true
	}
	m, err := r.join()
	if err != nil {
		refuse(&r.writing.refused, err)
		return 0, false
	}
	return m.who, true
}

// holds reports whether the cell is still the handle's: another process takes it over when this one has left.
func (m *membership) holds() bool {
	return m.cell.Load() == m.word // PAIRS WITH join and leave: CAS the cell
}

// join takes a cell: a free one, or that of a dead process. Whoever takes one gives it a new generation, so that
// the unfinished records of its last owner, wherever they are, are known as such.
func (r *Bytes) join() (*membership, error) {
	r.joining.Lock()
	defer r.joining.Unlock()
	if err := r.failure(); err != nil {
		return nil, err
	}
	if m := r.joined.Load(); m != nil && m.holds() {
		return m, nil // another goroutine was quicker
	}
	self := r.peers.Self()
	if self == 0 || r.peers.Dead(self) {
		return nil, errNobody
	}
	// Processes begin at different cells, and ask who is dead only when none is free.
	for _, ask := range []bool{false, true} {
		for i := range uint64(bytesCells) {
			i = (i + uint64(self)) & cellMask
			cell := &r.header.cells[i]
			old := cell.Load() // PAIRS WITH join and leave: CAS the cell
			if owner := uint32(old); owner != 0 && (!ask || owner == self || !r.peers.Dead(owner)) {
				continue
			}
			generation := uint32(old>>32) + 1
			word := uint64(generation)<<32 | uint64(self)
			if !cell.CompareAndSwap(old, word) { // PAIRS WITH join, holds and bury: load the cell
				continue
			}
			crashpoint.Hit("bytes/join/joined")
			m := &membership{cell: cell, word: word, who: uint64(generation)&genMask<<genShift | i}
			r.joined.Store(m)
			return m, nil
		}
	}
	return nil, ErrBusy
}

// leave gives the cell back. What was claimed by it and is not finished is a dead process's from then on.
func (r *Bytes) leave() {
	if m := r.joined.Swap(nil); m != nil {
		// It fails if another process has taken the cell over. PAIRS WITH join and bury: load the cell.
		m.cell.CompareAndSwap(m.word, m.word>>32<<32)
		crashpoint.Hit("bytes/leave/left")
	}
}
