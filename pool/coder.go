package pool

import (
	"fmt"
	"math/big"
	"reflect"
	"time"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/layout"
)

// coder turns values of T into bytes and back.
type coder[T any] struct {
	plain   bool
	size    int
	bools   *layout.Bools
	foreign bool // code of the user's, or of shared objects, takes part: it may wait, or panic
}

func coderOf[T any]() (c coder[T], err error) {
	t := reflect.TypeFor[T]()
	if err := codec.Check(t); err != nil {
		return c, err
	}
	c.foreign = foreign(t, make(map[reflect.Type]bool))
	if !c.foreign && layout.Plain(t) == nil {
		c.plain, c.size, c.bools = true, int(t.Size()), layout.BoolsOf(t)
	}
	return c, nil
}

// foreign reports whether values of t have methods that take part in encoding them.
func foreign(t reflect.Type, seen map[reflect.Type]bool) bool {
	if seen[t] {
		return false
	}
	seen[t] = true
	if t == reflect.TypeFor[time.Time]() || t == reflect.TypeFor[big.Int]() {
		return false
	}
	p := reflect.PointerTo(t)
	for _, name := range []string{"MarshalBinary", "UnmarshalBinary", "MarshalCBOR", "UnmarshalCBOR"} {
		if _, ok := p.MethodByName(name); ok {
			return true
		}
	}
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return foreign(t.Elem(), seen)
	case reflect.Map:
		return foreign(t.Key(), seen) || foreign(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if foreign(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}

// encode writes v into small if it fits, else into memory that take gives, and returns how long it is.
func (c *coder[T]) encode(v *T, small []byte, take func(n int) ([]byte, error)) (n int, large bool, err error) {
	var data []byte
	if c.plain {
		data = bytesOf(v)
	} else if data, err = codec.Marshal(v); err != nil {
		return 0, false, err
	}
	if len(data) > len(small) {
		if small, err = take(len(data)); err != nil {
			return 0, false, err
		}
		large = true
	}
	return copy(small, data), large, nil
}

// decode is the way back. Nothing decoded refers to data.
func (c *coder[T]) decode(data []byte, v *T) error {
	if !c.plain {
		return codec.Unmarshal(data, v)
	}
	if len(data) != c.size {
		return fmt.Errorf("%w: %d bytes for %d", errCorrupt, len(data), c.size)
	}
	copy(bytesOf(v), data)
	if c.bools != nil {
		normalise(c.bools, v)
	}
	return nil
}
