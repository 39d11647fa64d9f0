package codec_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/shm"
)

// Structs of several builds of a program, the newest last.
type (
	config1 struct {
		Name string
		Size int
	}
	config2 struct {
		Size int // moved
		Name string
		Tags []string
		Sub  sub
		By   map[string]*sub
		Gate *fake
		Raw  []float64
		When [2]in[bool]
		Num  int `cbor:"300,keyasint"`
		Neg  int `cbor:"-1,keyasint"`
		Self selfish
	}
	sub struct {
		A string
		B []config1
	}
	subOld struct{ B []config1 }
)

func newest() config2 {
	return config2{
		Size: -7, Name: "n", Tags: []string{"a"}, Sub: sub{"x", []config1{{"y", 1}}}, By: map[string]*sub{"k": {A: "z"}, "l": nil},
		Gate: newFake("g"), Raw: []float64{1, 2}, When: [2]in[bool]{{true, ""}, {}}, Num: 1, Neg: 2, Self: selfish{"s"},
	}
}

// send encodes v and decodes it as a To.
func send[To, From any](t *testing.T, v From) To {
	t.Helper()
	var x To
	if err := codec.Unmarshal(encode(t, v), &x); err != nil {
		t.Fatalf("%T as %T: %v", v, x, err)
	}
	return x
}

func encode[T any](t *testing.T, v T) []byte {
	t.Helper()
	c, err := codec.Of[T]()
	if err != nil {
		t.Fatal(err)
	}
	data, err := c.Append(nil, &v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestGrowth sends structs to a build that has more fields, fewer, or has them in another order.
func TestGrowth(t *testing.T) {
	old := config1{"n", -7}
	if got, want := send[config2](t, old), (config2{Name: "n", Size: -7}); !reflect.DeepEqual(got, want) {
		t.Errorf("old to new: %+v", got)
	}
	if got := send[config1](t, newest()); got != old {
		t.Errorf("new to old: %+v", got)
	}
	if got := send[config2](t, newest()); !reflect.DeepEqual(got, newest()) {
		t.Errorf("new to new: %+v", got)
	}
	if got := send[[]config1](t, []config2{newest(), {}}); len(got) != 2 || got[0] != old || got[1] != (config1{}) {
		t.Errorf("slice of new to old: %+v", got)
	}
	if got := send[map[string]subOld](t, map[string]sub{"k": newest().Sub}); len(got["k"].B) != 1 || got["k"].B[0].Size != 1 {
		t.Errorf("map of new to old: %+v", got)
	}
	if got := send[in[struct{}]](t, in[config2]{newest(), "s"}); got.S != "s" {
		t.Errorf("new to nothing: %+v", got)
	}
	if got := send[config2](t, struct{}{}); !reflect.DeepEqual(got, config2{}) {
		t.Errorf("nothing to new: %+v", got)
	}

	// A field may become a pointer, and the other way round.
	if got := send[in[*string]](t, in[string]{"v", ""}); got.V == nil || *got.V != "v" {
		t.Errorf("value to pointer: %+v", got)
	}
	if got := send[in[int64]](t, in[int8]{-3, ""}); got.V != -3 {
		t.Errorf("int8 to int64: %+v", got)
	}
}

// TestManyFields has more fields than a word has bits.
func TestManyFields(t *testing.T) {
	var fields []reflect.StructField
	for i := range 200 {
		fields = append(fields, reflect.StructField{Name: "F" + string(rune('a'+i/26)) + string(rune('a'+i%26)),
			Type: reflect.TypeFor[string]()})
	}
	few, many := reflect.StructOf(fields[:1]), reflect.StructOf(fields)
	v := reflect.New(many)
	for i := range 200 {
		v.Elem().Field(i).SetString(fields[i].Name)
	}
	data, err := codec.Marshal(v.Interface())
	if err != nil {
		t.Fatal(err)
	}
	got := reflect.New(many)
	if err := codec.Unmarshal(data, got.Interface()); err != nil || !reflect.DeepEqual(got.Elem().Interface(), v.Elem().Interface()) {
		t.Errorf("got %v, %v", got, err)
	}
	one := reflect.New(few)
	if err := codec.Unmarshal(data, one.Interface()); err != nil || one.Elem().Field(0).String() != fields[0].Name {
		t.Errorf("got %v, %v", one, err)
	}
	last := bytes.LastIndex(data, []byte("\x63Fhr"))
	twice := append(bytes.Clone(data[:last]), "\x63Faa\x60"...)
	refused(t, "first field again as the last", twice, got.Interface())
}

// TestOtherLayout wants an error from slices of structs that are not the same struct.
func TestOtherLayout(t *testing.T) {
	type wider struct {
		X, Y float64
		OK   bool
	}
	for _, data := range [][]byte{encode(t, in[[]point]{V: []point{{}, {}}}), encode(t, in[[]bool]{V: []bool{true}})} {
		var x in[[]wider]
		if err := codec.Unmarshal(data, &x); !errors.Is(err, shm.ErrCorrupt) || x.V != nil {
			t.Errorf("%v, %v", x, err)
		}
	}
	if got := send[in[[3]int16]](t, in[[]int16]{V: []int16{1, 2, 3}}); got.V != [3]int16{1, 2, 3} {
		t.Errorf("slice to array: %v", got)
	}
}

// wide is a struct whose values take much memory, and a byte of data when it says nothing.
type wide struct {
	Big   [1000]string
	Small []string
}

// TestSparse asks for much memory by little data.
func TestSparse(t *testing.T) {
	const n = 1 << 16
	count := "\x9a\x00\x01\x00\x00"
	for name, c := range map[string]struct {
		v    any
		data string
	}{
		"slice":    {new([]wide), count + string(bytes.Repeat([]byte{0xa0}, n))},
		"pointers": {new([]*wide), count + string(bytes.Repeat([]byte{0xa0}, n))},
		"nested":   {new([]in[wide]), count + string(bytes.Repeat([]byte("\xa1aV\xa0"), n))},
		"map":      {new(map[string]wide), "\xa1\x60\xa0"},
	} {
		before := allocated()
		err := codec.Unmarshal([]byte(c.data), c.v)
		used := allocated() - before
		if name == "map" { // which is not much
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if most := uint64(8<<20 + 1200*len(c.data)); !errors.Is(err, shm.ErrCorrupt) || used > most {
			t.Errorf("%s: %v, and %d bytes for %d", name, err, used, len(c.data))
		}
	}

	// What really is there may be as large as it likes, also if the data begins small.
	many := make([]wide, 300)
	for i := range many[250].Big {
		many[250].Big[i] = "something that takes some more data than a byte"
	}
	if got := send[[]wide](t, many); !reflect.DeepEqual(got, many) || cap(got) != len(many) {
		t.Error("many wide structs have changed")
	}
	// An older program's may take more memory than seems likely at first.
	older := make([]struct{ Small []string }, 60)
	for i := range older {
		older[i].Small = make([]string, i)
	}
	got := send[[]wide](t, older)
	if len(got) != len(older) || cap(got) != len(older) {
		t.Fatalf("%d of %d older structs, capacity %d", len(got), len(older), cap(got))
	}
	for i := range got {
		if len(got[i].Small) != i || got[i].Big != [1000]string{} {
			t.Errorf("older struct %d: %d strings", i, len(got[i].Small))
		}
	}
}
