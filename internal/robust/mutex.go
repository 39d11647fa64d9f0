package robust

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/parking"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// The bits of the low half.
const (
	Locked  = 1 << 0
	Waiters = 1 << 1
	Died    = 1 << 2
	Whole   = 1 << 3
	Owes    = 1 << 5

	// Shut is a bit that no word has which is free of WAITERS, or held; see Fast.
	Shut = 1 << 4

	countShift = 4
)

// releases counts the words that this process freed with WAITERS, through whatever handle.
var releases atomic.Uint32

// count is the count of one more.
func count() uint64 { return uint64(releases.Add(1) << countShift) }

// The sentinels of package locks, which documents them.
var (
	ErrNotLocked = errors.New("locks: not locked")
	ErrOwnerDied = errors.New("locks: owner died holding the lock")
	ErrNotOwner  = errors.New("locks: not the owner")
)

// Peers says who this process is and which others are dead; a *shm.Segment is one.
type Peers interface {
	Self() uint32
	// Dead asks, with a system call if need be.
	Dead(id uint32) bool
	// KnownDead answers from memory.
	KnownDead(id uint32) bool
}

// Observer is a Peers that may know without a system call that somebody has not ended; a *shm.Segment is one.
type Observer interface {
	// KnownAlive answers from memory; false says nothing, and true is no answer to wait on.
	KnownAlive(id uint32) bool
}

// Handle is the process's handle of the object that the word is part of; a *shm.Ref is one.
type Handle interface {
	// Closed reports whether the handle was closed: calls that wait then end with os.ErrClosed.
	Closed() bool
}

// Mutex is this process's use of one owner word.
type Mutex struct {
	word   *atomic.Uint64
	low    *atomic.Uint32
	peers  Peers
	handle Handle
	race   *race.Word
	asked  atomic.Int64 // when a TryLock last asked for the owner
	mine   uint64       // the word while this process holds it and nobody waits

	// Patient says that who finds the word free while others wait for it goes behind those of this process, now and then.
	// So its goroutines take turns, each of which may cost a sleep and a wake: for where one must not keep the others out.
	Patient bool
}

// Take takes a free word that nobody waits for, with flags 0 or Whole: the fast path of Lock, for callers
// that inline it.
func (m *Mutex) Take(flags uint64) bool {
	if !m.word.CompareAndSwap(0, m.mine|flags) { // PAIRS WITH Free, unlock: the word becomes free
		return false
	}
	m.race.Acquire()
	crashpoint.Hit("robust/take/taken")
	return true
}

// Free frees a word that this process took with flags and nobody waits for: the fast path of Unlock.
func (m *Mutex) Free(flags uint64) bool {
	m.race.Release()
	if !m.word.CompareAndSwap(m.mine|flags, 0) { // PAIRS WITH Take, lock: the word is taken
		return false
	}
	crashpoint.Hit("robust/free/freed")
	return true
}

// Lock takes the word, waiting until it is free or ctx is done; flags is 0 or Whole. The errors are
// ErrOwnerDied, ctx's, and os.ErrClosed; with an error the word is not held.
func (m *Mutex) Lock(ctx context.Context, flags uint64) error {
	return m.lock(ctx, flags, Died, 0)
}

