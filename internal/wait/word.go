package wait

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/parking"
)

// The state of a Word; its transitions are in the package documentation.
const (
	sleepers = 3 << 0 // how many may sleep: 0 nobody, 1 one, 2 several (and 3, which nobody writes)
	one      = 1 << 0
	several  = 2 << 0
	waking   = 1 << 2 // of several one is being woken, or was; nobody came since
	fenced   = 1 << 3 // publishers are to fence
	sure     = 1 << 4 // all do
	bare     = 1 << 5 // some process publishes without a fence unless it is asked
	turns    = 63 << 6
	turn     = 1 << 6  // how often FENCED was taken away, modulo 64
	wakes    = 1 << 12 // how often somebody was woken, modulo 2^20
)

const (
	// enough is after how many fences in a row for which nobody slept a publisher takes FENCED away. They cost about as much
	// as the barrier that the mode spares a sleeper, so that a stream is never much dearer than twice the best.
	enough = 512
	// longestSkip is how many sleeps do without FENCED at most after it was found to be taken away.
	longestSkip = 63
	// firstLook is how long a sleeper first sleeps who is not sure that all fence, and looks is how often he looks again
	// like that, each time after twice as long. By the first of them what he may have missed has left every store buffer.
	firstLook = time.Millisecond
	looks     = 4
)

const everybody = 1<<31 - 1

// Word is this process's use of a word in shared memory by which those who wait for something are woken by those who
// publish it: items in a ring, or room there. While nobody sleeps, to publish costs one load and a branch more.
//
// Any number of goroutines of any number of processes may call all methods. Wake and WakeAll never block; they are
// wait-free but for the repetition of a compare-and-swap that met another's. Those who wait on one Word wait for the
// same: whatever lets one of them go on would let each of the others.
//
// Who is killed or stopped in a method costs others no more than a useless wake, or, between publishing and waking, and
// between being woken and acting, that they sleep on until something else is published, at most for a second; the death
// of a participant ends that at once (futex.Kick). See the package documentation.
//
// What is published before Wake happens before the return of a Wait whose ready saw it, by what ready reads.
type Word struct {
	state *atomic.Uint32
	eager atomic.Uint32 // one, if each publication fences; else 0
	_     [layout.CacheLine]byte

	// What follows is written by publishers who fence, and sleepers.
	fences   atomic.Uint32 // made in a row for nobody
	unsure   atomic.Uint32 // turns|fenced that were seen without SURE
	refused  atomic.Bool   // the kernel refuses barriers
	wakes    atomic.Uint64 // calls of the kernel
	barriers atomic.Uint64
	late     atomic.Uint64 // sleeps that ended by themselves, and there was something to wake up for
	missed   func(uint32)  // nil but in tests; called for each of those, with the state

	line chan struct{} // has the token of who is first of this process's sleepers

	// The first in line has these.
	asked   bool   // for FENCED
	turn    uint32 // turns, when it asked
	skip    int    // how many sleeps do without FENCED when it was taken away
	skipped int    // that many are still to do so
}

// New returns this process's use of the word in the first Size bytes of mem, which is zero at first, aligned to
// layout.CacheLine, and mapped for as long as the Word is used. The first call has the process registered for the barriers
// of sleepers, in the background.
func New(mem []byte) (*Word, error) {
	s, err := sharedAt(mem)
	if err != nil {
		return nil, err
	}
	registered()
	w := &Word{state: &s.state, line: make(chan struct{}, 1)}
	if !atomics.PublishIsFenced {
		w.eager.Store(one)
	}
	return w, nil
}

// Wake wakes somebody who waits, if anybody does. Call it after each publication (atomics.Pos.Publish, or a store of
// sync/atomic); it returns before who was woken does anything.
func (w *Word) Wake() {
	// eager comes first: once it is found to be 0, BARE is in every state that is loaded. PAIRS WITH join, flag
	if (w.eager.Load()|w.state.Load())&(sleepers|fenced) != 0 {
		w.wake()
	}
}

// wake is Wake for who must fence, or has somebody to wake.
//
//go:noinline
func (w *Word) wake() {
	// Each locked instruction is a full barrier here: what was published is visible before the state is loaded.
	idle := w.fences.Add(1)
	if w.eager.Load() != 0 && registered() {
		w.join()
	}
	v := w.state.Load() // PAIRS WITH flag
	switch {
	case v&sleepers != 0:
		w.fences.Store(0)
		w.rouse(v, false)
	case v&fenced != 0 && idle >= enough && w.eager.Load() == 0:
		w.fences.Store(0)
		if w.state.CompareAndSwap(v, v&^(fenced|sure)&^turns|(v+turn)&turns) { // PAIRS WITH flag, confirm
			crashpoint.Hit("wait/word/unfenced")
			return
		}
	}
	if v&(fenced|sure) == fenced {
		w.vouch(v)
	}
}

