package value

import (
	"context"
	"fmt"
	"os"
	"reflect"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/guard"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// Options are the rarer wishes of a value: by default it has a Lock of its own.
type Options struct {
	// Lock is the lock to use, which must be in the same segment, and not freed (shm.ErrStale). For an Owner of an RLock
	// this handle acts: its calls nest while that Owner holds the lock. Other handles, those that arrive in arguments too,
	// have an Owner of their own. A Lock's OnOwnerDied is run by its own Acquire, that of Mutex() too, and not by Get, Set
	// and Update.
	Lock     locks.Mutex
	Unlocked bool // no lock: Get, Set and Update are as unsynchronised as Load and Store
}

// Value is a T behind a lock. T has a fixed size and no pointers (int and uint are allowed). A process killed
// in Get, Set or Update leaves the old value or the new one, never half of it, so its death is passed over; a
// death while holding Mutex() is locks.ErrOwnerDied until Mutex().Recover.
//
// All methods may be called from any goroutine of any process. Get, Set and Update have the progress and the
// happens-before edges of locks.Lock; they must not be called while holding Mutex(), or from Update's function, unless that
// is an Owner of a recursive lock. Then a handle's Get, Set and Update are for one goroutine at a time, as the Owner is. What
// they leave is whole also while the Owner holds the lock; but a death then is one of who holds Mutex().
type Value[T any] struct {
	shm.Ref
	g     guard.Guard
	cells cells[T]
	bools *layout.Bools
	// copy is what Update's function works on, so that a call need not allocate; whoever holds the lock has it.
	copy *T
}

// New makes a value. The errors are those of shm.Kind.New, shm.ErrType if T has pointers or no size, and
// os.ErrInvalid if opts contradict themselves or name a lock of another segment.
func New[T any](seg *shm.Segment, name string, init T, opts ...Options) (*Value[T], error) {
	v, k, o, err := prepare[T](opts)
	if err != nil {
		return nil, err
	}
	mem, err := k.New(&v.Ref, seg, name, k.Min, initial(seg, init, o))
	return v.use(mem, o, err)
}

// Open finds a value. The errors are those of shm.Kind.Open, and shm.ErrType.
func Open[T any](seg *shm.Segment, name string) (*Value[T], error) {
	v, k, o, err := prepare[T](nil)
	if err != nil {
		return nil, err
	}
	mem, err := k.Open(&v.Ref, seg, name)
	return v.use(mem, o, err)
}

// OpenOrNew finds or makes a value; of one that is found, the value and the lock stand. An Options.Lock that is a
// handle, or an Owner, of that same lock is then used by this handle, so that one Owner can serve several values in
// every process; anything else in opts is passed over.
func OpenOrNew[T any](seg *shm.Segment, name string, init T, opts ...Options) (*Value[T], error) {
	v, k, o, err := prepare[T](opts)
	if err != nil {
		return nil, err
	}
	mem, err := k.OpenOrNew(&v.Ref, seg, name, k.Min, initial(seg, init, o))
	return v.use(mem, o, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (v *Value[T]) UnmarshalBinary(data []byte) error {
	n, k, o, err := prepare[T](nil)
	if err != nil {
		return err
	}
	v.bools = n.bools
	mem, err := k.Unmarshal(&v.Ref, data)
	_, err = v.use(mem, o, err)
	return err
}

func prepare[T any](opts []Options) (*Value[T], shm.Kind, guard.Options, error) {
	o := guardOptions(opts)
	t := reflect.TypeFor[T]()
	if err := layout.Plain(t); err != nil {
		return nil, shm.Kind{}, o, fmt.Errorf("value: %w: %w", shm.ErrType, err)
	}
	return &Value[T]{bools: layout.BoolsOf(t)}, kindOf(t, o), o, nil
}

func guardOptions(opts []Options) guard.Options {
	switch len(opts) {
	case 0:
		return guard.Options{}
	case 1:
		return guard.Options(opts[0])
	}
	panic("value: more than one Options")
}

func kindOf(t reflect.Type, o guard.Options) shm.Kind {
	return shm.Kind{
		Name: "value", Hash: layout.Hash(t), Type: t.String(), Code: shm.Code(layout.CodeOfType(t)),
		Min: cellsAt + 2*int(layout.Up(t.Size(), 8)), Guarded: o.Own(),
	}
}

func initial[T any](seg *shm.Segment, init T, o guard.Options) func(mem []byte) error {
	return func(mem []byte) error {
		c := cellsOf[T](mem)
		c.store(init)
		return o.Init(seg, mem)
	}
}

func (v *Value[T]) use(mem []byte, o guard.Options, err error) (*Value[T], error) {
	if err != nil {
		return nil, err
	}
	v.cells, v.copy = cellsOf[T](mem), new(T)
	if err := v.g.Use(&v.Ref, mem, o); err != nil {
		return nil, fmt.Errorf("value: open %q: %w", v.Name(), err)
	}
	return v, nil
}

// Get reads the value under its lock. The errors are those of locks.Lock.Acquire.
func (v *Value[T]) Get(ctx context.Context) (x T, err error) {
	defer runtime.KeepAlive(v)
	if err := v.g.Lock(ctx, robust.Whole); err != nil {
		return x, err
	}
	x = v.load()
	return x, v.g.Unlock(robust.Whole)
}

// Set writes the value under its lock. The errors are those of locks.Lock.Acquire.
func (v *Value[T]) Set(ctx context.Context, x T) error {
	defer runtime.KeepAlive(v)
	if err := v.g.Lock(ctx, robust.Whole); err != nil {
		return err
	}
	v.cells.store(x)
	return v.g.Unlock(robust.Whole)
}

// Update lets f change a copy of the value under its lock, and stores it unless f returns an error, panics or
// ends its goroutine. The copy is f's until f returns; what f stores otherwise (see Value), that replaces. If the lock
// is lost in f, because the segment is closed or the Owner abandons it, nothing is stored. The errors are f's, those of
// locks.Lock.Acquire, and then those of its Release.
func (v *Value[T]) Update(ctx context.Context, f func(x *T) error) (err error) {
	defer runtime.KeepAlive(v)
	if err := v.g.Lock(ctx, robust.Whole); err != nil {
		return err
	}
	defer func() {
		if e := v.g.Unlock(robust.Whole); err == nil {
			err = e
		}
	}()
	x := v.copy
	if v.g.None() || v.g.Nested() {
		x = new(T)
	}
	*x = v.load()
	if err := f(x); err != nil {
		return err
	}
	if err := v.g.Held(); err != nil {
		return err // others may have stored since
	}
	v.cells.store(*x)
	return nil
}

// Load reads without taking the lock: for callers who hold it, or need none. What it returns may be a mixture
// if others store twice meanwhile. It panics with os.ErrClosed after Close.
func (v *Value[T]) Load() T {
	defer runtime.KeepAlive(v)
	v.mustBeOpen()
	return v.load()
}

// Store writes without taking the lock: for callers who hold it, or need none. It panics with os.ErrClosed
// after Close.
func (v *Value[T]) Store(x T) {
	defer runtime.KeepAlive(v)
	v.mustBeOpen()
	v.cells.store(x)
}

func (v *Value[T]) load() T {
	x := v.cells.load()
	if v.bools != nil {
		normalise(v.bools, &x)
	}
	return x
}

// Close detaches this handle: its waiting calls return os.ErrClosed, so do later ones. The object, its lock
// and other handles are not affected. It may be called again.
func (v *Value[T]) Close() error {
	defer runtime.KeepAlive(v)
	return v.g.Close()
}

// Mutex is the value's lock, nil when Unlocked: the handle that was given, or one of its own, which Close of
// the value does not close. It panics with os.ErrClosed when it is first asked for after the segment's Close.
// It is Python's get_lock. While holding it use Load and Store: Get, Set and Update would wait until their
// context ends, unless the lock is an Owner.
func (v *Value[T]) Mutex() locks.Mutex { return v.g.Mutex() }

func (v *Value[T]) mustBeOpen() {
	if v.Closed() {
		panic(os.ErrClosed)
	}
}
