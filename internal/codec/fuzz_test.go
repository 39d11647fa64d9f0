package codec_test

import (
	"math/big"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/shoal-ipc/shoal/internal/codec"
)

type Emb struct{ Left, Right int }

// everything has a part of each kind.
type everything struct {
	Emb
	B  bool
	I  int16
	U  uint64
	F  float32
	G  float64
	S  string
	R  []byte
	A  [3]byte
	L  []string
	N  [2]int
	M  map[string]int
	K  map[int8][]bool
	P  *uint
	T  time.Time
	Z  *big.Int
	W  whole
	O  *fake
	C  selfish
	X  *tree
	Y  nest
	E  []struct{}
	H  [][300]int
	J  *tagged
	KI int `cbor:"-7,keyasint"`
	D  []float64
	Q  [2]int16
	V  []point
	VV map[string][2]bool
	CC complex64
	PP *point
}

// FuzzUnmarshal feeds bytes to several types. Whatever is accepted can be sent on, and memory stays in
// proportion to the data.
func FuzzUnmarshal(f *testing.F) {
	full := everything{
		Emb: Emb{1, -2}, B: true, I: -300, U: 1 << 63, F: 1.5, G: -0.1, S: "s\xff", R: []byte{1}, A: [3]byte{1, 2, 3},
		L: []string{"a", ""}, N: [2]int{24, 1 << 30}, M: map[string]int{"k": 1}, K: map[int8][]bool{-1: {true}, 2: nil},
		P: ptr(uint(7)), T: time.Unix(1e9, 5).UTC(), Z: new(big.Int).Lsh(big.NewInt(-1), 70), W: whole{"w"},
		O: newFake("o"), C: selfish{"c"}, X: &tree{"t", []*tree{nil}, map[string]tree{}}, Y: nest{nil, {}},
		E: make([]struct{}, 3), H: make([][300]int, 1), J: &tagged{B: "b"},
		D: []float64{1, 2}, V: []point{{1, 2, true}}, VV: map[string][2]bool{"": {true}}, CC: 1i, PP: &point{X: 1},
	}
	for _, v := range []any{
		full, everything{}, tree{"a", []*tree{{}}, nil}, nest{{{}}}, tagged{A: 1}, map[string][]int{"a": {1}},
		[][300]int{{}}, []time.Time{{}}, *big.NewInt(-5),
		[]wide{{}}, newest(), point{1, 2, true}, []point{{}, {}}, []float64{1}, []bool{true}, config1{"a", 1},
		[2][]string{{"a"}, nil}, map[int8]*config1{1: {"a", 1}},
	} {
		data, err := codec.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	for _, s := range []string{
		"", "\xf6", "\x9f\xff", "\xc2\x41\x01", "\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "\x81\x81\x81\x80",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, typ := range []reflect.Type{
			reflect.TypeFor[everything](), reflect.TypeFor[tree](), reflect.TypeFor[nest](), reflect.TypeFor[tagged](),
			reflect.TypeFor[map[string][]int](), reflect.TypeFor[[][300]int](), reflect.TypeFor[[]time.Time](),
			reflect.TypeFor[big.Int](), reflect.TypeFor[job](), reflect.TypeFor[[]wide](), reflect.TypeFor[*config2](),
			reflect.TypeFor[point](), reflect.TypeFor[[]point](), reflect.TypeFor[[]float64](), reflect.TypeFor[[]bool](),
			reflect.TypeFor[config1](), reflect.TypeFor[[2][]string](), reflect.TypeFor[map[int8]*config1](),
		} {
			v := reflect.New(typ)
			before := allocated()
			err := codec.Unmarshal(data, v.Interface())
			if used, most := allocated()-before, uint64(8<<20+1500*len(data)); used > most {
				t.Errorf("%d bytes made %v allocate %d bytes", len(data), typ, used)
			}
			if err != nil {
				if !v.Elem().IsZero() {
					t.Errorf("%v: %v, but left %v behind", typ, err, v.Elem())
				}
				continue
			}
			if _, err := codec.Objects(v.Interface()); err != nil {
				t.Errorf("Objects of a decoded %v: %v", typ, err)
			}
			again, err := codec.Marshal(v.Interface())
			if err != nil {
				continue // such as a pointer to the zero time
			}
			w := reflect.New(typ)
			if err := codec.Unmarshal(again, w.Interface()); err != nil {
				t.Fatalf("%v: %x was accepted, but encoded again as %x: %v", typ, data, again, err)
			}
			if third, err := codec.Marshal(w.Interface()); err != nil || len(third) != len(again) {
				t.Fatalf("%v: %x, and encoded once more %x, %v", typ, again, third, err)
			}
			theirs := reflect.New(typ)
			if oracleTypes[typ] && oracleLenient.Unmarshal(data, theirs.Interface()) == nil &&
				!reflect.DeepEqual(theirs.Interface(), v.Interface()) {
				t.Fatalf("%v: %x means %+v to us, %+v to others", typ, data, v.Elem(), theirs.Elem())
			}
		}
	})
}

// oracleTypes are those that another implementation decodes, too; oracleLenient does so, and passes over unknown
// fields.
var (
	oracleTypes = map[reflect.Type]bool{
		reflect.TypeFor[tree](): true, reflect.TypeFor[nest](): true, reflect.TypeFor[big.Int](): true,
		reflect.TypeFor[[2][]string](): true, reflect.TypeFor[map[int8]*config1](): true, reflect.TypeFor[config1](): true,
	}
	oracleLenient = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		UTF8:              cbor.UTF8DecodeInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode())
)

// FuzzRoundTrip sends random values of random types, also by way of another implementation.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		r := rand.New(rand.NewPCG(a, b))
		v := reflect.New(randomType(r, 4, true)).Elem()
		randomize(r, v, 6)
		if got := trip(t, v.Interface()); !reflect.DeepEqual(got, v.Interface()) {
			t.Fatalf("%v: got %+v, want %+v", v.Type(), got, v)
		}
		v = reflect.New(withString(randomType(r, 4, false))).Elem()
		randomize(r, v, 6)
		agree(t, v)
	})
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// TestTruncatedAndFlipped tries every prefix and every changed byte of a value with all kinds of parts.
func TestTruncatedAndFlipped(t *testing.T) {
	data, err := codec.Marshal(everything{
		M: map[string]int{"k": 1}, X: &tree{"t", []*tree{nil}, nil}, Z: new(big.Int).Lsh(big.NewInt(1), 70),
		O: newFake("o"), L: []string{"a"}, T: time.Unix(1e9, 5).UTC(),
	})
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if err := codec.Unmarshal(data[:n], new(everything)); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(data))
		}
	}
	step := 3
	if testing.Short() {
		step = 31
	}
	for i := 0; i < len(data); i++ {
		old := data[i]
		for c := 0; c < 256; c += step {
			data[i] = byte(c)
			codec.Unmarshal(data, new(everything)) // either way, but neither panic nor a mountain of memory
		}
		data[i] = old
	}
	if err := codec.Unmarshal(data, new(everything)); err != nil {
		t.Error(err)
	}
}
