package queue_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// worker is what a process of the chaos is given. Its numbers are ID<<32 | how many it has put before.
type worker struct {
	Q    numbers
	Log  *shm.Block // an SPSC ring to the test: how many were put, or what was got
	ID   uint64
	Gets bool
	Seed uint64
}

// most is how many items a worker puts or gets at once.
const most = 3

var works = proctest.NewRole("queue/work", func(ctx context.Context, c *proctest.Child, w worker) error {
	defer runtime.KeepAlive(w)
	log, err := ring.OpenSPSC[uint64](w.Log.Bytes(), w.Log.Segment())
	if err != nil {
		return err
	}
	if err := log.Produce(); err != nil {
		return err
	}
	say := func(x uint64) {
		for !log.TryPush(x) {
			sys.Yield()
		}
	}
	rnd := rand.New(rand.NewPCG(w.Seed, 0))
	c.Say("on")
	for next := w.ID << 32; ; {
		if w.Gets {
			xs, err := w.get(ctx, rnd)
			for _, x := range xs {
				say(x)
				if err := w.Q.taskDone(); err != nil {
					return err
				}
			}
			if err != nil && err != queue.ErrEmpty {
				return err
			}
			continue
		}
		n, err := w.put(ctx, rnd, next)
		if n > 0 {
			next += uint64(n)
			say(next)
		}
		switch {
		case err == nil:
		case err == queue.ErrFull || errors.Is(err, shm.ErrNoSpace):
			sys.Yield()
		default:
			return err
		}
	}
})

func (w worker) get(ctx context.Context, rnd *rand.Rand) ([]uint64, error) {
	var x uint64
	var err error
	switch rnd.IntN(3) {
	case 0:
		return w.Q.getMany(ctx, most)
	case 1:
		x, err = w.Q.get(ctx)
	default:
		x, err = w.Q.tryGet()
	}
	if err != nil {
		return nil, err
	}
	return []uint64{x}, nil
}

func (w worker) put(ctx context.Context, rnd *rand.Rand, x uint64) (n int, err error) {
	switch rnd.IntN(3) {
	case 0:
		return w.Q.putMany(ctx, x, x+1, x+2)
	case 1:
		err = w.Q.put(ctx, x)
	default:
		err = w.Q.tryPut(x)
	}
	if err == nil {
		n = 1
	}
	return n, err
}

// TestChaos kills and stops producers and consumers at random, while others sweep up. Whatever a producer knows that it put is got
// once, but for what killed consumers had, which Join counts; nothing leaks.
func TestChaos(t *testing.T) {
	for _, c := range []struct {
		f form
		n int
	}{{forms[3], 16}, {forms[3], 0}, {forms[4], 4}, {forms[5], 4}, {forms[5], 0}} {
		t.Run(fmt.Sprintf("%s/n=%d", c.f.name, c.n), func(t *testing.T) {
			least := 200 * time.Millisecond
			if testing.Short() {
				least = 100 * time.Millisecond
			}
			chaos(t, c.f, c.n, proctest.Stress(least))
		})
	}
}

// employee is a worker as the test sees it.
type employee struct {
	p    *proctest.Proc
	w    worker
	log  *ring.SPSC[uint64]
	tell *shm.Block
}

// firm is all that the chaos knows.
type firm struct {
	t         *testing.T
	rnd       *rand.Rand
	q         numbers
	logs      *shm.Segment
	all       [4]*employee // producers and consumers in turn
	ids       uint64
	committed map[uint64]uint64   // by producer: how many it knows that it put
	got       map[uint64][]uint64 // by producer: what of it was got
	lost      int                 // what killed consumers can have had at most
	heard     int
}

func (f *firm) hear(e *employee) {
	for x, ok := e.log.TryPop(); ok; x, ok = e.log.TryPop() {
		f.heard++
		if e.w.Gets {
			f.note(x)
		} else {
			f.committed[e.w.ID] = x & math.MaxUint32
		}
	}
}

func (f *firm) note(x uint64) { f.got[x>>32] = append(f.got[x>>32], x&math.MaxUint32) }

func (f *firm) hire(i int) {
	f.ids++
	e := &employee{w: worker{Q: f.q, ID: f.ids, Gets: i%2 == 1, Seed: f.rnd.Uint64()}}
	var err error
	e.tell, err = shm.NewBlock(f.logs, "", ring.SPSCSize[uint64](256))
	proctest.Must(f.t, err)
	e.log, err = ring.NewSPSC[uint64](e.tell.Bytes(), 256, f.logs)
	proctest.Must(f.t, err)
	proctest.Must(f.t, e.log.Consume())
	e.w.Log = e.tell
	e.p = works.Start(f.t, e.w)
	e.p.WaitLine("on")
	f.all[i] = e
}

