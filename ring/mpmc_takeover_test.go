package ring_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
)

// shared returns memory for a ring that several goroutines use at once. With the race detector it is not in the Go
// heap: a consumer may read an item while a producer writes over it, and throws it away then, which the detector
// would report.
func shared(t testing.TB, n int) []byte {
	t.Helper()
	if !race.Enabled {
		return memory(t, n)
	}
	mem, err := mmap.MapRegion(nil, n, mmap.RDWR, mmap.ANON, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mem.Unmap() })
	return mem
}

// blocks is a ring of blocks, of whatever items.
type blocks interface {
	Slots() int
	SlotBlock(i int) uint64
	CellOwners() [ring.MPMCCells]uint32
	Note(i int) (have, want uint64)
	SetNote(i int, have, want uint64)
}

// account checks that each block of r is in one place, when nobody lives that has a cell.
func account(t testing.TB, r blocks) {
	t.Helper()
	where := make([]string, r.Slots()+ring.MPMCCells)
	put := func(b uint64, here string) {
		if b >= uint64(len(where)) {
			t.Fatalf("%s has block %d of %d", here, b, len(where))
		}
		if where[b] != "" {
			t.Fatalf("block %d is with %s and %s", b, where[b], here)
		}
		where[b] = here
	}
	for i := range r.Slots() {
		put(r.SlotBlock(i), fmt.Sprint("slot ", i))
	}
	for i, owner := range r.CellOwners() {
		have, want := r.Note(i)
		if owner != 0 || want != 1<<32-1 {
			t.Fatalf("cell %d has owner %d and note %d, %d", i, owner, have, want)
		}
		put(have, fmt.Sprint("cell ", i))
	}
}

// cellOf is the cell of the process with that id, which has one.
func cellOf(t testing.TB, r blocks, id uint32) int {
	t.Helper()
	owners := r.CellOwners()
	i := slices.Index(owners[:], id)
	if i < 0 {
		t.Fatalf("process %d has no cell", id)
	}
	return i
}

// abandon leaves process id as a push leaves it that was killed between its note and its CAS. The process has pushed
// before, so the second block in its note is the private one; the next push goes to slot.
func abandon(t testing.TB, r blocks, id uint32, slot int) {
	i := cellOf(t, r, id)
	have, want := r.Note(i)
	if want == 1<<32-1 {
		want = have
	}
	r.SetNote(i, want, r.SlotBlock(slot))
}

// TestMPMCCells: of any number of processes that push half of the cells belong to those who came first, and the others borrow one
// for each push. Only when all are in use at once is one refused, until one of them is given back or its owner dies.
func TestMPMCCells(t *testing.T) {
	var w world
	const n = 200
	mem := memory(t, ring.MPMCSizeIn[uint64](256, ring.MPMCBlocks))
	all := []*ring.MPMC[uint64]{newMPMC[uint64](t, mem, 256, w.process(1), ring.MPMCBlocks)}
	for i := range uint32(n - 1) {
		all = append(all, openMPMC[uint64](t, mem, w.process(i+2)))
	}
	for i, r := range all {
		if !r.TryPush(uint64(i)) {
			t.Fatalf("process %d: %v", i, r.Err())
		}
	}
	first, last := all[0], all[n-1]
	free := func() (free []int) {
		for i, owner := range first.CellOwners() {
			if owner == 0 {
				free = append(free, i)
			}
		}
		return free
	}
	cells := free()
	if len(cells) != ring.MPMCCells/2 {
		t.Fatalf("%d cells are free", len(cells))
	}
	for _, i := range cells { // as while others push
		first.SetCellOwner(i, 1000+uint32(i))
	}
	if last.TryPush(0) || last.TryPushMany([]uint64{0}) != 0 || !errors.Is(last.Err(), ring.ErrBusy) {
		t.Fatalf("with all cells taken: %v", last.Err())
	}
	if v, ok := last.TryPop(); !ok || v != 0 || last.Len() != n-1 {
		t.Errorf("popped %d, %v with all cells taken", v, ok)
	}
	all[5].Close()
	for i := range uint64(3) {
		if !last.TryPush(n+i) || last.Err() != nil || len(free()) > 1 {
			t.Fatalf("after a Close: %v, %d cells are free", last.Err(), len(free()))
		}
	}
	first.SetCellOwner(cells[0], 0)
	for _, i := range free() {
		first.SetCellOwner(i, 1000)
	}
	if last.TryPush(0) {
		t.Fatal("more producers than cells")
	}
	w.kill(20)
	w.kill(21)
	if !last.TryPush(n + 3) {
		t.Fatalf("after two deaths: %v", last.Err())
	}
	for id := range uint32(2000) {
		w.kill(id)
	}
	sweeper := openMPMC[uint64](t, mem, w.process(2001))
	sweeper.Reclaim()
	account(t, sweeper)
	for i := range uint64(n + 3) {
		if v, ok := sweeper.TryPop(); !ok || v != i+1 {
			t.Fatalf("item %d is %d, %v", i+1, v, ok)
		}
	}
}

