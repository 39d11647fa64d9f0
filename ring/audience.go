package ring

import (
	"fmt"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// audience is the readers of a blocking ring: how they join it, and what the producer sees of them.
type audience struct {
	head  *broadcastHeader
	cells []cell
	slots uint64
	peers Peers

	// Who left no room at the producer's last look, and its word then.
	holder *cell
	held   uint64
}

// maxTries is how often somebody looks anew at a word that others change meanwhile. Each change is a step of
// somebody else, and there are hardly two in a row; the bound is for memory that is written by who breaks the
// rules.
const maxTries = 16

// join takes a free cell, or that of a dead reader, for a reader of this process, and finds out where it begins.
func (a *audience) join(self uint32) (*cell, uint64, error) {
	for _, evenDead := range []bool{false, true} {
		for i := range a.cells {
			c := &a.cells[i]
			w := c.word.Load() // PAIRS WITH join and lag: CAS the word; Reader.pass and TryPop: publish it
			if owner := ownerIn(w); owner != 0 && (!evenDead || !a.peers.Dead(owner)) {
				continue
			}
			a.use(uint32(i) + 1)
			if !c.word.CompareAndSwap(w, joining(self)) { // PAIRS WITH lag and join: load and CAS the word
				continue // somebody else has just taken it
			}
			crashpoint.Hit("ring/join/claimed")
			at, err := a.place(c, self)
			return c, at, err
		}
	}
	return nil, 0, ErrBusy
}

// use raises the number of cells that the producer looks at to n.
func (a *audience) use(n uint32) {
	for range maxTries { // others raise it too, but seldom more than once
		used := a.head.used.Load() // PAIRS WITH use: CAS it
		if used >= n || a.head.used.CompareAndSwap(used, n) {
			crashpoint.Hit("ring/join/used")
			return // PAIRS WITH slowest: load how many are used
		}
	}
	a.head.used.Store(uint32(len(a.cells)))
	crashpoint.Hit("ring/join/used")
}

// place gives the reader that is joining at c the position of the newest item, unless the producer has given it
// one before.
func (a *audience) place(c *cell, self uint32) (at uint64, err error) {
	// PAIRS WITH slowest: store the tail. The cell was taken before, so whoever has looked at the cells without seeing it
	// taken had stored its tail before that, and is not further than this.
	at = a.head.tail.Load()
	if c.word.CompareAndSwap(joining(self), placed(self, at)) { // PAIRS WITH lag: load and CAS the word
		crashpoint.Hit("ring/join/placed")
		return at, nil
	}
	w := c.word.Load()      // PAIRS WITH lag: CAS the word
	at = a.head.tail.Load() // PAIRS WITH slowest: store the tail; which it did before it gave the place
	ahead := (at - w) & cellPlace
	if ownerIn(w) != self || w&cellJoining != 0 || ahead > a.slots {
		return 0, fmt.Errorf("%w: the cell of a reader that is joining became %#x, the tail is %#x", ErrCorrupt, w, at)
	}
	return at - ahead, nil
}

// slowest is the position of the reader that is furthest behind the producer, which is at the given one and has
// no room left that it knows of; that itself if there is no reader.
func (a *audience) slowest(at uint64) uint64 {
	if a.holder != nil && a.holder.word.Load() == a.held && !a.peers.Dead(ownerIn(a.held)) { // PAIRS WITH as in lag
		return at - a.slots // still the same; there is no need to look at the others
	}
	a.holder = nil
	// A reader that joins takes a cell and then loads the tail. Either this sees it, or it sees this tail: that needs
	// a full barrier between the two here as well. PAIRS WITH place: load the tail.
	a.head.tail.Store(at)
	crashpoint.Hit("ring/broadcast/looking")
	most := uint64(0)
	used := min(a.head.used.Load(), uint32(len(a.cells))) // PAIRS WITH use: CAS it
	for i := range a.cells[:used] {
		most = max(most, a.lag(&a.cells[i], at))
	}
	return at - most
}

// lag is how far the reader at c, if there is one, is behind the producer. It places one that is joining, and
// evicts a dead one that leaves no room.
func (a *audience) lag(c *cell, at uint64) uint64 {
	for range maxTries {
		// PAIRS WITH join and place: CAS the word; Reader.pass and TryPop: publish it. What the reader had copied out
		// before is copied.
		w := c.word.Load()
		owner := ownerIn(w)
		if owner == 0 {
			return 0
		}
		if w&cellJoining != 0 {
			// It may be stopped, for any time, and would then store a position that is long past. So it gets this one, and
			// its own CAS fails. PAIRS WITH place: CAS and load the word.
			if c.word.CompareAndSwap(w, placed(owner, at)) {
				crashpoint.Hit("ring/broadcast/helped")
				return 0
			}
			continue
		}
		lag := (at - w) & cellPlace
		if lag < a.slots {
			return lag
		}
		// Also a lag that cannot be is a dead reader's affair: its process may have left and yet gone on to read.
		if !a.peers.Dead(owner) {
			if lag == a.slots {
				a.holder, a.held = c, w
			}
			return lag
		}
		if c.word.CompareAndSwap(w, 0) { // PAIRS WITH join: load and CAS the word; keep: load it
			crashpoint.Hit("ring/broadcast/evicted")
			return 0
		}
	}
	return a.slots // no room for now; the next push looks again
}
