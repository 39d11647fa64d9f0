package permits

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// The sleep word; see the package documentation.
const (
	sleepWaiters = 1 << 0
	sleepFreed   = 1 << 1
	sleepOne     = 1 << 2
)

// Cells is this process's use of permits that name their holders.
type Cells struct {
	cells  []atomic.Uint32
	word   *atomic.Uint32
	object *atomic.Uint32 // the first word of the payload
	peers  robust.Peers
	self   uint32
	handle robust.Handle
	race   *race.Word
	hint   atomic.Uint32 // the cell that this handle took or freed last
	tries  atomic.Uint32 // TryAcquires that found no permit
}

// Acquire is part of Permits.
func (c *Cells) Acquire(ctx context.Context) error {
	if !c.handle.Closed() && c.take(false) { // acquire does the same, and needs longer to begin
		return nil
	}
	return acquire(ctx, c, c.word, c.object, c.peers, c.handle)
}

// TryAcquire is part of Permits. When it finds no permit it asks for the holders the first time and every 64th time after
// that; else a holder counts as dead once that is known.
func (c *Cells) TryAcquire() bool {
	return c.take(false) || c.tries.Add(1)%64 == 1 && c.take(true)
}

// take looks at the cells from the hint upwards.
func (c *Cells) take(ask bool) bool {
	n := uint32(len(c.cells))
	lives := uint32(0) // the holder that was alive last: one that has many permits is asked for once
	for i, left := c.hint.Load(), n; left > 0; left-- {
		for {
			id := c.cells[i].Load()
			if id == lives && id != 0 || !c.free(id, ask) {
				lives = id
				break
			}
			if c.cells[i].CompareAndSwap(id, c.self) { // PAIRS WITH Release: the cell becomes free
				c.race.Acquire()
				crashpoint.Hit("permits/cells/taken")
				c.near(i)
				return true
			}
		}
		if i++; i == n {
			i = 0
		}
	}
	return false
}

// free reports whether the permit is free that id holds. What this process has is not, whatever others say of it.
func (c *Cells) free(id uint32, ask bool) bool {
	if ask {
		return id == 0 || id != c.self && c.peers.Dead(id)
	}
	return id == 0 || id != c.self && c.peers.KnownDead(id)
}

// near makes cell i the hint.
func (c *Cells) near(i uint32) {
	if c.hint.Load() != i {
		c.hint.Store(i)
	}
}

func (c *Cells) queue() uint32 {
	for {
		w := c.word.Load()
		q := w&^sleepFreed | sleepWaiters
		if q == w || c.word.CompareAndSwap(w, q) { // PAIRS WITH tell
			return q
		}
	}
}

func (c *Cells) holders() bool { return true }

// Over is part of robust.Sleeper.
func (c *Cells) Over() bool {
	return c.handle.Closed() || c.Value() != 0
}

// looks is how often Release looks at all cells. While it looks, other goroutines of this process may take a cell behind
// it and free one before it; once is therefore not enough to know that the process holds nothing, and that it
// happens so often in a row, between just these two loads, is not to be expected.
const looks = 16

// Release is part of Permits. It looks at the cells from the hint downwards, so that what was taken last is found first.
func (c *Cells) Release() error {
	c.race.Release()
	n := uint32(len(c.cells))
	for range looks {
		for i, left := c.hint.Load(), n; left > 0; left-- {
			if c.cells[i].Load() == c.self && c.cells[i].CompareAndSwap(c.self, 0) { // PAIRS WITH take
				crashpoint.Hit("permits/cells/released")
				c.near(i)
				tell(c.word)
				return nil
			}
			if i == 0 {
				i = n
			}
			i--
		}
	}
	return robust.ErrNotOwner
}

// tell wakes one who waits, if somebody does, after a cell became free.
func tell(word *atomic.Uint32) {
	for {
		w := word.Load() // PAIRS WITH queue
		if w&sleepWaiters == 0 {
			return
		}
		free := (w + sleepOne) | sleepFreed
		if !word.CompareAndSwap(w, free) {
			continue
		}
		crashpoint.Hit("permits/cells/told")
		if futex.Wake(word, 1) == 0 {
			crashpoint.Hit("permits/cells/nobody")
			word.CompareAndSwap(free, free&^(sleepWaiters|sleepFreed))
		}
		crashpoint.Hit("permits/cells/woken")
		return
	}
}

// Value is part of Permits. What the dead hold is free.
func (c *Cells) Value() (n int) {
	for i := range c.cells {
		if c.free(c.cells[i].Load(), false) {
			n++
		}
	}
	return n
}

// Abandoned reports whether a cell of the semaphore whose whole payload is mem names somebody of whom dead says that.
func Abandoned(mem []byte, dead func(id uint32) bool) bool {
	cells, _ := cellsIn(mem)
	for i := range cells {
		if id := cells[i].Load(); id != 0 && dead(id) {
			return true
		}
	}
	return false
}

// Holders are those that the cells of the semaphore whose whole payload is mem name, each once.
func Holders(mem []byte) (ids []uint32) {
	cells, _ := cellsIn(mem)
	for i := range cells {
		if id := cells[i].Load(); id != 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Recall frees these cells, as a release each.
func Recall(mem []byte, dead func(id uint32) bool) {
	cells, word := cellsIn(mem)
	for i := range cells {
		if id := cells[i].Load(); id != 0 && dead(id) && cells[i].CompareAndSwap(id, 0) {
			crashpoint.Hit("permits/recall/freed")
			tell(word)
		}
	}
}

// Check returns the offset of the first word in the semaphore of cells whose whole payload is mem to which no step leads,
// what it is, and whether there is one; given tells which owner ids there can be.
func Check(mem []byte, given func(id uint32) bool) (at int, w uint64, wrong bool) {
	cells, word := cellsIn(mem)
	switch p := payloadOf(mem); {
	case p.word.Load() != 0: // who counts would take permits that there are not
		return 0, p.word.Load(), true
	case p.most != uint32(len(cells)):
		return mostAt, uint64(p.most), true
	case p.mode != modeCells:
		return modeAt, uint64(p.mode), true
	}
	if w := word.Load(); w&(sleepWaiters|sleepFreed) == sleepFreed {
		return sleepAt, uint64(w), true
	}
	for i := range cells {
		if id := cells[i].Load(); id != 0 && !given(id) {
			return CellsAt + 4*i, uint64(id), true
		}
	}
	return 0, 0, false
}
