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

// RLock is a recursive lock. Goroutines have no identity, so it is taken through an Owner, of which each goroutine makes
// its own. What kills and stops leave, and who is told, is as for a Lock: a death at any depth is one death, after which
// every Owner's Acquire returns ErrOwnerDied until a Recover has succeeded.
//
// An RLock is made by NewRLock, OpenRLock and OpenOrNewRLock, or arrives in an argument; its zero value is for
// UnmarshalBinary only. Its methods may be called from any goroutine.
type RLock struct {
	shm.Ref
	m   robust.Mutex
	mem []byte
}

var rlockKind = shm.Kind{Name: "rlock", Min: robust.HolderSize, Guarded: true}

// NewRLock makes a free recursive lock. The errors are those of shm.Kind.New.
func NewRLock(seg *shm.Segment, name string) (*RLock, error) {
	r := new(RLock)
	mem, err := rlockKind.New(&r.Ref, seg, name, robust.HolderSize, nil)
	return r.use(mem, err)
}

// OpenRLock finds a recursive lock. The errors are those of shm.Kind.Open.
func OpenRLock(seg *shm.Segment, name string) (*RLock, error) {
	r := new(RLock)
	mem, err := rlockKind.Open(&r.Ref, seg, name)
	return r.use(mem, err)
}

// OpenOrNewRLock finds or makes a recursive lock.
func OpenOrNewRLock(seg *shm.Segment, name string) (*RLock, error) {
	r := new(RLock)
	mem, err := rlockKind.OpenOrNew(&r.Ref, seg, name, robust.HolderSize, nil)
	return r.use(mem, err)
}

