package layout

import (
	"encoding"
	"hash/fnv"
	"reflect"
	"strconv"
)

// Signature is the canonical text of what the bytes of a t mean; the package documentation has its
// grammar.
func Signature(t reflect.Type) string {
	var s signer
	s.write(t)
	return string(s.text)
}

// Hash is the 64-bit FNV-1a hash of t's signature.
func Hash(t reflect.Type) uint64 {
	h := fnv.New64a()
	h.Write([]byte(Signature(t))) // never fails
	return h.Sum64()
}

// signer writes one signature.
type signer struct {
	text []byte
	seen map[reflect.Type]int // the number of each type that the text can refer back to
}

func (s *signer) write(t reflect.Type) {
	if fixed(t) {
		s.fixed(t)
	} else {
		s.loose(t)
	}
}

// fixed reports whether t is of fixed size and has neither pointers nor addresses. Unlike Plain it
// lets sync/atomic pass, so that headers in shared memory have signatures that tests can pin.
func fixed(t reflect.Type) bool {
	switch t.Kind() {
	case reflect.Array:
		return t.Size() == 0 || fixed(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if ft := t.Field(i).Type; ft.Size() != 0 && !fixed(ft) {
				return false
			}
		}
		return true
	}
	return isScalar(t.Kind())
}

func (s *signer) string(x string) { s.text = append(s.text, x...) }
func (s *signer) number(n int)    { s.text = strconv.AppendInt(s.text, int64(n), 10) }

// fixed writes a type of fixed size.
func (s *signer) fixed(t reflect.Type) {
	if a := atomicValue(t); a != nil {
		t = a
	}
	switch k := t.Kind(); k {
	case reflect.Array:
		s.string("[")
		s.number(t.Len())
		s.string("]")
		s.write(t.Elem())
	case reflect.Struct:
		s.string("{")
		s.fields(t, 0, true, true)
		s.string("}")
		s.number(int(t.Size()))
	default:
		s.string(scalarLetter(k))
		s.number(int(t.Size()))
	}
}

// fields writes the fields of a struct that lies at offset base of what they are written in, and
// reports whether the next field is the first. Those of a fixed struct get offsets.
func (s *signer) fields(t reflect.Type, base int, first, offsets bool) bool {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Name == "_" || f.Type.Size() == 0 {
			continue
		}
		off := base + int(f.Offset)
		if f.Anonymous && f.Type.Kind() == reflect.Struct && atomicValue(f.Type) == nil && !encodesItself(f.Type) {
			first = s.fields(f.Type, off, first, offsets)
			continue
		}
		if !first {
			s.string(",")
		}
		first = false
		s.string(f.Name)
		if offsets {
			s.string("@")
			s.number(off)
		}
		s.string(":")
		s.write(f.Type)
	}
	return first
}

// loose writes a type that is not of fixed size.
func (s *signer) loose(t reflect.Type) {
	if encodesItself(t) {
		s.string("opaque")
		return
	}
	k := t.Kind()
	switch k {
	case reflect.Array, reflect.Slice, reflect.Ptr, reflect.Map, reflect.Struct:
		if t.Name() == "" {
			break // only a defined type can contain itself
		}
		if n, ok := s.seen[t]; ok {
			s.string("#")
			s.number(n)
			return
		}
		if s.seen == nil {
			s.seen = make(map[reflect.Type]int)
		}
		s.seen[t] = len(s.seen)
	}
	switch k {
	case reflect.Array:
		s.string("[")
		s.number(t.Len())
		s.string("]")
		s.write(t.Elem())
	case reflect.Slice:
		s.string("[]")
		s.write(t.Elem())
	case reflect.Ptr:
		s.string("*")
		s.write(t.Elem())
	case reflect.Map:
		s.string("map[")
		s.write(t.Key())
		s.string("]")
		s.write(t.Elem())
	case reflect.Struct:
		s.string("{")
		s.fields(t, 0, true, false)
		s.string("}")
	case reflect.UnsafePointer:
		s.string("pointer")
	default: // string, interface, func, chan, uintptr
		s.string(k.String())
	}
}

func scalarLetter(k reflect.Kind) string {
	switch {
	case k == reflect.Bool:
		return "b"
	case k <= reflect.Int64:
		return "i"
	case k <= reflect.Uint64:
		return "u"
	case k <= reflect.Float64:
		return "f"
	}
	return "c"
}

// atomicValue is the type of what a type of sync/atomic holds; nil if t is not one of these.
func atomicValue(t reflect.Type) reflect.Type {
	if t.PkgPath() != "sync/atomic" || t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		if f := t.Field(i); f.Name == "v" && isScalar(f.Type.Kind()) {
			return f.Type
		}
	}
	return nil
}

var (
	binaryMarshaler = reflect.TypeFor[encoding.BinaryMarshaler]()
	textMarshaler   = reflect.TypeFor[encoding.TextMarshaler]()
)

// encodesItself reports whether t or *t, not of fixed size, brings its own encoding, so that what it is
// made of is nobody else's concern. For a struct of fixed size its memory is the encoding.
func encodesItself(t reflect.Type) bool {
	if t.Kind() == reflect.Ptr || t.Kind() == reflect.Interface || fixed(t) {
		return false
	}
	p := reflect.PointerTo(t)
	return p.Implements(binaryMarshaler) || p.Implements(textMarshaler)
}
