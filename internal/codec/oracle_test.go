package codec_test

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/proctest"
)

// Another program that reads and writes CBOR, with the settings that make it agree.
var (
	oracleEnc = must(cbor.EncOptions{
		Sort:          cbor.SortNone,
		ShortestFloat: cbor.ShortestFloatNone,
		NaNConvert:    cbor.NaNConvertNone,
		InfConvert:    cbor.InfConvertNone,
		BigIntConvert: cbor.BigIntConvertShortest,
		Time:          cbor.TimeRFC3339Nano,
		IndefLength:   cbor.IndefLengthForbidden,
		NilContainers: cbor.NilContainerAsNull,
	}.EncMode())

	oracleDec = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:   codec.MaxDepth + 1,
		MaxArrayElements:  math.MaxInt32,
		MaxMapPairs:       math.MaxInt32,
		IndefLength:       cbor.IndefLengthForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8DecodeInvalid,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
	}.DecMode())
)

func must[T any](mode T, err error) T {
	if err != nil {
		panic(err)
	}
	return mode
}

// TestOracle sends random values of random types, without runs, through another implementation in both directions.
func TestOracle(t *testing.T) {
	r := proctest.Rand(t)
	types := 300
	if testing.Short() {
		types = 60
	}
	for range types {
		typ := withString(randomType(r, 4, false))
		for range 4 {
			v := reflect.New(typ).Elem()
			randomize(r, v, 6)
			agree(t, v)
		}
	}
}

// agree checks that both implementations write the same and read what the other one wrote.
func agree(t *testing.T, v reflect.Value) {
	t.Helper()
	ours, err := codec.Marshal(v.Addr().Interface())
	if err != nil {
		t.Fatalf("%v: %v", v.Type(), err)
	}
	theirs, err := oracleEnc.Marshal(v.Interface())
	if err != nil {
		t.Fatalf("%v: %v", v.Type(), err)
	}
	if len(ours) != len(theirs) { // maps have their pairs in any order
		t.Fatalf("%v\n%+v\nours   %x\ntheirs %x", v.Type(), v, ours, theirs)
	}
	got := reflect.New(v.Type())
	if err := codec.Unmarshal(theirs, got.Interface()); err != nil || !same(got.Elem(), v) {
		t.Fatalf("%v: theirs, read by us: %v\ngot  %+v\nwant %+v", v.Type(), err, got.Elem(), v)
	}
	got = reflect.New(v.Type())
	if err := oracleDec.Unmarshal(ours, got.Interface()); err != nil || !same(got.Elem(), v) {
		t.Fatalf("%v: ours, read by them: %v\ngot  %+v\nwant %+v", v.Type(), err, got.Elem(), v)
	}
}

func same(a, b reflect.Value) bool { return reflect.DeepEqual(a.Interface(), b.Interface()) }

// withString is a struct with a t that is not plain data.
func withString(t reflect.Type) reflect.Type {
	return reflect.StructOf([]reflect.StructField{{Name: "V", Type: t}, {Name: "S", Type: reflect.TypeFor[string]()}})
}

// TestRandomTypes sends random values of random types.
func TestRandomTypes(t *testing.T) {
	r := proctest.Rand(t)
	types := 1000
	if testing.Short() {
		types = 100
	}
	for range types {
		typ := randomType(r, 4, true)
		for range 3 {
			v := reflect.New(typ).Elem()
			randomize(r, v, 6)
			if got := trip(t, v.Interface()); !reflect.DeepEqual(got, v.Interface()) {
				t.Fatalf("%v: got %+v, want %+v", typ, got, v)
			}
			data, err := codec.Marshal(v.Addr().Interface())
			if err != nil {
				t.Fatal(err)
			}
			if err := oracleDec.Wellformed(data); err != nil && codec.IsCBOR(typ) {
				t.Fatalf("%v: %x: %v", typ, data, err)
			}
		}
	}
}

