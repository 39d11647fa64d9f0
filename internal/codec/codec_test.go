package codec_test

import (
	"errors"
	"math"
	"math/big"
	mathrand "math/rand"
	"math/rand/v2"
	"net/netip"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// trip sends v to a new variable of its type, by value and by pointer, and returns the variable's value.
func trip(t *testing.T, v any) any {
	t.Helper()
	data, err := codec.Marshal(v)
	if err != nil {
		t.Fatalf("Marshal(%T): %v", v, err)
	}
	if len(data) != cap(data) { // Marshal makes room for what Size says
		t.Errorf("%T: %d bytes, Size said %d", v, len(data), cap(data))
	}
	dst := reflect.New(reflect.TypeOf(v))
	if err := codec.Unmarshal(data, dst.Interface()); err != nil {
		t.Fatalf("Unmarshal(%x) into %T: %v", data, v, err)
	}
	p := reflect.New(reflect.TypeOf(v))
	p.Elem().Set(reflect.ValueOf(v))
	if byPointer, err := codec.Marshal(p.Interface()); err != nil && p.Elem().Kind() != reflect.Ptr {
		t.Fatalf("Marshal(*%T): %v", v, err)
	} else if err == nil && len(byPointer) != len(data) {
		t.Errorf("*%T is encoded as %x, %[1]T as %x", v, byPointer, data)
	}
	return dst.Elem().Interface()
}

func ptr[T any](v T) *T { return &v }

// point is plain data with padding.
type point struct {
	X  int32
	Y  float64
	OK bool
}

func TestRoundTrip(t *testing.T) {
	odd := "not \xff UTF-8 \x80"
	for _, v := range []any{
		true, -1, int64(math.MinInt64), uint64(math.MaxUint64), int8(-128), uint16(65535), 1.5, float32(0.1),
		math.Inf(-1), float32(math.Inf(1)), math.SmallestNonzeroFloat64, math.Copysign(0, -1),
		"", odd, strings.Repeat(odd, 1000), time.Duration(-5), celsius(36.6),
		struct{}{}, &struct{}{}, (*struct{})(nil), []struct{}{{}, {}},
		[]byte(nil), []byte{}, []byte{0, 255}, [4]byte{1, 2, 3, 4}, &[2]byte{7, 8}, [3]int16{-1, 0, 1}, [0]string{},
		[]int(nil), []int{}, []int{1, 2}, [][]int{nil, {}, {1}}, [2][]string{nil, {odd, ""}},
		map[string]int(nil), map[string]int{}, map[string]int{odd: 1, "": 2}, map[int8]bool{-1: true, 1: false},
		map[float64]string{math.Inf(1): "a", 0.1: "b"}, map[bool]*int{true: nil, false: ptr(3)},
		map[uint64][]map[int]bool{1: nil, 2: {nil, {}, {1: true}}},
		[]*string{nil, ptr(""), &odd}, ptr([4]string{"a"}),
		tree{"a", []*tree{nil, {Name: "b", Kids: []*tree{}}}, map[string]tree{"c": {By: map[string]tree{}}}},
		&list{&list{nil, 2}, 1}, (*list)(nil), nest{nil, {}, {{}, nil}},
		embeds{Mid{Base{1, 2}, true}, base{"c", "d"}, 0.5, [4]byte{}},
		tagged{}, tagged{A: 1, B: "b", C: "c", D: ptr(0), E: []int{}, Base: Base{1, 2}, M: Mid{Base{3, 4}, true}},
		job{}, &job{1, newFake("g"), []*fake{nil, newFake("a")}, map[string]*fake{"x": newFake("x"), "y": nil},
			&struct{ Gate *fake }{newFake("s")}},
		newFake("alone"), []*derived{{fake{"d"}}, nil},
		time.Time{}, time.Unix(1, 999999999).UTC(), []time.Time{{}, time.Unix(5, 0).UTC()}, (*time.Time)(nil),
		stamped{time.Unix(7, 7).UTC()},
		*big.NewInt(-12345), new(big.Int).Lsh(big.NewInt(-3), 1000), big.NewInt(0), (*big.Int)(nil),
		[]big.Int{*new(big.Int).SetUint64(math.MaxUint64), *big.NewInt(math.MinInt64)},
		url.URL{Scheme: "https", Host: "example.org", Path: "/a b"}, netip.MustParseAddr("fe80::1%eth0"),
		&whole{odd}, whole{}, []selfish{{"x"}, {""}}, []cbor.RawMessage{{0x82, 1, 2}},
		make([]int64, 200_000), strings.Split(strings.Repeat("x,", 150_000), ","),
		shm.Handle{Segment: [16]byte{1, 2}, Offset: 1 << 40, Generation: 9},
		complex(1, -2), []complex64{1i}, in[complex128]{V: 1i}, []bool{true, false, true}, [][3]float32{{1, 2, 3}, {4}},
		[]point{{1, 2, true}, {3, 4, false}}, [2][]point{nil, {}}, in[[3]point]{V: [3]point{{X: 1}}}, []uint{1 << 31, 0},
		in[*point]{V: &point{1, 2, true}}, (*point)(nil), &point{1, 2, true}, []time.Duration{1, -1}, [][]celsius{{1}, nil, {}},
		in[map[string]point]{V: map[string]point{"a": {X: 1}}}, []in[int]{{1, "a"}, {}}, []map[string]int{nil, {}, {"a": 1}},
		[][2]string{{"a", "b"}, {}}, []struct{}{}, [3]struct{}{}, [][0]int{{}, {}},
	} {
		if got := trip(t, v); !reflect.DeepEqual(got, v) {
			t.Errorf("%T: got %#v, want %#v", v, got, v)
		}
	}
}

func TestRoundTripLargeMap(t *testing.T) {
	m := make(map[int]string)
	for i := range 140_000 {
		m[i] = "v"
	}
	if got := trip(t, m); !reflect.DeepEqual(got, m) {
		t.Error("a map of 140,000 pairs has changed")
	}
}

func TestRoundTripNaN(t *testing.T) {
	type floats struct {
		A float64
		B float32
		C []float64
	}
	odd := math.Float64frombits(0xfff8dead_beef0001)
	got := trip(t, floats{math.NaN(), float32(math.NaN()), []float64{odd}}).(floats)
	if !math.IsNaN(got.A) || got.B == got.B || math.Float64bits(got.C[0]) != math.Float64bits(odd) {
		t.Errorf("NaNs arrived as %+v (%#x)", got, math.Float64bits(got.C[0]))
	}
	if m := trip(t, map[float64]int{math.NaN(): 1, math.NaN(): 2}).(map[float64]int); len(m) != 2 {
		t.Errorf("two NaN keys arrived as %d", len(m))
	}
}

func TestRoundTripTime(t *testing.T) {
	now := time.Now()
	for _, want := range []time.Time{
		now, now.UTC(), now.In(time.FixedZone("X", -(11*3600 + 30*60))), time.Unix(0, 1), time.Unix(-1e10, 123456789),
		time.Date(1, 1, 1, 0, 0, 0, 1, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 999999999, time.UTC),
	} {
		got := trip(t, struct{ At time.Time }{want}).(struct{ At time.Time }).At
		_, gotOffset := got.Zone()
		_, wantOffset := want.Zone()
		if !got.Equal(want) || gotOffset != wantOffset {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	for _, bad := range []any{
		time.Unix(0, 0).In(time.FixedZone("LMT", 3208)),
		[]time.Time{time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)},
		map[string]*time.Time{"": {}},
	} {
		if data, err := codec.Marshal(bad); err == nil {
			t.Errorf("Marshal(%v) = %x, nil", bad, data)
		}
	}
}

// TestUnmarshalOverwrites checks that nothing of what a variable held shines through.
func TestUnmarshalOverwrites(t *testing.T) {
	old := &list{nil, 7}
	dst := tree{"old", []*tree{{Name: "kid"}}, map[string]tree{"x": {}}}
	dst.Kids = append(dst.Kids, nil)[:1]
	want := tree{Kids: []*tree{{}}, By: map[string]tree{"y": {}}}
	data, err := codec.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	if err := codec.Unmarshal(data, &dst); err != nil || !reflect.DeepEqual(dst, want) {
		t.Errorf("got %+v, %v", dst, err)
	}
	l := list{old, 1}
	if data, err = codec.Marshal(list{&list{}, 2}); err != nil {
		t.Fatal(err)
	}
	if err := codec.Unmarshal(data, &l); err != nil || old.V != 7 {
		t.Errorf("the list that was pointed to has changed: %+v, %v", old, err)
	}
	if err := codec.Unmarshal(data[:3], &l); err == nil || l != (list{}) {
		t.Errorf("after an error: %+v, %v", l, err)
	}
}

func TestUnmarshalKeepsNothing(t *testing.T) {
	data, err := codec.Marshal([]string{"abc"})
	if err != nil {
		t.Fatal(err)
	}
	bytesData, err := codec.Marshal([]byte("abc"))
	if err != nil {
		t.Fatal(err)
	}
	var s []string
	var b []byte
	if err := errors.Join(codec.Unmarshal(data, &s), codec.Unmarshal(bytesData, &b)); err != nil {
		t.Fatal(err)
	}
	clear(data)
	clear(bytesData)
	if s[0] != "abc" || string(b) != "abc" {
		t.Errorf("decoded values changed with the data: %q %q", s, b)
	}
}

func TestDepth(t *testing.T) {
	chain := func(n int) *list {
		var l *list
		for range n {
			l = &list{l, 1}
		}
		return l
	}
	if got := trip(t, chain(codec.MaxDepth)).(*list); got.Next == nil {
		t.Error("a long list has lost its rest")
	}
	slices := nest{}
	for range codec.MaxDepth - 1 {
		slices = nest{slices}
	}
	trip(t, slices)

	loop := &list{nil, 1}
	loop.Next = &list{loop, 2}
	self := nest{nil}
	self[0] = self
	kids := tree{By: map[string]tree{}}
	kids.By["me"] = kids
	for name, v := range map[string]any{
		"list": chain(codec.MaxDepth + 1), "slices": nest{slices}, "loop": loop, "self": self, "map": kids,
	} {
		if _, err := codec.Marshal(v); !errors.Is(err, codec.ErrDepth) {
			t.Errorf("%s: %v, want ErrDepth", name, err)
		}
	}
	// The same from outside: more levels than Marshal writes.
	deep := []byte(strings.Repeat("\x81", codec.MaxDepth+5) + "\x80")
	var n nest
	if err := codec.Unmarshal(deep, &n); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("deep data: %v, want ErrCorrupt", err)
	}
	var r []cbor.RawMessage
	if err := codec.Unmarshal(deep, &r); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("deep data for a type that decodes itself: %v, want ErrCorrupt", err)
	}
}

