package rw

import (
	"context"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// A cell; see the package documentation.
const (
	countMask = 1<<30 - 1
	waiters   = 1 << 31
)

// Lock is this process's use of one reader-writer lock.
type Lock struct {
	m       robust.Mutex
	p       *payload
	near    atomic.Pointer[cell] // where this process had its readers last
	self    uint32
	shut    *uint32
	peers   robust.Peers
	handle  robust.Handle
	object  *atomic.Uint32
	writers *race.Word // what writers did: the owner word's
	readers *race.Word // what readers did
	tries   atomic.Uint32
	many    atomic.Bool // whether there were several readers of this process at once
}

// Acquire takes the lock for writing, waiting until nobody has it or ctx is done. The errors are robust.ErrOwnerDied, ctx's,
// and os.ErrClosed.
func (l *Lock) Acquire(ctx context.Context) error {
	if err := l.queue(ctx); err != nil {
		return err
	}
	err := l.drain(ctx)
	return l.begin(err)
}

// queue takes the owner word with WHOLE.
func (l *Lock) queue(ctx context.Context) error {
	if !l.handle.Closed() && l.m.Take(robust.Whole) {
		return nil
	}
	return l.m.Lock(ctx, robust.Whole)
}

// begin is the end of each acquisition by a writer, which frees the owner word if the readers could not be waited for: with
// err. What comes after it changes what the lock guards.
func (l *Lock) begin(err error) error {
	if err == nil {
		crashpoint.Hit("rw/writer/alone")
		l.m.Expose()
		crashpoint.Hit("rw/writer/in")
		if !l.handle.Closed() {
			l.readers.Acquire()
			return nil
		}
		err = os.ErrClosed
	}
	l.m.Unlock() // if it has not been buried, because this process left the segment
	return err
}

// drain waits until no process has readers. This one has the owner word.
func (l *Lock) drain(ctx context.Context) error {
	cells := l.used()
	for i := range cells {
		if err := l.empty(ctx, &cells[i]); err != nil {
			return err
		}
	}
	return nil
}

// used are the cells that were ever claimed.
func (l *Lock) used() []cell { return l.p.cells[:min(l.p.used.Load(), Cells)] }

// readersOf is the process that has readers in a cell whose content is w, 0 if nobody has.
func readersOf(w uint64) uint32 {
	if w&countMask == 0 {
		return 0
	}
	return uint32(w >> 32)
}

// empty waits until c has no readers. This process has the owner word.
func (l *Lock) empty(ctx context.Context, c *cell) error {
	if readersOf(c.w.Load()) == 0 {
		return nil
	}
	var (
		asked uint32 // the process that was alive
		when  time.Time
		spins = robust.SpinBudget()
	)
	wait := robust.NewWaiting(l.peers, c.low(), l.object, 0, uint64(l.self), &cellWait{l, c})
	defer wait.End()
	for {
		w := c.w.Load() // PAIRS WITH leave
		id := readersOf(w)
		if id == 0 {
			return nil
		}
		if l.handle.Closed() {
			return os.ErrClosed
		}
		if l.peers.KnownDead(id) {
			bury(c, w)
			continue
		}
		if spins > 0 {
			spins--
			atomics.Pause(robust.SpinPause)
			continue
		}
		if on, err := wait.Line(ctx); err != nil {
			return err
		} else if !on {
			continue
		}
		if w&waiters == 0 {
			if !c.w.CompareAndSwap(w, w|waiters) {
				continue
			}
			w |= waiters
			crashpoint.Hit("rw/writer/queued")
		}
		if wait.Nap(ctx, uint32(w)) {
			crashpoint.Hit("rw/writer/woken")
			continue
		}
		if id != asked || time.Since(when) > askAgain {
			if l.peers.Dead(id) {
				bury(c, w)
				continue
			}
			asked, when = id, time.Now()
		}
		if err := wait.Sleep(ctx, uint32(w)); err != nil && !l.handle.Closed() {
			if readersOf(c.w.Load()) == 0 {
				return nil
			}
			return err
		}
		crashpoint.Hit("rw/writer/woken")
	}
}

// cellWait is who sleeps until a cell has no readers.
type cellWait struct {
	l *Lock
	c *cell
}

// Over is part of robust.Sleeper.
func (w *cellWait) Over() bool {
	id := readersOf(w.c.w.Load())
	return w.l.handle.Closed() || id == 0 || w.l.peers.KnownDead(id)
}

// bury empties c, whose content was w and names a dead process.
func bury(c *cell, w uint64) {
	if c.w.CompareAndSwap(w, 0) {
		crashpoint.Hit("rw/bury/emptied")
		if w&waiters != 0 {
			futex.Wake(c.low(), everybody)
		}
	}
}

// TryAcquire takes the lock for writing if nobody has it. It asks for a holder the first time that it finds one, and
// every 64th time after that; else a process counts as dead once that is known.
func (l *Lock) TryAcquire() (bool, error) {
	if l.handle.Closed() {
		return false, os.ErrClosed
	}
	if l.read() { // before the owner word is taken, which would hold up others
		return false, nil
	}
	if ok, err := l.m.TryLock(robust.Whole); !ok {
		return false, err
	}
	if l.read() {
		l.m.Unlock()
		return false, nil
	}
	err := l.begin(nil)
	return err == nil, err
}

// read reports whether anybody reads, and buries the dead.
func (l *Lock) read() bool {
	cells := l.used()
	for i := range cells {
		c := &cells[i]
		for {
			w := c.w.Load()
			id := readersOf(w)
			if id == 0 {
				break
			}
			if !l.peers.KnownDead(id) && (l.tries.Add(1)%64 != 1 || !l.peers.Dead(id)) {
				return true
			}
			bury(c, w)
		}
	}
	return false
}

// Release ends writing and wakes those who queue. The errors are robust.ErrNotLocked and robust.ErrNotOwner.
func (l *Lock) Release() error {
	if l.m.Whole() { // who has the owner word is not in
		return robust.ErrNotLocked
	}
	return l.m.Unlock()
}

// Abandon ends writing as the death of this process would.
func (l *Lock) Abandon() error { return l.m.Abandon() }

// Recover takes the lock for writing as Acquire does, and runs repair first, which may be nil, if a writer died. If that
// fails, panics or ends its goroutine the lock is left as before, not held.
func (l *Lock) Recover(ctx context.Context, repair func() error) error {
	died := false
	err := l.m.RecoverWhole(ctx, func() error {
		died = true
		if err := l.drain(ctx); err != nil {
			return err
		}
		l.readers.Acquire()
		if repair == nil {
			return nil
		}
		return repair()
	})
	if died || err != nil {
		return err
	}
	err = l.drain(ctx)
	return l.begin(err)
}

// REnter is the fast path of RAcquire: it takes the lock for reading if this process has a cell and nobody has the owner
// word, or wants it.
func (l *Lock) REnter() bool {
	c := l.near.Load()
	if none := l.none(); l.many.Load() || !c.w.CompareAndSwap(none, none+1) { // PAIRS WITH empty
		if !l.count(c) {
			return false
		}
	}
	crashpoint.Hit("rw/reader/counted")
	if l.p.word.Load() == 0 && atomic.LoadUint32(l.shut) == 0 { // PAIRS WITH queue
		l.writers.Acquire()
		return true
	}
	l.leave(c)
	return false
}

// none is the cell of this process when it has no readers. As long as there never are two of them at once they do not look at the
// cell before they change it, which takes a quarter of the time of both.
func (l *Lock) none() uint64 { return uint64(l.self) << 32 }

// count counts one more reader in c, if it is this process's.
func (l *Lock) count(c *cell) bool {
	for {
		w := c.w.Load()
		if uint32(w>>32) != l.self || uint32(w) >= countMask { // WAITERS, too: who waits has the owner word
			return false
		}
		if w != l.none() && !l.many.Load() {
			l.many.Store(true)
		}
		if c.w.CompareAndSwap(w, w+1) { // PAIRS WITH empty
			return true
		}
	}
}

// RAcquire takes the lock for reading, waiting until no writer has it or ctx is done. The errors are robust.ErrOwnerDied,
// ctx's, and os.ErrClosed.
func (l *Lock) RAcquire(ctx context.Context) error {
	if l.REnter() || l.outwait() {
		return nil
	}
	if err := l.queue(ctx); err != nil {
		return err
	}
	c, in := l.claim()
	for !in {
		if err := l.empty(ctx, c); err != nil {
			l.m.Unlock()
			return err
		}
		c, in = l.claim()
	}
	return l.pass(c)
}

// outwait takes the lock for reading if within a moment nobody has the owner word any more: who queues for that turns away those
// who come next, so if readers did it each time that a writer was in, they would queue more than read.
func (l *Lock) outwait() bool {
	if uint32(l.near.Load().w.Load()>>32) != l.self {
		return false // it has no cell
	}
	for range robust.SpinBudget() {
		switch w := l.p.word.Load(); {
		case w == 0:
			if l.REnter() {
				return true
			}
		case w&robust.Locked == 0, l.peers.KnownDead(uint32(w >> 32)):
			return false
		}
		atomics.Pause(robust.SpinPause)
	}
	return false
}

// TryRAcquire takes the lock for reading if no writer has it, and nobody is about to get it.
func (l *Lock) TryRAcquire() (bool, error) {
	if l.REnter() {
		return true, nil
	}
	if ok, err := l.m.TryLock(robust.Whole); !ok {
		return false, err
	}
	c, in := l.claim()
	if !in {
		l.m.Unlock()
		return false, nil
	}
	err := l.pass(c)
	return err == nil, err
}

// claim counts a reader in a cell of this process, which has the owner word. If there is none to be had it returns one that
// has readers.
func (l *Lock) claim() (c *cell, in bool) {
	crashpoint.Hit("rw/reader/queued")
	cells := l.used()
	for i := range cells { // first the process's own: it has no other while that has readers
		c := &cells[i]
		for w := c.w.Load(); uint32(w>>32) == l.self; w = c.w.Load() {
			if w&countMask == countMask {
				return c, false
			}
			if l.claims(c, w, w+1) {
				return c, true
			}
		}
	}
	first := uint64(l.self)<<32 | 1
	for i := range cells {
		c := &cells[i]
		if w := c.w.Load(); (w == 0 || l.peers.KnownDead(uint32(w>>32))) && l.claims(c, w, first) {
			return c, true
		}
	}
	if n := len(cells); n < Cells && l.p.used.CompareAndSwap(uint32(n), uint32(n+1)) {
		crashpoint.Hit("rw/reader/raised")
		if c := &l.p.cells[n]; l.claims(c, 0, first) {
			return c, true
		}
	}
	for i := range cells { // from who has no readers now, also if it lives
		c := &cells[i]
		w := c.w.Load()
		if id := readersOf(w); (id == 0 || l.peers.Dead(id)) && l.claims(c, w, first) {
			return c, true
		}
	}
	return &l.p.cells[l.self%Cells], false
}

// claims makes c, whose content was w, what it is with one more reader of this process, and reports whether it did.
func (l *Lock) claims(c *cell, w, counted uint64) bool {
	if !c.w.CompareAndSwap(w, counted) { // PAIRS WITH empty, REnter of the process that had it
		return false
	}
	crashpoint.Hit("rw/reader/claimed")
	l.near.Store(c)
	return true
}

// pass lets the next have the owner word, which this process has and has entered c with.
func (l *Lock) pass(c *cell) error {
	l.m.Unlock() // if it has not been buried, because this process left the segment
	if l.handle.Closed() {
		l.leave(c)
		return os.ErrClosed
	}
	l.writers.Acquire()
	return nil
}

// RLeave is the fast path of RRelease, for when the process had its readers there last, and nobody waits for them.
func (l *Lock) RLeave() bool {
	c, w := l.near.Load(), l.none()+1
	if l.many.Load() {
		w = c.w.Load()
	}
	if uint32(w>>32) != l.self || uint32(w)-1 >= countMask || atomic.LoadUint32(l.shut) != 0 {
		return false
	}
	l.readers.Release()
	if !c.w.CompareAndSwap(w, w-1) { // PAIRS WITH empty
		return false
	}
	crashpoint.Hit("rw/reader/left")
	return true
}

// RRelease ends reading and wakes a writer that waits for that. The error is robust.ErrNotLocked if this process has no
// readers.
func (l *Lock) RRelease() error {
	if l.RLeave() {
		return nil
	}
	l.readers.Release()
	cells := l.used()
	for i := range cells { // its cell stays where it is as long as it has readers
		if l.leave(&cells[i]) {
			return nil
		}
	}
	return robust.ErrNotLocked
}

// leave takes a reader of this process out of c, if it has one there.
func (l *Lock) leave(c *cell) bool {
	for {
		w := c.w.Load()
		if readersOf(w) != l.self {
			return false
		}
		left := w - 1
		if left&countMask == 0 {
			left &^= waiters
		}
		if w&countMask > 1 && !l.many.Load() {
			l.many.Store(true)
		}
		if !c.w.CompareAndSwap(w, left) { // PAIRS WITH empty
			continue
		}
		crashpoint.Hit("rw/reader/left")
		if w&waiters != left&waiters {
			futex.Wake(c.low(), everybody)
			crashpoint.Hit("rw/reader/woke")
		}
		return true
	}
}

// Holder is who has the owner word, 0 if nobody does; writes is whether it is in, and died whether a writer's death is to be
// recovered from.
func (l *Lock) Holder() (id uint32, writes, died bool) {
	whole := l.m.Whole()
	id, died = l.m.Owner()
	return id, id != 0 && !whole, died
}

// Readers is how many read, and whether some of them are of this process.
func (l *Lock) Readers() (n int, own bool) {
	cells := l.used()
	for i := range cells {
		w := cells[i].w.Load()
		if id := readersOf(w); id != 0 && !l.peers.KnownDead(id) {
			n += int(w & countMask)
			own = own || id == l.self
		}
	}
	return n, own
}

// Holders are those that the lock whose payload is mem names as its readers, and who has the owner word, each once.
func Holders(mem []byte) (ids []uint32) {
	ids = robust.Holders(mem)
	cells := payloadOf(mem).cells[:]
	for i := range cells {
		if id := readersOf(cells[i].w.Load()); id != 0 {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Abandoned reports whether the lock whose payload is mem names somebody of whom dead says that.
func Abandoned(mem []byte, dead func(id uint32) bool) bool {
	cells := payloadOf(mem).cells[:]
	for i := range cells {
		if id := uint32(cells[i].w.Load() >> 32); id != 0 && dead(id) {
			return true
		}
	}
	return robust.Abandoned(mem, dead)
}

// Bury takes those out of the lock whose payload is mem of whom dead says that.
func Bury(mem []byte, dead func(id uint32) bool) {
	robust.Bury(mem, dead)
	cells := payloadOf(mem).cells[:]
	for i := range cells {
		if w := cells[i].w.Load(); w != 0 && dead(uint32(w>>32)) {
			bury(&cells[i], w)
		}
	}
}

// Check returns the offset of the first word in the lock whose payload is mem to which no step leads, what it is, and whether
// there is one; given tells which owner ids there can be.
func Check(mem []byte, given func(id uint32) bool) (at int, w uint64, wrong bool) {
	if at, w, wrong := robust.Check(mem, given); wrong {
		return at, w, true
	}
	p := payloadOf(mem)
	used := p.used.Load()
	if used > Cells {
		return usedAt, uint64(used), true
	}
	for i := range p.cells {
		switch w := p.cells[i].w.Load(); {
		case w == 0:
		case i >= int(used), w&^(waiters|countMask)&(1<<32-1) != 0, !given(uint32(w >> 32)):
			return CellsAt + i*Stride, w, true
		}
	}
	return 0, 0, false
}

const everybody = 1<<31 - 1

// askAgain is how long an answer that a process lives is good for: see package robust.
const askAgain = 250 * time.Millisecond
