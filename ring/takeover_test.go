package ring_test

import (
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// world is a set of processes, of which some are dead.
type world struct {
	mu   sync.Mutex
	dead map[uint32]bool
}

func (w *world) kill(id uint32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.dead == nil {
		w.dead = make(map[uint32]bool)
	}
	w.dead[id] = true
}

// process is the view of one process of the world.
func (w *world) process(id uint32) ring.Peers { return process{w, id} }

type process struct {
	w  *world
	id uint32
}

func (p process) Self() uint32 { return p.id }
func (p process) Dead(id uint32) bool {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	return p.w.dead[id]
}

// drain pops all there is.
func drain(r *ring.SPSC[uint64]) (got []uint64) {
	for v, ok := r.TryPop(); ok; v, ok = r.TryPop() {
		got = append(got, v)
	}
	return got
}

// abandonments are the steps at which an owner of an end may be killed or stopped: the table of the package
// documentation. do leaves process 2, which has the ring with items 1, 2, 3 in it, at that step. Then its
// successor pushes 9.
var abandonments = []struct {
	name string
	do   func(r *ring.SPSC[uint64])
	want []uint64 // what is in the ring then
}{
	{"before the producer's claim", func(r *ring.SPSC[uint64]) {}, []uint64{1, 2, 3, 9}},
	{"producer claimed", func(r *ring.SPSC[uint64]) { r.Produce() }, []uint64{1, 2, 3, 9}},
	{"item written, not published", func(r *ring.SPSC[uint64]) { r.Reserve(1)[0] = 4 }, []uint64{1, 2, 3, 9}},
	{"item published", func(r *ring.SPSC[uint64]) { r.TryPush(4) }, []uint64{1, 2, 3, 4, 9}},
	{"batch half written", func(r *ring.SPSC[uint64]) { copy(r.Reserve(4), []uint64{4, 5}) }, []uint64{1, 2, 3, 9}},
	{"one published, another written", func(r *ring.SPSC[uint64]) {
		r.TryPush(4)
		r.Reserve(1)[0] = 5
	}, []uint64{1, 2, 3, 4, 9}},
	{"batch published", func(r *ring.SPSC[uint64]) { r.TryPushMany([]uint64{4, 5}) }, []uint64{1, 2, 3, 4, 5, 9}},
	{"consumer claimed", func(r *ring.SPSC[uint64]) { r.Consume() }, []uint64{1, 2, 3, 9}},
	{"item copied, not freed", func(r *ring.SPSC[uint64]) { r.Peek(1) }, []uint64{1, 2, 3, 9}},
	{"item freed", func(r *ring.SPSC[uint64]) { r.TryPop() }, []uint64{2, 3, 9}},
	{"batch copied, not freed", func(r *ring.SPSC[uint64]) { r.Peek(3) }, []uint64{1, 2, 3, 9}},
	{"batch half freed", func(r *ring.SPSC[uint64]) { r.Peek(3); r.Advance(2) }, []uint64{3, 9}},
	{"batch freed", func(r *ring.SPSC[uint64]) { r.TryPopMany(make([]uint64, 3)) }, []uint64{9}},
	{"both ends claimed", func(r *ring.SPSC[uint64]) { r.Peek(1); r.Reserve(1)[0] = 4 }, []uint64{1, 2, 3, 9}},
	{"closed", func(r *ring.SPSC[uint64]) { r.TryPush(4); r.TryPop(); r.Close() }, []uint64{2, 3, 4, 9}},
}

// TestSPSCTakeOver kills the owner of an end at each step: the next one goes on, and nothing published is lost
// or doubled but what a consumer had not freed.
func TestSPSCTakeOver(t *testing.T) {
	for _, start := range starts {
		for _, c := range abandonments {
			t.Run(c.name, func(t *testing.T) {
				var w world
				mem := memory(t, ring.SPSCSize[uint64](8))
				first := newSPSC[uint64](t, mem, 8, w.process(1))
				ring.SetPositions(mem, start, start)
				first.TryPushMany([]uint64{1, 2, 3})
				w.kill(1)
				c.do(openSPSC[uint64](t, mem, w.process(2)))
				w.kill(2)
				next := openSPSC[uint64](t, mem, w.process(3))
				if err := errors.Join(next.Produce(), next.Consume()); err != nil {
					t.Fatal(err)
				}
				if !next.TryPush(9) {
					t.Fatal("TryPush after take-over: ", next.Err())
				}
				if got := drain(next); !slices.Equal(got, c.want) {
					t.Errorf("in the ring: %v, want %v", got, c.want)
				}
				if next.Err() != nil {
					t.Error(next.Err())
				}
			})
		}
	}
}

// TestSPSCStopped stops the owner at each step instead: its end stays its own, the other end goes on, and
// afterwards it goes on itself.
func TestSPSCStopped(t *testing.T) {
	for _, c := range abandonments {
		t.Run(c.name, func(t *testing.T) {
			var w world
			mem := memory(t, ring.SPSCSize[uint64](8))
			first := newSPSC[uint64](t, mem, 8, w.process(1))
			first.TryPushMany([]uint64{1, 2, 3})
			w.kill(1)
			stopped := openSPSC[uint64](t, mem, w.process(2))
			c.do(stopped)
			owned := [2]uint32{}
			owned[0], owned[1] = ring.Owners(mem)
			other := openSPSC[uint64](t, mem, w.process(3))
			if err := other.Produce(); (owned[0] == 2) != errors.Is(err, ring.ErrBusy) {
				t.Errorf("Produce beside a stopped owner %d: %v", owned[0], err)
			}
			if err := other.Consume(); (owned[1] == 2) != errors.Is(err, ring.ErrBusy) {
				t.Errorf("Consume beside a stopped owner %d: %v", owned[1], err)
			}
			producer, consumer := other, other
			if owned[0] == 2 {
				producer = stopped // continued
			}
			if owned[1] == 2 {
				consumer = stopped
			}
			if !producer.TryPush(9) {
				t.Fatal("TryPush: ", producer.Err())
			}
			if got := drain(consumer); !slices.Equal(got, c.want) {
				t.Errorf("in the ring: %v, want %v", got, c.want)
			}
		})
	}
}

// TestSPSCTakeOverRace: of many that find an owner dead exactly one gets its end.
func TestSPSCTakeOverRace(t *testing.T) {
	const claimants = 8
	for round := range 200 {
		var w world
		mem := memory(t, ring.SPSCSize[uint64](8))
		newSPSC[uint64](t, mem, 8, w.process(1)).TryPush(1)
		w.kill(1)
		var got atomic.Int32
		var wg sync.WaitGroup
		for i := range uint32(claimants) {
			r := openSPSC[uint64](t, mem, w.process(2+i/2)) // two handles of each process
			wg.Go(func() {
				runtime.Gosched()
				switch err := r.Produce(); {
				case err == nil:
					got.Add(1)
				case !errors.Is(err, ring.ErrBusy):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := got.Load(); n != 1 {
			t.Fatalf("round %d: %d producers", round, n)
		}
	}
}

// interrupted is a process to which everybody else is dead, and which does something else before it says so.
type interrupted struct {
	id    uint32
	first func()
}

func (p *interrupted) Self() uint32 { return p.id }
func (p *interrupted) Dead(id uint32) bool {
	if id == p.id {
		return false
	}
	if f := p.first; f != nil {
		p.first = nil
		f()
	}
	return true
}

// leaver is a process that can leave.
type leaver struct {
	id   uint32
	left bool
}

func (p *leaver) Self() uint32        { return p.id }
func (p *leaver) Dead(id uint32) bool { return p.left || id != p.id }

// TestSPSCTakeOverBetween: while one process asks whether the owner is dead another takes the end over. That
// stands.
func TestSPSCTakeOverBetween(t *testing.T) {
	mem := memory(t, ring.SPSCSize[uint64](8))
	newSPSC[uint64](t, mem, 8, self(1)).TryPush(1)
	quick := openSPSC[uint64](t, mem, &interrupted{id: 2})
	slow := openSPSC[uint64](t, mem, &interrupted{id: 3, first: func() {
		if err := quick.Produce(); err != nil {
			t.Error(err)
		}
	}})
	if err := slow.Produce(); !errors.Is(err, ring.ErrBusy) {
		t.Errorf("Produce after another took the end: %v, want ErrBusy", err)
	}
	if p, _ := ring.Owners(mem); p != 2 || !quick.TryPush(2) {
		t.Errorf("the end belongs to %d, Err %v", p, quick.Err())
	}
}

// TestSPSCOwnDeath: a process that has left (it closed its segment) and goes on to use its handle takes no
// end, and notices that another has taken over the one it had when it next looks where the consumer is.
func TestSPSCOwnDeath(t *testing.T) {
	mem := memory(t, ring.SPSCSize[uint64](8))
	me := &leaver{id: 1}
	r := newSPSC[uint64](t, mem, 8, me)
	r.TryPush(1)
	if err := openSPSC[uint64](t, mem, me).Produce(); !errors.Is(err, ring.ErrBusy) {
		t.Errorf("Produce by the second handle of a process: %v, want ErrBusy", err)
	}
	me.left = true
	if err := r.Consume(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Consume by a process that has left: %v, want os.ErrClosed", err)
	}
	next := openSPSC[uint64](t, mem, &interrupted{id: 2})
	if err := next.Produce(); err != nil {
		t.Fatal(err)
	}
	pushed := 0
	for r.TryPush(2) {
		pushed++
	}
	if pushed > 7 || !errors.Is(r.Err(), os.ErrClosed) {
		t.Errorf("a process that has left pushed %d items, Err %v", pushed, r.Err())
	}
	if p, _ := ring.Owners(mem); p != 2 {
		t.Errorf("the end belongs to %d", p)
	}
}
