package ring_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
)

// starts are how many items have gone through a ring before a test begins: positions wrap around at 2^64, and a
// mistake with 32 bits shows at 2^32.
var starts = []uint64{0, 1<<32 - 3, 1<<64 - 3}

type flags struct {
	A  bool
	N  uint32
	Bs [3]bool
}

type big [33]uint64

func TestSPSCSize(t *testing.T) {
	for _, c := range []struct{ n, want int }{
		{-1, 648}, {0, 648}, {1, 648}, {2, 656}, {3, 672}, {4, 672}, {1000, 640 + 8*1024}, {math.MaxInt, math.MaxInt},
		{math.MaxInt / 8, math.MaxInt},
	} {
		if got := ring.SPSCSize[uint64](c.n); got != c.want {
			t.Errorf("SPSCSize[uint64](%d) = %d, want %d", c.n, got, c.want)
		}
	}
	if got := ring.SPSCSize[[3]byte](4); got != 652 {
		t.Errorf("SPSCSize[[3]byte](4) = %d, want 652: slots are packed", got)
	}
}

func TestNewSPSCRefuses(t *testing.T) {
	mem := memory(t, 4096)
	if _, err := ring.NewSPSC[*int](mem, 4, self(1)); err == nil || !strings.Contains(err.Error(), "pointer") {
		t.Errorf("of pointers: %v", err)
	}
	_, err := ring.NewSPSC[struct{ Name string }](mem, 4, self(1))
	if err == nil || !strings.Contains(err.Error(), "Name") {
		t.Errorf("of strings: %v, want the field's name", err)
	}
	for name, try := range map[string]func() (*ring.SPSC[uint64], error){
		"no items":        func() (*ring.SPSC[uint64], error) { return ring.NewSPSC[uint64](mem, 0, self(1)) },
		"too many items":  func() (*ring.SPSC[uint64], error) { return ring.NewSPSC[uint64](mem, math.MaxInt, self(1)) },
		"too short":       func() (*ring.SPSC[uint64], error) { return ring.NewSPSC[uint64](mem[:671], 4, self(1)) },
		"no memory":       func() (*ring.SPSC[uint64], error) { return ring.NewSPSC[uint64](nil, 4, self(1)) },
		"not aligned":     func() (*ring.SPSC[uint64], error) { return ring.NewSPSC[uint64](mem[8:], 4, self(1)) },
		"no peers":        func() (*ring.SPSC[uint64], error) { return ring.NewSPSC[uint64](mem, 4, nil) },
		"open, too short": func() (*ring.SPSC[uint64], error) { return ring.OpenSPSC[uint64](mem[:639], self(1)) },
	} {
		if r, err := try(); r != nil || err == nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	newSPSC[uint64](t, mem, 4, self(1))
	if _, err := ring.NewSPSC[uint64](mem, 4, self(2)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v, want fs.ErrExist", err)
	}
}

func TestOpenSPSCRefuses(t *testing.T) {
	type sameSize struct{ N uint64 }
	for _, c := range []struct {
		name  string
		spoil func(mem []byte) []byte
		open  func(mem []byte) error
		want  error
	}{
		{name: "zeroes", spoil: func(mem []byte) []byte { clear(mem); return mem }, want: ring.ErrKind},
		{name: "killed in NewSPSC", spoil: func(mem []byte) []byte { ring.ClearMagic(mem); return mem }, want: ring.ErrKind},
		{name: "another magic", spoil: func(mem []byte) []byte { mem[7] ^= 1; return mem }, want: ring.ErrKind},
		{name: "another version", spoil: func(mem []byte) []byte { le(mem[8:], 4, 2); return mem }, want: ring.ErrKind},
		{name: "another type", want: ring.ErrKind, open: func(mem []byte) error {
			_, err := ring.OpenSPSC[sameSize](mem, self(1))
			return err
		}},
		{name: "slots 0", spoil: func(mem []byte) []byte { le(mem[16:], 8, 0); return mem }, want: ring.ErrCorrupt},
		{name: "slots 3", spoil: func(mem []byte) []byte { le(mem[16:], 8, 3); return mem }, want: ring.ErrCorrupt},
		{name: "slots 8", spoil: func(mem []byte) []byte { le(mem[16:], 8, 8); return mem }, want: ring.ErrCorrupt},
		{name: "slots huge", spoil: func(mem []byte) []byte { le(mem[16:], 8, 1<<61); return mem }, want: ring.ErrCorrupt},
		{name: "slots most", spoil: func(mem []byte) []byte { le(mem[16:], 8, 1<<63); return mem }, want: ring.ErrCorrupt},
		{name: "size 0", spoil: func(mem []byte) []byte { le(mem[24:], 8, 0); return mem }, want: ring.ErrCorrupt},
		{name: "size 4", spoil: func(mem []byte) []byte { le(mem[24:], 8, 4); return mem }, want: ring.ErrCorrupt},
		{name: "cut off", spoil: func(mem []byte) []byte { return mem[:671] }, want: ring.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory(t, 672)
			newSPSC[uint64](t, mem, 4, self(1))
			if bigEndian() && c.spoil != nil && c.want == ring.ErrCorrupt {
				t.Skip("the bytes written here are those of a little-endian machine")
			}
			if c.spoil != nil {
				mem = c.spoil(mem)
			}
			open := c.open
			if open == nil {
				open = func(mem []byte) error { _, err := ring.OpenSPSC[uint64](mem, self(1)); return err }
			}
			if err := open(mem); !errors.Is(err, c.want) {
				t.Errorf("OpenSPSC: %v, want %v", err, c.want)
			}
		})
	}
}

