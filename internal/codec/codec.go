package codec

import (
	"errors"
	"fmt"
	"math"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"github.com/shoal-ipc/shoal/shm"
)

// MaxDepth is how many structs, maps, slices and arrays may lie in each other. (Runs of bytes do not
// count, nor do pointers.) It bounds the stack that decoding takes, to some tens of megabytes.
const MaxDepth = 10_000

// ErrDepth is returned by Marshal and Objects for a value that is nested deeper than MaxDepth, as
// a value with a pointer cycle is.
var ErrDepth = errors.New("codec: value contains itself or is nested deeper than 10000 levels")

var _ [MaxDepth]struct{} = [10000]struct{}{} // as ErrDepth says

// How values are encoded and decoded. The modes are immutable and safe for concurrent use.
var (
	encMode = must(cbor.EncOptions{
		Sort:          cbor.SortNone,          // fields in their order, which scan relies on
		ShortestFloat: cbor.ShortestFloatNone, // exact, and of a known length
		NaNConvert:    cbor.NaNConvertNone,
		InfConvert:    cbor.InfConvertNone,
		BigIntConvert: cbor.BigIntConvertShortest,
		Time:          cbor.TimeRFC3339Nano,
		IndefLength:   cbor.IndefLengthForbidden,
		NilContainers: cbor.NilContainerAsNull,
	}.EncMode())

	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   MaxDepth + 1,  // scan counts; this one lets a tag stand at the bottom
		MaxArrayElements:  math.MaxInt32, // the data's length is the limit
		MaxMapPairs:       math.MaxInt32,
		IndefLength:       cbor.IndefLengthForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8DecodeInvalid, // a Go string may hold any bytes
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode())
)

// must is for the modes: whether their options fit together depends on no input.
func must[T any](mode T, err error) T {
	if err != nil {
		panic(err)
	}
	return mode
}

// Marshal encodes v. A non-nil pointer is encoded as what it points to, so that Marshal(&x) spares the
// copy of x into an interface and can be decoded by Unmarshal(data, &x) all the same.
//
// The error wraps shm.ErrType if the type of v does not cross whole, ErrDepth if the value is too
// deep, or is that of a type's own MarshalBinary; a time.Time is refused if RFC 3339 has no way to
// write it (years beyond 9999, an offset with seconds), and a pointer to the zero time, which would
// arrive as nil.
func Marshal(v any) ([]byte, error) {
	s, rv, err := shapeOfValue(v)
	if err != nil {
		return nil, err
	}
	if s.times || s.height == endless {
		if err := measure(s, rv, 0); err != nil {
			return nil, err
		}
	}
	data, err := encMode.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("codec: encode %v: %w", rv.Type(), err)
	}
	return data, nil
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
	s, err := shapeOf(rv.Type())
	if err != nil {
		return err
	}
	rv.SetZero()
	if err := scan(s, data); err != nil {
		return fmt.Errorf("codec: decode %v: %w: %w", rv.Type(), shm.ErrCorrupt, err)
	}
	if err := decMode.Unmarshal(data, v); err != nil {
		rv.SetZero()
		if corrupt(err) {
			err = fmt.Errorf("%w: %w", shm.ErrCorrupt, err)
		}
		return fmt.Errorf("codec: decode %v: %w", rv.Type(), err)
	}
	return nil
}

// errTarget is the cause of an Unmarshal that was not given a variable.
var errTarget = errors.New("not a pointer to a variable")

// corrupt reports whether err speaks of the data, rather than being an error of a type's own decoder.
func corrupt(err error) bool {
	var (
		wrong *cbor.UnmarshalTypeError // a number that is too big
		twice *cbor.DupMapKeyError
	)
	return errors.As(err, &wrong) || errors.As(err, &twice)
}

// shapeOfValue is the shape of v, with one pointer taken off, and the value that has it.
func shapeOfValue(v any) (*shape, reflect.Value, error) {
	rv := reflect.ValueOf(v)
	if !rv.IsValid() {
		return nil, rv, fmt.Errorf("codec: %w: nil has no type", shm.ErrType)
	}
	if rv.Kind() == reflect.Ptr && !rv.IsNil() && !rv.Type().Implements(objectType) {
		rv = rv.Elem()
	}
	s, err := shapeOf(rv.Type())
	return s, rv, err
}
