package ring_test

import (
	"errors"
	"math"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
)

// exactForms are the forms of a ring that can be ended.
func exactForms(t *testing.T, f func(t *testing.T, form uint32)) {
	each[uint64](t, func(t *testing.T, form uint32) {
		if form&ring.Exact != 0 {
			f(t, form)
		}
	})
}

// An exact ring holds n items, and after its end takes none; those that are there can be popped, and then everybody sees the mark.
func TestMPMCEnd(t *testing.T) {
	exactForms(t, func(t *testing.T, form uint32) {
		for _, n := range []int{1, 2, 3, 4, 7, 8, 100} {
			mem := memory(t, ring.MPMCSizeIn[uint64](n, form))
			r := newMPMC[uint64](t, mem, n, self(1), form)
			other := openMPMC[uint64](t, mem, self(2))
			for lap := range 3 {
				for i := range n {
					if !r.TryPush(uint64(i)) {
						t.Fatalf("lap %d: item %d of %d: %v", lap, i, n, r.Err())
					}
				}
				if r.TryPush(0) || other.TryPush(0) || other.Len() != n || other.Cap() != n || r.Mark() != 0 {
					t.Fatalf("a full ring of %d has %d, mark %d", n, other.Len(), r.Mark())
				}
				if lap < 2 {
					for i := range n {
						if v, ok := other.TryPop(); !ok || v != uint64(i) {
							t.Fatalf("popped %d, %v", v, ok)
						}
					}
				}
			}
			if !r.End(2) || r.End(1) || other.End(3) {
				t.Fatal("ended by nobody, or twice")
			}
			if _, ok := other.TryPop(); !ok {
				t.Fatal("the end took an item away")
			}
			if r.TryPush(0) || other.TryPush(0) || other.Mark() != 2 || r.Mark() != 2 {
				t.Fatalf("marks %d, %d", r.Mark(), other.Mark())
			}
			for range n - 1 {
				if _, ok := other.TryPop(); !ok {
					t.Fatal("an item is missing")
				}
			}
			if _, ok := other.TryPop(); ok || openMPMC[uint64](t, mem, self(3)).Mark() != 2 {
				t.Fatal("more than there was, or no mark for who comes late")
			}
		}
	})
}

// Pushes that race with the end succeed before it or not at all: who has seen the mark, and then nothing, has seen everything.
func TestMPMCEndRace(t *testing.T) {
	exactForms(t, func(t *testing.T, form uint32) {
		for range 300 {
			const n = 5
			mem := shared(t, ring.MPMCSizeIn[uint64](n, form))
			newMPMC[uint64](t, mem, n, self(1), form)
			var wg sync.WaitGroup
			var pushed, popped, ends atomic.Int32
			for i := range uint32(2) {
				r := openMPMC[uint64](t, mem, self(2+i))
				wg.Go(func() {
					for x := uint64(0); r.Mark() == 0; runtime.Gosched() {
						if r.TryPush(x) {
							pushed.Add(1)
						}
						if x++; x == 20 && r.End(1+int(i)) {
							ends.Add(1)
						}
					}
					if r.Err() != nil {
						t.Error(r.Err())
					}
				})
				c := openMPMC[uint64](t, mem, self(10+i))
				wg.Go(func() {
					for ; ; runtime.Gosched() {
						over := c.Mark() != 0
						if _, ok := c.TryPop(); ok {
							popped.Add(1)
						} else if over {
							return
						}
						if l := c.Len(); l > n || l < 0 {
							t.Errorf("Len %d of %d", l, n)
						}
					}
				})
			}
			wg.Wait()
			if pushed.Load() != popped.Load() || ends.Load() != 1 {
				t.Fatalf("%d pushed, %d popped, ended %d times", pushed.Load(), popped.Load(), ends.Load())
			}
		}
	})
}

// endable is an exact ring of numbers, of any form, also one of messages.
type endable interface {
	push(x uint64) bool
	pop() (uint64, bool)
	End(mark int) bool
	Mark() int
	Len() int
	Pushed() uint64
	Cap() int
	Err() error
	Close() error
	SetPosition(p uint64)
	PositionBits() int
	Forget()
}

