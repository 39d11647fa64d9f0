package locks

import (
	"context"
	"sync"
)

// Mutex is what Lock and Owner have in common; no type of another package implements it.
type Mutex interface {
	// Acquire takes the lock, waiting until it is free or ctx is done.
	Acquire(ctx context.Context) error
	// TryAcquire takes the lock if it is free.
	TryAcquire() (bool, error)
	// Release frees the lock and wakes a waiter.
	Release() error
	// Recover takes the lock, as Acquire does, and returns holding it, whether or not its owner had died; if
	// it had, Recover first runs repair (nil: nothing to repair). If repair fails the lock is not held and
	// still says ErrOwnerDied.
	Recover(ctx context.Context, repair func() error) error
	// Locked reports whether anybody holds it, where one who died counts until the death was noticed; the answer
	// may be old when it arrives.
	Locked() bool
	sealed()
}

// Acquirer is what With needs: a Mutex, for instance.
type Acquirer interface {
	Acquire(ctx context.Context) error
	Release() error
}

// abandoner is an Acquirer that can be left as if its owner had died.
type abandoner interface{ abandon() error }

// With runs f holding a, and returns the error of Acquire, or of f, or else of Release. If f panics or ends
// its goroutine, a Lock or RWLock is left as if its owner had died, because what it guards may be half changed, and so is an
// Owner's RLock, however often the Owner holds it, and the lock of a Condition; any other Acquirer is released. The panic goes
// on.
func With(ctx context.Context, a Acquirer, f func() error) (err error) {
	if err := a.Acquire(ctx); err != nil {
		return err
	}
	returned := false
	defer func() {
		if returned {
			if e := a.Release(); err == nil {
				err = e
			}
		} else if ab, ok := a.(abandoner); ok {
			ab.abandon()
		} else {
			a.Release()
		}
	}()
	err = f()
	returned = true
	return err
}

// Locker adapts m to sync.Locker. Its methods panic with the errors of Acquire, which waits without end, and of Release;
// so it is best used with a Lock that has OnOwnerDied.
func Locker(m Mutex) sync.Locker { return locker{m} }

type locker struct{ m Mutex }

func (l locker) Lock() {
	if err := l.m.Acquire(context.Background()); err != nil {
		panic(err)
	}
}

func (l locker) Unlock() {
	if err := l.m.Release(); err != nil {
		panic(err)
	}
}