// TestNewSPSCAgain: a NewSPSC that was killed before its last store can be repeated.
func TestNewSPSCAgain(t *testing.T) {
	mem := memory(t, 672)
	newSPSC[uint64](t, mem, 2, self(1)).TryPush(1)
	ring.ClearMagic(mem)
	r := newSPSC[uint64](t, mem, 4, self(2))
	if r.Cap() != 4 || r.Len() != 0 {
		t.Errorf("Cap %d, Len %d, want 4 and 0", r.Cap(), r.Len())
	}
	if _, ok := r.TryPop(); ok {
		t.Error("the new ring is not empty")
	}
}

// TestSPSCModel runs random operations on a ring, one handle at each end, and on a slice, and compares.
func TestSPSCModel(t *testing.T) {
	rnd := proctest.Rand(t)
	for _, start := range starts {
		for _, n := range []int{1, 2, 8, 64} {
			t.Run(fmt.Sprintf("start=%#x/n=%d", start, n), func(t *testing.T) {
				model(t, rnd, start, n, func(x uint64) uint64 { return x })
				model(t, rnd, start, n, func(x uint64) [3]byte { return [3]byte{byte(x), byte(x >> 8), byte(x >> 16)} })
				model(t, rnd, start, n, func(x uint64) big { return big{0: x, 32: ^x} })
				model(t, rnd, start, n, func(x uint64) bool { return x%3 == 0 })
				model(t, rnd, start, n, func(x uint64) flags {
					return flags{x%2 == 0, uint32(x), [3]bool{x%3 == 0, x%5 == 0, x%7 == 0}}
				})
			})
		}
	}
}

