package ring_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// actor is what a process is given that takes part in histories.
type actor struct {
	Ring *shm.Block
	// Log is what it did: in the first line a clock and a go, and then for each actor a part with its operations. Each
	// has four words: when it was called and when it returned (0: not yet), what (0 is a pop, else the number
	// pushed), and what came of it (0: false).
	Log  *shm.Block
	Part int
	Seed uint64
}

const (
	actors   = 3
	actorOps = 8
	logClock = 0 // words of the first line
	logGo    = 8
	logParts = 16
	partSize = 4 * actorOps
	logWords = logParts + actors*partSize
)

// act does some operations for each "go".
var act = proctest.NewRole("mpmc/act", func(_ context.Context, c *proctest.Child, a actor) error {
	defer runtime.KeepAlive(a)
	r, err := ring.OpenMPMC[uint64](a.Ring.Bytes(), a.Ring.Segment())
	if err != nil {
		return err
	}
	words := wordsOf(a.Log.Bytes())
	rnd := rand.New(rand.NewPCG(a.Seed, 0))
	c.Say("on")
	for round := uint64(1); ; round++ {
		line := c.Hear()
		if line == "end" {
			return r.Err()
		}
		pushes := 2 + rnd.IntN(5)
		for words[logGo].Load() == 0 { // so that all begin together
			runtime.Gosched()
		}
		for i := range actorOps {
			op := words[logParts+a.Part*partSize+4*i:][:4]
			what := uint64(0)
			if rnd.IntN(8) < pushes {
				what = rnd.Uint64() | 1
			}
			op[2].Store(what)
			op[0].Store(words[logClock].Add(1))
			result := uint64(0)
			if what == 0 {
				result, _ = r.TryPop()
			} else if r.TryPush(what) {
				result = 1
			}
			op[3].Store(result)
			op[1].Store(words[logClock].Add(1))
		}
		if r.Err() != nil {
			return r.Err()
		}
		c.Say("done")
	}
})

// TestMPMCLinearizableProcesses does the same with processes, some of which are killed or stopped in the middle.
func TestMPMCLinearizableProcesses(t *testing.T) {
	rnd := proctest.Rand(t)
	rounds := 60
	if testing.Short() {
		rounds = 20
	}
	for _, form := range ring.Forms(8) {
		for _, n := range []int{1, 4} {
			t.Run(fmt.Sprintf("%s/n=%d", formNames[form], n), func(t *testing.T) {
				seg := proctest.Segment(t, 0)
				b, err := shm.NewBlock(seg, "", ring.MPMCSizeIn[uint64](n, form))
				proctest.Must(t, err)
				defer b.Close()
				log, err := shm.NewBlock(seg, "", 8*logWords)
				proctest.Must(t, err)
				defer log.Close()
				r := newMPMC[uint64](t, b.Bytes(), n, seg, form)
				r.SetPosition(mpmcStarts(r)[rnd.IntN(5)])
				actorHistories(t, rnd, rounds, n, r, b, log)
			})
		}
	}
}

func actorHistories(t *testing.T, rnd *rand.Rand, rounds, n int, r *ring.MPMC[uint64], b, log *shm.Block) {
	var procs [actors]*proctest.Proc
	start := func(i int) {
		procs[i] = act.Start(t, actor{b, log, i, rnd.Uint64()})
		procs[i].WaitLine("on")
	}
	for i := range procs {
		start(i)
	}
	words := wordsOf(log.Bytes())
	for round := range rounds {
		for i := range words {
			words[i].Store(0)
		}
		for _, p := range procs {
			p.Tell("go")
		}
		words[logGo].Store(1)
		killed := -1
		switch victim := rnd.IntN(actors); {
		case round%8 == 3:
			for stop := words[logClock].Load() + rnd.Uint64N(2*actors*actorOps); words[logClock].Load() < stop; {
				if words[logParts+victim*partSize+partSize-3].Load() != 0 {
					break // it has done all
				}
			}
			procs[victim].Kill()
			procs[victim].Wait()
			killed = victim
		case round%4 == 1:
			procs[victim].Stop()
			for i, p := range procs {
				if i != victim {
					p.WaitLine("done") // whatever it was doing
				}
			}
			procs[victim].Continue()
			procs[victim].WaitLine("done")
		}
		for i, p := range procs {
			if i != killed && round%4 != 1 {
				p.WaitLine("done")
			}
		}
		var done, pending []porcupine.Operation
		for part := range actors {
			for i := range actorOps {
				op := words[logParts+part*partSize+4*i:][:4]
				call, back, what, result := op[0].Load(), op[1].Load(), op[2].Load(), op[3].Load()
				if call == 0 {
					break
				}
				o := porcupine.Operation{ClientId: part, Input: queueOp{pop: what == 0, v: what}, Call: int64(call), Return: int64(back),
					Output: queueResult{ok: result != 0, v: result}}
				if back == 0 {
					if part != killed {
						t.Fatalf("process %d has not done operation %d", part, i)
					}
					o.Return = math.MaxInt64
					o.Output = queueResult{ok: true, unknown: true}
					pending = append(pending, o)
				} else {
					done = append(done, o)
				}
			}
		}
		for at := int64(1 << 40); ; at += 2 {
			v, ok := r.TryPop()
			done = append(done, porcupine.Operation{ClientId: actors, Input: queueOp{pop: true}, Call: at,
				Output: queueResult{ok: ok, v: v}, Return: at + 1})
			if !ok {
				break
			}
		}
		checkHistory(t, n, done, pending)
		if killed >= 0 {
			start(killed)
		}
	}
	for _, p := range procs {
		p.Tell("end")
		proctest.Must(t, p.Wait())
	}
}

