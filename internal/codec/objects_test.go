package codec_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/shm"
)

func TestObjects(t *testing.T) {
	a, b, c, d := newFake("a"), newFake("b"), newFake("c"), newFake("d")
	twin := newFake("a") // another pointer is another object
	type graph struct {
		Gate *fake
		Next []*graph
		Name string
	}
	cyclic := &graph{Gate: a}
	cyclic.Next = []*graph{{Gate: b, Next: []*graph{cyclic}}, cyclic, nil, {Gate: a}, {Gate: c}}
	shared := &graph{Gate: d}
	for range 60 { // 2^60 paths
		shared = &graph{Next: []*graph{shared, shared}}
	}
	type deep struct {
		Emb
		A [2]struct{ P *job }
		M map[string][]*derived
	}
	x := &derived{fake{"x"}}

	for _, test := range []struct {
		name string
		v    any
		want []shm.Object
	}{
		{"number", 1, nil},
		{"no room", tree{Name: "x"}, nil},
		{"nil", (*fake)(nil), nil},
		{"alone", a, []shm.Object{a}},
		{"slice", []*fake{b, nil, a, b, twin, a}, []shm.Object{b, a, twin}},
		{"empty job", job{}, nil},
		{"job", job{1, a, []*fake{b, a}, map[string]*fake{"": c}, &struct{ Gate *fake }{d}}, []shm.Object{a, b, c, d}},
		{"pointer to job", &job{Gate: a}, []shm.Object{a}},
		{"deep", deep{A: [2]struct{ P *job }{{nil}, {&job{Gate: b}}}, M: map[string][]*derived{"": {nil, x}}},
			[]shm.Object{b, x}},
		{"cyclic", cyclic, []shm.Object{a, b, c}},
		{"by value", *cyclic, []shm.Object{a, b, c}},
		{"shared", shared, []shm.Object{d}},
	} {
		got, err := codec.Objects(test.v)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, %v; want %v", test.name, got, err, test.want)
		}
	}

	var long *graph
	for range codec.MaxDepth {
		long = &graph{Next: []*graph{long}}
	}
	if _, err := codec.Objects(long); !errors.Is(err, codec.ErrDepth) {
		t.Errorf("too deep: %v, want ErrDepth", err)
	}
}