// in has a value that is encoded as CBOR even if it is plain data.
type in[T any] struct {
	V T
	S string
}

// TestUnmarshalRefuses takes data that a lenient decoder would make something of.
func TestUnmarshalRefuses(t *testing.T) {
	type pair struct {
		A int8
		B [2]string
	}
	for _, c := range []struct {
		name string
		v    any
		data string
	}{
		{"null number", new(in[int]), "\xf6"},
		{"undefined", new(in[*int]), "\xf7"},
		{"float for int", new(in[int]), "\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00"},
		{"negative uint", new(in[uint]), "\x20"},
		{"overflow", new(in[int8]), "\x18\x80"},
		{"negative overflow", new(in[int8]), "\x38\x80"},
		{"overflow of 16", new(in[uint16]), "\x1a\x00\x01\x00\x00"},
		{"overflow of 32", new(in[int32]), "\x1a\x80\x00\x00\x00"},
		{"overflow of 64", new(in[int64]), "\x1b\x80\x00\x00\x00\x00\x00\x00\x00"},
		{"negative overflow of 64", new(in[int64]), "\x3b\x80\x00\x00\x00\x00\x00\x00\x00"},
		{"half float", new(in[float64]), "\xf9\x3c\x00"},
		{"single for double", new(in[float64]), "\xfa\x3f\x80\x00\x00"},
		{"bool byte", new(in[bool]), "\xf8\x20"},
		{"text for bytes", new(in[[]byte]), "\x61a"},
		{"bytes for text", new(in[string]), "\x41a"},
		{"short text", new(in[string]), "\x7ba"},
		{"indefinite text", new(in[string]), "\x7f\x61a\xff"},
		{"indefinite array", new(in[[]string]), "\x9f\x61a\xff"},
		{"huge array", new(in[[]string]), "\x9b\x00\x00\x00\x00\x7f\xff\xff\xff\x60"},
		{"huge map", new(in[map[int]int]), "\xbb\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"wrapping length", new(in[string]), "\x7b\xff\xff\xff\xff\xff\xff\xff\xff\x01"},
		{"reserved", new(in[int]), "\x1c"},
		{"tag", new(in[int]), "\xc1\x01"},
		{"self-described", new(in[int]), "\xd9\xd9\xf7\x01"},
		{"array too short", new(in[[2]string]), "\x81\x60"},
		{"array too long", new(in[[2]string]), "\x83\x60\x60\x60"},
		{"bytes too short", new(in[[2]byte]), "\x41\x01"},
		{"twice", new(in[pair]), "\xa3aA\x01aA\x01aB\x82\x60\x60"},
		{"twice, apart", new(in[pair]), "\xa3aA\x01aB\x82\x60\x60aA\x01"},
		{"twice, with a long head", new(in[pair]), "\xa3aA\x01\x78\x01A\x01aB\x82\x60\x60"},
		{"number twice", new(in[tagged]), "\xa2\x01\x60\x18\x01\x60"},
		{"array for struct", new(in[pair]), "\x82\x01\x82\x60\x60"},
		{"bad unknown field", new(in[pair]), "\xa1aX\x1c"},
		{"unknown field without value", new(in[pair]), "\xa1aX"},
		{"bad key", new(in[pair]), "\xa1\x9f\x01"},
		{"duplicate key", new(in[map[string]int]), "\xa2aA\x01aA\x02"},
		{"time of day", new(in[time.Time]), "\x65hello"},
		{"time number", new(in[time.Time]), "\x01"},
		{"big tag", new(in[big.Int]), "\xc4\x41\x01"},
		{"many small for big", new(in[[][1000]string]), "\x83\xf6\xf6\xf6"},
		{"array for run", new(in[[]int]), "\x81\x01"},
		{"bytes for run", new(in[[]int]), "\x48\x01\x00\x00\x00\x00\x00\x00\x00"},
		{"run of others", new(in[[]int]), "\xd8\x56\x48\x01\x00\x00\x00\x00\x00\x00\x00"},
		{"half an element", new(in[[]int32]), "\xd8\x4e\x46\x01\x02\x03\x04\x05\x06"},
		{"run too short", new(in[[2]int16]), "\xd8\x4d\x42\x01\x02"},
		{"run too long", new(in[[2]int16]), "\xd8\x4d\x46\x01\x02\x01\x02\x01\x02"},
		{"run without a hash", new(in[[]bool]), "\xda\x53\x68\x6f\x61\x41\x01"},
		{"run of another structure", new(in[[]bool]), "\xda\x53\x68\x6f\x61\x49\x00\x00\x00\x00\x00\x00\x00\x00\x01"},
	} {
		for _, data := range []string{"\xa2aV" + c.data + "aS\x60", "\xa2aS\x60aV" + c.data} {
			refused(t, c.name, []byte(data), c.v)
		}
	}
	for _, c := range []struct {
		name string
		v    any
		data string
	}{
		{"empty", new(string), ""},
		{"trailing", new(string), "\x60\x60"},
		{"plain without data", new(int32), ""},
		{"plain, too short", new(int32), "\x01\x02\x03"},
		{"plain, too long", new(int32), "\x01\x02\x03\x04\x05"},
		{"pointer to plain, too short", new(*int32), "\x01\x02\x03"},
		{"null pointer to plain", new(*int32), "\xf6"},
	} {
		refused(t, c.name, []byte(c.data), c.v)
	}
	for _, v := range []any{nil, 1, (*int)(nil)} {
		if err := codec.Unmarshal([]byte{1}, v); err == nil {
			t.Errorf("Unmarshal into %#v succeeded", v)
		}
	}
}

// refused wants ErrCorrupt, and nothing left in the variable that v points to.
func refused(t *testing.T, name string, data []byte, v any) {
	t.Helper()
	if err := codec.Unmarshal(data, v); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("%s: %v, want ErrCorrupt", name, err)
	}
	if rv := reflect.ValueOf(v).Elem(); !rv.IsZero() {
		t.Errorf("%s: left %v behind", name, rv)
	}
}