// Items that show when they are torn.
type wide [6]uint64

func wideOf(x uint64) wide { return wide{x, ^x, x, ^x, x, ^x} }

// worker is what a process of the chaos is given. Numbers are producer<<32 | how many it has pushed before.
type worker struct {
	Ring, Log *shm.Block // Log is an SPSC ring to the test: of what was popped, or pushed
	Pairs     bool
	ID        uint64
	Pops      bool
	Many      bool // up to three at a time, else one
}

var work = proctest.NewRole("mpmc/work", func(_ context.Context, c *proctest.Child, w worker) error {
	defer runtime.KeepAlive(w)
	log, err := ring.OpenSPSC[uint64](w.Log.Bytes(), w.Log.Segment())
	if err != nil {
		return err
	}
	if err := log.Produce(); err != nil {
		return err
	}
	c.Say("on")
	if w.Pairs {
		return toil(w, log, func(x uint64) uint64 { return x }, func(v uint64) (uint64, bool) { return v, true })
	}
	return toil(w, log, wideOf, func(v wide) (uint64, bool) { return v[0], v == wideOf(v[0]) })
})

func toil[T any](w worker, log *ring.SPSC[uint64], item func(uint64) T, number func(T) (uint64, bool)) error {
	r, err := ring.OpenMPMC[T](w.Ring.Bytes(), w.Ring.Segment())
	if err != nil {
		return err
	}
	say := func(x uint64) {
		for !log.TryPush(x) {
			sys.Yield()
		}
	}
	next := w.ID << 32
	for r.Err() == nil {
		n := 0
		if w.Pops {
			var vs [3]T
			if w.Many {
				n = r.TryPopMany(vs[:])
			} else if v, ok := r.TryPop(); ok {
				vs[0], n = v, 1
			}
			for _, v := range vs[:n] {
				x, whole := number(v)
				if !whole {
					return fmt.Errorf("a torn item: %v", v)
				}
				say(x)
			}
		} else if next%4 == 0 {
			if n = r.TryPushMany([]T{item(next), item(next + 1)}); n > 0 {
				next += uint64(n)
				say(next)
			}
		} else if r.TryPush(item(next)) {
			n = 1
			next++
			say(next)
		}
		if n == 0 {
			sys.Yield()
		}
	}
	return r.Err()
}

// TestMPMCChaos kills and stops producers and consumers at random. Whatever a producer knows that it pushed is popped
// once, but for what a killed consumer was about to tell; of what a killed producer was pushing, what was published
// is popped once too. No block is lost.
func TestMPMCChaos(t *testing.T) {
	each[uint64](t, func(t *testing.T, form uint32) {
		if form&^ring.Exact == ring.MPMCPairs {
			chaos[uint64](t, form)
		} else {
			chaos[wide](t, form)
		}
	})
}

