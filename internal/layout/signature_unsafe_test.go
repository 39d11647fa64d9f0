package layout_test

import (
	"reflect"
	"structs"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/layout"
)

type Celsius float32

type list struct {
	Next *list
	V    int32
}

type header struct {
	_     structs.HostLayout
	magic [8]byte
	state atomic.Uint64
	flag  atomic.Bool
	_     [4]byte
}

// TestSignature pins the format: programs in other languages compute it.
func TestSignature(t *testing.T) {
	type base struct{ A, B uint8 }
	for _, c := range []struct {
		t    reflect.Type
		want string
		hash uint64 // 0: not pinned
	}{
		{reflect.TypeFor[bool](), "b1", 0x08a60307b54d7e7c},
		{reflect.TypeFor[float64](), "f8", 0x08988407b5421c53},
		{reflect.TypeFor[int64](), "i8", 0x08b70a07b55bfd94},
		{reflect.TypeFor[[4]int32](), "[4]i4", 0x689d4f46ec32ea20},
		{reflect.TypeFor[struct {
			At [2]struct{ X, Y float32 }
		}](), "{At@0:[2]{X@0:f4,Y@4:f4}8}16", 0x0ac6561bbfb9cd4a},
		{reflect.TypeFor[struct {
			A uint8
			_ [7]byte
			C complex64
		}](), "{A@0:u1,C@8:c8}16", 0xf2fc0be35feab161},

		{reflect.TypeFor[complex128](), "c16", 0},
		{reflect.TypeFor[time.Duration](), "i8", 0x08b70a07b55bfd94},
		{reflect.TypeFor[struct {
			base
			C uint16
			Celsius
		}](), "{A@0:u1,B@1:u1,C@2:u2,Celsius@4:f4}8", 0},
		{reflect.TypeFor[struct {
			C uint8
			base
		}](), "{C@0:u1,A@1:u1,B@2:u1}3", 0},
		{reflect.TypeFor[struct{}](), "{}0", 0},
		{reflect.TypeFor[struct {
			X uint32
			_ struct{}
			E [0]uint64
		}](), "{X@0:u4}" + trailing, 0},
		{reflect.TypeFor[header](), "{magic@0:[8]u1,state@8:u8,flag@16:u4}24", 0},

		{reflect.TypeFor[string](), "string", 0},
		{reflect.TypeFor[[]point](), "[]{X@0:f8,Y@8:f8}16", 0},
		{reflect.TypeFor[*list](), "*{Next:*#0,V:i4}", 0},
		{reflect.TypeFor[map[string]list](), "map[string]{Next:*#0,V:i4}", 0},
		{reflect.TypeFor[struct {
			A, B list
			T    time.Time
			U    *time.Time
			S    string
			E    error
		}](), "{A:{Next:*#0,V:i4},B:#0,T:opaque,U:*opaque,S:string,E:interface}", 0},
		{reflect.TypeFor[struct {
			F func()
			C chan int
			P unsafe.Pointer
			U uintptr
		}](), "{F:func,C:chan,P:pointer,U:uintptr}", 0},
	} {
		if got := layout.Signature(c.t); got != c.want {
			t.Errorf("Signature(%v) = %s, want %s", c.t, got, c.want)
		}
		if got := layout.Hash(c.t); c.hash != 0 && got != c.hash {
			t.Errorf("Hash(%v) = %#016x, want %#016x", c.t, got, c.hash)
		}
	}
}

// trailing is the size of the struct above: the empty array is aligned as its elements would be, and a byte
// follows it.
var trailing = map[int]string{4: "8", 8: "16"}[reflect.TypeFor[uint64]().FieldAlign()]

// TestSignatureOfInt checks that int and uint are written by the size they have here.
func TestSignatureOfInt(t *testing.T) {
	type s struct{ N int }
	i, u, n := "i8", "u8", "{N@0:i8}8"
	if unsafe.Sizeof(int(0)) == 4 {
		i, u, n = "i4", "u4", "{N@0:i4}4"
	}
	for typ, want := range map[reflect.Type]string{
		reflect.TypeFor[int](): i, reflect.TypeFor[uint](): u, reflect.TypeFor[s](): n,
	} {
		if got := layout.Signature(typ); got != want {
			t.Errorf("Signature(%v) = %s, want %s", typ, got, want)
		}
	}
}

// TestHashTellsApart checks that whatever changes what bytes mean changes the hash.
func TestHashTellsApart(t *testing.T) {
	types := []reflect.Type{
		reflect.TypeFor[struct{ A, B int32 }](),
		reflect.TypeFor[struct{ B, A int32 }](),
		reflect.TypeFor[struct{ A, B uint32 }](),
		reflect.TypeFor[struct{ A, B float32 }](),
		reflect.TypeFor[struct{ A int64 }](),
		reflect.TypeFor[struct{ A [2]int32 }](),
		reflect.TypeFor[struct{ A [1][2]int32 }](),
		reflect.TypeFor[struct{ A, B, C int32 }](),
		reflect.TypeFor[struct {
			A, B int32
			_    int32
		}](),
		reflect.TypeFor[struct {
			A int32
			_ int32
			B int32
		}](),
		reflect.TypeFor[[2]int32](),
		reflect.TypeFor[[]int32](),
		reflect.TypeFor[*int32](),
	}
	seen := map[uint64]reflect.Type{}
	for _, typ := range types {
		h := layout.Hash(typ)
		if other, ok := seen[h]; ok {
			t.Errorf("%v and %v have the same hash", typ, other)
		}
		seen[h] = typ
	}
}

// TestSignatureStaysSmall takes types that refer to each other in all directions: written out in full
// at each occurrence, the text would grow with the factorial of their number.
func TestSignatureStaysSmall(t *testing.T) {
	if n := len(layout.Signature(reflect.TypeFor[a0]())); n > 1000 {
		t.Errorf("signature of %d bytes", n)
	}
}

type (
	edges struct {
		A0 *a0
		A1 *a1
		A2 *a2
		A3 *a3
		A4 *a4
		A5 *a5
		A6 *a6
		A7 *a7
	}
	a0 struct {
		edges
		S string
	}
	a1 struct{ E edges }
	a2 struct{ E []edges }
	a3 struct{ E map[string]edges }
	a4 struct{ E [2]edges }
	a5 struct {
		edges
		M map[string]a3
	}
	a6 struct{ A [2][]a2 }
	a7 struct{ A [1]*a1 }
)