// RLockOf makes one more handle of the recursive lock of which o is a handle, for types that use it. The error is
// os.ErrClosed.
func RLockOf(o *shm.Ref) (*RLock, error) {
	r := new(RLock)
	mem, err := shm.Again(&r.Ref, o)
	return r.use(mem, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (r *RLock) UnmarshalBinary(data []byte) error {
	mem, err := rlockKind.Unmarshal(&r.Ref, data)
	_, err = r.use(mem, err)
	return err
}

func (r *RLock) use(mem []byte, err error) (*RLock, error) {
	if err != nil {
		return nil, err
	}
	r.m, r.mem = robust.At(mem, r.Segment(), r), mem
	return r, nil
}

// Owner returns a new owner: its own Acquires nest, those of two owners exclude each other. Use it from one
// goroutine at a time. It takes at most one other Owner, of another RLock, that the same goroutine uses: then Deadlocks
// can tell for certain what each of them waits for while it holds the other's lock.
func (r *RLock) Owner(same ...*Owner) *Owner {
	o := &Owner{r: r, h: robust.HolderAt(r.mem), shut: shm.ShutFlag(&r.Ref)}
	switch len(same) {
	case 0:
	case 1:
		o.h = robust.HolderLike(&same[0].h, r.mem)
	default:
		panic("locks: more than one Owner for the same goroutine")
	}
	o.word, o.mine = r.m.Fast()
	return o
}

// String says who holds r, for people.
func (r *RLock) String() string {
	defer runtime.KeepAlive(r)
	return describe("rlock", &r.Ref, &r.m, "this process")
}

// Owner is one possible holder of an RLock. It is for one goroutine at a time; who passes it on to another makes sure, as
// with any variable, that what the first did with it comes before. When the lock has been acquired n times it takes n
// Releases to free it.
//
// An Owner does not cross to other processes: give them the RLock, of which they make Owners of their own, and with
// these find values and arrays that it guards (OpenOrNew). Those that arrive in arguments have an Owner each.
//
// All Owners of a handle act through it: when it is closed their calls return os.ErrClosed. Progress, fairness, and what
// holds for a context that is done are as for Lock.
//
// In the terms of the Go memory model the Release that frees the lock is synchronized before the return of every later
// acquisition by another Owner, in all processes; so is whatever an owner did before it died.
type Owner struct {
	r *RLock
	h robust.Holder

	// For the fast paths, which are those of Lock but for the depth and the tag; with these the compiler does not inline
	// them into the caller.
	word *uint64
	mine uint64
	shut *uint32
}

// Acquire takes the lock, waiting until it is free or ctx is done; if o holds it, it does once more. The errors are
// ErrOwnerDied, ctx's, and os.ErrClosed; with an error o holds the lock as often as before.
func (o *Owner) Acquire(ctx context.Context) error {
	if atomic.LoadUint32(o.shut) == 0 && o.h.Again() {
		return nil
	}
	if !race.Enabled && !crashpoint.Enabled && o.h.Depth() == 0 &&
		atomic.CompareAndSwapUint64(o.word, uint64(atomic.LoadUint32(o.shut)), o.mine) {
		o.h.Took(0)
		runtime.KeepAlive(o)
		return nil
	}
	return o.acquireSlow(ctx)
}

func (o *Owner) acquireSlow(ctx context.Context) error {
	defer runtime.KeepAlive(o)
	return o.named(o.h.Lock(ctx, &o.r.m, 0))
}

func (o *Owner) named(err error) error { return named("rlock", &o.r.Ref, err) }

// TryAcquire takes the lock if it is free, or o holds it. The errors are ErrOwnerDied and os.ErrClosed.
func (o *Owner) TryAcquire() (bool, error) {
	defer runtime.KeepAlive(o)
	ok, err := o.h.TryLock(&o.r.m, 0)
	return ok, o.named(err)
}

// Release undoes one Acquire; the last one frees the lock and wakes a waiter. The errors are ErrNotOwner if another holds
// the lock, of this process or not, ErrNotLocked if nobody does, and os.ErrClosed.
func (o *Owner) Release() error {
	if atomic.LoadUint32(o.shut) == 0 && o.h.Less() {
		return nil
	}
	if !race.Enabled && !crashpoint.Enabled && !o.r.Closed() && o.h.Leaves() &&
		atomic.CompareAndSwapUint64(o.word, o.mine|uint64(atomic.LoadUint32(o.shut)), 0) {
		o.h.Left()
		runtime.KeepAlive(o)
		return nil
	}
	return o.releaseSlow()
}

func (o *Owner) releaseSlow() error {
	defer runtime.KeepAlive(o)
	if o.r.Closed() {
		return o.named(os.ErrClosed)
	}
	return o.h.Unlock(&o.r.m)
}

// Recover takes the lock as Acquire does, whether or not its owner had died, and runs repair first if so, as Lock.Recover
// does. What repair acquires through o nests. If o holds the lock it does once more, and nothing is repaired; but
// when it holds that with the mark of a death, since Condition.Wait said so, it is ErrOwnerDied: release it first.
func (o *Owner) Recover(ctx context.Context, repair func() error) error {
	defer runtime.KeepAlive(o)
	return o.named(o.h.Recover(ctx, &o.r.m, repair))
}

// Locked reports whether anybody holds the lock, where one who died counts until the death was noticed; the answer may
// be old when it arrives. It goes on answering after Close.
func (o *Owner) Locked() bool {
	defer runtime.KeepAlive(o)
	return o.r.m.Locked()
}

// Depth is how often this owner holds the lock.
func (o *Owner) Depth() int { return o.h.Depth() }

// String says who holds the lock, for people: nobody, this owner and how often, another owner in this process, or
// another process. As everything of an Owner it is for one goroutine at a time.
func (o *Owner) String() string {
	defer runtime.KeepAlive(o)
	self := "another owner in this process"
	if n := o.Depth(); n > 0 {
		self = fmt.Sprintf("this owner, depth %d", n)
	}
	return describe("rlock", &o.r.Ref, &o.r.m, self)
}

// HolderOf returns the lock of o, and what guards of this module need to act for o.
func HolderOf(o *Owner) (*RLock, *robust.Holder) { return o.r, &o.h }

func (o *Owner) abandon() error {
	defer runtime.KeepAlive(o)
	return o.h.Abandon(&o.r.m)
}

func (o *Owner) sealed() {}