// slowly is a process that does something whenever it is asked whether it lives.
type slowly struct {
	asked func()
}

func (s slowly) Self() uint32 { return 2 }
func (s slowly) Dead(id uint32) bool {
	if id == 2 {
		s.asked()
	}
	return false
}

// TestMPMCRefusalEnds: one goroutine finds all cells taken, and before it goes on another one gets one. Err does not say
// ErrBusy after that. (A mutex that somebody has waited for more than a millisecond lets that one go on at once.)
func TestMPMCRefusalEnds(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const n = 16
	mem := memory(t, ring.MPMCSizeIn[uint64](n, ring.MPMCBlocks))
	other := newMPMC[uint64](t, mem, n, self(1), ring.MPMCBlocks)
	for i := range ring.MPMCCells {
		other.SetCellOwner(i, 1)
	}
	asked := 0
	r := openMPMC[uint64](t, mem, slowly{func() {
		switch asked++; {
		case asked < 4:
			for start := time.Now(); time.Since(start) < 2*time.Millisecond; {
				runtime.Gosched()
			}
		case asked == 4:
			other.SetCellOwner(5, 0)
		}
	}})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !r.TryPush(1) { // at once, so that the others wait for the mutex
			}
		})
	}
	wg.Wait()
	if err := r.Err(); err != nil || !r.TryPush(1) {
		t.Errorf("after pushes that succeeded: %v", err)
	}
}

// TestMPMCReclaim kills producers at random, some in the middle of a push, so that notes name each other's blocks
// in long chains; and some without having pushed. Afterwards it is known of all which blocks they had. Few slots make
// the longest chains, since the blocks change hands all the time.
func TestMPMCReclaim(t *testing.T) {
	rnd := proctest.Rand(t)
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	for _, n := range []int{1, 2, 8, 256} {
		for range rounds {
			var w world
			mem := memory(t, ring.MPMCSizeIn[[2]uint64](n, ring.MPMCBlocks))
			c := newMPMC[[2]uint64](t, mem, n, w.process(1), ring.MPMCBlocks)
			c.SetPosition(mpmcStarts(c)[rnd.IntN(5)])
			type producer struct {
				id uint32
				r  *ring.MPMC[[2]uint64]
			}
			var living []*producer
			var doomed []uint32 // processes that are stopped in the middle of a push, and will not go on
			id, pushed, popped := uint32(1), uint64(0), uint64(0)
			pop := func() {
				if v, ok := c.TryPop(); ok {
					if v != [2]uint64{popped, ^popped} {
						t.Fatalf("item %d is %v", popped, v)
					}
					popped++
				}
			}
			for range 600 {
				switch k := rnd.IntN(12); {
				case k == 0 || len(living) == 0:
					id++
					living = append(living, &producer{id: id, r: openMPMC[[2]uint64](t, mem, w.process(id))})
				case k == 1:
					i := rnd.IntN(len(living))
					p := living[i]
					living = slices.Delete(living, i, i+1)
					owners := c.CellOwners()
					if slices.Contains(owners[:], p.id) {
						switch rnd.IntN(4) {
						case 0: // in the middle of a push to the slot that is next
							abandon(t, c, p.id, int(c.Tail())&(n-1))
						case 1: // or one that will have been next when it is killed
							abandon(t, c, p.id, int(c.Tail())&(n-1))
							doomed = append(doomed, p.id)
							continue
						case 2:
							p.r.Close()
						}
					}
					w.kill(p.id)
				case k == 2 && len(doomed) > 3:
					w.kill(doomed[0])
					doomed = doomed[1:]
				case k < 8:
					p := living[rnd.IntN(len(living))]
					if p.r.TryPush([2]uint64{pushed, ^pushed}) {
						pushed++
					} else if pushed-popped < uint64(n) {
						t.Fatalf("TryPush with %d of %d: %v", pushed-popped, n, p.r.Err())
					}
				default:
					pop()
				}
				if rnd.IntN(50) == 0 {
					c.Reclaim() // nobody pushes meanwhile, so no dead process's cell may be left
					for i, owner := range c.CellOwners() {
						if owner != 0 && w.process(1).Dead(owner) {
							have, want := c.Note(i)
							t.Fatalf("cell %d of the dead %d, note %d, %d, is not resolved", i, owner, have, want)
						}
					}
				}
			}
			for popped < pushed {
				pop()
			}
			for _, p := range living {
				w.kill(p.id)
			}
			for _, id := range doomed {
				w.kill(id)
			}
			c.Reclaim()
			account(t, c)
		}
	}
}

