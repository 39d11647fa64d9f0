package locks

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/condition"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/shm"
)

// Condition is a condition variable together with its lock: who holds the lock waits until others have changed what it
// guards, and the lock is free meanwhile. Wait returns nil only when it was notified.
//
// Here an error does come with ownership: Wait and WaitFor return as they were called, with the lock held, also with an error,
// the only exception being os.ErrClosed. So a call of Acquire that succeeds is followed by defer c.Release(), and whoever gets
// ErrOwnerDied from Wait or WaitFor calls Release, then c.Mutex().Recover, and looks at the predicate again: see the example.
//
// All methods may be called from any goroutine of any process; on an RLock a handle acts for one Owner, and is for one
// goroutine at a time: see As. Wait and Acquire block. Notify and NotifyAll wait for nobody, and take time for each process
// that waits.
//
// A notification is consumed when Wait returns without an error. If who received it is killed or gives up before, or its Wait
// returns ErrOwnerDied, it goes to the next who waits. A waiter that is killed takes no notification with it, whether it dies
// before or after it was notified.
//
// When a process dies holding the lock, also within Wait or Notify, the Waits of all others end with ErrOwnerDied. Only one
// that learns of the death when somebody has recovered the lock already goes on waiting. A process that is stopped holds up
// those who want the lock if it has it, and keeps a notification that it received.
//
// The order among those who wait is that of Notify; who gets the lock first is another matter.
//
// A Condition is made by NewCondition, OpenCondition and OpenOrNewCondition, or arrives in an argument; its zero value is for
// UnmarshalBinary only. A lock of its own can be opened as a Lock, by the name of the condition.
//
// In the terms of the Go memory model Wait is a Release of the lock followed by an acquisition.
type Condition struct {
	shm.Ref
	c     *condition.Condition
	l     condition.Lock
	mutex Mutex
	given shm.Ref     // the given lock's object, which must stay mapped
	word  []byte      // its memory, or nil
	lost  atomic.Bool // whether a Wait has ended with os.ErrClosed

	mu   sync.Mutex
	more shm.Ref // further records, once they are needed
	part []byte
}

// The guard that a condition begins with; see package guard.
const (
	guardOffset     = 8
	guardGeneration = 16
	guardMode       = 20

	guardOwn       = 0
	guardGiven     = 1
	guardRecursive = 3
)

var (
	conditionKind = shm.Kind{Name: "cond", Min: condition.Size}
	waitersKind   = shm.Kind{Name: "waiters", Min: condition.SizeMore, Part: true}
)

// NewCondition makes a condition on a Lock or Owner, whose lock must be in seg; nil gives it a Lock of its own. The errors are
// those of shm.Kind.New, os.ErrInvalid if on is elsewhere, and shm.ErrStale if it was freed.
func NewCondition(seg *shm.Segment, name string, on Mutex) (*Condition, error) {
	c, k := new(Condition), conditionKind
	k.Guarded = on == nil
	mem, err := k.New(&c.Ref, seg, name, condition.Size, func(mem []byte) error { return initCondition(seg, mem, on) })
	return c.use(mem, on, err)
}

func initCondition(seg *shm.Segment, mem []byte, on Mutex) error {
	var o *shm.Ref
	var k shm.Kind
	var mode uint32
	switch l := on.(type) {
	case nil:
		return nil // zero is a free lock of its own
	case *Lock:
		o, k, mode = &l.Ref, lockKind, guardGiven
	case *Owner:
		o, k, mode = &l.r.Ref, rlockKind, guardRecursive
	}
	if o.Segment() != seg {
		return fmt.Errorf("%w: the lock must be in the same segment", os.ErrInvalid)
	}
	h := o.Handle()
	if _, err := k.OpenIn(new(shm.Ref), seg, h); err != nil {
		return err // it was freed
	}
	binary.LittleEndian.PutUint64(mem[guardOffset:], h.Offset)
	binary.LittleEndian.PutUint32(mem[guardGeneration:], h.Generation)
	binary.LittleEndian.PutUint32(mem[guardMode:], mode)
	return nil
}

// OpenCondition finds a condition and its lock; on an RLock, the handle has a new Owner. The errors are those of
// shm.Kind.Open, and shm.ErrStale if the lock was freed.
func OpenCondition(seg *shm.Segment, name string) (*Condition, error) {
	c := new(Condition)
	mem, err := conditionKind.Open(&c.Ref, seg, name)
	return c.use(mem, nil, err)
}

