package shm

import (
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/queued"
)

// Who buries a participant sweeps up after it, after all others that are still DEAD, and frees their slots. A sweep
// looks at every block once. All that it does is done by compare-and-swaps from what names the dead, so any number of
// processes may sweep at once, and a sweeper that is killed or stopped at any point leaves the rest to the next one:
// a slot is only freed by who has looked at all blocks since it was DEAD.
//
// A participant is gone, and what it had may become another's, when it is DEAD and neither of its bytes is locked.
// (A process that closed its segment is DEAD, and its locks are free to recover, but it may hold on to its memory
// until its last handle is unreachable.)

// knownGone reports from memory whether the participant id is gone. One that is DEAD is not known to be.
func (m memory) knownGone(id uint32) bool {
	i := id & slotMask
	if i >= min(m.header().SlotsUsed.Load(), slotCount) {
		return true
	}
	w := m.slot(i).Word.Load()
	return ownerID(i, w) != id || slotState(w) == slotFree
}

// sweep is one look at all blocks.
type sweep struct {
	heap
	seg   *Segment          // nil for a process that is no participant
	dead  map[uint32]uint32 // the owner ids that are gone, and the words of their slots
	swept int               // blocks that became free

	// What each object had word of that is passed through it, since those in dead are.
	said map[uint64]map[passed]struct{}
}

// gone reports whether what id had may become another's.
func (s *sweep) gone(id uint32) bool {
	_, ok := s.dead[id]
	return ok || s.knownGone(id)
}

// departed finds the participants that are gone and whose slots are yet to be freed.
func (h heap) departed() map[uint32]uint32 {
	dead := make(map[uint32]uint32)
	for i := range min(h.header().SlotsUsed.Load(), slotCount) {
		w := h.slot(i).Word.Load()
		if slotState(w) != slotDead {
			continue
		}
		id := ownerID(i, w)
		if !h.lives(id, h.file) {
			dead[id] = w
		}
	}
	return dead
}

// run looks at all blocks, and frees the slots of those that are gone.
func (s *sweep) run() error {
	if err := unlessCut(func() error { return s.blocks(s.visit) }); err != nil {
		return err
	}
	for id, w := range s.dead {
		s.free(s.slot(id&slotMask), w)
		crashpoint.Hit("shm/sweep/freed")
	}
	return nil
}

// visit takes what those that are gone have of one block.
func (s *sweep) visit(off uint64, o *object, room uint64) bool {
	switch st := o.State.Load(); st & stateMask {
	case stateNew, stateHeld:
		if !s.gone(o.owner(st)) {
			break
		}
		// Its maker may have linked it, if it is whole: then it is published now.
		if _, _, _, err := s.texts(off, o, room); st&stateMask == stateNew && err == nil && s.unlink(off, o, room) != nil {
			break
		}
		s.inherit(off, o, st)
	case statePassed:
		if !s.isPassed(off, o, st) {
			s.inherit(off, o, st)
		}
	case stateMore:
		if s.gone(o.owner(st)) && room >= unit && !s.extends(off) {
			s.inherit(off, o, st)
		}
	case stateLimbo:
		if s.unused(off, o, room, s.gone) {
			s.inherit(off, o, st)
		}
	case stateLive:
		s.isOpen(o, s.gone)
		if o.Owners == partOf && room >= partSize {
			s.drop(off, o, st, room)
		} else {
			s.bury(off, o, st, room)
		}
	}
	return true
}

// inherit makes the block at off, whose state was st, free: nobody who lives has it.
func (s *sweep) inherit(off uint64, o *object, st uint64) {
	if o.State.CompareAndSwap(st, owned(0, generationOf(st), stateFree)) {
		crashpoint.Hit("shm/sweep/inherited")
		s.hint(off, o)
		s.swept++
	}
}

// bury marks the death of those who hold something of the object at off, whose state was st.
func (s *sweep) bury(off uint64, o *object, st, room uint64) {
	w, mem, ok := s.owningAt(off, o, room)
	if !ok || !w.abandoned(mem, s.knownDead) || s.seg == nil || s.seg.pin(off) != nil {
		return // who next wants it finds out
	}
	if o.State.Load() == st { // else it may not be such an object any more
		w.bury(mem, s.knownDead)
	}
	s.seg.unpin(off)
}

// drop frees the object at off, whose state was st, if what it is part of is gone.
func (s *sweep) drop(off uint64, o *object, st, room uint64) {
	whole, gen := s.partOf(off)
	if w, wroom, err := s.block(whole); err == nil {
		if of := w.State.Load(); generationOf(of) == gen && (of&stateMask == stateLive || of&stateMask == stateLimbo) {
			if !s.isStray(o, off, generationOf(st), whole, w, wroom) {
				return
			}
		}
	}
	limbo := st&^stateMask | stateLimbo
	if o.State.CompareAndSwap(st, limbo) {
		crashpoint.Hit("shm/sweep/dropped")
		if s.unused(off, o, room, s.gone) {
			s.inherit(off, o, limbo)
		}
	}
}

