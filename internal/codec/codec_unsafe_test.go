package codec_test

import (
	"bytes"
	"errors"
	"math"
	"math/big"
	"reflect"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/shm"
)

func of[T any](t testing.TB) *codec.Codec[T] {
	t.Helper()
	c, err := codec.Of[T]()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bytesOf is the memory of *v.
func bytesOf[T any](v *T) []byte { return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v)) }

// TestPlain holds the encoding of plain data to its memory.
func TestPlain(t *testing.T) {
	v := point{-1, 0.5, true}
	for i := range bytesOf(&v) { // what the compiler leaves there
		if off := uintptr(i); off >= 4 && off < unsafe.Offsetof(v.Y) || off > unsafe.Offsetof(v.OK) {
			bytesOf(&v)[i] = 0xaa
		}
	}
	clean := bytes.ReplaceAll(bytesOf(&v), []byte{0xaa}, []byte{0})
	c := of[point](t)
	if n, ok := c.Fixed(); !c.Plain() || !ok || n != len(clean) {
		t.Errorf("Plain %v, Fixed %d, %v", c.Plain(), n, ok)
	}
	data, err := c.Append([]byte("head"), &v)
	if err != nil || !bytes.Equal(data, append([]byte("head"), clean...)) {
		t.Errorf("%x, %v; want %x", data, err, clean)
	}
	if n, err := c.Size(&v); err != nil || n != len(clean) {
		t.Errorf("Size %d, %v", n, err)
	}
	clean[unsafe.Offsetof(v.OK)] = 0xc8 // not a bool
	var got point
	if err := c.Decode(clean, &got); err != nil || got != (point{-1, 0.5, true}) || bytesOf(&got)[unsafe.Offsetof(v.OK)] != 1 {
		t.Errorf("%+v, %v: %x", got, err, bytesOf(&got))
	}
	if of[*point](t).Plain() || of[[]point](t).Plain() || of[in[int]](t).Plain() || of[shm.Handle](t).Plain() {
		t.Error("what is not plain data is said to be")
	}

	p := &v
	data, err = of[*point](t).Append(nil, &p)
	clean[unsafe.Offsetof(v.OK)] = 1
	if err != nil || !bytes.Equal(data, clean) {
		t.Errorf("pointer to plain data: %x, %v", data, err)
	}
	p = nil
	if data, err = of[*point](t).Append(nil, &p); err != nil || len(data) != 0 {
		t.Errorf("nil: %x, %v", data, err)
	}
}

// TestRunsOfStructs checks that the padding in runs says nothing, and that bools in them are in order on arrival.
func TestRunsOfStructs(t *testing.T) {
	v := []point{{1, 2, true}, {3, 4, false}}
	size := int(unsafe.Sizeof(point{}))
	for i := range v {
		m := bytesOf(&v[i])
		m[size-1], m[size-2], m[size-3] = 0xaa, 0xaa, 0xaa
	}
	c := of[[]point](t)
	data, err := c.Append(nil, &v)
	if err != nil || bytes.Contains(data, []byte{0xaa}) {
		t.Fatalf("%x, %v", data, err)
	}
	ok := len(data) - size + int(unsafe.Offsetof(v[0].OK))
	data[ok] = 7
	var got []point
	if err := c.Decode(data, &got); err != nil || !slices.Equal(got, []point{{1, 2, true}, {3, 4, true}}) ||
		bytesOf(&got[1])[unsafe.Offsetof(v[0].OK)] != 1 {
		t.Errorf("%v, %v", got, err)
	}

	bools := of[[]bool](t)
	flags := make([]bool, 19)
	if data, err = bools.Append(nil, &flags); err != nil {
		t.Fatal(err)
	}
	data[len(data)-2] = 0xff
	if err := bools.Decode(data, &flags); err != nil || !flags[17] || flags[18] {
		t.Errorf("%v, %v", flags, err)
	}
	for i, b := range unsafe.Slice((*byte)(unsafe.Pointer(&flags[0])), len(flags)) {
		if b > 1 {
			t.Errorf("bool %d is %d", i, b)
		}
	}
}

// TestRunsAreAligned looks at where the memory of short runs begins.
func TestRunsAreAligned(t *testing.T) {
	for n := 1; n < 40; n++ {
		aligned(t, n, make([]uint16, n))
		aligned(t, n, make([]uint32, n))
		aligned(t, n, make([]uint64, n))
		aligned(t, n, make([]complex128, n))
		aligned(t, n, make([][3]uint16, n))
		aligned(t, n, make([][3]uint32, n))
		aligned(t, n, make([]point, n))
	}
}

func aligned[E any](t *testing.T, n int, v []E) {
	t.Helper()
	c := of[[]E](t)
	data, err := c.Append(nil, &v)
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		var got []E
		if err := c.Decode(data, &got); err != nil || len(got) != n || cap(got) != n {
			t.Fatalf("%d, capacity %d, %v", len(got), cap(got), err)
		}
		if at := uintptr(unsafe.Pointer(&got[0])); at%unsafe.Alignof(got[0]) != 0 {
			t.Errorf("%d of %T lie at %#x", n, got, at)
		}
	}
}