// lock takes the word; refuse is Died, or 0 for recovery, and tag is what a wait is recorded with.
func (m *Mutex) lock(ctx context.Context, flags, refuse, tag uint64) error {
	var (
		queued uint64 // Waiters once this goroutine may have slept
		asked  uint32 // the owner that was alive
		when   time.Time
		spins  = SpinBudget()
	)
	// Who would recover waits while others repair: those who are to be told then do not stand behind him.
	wait := NewWaiting(m.peers, m.low, m.low, tag, m.mine|refuse, m)
	defer wait.End()
	if w := m.word.Load(); w&Locked != 0 && m.peers.KnownDead(uint32(w>>32)) {
		spins = 0 // it will not be released
	}
	for {
		if m.handle.Closed() {
			if queued != 0 {
				futex.Wake(m.low, 1) // what ended the sleep may have been a wake for one who stays
			}
			return os.ErrClosed
		}
		w := m.word.Load()
		if w&refuse != 0 {
			return ErrOwnerDied
		}
		if w&Locked == 0 {
			if m.Patient && w&Waiters != 0 && rand.Uint32()%patience == 0 {
				if on, err := wait.Line(ctx); err != nil {
					return err
				} else if !on {
					continue
				}
			}
			if m.word.CompareAndSwap(w, m.taken(w, flags)|queued) { // PAIRS WITH unlock
				m.race.Acquire()
				crashpoint.Hit("robust/lock/taken")
				return nil
			}
			continue
		}
		if spins > 0 {
			spins--
			atomics.Pause(SpinPause)
			continue
		}
		owner := uint32(w >> 32)
		if m.peers.KnownDead(owner) {
			m.bury(w)
			continue
		}
		if on, err := wait.Line(ctx); err != nil {
			return err
		} else if !on {
			continue
		}
		if w&Waiters == 0 {
			if !m.word.CompareAndSwap(w, w|Waiters) {
				continue
			}
			w |= Waiters
			crashpoint.Hit("robust/lock/queued")
		}
		queued = Waiters
		if wait.Nap(ctx, uint32(w)) {
			crashpoint.Hit("robust/lock/woken")
			continue
		}
		if owner != asked || time.Since(when) > askAgain {
			if m.peers.Dead(owner) {
				m.bury(w)
				continue
			}
			asked, when = owner, time.Now()
		}
		if err := wait.Sleep(ctx, uint32(w)); err != nil {
			// The wait may have swallowed a wake. Look once more; if others still hold the word, its WAITERS
			// bit makes them wake somebody else.
			return m.last(ctx, err, flags, refuse)
		}
		crashpoint.Hit("robust/lock/woken")
	}
}

// taken is what the free word w becomes when this process takes it. What is to be repaired is not whole, but for who will not
// repair it: in flags that is Died.
func (m *Mutex) taken(w, flags uint64) uint64 {
	if w&Died != 0 && flags&Died == 0 {
		flags = 0
	}
	return m.mine | flags&Whole | w&(Waiters|Died)
}

// Over reports whether who sleeps on a held word has something else to do.
func (m *Mutex) Over() bool {
	w := m.word.Load()
	return m.handle.Closed() || w&Locked != 0 && m.peers.KnownDead(uint32(w>>32))
}

// last is the last attempt of a waiter whose wait ended with err: it takes a free word all the same, and
// never sleeps.
func (m *Mutex) last(ctx context.Context, err error, flags, refuse uint64) error {
	for !m.handle.Closed() {
		w := m.word.Load()
		switch {
		case w&refuse != 0:
			return ErrOwnerDied
		case w&Locked == 0:
			if m.word.CompareAndSwap(w, m.taken(w, flags)|Waiters) {
				m.race.Acquire()
				return nil
			}
		case m.peers.KnownDead(uint32(w >> 32)):
			m.bury(w)
		default:
			return err
		}
	}
	futex.Wake(m.low, 1) // in case the wake that ended the wait was meant for one who stays
	return os.ErrClosed
}

// TryLock takes the word if it is free. When it is not, TryLock asks for the owner the first time, and about every
// 64th time after that if the last answer is a quarter of a second old; else an owner counts as dead once that is known.
func (m *Mutex) TryLock(flags uint64) (bool, error) {
	for {
		if m.handle.Closed() {
			return false, os.ErrClosed
		}
		w := m.word.Load()
		switch {
		case w&Died != 0:
			return false, ErrOwnerDied
		case w&Locked == 0:
			if m.word.CompareAndSwap(w, m.mine|flags|w&Waiters) { // PAIRS WITH unlock
				m.race.Acquire()
				return true, nil
			}
		case m.peers.KnownDead(uint32(w >> 32)), m.asks() && m.peers.Dead(uint32(w>>32)):
			m.bury(w)
		default:
			return false, nil
		}
	}
}

// asks reports whether a TryLock is to ask for the owner. Those that poll mostly read memory, and write none: chance says
// which of them looks at the clock, for a count would be a line of memory that they take from each other.
func (m *Mutex) asks() bool {
	last := m.asked.Load()
	if last != 0 && rand.Uint32()%64 != 0 {
		return false
	}
	now := sys.Monotonic()
	if last != 0 && now-last < int64(askAgain) {
		return false
	}
	m.asked.Store(now)
	return true
}

