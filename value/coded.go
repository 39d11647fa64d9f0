package value

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

// Coded is a value whose C type is known only at run time. It is the same object as a Value of the Go type
// for which the code stands, whichever of the two made it; Of gives that, and with it the lock, Update, and
// Load and Store.
//
// All methods may be called from any goroutine of any process. Get and Set have the progress, the
// happens-before edges and the crash guarantee of Value's.
type Coded struct {
	shm.Ref
	g     guard.Guard
	code  shm.Code
	cells cells[uint64] // cells of all codes have 8 bytes; a number is in the first of them
}

// NewCode makes a value of Python's type code, as Value('d', 1.5) does. init is a number as for Set. The
// errors are those of Set for init and of New, and shm.ErrType for an unknown code.
func NewCode(seg *shm.Segment, name string, code shm.Code, init any, opts ...Options) (*Coded, error) {
	o := guardOptions(opts)
	bits, err := coded.Bits(code, init)
	if err != nil {
		return nil, fmt.Errorf("value: new %q: %w", name, err)
	}
	v, k := new(Coded), kindOf(layout.TypeOfCode(byte(code)), o)
	k.Code = code
	mem, err := k.New(&v.Ref, seg, name, k.Min, initial(seg, bits, o))
	return v.use(mem, o, err)
}

// OpenCode finds a value of any C type, that of a Value too. The errors are those of shm.Kind.Open.
func OpenCode(seg *shm.Segment, name string) (*Coded, error) {
	v := new(Coded)
	mem, err := anyCode.Open(&v.Ref, seg, name)
	return v.use(mem, guard.Options{}, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (v *Coded) UnmarshalBinary(data []byte) error {
	mem, err := anyCode.Unmarshal(&v.Ref, data)
	_, err = v.use(mem, guard.Options{}, err)
	return err
}

var anyCode = shm.Kind{Name: "value", Min: cellsAt + 2*8, AnyCode: true}

func (v *Coded) use(mem []byte, o guard.Options, err error) (*Coded, error) {
	if err != nil {
		return nil, err
	}
	v.code, v.cells = shm.CodeOfRef(&v.Ref), cellsOf[uint64](mem)
	if err := v.g.Use(&v.Ref, mem, o); err != nil {
		return nil, fmt.Errorf("value: open %q: %w", v.Name(), err)
	}
	return v, nil
}

// Code is its type: what it was made with, or shm.CodeOf of what T the Value was made with. It is 0 for a
// zero handle.
func (v *Coded) Code() shm.Code { return v.code }

// Get reads the value under its lock: a byte for c, a rune for u, a float64 for f and d, an int64 for the
// integers with a sign (b h i l q), an uint64 for those without (B H I L Q). The errors are those of
// locks.Lock.Acquire.
func (v *Coded) Get(ctx context.Context) (any, error) {
	defer runtime.KeepAlive(v)
	if err := v.g.Lock(ctx, robust.Whole); err != nil {
		return nil, err
	}
	bits := v.cells.load()
	return coded.Number(v.code, bits), v.g.Unlock(robust.Whole)
}

// Set stores x, which is of one of Go's integer or floating-point types, or of a type defined by one, and
// fits: in an integer, c and u included, it has no fraction and is within its limits (0 to unicode.MaxRune
// for u); in an f it is within ±math.MaxFloat32, or infinite, or no number. It is rounded to the nearest
// number of an f or d. The errors are shm.ErrType if x is no number, os.ErrInvalid if it does not fit, and
// those of locks.Lock.Acquire.
func (v *Coded) Set(ctx context.Context, x any) error {
	defer runtime.KeepAlive(v)
	if v.Closed() {
		return fmt.Errorf("value %q: %w", v.Name(), os.ErrClosed)
	}
	bits, err := coded.Bits(v.code, x)
	if err != nil {
		return fmt.Errorf("value %q: %w", v.Name(), err)
	}
	if err := v.g.Lock(ctx, robust.Whole); err != nil {
		return err
	}
	v.cells.store(bits)
	return v.g.Unlock(robust.Whole)
}

// Close detaches this handle as Value.Close does; what Of made of it stays open.
func (v *Coded) Close() error {
	defer runtime.KeepAlive(v)
	return v.g.Close()
}

// Of is the same object as a Value[T], with the same lock: T has the size and sign of v's code, as byte has
// for c and B, rune for u and i, int64 for q and l. The errors are shm.ErrKind if it has not, shm.ErrType,
// and os.ErrClosed.
func Of[T any](v *Coded) (*Value[T], error) {
	defer runtime.KeepAlive(v)
	n, k, _, err := prepare[T](nil)
	if err != nil {
		return nil, err
	}
	if t, err := coded.Type(v.code); err != nil || layout.Hash(t) != k.Hash {
		return nil, fmt.Errorf("value: %w: code %q of %q is not for %s", shm.ErrKind, v.code, v.Name(), k.Type)
	}
	if v.Closed() {
		return nil, fmt.Errorf("value %q: %w", v.Name(), os.ErrClosed)
	}
	o, err := v.g.Options()
	if err != nil {
		return nil, fmt.Errorf("value %q: %w", v.Name(), err)
	}
	mem, err := shm.Again(&n.Ref, &v.Ref)
	if err != nil {
		return nil, fmt.Errorf("value %q: %w", v.Name(), err)
	}
	return n.use(mem, o, nil)
}