type exactNumbers struct{ *ring.MPMC[uint64] }

func (r exactNumbers) push(x uint64) bool  { return r.TryPush(x) }
func (r exactNumbers) pop() (uint64, bool) { return r.TryPop() }

// eachEndable runs f with what makes and opens exact rings of n numbers, in each form.
func eachEndable(t *testing.T, n int, f func(t *testing.T, size int, make, open func(t testing.TB, mem []byte, p ring.Peers) endable)) {
	exactForms(t, func(t *testing.T, form uint32) {
		f(t, ring.MPMCSizeIn[uint64](n, form), func(t testing.TB, mem []byte, p ring.Peers) endable {
			return exactNumbers{newMPMC[uint64](t, mem, n, p, form)}
		}, func(t testing.TB, mem []byte, p ring.Peers) endable { return exactNumbers{openMPMC[uint64](t, mem, p)} })
	})
	t.Run("messages", func(t *testing.T) {
		f(t, ring.MessagesSize(n, letterSize), func(t testing.TB, mem []byte, p ring.Peers) endable {
			return &letters{Messages: newMessages(t, mem, n, letterSize, p)}
		}, func(t testing.TB, mem []byte, p ring.Peers) endable {
			return &letters{Messages: openMessages(t, mem, p)}
		})
	})
}

// TestMPMCEndModel runs random operations on exact rings, with ends among them, and on a slice, and compares.
func TestMPMCEndModel(t *testing.T) {
	for _, n := range []int{1, 3, 4, 20} {
		eachEndable(t, n, func(t *testing.T, size int, make, open func(t testing.TB, mem []byte, p ring.Peers) endable) {
			rapid.Check(t, func(rt *rapid.T) {
				mem := aligned(size)
				first := make(t, mem, self(1))
				start := rapid.SampledFrom(mpmcStarts(first)).Draw(rt, "start")
				first.SetPosition(start)
				handles := []endable{open(t, mem, self(2)), open(t, mem, self(3)), first}
				var model []uint64
				mark, next, pushed := 0, uint64(0), uint64(0)
				pick := rapid.SampledFrom(handles)
				rt.Repeat(map[string]func(*rapid.T){
					"push": func(t *rapid.T) {
						next++
						r := pick.Draw(t, "handle")
						if ok := r.push(next); ok != (len(model) < n && mark == 0) {
							t.Fatalf("push with %d of %d, mark %d: %v, %v", len(model), n, mark, ok, r.Err())
						} else if ok {
							pushed++
							model = append(model, next)
						}
					},
					"pop": func(t *rapid.T) {
						v, ok := pick.Draw(t, "handle").pop()
						if ok != (len(model) > 0) || ok && v != model[0] {
							t.Fatalf("pop with %d: %d, %v", len(model), v, ok)
						}
						if ok {
							model = model[1:]
						}
					},
					"look": func(t *rapid.T) {
						r := pick.Draw(t, "handle")
						if r.Len() != len(model) || r.Cap() != n || r.Mark() != mark || r.Err() != nil {
							t.Fatalf("Len %d, Cap %d, Mark %d, %v; want %d, %d, %d", r.Len(), r.Cap(), r.Mark(), r.Err(), len(model), n, mark)
						}
						if got := r.Pushed() - start; (got-pushed)<<(64-r.PositionBits()) != 0 {
							t.Fatalf("%d pushed, want %d", got, pushed)
						}
					},
					"end": func(t *rapid.T) {
						if rapid.IntRange(0, 9).Draw(t, "seldom") > 0 {
							return
						}
						m := rapid.IntRange(-1, 5).Draw(t, "mark")
						valid := m >= 1 && m <= 3
						if ok := pick.Draw(t, "handle").End(m); ok != (valid && mark == 0) {
							t.Fatalf("End(%d) of a ring with mark %d: %v", m, mark, ok)
						} else if ok {
							mark = m
						}
					},
					"fall behind": func(t *rapid.T) { pick.Draw(t, "handle").Forget() },
				})
			})
		})
	}
}