// OpenOrNewCondition finds a condition, or makes one on a Lock of its own.
func OpenOrNewCondition(seg *shm.Segment, name string) (*Condition, error) {
	c, k := new(Condition), conditionKind
	k.Guarded = true
	mem, err := k.OpenOrNew(&c.Ref, seg, name, condition.Size, nil)
	return c.use(mem, nil, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. On an RLock, the handle has a new Owner.
func (c *Condition) UnmarshalBinary(data []byte) error {
	mem, err := conditionKind.Unmarshal(&c.Ref, data)
	_, err = c.use(mem, nil, err)
	return err
}

// As returns a handle of a condition on an RLock that acts for o, of that RLock. It panics if the condition is on
// something else, and with os.ErrClosed if the segment was closed.
func (c *Condition) As(o *Owner) *Condition {
	own, ok := c.mutex.(*Owner)
	if !ok || own.r.Handle() != o.r.Handle() {
		panic("locks: Condition.As: the condition is not on that RLock")
	}
	n := new(Condition)
	mem, err := shm.Again(&n.Ref, &c.Ref)
	if _, err := n.use(mem, o, err); err != nil {
		panic(err)
	}
	return n
}

// use readies c for the object whose payload is mem; on is the lock that it was given, if the caller has it.
func (c *Condition) use(mem []byte, on Mutex, err error) (*Condition, error) {
	if err != nil {
		return nil, err
	}
	seg := c.Segment()
	h := shm.Handle{
		Offset:     binary.LittleEndian.Uint64(mem[guardOffset:]),
		Generation: binary.LittleEndian.Uint32(mem[guardGeneration:]),
	}
	word := mem
	switch mode := binary.LittleEndian.Uint32(mem[guardMode:]); mode {
	case guardOwn:
		c.mutex, err = LockOf(&c.Ref)
	case guardGiven:
		if l, ok := on.(*Lock); ok {
			c.mutex = l
			c.word, err = shm.Again(&c.given, &l.Ref)
		} else if c.word, err = lockKind.OpenIn(&c.given, seg, h); err == nil {
			c.mutex, err = LockOf(&c.given)
		}
		word = c.word
	case guardRecursive:
		o, ok := on.(*Owner)
		if ok {
			c.word, err = shm.Again(&c.given, &o.r.Ref)
		} else if c.word, err = rlockKind.OpenIn(&c.given, seg, h); err == nil {
			var r *RLock
			if r, err = RLockOf(&c.given); err == nil {
				o = r.Owner()
			}
		}
		if err == nil {
			c.mutex, c.l.Holder = o, &o.h
		}
		word = c.word
	default:
		err = fmt.Errorf("%w: guard of mode %d", shm.ErrCorrupt, mode)
	}
	if err != nil {
		return nil, err
	}
	m := robust.At(word, seg, &c.Ref)
	c.l.Mutex = &m
	c.c = condition.At(mem, seg, &c.Ref, &c.l, c.further)
	return c, nil
}

// further is condition.More.
func (c *Condition) further(offset uint64, generation uint32) ([]byte, uint64, uint32, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	switch {
	case c.part != nil:
	case offset == 0:
		c.part, err = waitersKind.New(&c.more, c.Segment(), "", condition.SizeMore, func(mem []byte) error {
			h := c.Handle()
			binary.LittleEndian.PutUint64(mem, h.Offset)
			binary.LittleEndian.PutUint32(mem[8:], h.Generation)
			return nil
		})
	default:
		c.part, err = waitersKind.OpenIn(&c.more, c.Segment(), shm.Handle{Offset: offset, Generation: generation})
	}
	if err != nil {
		return nil, 0, 0, err
	}
	h := c.more.Handle()
	return c.part, h.Offset, h.Generation, nil
}

// Mutex is the condition's lock: that which NewCondition or As was given, or else a handle of the same, or an Owner. Closing the condition
// does not close it.
func (c *Condition) Mutex() Mutex { return c.mutex }

// named adds the condition's name to an error that says that it was closed.
func (c *Condition) named(err error) error { return named("condition", &c.Ref, err) }

// Acquire takes the lock, as its own Acquire does.
func (c *Condition) Acquire(ctx context.Context) error {
	defer runtime.KeepAlive(c)
	if c.Closed() {
		return c.named(os.ErrClosed)
	}
	if c.l.Holder != nil {
		return c.named(c.l.Holder.Lock(ctx, c.l.Mutex, 0))
	}
	if c.l.Take(0) {
		return nil
	}
	err := c.l.Lock(ctx, 0)
	if l, ok := c.mutex.(*Lock); ok && err == ErrOwnerDied && l.onOwnerDied != nil {
		err = c.l.Recover(ctx, l.onOwnerDied)
	}
	return c.named(err)
}

// TryAcquire takes the lock if it is free, as its own TryAcquire does.
func (c *Condition) TryAcquire() (bool, error) {
	defer runtime.KeepAlive(c)
	var ok bool
	var err error
	if c.l.Holder != nil {
		ok, err = c.l.Holder.TryLock(c.l.Mutex, 0)
	} else {
		ok, err = c.l.TryLock(0)
	}
	return ok, c.named(err)
}

// Release frees the lock, as its own Release does. A lock that is held with the mark of an owner's death, after a Wait that
// said so, keeps that mark.
func (c *Condition) Release() error {
	defer runtime.KeepAlive(c)
	switch {
	case c.Closed():
		return c.named(os.ErrClosed)
	case c.l.Holder != nil:
		return c.l.Holder.Unlock(c.l.Mutex)
	case c.l.Free(0):
		return nil
	}
	return c.l.Unlock()
}

// Wait frees the lock, at whatever depth, waits for a notification, and takes the lock again at that depth, for which it
// waits even when ctx is done. The lock is held on return, whatever the error, except with os.ErrClosed, also if the handle
// was closed before (Release then does nothing but return os.ErrClosed). If an owner died meanwhile the error is
// ErrOwnerDied and the lock is held with its mark: Release leaves it marked, for Mutex().Recover; but if the lock has been
// recovered meanwhile there is no mark any more. Other errors: ctx's; ErrNotLocked and ErrNotOwner as of Release, when the
// lock is not held, or is being repaired; shm.ErrNoSpace when 1,024 other processes wait, or 16,383 goroutines of this one,
// or the segment has no memory for more than the first 8 that wait; then there was no wait.
func (c *Condition) Wait(ctx context.Context) error {
	defer runtime.KeepAlive(c)
	err := c.c.Wait(ctx)
	switch {
	case errors.Is(err, condition.ErrFull):
		return fmt.Errorf("locks: condition %q: %w: %w", c.Name(), shm.ErrNoSpace, err)
	case errors.Is(err, os.ErrClosed):
		c.lost.Store(true)
	}
	return c.named(err)
}

// WaitFor waits until pred is true; it is called with the lock held, first at once and then after each notification.
// The errors are those of Wait, with which the lock is held, too; when ctx is done pred is asked once more.
func (c *Condition) WaitFor(ctx context.Context, pred func() bool) error {
	defer runtime.KeepAlive(c)
	if c.Closed() {
		return c.Wait(ctx)
	}
	if err := c.c.Held(); err != nil {
		return err
	}
	for !pred() {
		if err := c.Wait(ctx); err != nil {
			if (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) && pred() {
				return nil
			}
			return err
		}
	}
	return nil
}

// Notify picks n waiters, or all if they are fewer: processes in turn, in order of their oldest waiter, and within a
// process oldest first; a process whose oldest waiter gives up keeps its turn for the others. It waits for nobody, and the lock must be held. A notification whose receiver dies or
// gives up before its Wait returns goes to the next waiter; if nobody waits it is lost. The errors are ErrNotLocked, ErrNotOwner,
// and os.ErrClosed.
func (c *Condition) Notify(n int) error {
	defer runtime.KeepAlive(c)
	return c.named(c.c.Notify(n))
}

// NotifyAll wakes every waiter. The errors are those of Notify.
func (c *Condition) NotifyAll() error {
	defer runtime.KeepAlive(c)
	return c.named(c.c.NotifyAll())
}

// Close detaches this handle: see shm.Ref.Close.
func (c *Condition) Close() error {
	if c.Segment() == nil {
		return nil // a zero handle
	}
	err := c.Ref.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, mem := range [][]byte{c.word, c.part} {
		if mem != nil {
			futex.Kick(mem)
		}
	}
	runtime.KeepAlive(c)
	return err
}

// String says who holds the lock, and how many wait, the dead not counted, for people.
func (c *Condition) String() string {
	defer runtime.KeepAlive(c)
	switch {
	case c.Segment() == nil:
		return "condition" // a zero handle
	case c.Closed():
		return fmt.Sprintf("condition %q, closed", c.Name())
	}
	return fmt.Sprintf("%s, %d wait", describe("condition", &c.Ref, c.l.Mutex, "this process"), c.c.Waits())
}

func (c *Condition) abandon() error {
	defer runtime.KeepAlive(c)
	var err error
	switch {
	case c.l.Holder != nil:
		err = c.l.Holder.Abandon(c.l.Mutex)
	case c.lost.Load():
		return c.named(os.ErrClosed) // the lock may be another goroutine's, which took it by another handle
	default:
		err = c.l.Abandon()
	}
	c.c.Rouse() // whoever waits learns of it
	return err
}
