package shm

import (
	"fmt"
	"os"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// An owner id names a participant: one process, for as long as it has the segment. 0 is nobody.
//
//	bits 0-11   slot
//	bits 12-31  generation of the slot, from 1; 0 is skipped when it wraps
//
// A slot's word has the generation in the same place and the state below it:
//
//	FREE     generation is that of the last holder, 0 if there was none
//	CLAIMED  somebody is about to prove that the new holder lives
//	LIVE     the holder lives if, and only if, a byte of its owner id is locked
//	DEAD     its end was noticed, or announced; what it held is still to be swept
//
//	claim   {g, FREE}      -> {g+1, CLAIMED}   by one process only: the compare-and-swap decides
//	prove   {g, CLAIMED}   -> {g, LIVE}        by that process, after it locked the first byte of {slot, g}
//	bury    {g, LIVE}      -> {g, DEAD}        by anybody who found both bytes unlocked, or no process; one more death
//	expire  {g, CLAIMED}   -> {g, DEAD}        by who needs slots and found both bytes unlocked
//	leave   {g, LIVE}      -> {g, DEAD}        by the holder, who unlocks when none of its calls can be at work in the segment
//	free    {g, DEAD}      -> {g, FREE}        by anybody who swept up what g held (sweep.go), once both bytes are unlocked
//
// Each owner id has two bytes of its own, at lockBase + 2*id, and only the one process that won the claim of
// a generation (and the child that it did so for) ever locks them. A claimer that is stopped between claim
// and prove, and expires meanwhile, locks a byte that nobody else will ask for, fails to prove, unlocks it
// and starts again: at no time does it make a dead participant look alive. (With one byte for a slot, a
// claimer that locks it just after its holder died makes the dead holder look alive for as long as it is
// stopped there.)
//
// The second byte is for a child whose participant its parent prepared. The description with the lock of the
// first byte is the parent's too until that closes its copy, and a parent can be stopped before it does. So
// the child locks the second byte through a description of its own, and then unlocks the first (which does so
// for both). One question asks for both bytes, and one of them is locked throughout.
//
// What a kill leaves: before claim nothing; between claim and prove a CLAIMED slot without a lock, which
// expires when slots are short; after prove a LIVE slot without a lock, which is dead to everybody who asks.
//
// What a stop holds up: nothing, with two exceptions. A parent that is stopped just after it started a child
// keeps that child's participant alive until the child has begun to run (or, where the child finds no /proc,
// until the parent goes on). And a child forked by os/exec has copies of its parent's descriptors until it
// executes its program: if it is stopped in that moment, and the parent killed, the parent seems to live for
// as long.
//
// Claiming is lock-free while there are slots that were never used, and obstruction-free when they are short.
const (
	slotBits = 12
	slotMask = 1<<slotBits - 1

	slotFree    = 0
	slotClaimed = 1
	slotLive    = 2
	slotDead    = 3

	// slotsPerPage slots are committed at once.
	slotsPerPage = 4096 / unit

	// lockBase keeps the bytes that are locked away from those that exist; each owner id has lockBytes of them.
	lockBase  = 1 << 62
	lockBytes = 2
)

// lockAt is the first of the bytes of id.
func lockAt(id uint32) int64 { return lockBase + lockBytes*int64(id) }

func ownerID(slot, word uint32) uint32 { return word&^slotMask | slot }

func slotState(word uint32) uint32 { return word & slotMask }

func nextGeneration(word uint32) uint32 {
	g := word>>slotBits + 1
	if g<<slotBits == 0 {
		g = 1
	}
	return g << slotBits
}

// claim makes a participant whose life is bound to the open file description of alive, and returns its owner id.
func (m memory) claim(file, alive *os.File) (uint32, error) {
	for {
		i, word, err := m.freeSlot(file)
		if err != nil {
			return 0, err
		}
		s := m.slot(i)
		g := nextGeneration(word)
		if !s.Word.CompareAndSwap(word, g|slotClaimed) {
			continue
		}
		crashpoint.Hit("shm/claim/claimed")
		m.header().SlotsUsed.CompareAndSwap(i, i+1)
		crashpoint.Hit("shm/claim/counted")
		id := ownerID(i, g)
		locked, err := sys.LockByte(alive, lockAt(id))
		if err != nil {
			s.Word.CompareAndSwap(g|slotClaimed, g|slotDead)
			return 0, err
		}
		crashpoint.Hit("shm/claim/locked")
		if locked && s.Word.CompareAndSwap(g|slotClaimed, g|slotLive) {
			crashpoint.Hit("shm/claim/live")
			return id, nil
		}
		if !locked { // by somebody who does not keep the protocol
			s.Word.CompareAndSwap(g|slotClaimed, g|slotDead)
			return 0, fmt.Errorf("%w: the byte of participant %#x is somebody else's", ErrCorrupt, id)
		}
		// It took so long that the claim expired.
		if err := sys.UnlockBytes(alive, lockAt(id), lockBytes); err != nil {
			return 0, err
		}
	}
}

// introduce writes down who id is. Only the holder, or the parent that prepared it, does so, once id is live.
func (m memory) introduce(id uint32, pid int, space uint64) {
	s := m.slot(id & slotMask)
	s.Guard.Store(0) // its last holder's
	crashpoint.Hit("shm/introduce/guard")
	s.PidSpace.Store(space)
	crashpoint.Hit("shm/introduce/space")
	s.Since.Store(time.Now().UnixNano())
	crashpoint.Hit("shm/introduce/since")
	s.Waits.Store(0)
	crashpoint.Hit("shm/introduce/waits")
	s.Who.Store(uint64(id)<<32 | uint64(uint32(pid)))
}

// ring tells the two living participants before id that there is one more to watch. Whether they do live is for those to
// find out who watch them.
func (m memory) ring(id uint32) {
	used := min(m.header().SlotsUsed.Load(), slotCount)
	left := watchedNext
	for i := uint32(1); i < used && left > 0; i++ {
		s := m.slot((id&slotMask + used - i) % used)
		if slotState(s.Word.Load()) != slotLive {
			continue
		}
		left--
		s.Doorbell.Add(1) // PAIRS WITH member.look
		crashpoint.Hit("shm/ring/counted")
		futex.Wake(&s.Doorbell, 1<<31-1)
	}
}

// takeOver moves the life of id from a description that the parent may have too to one that only this process
// has.
func takeOver(id uint32, file, inherited *os.File) (*os.File, error) {
	own, err := sys.Reopen(file)
	if err != nil {
		return inherited, nil // no /proc: the parent's description serves, once it has closed its copy
	}
	crashpoint.Hit("shm/takeover/opened")
	locked, err := sys.LockByte(own, lockAt(id)+1)
	crashpoint.Hit("shm/takeover/both")
	if err == nil && !locked {
		err = fmt.Errorf("%w: the byte of participant %#x is somebody else's", ErrCorrupt, id)
	}
	if err == nil {
		err = sys.UnlockBytes(inherited, lockAt(id), 1)
	}
	if err != nil {
		own.Close()
		return nil, err
	}
	inherited.Close()
	return own, nil
}

// freeSlot finds a slot to claim: one that was never used while there are any, else the one that was freed
// first, so that an owner id comes back as late as possible.
func (m memory) freeSlot(file *os.File) (i, word uint32, err error) {
	h := m.header()
	for {
		used := h.SlotsUsed.Load()
		if used > slotCount {
			return 0, 0, fmt.Errorf("%w: %d participant slots used of %d", ErrCorrupt, used, slotCount)
		}
		if used == slotCount {
			break
		}
		if used%slotsPerPage == 0 { // the first of a page that may not be there yet
			if err := commit(file, slotsAt+unit*uint64(used), unit*slotsPerPage); err != nil {
				return 0, 0, err
			}
		}
		word := m.slot(used).Word.Load()
		if word == 0 {
			return used, 0, nil
		}
		h.SlotsUsed.CompareAndSwap(used, used+1) // claimed, but not yet counted: help
	}
	for range 2 {
		found, first := false, uint64(0)
		for j := range uint32(slotCount) {
			s := m.slot(j)
			w := s.Word.Load()
			if slotState(w) != slotFree {
				continue
			}
			if stamp := s.Freed.Load(); !found || stamp < first {
				found, first, i, word = true, stamp, j, w
			}
		}
		if found {
			return i, word, nil
		}
		m.expire(file)
		h := heap{memory: m, file: file}
		s := sweep{heap: h, dead: h.departed()}
		if err := s.run(); err != nil {
			return 0, 0, err
		}
	}
	return 0, 0, fmt.Errorf("%w: all %d participant slots are taken", ErrNoSpace, slotCount)
}

// expire buries those that died without anybody's notice, claims included.
func (m memory) expire(file *os.File) {
	for i := range min(m.header().SlotsUsed.Load(), slotCount) { // the others may have no memory
		s := m.slot(i)
		w := s.Word.Load()
		if st := slotState(w); st != slotLive && st != slotClaimed {
			continue
		}
		if !m.lives(ownerID(i, w), file) {
			m.bury(s, w)
		}
	}
}

// alone reports whether no other participant than id is alive, or about to be. Only who lives brings others (into a
// segment without a name), so there is nobody if there was nobody at one instant. There was such a one between two looks
// that find nobody if no slot was claimed from the one to the other. (The death epoch would not tell: who buries
// somebody may be stopped, or killed, before it counts that.)
func (m memory) alone(id uint32) bool {
	claims := func() (n uint64, nobody bool) {
		for i := range min(m.header().SlotsUsed.Load(), slotCount) {
			w := m.slot(i).Word.Load()
			if st := slotState(w); (st == slotLive || st == slotClaimed) && ownerID(i, w) != id {
				return 0, false
			}
			n += uint64(w >> slotBits)
		}
		return n, true
	}
	for before, nobody := claims(); nobody; {
		now, still := claims()
		if still && now == before {
			return true
		}
		before, nobody = now, still
	}
	return false
}

// bury marks the participant that s's word w names as dead.
func (m memory) bury(s *slot, w uint32) bool {
	if !s.Word.CompareAndSwap(w, w&^slotMask|slotDead) {
		return false
	}
	crashpoint.Hit("shm/bury/dead")
	h := m.header()
	h.DeathEpoch.Add(1)
	crashpoint.Hit("shm/bury/counted")
	futex.Wake(&h.DeathEpoch, 1<<31-1)
	return true
}

// free makes a dead slot available. The stamp is written first, so that a free slot always has one.
func (m memory) free(s *slot, w uint32) {
	stamp := m.header().Freed.Add(1)
	crashpoint.Hit("shm/free/clock")
	s.Freed.Store(stamp)
	crashpoint.Hit("shm/free/stamped")
	s.Word.CompareAndSwap(w, w&^slotMask|slotFree)
}

// leave ends the participant id, of whose bytes alive's description has locked one.
func (m memory) leave(id uint32, alive *os.File) error {
	s := m.slot(id & slotMask)
	w := id&^slotMask | slotLive
	if m.bury(s, w) {
		m.free(s, id&^slotMask|slotDead)
	}
	crashpoint.Hit("shm/leave/left")
	return sys.UnlockBytes(alive, lockAt(id), lockBytes)
}

// knownDead reports from memory whether id is nobody who lives.
func (m memory) knownDead(id uint32) bool {
	i := id & slotMask
	if i >= min(m.header().SlotsUsed.Load(), slotCount) {
		return true
	}
	w := m.slot(i).Word.Load()
	return w != id&^slotMask|slotLive
}

// knownAlive reports from memory that id's process has not ended. It has a guard, which the kernel has not marked, so one of its
// threads has not ended, and the slot is its own. A process may be without a guard, and the kernel may have lost its way to that
// (somebody has cut off another segment, or written nonsense), so an answer of true is good where nobody waits until it is false,
// and one of false says nothing.
func (m memory) knownAlive(id uint32) bool {
	if m.knownDead(id) { // there may be no memory for the slot, too
		return false
	}
	g := m.slot(id & slotMask).Guard.Load()
	return g != 0 && g&sys.RobustDied == 0 && !m.knownDead(id) // a later holder of the slot changes the word before the guard
}

// ended is knownDead, and asks the kernel when memory says that id lives. file is a description that has no
// lock of its own; it need not be open for writing.
func (m memory) ended(id uint32, file *os.File) bool { return m.knownDead(id) || !m.lives(id, file) }

// dead is ended, and writes down what it finds; noticed says that nobody knew.
func (m memory) dead(id uint32, file *os.File) (dead, noticed bool) {
	if m.knownDead(id) {
		return true, false
	}
	if m.lives(id, file) {
		return false, false
	}
	return true, m.bury(m.slot(id&slotMask), id&^slotMask|slotLive)
}

// lives asks the kernel about a participant that memory does not say to be dead. A process that was forked from it
// may keep its byte locked, so there is a second question: whether there is a process of the number that it gave.
// It gave that itself, and while it lives the inode of its pid namespace means nothing else, so it is never taken for
// dead wrongly. (A number that another process has by now tells nothing, nor does a process that nobody has waited
// for.)
func (m memory) lives(id uint32, file *os.File) bool {
	if locked, err := sys.BytesLocked(file, lockAt(id), lockBytes); err != nil || !locked {
		return err != nil
	}
	pid, here := m.process(id)
	return !here || !sys.NoProcess(pid)
}

// process is the process id that id gave; here says that it is one of this process's pid namespace.
func (m memory) process(id uint32) (pid int, here bool) {
	s := m.slot(id & slotMask)
	who, space := s.Who.Load(), s.PidSpace.Load() // PAIRS WITH introduce
	return int(int32(who)), uint32(who>>32) == id && space != 0 && space == sys.PidNamespace()
}