// A ring that is not exact cannot be ended, nor can any by a process that may look but not own, or by who has closed it: nothing
// is changed then.
func TestMPMCEndRefused(t *testing.T) {
	each[uint64](t, func(t *testing.T, form uint32) {
		if form&ring.Exact != 0 {
			return
		}
		mem := memory(t, ring.MPMCSizeIn[uint64](4, form))
		r := newMPMC[uint64](t, mem, 4, self(1), form)
		before := slices.Clone(mem)
		if r.End(1) || r.Mark() != 0 || !slices.Equal(before, mem) || !r.TryPush(1) {
			t.Error("a ring that cannot be ended was")
		}
	})
	eachEndable(t, 3, func(t *testing.T, size int, make, open func(t testing.TB, mem []byte, p ring.Peers) endable) {
		mem := memory(t, size)
		r := make(t, mem, self(1))
		r.push(1)
		before := slices.Clone(mem)
		nobody := open(t, mem, self(0))
		if nobody.End(1) || nobody.Mark() != 0 || !errors.Is(nobody.Err(), os.ErrClosed) || !slices.Equal(before, mem) {
			t.Errorf("nobody ended the ring: %v", nobody.Err())
		}
		closed := open(t, mem, self(2))
		closed.Close()
		if closed.End(1) || closed.Mark() != 0 || !slices.Equal(before, mem) {
			t.Error("who has closed the ring ended it")
		}
		if !r.End(3) || closed.Mark() != 3 || nobody.Mark() != 3 || nobody.Len() != 1 {
			t.Error("a handle that is closed does not see the end")
		}
	})
}

// In a new ring in the memory of an ended one nothing is left of that.
func TestMPMCEndAgain(t *testing.T) {
	eachEndable(t, 3, func(t *testing.T, size int, make, open func(t testing.TB, mem []byte, p ring.Peers) endable) {
		mem := memory(t, size)
		make(t, mem, self(1)).End(1)
		ring.ClearMPMCMagic(mem)
		r := make(t, mem, self(1))
		if r.Mark() != 0 || !r.push(1) || open(t, mem, self(2)).Mark() != 0 {
			t.Error("a new ring has been ended")
		}
	})
}

// TestMPMCLenAtAnInstant: a ring that has always four items to six, and through which others go all the time, is never seen with
// fewer or more.
func TestMPMCLenAtAnInstant(t *testing.T) {
	const n, more = 9, 4
	rounds := 300_000
	if testing.Short() || race.Enabled {
		rounds = 20_000
	}
	eachEndable(t, n, func(t *testing.T, size int, make, open func(t testing.TB, mem []byte, p ring.Peers) endable) {
		mem := shared(t, size)
		r := make(t, mem, self(1))
		r.SetPosition(1<<r.PositionBits() - 1000)
		for i := range uint64(more) {
			r.push(i)
		}
		var wg sync.WaitGroup
		var working atomic.Int32
		for i := range uint32(2) { // each pushes one and pops one, so that there are always more to more+2
			r := open(t, mem, self(2+i))
			working.Add(1)
			wg.Go(func() {
				defer working.Add(-1)
				for range rounds {
					if !r.push(0) {
						t.Error("full: ", r.Err())
						return
					}
					if _, ok := r.pop(); !ok {
						t.Error("empty: ", r.Err())
						return
					}
				}
			})
		}
		looks, seen := 0, map[int]int{}
		for looker := open(t, mem, self(9)); working.Load() > 0; looks++ {
			l := looker.Len()
			if l < more || l > more+2 {
				t.Errorf("Len %d of a ring of %d to %d", l, more, more+2)
				break
			}
			seen[l]++
		}
		wg.Wait()
		if r.Len() != more {
			t.Errorf("%d are left", r.Len())
		}
		t.Logf("%d looks: %v", looks, seen)
	})
}

