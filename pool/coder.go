package pool

import (
	"math/big"
	"reflect"
	"time"

	"github.com/shoal-ipc/shoal/internal/codec"
)

// coder turns values of T into bytes and back.
type coder[T any] struct {
	*codec.Codec[T]
	foreign bool // code of the user's, or of shared objects, takes part: it may wait, or panic
}

func coderOf[T any]() (c coder[T], err error) {
	if c.Codec, err = codec.Of[T](); err != nil {
		return c, err
	}
	c.foreign = foreign(reflect.TypeFor[T](), make(map[reflect.Type]bool))
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

// encode writes v into small if it fits, else into memory that take gives, and returns how long it is. Memory
// that was taken is the caller's also after an error.
func (c *coder[T]) encode(v *T, small []byte, take func(n int) ([]byte, error)) (n int, large bool, err error) {
	n, err = c.Size(v)
	if err != nil {
		return 0, false, err
	}
	if n > len(small) {
		if small, err = take(n); err != nil {
			return 0, false, err
		}
		large = true
	}
	data, err := c.Append(small[:0:len(small)], v)
	if err == nil && len(data) > len(small) {
		err = errChanging
	}
	return len(data), large, err
}
