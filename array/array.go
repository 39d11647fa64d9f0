package array

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"os"
	"reflect"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/guard"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// Options are the rarer wishes of an array: by default it has a Lock of its own.
type Options struct {
	// Lock is the lock to use, which must be in the same segment, and not freed (shm.ErrStale). For an Owner of an RLock
	// this handle acts: its calls nest while that Owner holds the lock. Other handles, those that arrive in arguments too,
	// have an Owner of their own. A Lock's OnOwnerDied is run by its own Acquire, that of Mutex() too, and not by Get, Set
	// and Update.
	Lock     locks.Mutex
	Unlocked bool // no lock: Get, Set and Update are as unsynchronised as View
}

// Array is n values of T, which has a fixed size and no pointers. An index out of range panics, as a slice's
// does.
//
// All methods may be called from any goroutine of any process. Get, Set and Update have the progress and the
// happens-before edges of locks.Lock; they must not be called while holding Mutex(), or from Update's function, unless that
// is an Owner of a recursive lock. Then a handle's Get, Set and Update are for one goroutine at a time, as the Owner is.
// A process killed in Set or Update may leave elements half written: then the lock says locks.ErrOwnerDied until
// Mutex().Recover. (A death in Get, or in Set of a number, harms nothing and is passed over.)
type Array[T any] struct {
	shm.Ref
	g     guard.Guard
	elems []T // the elements themselves
	bools *layout.Bools
	set   uint64 // robust.Whole if one store writes an element
}

const (
	lengthAt   = guard.Size
	elementsAt = 128
)

// New makes an array of n zeros. The errors are those of shm.Kind.New, shm.ErrType if T has pointers or no
// size, and os.ErrInvalid if n is negative, or opts contradict themselves or name a lock of another segment.
func New[T any](seg *shm.Segment, name string, n int, opts ...Options) (*Array[T], error) {
	return create[T](seg, name, n, nil, opts)
}

// From makes an array that holds a copy of xs. The errors are those of New.
func From[T any](seg *shm.Segment, name string, xs []T, opts ...Options) (*Array[T], error) {
	return create(seg, name, len(xs), xs, opts)
}

// Open finds an array. The errors are those of shm.Kind.Open, and shm.ErrType.
func Open[T any](seg *shm.Segment, name string) (*Array[T], error) {
	a, k, o, err := prepare[T](nil)
	if err != nil {
		return nil, err
	}
	mem, err := k.Open(&a.Ref, seg, name)
	return a.use(mem, o, err)
}

