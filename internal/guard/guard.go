// Package guard is how values and arrays are locked: by a lock of their own, by one that they were given, or
// not at all.
//
// # Layout
//
// The first 32 bytes of the payload of whatever has a guard:
//
//	0    8   owner word of the lock of its own    package robust
//	8    8   offset of the lock it was given      creator
//	16   4   generation of that                   creator
//	20   4   mode: 0 own, 1 given, 2 none,        creator
//	         3 given and recursive
//	24   8   the kind's
package guard

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"sync"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

const (
	// Size is how many bytes of the payload belong to the guard.
	Size = 24

	modeOwn   = 0
	modeGiven = 1
	modeNone  = 2

	modeRecursive = 3
)

// Options are what the creator chose.
type Options struct {
	Lock     locks.Mutex // a given lock
	Unlocked bool
}

// Guard is a process's use of the lock of an object.
type Guard struct {
	m     robust.Mutex
	mode  uint32
	owner *shm.Ref
	given shm.Ref // the given lock's object, which must stay mapped
	word  []byte  // the memory that waiters sleep on, if it is not the owner's

	holder *robust.Holder // of a recursive lock: that of lock, which is an Owner

	mu   sync.Mutex
	lock locks.Mutex // once somebody asked for it
}

// Own reports whether the object is to have a lock of its own.
func (o Options) Own() bool { return o.Lock == nil && !o.Unlocked }

// Init writes the guard of a new object in seg into mem.
func (o Options) Init(seg *shm.Segment, mem []byte) error {
	switch {
	case o.Own():
		return nil // zero is a free lock of its own
	case o.Lock != nil && o.Unlocked:
		return fmt.Errorf("%w: both Lock and Unlocked", os.ErrInvalid)
	case o.Unlocked:
		binary.LittleEndian.PutUint32(mem[20:], modeNone)
		return nil
	}
	var given shm.Object
	mode := uint32(modeGiven)
	switch l := o.Lock.(type) {
	case *locks.Lock:
		given = l
	case *locks.Owner:
		given, _ = locks.HolderOf(l)
		mode = modeRecursive
	}
	if given.Segment() != seg {
		return fmt.Errorf("%w: the lock must be in the same segment", os.ErrInvalid)
	}
	h := given.Handle()
	if _, err := kindOf(mode).OpenIn(new(shm.Ref), seg, h); err != nil {
		return err // it was freed: now, before there is an object that nobody can open
	}
	binary.LittleEndian.PutUint64(mem[8:], h.Offset)
	binary.LittleEndian.PutUint32(mem[16:], h.Generation)
	binary.LittleEndian.PutUint32(mem[20:], mode)
	return nil
}

// Use readies g for the object of owner, whose payload is mem; o.Lock, if the object is guarded by it,
// becomes its Mutex.
func (g *Guard) Use(owner *shm.Ref, mem []byte, o Options) error {
	g.owner = owner
	g.mode = binary.LittleEndian.Uint32(mem[20:])
	seg := owner.Segment()
	switch g.mode {
	case modeOwn:
		g.m = robust.At(mem, seg, owner)
	case modeGiven:
		var had *shm.Ref
		if l, ok := o.Lock.(*locks.Lock); ok && g.gave(&l.Ref, mem) {
			g.lock, had = l, &l.Ref
		}
		m, err := g.open(mem, had)
		if err != nil {
			return err
		}
		g.word, g.m = m, robust.At(m, seg, owner)
	case modeRecursive:
		var had *shm.Ref
		if own, ok := o.Lock.(*locks.Owner); ok {
			if l, h := locks.HolderOf(own); g.gave(&l.Ref, mem) {
				g.lock, g.holder, had = own, h, &l.Ref
			}
		}
		m, err := g.open(mem, had)
		if err != nil {
			return err
		}
		g.word, g.m = m, robust.At(m, seg, owner)
		if g.holder == nil {
			return g.act()
		}
	case modeNone:
	default:
		return fmt.Errorf("%w: guard of mode %d", shm.ErrCorrupt, g.mode)
	}
	return nil
}

// gave reports whether l is a handle of the lock that the object was given.
func (g *Guard) gave(l *shm.Ref, mem []byte) bool {
	h := givenHandle(mem)
	h.Segment = g.owner.Handle().Segment
	return l.Handle() == h
}

