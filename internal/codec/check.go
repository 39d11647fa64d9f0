package codec

import (
	"encoding"
	"errors"
	"fmt"
	"math/big"
	"os"
	"reflect"
	"time"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/shm"
)

var (
	objectType        = reflect.TypeFor[shm.Object]()
	timeType          = reflect.TypeFor[time.Time]()
	bigIntType        = reflect.TypeFor[big.Int]()
	binaryMarshaler   = reflect.TypeFor[encoding.BinaryMarshaler]()
	binaryUnmarshaler = reflect.TypeFor[encoding.BinaryUnmarshaler]()
	cborMarshaler     = reflect.TypeFor[marshalCBOR]()
	cborUnmarshaler   = reflect.TypeFor[unmarshalCBOR]()
	zeroer            = reflect.TypeFor[interface{ IsZero() bool }]()
)

// marshalCBOR and unmarshalCBOR are what types have that bring their own CBOR, as the packages that read and
// write it agree.
type (
	marshalCBOR   interface{ MarshalCBOR() ([]byte, error) }
	unmarshalCBOR interface{ UnmarshalCBOR([]byte) error }
)

// Check returns nil if values of t cross whole (see the package documentation); otherwise the error
// wraps shm.ErrType and says which part of t stands in the way and what to do, as in "Job.Done:
// channel: use a pipe or a queue". Accepted are
//
//   - bools, integers, floating-point and complex numbers, strings;
//   - arrays, slices, maps with such keys, pointers, and structs all of whose fields are exported, made
//     of accepted types; also recursive ones;
//   - pointers to shared objects;
//   - time.Time, big.Int, and types that encode themselves.
//
// Tags named cbor, or else json, rename fields. Refused are tags that leave a field out ("-", or an
// omitempty that would turn an empty slice into nil), names that occur twice, embedded pointers, and
// pointers to pointers, slices and maps, since CBOR knows one kind of nil only.
func Check(t reflect.Type) error {
	_, err := planOf(t)
	return err
}

// compile makes the plan for t.
func compile(t reflect.Type) (*plan, error) {
	if t == nil {
		return nil, refuse("nil", "has no type")
	}
	c := compiler{seen: make(map[reflect.Type]*shape)}
	s, err := c.compile(t, rootName(t))
	if err != nil {
		return nil, err
	}
	finish(c.nodes)
	p := &plan{shape: s}
	switch {
	case s.plain:
		p.raw = rawOf(s)
	case s.class == pointer && s.elem.plain:
		p.raw, p.indirect = rawOf(s.elem), true
	}
	return p, nil
}

// rootName is how paths begin: the name of the type, or of what it points to, without its package.
func rootName(t reflect.Type) string {
	if t.Kind() == reflect.Ptr {
		t = t.Elem()
	}
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}

// refuse is the error of Check.
func refuse(path, why string) error {
	return fmt.Errorf("%w: %s: %s", shm.ErrType, path, why)
}

// compiler compiles one type and its parts.
type compiler struct {
	seen  map[reflect.Type]*shape
	nodes []*shape
}

func (c *compiler) compile(t reflect.Type, path string) (*shape, error) {
	if s := c.seen[t]; s != nil {
		return s, nil // maybe one that is still being filled in: the type contains itself
	}
	s := &shape{typ: t, size: t.Size(), length: -1}
	c.seen[t] = s
	c.nodes = append(c.nodes, s)
	if err := c.fill(s, t, path); err != nil {
		return nil, err
	}
	s.plain = plain(s)
	return s, nil
}

// plain reports whether values of s are plain data, so that their memory says all: one that encodes itself is
// not, whatever it is made of. What s consists of has been compiled, unless the type contains itself.
func plain(s *shape) bool {
	switch s.class {
	case boolean, signed, unsigned, single, double:
		return true
	case run:
		return s.length >= 0 && layout.Plain(s.typ) == nil
	case record:
		for i := range s.fields {
			if !s.fields[i].shape.plain {
				return false
			}
		}
		return layout.Plain(s.typ) == nil // there may be more in fields named "_"
	}
	return false
}

