package barrier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// ErrBroken is a sentinel of package locks, which documents it.
var ErrBroken = errors.New("locks: broken barrier")

// askAgain is how long an answer that all live is good for: see package robust.
const askAgain = 250 * time.Millisecond

// Barrier is one handle's use of a barrier.
type Barrier struct {
	words
	peers    robust.Peers
	observer robust.Observer // nil if the peers are none
	self     uint32
	handle   robust.Handle
	race     *race.Word
	spin     robust.Spin

	mu     sync.Mutex  // guards the change of joined
	joined atomic.Bool // whether a member cell counts this handle
}

// dead asks about a party, who lives as a rule: without a system call if that can be known.
func (b *Barrier) dead(id uint32) bool {
	return (b.observer == nil || !b.observer.KnownAlive(id)) && b.peers.Dead(id)
}

// Parties is how many have to come.
func (b *Barrier) Parties() int { return len(b.arrivals) }

// Waiting is how many have come in a pass that is not broken.
func (b *Barrier) Waiting() int {
	w := b.word.Load()
	if w&wordBroken != 0 {
		return 0
	}
	return b.arrived(passOf(w))
}

// Broken reports whether the barrier is broken.
func (b *Barrier) Broken() bool { return b.word.Load()&wordBroken != 0 }

// Join binds this process by this handle. It reports whether there was a cell for it. The handle must not be closed
// before; if that happens meanwhile nothing is bound.
func (b *Barrier) Join() bool {
	if b.joined.Load() {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.joined.Load() || b.handle.Closed() {
		return true
	}
	// Its own cell first: those of a process that has two count together, too.
	for _, free := range []bool{false, true} {
		for i := range b.members {
			for {
				m := b.members[i].Load()
				if ownerOf(m) != b.self && !(free && m == 0) {
					break
				}
				if b.members[i].CompareAndSwap(m, cell(b.self, uint32(m)+1)) {
					crashpoint.Hit("barrier/join/joined")
					b.joined.Store(true)
					return true
				}
			}
		}
	}
	return false
}

// Adopt binds this process by this handle, which has arrived, if Enlist was done for it, and other handles have not ended that.
func (b *Barrier) Adopt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range b.members {
		for m := b.members[i].Load(); ownerOf(m) == b.self && m&memberStarted != 0; m = b.members[i].Load() {
			if b.members[i].CompareAndSwap(m, m+1) {
				crashpoint.Hit("barrier/adopt/adopted")
				b.joined.Store(true)
				return
			}
		}
	}
}

// Leave undoes Join and Adopt, after the handle was closed.
func (b *Barrier) Leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.joined.Load() {
		return
	}
	b.joined.Store(false)
	for i := range b.members {
		for m := b.members[i].Load(); ownerOf(m) == b.self && handles(m) != 0; m = b.members[i].Load() {
			rest := m - 1
			if handles(rest) == 0 {
				rest = 0
			}
			if b.members[i].CompareAndSwap(m, rest) {
				crashpoint.Hit("barrier/leave/left")
				return
			}
		}
	}
}

// Wait arrives, and waits for the others. The index is the order of arrival. Who comes last runs action, if that is
// not nil, before the others go on. The errors are ErrBroken, which ctx's come with, os.ErrClosed and action's.
func (b *Barrier) Wait(ctx context.Context, action func() error) (index int, err error) {
	b.Join() // or else it is bound when it has arrived
	b.race.Release()
	for {
		w := b.word.Load()
		if b.handle.Closed() {
			return 0, os.ErrClosed
		}
		if w&wordBroken != 0 {
			return 0, ErrBroken
		}
		p := passOf(w)
		index, ok := b.arrive(p, b.self)
		switch {
		case ok && index == b.Parties()-1:
			crashpoint.Hit("barrier/wait/last")
			return index, b.pass(p, action)
		case ok:
			crashpoint.Hit("barrier/wait/arrived")
			return index, b.await(ctx, p)
		}
		if err := b.await(ctx, p); err != nil { // this one is of the next pass
			return 0, err
		}
	}
}

