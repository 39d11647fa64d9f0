package layout_test

import (
	"reflect"
	"structs"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
)

// pos is a wrapper of one field, as internal/atomics has.
type pos struct {
	_ [0]atomic.Uint64
	v uint64
}

type slot struct {
	_     structs.HostLayout
	owner uint32
	state uint32
	when  int64
}

type goodHeader struct {
	_     structs.HostLayout
	magic [8]byte
	size  uint64
	tail  atomic.Uint64
	_     [layout.CacheLine - 24]byte
	head  pos
	_     [layout.CacheLine - 8]byte
	load  float64
	on    atomic.Bool
	gen   atomic.Int32
	slots [4]slot
}

func TestCheckShared(t *testing.T) {
	for _, typ := range []reflect.Type{
		reflect.TypeFor[goodHeader](),
		reflect.TypeFor[slot](),
		reflect.TypeFor[struct {
			_ structs.HostLayout
			v uint32
		}](),
	} {
		if err := layout.CheckShared(typ); err != nil {
			t.Errorf("CheckShared(%v): %v", typ, err)
		}
	}
}

func TestCheckSharedRefuses(t *testing.T) {
	type noHost struct{ a, b uint32 }
	type H = structs.HostLayout
	type withPtr struct {
		_ H
		p *int
	}
	type withInt struct {
		_ H
		n [2]int
	}
	type withUintptr struct {
		_ H
		a uint32
		p atomic.Uintptr
	}
	type withPointer struct {
		_ H
		p atomic.Pointer[int]
	}
	type withBool struct {
		_  H
		s  slot
		ok bool
	}
	type withMutex struct {
		_  H
		mu sync.Mutex
	}
	type inner struct {
		_ H
		s []noHost
	}
	type withSlice struct {
		_ H
		a [2]inner
	}
	type hostInside struct {
		_ H
		n noHost
	}
	type odd struct { // fine by itself, but the second of an array is off by 12
		_ H
		a uint64
		b uint32
	}
	for _, c := range []struct {
		t    reflect.Type
		want string
	}{
		{reflect.TypeFor[uint64](), "uint64: not a struct"},
		{nil, "<nil>: not a struct"},
		{reflect.TypeFor[struct{ _ H }](), "struct { _ structs.HostLayout }: has no size"},
		{reflect.TypeFor[noHost](), "noHost: its first field must be _ structs.HostLayout"},
		{reflect.TypeFor[hostInside](), "hostInside.n: its first field must be _ structs.HostLayout"},
		{reflect.TypeFor[withPtr](), "withPtr.p: pointer"},
		{reflect.TypeFor[withInt](), "withInt.n[]: int"},
		{reflect.TypeFor[withUintptr](), "withUintptr.p: atomic.Uintptr does not hold a number of fixed width"},
		{reflect.TypeFor[withPointer](), "withPointer.p: atomic.Pointer[int] does not hold a number of fixed width"},
		{reflect.TypeFor[withBool](), "withBool.ok: bool"},
		{reflect.TypeFor[withMutex](), "withMutex.mu: sync.Mutex works within one process only"},
		{reflect.TypeFor[withSlice](), "withSlice.a[].s: slice"},
	} {
		if err := layout.CheckShared(c.t); err == nil || err.Error() != c.want {
			t.Errorf("CheckShared(%v) = %v, want %q", c.t, err, c.want)
		}
	}
	// What 32- and 64-bit programs lay out differently; the words depend on who says it.
	type late struct {
		_ H
		a uint32
		b uint64
	}
	type lateInside struct {
		_ H
		a uint64
		l late
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[late](), reflect.TypeFor[lateInside](), reflect.TypeFor[odd](),
		reflect.TypeFor[struct {
			_ H
			a [2]odd
		}](),
	} {
		err := layout.CheckShared(typ)
		if err == nil {
			t.Errorf("CheckShared(%v) = nil", typ)
		}
		t.Log(err)
	}
}