// TestMPMCExactly: whatever goroutines push and pop at once, there are never more items in an exact ring than it holds. Each is
// counted after its push, and not any more before its pop, so the count is at most what is there.
func TestMPMCExactly(t *testing.T) {
	rounds := 5000
	if testing.Short() || race.Enabled {
		rounds = 500
	}
	for _, n := range []int{1, 3, 5} {
		eachEndable(t, n, func(t *testing.T, size int, make, open func(t testing.TB, mem []byte, p ring.Peers) endable) {
			mem := shared(t, size)
			make(t, mem, self(1))
			var inside, most atomic.Int32
			var wg sync.WaitGroup
			for i := range uint32(3) {
				r := open(t, mem, self(2+i))
				wg.Go(func() {
					for k := range rounds {
						if r.push(uint64(k)) {
							for c := inside.Add(1); ; {
								m := most.Load()
								if c <= m || most.CompareAndSwap(m, c) {
									break
								}
							}
						}
						if k%2 == 1 || n == 1 {
							inside.Add(-1)
							if _, ok := r.pop(); !ok {
								inside.Add(1)
							}
						}
						runtime.Gosched()
					}
				})
			}
			wg.Wait()
			if m := int(most.Load()); m > n {
				t.Errorf("%d items in a ring of %d", m, n)
			}
		})
	}
}

// Numbers of items at the border of what fits.
func TestMPMCExactSize(t *testing.T) {
	exact := ring.MPMCOptions{Exact: true}
	for _, c := range []struct{ n, slots int }{{-1, 4}, {0, 4}, {1, 4}, {3, 4}, {4, 8}, {7, 8}, {8, 16}, {1023, 1024}, {1024, 2048}} {
		if got, want := ring.MPMCSize[[2]uint64](c.n, exact), ring.MPMCSize[[2]uint64](c.slots); got != want {
			t.Errorf("%d items exactly take %d bytes, want those of %d slots, %d", c.n, got, c.slots, want)
		}
	}
	for _, n := range []int{math.MaxInt, math.MaxInt/16 + 1} {
		if got := ring.MPMCSize[uint64](n, exact); got != math.MaxInt {
			t.Errorf("%d items take %d bytes", n, got)
		}
		if _, err := ring.NewMPMC[uint64](memory(t, 16384), n, self(1), exact); err == nil {
			t.Errorf("a ring of %d items was made", n)
		}
	}
	mem := memory(t, ring.MPMCSize[uint64](3, exact))
	if r, err := ring.NewMPMC[uint64](mem, 3, self(1), exact); err != nil || r.Cap() != 3 {
		t.Error(err)
	}
	if ring.MPMCSize[uint64](3) != ring.MPMCSize[uint64](3, ring.MPMCOptions{}) {
		t.Error("options that ask for nothing change something")
	}
}

// What an exact ring says of itself and cannot be.
func TestOpenMPMCExactRefuses(t *testing.T) {
	if bigEndian() {
		t.Skip("the bytes written here are those of a little-endian machine")
	}
	eachEndable(t, 3, func(t *testing.T, size int, make, open func(t testing.TB, mem []byte, p ring.Peers) endable) {
		for _, limit := range []uint64{4, 5, 1 << 40, math.MaxUint64} {
			mem := memory(t, size)
			make(t, mem, self(1))
			le(mem[40:], 8, limit)
			var err error
			if mem[12] == ring.MPMCMessages {
				_, err = ring.OpenMessages(mem, self(1))
			} else {
				_, err = ring.OpenMPMC[uint64](mem, self(1))
			}
			if !errors.Is(err, ring.ErrCorrupt) {
				t.Errorf("at most %d in 4 slots: %v", limit, err)
			}
		}
	})
	each[uint64](t, func(t *testing.T, form uint32) { // of two slots, for there is no room for a mark
		if form&ring.Exact != 0 {
			return
		}
		mem := memory(t, ring.MPMCSizeIn[uint64](2, form))
		newMPMC[uint64](t, mem, 2, self(1), form)
		le(mem[40:], 8, 1)
		if _, err := ring.OpenMPMC[uint64](mem, self(1)); !errors.Is(err, ring.ErrCorrupt) {
			t.Errorf("at most 1 in 2 slots: %v", err)
		}
	})
}

