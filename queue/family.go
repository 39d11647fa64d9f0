package queue

import (
	"hash/fnv"
	"reflect"
	"strconv"
)

// family is a hash of what types have in common whose encoded values can be decoded as each other's, but for their structs, which
// may differ in fields: so a queue of strings is not opened as one of numbers, and one whose struct has grown a field is.
func family(t reflect.Type) uint64 {
	h := fnv.New64a()
	h.Write(appendFamily([]byte("encoded "), t, 0))
	return h.Sum64()
}

// appendFamily appends the name of t's family. Deeper than some levels all are alike, so that types that contain themselves have an end.
func appendFamily(b []byte, t reflect.Type, depth int) []byte {
	if depth > 8 {
		return b
	}
	switch t.Kind() {
	case reflect.Struct:
		return append(b, "struct"...)
	case reflect.Pointer:
		return appendFamily(b, t.Elem(), depth+1)
	case reflect.Slice, reflect.Array:
		return appendFamily(append(b, "[]"...), t.Elem(), depth+1)
	case reflect.Map:
		b = appendFamily(append(b, "map["...), t.Key(), depth+1)
		return appendFamily(append(b, ']'), t.Elem(), depth+1)
	case reflect.Int, reflect.Uint: // of 64 bits in every encoding
		return append(b, "number"...)
	}
	return append(b, strconv.Itoa(int(t.Kind()))...)
}
