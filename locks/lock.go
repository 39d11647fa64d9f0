package locks

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/shm"
)

// Lock is a mutual exclusion lock. It is not recursive: a goroutine that acquires what its own process holds
// waits. Any goroutine of the process that took it may release it; from another process Release is
// ErrNotOwner.
//
// All methods may be called from any goroutine of any process. An acquisition that need not wait succeeds
// also when ctx is done. The lock is not fair, but nobody who waits is forgotten. Its progress is blocking: a
// holder that is stopped holds up those who want the lock, and nobody else does.
//
// When a process dies holding the lock, however it dies (also when its function returned), every Acquire returns
// ErrOwnerDied: at once if the call comes after the death, else within about a second. That lasts until a Recover has
// succeeded.
// TryAcquire does so too once the death was noticed, as a rule within milliseconds, by others; it looks itself when it
// first finds the lock held, and then about every 64th time, but four times a second at most.
//
// A Lock is made by NewLock, OpenLock and OpenOrNewLock, or arrives in an argument; its zero value is for
// UnmarshalBinary only.
//
// In the terms of the Go memory model the n-th Release of a lock is synchronized before the return of every later
// acquisition, in all processes; so is whatever an owner did before it died.
type Lock struct {
	shm.Ref
	m robust.Mutex

	// For the fast paths, which the compiler inlines into the caller (TestInlined).
	word *uint64
	mine uint64
	shut *uint32

	onOwnerDied func() error
}

// LockOptions are the rarer wishes of a lock handle.
type LockOptions struct {
	// OnOwnerDied, if set, is run by this handle's Acquire when it finds the owner dead, as Recover would. It is
	// not run by TryAcquire, nor by Get, Set and Update of a value or array that was given the lock: these return
	// ErrOwnerDied. A handle that arrives in an argument has none; OpenLock makes one that has, if the lock has a
	// name. An RLock has nothing of the kind: its Owners repair in Recover.
	OnOwnerDied func() error
}

var lockKind = shm.Kind{Name: "lock", Min: robust.Size, Guarded: true, AnyGuarded: true, Except: rlockKind.Name}

// NewLock makes a free lock. The errors are those of shm.Kind.New.
func NewLock(seg *shm.Segment, name string, opts ...LockOptions) (*Lock, error) {
	l := newLock(opts)
	mem, err := lockKind.New(&l.Ref, seg, name, robust.Size, nil)
	return l.use(mem, err)
}

// OpenLock finds a lock; the name of a value or array that has a lock of its own finds that. The errors are
// those of shm.Kind.Open.
func OpenLock(seg *shm.Segment, name string, opts ...LockOptions) (*Lock, error) {
	l := newLock(opts)
	mem, err := lockKind.Open(&l.Ref, seg, name)
	return l.use(mem, err)
}

// OpenOrNewLock finds or makes a lock.
func OpenOrNewLock(seg *shm.Segment, name string, opts ...LockOptions) (*Lock, error) {
	l := newLock(opts)
	mem, err := lockKind.OpenOrNew(&l.Ref, seg, name, robust.Size, nil)
	return l.use(mem, err)
}

func newLock(opts []LockOptions) *Lock {
	switch len(opts) {
	case 0:
		return new(Lock)
	case 1:
		return &Lock{onOwnerDied: opts[0].OnOwnerDied}
	}
	panic("locks: more than one LockOptions")
}