// TestMPMCTakeOverRace: processes die all the time, in the middle of pushes and without, and others take their cells
// over, all at once.
func TestMPMCTakeOverRace(t *testing.T) {
	const n, goroutines = 4, 4
	lives := 4000
	if testing.Short() || race.Enabled {
		lives = 800
	}
	var w world
	mem := shared(t, ring.MPMCSizeIn[[2]uint64](n, ring.MPMCBlocks))
	c := newMPMC[[2]uint64](t, mem, n, w.process(1), ring.MPMCBlocks)
	var wg sync.WaitGroup
	pushed := make([]uint64, goroutines+1)
	for g := 1; g <= goroutines; g++ {
		wg.Go(func() {
			for life := range lives {
				id := uint32(2 + life*goroutines + g)
				r := openMPMC[[2]uint64](t, mem, w.process(id))
				for range 1 + life%5 {
					for !r.TryPush([2]uint64{uint64(g), pushed[g]}) {
						if err := r.Err(); err != nil && !errors.Is(err, ring.ErrBusy) {
							t.Error(err)
							return
						}
						runtime.Gosched()
					}
					pushed[g]++
				}
				// Of a process that does nothing any more the note says that it gave its block away; as well it could have
				// meant to give the other one away for that.
				if have, want := r.Note(cellOf(t, r, id)); life%2 == 0 {
					r.SetNote(cellOf(t, r, id), want, have)
				}
				w.kill(id)
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	var popped [goroutines + 1]uint64
	for ended := false; ; {
		v, ok := c.TryPop()
		if !ok {
			if ended {
				break
			}
			select {
			case <-done:
				ended = true
			default:
				runtime.Gosched()
			}
			continue
		}
		if g := v[0]; g < 1 || g > goroutines || v[1] != popped[g] {
			t.Fatalf("popped %v, want the next of %v", v, popped)
		}
		popped[v[0]]++
	}
	if !slices.Equal(popped[:], pushed) {
		t.Errorf("popped %v, pushed %v", popped, pushed)
	}
	c.Reclaim()
	account(t, c)
	if c.Err() != nil {
		t.Error(c.Err())
	}
}

// TestMPMCClaimRace: of many that find one cell, free or of a dead process, one gets it, and the others only after it is given back.
func TestMPMCClaimRace(t *testing.T) {
	const claimants = 2
	rounds := 3000
	if testing.Short() || race.Enabled {
		rounds = 300
	}
	for round := range rounds {
		var w world
		mem := shared(t, ring.MPMCSizeIn[uint64](8, ring.MPMCBlocks))
		r := newMPMC[uint64](t, mem, 8, w.process(1), ring.MPMCBlocks)
		for i := range ring.MPMCCells {
			r.SetCellOwner(i, 1000)
		}
		if i := round % ring.MPMCCells; round%2 == 0 {
			r.SetCellOwner(i, 0)
		} else {
			r.SetCellOwner(i, 2000)
			w.kill(2000)
		}
		var got, ready atomic.Int32
		var wg sync.WaitGroup
		for i := range uint32(claimants) {
			peers := w.process(2 + ring.MPMCCells*i) // who look for cells in the same order
			if round%2 == 0 {
				peers = self(peers.Self()) // without a lock that makes one wait for the other
			}
			r := openMPMC[uint64](t, mem, peers)
			wg.Go(func() {
				ready.Add(1)
				for spin := 0; ready.Load() < claimants; spin++ {
					if spin > 1000 {
						runtime.Gosched()
					}
				}
				if r.TryPush(uint64(i)) {
					got.Add(1)
				} else if !errors.Is(r.Err(), ring.ErrBusy) {
					t.Error(r.Err())
				}
			})
		}
		wg.Wait()
		if n := got.Load(); n < 1 || r.Len() != int(n) {
			t.Fatalf("round %d: %d producers with one cell, Len %d", round, n, r.Len())
		}
		for i := range ring.MPMCCells {
			r.SetCellOwner(i, 0)
		}
		account(t, r)
	}
}

// late is a process to which only those are dead whose numbers are high.
type late struct{ *interrupted }

func (p late) Dead(id uint32) bool { return id >= 1000 && p.interrupted.Dead(id) }

// TestMPMCTakeOverBetween: while one process asks whether owners are dead another takes their cells over. That stands.
func TestMPMCTakeOverBetween(t *testing.T) {
	mem := memory(t, ring.MPMCSizeIn[uint64](256, ring.MPMCBlocks))
	for i := range uint32(ring.MPMCCells) {
		r := self(1000 + i)
		if i == 0 {
			newMPMC[uint64](t, mem, 256, r, ring.MPMCBlocks).TryPush(0)
		} else if !openMPMC[uint64](t, mem, r).TryPush(uint64(i)) {
			t.Fatal("a cell for each")
		}
	}
	quick := openMPMC[uint64](t, mem, late{&interrupted{id: 2}})
	slow := openMPMC[uint64](t, mem, late{&interrupted{id: 3, first: func() {
		if !quick.TryPush(128) {
			t.Error(quick.Err())
		}
	}}})
	if !slow.TryPush(129) {
		t.Error(slow.Err())
	}
	if !quick.TryPush(130) {
		t.Errorf("a living process has lost its cell: %v", quick.Err())
	}
	for i := range uint64(131) {
		if v, ok := slow.TryPop(); !ok || v != i {
			t.Fatalf("item %d is %d, %v", i, v, ok)
		}
	}
	quick.Close()
	slow.Close()
	account(t, slow)
}

// TestMPMCOwnDeath: a process that has left (it closed its segment) and goes on to use its handle takes no cell, and
// finds that another has taken over the one it had.
func TestMPMCOwnDeath(t *testing.T) {
	mem := memory(t, ring.MPMCSizeIn[uint64](8, ring.MPMCBlocks))
	me := &leaver{id: 1}
	r := newMPMC[uint64](t, mem, 8, me, ring.MPMCBlocks)
	r.TryPush(1)
	late := openMPMC[uint64](t, mem, me)
	me.left = true
	if late.TryPush(2) || !errors.Is(late.Err(), os.ErrClosed) {
		t.Errorf("a push by a process that has left: %v", late.Err())
	}
	next := openMPMC[uint64](t, mem, &interrupted{id: 2})
	next.Reclaim()
	if r.TryPush(2) || r.TryPushMany([]uint64{2}) != 0 || !errors.Is(r.Err(), os.ErrClosed) {
		t.Errorf("a push without a cell: %v", r.Err())
	}
	r.Close()
	account(t, next)
	if v, ok := next.TryPop(); !ok || v != 1 {
		t.Errorf("popped %d, %v", v, ok)
	}
}

// TestMPMCOwnerComesBack: a process finds that another has its cell, and the next moment it has it again. Only corruption
// does that; Close does not wait for a push that has long ended.
func TestMPMCOwnerComesBack(t *testing.T) {
	mem := memory(t, ring.MPMCSizeIn[uint64](8, ring.MPMCBlocks))
	for _, push := range []func(r *ring.MPMC[uint64]) bool{
		func(r *ring.MPMC[uint64]) bool { return r.TryPush(2) },
		func(r *ring.MPMC[uint64]) bool { return r.TryPushMany([]uint64{2}) != 0 },
	} {
		clear(mem)
		r := newMPMC[uint64](t, mem, 8, self(1), ring.MPMCBlocks)
		r.TryPush(1)
		i := cellOf(t, r, 1)
		r.SetCellOwner(i, 2)
		if push(r) || !errors.Is(r.Err(), os.ErrClosed) {
			t.Errorf("a push without a cell: %v", r.Err())
		}
		r.SetCellOwner(i, 1)
		r.Close()
		account(t, r)
	}
}

// TestMPMCHammer: goroutines of several handles push and pop, one at a time and many; each item comes once, and those
// of one goroutine in order.
func TestMPMCHammer(t *testing.T) {
	each[[2]uint64](t, func(t *testing.T, form uint32) {
		mpmcHammer(t, form, func(g, i uint64) [2]uint64 { return [2]uint64{g, i} })
	})
	each[uint64](t, func(t *testing.T, form uint32) {
		mpmcHammer(t, form, func(g, i uint64) [2]uint32 { return [2]uint32{uint32(g), uint32(i)} })
	})
}

func mpmcHammer[E uint32 | uint64](t *testing.T, form uint32, item func(g, i uint64) [2]E) {
	const n, handles, goroutines = 16, 2, 40 // more goroutines than one handle may have cells
	items := uint64(4000)
	if testing.Short() || race.Enabled {
		items = 400
	}
	mem := shared(t, ring.MPMCSizeIn[[2]E](n, form))
	var rs []*ring.MPMC[[2]E]
	rs = append(rs, newMPMC[[2]E](t, mem, n, self(1), form))
	start := mpmcStarts(rs[0])[2]
	rs[0].SetPosition(start)
	for len(rs) < handles {
		rs = append(rs, openMPMC[[2]E](t, mem, self(1)))
	}
	var wg, producers sync.WaitGroup
	for g := range uint64(goroutines) {
		producers.Add(1)
		wg.Go(func() {
			defer producers.Done()
			r := rs[g%handles]
			for i := uint64(0); i < items; runtime.Gosched() {
				if g%2 == 0 {
					if r.TryPush(item(g, i)) {
						i++
					}
					continue
				}
				vs := make([][2]E, min(5, items-i))
				for k := range vs {
					vs[k] = item(g, i+uint64(k))
				}
				i += uint64(r.TryPushMany(vs))
			}
		})
	}
	ended := make(chan struct{})
	go func() { producers.Wait(); close(ended) }()
	seen := make([][][]uint64, 4) // of each consumer, by producer
	for k := range seen {
		seen[k] = make([][]uint64, goroutines)
		wg.Go(func() {
			r := rs[k%handles]
			note := func(v [2]E) {
				if uint64(v[0]) >= goroutines {
					t.Errorf("popped %v", v)
					return
				}
				seen[k][v[0]] = append(seen[k][v[0]], uint64(v[1]))
			}
			for last := false; ; {
				if k < 2 {
					if v, ok := r.TryPop(); ok {
						note(v)
						continue
					}
				} else {
					var vs [7][2]E
					if got := r.TryPopMany(vs[:]); got > 0 {
						for _, v := range vs[:got] {
							note(v)
						}
						continue
					}
				}
				if last {
					return
				}
				select {
				case <-ended: // and what was pushed before that is there to be popped
					last = true
				default:
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
	for g := range goroutines {
		var all []uint64
		for k := range seen {
			if !slices.IsSorted(seen[k][g]) {
				t.Errorf("consumer %d got the items of producer %d out of order", k, g)
			}
			all = append(all, seen[k][g]...)
		}
		slices.Sort(all)
		if uint64(len(all)) != items || len(slices.Compact(all)) != len(all) || all[len(all)-1] != items-1 {
			t.Errorf("%d items of producer %d, want %d", len(all), g, items)
		}
	}
	if rs[0].Len() != 0 {
		t.Errorf("Len %d", rs[0].Len())
	}
	for _, r := range rs {
		if r.Err() != nil {
			t.Error(r.Err())
		}
		r.Close()
	}
	if form&^ring.Exact == ring.MPMCBlocks {
		account(t, rs[0])
	}
}
