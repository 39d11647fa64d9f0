package robust

import (
	"context"
	"os"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// Holder is one of the possible holders of a recursive lock, of which a process may have many: its Locks nest, those of
// two exclude each other. The lock is an owner word and a tag beside it, which says which Holder of the owner it is:
//
//	0    nobody, or it is not known yet
//	n    the Holder of that number, as long as the word is held
//
// A tag is written by who holds the word, after it took it and before it frees it. Numbers are drawn by lot from 2^63,
// so that one that a death left in the tag is that of no other Holder, in whatever process. A Holder's wait is recorded
// with its number. Holders of several locks that act for one goroutine have one number, so that others see what a goroutine
// holds while it waits.
//
// How deep the nesting is only its Holder knows: it is used by one goroutine at a time, and needs no atomic access.
type Holder struct {
	_         noCopy
	tag       *atomics.Pos
	number    uint64
	depth     int
	whole     bool // held with Whole
	repairing bool // the word is held with Died
}

// noCopy makes go vet report a Holder that is copied.
type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Depth is how often h holds the word.
func (h *Holder) Depth() int { return h.depth }

// Lock is m's Lock, but if h holds the word, which is then held once more. flags without Whole take it from a word that
// h holds with it, for good: what is guarded may be half changed from now on.
func (h *Holder) Lock(ctx context.Context, m *Mutex, flags uint64) error {
	if h.depth > 0 {
		return h.nest(m, flags)
	}
	if err := m.lock(ctx, flags, Died, h.number); err != nil {
		return err
	}
	h.Took(flags)
	return nil
}

// TryLock is m's TryLock, but if h holds the word, which is then held once more.
func (h *Holder) TryLock(m *Mutex, flags uint64) (bool, error) {
	if h.depth > 0 {
		err := h.nest(m, flags)
		return err == nil, err
	}
	ok, err := m.TryLock(flags)
	if ok {
		h.Took(flags)
	}
	return ok, err
}

func (h *Holder) nest(m *Mutex, flags uint64) error {
	if m.handle.Closed() {
		return os.ErrClosed
	}
	if h.whole && m.word.Load()&Died != 0 { // see Resume; during a repair it is not held with WHOLE
		return ErrOwnerDied
	}
	if h.whole && flags&Whole == 0 {
		expose(m.word, uint32(m.mine>>32))
		h.whole = false
	}
	h.depth++
	return nil
}

// Again is Lock without Whole, and Less is Unlock, of a word that h holds, and goes on holding: the fast paths for callers
// that know their handle to be open. They are false if that is not so.
func (h *Holder) Again() bool {
	if h.depth == 0 || h.whole {
		return false
	}
	h.depth++
	return true
}

// Less is described at Again.
func (h *Holder) Less() bool {
	if h.depth < 2 {
		return false
	}
	h.depth--
	return true
}

// Took says that h has just taken the word with flags: Mutex.Fast, or what calls it.
func (h *Holder) Took(flags uint64) {
	h.depth, h.whole = 1, flags&Whole != 0
	h.tag.Publish(h.number)
	crashpoint.Hit("robust/holder/tagged")
}

// Leaves reports whether the next Unlock frees the word, which h's process has, and if so takes h's number away. If that
// Unlock is Mutex.Fast's Left must follow it.
func (h *Holder) Leaves() bool {
	if h.depth != 1 || h.repairing {
		return false
	}
	h.tag.Publish(0)
	crashpoint.Hit("robust/holder/untagged")
	return true
}

// Left says that h has just freed the word.
func (h *Holder) Left() { h.depth = 0 }

// Unlock frees the word if h holds it once, else it is held once less. The errors are m's; of a word that another Holder
// of this process has, ErrNotOwner too.
func (h *Holder) Unlock(m *Mutex) error {
	switch err := h.Held(m); {
	case h.depth > 1:
		h.depth--
		return nil
	case err != nil:
		return err // the tag is another's
	case !h.Leaves():
		return ErrNotLocked
	}
	if err := m.Unlock(); err != nil {
		return err
	}
	h.Left()
	return nil
}

// Suspend frees the word, however often h holds it, which it returns for Resume. The errors are Unlock's.
func (h *Holder) Suspend(m *Mutex) (depth int, err error) {
	depth = h.depth
	if depth > 0 {
		h.depth = 1
	}
	if err := h.Unlock(m); err != nil {
		h.depth = depth
		return 0, err
	}
	return depth, nil
}

// Resume is m's Retake, after which h holds the word as often as before Suspend. With the mark of a death, it is not to be had
// once more.
func (h *Holder) Resume(m *Mutex, depth int) error {
	err := m.retake(h.number)
	if err == nil || err == ErrOwnerDied {
		h.Took(0)
		h.depth, h.whole = depth, err == ErrOwnerDied
	}
	return err
}

// Held is m's Held; if another Holder of this process has the word, ErrNotOwner.
func (h *Holder) Held(m *Mutex) error {
	switch {
	case h.depth > 0:
		return m.Held()
	case m.Locked() && !h.repairing:
		return ErrNotOwner
	}
	return ErrNotLocked
}

// Abandon leaves the word, at whatever depth, as the death of this process would. A repair that it is called in fails.
func (h *Holder) Abandon(m *Mutex) error {
	if h.depth == 0 {
		return ErrNotLocked
	}
	err := h.Held(m)
	h.depth = 0
	if h.repairing {
		return nil
	}
	if err != nil {
		return err
	}
	h.tag.Publish(0)
	crashpoint.Hit("robust/holder/abandons")
	return m.Abandon()
}

// Recover is m's Recover, but if h holds the word, which is then held once more. What repair locks with h nests.
func (h *Holder) Recover(ctx context.Context, m *Mutex, repair func() error) error {
	if h.depth > 0 {
		return h.nest(m, 0)
	}
	if h.repairing {
		return ErrOwnerDied // what repair called has abandoned the word, which is not free before repair returns
	}
	err := m.recover(ctx, 0, h.number, func() error { return h.repair(repair) })
	if err == nil && h.depth == 0 {
		h.Took(0)
	}
	if err != nil {
		h.depth = 0 // this process left the segment after the repair
	}
	return err
}

func (h *Holder) repair(repair func() error) error {
	h.Took(0)
	h.repairing = true
	repaired := false
	defer func() {
		h.repairing = false
		if !repaired {
			h.depth = 0
			h.tag.Publish(0)
			crashpoint.Hit("robust/holder/failed")
		}
	}()
	if repair != nil {
		if err := repair(); err != nil {
			return err
		}
	}
	if h.depth == 0 {
		return ErrOwnerDied // what repair called has abandoned the word, and that panic went no further
	}
	repaired = true
	return nil
}