// LockOf makes a handle of the lock that the object of o begins with (shm.Kind.Guarded), for types that have a lock of
// their own. The object may have been freed since it was opened. The error is os.ErrClosed.
func LockOf(o *shm.Ref) (*Lock, error) {
	l := new(Lock)
	mem, err := shm.Again(&l.Ref, o)
	return l.use(mem, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (l *Lock) UnmarshalBinary(data []byte) error {
	mem, err := lockKind.Unmarshal(&l.Ref, data)
	_, err = l.use(mem, err)
	return err
}

func (l *Lock) use(mem []byte, err error) (*Lock, error) {
	if err != nil {
		return nil, err
	}
	l.m = robust.At(mem, l.Segment(), l)
	l.word, l.mine = l.m.Fast()
	l.shut = shm.ShutFlag(&l.Ref)
	return l, nil
}

// Acquire takes l, waiting until it is free or ctx is done. The errors are ErrOwnerDied, ctx's, and
// os.ErrClosed; with an error the caller does not hold l. With OnOwnerDied it is Recover when the owner has died, so
// that its errors take the place of ErrOwnerDied.
func (l *Lock) Acquire(ctx context.Context) error {
	if !race.Enabled && !crashpoint.Enabled && atomic.CompareAndSwapUint64(l.word, uint64(atomic.LoadUint32(l.shut)), l.mine) {
		runtime.KeepAlive(l)
		return nil
	}
	return l.acquireSlow(ctx)
}

func (l *Lock) acquireSlow(ctx context.Context) error {
	defer runtime.KeepAlive(l)
	err := l.m.Lock(ctx, 0)
	if err == ErrOwnerDied && l.onOwnerDied != nil {
		err = l.m.Recover(ctx, l.onOwnerDied)
	}
	return l.named(err)
}

// named adds the lock's name to an error that says that it was closed, which may come far from where that
// happened.
func (l *Lock) named(err error) error { return named("lock", &l.Ref, err) }

func named(kind string, o *shm.Ref, err error) error {
	if err == os.ErrClosed {
		return fmt.Errorf("locks: %s %q: %w", kind, o.Name(), err)
	}
	return err
}

// TryAcquire takes l if it is free. The errors are ErrOwnerDied, also with OnOwnerDied, because a repair may take long,
// and os.ErrClosed.
func (l *Lock) TryAcquire() (bool, error) {
	ok, err := l.m.TryLock(0)
	runtime.KeepAlive(l)
	return ok, l.named(err)
}

// Release frees l and wakes a waiter. The errors are ErrNotLocked, ErrNotOwner and os.ErrClosed.
func (l *Lock) Release() error {
	if !race.Enabled && !crashpoint.Enabled && atomic.CompareAndSwapUint64(l.word, l.mine|uint64(atomic.LoadUint32(l.shut)), 0) {
		runtime.KeepAlive(l)
		return nil
	}
	return l.releaseSlow()
}

func (l *Lock) releaseSlow() error {
	defer runtime.KeepAlive(l)
	if l.Closed() {
		return l.named(os.ErrClosed)
	}
	return l.m.Unlock()
}

// Recover takes l as Acquire does, and returns holding it whether or not its owner had died; release it
// afterwards. If its owner died it first runs repair, which may be nil, holding the lock; if that fails,
// panics or ends its goroutine, or the process dies in it, l is not held and still says ErrOwnerDied. The
// errors are repair's, ctx's, and os.ErrClosed.
func (l *Lock) Recover(ctx context.Context, repair func() error) error {
	defer runtime.KeepAlive(l)
	return l.named(l.m.Recover(ctx, repair))
}

// Locked reports whether anybody holds l, where one who died counts until the death was noticed; the answer may
// be old when it arrives. It goes on answering after Close.
func (l *Lock) Locked() bool {
	defer runtime.KeepAlive(l)
	return l.m.Locked()
}

// String says who holds l, for people: nobody, this process or another. The answer may be old when it arrives.
func (l *Lock) String() string {
	defer runtime.KeepAlive(l)
	return describe("lock", &l.Ref, &l.m, "this process")
}

// describe says who holds the lock o, whose word m has; self is what this process is called.
func describe(kind string, o *shm.Ref, m *robust.Mutex, self string) string {
	if o.Segment() == nil {
		return kind // a zero handle
	}
	kind = fmt.Sprintf("%s %q, ", kind, o.Name())
	if o.Closed() {
		return kind + "closed"
	}
	switch id, died := m.Owner(); {
	case id == o.Segment().Self():
		return kind + "held by " + self
	case id != 0:
		p := o.Segment().Participant(id)
		if !p.Alive {
			return kind + fmt.Sprintf("held by process %d, which died", p.Pid)
		}
		return kind + fmt.Sprintf("held by process %d", p.Pid)
	case died:
		return kind + "to be recovered: its owner died"
	}
	return kind + "free"
}

func (l *Lock) abandon() error {
	defer runtime.KeepAlive(l)
	return l.m.Abandon()
}

func (l *Lock) sealed() {}
