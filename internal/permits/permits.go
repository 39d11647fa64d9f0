package permits

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// ErrOverReleased is a sentinel of package locks, which documents it.
var ErrOverReleased = errors.New("locks: semaphore released too often")

// Permits is a process's use of the permits of a semaphore: Count or Cells.
type Permits interface {
	// Acquire takes a permit, waiting until there is one or ctx is done. The errors are ctx's, and os.ErrClosed.
	Acquire(ctx context.Context) error
	// TryAcquire takes a permit if one is free.
	TryAcquire() bool
	// Release gives a permit back and wakes a waiter. The errors are ErrOverReleased and robust.ErrNotOwner.
	Release() error
	// Value is how many are free.
	Value() int
	// Fast returns what inlined fast paths need, for when nobody waits: the counting word, of which 1 is taken while its low
	// half, as a signed number, is above 0, and to which 1 is added while its low half is below most. Under the race
	// detector use Acquire and Release.
	Fast() (word *uint64, most uint32)
}

// source is what acquire takes permits from.
type source interface {
	// take takes a permit if it finds one; ask says to ask the kernel whether holders live.
	take(ask bool) bool
	// queue says that somebody is about to sleep, unless take finds a permit after that, while the futex word is low.
	queue() (low uint32)
	robust.Sleeper
	// holders reports whether permits name their holders, who may be dead.
	holders() bool
}

// acquire takes a permit of s, whose futex word is w; object is the first word of the payload.
func acquire(ctx context.Context, s source, w, object *atomic.Uint32, peers robust.Peers, handle robust.Handle) error {
	wait := robust.NewWaiting(peers, w, object, 0, uint64(peers.Self()), s)
	defer wait.End()
	var asked time.Time
	for {
		if handle.Closed() {
			if wait.Slept() {
				futex.Wake(w, 1) // what ended the sleep may have been a wake for one who stays
			}
			return os.ErrClosed
		}
		if s.take(false) {
			return nil
		}
		if on, err := wait.Line(ctx); err != nil {
			return err
		} else if !on {
			continue
		}
		low := s.queue()
		crashpoint.Hit("permits/acquire/queued")
		if s.take(false) {
			return nil
		}
		if wait.Nap(ctx, low) {
			crashpoint.Hit("permits/acquire/woken")
			continue
		}
		if s.holders() && time.Since(asked) > askAgain {
			if s.take(true) {
				return nil
			}
			asked = time.Now()
		}
		if err := wait.Sleep(ctx, low); err != nil && !handle.Closed() {
			// The wait may have swallowed a wake. Look once more; if others were faster, WAITERS makes them wake
			// somebody else.
			if s.take(false) {
				return nil
			}
			return err
		}
		crashpoint.Hit("permits/acquire/woken")
	}
}

// askAgain is how long an answer that the holders live is good for: see package robust.
const askAgain = 250 * time.Millisecond
