package codec_test

import (
	"encoding"
	"errors"
	"math/big"
	"net/netip"
	"net/url"
	"os"
	"reflect"
	"strings"
	"structs"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"github.com/fxamacker/cbor/v2"

	"github.com/shoal-ipc/shoal/internal/codec"
	"github.com/shoal-ipc/shoal/shm"
)

type (
	tree struct {
		Name string
		Kids []*tree
		By   map[string]tree
	}
	list struct {
		Next *list
		V    int
	}
	nest []nest

	Base struct{ A, B int }
	base struct{ C, D string }
	Mid  struct {
		Base
		E bool
	}
	embeds struct {
		Mid
		base
		F float64
		_ [4]byte
	}
	tagged struct {
		A int    `json:"alpha,omitempty"`
		B string `cbor:"1,keyasint" json:"-"`
		C string `cbor:"-300,keyasint,omitempty"`
		D *int   `json:",omitempty"`
		E []int  `json:",omitzero"`
		Base
		M Mid `cbor:"Inner"`
	}
	job struct {
		ID   uint64
		Gate *fake
		All  []*fake
		By   map[string]*fake
		Sub  *struct{ Gate *fake }
	}
	halfOut struct{ X int }
	halfIn  struct{ X int }
	whole   struct{ x string }
	stamped struct{ time.Time }
	celsius float64
)

func (halfOut) MarshalBinary() ([]byte, error)  { return nil, nil }
func (*halfIn) UnmarshalBinary([]byte) error    { return nil }
func (w whole) MarshalBinary() ([]byte, error)  { return []byte(w.x), nil }
func (w *whole) UnmarshalBinary(b []byte) error { w.x = string(b); return nil }
func (w whole) IsZero() bool                    { return false }
func (c *selfish) MarshalCBOR() ([]byte, error) { return cbor.Marshal([]string{c.v}) }
func (c *selfish) UnmarshalCBOR(b []byte) error {
	var s []string
	if err := cbor.Unmarshal(b, &s); err != nil || len(s) != 1 {
		return errors.Join(errArrival, err)
	}
	c.v = s[0]
	return nil
}
func (c onlyCBOR) MarshalCBOR() ([]byte, error)   { return nil, nil }
func (b byteKey) MarshalBinary() ([]byte, error)  { return []byte(b), nil }
func (b *byteKey) UnmarshalBinary(d []byte) error { *b = byteKey(d); return nil }

type (
	selfish  struct{ v string }
	onlyCBOR struct{ V string }
	byteKey  string
)

// accepted are types that cross whole.
var accepted = []reflect.Type{
	reflect.TypeFor[bool](), reflect.TypeFor[int](), reflect.TypeFor[uint8](), reflect.TypeFor[float32](),
	reflect.TypeFor[string](), reflect.TypeFor[time.Duration](), reflect.TypeFor[celsius](),
	reflect.TypeFor[struct{}](), reflect.TypeFor[*struct{}](), reflect.TypeFor[[]struct{}](),
	reflect.TypeFor[[]byte](), reflect.TypeFor[[16]byte](), reflect.TypeFor[[3]int16](), reflect.TypeFor[[0]string](),
	reflect.TypeFor[map[string][]map[int]bool](), reflect.TypeFor[map[float64]string](), reflect.TypeFor[map[bool]*int](),
	reflect.TypeFor[*[4]string](), reflect.TypeFor[*[4]byte](),
	reflect.TypeFor[tree](), reflect.TypeFor[*list](), reflect.TypeFor[nest](),
	reflect.TypeFor[embeds](), reflect.TypeFor[tagged](),
	reflect.TypeFor[job](), reflect.TypeFor[*job](), reflect.TypeFor[*fake](), reflect.TypeFor[[]*derived](),
	reflect.TypeFor[time.Time](), reflect.TypeFor[*time.Time](), reflect.TypeFor[big.Int](), reflect.TypeFor[*big.Int](),
	reflect.TypeFor[url.URL](), reflect.TypeFor[netip.Addr](), reflect.TypeFor[*whole](), reflect.TypeFor[[]selfish](),
	reflect.TypeFor[stamped](), reflect.TypeFor[shm.Handle](),
	reflect.TypeFor[complex64](), reflect.TypeFor[[]complex128](), reflect.TypeFor[*struct{ C complex128 }](),
	reflect.TypeFor[struct {
		_ structs.HostLayout
		_ func()
		N int
	}](),
}