// TestLargeRuns looks at where in an item the memory of large runs begins, and whether Size foresees it.
func TestLargeRuns(t *testing.T) {
	type item struct {
		Name  string
		Data  []byte
		Words [1 << 13]uint64
		Spots []point
		By    map[string][]float32
		Last  string
	}
	var v item
	fill := func(b []byte, c byte) []byte {
		for i := range b {
			b[i] = c
		}
		return b
	}
	v.Data = fill(make([]byte, 1<<16), 0xd1)
	fill(bytesOf(&v.Words), 0xd2)
	v.Spots = make([]point, 1<<13)
	for i := range v.Spots {
		v.Spots[i] = point{0x53535353, 1, true}
	}
	floats := make([]float32, 1<<15)
	fill(unsafe.Slice((*byte)(unsafe.Pointer(&floats[0])), 1<<17), 0xd4)
	v.By = map[string][]float32{"k": floats}
	c := of[item](t)
	for n := 0; n < 40; n += 3 {
		v.Name = string(fill(make([]byte, n), 'n'))
		size, err := c.Size(&v)
		if err != nil {
			t.Fatal(err)
		}
		const before = 5 // which does not count
		data, err := c.Append(make([]byte, before), &v)
		if data = data[before:]; err != nil || len(data) != size {
			t.Fatalf("%d bytes, %v; Size said %d", len(data), err, size)
		}
		for _, begin := range []string{"\xd1\xd1", "\xd2\xd2", "SSSS", "\xd4\xd4"} {
			if at := bytes.Index(data, []byte(begin)); at < 0 || at%32 != 0 {
				t.Fatalf("name of %d: run of %q begins at %d", n, begin, at)
			}
		}
		var got item
		if err := c.Decode(data, &got); err != nil || !bytes.Equal(got.Data, v.Data) || got.Words != v.Words ||
			!slices.Equal(got.Spots, v.Spots) || !slices.Equal(got.By["k"], floats) {
			t.Fatalf("the item has changed: %v", err)
		}
	}
	if data := encode(t, in[[]byte]{V: make([]byte, 1<<16-1)}); bytes.Contains(data, []byte("\xd9\xd9\xf7")) {
		t.Error("a smaller run is aligned, too")
	}
	var got in[[]byte]
	if data := encode(t, in[[]byte]{V: v.Data}); oracleDec.Unmarshal(data, &got) != nil || !bytes.Equal(got.V, v.Data) {
		t.Error("others do not read aligned bytes")
	}
}

// TestAppendInPlace wants no other memory than what it is given, and nothing changed by an error.
func TestAppendInPlace(t *testing.T) {
	v := sampleTask()
	c := of[task](t)
	n, err := c.Size(&v)
	if err != nil {
		t.Fatal(err)
	}
	room := make([]byte, 3, 3+n)
	data, err := c.Append(room, &v)
	if err != nil || len(data) != 3+n || &data[0] != &room[0] {
		t.Errorf("%d bytes of %d, %v", len(data), 3+n, err)
	}
	loop := &list{nil, 1}
	loop.Next = loop
	if data, err := of[*list](t).Append(room, &loop); !errors.Is(err, codec.ErrDepth) || len(data) != 3 {
		t.Errorf("%x, %v; want ErrDepth", data, err)
	}
	if _, err := of[*list](t).Size(&loop); !errors.Is(err, codec.ErrDepth) {
		t.Errorf("Size: %v; want ErrDepth", err)
	}
}

// TestAllocations counts what the compiler and the codec take from the heap.
func TestAllocations(t *testing.T) {
	number, flags, words := of[point](t), of[task](t), of[[]float64](t)
	v, w := sampleTask(), make([]float64, 100)
	buf := make([]byte, 0, 1000)
	for _, c := range []struct {
		name string
		want float64
		f    func() error
	}{
		{"plain", 0, func() error {
			p := point{1, 2, true}
			b, err := number.Append(buf, &p)
			return errors.Join(err, number.Decode(b, &p))
		}},
		{"append", 0, func() error {
			x := v
			n, err := flags.Size(&x)
			if err == nil {
				_, err = flags.Append(buf[:0:n], &x)
			}
			return err
		}},
		{"decode", 2, func() error { // a string and a slice
			b, err := flags.Append(buf, &v)
			var x task
			return errors.Join(err, flags.Decode(b, &x))
		}},
		{"run", 1, func() error {
			b, err := words.Append(buf, &w)
			var x []float64
			return errors.Join(err, words.Decode(b, &x))
		}},
	} {
		got := math.Inf(1)
		for range 5 { // other goroutines may allocate meanwhile
			got = min(got, testing.AllocsPerRun(100, func() {
				if err := c.f(); err != nil {
					t.Error(err)
				}
			}))
		}
		if got > c.want {
			t.Errorf("%s: %v allocations, want %v", c.name, got, c.want)
		}
	}
}

