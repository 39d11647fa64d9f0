package shm

import (
	"fmt"

	"runtime"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/queued"
)

// Memory that a process has allocated can be passed to another one. Between the two it belongs to nobody, and a death
// must neither lose it nor take it away from who is about to claim it. So it is PASSED, which names who did that, and a
// generation that is new: who was told offset and generation (the stamp) claims it by one compare-and-swap, and of several
// who were told one succeeds. Telling is up to them: by an item of a ring, say.
//
//	passed by              and then                        is swept up
//	a living process                                       never: it may be about to tell
//	a dead one             not claimed                     at once, if it was passed through no object: nobody is left who
//	                                                       would tell; those who were told find it gone
//	                                                       else if the object (Kind.Passage) does not have the stamp, or is
//	                                                       gone itself
//
// Through an object means that the block is claimed before its stamp leaves the object. So if it is PASSED after the death of who
// passed it, and the object does not have the stamp, it never had it, and will not.
//
// The header of the block says in Hash the offset of the object, 0 for none, and in Size its generation.

// Pass gives up what Allocate of this process returned at offset, to whoever claims it. If this process dies before that the
// memory is swept up, and a claim is ErrStale; but if through is the handle of an object that says which memory is passed through
// it (Kind.Passage), and it does say so, the memory stays. nil is no object. stamp is new for each Pass: a block has the same one again after
// 2^28 others.
//
// It may be called from any goroutine, waits for nobody and allocates nothing. The error is ErrStale if this process has nothing at
// offset; the others are ErrCorrupt and os.ErrClosed.
func (s *Segment) Pass(offset uint64, through *Ref) (stamp uint32, err error) {
	if err := s.begin(); err != nil {
		return 0, fmt.Errorf("shm: pass: %w", err)
	}
	defer s.end()
	o, _, err := s.block(offset - objectHead)
	if err != nil {
		return 0, fmt.Errorf("shm: pass %d: %w", offset, err)
	}
	st := o.State.Load()
	if st != owned(s.self, generationOf(st), stateHeld) {
		return 0, fmt.Errorf("shm: pass %d: this process has nothing there: %w", offset, ErrStale)
	}
	o.Hash, o.Size = 0, 0
	if through != nil {
		o.Hash, o.Size = through.off, uint64(through.gen)
	}
	crashpoint.Hit("shm/pass/described")
	stamp = generationAfter(st)
	if !o.State.CompareAndSwap(st, owned(s.self, stamp, statePassed)) { // PAIRS WITH Claim, visit: load the state
		return 0, fmt.Errorf("shm: pass %d: this process has nothing there: %w", offset, ErrStale)
	}
	crashpoint.Hit("shm/pass/passed")
	runtime.KeepAlive(through)
	return stamp, nil
}

// Claim takes size bytes that somebody passed at offset with that stamp, as if this process had allocated them there: they
// are its until Deallocate, or until it passes them on. Of several who claim the same one succeeds.
//
// What was written before Pass happens before the return of Claim. The error is ErrStale itself if others have claimed it, or if it
// was swept up; it is os.ErrClosed or ErrCorrupt else.
func (s *Segment) Claim(offset uint64, stamp uint32, size int) ([]byte, error) {
	if err := s.begin(); err != nil {
		return nil, err
	}
	defer s.end()
	o, room, err := s.block(offset - objectHead)
	if err != nil {
		return nil, err
	}
	if size < 0 || uint64(size) > room {
		return nil, fmt.Errorf("shm: claim %d: %w: %d bytes of %d", offset, ErrCorrupt, size, room)
	}
	st := o.State.Load()
	if st&stateMask != statePassed || generationOf(st) != stamp ||
		!o.State.CompareAndSwap(st, owned(s.self, stamp, stateHeld)) { // PAIRS WITH Pass: CAS the state
		return nil, ErrStale
	}
	crashpoint.Hit("shm/claim/claimed")
	return s.memory[offset : offset+uint64(size) : offset+uint64(size)], nil
}

// isPassed reports whether memory that is passed may still be claimed: o is PASSED in state st.
func (s *sweep) isPassed(off uint64, o *object, st uint64) bool {
	through, gen := o.Hash, uint32(o.Size)
	if through == 0 {
		return !s.gone(o.owner(st))
	}
	w, room, err := s.block(through)
	if err != nil {
		return false
	}
	if of := w.State.Load(); generationOf(of) != gen || of&stateMask != stateLive && of&stateMask != stateLimbo {
		return false
	}
	who := o.owner(st)
	return !s.gone(who) || s.says(through, w, room, who, passed{off + objectHead, generationOf(st)})
}

// passed is memory that is passed, as who is told knows it.
type passed struct {
	offset uint64
	stamp  uint32
}

// says reports whether the object at off has word that something is passed by one who is gone. What was found once serves again; that
// something was not found, only if who passed it was dead then.
func (s *sweep) says(off uint64, o *object, room uint64, who uint32, what passed) bool {
	all, looked := s.said[off]
	if !looked {
		all = s.listen(off, o, room)
		if s.said == nil {
			s.said = make(map[uint64]map[passed]struct{})
		}
		s.said[off] = all
	}
	if _, ok := all[what]; ok {
		return true
	}
	if _, dead := s.dead[who]; !dead {
		_, ok := s.listen(off, o, room)[what]
		return ok
	}
	return false
}

// listen finds all that the object at off has word of.
func (s *sweep) listen(off uint64, o *object, room uint64) map[passed]struct{} {
	all := make(map[passed]struct{})
	if size, _, _, err := s.texts(off, o, room); err == nil && o.Owners == passage {
		queued.EachPassed(s.memory[off+objectHead:][:size], s.ringAt, func(offset uint64, stamp uint32) {
			all[passed{offset, stamp}] = struct{}{}
		})
	}
	return all
}

// ringAt is the payload of a further ring of a queue, nil if there is none.
func (s *sweep) ringAt(off uint64, gen uint32) []byte {
	o, room, err := s.block(off)
	if err != nil || kindName(o.Kind) != queued.RingKind || generationOf(o.State.Load()) != gen {
		return nil
	}
	size, _, _, err := s.texts(off, o, room)
	if err != nil {
		return nil
	}
	return s.memory[off+objectHead:][:size]
}

// Passed reports whether somebody has passed what is at offset with that stamp, and nobody has claimed it yet.
func (s *Segment) Passed(offset uint64, stamp uint32) bool {
	defer runtime.KeepAlive(s)
	o, _, err := s.block(offset - objectHead)
	if err != nil {
		return false
	}
	st := o.State.Load()
	return st&stateMask == statePassed && generationOf(st) == stamp
}
