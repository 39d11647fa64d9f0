package codec

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/shoal-ipc/shoal/shm"
)

// MaxDepth is how many structs, maps, slices and arrays may lie in each other. (Plain data does not
// count, nor do pointers.) It bounds the stack that decoding takes, to some tens of megabytes.
const MaxDepth = 10_000

// ErrDepth is returned by Marshal and Objects for a value that is nested deeper than MaxDepth, as
// a value with a pointer cycle is.
var ErrDepth = errors.New("codec: value contains itself or is nested deeper than 10000 levels")

var _ [MaxDepth]struct{} = [10000]struct{}{} // as ErrDepth says

// Codec turns values of T into bytes and back. It is immutable; any number of goroutines may use it.
type Codec[T any] struct {
	plan *plan
}

// Of is the codec of T. The error is that of Check. What is known about T is kept for the next call.
func Of[T any]() (*Codec[T], error) {
	p, err := planOf(reflect.TypeFor[T]())
	if err != nil {
		return nil, err
	}
	return &Codec[T]{p}, nil
}

// Plain reports whether T is plain data: numbers, bools, and arrays and structs of these. Its values are encoded
// as their memory; whoever copies that himself takes care of bools (layout.Bools) and padding (layout.Padding), and
// sees to it that both sides have the same structure (layout.Hash), as the bytes do not say.
func (c *Codec[T]) Plain() bool { return c.plan.raw != nil && !c.plan.indirect }

// Fixed is the most bytes that a value of T may take, if there is such a number.
func (c *Codec[T]) Fixed() (n int, ok bool) {
	if c.plan.raw != nil {
		return int(c.plan.raw.size), true
	}
	n = c.plan.shape.longest
	return n, n != endless
}

// HasObjects reports whether values of T may hold shared objects.
func (c *Codec[T]) HasObjects() bool { return c.plan.shape.objects }

// Marshal encodes v, as the Codec of its type does. A non-nil pointer is encoded as what it points to, so that
// Marshal(&x) spares the copy of x into an interface and can be decoded by Unmarshal(data, &x) all the same.
//
// The error wraps shm.ErrType if the type of v does not cross whole, ErrDepth if the value is too
// deep, or is that of a type's own MarshalBinary; a time.Time is refused if RFC 3339 has no way to
// write it (years beyond 9999, an offset with seconds), and a pointer to the zero time, which would
// arrive as nil.
func Marshal(v any) ([]byte, error) {
	p, rv, err := planOfValue(v)
	if err != nil {
		return nil, err
	}
	return p.marshal(rv)
}

// Unmarshal decodes data into the variable that v points to. What the variable held is overwritten as
// a whole, and zero after an error. The error wraps shm.ErrCorrupt if data is nothing that Marshal
// writes for that type, shm.ErrType if the type does not cross at all, or is that of a type's own
// UnmarshalBinary (shm.ErrUnreachable, say). Nothing decoded refers to data.
func Unmarshal(data []byte, v any) error {
	rv := reflect.ValueOf(v)
	if rv.Kind() != reflect.Ptr || rv.IsNil() {
		return fmt.Errorf("codec: decode into %T: %w", v, errTarget)
	}
	rv = rv.Elem()
	p, err := planOf(rv.Type())
	if err != nil {
		return err
	}
	rv.SetZero()
	if err := p.unmarshal(data, rv); err != nil {
		rv.SetZero()
		return err
	}
	return nil
}

// Objects returns the shared objects that v holds: every non-nil one that is reachable through exported
// fields, pointers, slices, arrays and maps, each distinct pointer once, in the order in which they
// are met (that of a map is random). It costs next to nothing if the type of v has no room for any. The
// error is that of Check, or ErrDepth.
func Objects(v any) ([]shm.Object, error) {
	p, rv, err := planOfValue(v)
	if err != nil || !p.shape.objects {
		return nil, err
	}
	return p.objects(rv)
}

// errTarget is the cause of an Unmarshal that was not given a variable.
var errTarget = errors.New("not a pointer to a variable")

// planOfValue is the plan for v, with one pointer taken off, and the value that it is for.
func planOfValue(v any) (*plan, reflect.Value, error) {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() {
		return nil, rv, fmt.Errorf("codec: %w: nil has no type", shm.ErrType)
	}
	if rv.Kind() == reflect.Ptr && !rv.IsNil() && !rv.Type().Implements(objectType) {
		rv = rv.Elem()
	}
	p, err := planOf(rv.Type())
	return p, rv, err
}

// wrong is the error for data that did not become a value of type t.
func wrong(err error, t reflect.Type, pos, size int) error {
	if bad, ok := err.(badData); ok {
		return fmt.Errorf("codec: decode %v: %w: at byte %d of %d: %w", t, shm.ErrCorrupt, pos, size, bad)
	}
	if own, ok := err.(foreign); ok {
		err = own.error
	}
	return fmt.Errorf("codec: decode %v: %w", t, err)
}

// failed is the error for a value of type t that could not be encoded.
func failed(err error, t reflect.Type) error {
	return fmt.Errorf("codec: encode %v: %w", t, err)
}