// OpenOrNew finds an array (whose length and lock stand) or makes one of n zeros. An Options.Lock that is a handle,
// or an Owner, of the lock of one that is found is used by this handle, so that one Owner can serve several arrays in
// every process; anything else in opts is passed over.
func OpenOrNew[T any](seg *shm.Segment, name string, n int, opts ...Options) (*Array[T], error) {
	a, k, o, err := prepare[T](opts)
	if err != nil {
		return nil, err
	}
	size, err := sizeFor(reflect.TypeFor[T](), n)
	if err != nil {
		return nil, err
	}
	mem, err := k.OpenOrNew(&a.Ref, seg, name, size, func(mem []byte) error {
		return initial[T](seg, n, nil, o, mem)
	})
	return a.use(mem, o, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (a *Array[T]) UnmarshalBinary(data []byte) error {
	p, k, o, err := prepare[T](nil)
	if err != nil {
		return err
	}
	a.bools, a.set = p.bools, p.set
	mem, err := k.Unmarshal(&a.Ref, data)
	_, err = a.use(mem, o, err)
	return err
}

func create[T any](seg *shm.Segment, name string, n int, xs []T, opts []Options) (*Array[T], error) {
	a, k, o, err := prepare[T](opts)
	if err != nil {
		return nil, err
	}
	size, err := sizeFor(reflect.TypeFor[T](), n)
	if err != nil {
		return nil, err
	}
	mem, err := k.New(&a.Ref, seg, name, size, func(mem []byte) error { return initial(seg, n, xs, o, mem) })
	return a.use(mem, o, err)
}

func prepare[T any](opts []Options) (*Array[T], shm.Kind, guard.Options, error) {
	o := guardOptions(opts)
	t := reflect.TypeFor[T]()
	if err := layout.Plain(t); err != nil {
		return nil, shm.Kind{}, o, fmt.Errorf("array: %w: %w", shm.ErrType, err)
	}
	return &Array[T]{bools: layout.BoolsOf(t), set: setFlags(t)}, kindOf(t, o), o, nil
}

func guardOptions(opts []Options) guard.Options {
	switch len(opts) {
	case 0:
		return guard.Options{}
	case 1:
		return guard.Options(opts[0])
	}
	panic("array: more than one Options")
}

func kindOf(t reflect.Type, o guard.Options) shm.Kind {
	return shm.Kind{
		Name: "array", Hash: layout.Hash(t), Type: t.String(), Code: shm.Code(layout.CodeOfType(t)),
		Min: elementsAt, Guarded: o.Own(),
	}
}

// setFlags is robust.Whole if one store writes an element.
func setFlags(t reflect.Type) uint64 {
	if k := t.Kind(); k != reflect.Struct && k != reflect.Array && t.Size() <= uintptr(t.Align()) {
		return robust.Whole
	}
	return 0
}

func sizeFor(t reflect.Type, n int) (int, error) {
	if n < 0 {
		return 0, fmt.Errorf("array: %w: length %d", os.ErrInvalid, n)
	}
	size := int(t.Size())
	if n > (math.MaxInt-elementsAt)/size {
		return 0, fmt.Errorf("array: %w: %d elements of %d bytes", shm.ErrNoSpace, n, size)
	}
	return elementsAt + n*size, nil
}

func initial[T any](seg *shm.Segment, n int, xs []T, o guard.Options, mem []byte) error {
	binary.LittleEndian.PutUint64(mem[lengthAt:], uint64(n))
	copy(elements[T](mem, n), xs)
	return o.Init(seg, mem)
}

func (a *Array[T]) use(mem []byte, o guard.Options, err error) (*Array[T], error) {
	if err != nil {
		return nil, err
	}
	n, err := lengthOf(&a.Ref, mem, reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	a.elems = elements[T](mem, n)
	if err := a.g.Use(&a.Ref, mem, o); err != nil {
		return nil, fmt.Errorf("array: open %q: %w", a.Name(), err)
	}
	return a, nil
}

// lengthOf is the number of elements of type t of the array r, whose payload is mem.
func lengthOf(r *shm.Ref, mem []byte, t reflect.Type) (int, error) {
	n := binary.LittleEndian.Uint64(mem[lengthAt:])
	if n > uint64(len(mem)-elementsAt)/uint64(t.Size()) {
		return 0, fmt.Errorf("array: open %q: %w: %d elements in %d bytes", r.Name(), shm.ErrCorrupt, n, len(mem))
	}
	return int(n), nil
}

// Len is the number of elements; it is fixed.
func (a *Array[T]) Len() int { return len(a.elems) }

// Get reads one element under the lock. The errors are those of locks.Lock.Acquire.
func (a *Array[T]) Get(ctx context.Context, i int) (x T, err error) {
	defer runtime.KeepAlive(a)
	p := &a.elems[i] // an index out of range panics here, before the lock is taken
	if err := a.g.Lock(ctx, robust.Whole); err != nil {
		return x, err
	}
	x = a.read(p)
	return x, a.g.Unlock(robust.Whole)
}

// Set writes one element under the lock. The errors are those of locks.Lock.Acquire.
func (a *Array[T]) Set(ctx context.Context, i int, x T) error {
	defer runtime.KeepAlive(a)
	p := &a.elems[i]
	if err := a.g.Lock(ctx, a.set); err != nil {
		return err
	}
	*p = x
	return a.g.Unlock(a.set)
}

// Update lets f work on the elements themselves under the lock; xs is dead when f returns. A process killed
// in f leaves locks.ErrOwnerDied until Mutex().Recover, and so does an f that panics or ends its goroutine.
// If T has bools, f works on a copy that is written back when it returns. What f changed stays, also when it
// returns an error. The errors are f's and those of locks.Lock.Acquire.
func (a *Array[T]) Update(ctx context.Context, f func(xs []T) error) (err error) {
	defer runtime.KeepAlive(a)
	if err := a.g.Lock(ctx, 0); err != nil {
		return err
	}
	returned := false
	defer func() {
		if !returned {
			a.g.Abandon()
		} else if e := a.g.Unlock(0); err == nil {
			err = e
		}
	}()
	err = a.apply(f, a.g.Held)
	returned = true
	return err
}

// View lets f work on the elements themselves without the lock; xs is dead when f returns. If T has bools, f
// gets a copy that is written back when it returns, so others must not write meanwhile. The errors are f's
// and os.ErrClosed.
func (a *Array[T]) View(f func(xs []T) error) error {
	defer runtime.KeepAlive(a)
	if a.Closed() {
		return os.ErrClosed
	}
	return a.apply(f, func() error { return nil })
}

// apply runs f on the elements, or on a copy that is fit for Go: a bool byte that is neither 0 nor 1, which
// another process may write at any time, would break the compiler's assumptions.
// The copy is written back unless held returns an error: others may have changed what f did not.
func (a *Array[T]) apply(f func(xs []T) error, held func() error) error {
	if a.bools == nil {
		return f(a.elems[:len(a.elems):len(a.elems)])
	}
	xs := make([]T, len(a.elems))
	a.copyOut(xs, a.elems)
	err := f(xs)
	if e := held(); e != nil {
		return cmp.Or(err, e)
	}
	copy(a.elems, xs)
	return err
}

// Load reads one element without the lock; an element that is larger than a word may be a mixture if another
// process stores it meanwhile. It panics with os.ErrClosed after Close.
func (a *Array[T]) Load(i int) T {
	defer runtime.KeepAlive(a)
	a.mustBeOpen()
	return a.read(&a.elems[i])
}

// Store writes one element without the lock. It panics with os.ErrClosed after Close.
func (a *Array[T]) Store(i int, x T) {
	defer runtime.KeepAlive(a)
	a.mustBeOpen()
	a.elems[i] = x
}

// ReadAt copies elements from index i on into dst, without the lock, and returns how many. It panics with
// os.ErrClosed after Close.
func (a *Array[T]) ReadAt(dst []T, i int) int {
	defer runtime.KeepAlive(a)
	a.mustBeOpen()
	return a.copyOut(dst, a.elems[i:])
}

// WriteAt copies src to the elements from index i on, without the lock, and returns how many fitted. It
// panics with os.ErrClosed after Close.
func (a *Array[T]) WriteAt(src []T, i int) int {
	defer runtime.KeepAlive(a)
	a.mustBeOpen()
	return copy(a.elems[i:], src)
}

// All iterates over the elements without the lock. It panics with os.ErrClosed after Close.
func (a *Array[T]) All() iter.Seq2[int, T] {
	return func(yield func(int, T) bool) {
		for i := range a.elems {
			if !yield(i, a.Load(i)) {
				return
			}
		}
	}
}

// Close detaches this handle: its waiting calls return os.ErrClosed, so do later ones. The object, its lock
// and other handles are not affected. It may be called again.
func (a *Array[T]) Close() error {
	defer runtime.KeepAlive(a)
	return a.g.Close()
}

// Mutex is the array's lock, nil when Unlocked: the handle that was given, or one of its own, which Close of
// the array does not close. It panics with os.ErrClosed when it is first asked for after the segment's Close.
// It is Python's get_lock. While holding it use Load, Store and View: Get, Set and Update would wait until
// their context ends, unless the lock is an Owner.
func (a *Array[T]) Mutex() locks.Mutex { return a.g.Mutex() }

func (a *Array[T]) mustBeOpen() {
	if a.Closed() {
		panic(os.ErrClosed)
	}
}