// randomType is a type at most depth levels deep; without runs, slices and arrays have elements that are not plain.
func randomType(r *rand.Rand, depth int, runs bool) reflect.Type {
	scalars := []reflect.Type{
		reflect.TypeFor[bool](), reflect.TypeFor[int8](), reflect.TypeFor[int16](), reflect.TypeFor[int32](),
		reflect.TypeFor[int64](), reflect.TypeFor[int](), reflect.TypeFor[uint8](), reflect.TypeFor[uint16](),
		reflect.TypeFor[uint32](), reflect.TypeFor[uint64](), reflect.TypeFor[uint](), reflect.TypeFor[float32](),
		reflect.TypeFor[float64](), reflect.TypeFor[time.Duration](), reflect.TypeFor[string](),
	}
	loose := []reflect.Type{
		reflect.TypeFor[string](), reflect.TypeFor[[]byte](), reflect.TypeFor[*int16](), reflect.TypeFor[map[string]uint8](),
		reflect.TypeFor[[]string](), reflect.TypeFor[[3]byte](), reflect.TypeFor[list](), reflect.TypeFor[tree](),
	}
	if runs {
		scalars = append(scalars, reflect.TypeFor[complex64]())
		loose = append(loose, reflect.TypeFor[[]point](), reflect.TypeFor[[]int](), reflect.TypeFor[[4]float32](),
			reflect.TypeFor[[][2]bool](), reflect.TypeFor[point]())
	}
	elem := func() reflect.Type {
		for {
			t := randomType(r, depth-1, runs)
			if runs || !codec.IsPlain(t) {
				return t
			}
		}
	}
	switch k := r.IntN(9); {
	case depth == 0 || k < 2:
		return scalars[r.IntN(len(scalars))]
	case k == 2:
		return loose[r.IntN(len(loose))]
	case k == 3:
		return reflect.ArrayOf(r.IntN(5), elem())
	case k == 4:
		return reflect.SliceOf(elem())
	case k == 5:
		return reflect.MapOf(scalars[:15][r.IntN(15)], randomType(r, depth-1, runs))
	case k == 6:
		for {
			switch t := randomType(r, depth-1, runs); t.Kind() {
			case reflect.Ptr, reflect.Slice, reflect.Map:
			default:
				return reflect.PointerTo(t)
			}
		}
	default:
		var fields []reflect.StructField
		for i := range r.IntN(6) {
			tag := ""
			switch f := (reflect.StructField{Name: string(rune('A' + i)), Type: randomType(r, depth-1, runs)}); r.IntN(6) {
			case 0:
				tag = fmt.Sprintf(`cbor:"%d,keyasint"`, r.IntN(2000)*6-6000+i)
			case 1:
				if k := f.Type.Kind(); k != reflect.Slice && k != reflect.Map && k != reflect.Struct && k != reflect.Array {
					tag = `json:",omitempty"`
				}
				fallthrough
			default:
				f.Tag = reflect.StructTag(tag)
				fields = append(fields, f)
				continue
			}
			fields = append(fields, reflect.StructField{Name: string(rune('A' + i)),
				Type: randomType(r, depth-1, runs), Tag: reflect.StructTag(tag)})
		}
		return reflect.StructOf(fields)
	}
}

// TestOracleReadsRuns looks at runs with the other implementation, which does not know typed arrays: it sees a tag
// and a byte string.
func TestOracleReadsRuns(t *testing.T) {
	onlyLittleEndian(t)
	for _, c := range []struct {
		v    any
		tag  uint64
		want []byte
	}{
		{in[[]int8]{V: []int8{-1}}, 72, []byte{0xff}},
		{in[[]uint16]{V: []uint16{1, 2}}, 69, []byte{1, 0, 2, 0}},
		{in[[]int16]{V: []int16{-2}}, 77, []byte{0xfe, 0xff}},
		{in[[1]uint32]{V: [1]uint32{1}}, 70, []byte{1, 0, 0, 0}},
		{in[[]int32]{V: []int32{1}}, 78, []byte{1, 0, 0, 0}},
		{in[[]uint64]{V: []uint64{1}}, 71, []byte{1, 0, 0, 0, 0, 0, 0, 0}},
		{in[[]uint]{V: []uint{1}}, 71, []byte{1, 0, 0, 0, 0, 0, 0, 0}},
		{in[[]int]{V: []int{-1}}, 79, bytes.Repeat([]byte{0xff}, 8)},
		{in[[]int64]{V: []int64{}}, 79, []byte{}},
		{in[[]float32]{V: []float32{1}}, 85, []byte{0, 0, 0x80, 0x3f}},
		{in[[]float64]{V: []float64{1}}, 86, []byte{0, 0, 0, 0, 0, 0, 0xf0, 0x3f}},
	} {
		data, err := codec.Marshal(c.v)
		if err != nil {
			t.Fatal(err)
		}
		var got in[cbor.RawTag]
		var content []byte
		if err := oracleDec.Unmarshal(data, &got); err != nil {
			t.Errorf("%T: %x: %v", c.v, data, err)
		} else if err := oracleDec.Unmarshal(got.V.Content, &content); err != nil || got.V.Number != c.tag ||
			!bytes.Equal(content, c.want) {
			t.Errorf("%T: tag %d, %x, %v", c.v, got.V.Number, content, err)
		}
	}
}