// TestErrorsOfOthers checks that the errors of a type's own methods can be told from bad data.
func TestErrorsOfOthers(t *testing.T) {
	data, err := codec.Marshal([]byte("junk"))
	if err != nil {
		t.Fatal(err)
	}
	var f *fake
	if err := codec.Unmarshal(data, &f); !errors.Is(err, errArrival) || errors.Is(err, shm.ErrCorrupt) || f != nil {
		t.Errorf("got %v, %v; want the type's own error", f, err)
	}
	for _, v := range []any{nil, make(chan int), struct{ x int }{1}, fake{"by value"}} {
		if _, err := codec.Marshal(v); !errors.Is(err, shm.ErrType) {
			t.Errorf("Marshal(%T): %v, want ErrType", v, err)
		}
		if _, err := codec.Objects(v); !errors.Is(err, shm.ErrType) {
			t.Errorf("Objects(%T): %v, want ErrType", v, err)
		}
	}
}

// TestQuick sends random values of a type that has most kinds of parts.
func TestQuick(t *testing.T) {
	type leaf struct {
		I int
		J int8
		U uint64
		F float32
		S string
		R []byte
		Q [3]byte
		P *int16
		M map[string][]float64
		N map[int32]map[bool]*string
	}
	type all struct {
		leaf
		Base
		L []leaf
		V map[uint8]*leaf
		W [2]*leaf
		T tree
		G tagged
		D time.Duration
		E embeds
		X []*string
		Y *list
		Z nest
		O [][2][]*bool
	}
	r := proctest.Rand(t)
	values := func(args []reflect.Value, _ *mathrand.Rand) {
		v := reflect.New(reflect.TypeFor[all]()).Elem()
		randomize(r, v, 5)
		args[0] = v
	}
	same := func(v all) bool {
		return reflect.DeepEqual(trip(t, v), v) && reflect.DeepEqual(trip(t, &v), &v)
	}
	count := 500
	if testing.Short() {
		count = 50
	}
	if err := quick.Check(same, &quick.Config{MaxCount: count, Values: values}); err != nil {
		t.Fatalf("%.2000v", err)
	}
}