// open makes g.given a handle of the lock that was given, in the object's own Segment, and returns its memory. had is a
// handle of it, or nil: who has one there needs nobody's leave, also if the lock was freed meanwhile.
func (g *Guard) open(mem []byte, had *shm.Ref) ([]byte, error) {
	if had != nil && had.Segment() == g.owner.Segment() {
		return shm.Again(&g.given, had)
	}
	return kindOf(g.mode).OpenIn(&g.given, g.owner.Segment(), givenHandle(mem))
}

// act makes g act for a new Owner of the recursive lock that it was given.
func (g *Guard) act() error {
	l, err := locks.RLockOf(&g.given)
	if err != nil {
		return err
	}
	own := l.Owner()
	_, g.holder = locks.HolderOf(own)
	g.lock = own
	return nil
}

// kindOf is what a given lock is.
func kindOf(mode uint32) shm.Kind {
	if mode == modeRecursive {
		return shm.Kind{Name: "rlock", Min: robust.HolderSize}
	}
	return shm.Kind{Name: "lock", Min: robust.Size, AnyGuarded: true, Except: "rlock"}
}

// givenHandle is where in the object's segment the lock is that it was given.
func givenHandle(mem []byte) shm.Handle {
	return shm.Handle{
		Offset:     binary.LittleEndian.Uint64(mem[8:]),
		Generation: binary.LittleEndian.Uint32(mem[16:]),
	}
}

// Close closes the owner, and lets those go who wait for a given lock through it.
func (g *Guard) Close() error {
	if g.owner == nil {
		return nil // a zero handle
	}
	err := g.owner.Close()
	if g.word != nil {
		futex.Kick(g.word)
	}
	return err
}

// Lock takes the lock; flags are package robust's.
func (g *Guard) Lock(ctx context.Context, flags uint64) error {
	if g.owner.Closed() {
		return g.errClosed()
	}
	if g.mode == modeNone {
		return nil
	}
	var err error
	if g.holder != nil {
		err = g.holder.Lock(ctx, &g.m, flags)
	} else if !g.m.Take(flags) {
		err = g.m.Lock(ctx, flags)
	}
	if err == os.ErrClosed {
		return g.errClosed()
	} else if err != nil {
		return err
	}
	// A process that leaves its segment closes its handles and then takes WHOLE from the words that it holds:
	// whoever took one too late for that sees that the handle is closed.
	if flags&robust.Whole != 0 && g.owner.Closed() {
		g.Unlock(flags)
		return g.errClosed()
	}
	return nil
}

// errClosed names the object, because the error may come far from where it was closed.
func (g *Guard) errClosed() error { return fmt.Errorf("object %q: %w", g.owner.Name(), os.ErrClosed) }

// Unlock frees what Lock took with the same flags.
func (g *Guard) Unlock(flags uint64) error {
	switch {
	case g.holder != nil:
		return g.holder.Unlock(&g.m)
	case g.mode == modeNone || g.m.Free(flags):
		return nil
	}
	return g.m.Unlock()
}

// Held is nil as long as what Lock took is held. It is not any more if this process left the segment, or the Owner left the
// lock (Abandon) further down.
func (g *Guard) Held() error {
	switch {
	case g.holder != nil:
		return g.holder.Held(&g.m)
	case g.mode == modeNone:
		return nil
	}
	return g.m.Held()
}

// Nested reports whether the lock, which is held, was held before: others of this goroutine's calls may be under way.
func (g *Guard) Nested() bool { return g.holder != nil && g.holder.Depth() > 1 }

// None reports whether there is no lock at all.
func (g *Guard) None() bool { return g.mode == modeNone }

// Abandon leaves the lock, at whatever depth, as if this process had died holding it.
func (g *Guard) Abandon() {
	switch {
	case g.holder != nil:
		g.holder.Abandon(&g.m)
	case g.mode != modeNone:
		g.m.Abandon()
	}
}

// Mutex is the lock as users see it, nil if there is none. It panics with os.ErrClosed if the segment was
// closed before anybody asked for it.
func (g *Guard) Mutex() locks.Mutex {
	l, err := g.mutex()
	if err != nil {
		panic(os.ErrClosed)
	}
	return l
}

// Options are those with which one more handle of the object has g's lock. The error is os.ErrClosed.
func (g *Guard) Options() (Options, error) {
	l, err := g.mutex()
	return Options{Lock: l}, err
}

func (g *Guard) mutex() (locks.Mutex, error) {
	if g.mode == modeNone {
		return nil, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.lock != nil {
		return g.lock, nil
	}
	of := g.owner
	if g.mode == modeGiven {
		of = &g.given
	}
	l, err := locks.LockOf(of)
	if err != nil {
		return nil, err
	}
	g.lock = l
	return l, nil
}