// Recover takes the word, waiting until it is free or ctx is done. If its owner died it first runs repair
// (which may be nil); if that fails, panics or ends its goroutine the word is left as before, not held.
func (m *Mutex) Recover(ctx context.Context, repair func() error) error {
	return m.recover(ctx, 0, 0, repair)
}

// RecoverWhole is Recover, but that it takes a word that there is nothing to repair of with Whole.
func (m *Mutex) RecoverWhole(ctx context.Context, repair func() error) error {
	return m.recover(ctx, Whole, 0, repair)
}

func (m *Mutex) recover(ctx context.Context, flags, tag uint64, repair func() error) error {
	if err := m.lock(ctx, flags, 0, tag); err != nil {
		return err
	}
	if m.word.Load()&Died == 0 {
		return nil
	}
	crashpoint.Hit("robust/recover/taken")
	repaired := false
	defer func() {
		if !repaired {
			m.Abandon()
		}
	}()
	if repair != nil {
		if err := repair(); err != nil {
			return err
		}
	}
	crashpoint.Hit("robust/recover/repaired")
	for {
		w := m.word.Load()
		if err := m.held(w); err != nil {
			return err // this process left the segment meanwhile
		}
		if m.word.CompareAndSwap(w, w&^Died) {
			repaired = true
			crashpoint.Hit("robust/recover/whole")
			return nil
		}
	}
}

// Retake is Lock for who freed the word for a while, and is to hold it again whatever happened: when a death is to be
// recovered from, it takes the word with its mark, with which Unlock leaves it, and returns ErrOwnerDied. With any other
// error, which is os.ErrClosed, the word is not held.
func (m *Mutex) Retake() error { return m.retake(0) }

func (m *Mutex) retake(tag uint64) error {
	err := m.lock(context.Background(), 0, Died, tag)
	if err != ErrOwnerDied {
		return err
	}
	if err := m.lock(context.Background(), Whole|Died, 0, tag); err != nil {
		return err
	}
	crashpoint.Hit("robust/retake/taken")
	if m.word.Load()&Died != 0 {
		return ErrOwnerDied
	}
	expose(m.word, uint32(m.mine>>32)) // it was recovered meanwhile
	if m.handle.Closed() {
		// If this process left the segment before that, others pass over its death.
		m.Unlock()
		return os.ErrClosed
	}
	return nil
}

// Notice reports whether a death is to be recovered from, after it has marked that of the owner, if it is known or, with
// ask, found.
func (m *Mutex) Notice(ask bool) bool {
	w := m.word.Load()
	if id := uint32(w >> 32); w&Locked != 0 && uint64(id) != m.mine>>32 && (m.peers.KnownDead(id) || ask && m.peers.Dead(id)) {
		m.bury(w)
		w = m.word.Load()
	}
	return w&Died != 0
}

// Unlock frees the word and wakes a waiter. While a repair runs, the word is nobody's to free (ErrNotLocked):
// it ends with the repair.
func (m *Mutex) Unlock() error { return m.unlock(0) }

// Abandon frees the word as the death of this process would.
func (m *Mutex) Abandon() error { return m.unlock(Died) }

func (m *Mutex) unlock(mark uint64) error {
	m.race.Release()
	for {
		w := m.word.Load()
		if err := m.held(w); err != nil {
			return err
		}
		if mark == 0 && w&Died != 0 {
			if w&Whole == 0 {
				return ErrNotLocked
			}
			mark = Died
		}
		free := mark | w&Waiters
		if free == Waiters {
			// The mark of this release, so that no other's clear takes these WAITERS for its own.
			free |= w&^(1<<32-1) | count()
		}
		if !m.word.CompareAndSwap(w, free) { // PAIRS WITH Take, lock, TryLock
			continue
		}
		crashpoint.Hit("robust/unlock/freed")
		if w&Owes != 0 {
			parking.Pay(m.low)
			crashpoint.Hit("robust/unlock/paid")
		}
		switch {
		case free&Waiters == 0:
		case free&Died != 0:
			futex.Wake(m.low, everybody)
		default:
			if futex.Wake(m.low, 1) == 0 {
				crashpoint.Hit("robust/unlock/nobody")
				m.word.CompareAndSwap(free, 0)
			}
		}
		crashpoint.Hit("robust/unlock/woken")
		return nil
	}
}

