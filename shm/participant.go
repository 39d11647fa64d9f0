package shm

import (
	"fmt"
	"os"
	"time"

	"github.com/shoal-ipc/shoal/futex"
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
//	LIVE     the holder lives if, and only if, the byte of its owner id is locked
//	DEAD     its end was noticed, or announced; what it held is still to be swept
//
//	claim   {g, FREE}      -> {g+1, CLAIMED}   by one process only: the compare-and-swap decides
//	prove   {g, CLAIMED}   -> {g, LIVE}        by that process, after it locked the byte of {slot, g}
//	bury    {g, LIVE}      -> {g, DEAD}        by anybody who found the byte unlocked; one more death
//	expire  {g, CLAIMED}   -> {g, DEAD}        by who needs slots and found the byte unlocked
//	leave   {g, LIVE}      -> {g, DEAD}        by the holder, before it unlocks
//	free    {g, DEAD}      -> {g, FREE}        by anybody, after what g held was swept
//
// The byte that is locked lies at lockBase + owner id, so each generation of a slot has a byte of its own, and only the
// one process that won the claim of a generation ever locks that byte. A claimer that is stopped between claim and prove, and
// expires meanwhile, locks a byte that nobody else will ask for, fails to prove, unlocks it and starts again: at no
// time does it make a dead participant look alive. (With one byte for a slot, a claimer that locks it just after its
// holder died makes the dead holder look alive for as long as it is stopped there.)
//
// What a kill leaves: before claim nothing; between claim and prove a CLAIMED slot without a lock, which expires when
// slots are short; after prove a LIVE slot without a lock, which is dead to everybody who asks.
const (
	slotBits = 12
	slotMask = 1<<slotBits - 1

	slotFree    = 0
	slotClaimed = 1
	slotLive    = 2
	slotDead    = 3

	// slotsPerPage slots are committed at once.
	slotsPerPage = 4096 / unit

	// lockBase keeps the bytes that are locked away from those that exist.
	lockBase = 1 << 62
)

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
		m.header().SlotsUsed.CompareAndSwap(i, i+1)
		id := ownerID(i, g)
		locked, err := sys.LockByte(alive, lockBase+int64(id))
		if err != nil {
			s.Word.CompareAndSwap(g|slotClaimed, g|slotDead)
			return 0, err
		}
		if locked && s.Word.CompareAndSwap(g|slotClaimed, g|slotLive) {
			return id, nil
		}
		// It took so long that the claim expired (or somebody who does not keep the protocol has the byte).
		s.Word.CompareAndSwap(g|slotClaimed, g|slotDead)
		if locked {
			if err := sys.UnlockByte(alive, lockBase+int64(id)); err != nil {
				return 0, err
			}
		}
	}
}

// introduce writes down who id is. Only the holder, or the parent that prepared it, does so, once id is live.
func (m memory) introduce(id uint32, pid int, space uint64) {
	s := m.slot(id & slotMask)
	s.Pid.Store(uint32(pid))
	s.PidSpace.Store(space)
	s.Since.Store(time.Now().UnixNano())
}

// freeSlot finds a slot to claim: one that was never used while there are any, else the one that was freed first, so that an
// owner id comes back as late as possible.
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
		m.freeDead(file)
	}
	return 0, 0, fmt.Errorf("%w: all %d participant slots are taken", ErrNoSpace, slotCount)
}

// freeDead makes the slots of the dead available again.
//
// There is nothing to sweep before: each word that can name an owner so far is repaired by who next needs it, and the
// generation in it tells that its owner is gone, until 2^20 later participants had the same slot.
func (m memory) freeDead(file *os.File) {
	for i := range uint32(slotCount) {
		s := m.slot(i)
		w := s.Word.Load()
		if st := slotState(w); st == slotLive || st == slotClaimed {
			locked, err := sys.ByteLocked(file, lockBase+int64(ownerID(i, w)))
			if err != nil || locked {
				continue
			}
			if !m.bury(s, w) {
				continue
			}
			w = w&^slotMask | slotDead
		}
		if slotState(w) == slotDead {
			m.free(s, w)
		}
	}
}

// bury marks the participant that s's word w names as dead.
func (m memory) bury(s *slot, w uint32) bool {
	if !s.Word.CompareAndSwap(w, w&^slotMask|slotDead) {
		return false
	}
	h := m.header()
	h.DeathEpoch.Add(1)
	futex.Wake(&h.DeathEpoch, 1<<31-1)
	return true
}

// free makes a dead slot available. The stamp is written first, so that a free slot always has one.
func (m memory) free(s *slot, w uint32) {
	s.Freed.Store(m.header().Freed.Add(1))
	s.Word.CompareAndSwap(w, w&^slotMask|slotFree)
}

// leave ends the participant id, whose byte alive's description has locked.
func (m memory) leave(id uint32, alive *os.File) error {
	s := m.slot(id & slotMask)
	w := id&^slotMask | slotLive
	if m.bury(s, w) {
		m.free(s, id&^slotMask|slotDead)
	}
	return sys.UnlockByte(alive, lockBase+int64(id))
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

// dead is knownDead, and asks the kernel when memory says that id lives. file is a description that has no lock of its own.
func (m memory) dead(id uint32, file *os.File) bool {
	if m.knownDead(id) {
		return true
	}
	locked, err := sys.ByteLocked(file, lockBase+int64(id))
	if err != nil || locked {
		return false
	}
	m.bury(m.slot(id&slotMask), id&^slotMask|slotLive)
	return true
}
