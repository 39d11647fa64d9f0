package codec

import (
	"math"
	"reflect"
	"sync"
)

// class is what a type is to the codec; it decides how its values look in CBOR.
type class uint8

const (
	boolean    class = iota // false or true
	signed                  // an integer
	unsigned                // an integer that is not negative
	single                  // a float of 32 bits
	double                  // a float of 64 bits
	text                    // a text string
	byteRun                 // a byte string; a slice may be null
	sequence                // a slice: an array or null
	array                   // an array of fixed length
	mapping                 // a map or null
	pointer                 // null, or as what it points to
	record                  // a struct: a map from its fields' names
	object                  // a pointer to a shared object: null or a byte string
	selfBinary              // what has MarshalBinary and UnmarshalBinary: a byte string
	selfCBOR                // what has MarshalCBOR and UnmarshalCBOR: anything
	timestamp               // time.Time: a text string, or null for the zero time
	bigInt                  // big.Int: an integer, or a tagged byte string
)

// endless is the height of types that contain themselves.
const endless = math.MaxInt

// shape is what the codec knows of a type; the shapes of a type's parts form a graph, with cycles where
// the type is recursive. A shape is immutable once shapeOf has returned it.
type shape struct {
	class  class
	length int     // of an array, also one of bytes; -1 for slices
	elem   *shape  // of what is in a pointer, sequence, array or mapping
	key    *shape  // of a mapping
	fields []field // of a record

	objects bool // values may hold shared objects
	times   bool // values may hold times
	height  int  // containers on the longest way down, this one included
}

// field is a field of a record, or of a struct embedded there.
type field struct {
	key      string // its name in CBOR, encoded
	index    []int  // as for reflect.Value.FieldByIndex
	shape    *shape
	optional bool // left out when it is zero
}

// container reports whether values of the shape count as a level of nesting.
func (s *shape) container() bool {
	switch s.class {
	case sequence, array, mapping, record:
		return true
	}
	return false
}

// each calls f for the parts of v that may have parts again, until one call fails.
func (s *shape) each(v reflect.Value, f func(*shape, reflect.Value) error) error {
	switch s.class {
	case pointer:
		if !v.IsNil() {
			return f(s.elem, v.Elem())
		}
	case sequence, array:
		for i := range v.Len() {
			if err := f(s.elem, v.Index(i)); err != nil {
				return err
			}
		}
	case mapping:
		for it := v.MapRange(); it.Next(); {
			if err := f(s.elem, it.Value()); err != nil {
				return err
			}
		}
	case record:
		for i := range s.fields {
			if err := f(s.fields[i].shape, v.FieldByIndex(s.fields[i].index)); err != nil {
				return err
			}
		}
	}
	return nil
}

// parts calls f for the shapes directly below s.
func (s *shape) parts(f func(*shape)) {
	if s.elem != nil {
		f(s.elem)
	}
	for i := range s.fields {
		f(s.fields[i].shape)
	}
}

// known is a result of compile: a shape, or why there is none.
type known struct {
	shape *shape
	err   error
}

// shapes has the result for each type that was asked for. It grows with the types that the program
// sends, not with their values.
var shapes sync.Map // of reflect.Type to known

// shapeOf is the shape of t, or the error of Check.
func shapeOf(t reflect.Type) (*shape, error) {
	k, ok := shapes.Load(t)
	if !ok {
		s, err := compile(t)
		k, _ = shapes.LoadOrStore(t, known{s, err})
	}
	return k.(known).shape, k.(known).err
}

// finish computes what depends on the whole graph.
func finish(nodes []*shape) {
	for changed := true; changed; { // until the news has gone round the cycles
		changed = false
		for _, s := range nodes {
			objects, times := s.class == object, s.class == timestamp
			s.parts(func(p *shape) {
				objects, times = objects || p.objects, times || p.times
			})
			if objects != s.objects || times != s.times {
				s.objects, s.times, changed = objects, times, true
			}
		}
	}
	for _, s := range nodes {
		setHeight(s)
	}
}

// setHeight computes s.height, which is 0 before and -1 while it works.
func setHeight(s *shape) int {
	switch {
	case s.height < 0:
		return endless
	case s.height > 0:
		return s.height
	}
	s.height = -1
	h := 0
	s.parts(func(p *shape) { h = max(h, setHeight(p)) })
	if h != endless && s.container() {
		h++
	}
	s.height = h
	return h
}
