package permits

import (
	"context"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// The counting word; see the package documentation.
const (
	countWaiters = 1 << 31
	countValue   = countWaiters - 1
	countOne     = 1 << 32
)

// Count is this process's use of a counting word.
type Count struct {
	word   *atomic.Uint64
	low    *atomic.Uint32
	most   uint32
	peers  robust.Peers
	handle robust.Handle
	race   *race.Word
}

// Acquire is part of Permits.
func (c *Count) Acquire(ctx context.Context) error {
	return acquire(ctx, c, c.low, c.low, c.peers, c.handle)
}

// TryAcquire is part of Permits.
func (c *Count) TryAcquire() bool { return c.take(false) }

func (c *Count) take(bool) bool {
	for {
		w := c.word.Load()
		if w&countValue == 0 {
			return false
		}
		if c.word.CompareAndSwap(w, w-1) { // PAIRS WITH Release: the value rises
			c.race.Acquire()
			crashpoint.Hit("permits/count/taken")
			return true
		}
	}
}

func (c *Count) queue() uint32 {
	for {
		w := c.word.Load()
		// With a value there is something to take, and if somebody else takes it the word may be what we sleep on.
		if w&(countValue|countWaiters) != 0 || c.word.CompareAndSwap(w, w|countWaiters) {
			return countWaiters
		}
	}
}

func (c *Count) holders() bool { return false }

// Over is part of robust.Sleeper.
func (c *Count) Over() bool { return c.handle.Closed() }

// Release is part of Permits.
func (c *Count) Release() error {
	c.race.Release()
	for {
		w := c.word.Load()
		if uint32(w)&countValue >= c.most {
			return ErrOverReleased
		}
		free := w + 1
		if w&countWaiters != 0 {
			free += countOne
		}
		if !c.word.CompareAndSwap(w, free) { // PAIRS WITH take
			continue
		}
		crashpoint.Hit("permits/count/released")
		if w&countWaiters != 0 && futex.Wake(c.low, 1) == 0 {
			crashpoint.Hit("permits/count/nobody")
			c.word.CompareAndSwap(free, free&^countWaiters)
		}
		crashpoint.Hit("permits/count/woken")
		return nil
	}
}

// Value is part of Permits.
func (c *Count) Value() int { return int(c.word.Load() & countValue) }