func TestCheck(t *testing.T) {
	codec.Reset()
	for range 2 { // once computed, once remembered
		for _, typ := range accepted {
			if err := codec.Check(typ); err != nil {
				t.Errorf("Check(%v): %v", typ, err)
			}
		}
	}
}

func TestCheckRefuses(t *testing.T) {
	type Job struct {
		ID   int
		Tags map[string][]chan int
	}
	type Secret struct {
		A int
		b int
	}
	_ = Secret{}.b
	type Locked struct {
		N  int
		Mu sync.Mutex
	}
	type Gate struct {
		G fake
	}
	type Wrapped struct {
		*fake
		N int
	}
	type WrappedAlone struct{ *fake }
	type Stamped struct {
		time.Time
		N int
	}
	type StampedPtr struct{ *url.URL }
	type TwoStamps struct {
		url.URL
		time.Time
	}
	type Skipped struct {
		A int `json:"-"`
	}
	type SkippedBase struct {
		Base `cbor:"-"`
	}
	type Shadow struct {
		Base
		B string
	}
	type Same struct {
		X int `json:"n"`
		Y int `cbor:"n"`
	}
	type SameInt struct {
		X int `cbor:"1,keyasint"`
		Y int `cbor:"+1,keyasint"`
	}
	type ViaTwo struct {
		Mid
		Other struct{ Base }
		base
		Base
	}
	type NotInt struct {
		X int `cbor:"one,keyasint"`
	}
	type AsArray struct {
		_ struct{} `cbor:",toarray"`
		X int
	}
	type Omit struct {
		X []int `json:",omitempty"`
	}
	type OmitBytes struct {
		X []byte `json:",omitempty"`
	}
	type OmitWhole struct {
		X whole `json:",omitempty"`
	}
	type OmitZero struct {
		X whole `json:",omitzero"`
	}
	type EmbedsPtr struct{ *Base }
	type EmbedsSelf struct {
		*EmbedsSelf
		V int
	}
	type ID int
	type id int
	type EmbedsInt struct {
		ID
		id
	}
	_ = EmbedsInt{}.id
	type Deep struct {
		A [2]struct{ M map[string]*Secret }
	}
	type Cyclic struct {
		Next *Cyclic
		F    func()
	}

	for _, c := range []struct {
		t    reflect.Type
		want string // path and reason begin so
	}{
		{reflect.TypeFor[Job](), "Job.Tags[][]: channel"},
		{reflect.TypeFor[struct{ S *shm.Segment }](), "struct { S *shm.Segment }.S: segment: pass an object"},
		{reflect.TypeFor[struct{ F *os.File }](), "struct { F *os.File }.F: open file: pass it in the Files"},
		{reflect.TypeFor[*Job](), "Job.Tags[][]: channel"},
		{reflect.TypeFor[[]Job](), "[]codec_test.Job[].Tags[][]: channel"},
		{reflect.TypeFor[Secret](), "Secret.b: unexported"},
		{reflect.TypeFor[Deep](), "Deep.A[].M[].b: unexported"},
		{reflect.TypeFor[Locked](), "Locked.Mu.mu: unexported"},
		{reflect.TypeFor[atomic.Int64](), "Int64.v: unexported"},
		{reflect.TypeFor[Cyclic](), "Cyclic.F: function"},
		{reflect.TypeFor[Gate](), "Gate.G: shared object: it cannot be copied: use *codec_test.fake"},
		{reflect.TypeFor[fake](), "fake: shared object"},
		{reflect.TypeFor[derived](), "derived: shared object"},
		{reflect.TypeFor[**fake](), "*codec_test.fake: pointer to a ptr"},
		{reflect.TypeFor[Wrapped](), "Wrapped.fake: embedded shared object"},
		{reflect.TypeFor[*Wrapped](), "Wrapped.fake: embedded shared object"},
		{reflect.TypeFor[WrappedAlone](), "WrappedAlone.fake: embedded shared object"},
		{reflect.TypeFor[Stamped](), "Stamped.Time: embedded type that encodes itself"},
		{reflect.TypeFor[StampedPtr](), "StampedPtr.URL: embedded type that encodes itself"},
		{reflect.TypeFor[TwoStamps](), "TwoStamps.URL: embedded type that encodes itself"},
		{reflect.TypeFor[struct{ big.Int }](), "struct { big.Int }.Int: embedded type that encodes itself"},
		{reflect.TypeFor[struct{ encoding.BinaryMarshaler }](), "struct { encoding.BinaryMarshaler }: has MarshalBinary but"},
		{reflect.TypeFor[halfOut](), "halfOut: has MarshalBinary but not UnmarshalBinary"},
		{reflect.TypeFor[halfIn](), "halfIn: has UnmarshalBinary but not MarshalBinary"},
		{reflect.TypeFor[onlyCBOR](), "onlyCBOR: has MarshalCBOR but not UnmarshalCBOR"},
		{reflect.TypeFor[Skipped](), `Skipped.A: tagged "-"`},
		{reflect.TypeFor[SkippedBase](), `SkippedBase.Base: tagged "-"`},
		{reflect.TypeFor[Shadow](), "Shadow.B: has the same name as Shadow.Base.B"},
		{reflect.TypeFor[Same](), "Same.Y: has the same name as Same.X"},
		{reflect.TypeFor[SameInt](), "SameInt.Y: has the same name as SameInt.X"},
		{reflect.TypeFor[ViaTwo](), "ViaTwo.Base.A: has the same name as ViaTwo.Mid.Base.A"},
		{reflect.TypeFor[NotInt](), "NotInt.X: keyasint"},
		{reflect.TypeFor[AsArray](), `AsArray._: the option ",toarray"`},
		{reflect.TypeFor[Omit](), "Omit.X: omitempty"},
		{reflect.TypeFor[OmitBytes](), "OmitBytes.X: omitempty"},
		{reflect.TypeFor[OmitWhole](), "OmitWhole.X: omitempty"},
		{reflect.TypeFor[OmitZero](), "OmitZero.X: omitzero"},
		{reflect.TypeFor[EmbedsPtr](), "EmbedsPtr.Base: embedded pointer"},
		{reflect.TypeFor[EmbedsSelf](), "EmbedsSelf.EmbedsSelf: embedded pointer"},
		{reflect.TypeFor[EmbedsInt](), "EmbedsInt.id: unexported"},
		{reflect.TypeFor[error](), "error: error"},
		{reflect.TypeFor[any](), "interface {}: interface"},
		{reflect.TypeFor[[]shm.Object](), "[]shm.Object[]: interface"},
		{reflect.TypeFor[map[string]any](), "map[string]interface {}[]: interface"},
		{reflect.TypeFor[struct{ P uintptr }](), "struct { P uintptr }.P: uintptr"},
		{reflect.TypeFor[unsafe.Pointer](), "Pointer: unsafe.Pointer"},
		{reflect.TypeFor[**int](), "*int: pointer to a ptr"},
		{reflect.TypeFor[*[]int](), "[]int: pointer to a slice"},
		{reflect.TypeFor[*[]byte](), "[]uint8: pointer to a slice"},
		{reflect.TypeFor[struct{ M *map[int]int }](), "struct { M *map[int]int }.M: pointer to a map"},
		{reflect.TypeFor[map[[2]int]int](), "map[[2]int]int[key]: map keys"},
		{reflect.TypeFor[map[Base]int](), "map[codec_test.Base]int[key]: map keys"},
		{reflect.TypeFor[map[byteKey]int](), "map[codec_test.byteKey]int[key]: map keys"},
		{reflect.TypeFor[map[any]int](), "map[interface {}]int[key]: interface"},
		{reflect.TypeFor[*byteRuns](), "byteRuns.Tags: omitempty"},
		{nil, "nil: has no type"},
	} {
		err := codec.Check(c.t)
		want := shm.ErrType.Error() + ": " + c.want
		if err == nil || !errors.Is(err, shm.ErrType) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("Check(%v)\n got %v\nwant %s…", c.t, err, want)
			continue
		}
		if c.t == nil {
			continue
		}
		if again := codec.Check(c.t); again != err {
			t.Errorf("Check(%v), asked again: %v", c.t, again)
		}
		if err := codec.Unmarshal([]byte{0xa0}, reflect.New(c.t).Interface()); !errors.Is(err, shm.ErrType) {
			t.Errorf("Unmarshal into %v: %v, want ErrType", c.t, err)
		}
	}
}

type byteRuns struct {
	Tags map[string]bool `json:"tags,omitempty"`
}

// TestCheckConcurrently looks for races in the table of types.
func TestCheckConcurrently(t *testing.T) {
	for range 20 {
		codec.Reset()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for _, typ := range accepted {
					if err := codec.Check(typ); err != nil {
						t.Errorf("Check(%v): %v", typ, err)
					}
				}
			})
		}
		wg.Wait()
	}
}