// crowd makes a ring of which others have half of the cells, so that who comes now borrows one for each push.
func crowd(t testing.TB, n int) (mem []byte, r *ring.MPMC[[2]uint64]) {
	t.Helper()
	mem = shared(t, ring.MPMCSizeIn[[2]uint64](n, ring.MPMCBlocks|ring.Exact))
	r = newMPMC[[2]uint64](t, mem, n, self(1), ring.MPMCBlocks|ring.Exact)
	for i := range ring.MPMCCells / 2 {
		r.SetCellOwner(2*i, 1000+uint32(i))
	}
	return mem, r
}

// borrowers are how many cells process id has just now.
func borrowers(r blocks, id uint32) (n int) {
	for _, owner := range r.CellOwners() {
		if owner == id {
			n++
		}
	}
	return n
}

// TestMPMCBorrowed: goroutines of a handle that borrows push and pop as others do, with at most so many cells as a handle may
// have; each is given back, and nothing allocated for it once all have had one.
func TestMPMCBorrowed(t *testing.T) {
	const n, goroutines, items = 64, 40, 200
	mem, r := crowd(t, n)
	b, err := ring.OpenMPMC[[2]uint64](mem, self(2))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var left atomic.Int32
	for g := range uint64(goroutines) {
		left.Add(1)
		wg.Go(func() {
			defer left.Add(-1)
			for i := uint64(0); i < items; {
				if b.TryPush([2]uint64{g, i}) {
					i++
				} else if b.Err() != nil {
					t.Error(b.Err())
					return
				} else {
					runtime.Gosched()
				}
			}
		})
	}
	var next [goroutines]uint64
	for got := 0; got < goroutines*items; {
		v, ok := r.TryPop()
		if k := borrowers(r, 2); k > ring.MaxMine {
			t.Fatalf("%d cells are lent to one handle", k)
		}
		if !ok {
			if left.Load() == 0 && r.Len() == 0 && got < goroutines*items {
				t.Fatalf("%d items", got)
			}
			runtime.Gosched()
			continue
		}
		if v[0] >= goroutines || v[1] != next[v[0]] {
			t.Fatalf("popped %v, want the next of %v", v, next)
		}
		next[v[0]]++
		got++
	}
	wg.Wait()
	if k := borrowers(r, 2); k != 0 {
		t.Errorf("%d cells were not given back", k)
	}
	if !race.Enabled {
		if a := testing.AllocsPerRun(100, func() {
			b.TryPush([2]uint64{})
			b.TryPushMany([][2]uint64{{}, {}})
			for range 3 {
				b.TryPop()
			}
		}); a != 0 {
			t.Errorf("%v allocations by who borrows", a)
		}
	}
	for i := range ring.MPMCCells {
		r.SetCellOwner(i, 0)
	}
	account(t, r)
}

// TestMPMCBorrowedClose: when Close has returned no push of the handle is under way, also none with a borrowed cell: so the
// process can leave then without doing harm.
func TestMPMCBorrowedClose(t *testing.T) {
	rounds := 300
	if testing.Short() || race.Enabled {
		rounds = 50
	}
	mem, r := crowd(t, 8)
	for round := range rounds {
		b, err := ring.OpenMPMC[[2]uint64](mem, self(2))
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var pushed atomic.Int64
		for range 3 {
			wg.Go(func() {
				for b.Err() == nil {
					if b.TryPushMany([][2]uint64{{1}, {2}, {3}, {4}, {5}}) > 0 {
						pushed.Add(1)
					}
					b.TryPopMany(make([][2]uint64, 5))
				}
			})
		}
		for pushed.Load() < 2 {
			runtime.Gosched()
		}
		b.Close()
		if k := borrowers(r, 2); k != 0 {
			t.Fatalf("round %d: after Close %d pushes are under way", round, k)
		}
		wg.Wait()
	}
}