func (f *firm) kill(i int) {
	e := f.all[i]
	e.p.Kill()
	if err := e.p.Wait(); e.p.ExitCode() != -9 {
		f.t.Fatal(err)
	}
	f.hear(e)
	if e.w.Gets {
		f.lost += most
	}
	proctest.Must(f.t, e.log.Close())
	proctest.Must(f.t, shm.Free(e.tell))
	proctest.Must(f.t, e.tell.Close())
	f.all[i] = nil
}

// stop stops one while others of its kind go on, also without those of the other kind if there is room.
func (f *firm) stop(i int) {
	e := f.all[i]
	e.p.Stop()
	for f.heard = 0; f.heard < 20; sys.Yield() {
		for j, other := range f.all {
			if other.p.Process().Alive() {
				f.hear(other)
			} else {
				f.t.Fatalf("worker %d ended by itself: %v", j, other.p.Wait())
			}
		}
	}
	e.p.Continue()
}

func chaos(t *testing.T, f form, n int, long time.Duration) {
	seg := proctest.Segment(t, 4<<20)
	before := usage(t, seg)
	w := &firm{t: t, rnd: proctest.Rand(t), q: newNumbers(t, seg, f, n, smallRing), logs: proctest.Segment(t, 0), // seg may be full
		committed: make(map[uint64]uint64), got: make(map[uint64][]uint64)}

	// Meanwhile this process sweeps up.
	var sweeping sync.WaitGroup
	var over atomic.Bool
	endSweep := sync.OnceFunc(func() {
		over.Store(true)
		sweeping.Wait()
	})
	defer endSweep()
	sweeping.Go(func() {
		for !over.Load() {
			if _, err := seg.Repair(); err != nil {
				t.Error(err)
			}
			if err := seg.Check(); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
		}
	})

	for i := range w.all {
		w.hire(i)
	}
	kills := 0
	for end := time.Now().Add(long); time.Now().Before(end); {
		for until := time.Now().Add(time.Duration(w.rnd.IntN(5000)) * time.Microsecond); time.Now().Before(until); sys.Yield() {
			for _, e := range w.all {
				w.hear(e)
			}
		}
		i := w.rnd.IntN(len(w.all))
		if w.rnd.IntN(3) == 0 {
			w.stop(i)
			continue
		}
		w.kill(i)
		kills++
		w.hire(i)
	}
	for i := 0; i < len(w.all); i += 2 {
		w.kill(i)
	}
	for i := 1; i < len(w.all); i += 2 {
		w.kill(i)
	}
	for {
		x, err := w.q.tryGet()
		if err == queue.ErrEmpty {
			break
		}
		proctest.Must(t, err)
		w.note(x)
		proctest.Must(t, w.q.taskDone())
	}
	endSweep()
	w.verify(kills)
	goesOn(t, w.q, n)

	// Nothing is left over.
	proctest.Must(t, shm.Free(w.q.object()))
	proctest.Must(t, w.q.close())
	w.q = numbers{}
	settles(t, seg, before)
}

// settles waits until no more memory of seg is in use than before, which it is when handles were collected as garbage.
func settles(t *testing.T, seg *shm.Segment, before int) {
	t.Helper()
	after := 0
	for range 100 {
		runtime.GC()
		time.Sleep(100 * time.Microsecond)
		if after = usage(t, seg); after <= before {
			break
		}
	}
	if after > before {
		t.Errorf("%d bytes of the segment are in use, %d were before", after, before)
	}
	proctest.Must(t, seg.Check())
}

// verify holds what was got against what was put.
func (f *firm) verify(kills int) {
	t := f.t
	total, missing := 0, 0
	for id, items := range f.got {
		slices.Sort(items)
		if len(slices.Compact(slices.Clone(items))) != len(items) {
			t.Errorf("items of producer %d were got twice", id)
		}
		if last := items[len(items)-1]; last >= f.committed[id]+most { // many can be there and not told
			t.Errorf("item %d of producer %d, which knows of %d", last, id, f.committed[id])
		}
	}
	for id, n := range f.committed {
		total += int(n)
		missing += int(n) - len(slices.DeleteFunc(slices.Clone(f.got[id]), func(x uint64) bool { return x >= n }))
	}
	reported := 0
	if err := f.q.join(t.Context()); err != nil {
		var l *queue.LostError
		if !errors.As(err, &l) {
			t.Fatal(err)
		}
		reported = l.Items
	}
	if missing > reported || reported > f.lost {
		t.Errorf("%d items are missing, Join says %d, killed consumers can have had %d", missing, reported, f.lost)
	}
	if f.q.len() != 0 || f.q.unfinished() != 0 {
		t.Errorf("Len %d, unfinished %d in the end", f.q.len(), f.q.unfinished())
	}
	t.Logf("%d items of %d producers, %d kills, %d missing, Join says %d; %d rings", total, len(f.committed), kills, missing, reported, f.q.rings())
	if total == 0 {
		t.Error("nothing was put")
	}
}
