package layout_test

import (
	"reflect"
	"structs"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/layout"
)

type point struct{ X, Y float64 }

type plainJob struct {
	_    structs.HostLayout
	ID   uint64
	n    int
	ok   bool
	At   [3]point
	Z    complex64
	Day  time.Duration
	_    [0]func()
	_    uint32
	Last struct{}
}

func TestPlain(t *testing.T) {
	for _, v := range []any{
		false, 1, uint(1), int8(1), uint16(1), 1.5, float32(1), 1i, time.Second, time.May,
		[2]bool{}, [1][1]int{}, point{}, plainJob{n: 1, ok: true}, struct{ point }{}, [16]byte{},
	} {
		if err := layout.Plain(reflect.TypeOf(v)); err != nil {
			t.Errorf("Plain(%T): %v", v, err)
		}
	}
}

func TestPlainRefuses(t *testing.T) {
	type Job struct {
		ID   int
		Tags [2][]string
	}
	type Outer struct {
		A    int
		Jobs [3]struct{ In Job }
	}
	type inner struct{ m map[string]int }
	type Embeds struct{ inner }
	_ = Embeds{}.inner.m
	type Locked struct {
		N  int
		Mu sync.Mutex
	}
	for _, c := range []struct {
		t    reflect.Type
		want string
	}{
		{reflect.TypeFor[Job](), "Job.Tags[]: slice"},
		{reflect.TypeFor[Outer](), "Outer.Jobs[].In.Tags[]: slice"},
		{reflect.TypeFor[Embeds](), "Embeds.inner.m: map"},
		{reflect.TypeFor[Locked](), "Locked.Mu: sync.Mutex must not be copied"},
		{reflect.TypeFor[[2]atomic.Int64](), "[2]atomic.Int64[]: atomic.Int64 must not be copied"},
		{reflect.TypeFor[atomic.Bool](), "Bool: atomic.Bool must not be copied"},
		{reflect.TypeFor[string](), "string: string"},
		{reflect.TypeFor[*int](), "*int: pointer"},
		{reflect.TypeFor[error](), "error: interface"},
		{reflect.TypeFor[chan int](), "chan int: channel"},
		{reflect.TypeFor[func()](), "func(): func"},
		{reflect.TypeFor[struct{ P uintptr }](), "struct { P uintptr }.P: uintptr"},
		{reflect.TypeFor[unsafe.Pointer](), "Pointer: unsafe.Pointer"},
		{reflect.TypeFor[time.Time](), "Time.loc: pointer"},
		{reflect.TypeFor[struct{}](), "struct {}: has no size"},
		{reflect.TypeFor[[0]int](), "[0]int: has no size"},
		{reflect.TypeFor[[4]struct{}](), "[4]struct {}: has no size"},
		{nil, "nil: interface"},
	} {
		if err := layout.Plain(c.t); err == nil || err.Error() != c.want {
			t.Errorf("Plain(%v) = %v, want %q", c.t, err, c.want)
		}
	}
}