// join lets this process publish without a fence: it says so first. Whoever slept before is in the state that is loaded
// after that, and whoever comes finds BARE.
func (w *Word) join() {
	for {
		v := w.state.Load()
		if v&bare != 0 || w.state.CompareAndSwap(v, v|bare) { // PAIRS WITH flag
			break
		}
	}
	crashpoint.Hit("wait/word/bare")
	w.eager.Store(0)
}

// WakeAll wakes all who wait. It is for what concerns each of them, and rare: that there will be no more.
func (w *Word) WakeAll() {
	w.fences.Add(1) // a full barrier, see wake
	w.rouse(w.state.Load(), true)
}

// rouse wakes who sleeps in state v. Where one may it is taken out of the state before the wake; so nobody pays for one
// who was killed but once. (It wakes all: there may be those whom somebody took out and then was killed.) Where several
// may, one is woken and the state stays, until a wake finds nobody and nobody has come since it was called.
func (w *Word) rouse(v uint32, all bool) {
	for v&sleepers != 0 {
		n, most := v&^(sleepers|waking)+wakes, everybody
		if v&several != 0 && !all {
			n, most = (v|waking)+wakes, 1
		}
		if !w.state.CompareAndSwap(v, n) { // PAIRS WITH flag, and the kernel's comparison
			v = w.state.Load()
			continue
		}
		crashpoint.Hit("wait/word/taken")
		w.wakes.Add(1)
		if futex.Wake(w.state, most) == 0 && n&sleepers != 0 {
			crashpoint.Hit("wait/word/nobody")
			w.state.CompareAndSwap(n, n&^(sleepers|waking)) // PAIRS WITH flag: who comes takes WAKING away
		}
		return
	}
}

// vouch is for a publisher who saw state v, FENCED but not SURE. Who asked for it makes sure, unless he was killed, or is
// refused barriers. So a publisher who sees that a second time does it.
func (w *Word) vouch(v uint32) {
	asked := v&turns | fenced
	if w.unsure.Swap(asked) == asked && w.call() {
		w.confirm(v)
	}
}

// call calls for a barrier, and reports whether there was one.
func (w *Word) call() bool {
	if w.refused.Load() {
		return false
	}
	w.barriers.Add(1)
	if barrier() {
		return true
	}
	w.refused.Store(true)
	return false
}

// confirm makes state v, which is FENCED, SURE, after a barrier. If FENCED was taken away meanwhile it does nothing: some
// publisher may have looked between that and the next who asked.
func (w *Word) confirm(v uint32) {
	for {
		u := w.state.Load()
		if u&(turns|fenced|sure) != v&turns|fenced || w.state.CompareAndSwap(u, u|sure) {
			return
		}
	}
}

// flag says in the state that the caller, who is first in line, may sleep. It returns the state to sleep on after another
// look, and whether that is certain to miss nothing: every publisher looks at the state after it has published, or
// what it has published is there to be seen.
func (w *Word) flag() (n uint32, certain bool) {
	v := w.state.Load()
	for {
		n = v &^ waking
		if v&several == 0 {
			n += one
		}
		all := v&(fenced|sure) == fenced|sure
		if all {
			w.skip /= 2
		}
		if v&bare == 0 || all {
			// All fence, in order: publish, look. A compare-and-swap is a full barrier, too; and what one flag more would not
			// change has been there for all to see when it was loaded.
			if n == v || w.state.CompareAndSwap(v, n) { // PAIRS WITH wake, rouse, join
				crashpoint.Hit("wait/word/flagged")
				return n, true
			}
			v = w.state.Load()
			continue
		}
		if v&fenced == 0 && w.asks(v) {
			n |= fenced
		}
		if n != v && !w.state.CompareAndSwap(v, n) { // PAIRS WITH Wake, wake, rouse
			v = w.state.Load()
			continue
		}
		crashpoint.Hit("wait/word/asked")
		if w.call() {
			if n&fenced != 0 {
				w.confirm(n)
				crashpoint.Hit("wait/word/sure")
				n |= sure // else the sleep ends at once
			}
			return n, true
		}
		if n&fenced != 0 {
			return n, false
		}
		v = w.state.Load() // again, asking for FENCED
	}
}

