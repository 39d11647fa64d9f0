package permits

import (
	"context"
	"os"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// The flag; see the package documentation.
const (
	flagSet    = 1 << 0
	flagSleeps = 1 << 1
	flagOne    = 1 << 2
)

// Flag is this process's use of a flag.
type Flag struct {
	word   *atomic.Uint32
	peers  robust.Peers
	handle robust.Handle
	race   *race.Word
}

// IsSet reads the flag.
func (f *Flag) IsSet() bool {
	if f.word.Load()&flagSet == 0 { // PAIRS WITH Set
		return false
	}
	f.race.Acquire()
	return true
}

// Set sets the flag and frees all who wait.
func (f *Flag) Set() {
	for {
		w := f.word.Load()
		if w&flagSet != 0 {
			return
		}
		f.race.Release()
		if !f.word.CompareAndSwap(w, w&^flagSleeps+flagOne|flagSet) { // PAIRS WITH IsSet, Wait
			continue
		}
		crashpoint.Hit("permits/flag/set")
		if w&flagSleeps != 0 {
			futex.Wake(f.word, everybody)
		}
		crashpoint.Hit("permits/flag/woken")
		return
	}
}

// Clear takes the flag away.
func (f *Flag) Clear() {
	for {
		w := f.word.Load()
		if w&flagSet == 0 || f.word.CompareAndSwap(w, w&^flagSet) {
			return
		}
	}
}

// flagWait is a wait for a flag that was noted.
type flagWait struct {
	f     *Flag
	noted uint32
}

// freed reports whether the flag is set, or has been since it was noted.
func (w *flagWait) freed() bool {
	now := w.f.word.Load() // PAIRS WITH Set
	return now&flagSet != 0 || now&^flagSleeps != w.noted
}

// Over is part of robust.Sleeper.
func (w *flagWait) Over() bool { return w.f.handle.Closed() || w.freed() }

// Wait waits until the flag is set, or has been since the call, or ctx is done. The errors are ctx's, and os.ErrClosed.
func (f *Flag) Wait(ctx context.Context) error {
	noted := f.word.Load() &^ flagSleeps // PAIRS WITH Set
	if noted&flagSet != 0 && !f.handle.Closed() {
		f.race.Acquire()
		return nil
	}
	w := &flagWait{f, noted}
	wait := robust.NewWaiting(f.peers, f.word, f.word, 0, uint64(f.peers.Self()), w)
	defer wait.End()
	for {
		if f.handle.Closed() {
			return os.ErrClosed
		}
		if w.freed() {
			f.race.Acquire()
			return nil
		}
		if on, err := wait.Line(ctx); err != nil && !w.Over() {
			return err
		} else if !on {
			continue
		}
		if f.word.CompareAndSwap(noted, noted|flagSleeps) { // else the bit is there, or the sleep ends at once
			crashpoint.Hit("permits/flag/sleeps")
		}
		if !wait.Nap(ctx, noted|flagSleeps) {
			if err := wait.Sleep(ctx, noted|flagSleeps); err != nil && !w.Over() {
				return err
			}
		}
		crashpoint.Hit("permits/flag/freed")
	}
}

const everybody = 1<<31 - 1