// randomize fills v, which testing/quick cannot: it knows no unexported embedded structs, and makes few of the
// interesting values. What is deeper than depth stays zero.
func randomize(r *rand.Rand, v reflect.Value, depth int) {
	n := 0
	if depth > 0 {
		n = r.IntN(4)
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(r.Uint64()) >> r.IntN(64))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() >> r.IntN(64))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(r.NormFloat64())
	case reflect.String:
		b := make([]byte, r.IntN(40))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		v.SetString(string(b))
	case reflect.Slice:
		if n > 0 {
			v.Set(reflect.MakeSlice(v.Type(), n-1, n+1))
		}
		for i := range v.Len() {
			randomize(r, v.Index(i), depth-1)
		}
	case reflect.Array:
		for i := range v.Len() {
			randomize(r, v.Index(i), depth-1)
		}
	case reflect.Map:
		if n > 0 {
			v.Set(reflect.MakeMap(v.Type()))
		}
		for range n - 1 {
			key, elem := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
			randomize(r, key, depth-1)
			randomize(r, elem, depth-1)
			v.SetMapIndex(key, elem)
		}
	case reflect.Ptr:
		if n > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			randomize(r, v.Elem(), depth-1)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "_" {
				randomize(r, v.Field(i), depth)
			}
		}
	}
}