// asks reports whether to ask for FENCED, which is not in state v. Who sleeps often wants it, and who sleeps seldom does not:
// publishers take it away then, after enough fences. So it is asked for at once, and when it was taken away, only after
// some sleeps without it, more each time.
func (w *Word) asks(v uint32) bool {
	if w.refused.Load() {
		return true
	}
	if forced.unasked.Load() {
		return false
	}
	if w.asked && v&turns != w.turn {
		w.asked = false
		w.skip = min(2*w.skip+1, longestSkip)
		w.skipped = w.skip
	}
	if w.skipped > 0 {
		w.skipped--
		return false
	}
	w.asked, w.turn = true, v&turns
	return true
}

// unflag takes back what flag returned, if nobody came or went since; else the next wake finds nobody, which costs it a
// call of the kernel.
func (w *Word) unflag(v uint32) {
	if v&sleepers == one {
		w.state.CompareAndSwap(v, v&^sleepers) // PAIRS WITH rouse, flag
	}
}

// Wait returns nil once ready does, which is asked first, and ctx's error when that ends before.
//
// ready looks at memory and nothing else, also when it is called by other goroutines and after Wait has
// returned; it is often asked. It is true for all that ends the wait: that the handle was closed, too, after which the
// closer calls futex.Kick. To allocate nothing make it once for each handle.
func (w *Word) Wait(ctx context.Context, ready func() bool) error {
	s := w.Sleeper()
	defer s.End()
	return s.Wait(ctx, ready)
}

// Sleeper is the wait of one goroutine. Those of a process that use one Word stand in line, and only the first looks and
// sleeps, so that a wake lets one of them look and not a herd: it keeps its place until End, hence
// while it takes what it has waited for.
//
//	s := w.Sleeper()
//	defer s.End()
//	for !try() {
//		if err := s.Wait(ctx, ready); err != nil {
//			return err
//		}
//	}
type Sleeper struct {
	w     *Word
	ready func() bool
	first bool // has the line's token
	slept bool
}

// Sleeper begins a wait. It has no place in line before its first Wait.
func (w *Word) Sleeper() Sleeper { return Sleeper{w: w} }

// End leaves the line. If there is still something for somebody who sleeps elsewhere, it wakes him.
func (s *Sleeper) End() {
	if !s.first {
		return
	}
	s.first = false
	if s.slept {
		if v := s.w.state.Load(); v&sleepers != 0 && s.ready() {
			s.w.rouse(v, false)
		}
	}
	<-s.w.line
}

// enter waits until this is the first in line.
func (s *Sleeper) enter(ctx context.Context) error {
	if s.first {
		return nil
	}
	select {
	case s.w.line <- struct{}{}:
	default:
		select {
		case s.w.line <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.first = true
	return nil
}

// Wait is as Word's, and may be called again until End.
func (s *Sleeper) Wait(ctx context.Context, ready func() bool) error {
	s.ready = ready
	if ready() {
		return nil
	}
	if err := s.enter(ctx); err != nil {
		if ready() {
			return nil
		}
		return err
	}
	for !ready() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if done, err := s.sleep(ctx); done {
			return err
		}
	}
	return nil
}

// sleep sleeps until the state has changed, or the wait is done.
func (s *Sleeper) sleep(ctx context.Context) (done bool, err error) {
	w := s.w
	v, certain := w.flag()
	for n := 0; ; n++ {
		if s.ready() {
			if n > 0 {
				w.overslept(v)
			}
			w.unflag(v)
			return true, nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			w.unflag(v)
			return true, err
		}
		s.slept = true
		if certain || n >= looks {
			if !parking.Nap(ctx, w.state, v) { // PAIRS WITH rouse
				err = parking.Sleep(ctx, w.state, v, s.ready)
			}
		} else {
			err = doze(ctx, w.state, v, s.ready, firstLook<<n)
		}
		if w.state.Load() != v {
			return false, nil
		}
	}
}

// overslept counts a sleep on state v that ended by itself, though there was something to wake up for, unless who
// published that is waking by now.
func (w *Word) overslept(v uint32) {
	if w.state.Load() != v {
		return
	}
	w.late.Add(1)
	if w.missed != nil {
		w.missed(v)
	}
}

// doze sleeps for a given time at most, whose end is no error.
func doze(ctx context.Context, state *atomic.Uint32, v uint32, ready func() bool, most time.Duration) error {
	short, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	err := parking.Sleep(short, state, v, ready)
	if d, ok := ctx.Deadline(); ok && !time.Now().Before(d) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return err
}