func model[T comparable](t *testing.T, rnd *rand.Rand, start uint64, n int, item func(uint64) T) {
	t.Helper()
	mem := memory(t, ring.SPSCSize[T](n))
	p := newSPSC[T](t, mem, n, self(1))
	ring.SetPositions(mem, start, start)
	c := openSPSC[T](t, mem, self(2))
	var want []T
	var pushed uint64
	next := func() T { pushed++; return item(pushed) }
	some := func() int { return rnd.IntN(n + 3) }
	equal := func(what string, got []T) {
		t.Helper()
		if len(got) > len(want) || !slices.Equal(got, want[:len(got)]) {
			t.Fatalf("%s: %v, want the first of %v", what, got, want)
		}
	}
	for range 2000 {
		switch op := rnd.IntN(8); op {
		case 0, 1:
			v := next()
			if ok := p.TryPush(v); ok != (len(want) < n) {
				t.Fatalf("TryPush with %d of %d: %v", len(want), n, ok)
			} else if ok {
				want = append(want, v)
			}
		case 2:
			vs := make([]T, some())
			for i := range vs {
				vs[i] = next()
			}
			got := p.TryPushMany(vs)
			if got != min(len(vs), n-len(want)) {
				t.Fatalf("TryPushMany of %d with %d of %d: %d", len(vs), len(want), n, got)
			}
			want = append(want, vs[:got]...)
		case 3:
			ask := some()
			room := p.Reserve(ask)
			if len(room) > min(ask, n-len(want)) || len(room) == 0 && ask > 0 && len(want) < n {
				t.Fatalf("Reserve(%d) with %d of %d: %d", ask, len(want), n, len(room))
			}
			for i := range room {
				room[i] = next()
			}
			first := rnd.IntN(len(room) + 1)
			second := rnd.IntN(len(room) - first + 1)
			want = append(want, room[:first+second]...)
			p.Commit(first)
			p.Commit(second)
		case 4, 5:
			v, ok := c.TryPop()
			if ok != (len(want) > 0) {
				t.Fatalf("TryPop with %d of %d: %v", len(want), n, ok)
			}
			if ok {
				equal("TryPop", []T{v})
				want = want[1:]
			}
		case 6:
			dst := make([]T, some())
			got := c.TryPopMany(dst)
			if got != min(len(dst), len(want)) {
				t.Fatalf("TryPopMany of %d with %d of %d: %d", len(dst), len(want), n, got)
			}
			equal("TryPopMany", dst[:got])
			want = want[got:]
		case 7:
			ask := some()
			items := c.Peek(ask)
			if len(items) > ask || len(items) == 0 && ask > 0 && len(want) > 0 {
				t.Fatalf("Peek(%d) with %d of %d: %d", ask, len(want), n, len(items))
			}
			equal("Peek", items)
			first := rnd.IntN(len(items) + 1)
			second := rnd.IntN(len(items) - first + 1)
			c.Advance(first)
			c.Advance(second)
			want = want[first+second:]
		}
		if p.Len() != len(want) || c.Len() != len(want) || c.Cap() != n {
			t.Fatalf("Len %d and %d, Cap %d, want %d and %d", p.Len(), c.Len(), c.Cap(), len(want), n)
		}
	}
	if p.Err() != nil || c.Err() != nil {
		t.Fatal(p.Err(), c.Err())
	}
}

// TestSPSCInPlace: Reserve and Peek give the slots themselves, unless the items have bools.
func TestSPSCInPlace(t *testing.T) {
	mem := memory(t, ring.SPSCSize[uint64](8))
	r := newSPSC[uint64](t, mem, 8, self(1))
	room := r.Reserve(8)
	if len(room) != 8 || cap(room) != 8 || addressOf(room) != addressOf(mem[ring.SPSCHeaderSize:]) {
		t.Fatalf("Reserve: %d slots of %d at %#x", len(room), cap(room), addressOf(room))
	}
	r.Commit(8)
	if items := r.Peek(8); len(items) != 8 || cap(items) != 8 || addressOf(items) != addressOf(room) {
		t.Errorf("Peek: %d items of %d at %#x, slots at %#x", len(items), cap(items), addressOf(items), addressOf(room))
	}
	fm := memory(t, ring.SPSCSize[flags](64))
	f := newSPSC[flags](t, fm, 64, self(1))
	frame := f.Reserve(64)
	if slices.ContainsFunc(frame, func(x flags) bool { return x != flags{} }) {
		t.Error("Reserve of items with bools gave something that was not zero")
	}
	frame[0].N = 7
	if got := fm[ring.SPSCHeaderSize:]; !allZero(got) {
		t.Error("Reserve of items with bools gave the slots themselves")
	}
	f.Commit(64)
	if items := f.Peek(64); len(items) != ring.MaxStaged || items[0].N != 7 {
		t.Errorf("Peek(64) of items with bools: %d, the first %v", len(items), items[0])
	}
}

func allZero(b []byte) bool { return !slices.ContainsFunc(b, func(x byte) bool { return x != 0 }) }

