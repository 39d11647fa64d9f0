package layout_test

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/proctest"
)

// TestNormaliseRandomTypes builds types at random and compares with a walk over every single byte.
func TestNormaliseRandomTypes(t *testing.T) {
	r := proctest.Rand(t)
	runs := 3000
	if testing.Short() {
		runs = 300
	}
	for range runs {
		typ := randomType(r, 4)
		bools := make([]bool, typ.Size())
		markBools(typ, 0, bools)
		b := layout.BoolsOf(typ)
		if has := bytes.Contains(unsafeBytes(bools), []byte{1}); (b != nil) != has {
			t.Fatalf("BoolsOf(%v) = %v, has bools: %v", typ, b, has)
		}

		n := r.IntN(4)
		stride := int(typ.Size())
		if r.IntN(2) == 0 {
			stride += r.IntN(20) // values may lie further apart than they are big
		}
		mem := make([]byte, n*stride+16) // with a margin that must not change
		for i := range mem {
			if mem[i] = byte(r.Uint32()); r.IntN(2) == 0 {
				mem[i] &= 1
			}
		}
		want := bytes.Clone(mem)
		for i := range n {
			for j, isBool := range bools {
				if k := i*stride + j; isBool && want[k] > 1 {
					want[k] = 1
				}
			}
		}
		if n == 1 {
			b.Normalise(unsafe.Pointer(&mem[0]))
		} else {
			b.NormaliseN(unsafe.Pointer(&mem[0]), n, uintptr(stride))
		}
		if !bytes.Equal(mem, want) {
			t.Fatalf("%d of %v, stride %d:\n got %x\nwant %x", n, typ, stride, mem, want)
		}
	}
}

func unsafeBytes(b []bool) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(b))), len(b))
}

// randomType is a type with many bools, at most depth levels deep.
func randomType(r *rand.Rand, depth int) reflect.Type {
	scalars := []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[bool](), reflect.TypeFor[uint8](), reflect.TypeFor[int16](),
		reflect.TypeFor[uint32](), reflect.TypeFor[float64](), reflect.TypeFor[complex64](), reflect.TypeFor[string](),
	}
	switch k := r.IntN(4); {
	case depth == 0 || k == 0:
		return scalars[r.IntN(len(scalars))]
	case k == 1:
		return reflect.ArrayOf(r.IntN(12), randomType(r, depth-1))
	default:
		var fields []reflect.StructField
		for i := range r.IntN(6) {
			fields = append(fields, reflect.StructField{Name: string(rune('A' + i)), Type: randomType(r, depth-1)})
		}
		return reflect.StructOf(fields)
	}
}

// markBools sets marks[i] if byte i is a bool.
func markBools(t reflect.Type, off uintptr, marks []bool) {
	switch t.Kind() {
	case reflect.Bool:
		marks[off] = true
	case reflect.Array:
		for i := range t.Len() {
			markBools(t.Elem(), off+uintptr(i)*t.Elem().Size(), marks)
		}
	case reflect.Struct:
		for i := range t.NumField() {
			markBools(t.Field(i).Type, off+t.Field(i).Offset, marks)
		}
	}
}

// TestNormaliseEveryByte puts every value into every place of runs of every length up to 20.
func TestNormaliseEveryByte(t *testing.T) {
	b := layout.BoolsOf(reflect.TypeFor[bool]())
	for n := range 21 {
		for at := range n {
			for c := range 256 {
				mem := make([]byte, n+1)
				mem[at], mem[n] = byte(c), 0xee
				want := bytes.Clone(mem)
				want[at] = byte(min(c, 1))
				b.NormaliseN(unsafe.Pointer(&mem[0]), n, 1)
				if !bytes.Equal(mem, want) {
					t.Fatalf("byte %#x at %d of %d: got %x, want %x", c, at, n, mem, want)
				}
			}
		}
	}
}

// TestBadBool shows the reason for all this, on a copy that was normalised.
func TestBadBool(t *testing.T) {
	type flags struct {
		n  uint32
		ok bool
	}
	raw := [8]byte{4: 0xc8}
	f := *(*flags)(unsafe.Pointer(&raw))
	layout.BoolsOf(reflect.TypeFor[flags]()).Normalise(unsafe.Pointer(&f))
	i := 0
	if f.ok {
		i = 1
	}
	if a := [2]uint64{10, 11}; a[i] != 11 || f.n != 0 {
		t.Errorf("a[%d] = %d, n = %d", i, a[i], f.n)
	}
}

// TestBoolsOfStaysSmall would take the memory of millions of entries if arrays were written out.
func TestBoolsOfStaysSmall(t *testing.T) {
	type cell struct {
		V  uint64
		OK bool
	}
	typ := reflect.TypeFor[[1 << 10][1 << 15]cell]()
	if n := testing.AllocsPerRun(1, func() { layout.BoolsOf(typ) }); n > 20 {
		t.Errorf("BoolsOf(%v) allocates %v times", typ, n)
	}
}

func TestNilBools(t *testing.T) {
	b := layout.BoolsOf(reflect.TypeFor[struct{ A, B int }]())
	if b != nil {
		t.Fatalf("BoolsOf a type without bools = %v", b)
	}
	b.Normalise(nil)
	b.NormaliseN(nil, 3, 8)
}

func BenchmarkNormalise(b *testing.B) {
	type cell struct {
		V  uint64
		OK bool
	}
	for _, c := range []struct {
		name string
		t    reflect.Type
	}{
		{"struct", reflect.TypeFor[cell]()},
		{"run=4096", reflect.TypeFor[[4096]bool]()},
		{"cells=4096", reflect.TypeFor[[4096]cell]()},
	} {
		b.Run(c.name, func(b *testing.B) {
			bools, p := layout.BoolsOf(c.t), reflect.New(c.t).UnsafePointer()
			b.SetBytes(int64(c.t.Size()))
			for b.Loop() {
				bools.Normalise(p)
			}
		})
	}
}
