package codec

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"time"
	"unsafe"

	"github.com/shoal-ipc/shoal/shm"
)

// What types do themselves. Their methods never see a variable of the caller's, nor data: both may be gone while
// they still hold on to it. (A variable may lie on the stack, where the compiler would not put it if it could see
// that its address goes to a method; data may lie in shared memory.)

func timeAt(p unsafe.Pointer) *time.Time { return (*time.Time)(p) }
func bigAt(p unsafe.Pointer) *big.Int    { return (*big.Int)(p) }

// longestTime is the length of the longest text of a time.
const longestTime = len("2006-01-02T15:04:05.999999999-07:00")

// errZeroTime is returned for what would arrive as nil.
var errZeroTime = fmt.Errorf("codec: %w: pointer to the zero time: it would arrive as nil: use nil", shm.ErrType)

// appendTime appends the text of t. It refuses offsets that RFC 3339 cannot express and that package time would
// round, which would move the instant.
func appendTime(b []byte, t *time.Time) ([]byte, error) {
	if _, offset := t.Zone(); offset%60 != 0 {
		return b, fmt.Errorf("codec: %w: time %v: its offset from UTC has seconds: use t.UTC()", shm.ErrType, *t)
	}
	b, err := t.AppendText(b)
	if err != nil {
		err = fmt.Errorf("codec: time %v: %w", *t, err)
	}
	return b, err
}

// appendOwn appends the value of shape s at p.
func appendOwn(b []byte, s *shape, p unsafe.Pointer, depth int) ([]byte, error) {
	switch s.class {
	case timestamp:
		t := timeAt(p)
		if t.IsZero() {
			return append(b, itemNull), nil
		}
		var buf [longestTime]byte
		txt, err := appendTime(buf[:0], t)
		if err != nil {
			return b, err
		}
		return append(appendHead(b, majorText, uint64(len(txt))), txt...), nil
	case bigInt:
		major, n, long := splitBig(bigAt(p))
		if long == nil {
			return appendHead(b, major, n), nil
		}
		size := (long.BitLen() + 7) / 8
		b = appendHead(b, majorTag, tagBigPositive+uint64(major))
		b = appendHead(b, majorBytes, uint64(size))
		b = append(b, make([]byte, size)...)
		long.FillBytes(b[len(b)-size:])
		return b, nil
	}
	data, err := own(s, p, depth)
	switch {
	case err != nil:
		return b, err
	case s.class == object && *(*unsafe.Pointer)(p) == nil:
		return append(b, itemNull), nil
	case s.class != selfCBOR:
		b = appendHead(b, majorBytes, uint64(len(data)))
	}
	return append(b, data...), nil
}

// sizeOfOwn is how many bytes appendOwn appends.
func sizeOfOwn(s *shape, p unsafe.Pointer, depth int) (int, error) {
	switch s.class {
	case timestamp:
		t := timeAt(p)
		if t.IsZero() {
			return 1, nil
		}
		var buf [longestTime]byte
		txt, err := appendTime(buf[:0], t)
		return headSize(uint64(len(txt))) + len(txt), err
	case bigInt:
		_, n, long := splitBig(bigAt(p))
		if long == nil {
			return headSize(n), nil
		}
		size := (long.BitLen() + 7) / 8
		return 1 + headSize(uint64(size)) + size, nil
	}
	data, err := own(s, p, depth)
	switch {
	case err != nil:
		return 0, err
	case s.class == object && *(*unsafe.Pointer)(p) == nil:
		return 1, nil
	case s.class == selfCBOR:
		return len(data), nil
	}
	return headSize(uint64(len(data))) + len(data), nil
}

// splitBig is the major type and the number by which x is written, or the number as a big.Int if it is too long.
func splitBig(x *big.Int) (major byte, n uint64, long *big.Int) {
	if x.Sign() < 0 {
		major, x = majorNegInt, new(big.Int).Not(x)
	}
	if x.IsUint64() {
		return major, x.Uint64(), nil
	}
	return major, 0, x
}

// own is how the value of shape s at p encodes itself; nil for an object that is nil.
func own(s *shape, p unsafe.Pointer, depth int) ([]byte, error) {
	switch s.class {
	case object:
		if *(*unsafe.Pointer)(p) == nil {
			return nil, nil
		}
		return reflect.NewAt(s.typ, p).Elem().Interface().(encoding.BinaryMarshaler).MarshalBinary()
	case selfBinary:
		return copyAt(s, p).Interface().(encoding.BinaryMarshaler).MarshalBinary()
	}
	data, err := copyAt(s, p).Interface().(marshalCBOR).MarshalCBOR()
	if err != nil {
		return nil, err
	}
	d := decoder{data: data}
	if err := d.skip(depth); err != nil || d.left() != 0 {
		return nil, fmt.Errorf("codec: MarshalCBOR of %v gave no single item of definite length: %w", s.typ,
			errors.Join(err, errHead))
	}
	return data, nil
}

// copyAt is a pointer to a copy of the value at p.
func copyAt(s *shape, p unsafe.Pointer) reflect.Value {
	x := reflect.New(s.typ)
	x.Elem().Set(reflect.NewAt(s.typ, p).Elem())
	return x
}

// own decodes what a type does itself into the variable at p.
func (d *decoder) own(s *shape, p unsafe.Pointer, depth int) error {
	switch s.class {
	case timestamp:
		return d.time(timeAt(p))
	case bigInt:
		return d.bigInt(bigAt(p))
	case selfCBOR:
		from := d.pos
		if err := d.skip(depth); err != nil {
			return err
		}
		item := decoder{data: bytes.Clone(d.data[from:d.pos])}
		if item.skip(depth) != nil || item.left() != 0 { // it has changed meanwhile
			return errHead
		}
		x := reflect.New(s.typ)
		if err := x.Interface().(unmarshalCBOR).UnmarshalCBOR(item.data); err != nil {
			return foreign{err}
		}
		reflect.NewAt(s.typ, p).Elem().Set(x.Elem())
		return nil
	}
	if s.class == object && d.item(itemNull) {
		return nil
	}
	b, err := d.string(majorBytes)
	if err != nil {
		return err
	}
	t := s.typ
	if s.class == object {
		t = t.Elem()
	}
	x := reflect.New(t)
	if err := x.Interface().(encoding.BinaryUnmarshaler).UnmarshalBinary(append([]byte{}, b...)); err != nil {
		return foreign{err}
	}
	if s.class == object {
		*(*unsafe.Pointer)(p) = x.UnsafePointer()
	} else {
		reflect.NewAt(s.typ, p).Elem().Set(x.Elem())
	}
	return nil
}

// foreign is an error of a type's own method.
type foreign struct{ error }

func (d *decoder) time(t *time.Time) error {
	if d.item(itemNull) {
		return nil
	}
	b, err := d.string(majorText)
	if err != nil {
		return err
	}
	if len(b) > longestTime {
		return errCount
	}
	var buf [longestTime]byte
	if t.UnmarshalText(buf[:copy(buf[:], b)]) != nil {
		return errWrong
	}
	return nil
}

func (d *decoder) bigInt(x *big.Int) error {
	m, n, err := d.head()
	switch {
	case err != nil:
		return err
	case m == majorUint || m == majorNegInt:
		x.SetUint64(n)
	case m == majorTag && (n == tagBigPositive || n == tagBigNegative):
		m = byte(n - tagBigPositive)
		b, err := d.string(majorBytes)
		if err != nil {
			return err
		}
		x.SetBytes(b)
	default:
		return errWrong
	}
	if m == majorNegInt {
		x.Not(x)
	}
	return nil
}
