package ring_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
)

// formNames are the forms of an MPMC.
var formNames = map[uint32]string{
	ring.MPMCBlocks: "blocks", ring.MPMCPairs: "pairs", ring.MPMCBlocks | ring.Exact: "blocks, exact", ring.MPMCPairs | ring.Exact: "pairs, exact",
}

// each runs f with each form in which this machine can make a ring of T.
func each[T any](t *testing.T, f func(t *testing.T, form uint32)) {
	for _, form := range ring.Forms(sizeOf[T]()) {
		t.Run(formNames[form], func(t *testing.T) { f(t, form) })
	}
}

func newMPMC[T any](t testing.TB, mem []byte, n int, p ring.Peers, form uint32) *ring.MPMC[T] {
	t.Helper()
	r, err := ring.NewMPMCIn[T](mem, n, p, form)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openMPMC[T any](t testing.TB, mem []byte, p ring.Peers) *ring.MPMC[T] {
	t.Helper()
	r, err := ring.OpenMPMC[T](mem, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// mpmcStarts are how many items have gone through a ring before a test begins: a mistake with 32 bits shows at 2^32,
// and the laps of the slots wrap around.
func mpmcStarts(r interface {
	PositionBits() int
	Cap() int
}) []uint64 {
	return []uint64{0, 1<<32 - 3, 1<<r.PositionBits() - 3, 1<<r.PositionBits() - uint64(r.Cap()) - 1, 1<<(r.PositionBits()-1) - 3}
}

func TestMPMCSize(t *testing.T) {
	for _, c := range []struct {
		n            int
		pairs, block int
	}{
		{-1, 400, 8704 + 129*8}, {1, 400, 8704 + 129*8}, {2, 416, 8704 + 130*8}, {3, 448, 8704 + 132*8},
		{16, 384 + 256, 8704 + 144*8}, {17, 384 + 512, 8832 + 160*8}, {1000, 384 + 16384, 8576 + 8192 + 1152*8},
		{math.MaxInt, math.MaxInt, math.MaxInt},
	} {
		for form, want := range map[uint32]int{ring.MPMCPairs: c.pairs, ring.MPMCBlocks: c.block} {
			if got := ring.MPMCSizeIn[uint64](c.n, form); got != want {
				t.Errorf("%s: size for %d items is %d, want %d", formNames[form], c.n, got, want)
			}
		}
	}
	if got := ring.MPMCSize[[3]uint64](4); got != 8704+132*24 {
		t.Errorf("MPMCSize[[3]uint64](4) = %d", got)
	}
	if many := uint64(1<<31 + 1); uint64(math.MaxInt) > many {
		if got := ring.MPMCSize[[3]uint64](int(many)); got != math.MaxInt {
			t.Errorf("so many blocks have no number: %d", got)
		}
	}
}

func TestNewMPMCRefuses(t *testing.T) {
	mem := memory(t, 16384)
	if _, err := ring.NewMPMC[*int](mem, 4, self(1)); err == nil || !strings.Contains(err.Error(), "pointer") {
		t.Errorf("of pointers: %v", err)
	}
	each[uint64](t, func(t *testing.T, form uint32) {
		n := ring.MPMCSizeIn[uint64](4, form)
		for name, try := range map[string]func() (*ring.MPMC[uint64], error){
			"no items":        func() (*ring.MPMC[uint64], error) { return ring.NewMPMCIn[uint64](mem, 0, self(1), form) },
			"too many items":  func() (*ring.MPMC[uint64], error) { return ring.NewMPMCIn[uint64](mem, math.MaxInt, self(1), form) },
			"too short":       func() (*ring.MPMC[uint64], error) { return ring.NewMPMCIn[uint64](mem[:n-1], 4, self(1), form) },
			"no memory":       func() (*ring.MPMC[uint64], error) { return ring.NewMPMCIn[uint64](nil, 4, self(1), form) },
			"not aligned":     func() (*ring.MPMC[uint64], error) { return ring.NewMPMCIn[uint64](mem[8:], 4, self(1), form) },
			"no peers":        func() (*ring.MPMC[uint64], error) { return ring.NewMPMCIn[uint64](mem, 4, nil, form) },
			"open, too short": func() (*ring.MPMC[uint64], error) { return ring.OpenMPMC[uint64](mem[:383], self(1)) },
		} {
			if r, err := try(); r != nil || err == nil {
				t.Errorf("%s: %v, %v", name, r, err)
			}
		}
		mem := memory(t, n)
		newMPMC[uint64](t, mem, 4, self(1), form)
		if _, err := ring.NewMPMCIn[uint64](mem, 4, self(2), form); !errors.Is(err, fs.ErrExist) {
			t.Errorf("a second time: %v, want fs.ErrExist", err)
		}
	})
}

func TestOpenMPMCRefuses(t *testing.T) {
	type sameSize struct{ N uint64 }
	each[uint64](t, func(t *testing.T, form uint32) {
		n := ring.MPMCSizeIn[uint64](4, form)
		for _, c := range []struct {
			name  string
			spoil func(mem []byte) []byte
			open  func(mem []byte) error
			want  error
		}{
			{name: "zeroes", spoil: func(mem []byte) []byte { clear(mem); return mem }, want: ring.ErrKind},
			{name: "killed in NewMPMC", spoil: func(mem []byte) []byte { ring.ClearMPMCMagic(mem); return mem }, want: ring.ErrKind},
			{name: "another magic", spoil: func(mem []byte) []byte { mem[7] ^= 1; return mem }, want: ring.ErrKind},
			{name: "an SPSC", spoil: func(mem []byte) []byte { copy(mem, "shl.spsc"); return mem }, want: ring.ErrKind},
			{name: "another version", spoil: func(mem []byte) []byte { le(mem[8:], 4, 1); return mem }, want: ring.ErrKind},
			{name: "another type", want: ring.ErrKind, open: func(mem []byte) error {
				_, err := ring.OpenMPMC[sameSize](mem, self(1))
				return err
			}},
			{name: "form 0", spoil: func(mem []byte) []byte { le(mem[12:], 4, 0); return mem }, want: ring.ErrCorrupt},
			{name: "form 3, messages", spoil: func(mem []byte) []byte { le(mem[12:], 4, 3); return mem }, want: ring.ErrKind},
			{name: "form 4", spoil: func(mem []byte) []byte { le(mem[12:], 4, 4); return mem }, want: ring.ErrCorrupt},
			{name: "limit", spoil: func(mem []byte) []byte { le(mem[40:], 8, 1<<40); return mem }, want: ring.ErrCorrupt},
			{name: "slots 0", spoil: func(mem []byte) []byte { le(mem[16:], 8, 0); return mem }, want: ring.ErrCorrupt},
			{name: "slots 3", spoil: func(mem []byte) []byte { le(mem[16:], 8, 3); return mem }, want: ring.ErrCorrupt},
			{name: "slots 32", spoil: func(mem []byte) []byte { le(mem[16:], 8, 32); return mem }, want: ring.ErrCorrupt},
			{name: "slots huge", spoil: func(mem []byte) []byte { le(mem[16:], 8, 1<<61); return mem }, want: ring.ErrCorrupt},
			{name: "slots most", spoil: func(mem []byte) []byte { le(mem[16:], 8, 1<<63); return mem }, want: ring.ErrCorrupt},
			{name: "size 0", spoil: func(mem []byte) []byte { le(mem[24:], 8, 0); return mem }, want: ring.ErrCorrupt},
			{name: "cut off", spoil: func(mem []byte) []byte { return mem[:n-1] }, want: ring.ErrCorrupt},
		} {
			t.Run(c.name, func(t *testing.T) {
				mem := memory(t, n)
				newMPMC[uint64](t, mem, 4, self(1), form)
				if bigEndian() && c.spoil != nil && c.want == ring.ErrCorrupt {
					t.Skip("the bytes written here are those of a little-endian machine")
				}
				if c.spoil != nil {
					mem = c.spoil(mem)
				}
				open := c.open
				if open == nil {
					open = func(mem []byte) error { _, err := ring.OpenMPMC[uint64](mem, self(1)); return err }
				}
				if err := open(mem); !errors.Is(err, c.want) {
					t.Errorf("OpenMPMC: %v, want %v", err, c.want)
				}
			})
		}
	})
}

// TestOpenMPMCUnsupported: a ring of pairs, on a machine that has none, and of items that do not fit into one.
func TestOpenMPMCUnsupported(t *testing.T) {
	mem := memory(t, 16384)
	newMPMC[[2]uint64](t, mem, 4, self(1), ring.MPMCBlocks)
	le(mem[12:], 4, ring.MPMCPairs)
	if _, err := ring.OpenMPMC[[2]uint64](mem, self(1)); !errors.Is(err, ring.ErrCorrupt) && !bigEndian() {
		t.Errorf("pairs of 16 bytes: %v", err)
	}
	if atomics.HasPair() {
		return
	}
	mem = memory(t, 16384)
	newMPMC[uint64](t, mem, 4, self(1), ring.MPMCBlocks)
	le(mem[12:], 4, ring.MPMCPairs)
	if _, err := ring.OpenMPMC[uint64](mem, self(1)); !errors.Is(err, errors.ErrUnsupported) && !bigEndian() {
		t.Errorf("a ring of pairs on this machine: %v", err)
	}
}

// TestNewMPMCAgain: a NewMPMC that was killed before its last store can be repeated.
func TestNewMPMCAgain(t *testing.T) {
	each[uint64](t, func(t *testing.T, form uint32) {
		mem := memory(t, ring.MPMCSizeIn[uint64](4, form))
		newMPMC[uint64](t, mem, 2, self(1), form).TryPush(1)
		ring.ClearMPMCMagic(mem)
		r := newMPMC[uint64](t, mem, 4, self(2), form)
		if r.Cap() != 4 || r.Len() != 0 {
			t.Errorf("Cap %d, Len %d, want 4 and 0", r.Cap(), r.Len())
		}
		if _, ok := r.TryPop(); ok {
			t.Error("the new ring is not empty")
		}
	})
}

// TestMPMCModel runs random operations on a ring, through several handles, and on a slice, and compares.
func TestMPMCModel(t *testing.T) {
	for _, n := range []int{1, 2, 8, 64} {
		t.Run(fmt.Sprintf("n=%d", n), func(t *testing.T) {
			mpmcModel(t, n, func(x uint64) uint64 { return x })
			mpmcModel(t, n, func(x uint64) [3]byte { return [3]byte{byte(x), byte(x >> 8), byte(x >> 16)} })
			mpmcModel(t, n, func(x uint64) big { return big{0: x, 32: ^x} })
			mpmcModel(t, n, func(x uint64) bool { return x%3 == 0 })
			mpmcModel(t, n, func(x uint64) flags {
				return flags{x%2 == 0, uint32(x), [3]bool{x%3 == 0, x%5 == 0, x%7 == 0}}
			})
		})
	}
}

func mpmcModel[T comparable](t *testing.T, n int, item func(x uint64) T) {
	each[T](t, func(t *testing.T, form uint32) {
		rapid.Check(t, func(t *rapid.T) {
			mem := aligned(ring.MPMCSizeIn[T](n, form))
			var handles []*ring.MPMC[T]
			first, err := ring.NewMPMCIn[T](mem, n, self(1), form)
			if err != nil {
				t.Fatal(err)
			}
			first.SetPosition(rapid.SampledFrom(mpmcStarts(first)).Draw(t, "start"))
			for id := range 3 {
				r, err := ring.OpenMPMC[T](mem, self(1+id))
				if err != nil {
					t.Fatal(err)
				}
				handles = append(handles, r)
			}
			var model []T
			next := uint64(0)
			pick := rapid.SampledFrom(handles)
			many := rapid.IntRange(0, 2*n)
			t.Repeat(map[string]func(*rapid.T){
				"push": func(t *rapid.T) {
					r := pick.Draw(t, "handle")
					if ok := r.TryPush(item(next)); ok != (len(model) < n) {
						t.Fatalf("TryPush with %d of %d: %v, %v", len(model), n, ok, r.Err())
					} else if ok {
						model = append(model, item(next))
					}
					next++
				},
				"pop": func(t *rapid.T) {
					r := pick.Draw(t, "handle")
					v, ok := r.TryPop()
					if ok != (len(model) > 0) || ok && v != model[0] {
						t.Fatalf("TryPop with %d: %v, %v, %v", len(model), v, ok, r.Err())
					}
					if ok {
						model = model[1:]
					}
				},
				"push many": func(t *rapid.T) {
					r, vs := pick.Draw(t, "handle"), make([]T, many.Draw(t, "n"))
					for i := range vs {
						vs[i] = item(next)
						next++
					}
					got := r.TryPushMany(vs)
					if want := min(len(vs), n-len(model)); got != want {
						t.Fatalf("TryPushMany of %d with %d of %d: %d, want %d", len(vs), len(model), n, got, want)
					}
					model = append(model, vs[:got]...)
				},
				"pop many": func(t *rapid.T) {
					r, dst := pick.Draw(t, "handle"), make([]T, many.Draw(t, "n"))
					got := r.TryPopMany(dst)
					if want := min(len(dst), len(model)); got != want || !slices.Equal(dst[:got], model[:got]) {
						t.Fatalf("TryPopMany of %d with %d: %d %v, want %v", len(dst), len(model), got, dst, model)
					}
					model = model[got:]
				},
				"look": func(t *rapid.T) {
					r := pick.Draw(t, "handle")
					if r.Len() != len(model) || r.Cap() != n || r.Err() != nil {
						t.Fatalf("Len %d, Cap %d, %v; want %d, %d", r.Len(), r.Cap(), r.Err(), len(model), n)
					}
				},
				"fall behind": func(t *rapid.T) { pick.Draw(t, "handle").Forget() },
				"close": func(t *rapid.T) {
					i := rapid.IntRange(0, len(handles)-1).Draw(t, "handle")
					handles[i].Close()
					r, err := ring.OpenMPMC[T](mem, self(1+i))
					if err != nil {
						t.Fatal(err)
					}
					handles[i] = r
					pick = rapid.SampledFrom(handles)
				},
			})
		})
	})
}

// TestMPMCClose: nothing works afterwards, and nothing is lost for others.
func TestMPMCClose(t *testing.T) {
	each[uint64](t, func(t *testing.T, form uint32) {
		mem := memory(t, ring.MPMCSizeIn[uint64](4, form))
		r := newMPMC[uint64](t, mem, 4, self(1), form)
		r.TryPush(1)
		for range 2 {
			if err := r.Close(); err != nil {
				t.Fatal(err)
			}
			if _, ok := r.TryPop(); ok || r.TryPush(2) || r.TryPushMany([]uint64{3}) != 0 || r.TryPopMany(make([]uint64, 1)) != 0 {
				t.Error("a closed handle works")
			}
			if !errors.Is(r.Err(), os.ErrClosed) {
				t.Errorf("Err: %v", r.Err())
			}
		}
		other := openMPMC[uint64](t, mem, self(1))
		if v, ok := other.TryPop(); !ok || v != 1 || !other.TryPush(2) {
			t.Errorf("%d, %v, %v", v, ok, other.Err())
		}
		if form&^ring.Exact == ring.MPMCBlocks {
			taken := 0
			for _, o := range other.CellOwners() {
				if o != 0 {
					taken++
				}
			}
			if taken != 1 {
				t.Errorf("%d cells are taken, 1 by a living handle", taken)
			}
		}
	})
}

// TestMPMCNobody: a process that may look but not own looks, and changes nothing.
func TestMPMCNobody(t *testing.T) {
	each[uint64](t, func(t *testing.T, form uint32) {
		mem := memory(t, ring.MPMCSizeIn[uint64](4, form))
		newMPMC[uint64](t, mem, 4, self(1), form).TryPush(1)
		before := slices.Clone(mem)
		r := openMPMC[uint64](t, mem, self(0))
		if _, ok := r.TryPop(); ok || r.TryPush(2) || r.TryPushMany([]uint64{3}) != 0 || r.TryPopMany(make([]uint64, 1)) != 0 {
			t.Error("nobody pushed or popped")
		}
		if r.Len() != 1 || !errors.Is(r.Err(), os.ErrClosed) {
			t.Errorf("Len %d, Err %v", r.Len(), r.Err())
		}
		if !slices.Equal(before, mem) {
			t.Error("nobody changed the ring")
		}
	})
}

// TestMPMCAllocations: the hot paths allocate nothing, also of items with bools, nor do refusals.
func TestMPMCAllocations(t *testing.T) {
	if race.Enabled {
		return // its instrumentation allocates
	}
	mpmcAllocations(t, uint64(1))
	mpmcAllocations(t, true)
	mpmcAllocations(t, flags{A: true})
	mpmcAllocations(t, big{})
}

func mpmcAllocations[T any](t *testing.T, v T) {
	each[T](t, func(t *testing.T, form uint32) {
		r := newMPMC[T](t, memory(t, ring.MPMCSizeIn[T](4, form)), 4, self(1), form)
		vs := make([]T, 6)
		n := testing.AllocsPerRun(100, func() {
			r.TryPush(v)
			r.TryPop()
			r.TryPop()
			r.TryPushMany(vs)
			r.TryPush(v)
			r.TryPopMany(vs)
			r.Len()
		})
		if n != 0 {
			t.Errorf("%T: %v allocations", v, n)
		}
	})
}
