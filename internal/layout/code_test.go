package layout_test

import (
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
)

// A code's type has the signature of every type that has the code, so that both have one object in shared
// memory.
func TestCodes(t *testing.T) {
	type celsius float32
	word := map[uintptr][2]byte{4: {'i', 'I'}, 8: {'q', 'Q'}}[reflect.TypeFor[int]().Size()]
	for _, c := range []struct {
		typ  reflect.Type
		code byte
	}{
		{reflect.TypeFor[int8](), 'b'}, {reflect.TypeFor[uint8](), 'B'}, {reflect.TypeFor[int16](), 'h'},
		{reflect.TypeFor[uint16](), 'H'}, {reflect.TypeFor[rune](), 'i'}, {reflect.TypeFor[uint32](), 'I'},
		{reflect.TypeFor[int64](), 'q'}, {reflect.TypeFor[uint64](), 'Q'}, {reflect.TypeFor[celsius](), 'f'},
		{reflect.TypeFor[float64](), 'd'}, {reflect.TypeFor[int](), word[0]}, {reflect.TypeFor[uint](), word[1]},
		{reflect.TypeFor[bool](), 0}, {reflect.TypeFor[uintptr](), 0}, {reflect.TypeFor[complex64](), 0},
		{reflect.TypeFor[[1]int32](), 0}, {reflect.TypeFor[struct{ X int32 }](), 0}, {reflect.TypeFor[string](), 0},
		{reflect.TypeFor[error](), 0},
	} {
		code := layout.CodeOfType(c.typ)
		if code != c.code {
			t.Errorf("the code of %v is %q, want %q", c.typ, code, c.code)
		}
		if of := layout.TypeOfCode(code); code != 0 && layout.Hash(of) != layout.Hash(c.typ) {
			t.Errorf("code %q of %v stands for %v", code, c.typ, of)
		}
	}
	for c := range byte(255) {
		if of := layout.TypeOfCode(c); of != nil && layout.Hash(layout.TypeOfCode(layout.CodeOfType(of))) != layout.Hash(of) {
			t.Errorf("code %q stands for %v, whose code %q stands for something else", c, of, layout.CodeOfType(of))
		}
	}
}