// TestSPSCBools: a bool that another process made neither 0 nor 1 never reaches the program.
func TestSPSCBools(t *testing.T) {
	const n = 64
	for _, c := range []struct {
		name string
		pop  func(r *ring.SPSC[flags]) []flags
	}{
		{"TryPop", func(r *ring.SPSC[flags]) (got []flags) {
			for v, ok := r.TryPop(); ok; v, ok = r.TryPop() {
				got = append(got, v)
			}
			return got
		}},
		{"TryPopMany", func(r *ring.SPSC[flags]) []flags {
			got := make([]flags, n)
			return got[:r.TryPopMany(got)]
		}},
		{"Peek", func(r *ring.SPSC[flags]) (got []flags) {
			for {
				items := r.Peek(n)
				if len(items) == 0 {
					return got
				}
				got = append(got, items...)
				r.Advance(len(items))
			}
		}},
		{"mixed", func(r *ring.SPSC[flags]) (got []flags) {
			for i := 0; ; i++ {
				var few [5]flags
				switch before := len(got); i % 3 {
				case 0:
					if v, ok := r.TryPop(); ok {
						got = append(got, v)
					} else {
						return got
					}
				case 1:
					got = append(got, few[:r.TryPopMany(few[:])]...)
				case 2:
					got = append(got, r.Peek(7)...)
					r.Advance(len(got) - before)
				}
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory(t, ring.SPSCSize[flags](n))
			r := newSPSC[flags](t, mem, n, self(1))
			for i := range n {
				r.TryPush(flags{N: uint32(i)})
			}
			slots := mem[ring.SPSCHeaderSize:]
			for i := 0; i < len(slots); i += 12 { // A at 0, Bs at 8, 9, 10
				slots[i], slots[i+8], slots[i+10] = 2, 255, 128
			}
			got := c.pop(r)
			if len(got) != n {
				t.Fatalf("%d items, want %d", len(got), n)
			}
			raw := bytesOf(got)
			for i, v := range got {
				b := raw[12*i:]
				if b[0] != 1 || b[8] != 1 || b[9] != 0 || b[10] != 1 || v.N != uint32(i) {
					t.Fatalf("item %d: bytes %v", i, b[:12])
				}
			}
		})
	}
}

// TestSPSCBusy: one handle at a time has an end, also within a process.
func TestSPSCBusy(t *testing.T) {
	mem := memory(t, ring.SPSCSize[uint64](4))
	a := newSPSC[uint64](t, mem, 4, self(1))
	sameProcess := openSPSC[uint64](t, mem, self(1))
	other := openSPSC[uint64](t, mem, self(2))
	if err := a.Produce(); err != nil {
		t.Fatal(err)
	}
	if err := a.Produce(); err != nil {
		t.Errorf("Produce again: %v", err)
	}
	if p, c := ring.Owners(mem); p != 1 || c != 0 {
		t.Errorf("owners %d and %d, want 1 and 0", p, c)
	}
	for name, r := range map[string]*ring.SPSC[uint64]{"same process": sameProcess, "other process": other} {
		if err := r.Produce(); !errors.Is(err, ring.ErrBusy) {
			t.Errorf("%s: Produce: %v, want ErrBusy", name, err)
		}
		if err := r.Err(); err != nil {
			t.Errorf("%s: Err after Produce: %v, which Produce has returned already", name, err)
		}
		if r.TryPush(1) || r.TryPushMany([]uint64{1}) != 0 || r.Reserve(1) != nil {
			t.Errorf("%s: pushed through a busy end", name)
		}
		if err := r.Err(); !errors.Is(err, ring.ErrBusy) {
			t.Errorf("%s: Err: %v, want ErrBusy", name, err)
		}
	}
	if !a.TryPush(5) {
		t.Error("TryPush by the owner")
	}
	if v, ok := other.TryPop(); !ok || v != 5 {
		t.Errorf("TryPop by the other: %d, %v", v, ok)
	}
	if _, ok := a.TryPop(); ok || !errors.Is(a.Err(), ring.ErrBusy) {
		t.Errorf("TryPop where another consumes: %v, Err %v", ok, a.Err())
	}

	// Close gives both ends to whoever asks next, who goes on from there.
	a.TryPush(6)
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if !sameProcess.TryPush(7) || sameProcess.Err() != nil {
		t.Errorf("TryPush after the owner's Close: Err %v", sameProcess.Err())
	}
	for _, want := range []uint64{6, 7} {
		if v, ok := other.TryPop(); !ok || v != want {
			t.Errorf("TryPop: %d, %v, want %d", v, ok, want)
		}
	}
	if a.TryPush(8) || a.Len() != 0 || !errors.Is(a.Err(), os.ErrClosed) || !errors.Is(a.Produce(), os.ErrClosed) {
		t.Errorf("after Close: Err %v, Produce %v", a.Err(), a.Produce())
	}
	if err := a.Close(); err != nil {
		t.Errorf("Close again: %v", err)
	}
	if p, c := ring.Owners(mem); p != 1 || c != 2 {
		t.Errorf("owners %d and %d, want 1 and 2: the second Close freed what it did not have", p, c)
	}
}

func TestSPSCNobody(t *testing.T) {
	mem := memory(t, ring.SPSCSize[uint64](4))
	r := newSPSC[uint64](t, mem, 4, self(0))
	if err := r.Consume(); err == nil {
		t.Error("Consume by a process without an owner id")
	}
	if r.TryPush(1) || r.Err() == nil {
		t.Error("TryPush by a process without an owner id")
	}
}

// TestSPSCCorrupt: a position that cannot be true makes the ring empty and full for good.
func TestSPSCCorrupt(t *testing.T) {
	const n = 8
	for _, c := range []struct{ tail, head uint64 }{
		{0, 1}, {n + 1, 0}, {0, n + 1}, {1 << 63, 0}, {0, 1 << 63}, {5, 1<<64 - n + 4}, {1<<64 - 1, 0},
	} {
		for _, end := range []string{"produce", "consume"} {
			t.Run(fmt.Sprintf("%s/tail=%#x,head=%#x", end, c.tail, c.head), func(t *testing.T) {
				mem := memory(t, ring.SPSCSize[uint64](n))
				r := newSPSC[uint64](t, mem, n, self(1))
				ring.SetPositions(mem, c.tail, c.head)
				if end == "produce" {
					if r.TryPush(1) {
						t.Error("TryPush succeeded")
					}
				} else if _, ok := r.TryPop(); ok {
					t.Error("TryPop succeeded")
				}
				if !errors.Is(r.Err(), ring.ErrCorrupt) {
					t.Errorf("Err: %v, want ErrCorrupt", r.Err())
				}
				ring.SetPositions(mem, 4, 2) // sticky, although all would be well now
				_, ok := r.TryPop()
				if ok || r.TryPush(1) || r.TryPushMany(make([]uint64, 2)) != 0 || r.TryPopMany(make([]uint64, 2)) != 0 ||
					r.Reserve(1) != nil || r.Peek(1) != nil || r.Produce() == nil || r.Consume() == nil {
					t.Error("a corrupt ring is not empty and full")
				}
				if l := r.Len(); l < 0 || l > n {
					t.Errorf("Len %d of %d", l, n)
				}
			})
		}
	}
}

// TestSPSCOwnPosition: what others write into an end's own position does not lead its owner astray.
func TestSPSCOwnPosition(t *testing.T) {
	mem := memory(t, ring.SPSCSize[uint64](4))
	p := newSPSC[uint64](t, mem, 4, self(1))
	p.TryPush(1)
	ring.SetPositions(mem, 77, 0)
	p.TryPush(2)
	c := openSPSC[uint64](t, mem, self(2))
	for _, want := range []uint64{1, 2} {
		if v, ok := c.TryPop(); !ok || v != want {
			t.Errorf("TryPop: %d, %v, want %d", v, ok, want)
		}
	}
}

func TestSPSCMisuse(t *testing.T) {
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s does not panic", name)
			}
		}()
		f()
	}
	r := newSPSC[uint64](t, memory(t, ring.SPSCSize[uint64](4)), 4, self(1))
	r.Commit(0)
	r.Advance(0)
	panics("Commit without Reserve", func() { r.Commit(1) })
	panics("Advance without Peek", func() { r.Advance(1) })
	r.Reserve(2)
	panics("Commit(-1)", func() { r.Commit(-1) })
	panics("Commit of more than Reserve gave", func() { r.Commit(3) })
	r.Commit(1)
	panics("Commit of more than is left", func() { r.Commit(2) })
	r.Commit(1)
	r.Reserve(2)
	r.TryPush(9)
	panics("Commit after a push", func() { r.Commit(1) })
	r.Peek(2)
	r.TryPop()
	panics("Advance after a pop", func() { r.Advance(1) })
	r.Peek(2)
	r.Close()
	panics("Advance after Close", func() { r.Advance(1) })
	if r.Reserve(-1) != nil || r.Peek(-1) != nil {
		t.Error("Reserve(-1) or Peek(-1) gave something")
	}
}