func (c *compiler) fill(s *shape, t reflect.Type, path string) (err error) {
	if done, err := c.special(s, t, path); done || err != nil {
		return err
	}
	switch t { // what beginners try
	case reflect.TypeFor[shm.Segment]():
		return refuse(path, "segment: pass an object that lies in it: its Segment method gives the segment there")
	case reflect.TypeFor[os.File]():
		return refuse(path, "open file: pass it in the Files of the process's Options")
	}
	switch k := t.Kind(); k {
	case reflect.Bool:
		s.class = boolean
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		s.class = signed
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		s.class = unsigned
	case reflect.Float32:
		s.class = single
	case reflect.Float64:
		s.class = double
	case reflect.Complex64, reflect.Complex128:
		s.class, s.length, s.run = run, 1, runOf(s) // a run of one
	case reflect.String:
		s.class = text

	case reflect.Slice, reflect.Array:
		s.class = sequence
		if k == reflect.Array {
			s.class, s.length = array, t.Len()
		}
		if t.Elem().Kind() == reflect.Uint8 {
			s.class, s.run = run, runForm{size: 1}
			return nil
		}
		if s.elem, err = c.compile(t.Elem(), path+"[]"); err != nil {
			return err
		}
		if s.elem.plain {
			s.class, s.run, s.elem = run, runOf(s.elem), nil
		}
		return nil
	case reflect.Map:
		s.class = mapping
		if s.key, err = c.compile(t.Key(), path+"[key]"); err != nil {
			return err
		}
		if s.key.class > text {
			return refuse(path+"[key]", "map keys are strings, bools, integers or floating-point numbers: "+
				"use one of these, or a slice of pairs")
		}
		s.elem, err = c.compile(t.Elem(), path+"[]")
		return err
	case reflect.Struct:
		s.class = record
		return c.fillRecord(s, t, path)
	case reflect.Ptr:
		s.class = pointer
		if s.elem, err = c.compile(t.Elem(), path); err != nil {
			return err
		}
		switch s.elem.class {
		case pointer, object, sequence, mapping:
			return refuse(path, fmt.Sprintf("pointer to a %v: a nil in it would arrive as a nil pointer: "+
				"use the %[1]v itself", t.Elem().Kind()))
		case run:
			if s.elem.length < 0 {
				return refuse(path, "pointer to a slice: a nil in it would arrive as a nil pointer: "+
					"use the slice itself")
			}
		}
		return nil

	case reflect.Interface:
		if t == reflect.TypeFor[error]() {
			return refuse(path, "error: the receiver cannot know its type: send its text")
		}
		return refuse(path, "interface: the receiver cannot know what is in it: use a concrete type")
	case reflect.Chan:
		return refuse(path, "channel: it works within one process only: use a ring in a shared block")
	case reflect.Func:
		return refuse(path, "function: it exists within one process only: send a name for it")
	case reflect.Uintptr, reflect.UnsafePointer:
		return refuse(path, k.String()+": an address means nothing in another process: use uint64 for numbers")
	default:
		return refuse(path, k.String()+" is not supported")
	}
	return nil
}

// special fills in s if t brings its own encoding, and reports whether it does.
func (c *compiler) special(s *shape, t reflect.Type, path string) (bool, error) {
	switch t.Kind() {
	case reflect.Interface:
		return false, nil
	case reflect.Ptr:
		if !t.Implements(objectType) {
			return false, nil // its element may encode itself
		}
		s.class = object
		return true, objectWithin(t.Elem(), path)
	}
	if t == timeType {
		s.class = timestamp
		return true, nil
	}
	if t == bigIntType {
		s.class = bigInt
		return true, nil
	}
	p := reflect.PointerTo(t)
	if p.Implements(objectType) {
		if err := objectWithin(t, path); err != nil {
			return true, err
		}
		return true, refuse(path, fmt.Sprintf("shared object: it cannot be copied: use *%v", t))
	}
	for _, pair := range []struct {
		class  class
		to, of reflect.Type
		name   string
	}{
		{selfCBOR, cborMarshaler, cborUnmarshaler, "CBOR"},
		{selfBinary, binaryMarshaler, binaryUnmarshaler, "Binary"},
	} {
		switch to, of := p.Implements(pair.to), p.Implements(pair.of); {
		case to && of:
			s.class = pair.class
			return true, promoted(t, pair.to, pair.of, path)
		case to:
			return true, refuse(path, fmt.Sprintf("has Marshal%s but not Unmarshal%[1]s: add it", pair.name))
		case of:
			return true, refuse(path, fmt.Sprintf("has Unmarshal%s but not Marshal%[1]s: add it", pair.name))
		}
	}
	return false, nil
}

// objectWithin refuses a struct t that is a shared object only because it embeds one: its other fields
// would be lost, and an embedded pointer would be nil when UnmarshalBinary is called on it. The object
// types themselves may embed each other by value, and have no exported fields besides.
func objectWithin(t reflect.Type, path string) error {
	if t.Kind() != reflect.Struct {
		return nil
	}
	embedded, others := "", false
	for i := range t.NumField() {
		f := t.Field(i)
		isPtr := f.Type.Kind() == reflect.Ptr
		switch isObject := isPtr && f.Type.Implements(objectType) ||
			!isPtr && reflect.PointerTo(f.Type).Implements(objectType); {
		case f.Anonymous && isObject:
			embedded = f.Name
			others = others || isPtr
		case f.IsExported():
			others = true
		}
	}
	if embedded != "" && others {
		return refuse(path+"."+embedded, "embedded shared object: give the field a name, and make it a pointer")
	}
	return nil
}

// promoted refuses a struct t whose methods may be those of an embedded field, which would leave the
// other fields out. (Reflection does not tell whether t has methods of its own on top.)
func promoted(t, to, of reflect.Type, path string) error {
	if t.Kind() != reflect.Struct {
		return nil
	}
	fields, from := 0, ""
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" || f.Type.Size() == 0 {
			continue
		}
		fields++
		p := f.Type
		if p.Kind() != reflect.Ptr && p.Kind() != reflect.Interface {
			p = reflect.PointerTo(p)
		}
		if f.Anonymous && (p.Implements(to) || p.Implements(of)) {
			from = f.Name
			if f.Type.Kind() != reflect.Struct {
				fields++ // nothing can be decoded into an embedded pointer or interface that is nil
			}
		}
	}
	if from != "" && fields > 1 {
		return refuse(path+"."+from, "embedded type that encodes itself, and not what is beside it: give the field a name")
	}
	return nil
}

// errTag is the cause of a tag that the encoder would not take.
var errTag = errors.New("keyasint wants an integer as the name")
