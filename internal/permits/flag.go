package permits

import (
	"context"
	"os"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/parking"
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

// Wait waits until the flag is set, or has been since the call, or ctx is done. The errors are ctx's, and os.ErrClosed.
func (f *Flag) Wait(ctx context.Context) error {
	noted := f.word.Load() &^ flagSleeps // PAIRS WITH Set
	if noted&flagSet != 0 {
		f.race.Acquire()
		return nil
	}
	freed := func() bool {
		w := f.word.Load() // PAIRS WITH Set
		return w&flagSet != 0 || w&^flagSleeps != noted
	}
	over := func() bool { return f.handle.Closed() || freed() }
	var (
		place *parking.Place
		wait  *robust.Waiting
	)
	for {
		if f.handle.Closed() {
			return os.ErrClosed
		}
		if freed() {
			f.race.Acquire()
			return nil
		}
		if wait == nil {
			wait = robust.NewWaiting(f.peers, f.word, 0, over)
			defer wait.End()
		}
		if place == nil {
			var err error
			if place, err = parking.Enter(ctx, f.word, uint64(f.peers.Self()), over); err != nil && !over() {
				return err
			}
			if place != nil {
				defer place.Leave()
			}
			continue
		}
		if f.word.CompareAndSwap(noted, noted|flagSleeps) { // else the bit is there, or the sleep ends at once
			crashpoint.Hit("permits/flag/sleeps")
		}
		wait.Note()
		if err := parking.Wait(ctx, f.word, noted|flagSleeps, wait.Over); err != nil && !over() {
			return err
		}
		crashpoint.Hit("permits/flag/freed")
	}
}

const everybody = 1<<31 - 1
