package condition

import (
	"cmp"
	"context"
	"errors"
	"math"
	"os"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// ErrFull is returned from Wait when there is no record for this process, or no room for one more wait in it.
var ErrFull = errors.New("condition: too many wait")

// Lock is what a condition is on, as its waits use it: a robust.Mutex, or a Holder of one.
type Lock struct {
	*robust.Mutex
	Holder *robust.Holder // nil if the lock is not recursive
}

func (l *Lock) held() error {
	if l.Holder != nil {
		return l.Holder.Held(l.Mutex)
	}
	return l.Held()
}

// suspend frees the lock, however often it is held; depth is for resume.
func (l *Lock) suspend() (depth int, err error) {
	if l.Holder != nil {
		return l.Holder.Suspend(l.Mutex)
	}
	return 0, l.Unlock()
}

func (l *Lock) resume(depth int) error {
	if l.Holder != nil {
		return l.Holder.Resume(l.Mutex, depth)
	}
	return l.Retake()
}

// More returns the memory of the condition's further records, of SizeMore bytes, given the words that say where it is; these
// are 0 at first, and if it makes that memory it says where.
type More func(offset uint64, generation uint32) (mem []byte, o uint64, g uint32, err error)

// Condition is this process's use of the waiters of one condition.
type Condition struct {
	mem    []byte
	lock   *Lock
	peers  robust.Peers
	self   uint32
	handle robust.Handle
	find   More
	inline []record
	more   atomic.Pointer[[]record] // nil until they are there and this handle has found them
	own    *record                  // that this process had last; the lock guards it
}

// At returns the use of the condition that is the payload mem of handle's object, 32-aligned and at least Size bytes long, on
// lock. It stays mapped for as long as the caller keeps handle reachable.
func At(mem []byte, peers robust.Peers, handle robust.Handle, lock *Lock, more More) *Condition {
	return &Condition{mem: mem, lock: lock, peers: peers, self: peers.Self(), handle: handle, find: more, inline: recordsIn(mem, inline)}
}

// records calls f with each record that this handle knows, until it returns false.
func (c *Condition) records(f func(r *record) bool) {
	for i := range c.inline {
		if !f(&c.inline[i]) {
			return
		}
	}
	if m := c.more.Load(); m != nil {
		for i := range *m {
			if !f(&(*m)[i]) {
				return
			}
		}
	}
}

// unknown reports whether there are records that this handle does not know.
func (c *Condition) unknown() bool {
	return c.more.Load() == nil && payloadOf(c.mem).more.Load() != 0 // PAIRS WITH extend
}

// learn finds these records.
func (c *Condition) learn() error {
	if !c.unknown() {
		return nil
	}
	p := payloadOf(c.mem)
	mem, _, _, err := c.find(p.more.Load(), p.generation.Load())
	if err != nil {
		return err
	}
	m := recordsIn(mem, further)
	c.more.Store(&m)
	return nil
}

// extend makes the further records. The lock is held.
func (c *Condition) extend() error {
	mem, offset, generation, err := c.find(0, 0)
	if err != nil {
		return err
	}
	p := payloadOf(c.mem)
	crashpoint.Hit("condition/extend/made")
	p.generation.Store(generation)
	crashpoint.Hit("condition/extend/generation")
	p.more.Store(offset) // PAIRS WITH unknown
	crashpoint.Hit("condition/extend/linked")
	m := recordsIn(mem, further)
	c.more.Store(&m)
	return nil
}

// dead reports whether the owner of r, which is not free, is.
func (c *Condition) dead(r *record, ask bool) bool {
	id := r.owner.Load()
	return id != c.self && (c.peers.KnownDead(id) || ask && c.peers.Dead(id))
}

// orphans reports whether there are notifications to be passed on.
func (c *Condition) orphans(ask bool) (found bool) {
	c.records(func(r *record) bool {
		w := r.load()
		found = w.returned() != 0 || w.granted()+w.taken() != 0 && c.dead(r, ask)
		return !found
	})
	return found
}

// tidy empties the records of the dead, and passes on what is to be passed on. The lock is held.
func (c *Condition) tidy() {
	n := 0
	c.records(func(r *record) bool {
		if w := r.load(); w.free() {
		} else if c.dead(r, false) {
			n += r.drain(true)
		} else if w.returned() != 0 {
			n += r.drain(false)
		}
		return true
	})
	c.notify(n)
}

// notify notifies n waits, or all if they are fewer. The lock is held.
func (c *Condition) notify(n int) {
	if n <= 0 {
		return
	}
	open := 0
	c.records(func(r *record) bool {
		if w := r.load(); w.open() != 0 && !c.dead(r, false) {
			open += w.open()
		}
		return true
	})
	if n >= open {
		c.records(func(r *record) bool {
			if r.load().open() != 0 && !c.dead(r, false) {
				c.grant(r, most)
			}
			return true
		})
		return
	}
	for ; n > 0; n-- {
		var first *record
		c.records(func(r *record) bool {
			if r.load().open() != 0 && !c.dead(r, false) && (first == nil || r.ticket.Load() < first.ticket.Load()) {
				first = r
			}
			return true
		})
		if first == nil {
			return
		}
		c.grant(first, 1)
	}
}

// grant notifies n waits of r at most. Its first in line may be asleep if none knew of one before: it is woken when the lock
// is free, without which it could do nothing.
func (c *Condition) grant(r *record, n int) {
	w, ok := r.change(func(w waits) waits { return w + granted*waits(min(n, w.open())) }) // PAIRS WITH take
	crashpoint.Hit("condition/notify/granted")
	if !ok {
		return
	}
	if w.open() > n {
		r.ticket.Store(c.ticket())
		crashpoint.Hit("condition/notify/behind")
	}
	if w.granted() == 0 {
		c.lock.Owe(r.low())
	}
}

// ticket draws one. The lock is held.
func (c *Condition) ticket() uint64 {
	n := payloadOf(c.mem).tickets.Add(1)
	crashpoint.Hit("condition/ticket/drawn")
	return n
}

// Notify notifies n waiters, or all if they are fewer. The errors are those of a lock that is not held.
func (c *Condition) Notify(n int) error {
	if err := c.ready(); err != nil {
		return err
	}
	c.notify(n)
	return nil
}

// NotifyAll notifies every waiter.
func (c *Condition) NotifyAll() error { return c.Notify(math.MaxInt) }

// ready prepares the records for who holds the lock; else it is an error.
func (c *Condition) ready() error {
	if c.handle.Closed() {
		return os.ErrClosed
	}
	if err := c.lock.held(); err != nil {
		return err
	}
	if err := c.learn(); err != nil {
		return err
	}
	c.tidy()
	return nil
}

// Held is the error of Notify if the lock is not held.
func (c *Condition) Held() error { return c.lock.held() }

// begin enters a wait. The lock is held.
func (c *Condition) begin() (*record, error) {
	r, err := c.record()
	if err != nil {
		return nil, err
	}
	if r.load().open() == 0 {
		r.ticket.Store(c.ticket())
		crashpoint.Hit("condition/wait/ticket")
	}
	_, ok := r.change(func(w waits) waits {
		if w.all() == most {
			return w
		}
		return w + all
	})
	crashpoint.Hit("condition/wait/begun")
	if !ok {
		return nil, ErrFull
	}
	return r, nil
}

// record is that of this process.
func (c *Condition) record() (*record, error) {
	if c.own != nil && c.own.owner.Load() == c.self {
		return c.own, nil
	}
	var own, free *record
	look := func() {
		c.records(func(r *record) bool {
			if r.owner.Load() == c.self {
				own = r
			} else if free == nil && r.load().free() {
				free = r
			}
			return own == nil
		})
	}
	look()
	if own == nil && free == nil && c.more.Load() == nil {
		if err := c.extend(); err != nil {
			return nil, err
		}
		look()
	}
	if own == nil {
		if free == nil {
			return nil, ErrFull
		}
		free.waits.Store(uint64(free.load()+tagOne) & tagMask)
		crashpoint.Hit("condition/wait/claimed")
		free.owner.Store(c.self)
		crashpoint.Hit("condition/wait/named")
		own = free
	}
	c.own = own
	return own, nil
}

// wait is one goroutine's wait.
type wait struct {
	c     *Condition
	r     *record
	first bool // in line; set before it sleeps
}

// Over is part of robust.Sleeper.
func (w *wait) Over() bool {
	c := w.c
	if !w.first {
		_, died := c.lock.Owner()
		return died || c.handle.Closed()
	}
	id, died := c.lock.Owner()
	return died || id != 0 && c.peers.KnownDead(id) || c.handle.Closed() || w.r.load().granted() != 0 || c.unknown() || c.orphans(false)
}

// Wait frees the lock, waits for a notification, and takes the lock again. With an error of robust.ErrNotLocked,
// ErrNotOwner, ErrFull or of More there was no wait. Else the lock is held again, but with os.ErrClosed.
func (c *Condition) Wait(ctx context.Context) error {
	var r *record
	err := c.ready()
	if err == nil {
		r, err = c.begin()
	}
	if err != nil {
		if errors.Is(err, os.ErrClosed) {
			c.lock.suspend() // as if the handle had been closed a moment later: the caller will not release it
		}
		return err
	}
	w := &wait{c: c, r: r}
	place := robust.NewWaiting(c.peers, r.low(), object(c.mem), 0, uint64(c.self), w)
	place.Join()
	depth, err := c.lock.suspend()
	if err != nil {
		place.End()
		r.resign(c.self)
		return err
	}
	crashpoint.Hit("condition/wait/suspended")
	notified, err := c.sleep(ctx, w, &place)
	place.End()
	crashpoint.Hit("condition/wait/left")
	return c.end(r, depth, notified, err)
}

// sleep waits for a notification, which it takes.
func (c *Condition) sleep(ctx context.Context, w *wait, place *robust.Waiting) (notified bool, err error) {
	var asked time.Time
	for {
		if c.handle.Closed() {
			return false, os.ErrClosed
		}
		if w.first && w.r.take() {
			return true, nil
		}
		if c.lock.Notice(false) {
			return false, robust.ErrOwnerDied
		}
		if on, err := place.Line(ctx); err != nil {
			return false, err
		} else if !on {
			continue
		}
		if !w.first {
			w.first = true
			continue
		}
		low := w.r.low().Load()
		if waits(low).granted() != 0 {
			continue
		}
		if place.Nap(ctx, low) {
			crashpoint.Hit("condition/wait/woken")
			continue
		}
		ask := time.Since(asked) > askAgain
		if ask {
			asked = time.Now()
			if c.lock.Notice(true) {
				continue
			}
		}
		if err := c.learn(); err != nil {
			return false, err
		}
		if c.orphans(ask) {
			if err := c.adopt(ctx); err != nil {
				return false, err
			}
			continue
		}
		if err := place.Sleep(ctx, low); err != nil {
			return w.r.take(), err
		}
		crashpoint.Hit("condition/wait/woken")
	}
}

// askAgain is how long an answer that others live is good for: see package robust.
const askAgain = 250 * time.Millisecond

// adopt passes on what is to be passed on.
func (c *Condition) adopt(ctx context.Context) error {
	if err := c.lock.Lock(ctx, 0); err != nil {
		return err
	}
	crashpoint.Hit("condition/adopt/locked")
	c.tidy()
	return c.lock.Unlock()
}

// end ends the wait of r, which sleep has ended so, and takes the lock again, held depth times.
func (c *Condition) end(r *record, depth int, notified bool, err error) error {
	lost := c.lock.resume(depth)
	if lost == os.ErrClosed {
		if r.forsake(c.self, notified) {
			c.Rouse()
		}
		return lost
	}
	if notified {
		r.consume(c.self)
	} else if notified = r.resign(c.self); !notified {
		lost = cmp.Or(lost, err)
	} // else by one who had recovered from the death, if that ended the sleep
	if notified && lost != nil { // others may not have learned of the death
		c.learn() // else it goes to one of those who are known
		c.notify(1)
	}
	return lost
}

// Waits is how many waits there are of those who live.
func (c *Condition) Waits() (n int) {
	c.records(func(r *record) bool {
		if w := r.load(); w.all() != 0 && !c.dead(r, true) {
			n += w.all()
		}
		return true
	})
	return n
}

// Rouse makes all who sleep look whether there is something else to do.
func (c *Condition) Rouse() {
	c.records(func(r *record) bool {
		if r.load().all() != 0 {
			futex.Wake(r.low(), 1)
		}
		return true
	})
}