// pass completes pass p, in which all have come.
func (b *Barrier) pass(p uint32, action func() error) error {
	if b.lost(p, b.self, b.dead) {
		b.spoil(p)
	}
	if over, err := b.outcome(p); over {
		return err
	}
	b.race.Acquire()
	if action != nil {
		if err := b.act(p, action); err != nil {
			return err
		}
		b.race.Release()
	}
	for {
		w := b.word.Load()
		if passOf(w) != p || w&wordBroken != 0 {
			return ErrBroken
		}
		if !b.word.CompareAndSwap(w, after(w, 0)) { // PAIRS WITH outcome
			continue
		}
		crashpoint.Hit("barrier/pass/passed")
		if w&wordSleeps != 0 {
			futex.Wake(b.low, everybody)
			b.spin.Late()
		}
		crashpoint.Hit("barrier/pass/woken")
		return nil
	}
}

// act runs action; unless that succeeds the pass is broken.
func (b *Barrier) act(p uint32, action func() error) (err error) {
	done := false
	defer func() {
		if !done {
			b.spoil(p)
		}
	}()
	err = action()
	crashpoint.Hit("barrier/pass/acted")
	done = err == nil
	return err
}

// party is a wait for the end of a pass.
type party struct {
	b *Barrier
	p uint32
}

// Over is part of robust.Sleeper.
func (a *party) Over() bool {
	over, _ := a.b.outcome(a.p)
	return over || a.b.handle.Closed() || a.b.lost(a.p, a.b.self, a.b.peers.KnownDead)
}

// await waits for the end of pass p. When ctx is done it breaks that.
func (b *Barrier) await(ctx context.Context, p uint32) error {
	a := &party{b, p}
	wait := robust.NewWaiting(b.peers, b.low, b.low, 0, uint64(b.self), a)
	defer wait.End()
	var asked time.Time
	spins := b.spin.Begin()
	for {
		if over, err := b.outcome(p); over {
			spins.End(true)
			b.race.Acquire()
			return err
		}
		if spins.Left > 0 {
			spins.Left--
			atomics.Pause(robust.SpinPause)
			continue
		}
		spins.End(false)
		if b.handle.Closed() {
			return os.ErrClosed
		}
		if b.lost(p, b.self, b.peers.KnownDead) {
			b.spoil(p)
			continue
		}
		on, err := wait.Line(ctx)
		if err == nil {
			if !on {
				continue
			}
			low, sleeps := b.sleep(p)
			if !sleeps || wait.Nap(ctx, low) {
				continue
			}
			if time.Since(asked) > askAgain {
				if b.lost(p, b.self, b.peers.Dead) {
					b.spoil(p)
					continue
				}
				asked = time.Now()
			}
			err = wait.Sleep(ctx, low)
			crashpoint.Hit("barrier/wait/woken")
		}
		if err != nil && !a.Over() && b.spoil(p) {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
}

// sleep says that somebody is about to sleep until pass p ends, while the low half of the word is low.
func (b *Barrier) sleep(p uint32) (low uint32, ok bool) {
	for {
		w := b.word.Load()
		if passOf(w) != p || w&wordBroken != 0 {
			return 0, false
		}
		if w&wordSleeps != 0 || b.word.CompareAndSwap(w, w|wordSleeps) { // PAIRS WITH pass, spoil
			crashpoint.Hit("barrier/wait/sleeps")
			return uint32(w) | wordSleeps, true
		}
	}
}

// Abort breaks the pass.
func (b *Barrier) Abort() {
	for !b.Broken() && !b.spoil(passOf(b.word.Load())) {
	}
}

// Reset breaks the pass, forgets who is dead, and begins another one.
func (b *Barrier) Reset() {
	p := passOf(b.word.Load())
	for !b.spoil(p) && !b.broken(p) {
		p = passOf(b.word.Load())
	}
	b.bury(p, b.peers.Dead)
	for b.broken(p) { // else another Reset was faster
		if w := b.word.Load(); passOf(w) == p && b.word.CompareAndSwap(w, after(w, 1)) { // PAIRS WITH outcome
			crashpoint.Hit("barrier/reset/reset")
			return
		}
	}
}