// Owe has the release of the word, which this process holds, wake one who sleeps on w: who is woken because of something that
// the word guards does not find it held then. Only the release by which this process frees it does that, through whatever handle.
// If the handle is closed, nobody may come to do that, nor to take what is noted of memory that goes: then it wakes at once.
func (m *Mutex) Owe(w *atomic.Uint32) {
	parking.Owe(m.low, w)
	for {
		v := m.word.Load()
		if m.handle.Closed() || m.held(v) != nil { // PAIRS WITH the Kick of who closes; or this process left the segment meanwhile
			parking.Pay(m.low)
			return
		}
		if v&Owes != 0 || m.word.CompareAndSwap(v, v|Owes) {
			crashpoint.Hit("robust/owe/owes")
			return
		}
	}
}

// Held is the error that Unlock would return, but for that of a repair.
func (m *Mutex) Held() error { return m.held(m.word.Load()) }

// held is nil if w says that this process holds the word.
func (m *Mutex) held(w uint64) error {
	switch {
	case w&Locked == 0:
		return ErrNotLocked
	case w>>32 != m.mine>>32:
		return ErrNotOwner
	}
	return nil
}

// bury frees the word w, whose owner is dead.
func (m *Mutex) bury(w uint64) {
	free := w & Waiters
	if w&(Whole|Died) != Whole {
		free |= Died
	}
	if m.word.CompareAndSwap(w, free) {
		crashpoint.Hit("robust/bury/marked")
		if free&Waiters != 0 {
			futex.Wake(m.low, everybody)
		}
	}
}

// Whole reports whether somebody holds the word with Whole.
func (m *Mutex) Whole() bool { return m.word.Load()&Whole != 0 }

// Expose takes WHOLE from the word if this process holds it.
func (m *Mutex) Expose() { expose(m.word, uint32(m.mine>>32)) }

// expose takes WHOLE from the word if self holds it.
func expose(word *atomic.Uint64, self uint32) {
	for {
		w := word.Load()
		if w>>32 != uint64(self) || w&(Locked|Whole) != Locked|Whole || word.CompareAndSwap(w, w&^Whole) {
			return
		}
	}
}

// Owner is who holds the word, 0 if nobody does; died is whether an owner's death is to be recovered from.
func (m *Mutex) Owner() (id uint32, died bool) {
	w := m.word.Load()
	if w&Locked != 0 {
		id = uint32(w >> 32)
	}
	return id, w&Died != 0
}

// Locked reports whether anybody holds the word.
func (m *Mutex) Locked() bool { return m.word.Load()&Locked != 0 }

// Valid reports whether w is a word that the protocol leads to; its owner is for the caller to know.
func Valid(w uint64) bool {
	owned, low := w>>32 != 0, uint32(w)
	switch {
	case low&Locked != 0:
		return owned && low&^(Locked|Waiters|Died|Whole|Owes) == 0
	case owned: // the mark of a release
		return low&(1<<countShift-1) == Waiters
	}
	return low&^(Waiters|Died) == 0
}

const everybody = 1<<31 - 1

// patience is how often one of those who could barge in before others goes behind them, once in so many times.
const patience = 8

// askAgain is how long an answer that an owner lives is good for: long enough that a busy word is not asked
// for at each sleep, and shorter than the cap of a sleep, so that at its end the owner is asked for again.
const askAgain = 250 * time.Millisecond

// SpinPause is for atomics.Pause, between two of SpinBudget looks at a word before a sleep. Spinning pays only while
// whom one waits for runs on another CPU. All looks take about two microseconds, less than what a sleep and a wake cost together.
const SpinPause = 4

// SpinBudget is how often to look.
func SpinBudget() int {
	if runtime.NumCPU() == 1 {
		return 0
	}
	return 30
}
