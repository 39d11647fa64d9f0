package layout_test

import (
	"bytes"
	"reflect"
	"testing"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/proctest"
)

// TestPaddingRandomTypes builds types at random and compares with a walk over every single byte.
func TestPaddingRandomTypes(t *testing.T) {
	r := proctest.Rand(t)
	runs := 3000
	if testing.Short() {
		runs = 300
	}
	found := 0
	for range runs {
		typ := randomType(r, 4)
		size := int(typ.Size())
		means := make([]bool, size)
		markFields(typ, 0, means)
		p := layout.PaddingOf(typ)
		if has := bytes.Contains(unsafeBytes(means), []byte{0}); (p != nil) != has {
			t.Fatalf("PaddingOf(%v) = %v, has padding: %v", typ, p, has)
		}
		if p != nil {
			found++
		}
		n := r.IntN(4)
		mem := bytes.Repeat([]byte{0xaa}, n*size+16) // with a margin that must not change
		want := bytes.Clone(mem)
		for i := range n * size {
			if !means[i%size] {
				want[i] = 0
			}
		}
		if n == 1 {
			p.Clear(unsafe.Pointer(&mem[0]))
		} else {
			p.ClearN(unsafe.Pointer(&mem[0]), n, uintptr(size))
		}
		if !bytes.Equal(mem, want) {
			t.Fatalf("%d of %v:\n got %x\nwant %x", n, typ, mem, want)
		}
	}
	if found == 0 {
		t.Error("no type had padding")
	}
}

// markFields sets marks[i] if byte i belongs to a scalar.
func markFields(t reflect.Type, off uintptr, marks []bool) {
	switch t.Kind() {
	case reflect.Array:
		for i := range t.Len() {
			markFields(t.Elem(), off+uintptr(i)*t.Elem().Size(), marks)
		}
	case reflect.Struct:
		for i := range t.NumField() {
			markFields(t.Field(i).Type, off+t.Field(i).Offset, marks)
		}
	default:
		for i := range t.Size() {
			marks[off+i] = true
		}
	}
}

func TestPaddingBlankFields(t *testing.T) {
	type blank struct {
		_ [0]func()
		A uint8
		_ [7]byte
		B uint8
	}
	mem := bytes.Repeat([]byte{0xaa}, int(unsafe.Sizeof(blank{})))
	layout.PaddingOf(reflect.TypeFor[blank]()).Clear(unsafe.Pointer(&mem[0]))
	if want := []byte{0xaa, 0, 0, 0, 0, 0, 0, 0, 0xaa}; !bytes.Equal(mem[:9], want) {
		t.Errorf("got %x, want %x", mem, want)
	}
	if p := layout.PaddingOf(reflect.TypeFor[[5]struct{ A, B int32 }]()); p != nil {
		t.Errorf("padding %v in a struct without any", p)
	}
	var none *layout.Padding
	none.Clear(nil)
	none.ClearN(nil, 3, 8)
}

// TestPaddingOfStaysSmall would take the memory of millions of entries if arrays were written out.
func TestPaddingOfStaysSmall(t *testing.T) {
	type cell struct {
		V  uint64
		OK bool
	}
	typ := reflect.TypeFor[[1 << 10][1 << 15]cell]()
	if n := testing.AllocsPerRun(1, func() { layout.PaddingOf(typ) }); n > 20 {
		t.Errorf("PaddingOf(%v) allocates %v times", typ, n)
	}
}