// isStray reports whether the object at off is a ring that its maker, who is gone, did not add to the queue any more.
func (s *sweep) isStray(o *object, off uint64, gen uint32, whole uint64, w *object, room uint64) bool {
	if kindName(o.Kind) != queued.RingKind || !s.gone(o.Creator) || w.Owners != passage {
		return false
	}
	size, _, _, err := s.texts(whole, w, room)
	return err == nil && !queued.HasRing(s.memory[whole+objectHead:][:size], off, gen)
}

// partOf is what the object at off is part of.
func (m memory) partOf(off uint64) (whole uint64, generation uint32) {
	p := off + objectHead
	return m.word(p).Load(), uint32(m.word(p + 8).Load())
}

// tidy sweeps up after those that are gone. all says to look at the blocks even if nobody is.
func (s *Segment) tidy(all bool) (swept int, err error) {
	dead := s.departed()
	if len(dead) == 0 && !all {
		return 0, nil
	}
	w := sweep{heap: s.heap, seg: s, dead: dead}
	err = w.run()
	return w.swept, err
}

// tidySoon sweeps up in the background; it may be called often.
func (s *Segment) tidySoon() {
	if crashpoint.Enabled { // steps are counted, and swept up after where a test says so, with Repair
		return
	}
	if s.tidying.Swap(true) {
		return
	}
	go func() {
		s.tidying.Store(false) // who asks from now on may have seen what the sweep has not
		s.sweeper.Lock()
		defer s.sweeper.Unlock()
		if !s.closed.Load() {
			unlessCut(func() error {
				_, err := s.tidy(false)
				return err
			})
		}
	}()
}

// obtain is take, and looks for memory that is yet to be swept up before it says that there is none.
func (s *Segment) obtain(payload uint64) (off uint64, fresh bool, err error) {
	take := func() bool {
		off, fresh, err = s.take(payload)
		return !errors.Is(err, ErrNoSpace)
	}
	if take() {
		return off, fresh, err
	}
	s.expire(s.file)
	s.tidy(true)
	// Somebody may be cutting the block from which this one could be cut, or be about to give one. That takes
	// microseconds, and if it takes longer nobody knows whether it will end.
	soon := func(there func() bool) bool {
		for pause := time.Microsecond; pause < 10*time.Millisecond; pause *= 2 {
			if take() {
				return true
			}
			if !there() {
				return false
			}
			time.Sleep(pause)
		}
		return false
	}
	if !soon(func() bool { return s.cutting(payload) }) {
		collected := s.collectGarbage()
		soon(func() bool { return collected })
	}
	if errors.Is(err, ErrNoSpace) {
		if freed := s.freed(); freed > 0 {
			err = fmt.Errorf("%w; %d bytes are freed, but open in some process, until its garbage collector runs", err, freed)
		}
	}
	return off, fresh, err
}

// freed is how many bytes belong to objects that were freed, and that somebody seems to have open.
func (h heap) freed() (bytes uint64) {
	h.blocks(func(off uint64, o *object, room uint64) bool {
		if o.State.Load()&stateMask == stateLimbo {
			bytes += objectHead + room
		}
		return true
	})
	return bytes
}

// cutting reports whether somebody has a block with room for a payload in his hands that is larger than those he keeps.
func (h heap) cutting(payload uint64) (cutting bool) {
	need, err := h.blockUnits(payload)
	if err != nil {
		return false
	}
	h.blocks(func(off uint64, o *object, room uint64) bool {
		n := (objectHead + room) / unit
		cutting = n >= need && classOf(n) >= keepClasses && o.State.Load()&stateMask == stateNew
		return !cutting
	})
	return cutting
}

// collectGarbage runs the garbage collector if handles that nobody uses may keep freed objects open, and reports whether
// that was so.
func (s *Segment) collectGarbage() bool {
	before := s.limbo()
	if before == 0 {
		return false
	}
	runCleanups()
	// Cleanups run in several goroutines: those of the handles may be under way still.
	for pause := 100 * time.Microsecond; s.limbo() == before && pause < 100*time.Millisecond; pause *= 2 {
		time.Sleep(pause)
	}
	return true
}

// limbo is how many freed objects this process has open.
func (s *Segment) limbo() (n int) {
	s.res.mu.Lock()
	defer s.res.mu.Unlock()
	for off := range s.res.pins {
		if s.object(off).State.Load()&stateMask == stateLimbo {
			n++
		}
	}
	return n
}

// runCleanups runs the garbage collector, and waits for a cleanup behind those of what it finds.
func runCleanups() {
	done := make(chan struct{})
	runtime.AddCleanup(new([16]byte), func(done chan struct{}) { close(done) }, done)
	runtime.GC()
	select {
	case <-done:
	case <-time.After(time.Second): // a cleanup that is not ours holds them up
	}
}

// Repair sweeps up after all who died, also where nobody has noticed, and gives back what this process keeps for later. It
// returns how many blocks of memory it found that nobody has any more. There is no need to call it: whoever notices a
// death does the same. The error is ErrCorrupt or os.ErrClosed.
func (s *Segment) Repair() (int, error) {
	if err := s.begin(); err != nil {
		return 0, fmt.Errorf("shm: repair: %w", err)
	}
	defer s.end()
	s.giveAll()
	s.expire(s.file)
	return s.tidy(true)
}