func chaos[T any](t *testing.T, form uint32) {
	const n, each = 16, 2 // room; producers, and consumers
	rnd := proctest.Rand(t)
	least := 400 * time.Millisecond
	if testing.Short() {
		least = 200 * time.Millisecond
	}
	end := time.Now().Add(proctest.Stress(least))
	seg := proctest.Segment(t, 0)
	b, err := shm.NewBlock(seg, "", ring.MPMCSizeIn[T](n, form))
	proctest.Must(t, err)
	defer b.Close()
	r := newMPMC[T](t, b.Bytes(), n, seg, form)
	r.SetPosition(mpmcStarts(r)[rnd.IntN(5)])
	taken := 0 // cells, as if by so many processes that do nothing: the others borrow those that are left
	if form == ring.MPMCBlocks|ring.Exact {
		taken = ring.MPMCCells - 8
	}
	for i := range taken {
		r.SetCellOwner(i, seg.Self())
	}

	type hand struct {
		p     *proctest.Proc
		w     worker
		log   *ring.SPSC[uint64]
		block *shm.Block
	}
	var hands [2 * each]*hand
	ids := uint64(0)
	committed := make(map[uint64]uint64) // by producer: how many it knows that it pushed
	got := make(map[uint64][]uint64)     // by producer: what of it was popped
	lost := 0                            // items that killed consumers can have had in their hands
	hear := func(h *hand) {
		for x, ok := h.log.TryPop(); ok; x, ok = h.log.TryPop() {
			if h.w.Pops {
				got[x>>32] = append(got[x>>32], x&math.MaxUint32)
			} else {
				committed[h.w.ID] = x & math.MaxUint32
			}
		}
	}
	start := func(i int) {
		ids++
		block, err := shm.NewBlock(seg, "", ring.SPSCSize[uint64](256))
		proctest.Must(t, err)
		h := &hand{w: worker{b, block, form&^ring.Exact == ring.MPMCPairs, ids, i%2 == 1, ids%2 == 1}, block: block}
		h.log = newSPSC[uint64](t, block.Bytes(), 256, seg)
		proctest.Must(t, h.log.Consume())
		h.p = work.Start(t, h.w)
		h.p.WaitLine("on")
		hands[i] = h
	}
	kill := func(i int) {
		h := hands[i]
		h.p.Kill()
		if err := h.p.Wait(); h.p.ExitCode() != -9 {
			t.Fatal(err)
		}
		hear(h)
		if h.w.Pops {
			if lost++; h.w.Many {
				lost += 2
			}
		}
		proctest.Must(t, shm.Free(h.block))
		h.block.Close()
	}
	for i := range hands {
		start(i)
	}
	for time.Now().Before(end) {
		for until := time.Now().Add(time.Duration(rnd.IntN(8000)) * time.Microsecond); time.Now().Before(until); sys.Yield() {
			for _, h := range hands {
				hear(h)
			}
		}
		i := rnd.IntN(len(hands))
		if rnd.IntN(3) > 0 {
			kill(i)
			start(i)
			continue
		}
		// While one is stopped others of its kind go on.
		h := hands[i]
		h.p.Stop()
		hear(h)
		for heard := 0; heard < 20; sys.Yield() {
			for j, other := range hands {
				if j%2 == i%2 && j != i {
					heard += other.log.Len()
				}
				hear(other)
			}
		}
		h.p.Continue()
	}
	for i := 0; i < len(hands); i += 2 {
		kill(i)
	}
	for i := 1; i < len(hands); i += 2 {
		kill(i)
	}
	var number func(v T) uint64
	switch f := any(&number).(type) {
	case *func(v uint64) uint64:
		*f = func(v uint64) uint64 { return v }
	case *func(v wide) uint64:
		*f = func(v wide) uint64 { return v[0] }
	}
	for v, ok := r.TryPop(); ok; v, ok = r.TryPop() {
		x := number(v)
		got[x>>32] = append(got[x>>32], x&math.MaxUint32)
	}
	proctest.Must(t, r.Err())
	total, missing := 0, 0
	for id, items := range got {
		slices.Sort(items)
		if len(slices.Compact(slices.Clone(items))) != len(items) {
			t.Errorf("items of producer %d were popped twice", id)
		}
		if last := items[len(items)-1]; last >= committed[id]+2 { // a batch of two can be there and not told
			t.Errorf("item %d of producer %d, which knows of %d", last, id, committed[id])
		}
	}
	for id, n := range committed {
		total += int(n)
		missing += int(n) - len(slices.DeleteFunc(got[id], func(x uint64) bool { return x >= n }))
	}
	if missing > lost {
		t.Errorf("%d items are missing, killed consumers can have had %d", missing, lost)
	}
	if form&^ring.Exact == ring.MPMCBlocks {
		for i := range taken {
			r.SetCellOwner(i, 0)
		}
		r.Close()
		r.Reclaim()
		account(t, r)
	}
	t.Logf("%d items of %d producers, %d missing, which killed consumers had", total, len(committed), missing)
	if total == 0 {
		t.Error(errors.New("nothing was pushed"))
	}
}

// TestMPMCProcesses lets two processes push and two pop, through one ring.
func TestMPMCProcesses(t *testing.T) {
	for _, form := range ring.Forms(8) {
		t.Run(formNames[form], func(t *testing.T) {
			seg := proctest.Segment(t, 0)
			b, err := shm.NewBlock(seg, "", ring.MPMCSizeIn[uint64](64, form))
			proctest.Must(t, err)
			defer b.Close()
			r := newMPMC[uint64](t, b.Bytes(), 64, seg, form)
			var all []*proctest.Proc
			for i := range 4 {
				all = append(all, stretches.Start(t, stretch{b, i%2 == 1, 10_000, 1 + 9*(i/2), 1}))
			}
			for _, p := range all {
				p.WaitLine("on")
				p.Tell("go")
			}
			for _, p := range all {
				p.WaitLine("done")
				p.Tell("end")
				proctest.Must(t, p.Wait())
			}
			if r.Len() != 0 || r.Err() != nil {
				t.Errorf("Len %d, %v", r.Len(), r.Err())
			}
		})
	}
}