// TestSPSCAllocs: no hot path allocates, nor does a spinning one that is refused.
func TestSPSCAllocs(t *testing.T) {
	mem := memory(t, ring.SPSCSize[flags](8))
	r := newSPSC[flags](t, mem, 8, self(1))
	busy := openSPSC[flags](t, mem, self(2))
	var vs [3]flags
	r.TryPush(vs[0])
	r.TryPop()
	for name, f := range map[string]func(){
		"push and pop": func() { r.TryPush(vs[0]); r.TryPop() },
		"many":         func() { r.TryPushMany(vs[:]); r.TryPopMany(vs[:]) },
		"empty":        func() { r.TryPop() },
		"peek":         func() { r.TryPush(vs[0]); r.Peek(1); r.Advance(1) },
		"busy":         func() { busy.TryPush(vs[0]); busy.TryPop() },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// pushers and poppers are the ways to move a stream of numbers; each moves some from at on and returns how many.
var pushers = map[string]func(r *ring.SPSC[uint64], at, n uint64) uint64{
	"TryPush": func(r *ring.SPSC[uint64], at, n uint64) uint64 {
		if r.TryPush(at) {
			return 1
		}
		return 0
	},
	"TryPushMany": func(r *ring.SPSC[uint64], at, n uint64) uint64 {
		var vs [7]uint64
		for i := range vs {
			vs[i] = at + uint64(i)
		}
		return uint64(r.TryPushMany(vs[:min(n, 7)]))
	},
	"Reserve": func(r *ring.SPSC[uint64], at, n uint64) uint64 {
		room := r.Reserve(int(min(n, 5)))
		for i := range room {
			room[i] = at + uint64(i)
		}
		r.Commit(len(room))
		return uint64(len(room))
	},
}

var poppers = map[string]func(r *ring.SPSC[uint64], buf []uint64) []uint64{
	"TryPop": func(r *ring.SPSC[uint64], buf []uint64) []uint64 {
		if v, ok := r.TryPop(); ok {
			return append(buf[:0], v)
		}
		return nil
	},
	"TryPopMany": func(r *ring.SPSC[uint64], buf []uint64) []uint64 { return buf[:r.TryPopMany(buf)] },
	"Peek": func(r *ring.SPSC[uint64], buf []uint64) []uint64 {
		n := copy(buf, r.Peek(6))
		r.Advance(n)
		return buf[:n]
	},
}

// TestSPSCConcurrent moves numbers between two goroutines and checks their order, through one handle or two, in
// all ways, across the wrap-around of positions.
func TestSPSCConcurrent(t *testing.T) {
	items := uint64(200_000)
	if testing.Short() || race.Enabled {
		items = 5_000
	}
	for pushName, push := range pushers {
		for popName, pop := range poppers {
			for _, handles := range []int{1, 2} {
				t.Run(fmt.Sprintf("%s/%s/handles=%d", pushName, popName, handles), func(t *testing.T) {
					mem := memory(t, ring.SPSCSize[uint64](16))
					p := newSPSC[uint64](t, mem, 16, self(1))
					ring.SetPositions(mem, -items/2, -items/2)
					c := p
					if handles == 2 {
						c = openSPSC[uint64](t, mem, self(2))
					}
					stop := make(chan struct{})
					done := make(chan struct{})
					go func() {
						defer close(done)
						for at := uint64(0); at < items; {
							n := push(p, at, items-at)
							if at += n; n != 0 {
								continue
							}
							select {
							case <-stop:
								return
							default:
								runtime.Gosched()
							}
						}
					}()
					buf := make([]uint64, 9)
					for at := uint64(0); at < items; {
						got := pop(c, buf)
						for _, v := range got {
							if v != at {
								close(stop)
								t.Fatalf("item %d is %d", at, v)
							}
							at++
						}
						if len(got) == 0 {
							if c.Err() != nil {
								close(stop)
								t.Fatal(c.Err())
							}
							runtime.Gosched()
						}
					}
					<-done
					if p.Err() != nil || p.Len() != 0 {
						t.Errorf("at the end: Err %v, Len %d", p.Err(), p.Len())
					}
				})
			}
		}
	}
}
