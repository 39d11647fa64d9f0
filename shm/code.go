package shm

import (
	"reflect"

	"github.com/shoal-ipc/shoal/internal/layout"
)

// Code is one of the type codes of Python's modules array and multiprocessing, which stand for types of C: c
// b B u h H i I l L q Q f d, with the sizes of Linux x86-64 on all systems. c is a char (a byte in Go), u a
// wchar_t (a rune), b B h H i I l L q Q are integers of 1, 1, 2, 2, 4, 4, 8, 8, 8 and 8 bytes, of which the
// capitals have no sign, f and d are float32 and float64.
type Code byte

// Size is the number of bytes of a C value, 0 for an unknown code.
func (c Code) Size() int {
	if t := layout.TypeOfCode(byte(c)); t != nil {
		return int(t.Size())
	}
	return 0
}

// CodeOf is the code that stands for T ('d' for float64, 'q' for int64, …), 0 if there is none. Where several
// do it is that of the number: 'B' for byte, 'i' for rune, 'q' and 'Q' for 64 bits.
func CodeOf[T any]() Code { return Code(layout.CodeOfType(reflect.TypeFor[T]())) }

// hash is that of the Go type for which c stands, 0 for an unknown code.
func (c Code) hash() uint64 {
	if t := layout.TypeOfCode(byte(c)); t != nil {
		return layout.Hash(t)
	}
	return 0
}

// CodeOfRef is the code of the object that r is a handle of, as it was when r was attached: 0 if it has none.
// It is for types that open objects of any code (Kind.AnyCode).
func CodeOfRef(r *Ref) Code { return r.code }
