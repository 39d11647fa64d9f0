package array

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/coded"
	"github.com/shoal-ipc/shoal/internal/guard"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/shm"
)

// Coded is an array whose C type is known only at run time. It is the same object as an Array of the Go type
// for which the code stands, whichever of the two made it; Of gives that, and with it the lock and all that
// Coded has not. An index out of range panics, as a slice's does.
//
// All methods may be called from any goroutine of any process. Get and Set have the progress, the
// happens-before edges and the crash guarantee of Array's.
type Coded struct {
	shm.Ref
	g     guard.Guard
	code  shm.Code
	elems codedElements
	set   uint64 // robust.Whole if one store writes an element
}

// NewCode makes an array of n zeros of Python's type code, as Array('d', 10) does. The errors are those of
// New, and shm.ErrType for an unknown code.
func NewCode(seg *shm.Segment, name string, code shm.Code, n int, opts ...Options) (*Coded, error) {
	o := guardOptions(opts)
	t, err := coded.Type(code)
	if err != nil {
		return nil, fmt.Errorf("array: new %q: %w", name, err)
	}
	size, err := sizeFor(t, n)
	if err != nil {
		return nil, err
	}
	a, k := new(Coded), kindOf(t, o)
	k.Code = code
	mem, err := k.New(&a.Ref, seg, name, size, func(mem []byte) error {
		return initial[byte](seg, n, nil, o, mem)
	})
	return a.use(mem, o, err)
}

// OpenCode finds an array of any C type, that of an Array too. The errors are those of shm.Kind.Open.
func OpenCode(seg *shm.Segment, name string) (*Coded, error) {
	a := new(Coded)
	mem, err := anyCode.Open(&a.Ref, seg, name)
	return a.use(mem, guard.Options{}, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (a *Coded) UnmarshalBinary(data []byte) error {
	mem, err := anyCode.Unmarshal(&a.Ref, data)
	_, err = a.use(mem, guard.Options{}, err)
	return err
}

var anyCode = shm.Kind{Name: "array", Min: elementsAt, AnyCode: true}

func (a *Coded) use(mem []byte, o guard.Options, err error) (*Coded, error) {
	if err != nil {
		return nil, err
	}
	a.code = shm.CodeOfRef(&a.Ref)
	t, err := coded.Type(a.code)
	if err != nil {
		return nil, fmt.Errorf("array: open %q: %w", a.Name(), err)
	}
	n, err := lengthOf(&a.Ref, mem, t)
	if err != nil {
		return nil, err
	}
	a.elems, a.set = codedElements{mem[elementsAt:], n, a.code.Size()}, setFlags(t)
	if err := a.g.Use(&a.Ref, mem, o); err != nil {
		return nil, fmt.Errorf("array: open %q: %w", a.Name(), err)
	}
	return a, nil
}

// Code is the type of the elements: what the array was made with, or shm.CodeOf of what T the Array was made
// with. It is 0 for a zero handle.
func (a *Coded) Code() shm.Code { return a.code }

// Len is the number of elements; it is fixed.
func (a *Coded) Len() int { return a.elems.n }

// Get reads one element under the lock; it returns what value.Coded.Get does. The errors are those of
// locks.Lock.Acquire.
func (a *Coded) Get(ctx context.Context, i int) (any, error) {
	defer runtime.KeepAlive(a)
	a.elems.check(i) // before the lock is taken
	if err := a.g.Lock(ctx, robust.Whole); err != nil {
		return nil, err
	}
	bits := a.elems.load(i)
	return coded.Number(a.code, bits), a.g.Unlock(robust.Whole)
}

// Set writes one element under the lock; it takes what value.Coded.Set does, and returns the same errors.
func (a *Coded) Set(ctx context.Context, i int, x any) error {
	defer runtime.KeepAlive(a)
	a.elems.check(i)
	if a.Closed() {
		return fmt.Errorf("array %q: %w", a.Name(), os.ErrClosed)
	}
	bits, err := coded.Bits(a.code, x)
	if err != nil {
		return fmt.Errorf("array %q: %w", a.Name(), err)
	}
	if err := a.g.Lock(ctx, a.set); err != nil {
		return err
	}
	a.elems.store(i, bits)
	return a.g.Unlock(a.set)
}

// Close detaches this handle as Array.Close does; what Of made of it stays open.
func (a *Coded) Close() error {
	defer runtime.KeepAlive(a)
	return a.g.Close()
}

// Of is the same object as an Array[T], with the same lock: T has the size and sign of a's code, as byte has
// for c and B, rune for u and i, int64 for q and l. The errors are shm.ErrKind if it has not, shm.ErrType,
// and os.ErrClosed.
func Of[T any](a *Coded) (*Array[T], error) {
	defer runtime.KeepAlive(a)
	n, k, _, err := prepare[T](nil)
	if err != nil {
		return nil, err
	}
	if t, err := coded.Type(a.code); err != nil || layout.Hash(t) != k.Hash {
		return nil, fmt.Errorf("array: %w: code %q of %q is not for %s", shm.ErrKind, a.code, a.Name(), k.Type)
	}
	if a.Closed() {
		return nil, fmt.Errorf("array %q: %w", a.Name(), os.ErrClosed)
	}
	o, err := a.g.Options()
	if err != nil {
		return nil, fmt.Errorf("array %q: %w", a.Name(), err)
	}
	mem, err := shm.Again(&n.Ref, &a.Ref)
	if err != nil {
		return nil, fmt.Errorf("array %q: %w", a.Name(), err)
	}
	return n.use(mem, o, nil)
}