// TestFixed compares the bound with what values take.
func TestFixed(t *testing.T) {
	fixed(t, true, in[int8]{V: math.MinInt8}, -1) // has a string
	type scalars struct {
		A int8    `cbor:"1,keyasint"`
		B *uint16 `json:",omitempty"`
		C *float64
		D [3]int32
		E struct{ F *bool }
		G *[2]*int64
	}
	fixed(t, false, scalars{math.MinInt8, ptr(uint16(math.MaxUint16)), ptr(0.5), [3]int32{}, struct{ F *bool }{ptr(true)},
		&[2]*int64{ptr(int64(math.MinInt64)), ptr(int64(math.MaxInt64))}}, 0)
	fixed(t, true, []int{}, -1)
	fixed(t, true, list{}, -1)
	fixed(t, true, newFake(""), -1)
	fixed(t, true, map[int8]bool{}, -1)
}

func fixed[T any](t *testing.T, endless bool, v T, spare int) {
	t.Helper()
	c := of[T](t)
	n, ok := c.Fixed()
	size, err := c.Size(&v)
	if ok == endless || err != nil || ok && n != size+spare {
		t.Errorf("%T: Fixed %d, %v, but Size %d, %v", v, n, ok, size, err)
	}
}

// keeper keeps what it is given, which it should not, and makes the stack move.
type keeper struct {
	self *keeper
	data []byte
	V    byte
}

func (k *keeper) MarshalBinary() ([]byte, error) {
	return []byte{k.V + deep(1000)}, nil
}

func (k *keeper) UnmarshalBinary(b []byte) error {
	k.self, k.data, k.V = k, b, b[0]+deep(1000)
	return nil
}

// deep returns 0 after it has used much of the stack, and has the collector run.
func deep(n int) byte {
	var room [256]byte
	if n == 0 {
		runtime.GC()
		return 0
	}
	room[n%256] = deep(n - 1)
	return room[n%256]
}

// TestMethodsSeeCopies wants variables on the stack to survive what the methods of their parts do.
func TestMethodsSeeCopies(t *testing.T) {
	type holder struct {
		S string
		K keeper
		P *int
		M map[string]keeper
		T []string
	}
	c := of[holder](t)
	done := make(chan struct{})
	go func() { // on a small stack
		defer close(done)
		v := holder{"s", keeper{V: 7}, ptr(5), map[string]keeper{"k": {V: 9}}, []string{"a", "b"}}
		data, err := c.Append(nil, &v)
		if err != nil {
			t.Error(err)
			return
		}
		var got holder
		if err := c.Decode(data, &got); err != nil {
			t.Error(err)
			return
		}
		if got.K.self == &got.K || got.K.self.V != 7 || got.K.V != 7 || *got.P != 5 || got.M["k"].V != 9 || got.T[1] != "b" {
			t.Errorf("got %+v", got)
		}
		clear(data)
		if got.K.data[0] != 7 {
			t.Error("a method was given the data itself")
		}
	}()
	<-done
}

// TestCodecObjects finds objects by way of a Codec.
func TestCodecObjects(t *testing.T) {
	c := of[job](t)
	a, b := newFake("a"), newFake("b")
	v := job{Gate: a, All: []*fake{b, a}}
	got, err := c.Objects(&v)
	if err != nil || !slices.Equal(got, []shm.Object{a, b}) || !c.HasObjects() || of[task](t).HasObjects() {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := codec.Of[chan int](); !errors.Is(err, shm.ErrType) {
		t.Errorf("Of a channel: %v", err)
	}
	if got := send[job](t, v); !reflect.DeepEqual(got, v) {
		t.Errorf("got %+v", got)
	}
}

// TestChangingData decodes what somebody else is writing to.
func TestChangingData(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector is right")
	}
	r := proctest.Rand(t)
	v := everything{
		L: []string{"a", "bb"}, M: map[string]int{"k": 1, "l": 2}, X: &tree{"t", []*tree{nil}, nil}, C: selfish{"c"},
		T: time.Unix(1e9, 5).UTC(), Z: new(big.Int).Lsh(big.NewInt(1), 70), V: []point{{1, 2, true}}, D: []float64{1},
		K: map[int8][]bool{1: {true, false}}, O: newFake("o"), W: whole{"w"},
	}
	good := encode(t, v)
	data := bytes.Clone(good)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				i := r.IntN(len(data))
				data[i] = byte(r.Uint32())
				runtime.Gosched()
				data[i] = good[i]
			}
		}
	}()
	c := of[everything](t)
	counts := map[bool]int{}
	for range 5000 {
		var got everything
		err := c.Decode(data, &got)
		counts[err == nil]++
		for _, b := range got.K[1] {
			if x := *(*byte)(unsafe.Pointer(&b)); x > 1 {
				t.Fatalf("a bool is %d", x)
			}
		}
	}
	close(stop)
	<-stopped
	t.Logf("%d values, %d errors", counts[true], counts[false])
}
