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

	"github.com/anishathalye/porcupine"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// What is done to a queue, and what comes of it.
const (
	tryPut = iota
	tryGet
	put // for a moment
	get
	length
	shut

	ok = iota
	full
	empty
	ended
	gaveUp  // the context ended
	unknown // the process was killed
)

var (
	opNames     = []string{"TryPut", "TryGet", "Put", "Get", "Len", "Shutdown"}
	resultNames = map[int]string{ok: "ok", full: "full", empty: "empty", ended: "shut down", gaveUp: "gave up", unknown: "unknown"}
)

// op is an operation with the number that it puts, and result what it gave.
type op struct {
	what int
	v    uint64
}

type result struct {
	how int
	v   uint64
}

// do does it.
func (o op) do(q numbers) (r result, err error) {
	soon := context.Background()
	if o.what == put || o.what == get {
		var cancel func()
		soon, cancel = context.WithTimeout(soon, 200*time.Microsecond)
		defer cancel()
	}
	switch o.what {
	case tryPut:
		err = q.tryPut(o.v)
	case put:
		err = q.put(soon, o.v)
	case tryGet:
		r.v, err = q.tryGet()
	case get:
		r.v, err = q.get(soon)
	case length:
		r.v = uint64(q.len())
	case shut:
		err = q.shutdown()
	}
	switch {
	case err == nil:
		r.how = ok
	case err == queue.ErrFull:
		r.how = full
	case err == queue.ErrEmpty:
		r.how = empty
	case err == queue.ErrShutdown:
		r.how = ended
	case errors.Is(err, context.DeadlineExceeded):
		r.how = gaveUp
	default:
		return r, err
	}
	return r, nil
}

// random chooses an operation: of eight so many put, as a rule.
func random(rnd *rand.Rand, puts int, v uint64) op {
	o := op{what: tryGet, v: v}
	switch n := rnd.IntN(40); {
	case n == 0:
		o.what = shut
	case n < 7:
		o.what = length
	case n%8 < puts:
		o.what = tryPut
	}
	if o.what <= tryGet && rnd.IntN(3) == 0 {
		o.what += put
	}
	return o
}

// state is that of the model.
type state struct {
	items []uint64
	shut  bool
}

// model is what a queue of at most n items promises; 0 is any number.
func model(n int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return state{} },
		Step: func(s, input, output any) (bool, any) {
			q, in, out := s.(state), input.(op), output.(result)
			if out.how == gaveUp {
				return true, q
			}
			switch in.what {
			case tryPut, put:
				switch out.how {
				case full:
					return in.what == tryPut && n != 0 && len(q.items) == n && !q.shut, q
				case ended:
					return q.shut, q
				}
				if q.shut || n != 0 && len(q.items) == n {
					return false, q
				}
				return true, state{append(slices.Clip(q.items), in.v), false}
			case tryGet, get:
				switch out.how {
				case empty:
					return in.what == tryGet && len(q.items) == 0 && !q.shut, q
				case ended:
					return len(q.items) == 0 && q.shut, q
				}
				if len(q.items) == 0 || out.how == ok && q.items[0] != out.v {
					return false, q
				}
				return true, state{q.items[1:], q.shut}
			case length:
				return out.how == unknown || int(out.v) == len(q.items), q
			}
			return true, state{q.items, true}
		},
		Equal: func(a, b any) bool {
			return a.(state).shut == b.(state).shut && slices.Equal(a.(state).items, b.(state).items)
		},
		DescribeOperation: func(input, output any) string {
			in, out := input.(op), output.(result)
			return fmt.Sprintf("%s %d: %d, %s", opNames[in.what], in.v, out.v, resultNames[out.how])
		},
	}
}

// checkHistory checks that the operations can have happened one at a time. Pending ones are those of processes that
// were killed: each of them may have happened, at any time since, or not.
func checkHistory(t *testing.T, n int, done, pending []porcupine.Operation) {
	t.Helper()
	for which := range 1 << len(pending) {
		history := slices.Clone(done)
		for i, op := range pending {
			if which>>i&1 == 1 {
				history = append(history, op)
			}
		}
		if porcupine.CheckOperationsTimeout(model(n), history, time.Minute) == porcupine.Ok {
			return
		}
	}
	slices.SortFunc(done, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range slices.Concat(done, pending) {
		t.Logf("%d: %6d to %6d %s", op.ClientId, op.Call, op.Return, model(n).DescribeOperation(op.Input, op.Output))
	}
	t.Fatalf("this did not happen one after the other in a queue of %d", n)
}

// rest is what is left in a queue, as operations after all others.
func rest(t *testing.T, q numbers, done []porcupine.Operation) []porcupine.Operation {
	t.Helper()
	for at := int64(math.MaxInt64 / 2); ; at += 2 {
		in := op{what: tryGet}
		out, err := in.do(q)
		proctest.Must(t, err)
		done = append(done, porcupine.Operation{ClientId: 100, Input: in, Call: at, Output: out, Return: at + 1})
		if out.how != ok {
			return done
		}
	}
}

// sizes are those of the queues: bounded ones, and one that grows from a small ring.
var sizes = []int{1, 3, 0}

const smallRing = 2

// TestLinearizable records many short histories of goroutines on a few handles and checks them.
func TestLinearizable(t *testing.T) {
	rnd := proctest.Rand(t)
	for _, f := range forms {
		for _, n := range sizes {
			t.Run(fmt.Sprintf("%s/n=%d", f.name, n), func(t *testing.T) { histories(t, rnd, f, n) })
		}
	}
}

func histories(t *testing.T, rnd *rand.Rand, f form, n int) {
	const goroutines, ops = 4, 7
	rounds := 100
	if testing.Short() || race.Enabled {
		rounds = 15
	}
	seg := proctest.Segment(t, 32<<20) // what is freed is used again when handles are collected as garbage
	for range rounds {
		qs := []numbers{newNumbers(t, seg, f, n, smallRing)}
		for range 2 {
			qs = append(qs, qs[0].another(t))
		}
		var next atomic.Uint64
		var ready atomic.Int32
		origin := time.Now()
		var logs [goroutines][]porcupine.Operation
		var wg sync.WaitGroup
		puts := 2 + rnd.IntN(5)
		for g := range goroutines {
			seed := rnd.Uint64()
			wg.Go(func() {
				rnd, q := rand.New(rand.NewPCG(seed, 0)), qs[g%len(qs)]
				for ready.Add(1); ready.Load() < goroutines; {
					runtime.Gosched()
				}
				for range ops {
					in := random(rnd, puts, next.Add(1))
					call := time.Since(origin)
					out, err := in.do(q)
					back := time.Since(origin)
					if err != nil {
						t.Error(err)
						return
					}
					logs[g] = append(logs[g], porcupine.Operation{ClientId: g, Input: in, Call: int64(call), Output: out, Return: int64(back)})
				}
			})
		}
		wg.Wait()
		checkHistory(t, n, rest(t, qs[0], slices.Concat(logs[:]...)), nil)
		for _, q := range qs {
			proctest.Must(t, q.close())
		}
		proctest.Must(t, shm.Free(qs[0].object()))
	}
	proctest.Must(t, seg.Check())
}

// actor is what a process is given that takes part in histories.
type actor struct {
	Orders *queue.Queue[order]
	Log    *shm.Block // see the constants
	Part   int
}

// order is one history: a queue, and where the random numbers begin.
type order struct {
	Q    numbers
	Seed uint64
}

// The log has in words of four bytes a clock and a go, and then for each actor a part with its operations. Each has five words: when it
// was called and when it returned (0: not yet), what, its number, how it went, and what it gave.
const (
	actors   = 3
	actorOps = 7
	logClock = 0
	logGo    = 128
	logParts = 256
	opSize   = 4 * 6
	partSize = actorOps * opSize
	logSize  = logParts + actors*partSize
)

var acting = proctest.NewRole("queue/act", func(ctx context.Context, c *proctest.Child, a actor) error {
	defer runtime.KeepAlive(a)
	c.Say("on")
	for o, err := range a.Orders.All(ctx) {
		if err != nil {
			return err
		}
		rnd := rand.New(rand.NewPCG(o.Seed, 0))
		puts := 2 + rnd.IntN(5)
		for a.Log.Uint32(logGo).Load() == 0 { // so that all begin together
			runtime.Gosched()
		}
		for i := range actorOps {
			at := logParts + a.Part*partSize + i*opSize
			in := random(rnd, puts, uint64(a.Part*actorOps+i+1))
			a.Log.Uint32(at + 8).Store(uint32(in.what))
			a.Log.Uint32(at + 12).Store(uint32(in.v))
			a.Log.Uint32(at).Store(a.Log.Uint32(logClock).Add(1))
			out, err := in.do(o.Q)
			if err != nil {
				return err
			}
			a.Log.Uint32(at + 16).Store(uint32(out.how))
			a.Log.Uint32(at + 20).Store(uint32(out.v))
			a.Log.Uint32(at + 4).Store(a.Log.Uint32(logClock).Add(1))
		}
		if err := o.Q.close(); err != nil {
			return err
		}
		c.Say("done")
	}
	return nil
})

// TestLinearizableProcesses does the same with processes, some of which are killed or stopped in the middle.
func TestLinearizableProcesses(t *testing.T) {
	rnd := proctest.Rand(t)
	seg := proctest.Segment(t, 64<<20) // the processes have the queues open until they collect garbage
	log, err := shm.NewBlock(seg, "", logSize)
	proctest.Must(t, err)
	defer runtime.KeepAlive(log)
	var procs [actors]*proctest.Proc
	var orders [actors]*queue.Queue[order]
	start := func(i int) {
		orders[i] = newQueue[order](t, seg, 1)
		procs[i] = acting.Start(t, actor{orders[i], log, i})
		procs[i].WaitLine("on")
	}
	for i := range procs {
		start(i)
	}
	rounds := 16
	if testing.Short() {
		rounds = 4
	}
	for _, f := range forms {
		for _, n := range sizes {
			for round := range rounds {
				round += 3 // so that even short runs kill
				for at := 0; at < logSize; at += 4 {
					log.Uint32(at).Store(0)
				}
				q := newNumbers(t, seg, f, n, smallRing)
				for i := range procs {
					proctest.Must(t, orders[i].Put(t.Context(), order{q, rnd.Uint64()}))
				}
				killed := playHistory(t, rnd, log, &procs, round)
				done, pending := readLog(t, log, killed)
				checkHistory(t, n, rest(t, q, done), pending)
				if killed >= 0 {
					proctest.Must(t, shm.Free(orders[killed]))
					start(killed)
				}
				proctest.Must(t, shm.Free(q.object()))
				proctest.Must(t, q.close())
			}
		}
	}
	for i := range procs {
		proctest.Must(t, orders[i].Shutdown())
		proctest.Must(t, procs[i].Wait())
	}
	proctest.Must(t, seg.Check())
}

// playHistory lets the processes go, and returns which of them it killed, or -1.
func playHistory(t *testing.T, rnd *rand.Rand, log *shm.Block, procs *[actors]*proctest.Proc, round int) (killed int) {
	t.Helper()
	victim := rnd.IntN(actors)
	log.Uint32(logGo).Store(1)
	if round%2 == 0 {
		victim = -1
	} else {
		last := log.Uint32(logParts + victim*partSize + (actorOps-1)*opSize + 4)
		for stop := rnd.Uint32N(2 * actors * actorOps); log.Uint32(logClock).Load() < stop && last.Load() == 0; {
			runtime.Gosched()
		}
		if round%8 == 3 {
			procs[victim].Kill()
			procs[victim].Wait()
		} else {
			procs[victim].Stop()
		}
	}
	for i, p := range procs {
		if i != victim {
			p.WaitLine("done") // whatever that one was doing
		}
	}
	switch {
	case victim < 0:
	case round%8 == 3:
		return victim
	default:
		procs[victim].Continue()
		procs[victim].WaitLine("done")
	}
	return -1
}

// readLog is what the processes did, and what the one that was killed was doing.
func readLog(t *testing.T, log *shm.Block, killed int) (done, pending []porcupine.Operation) {
	t.Helper()
	for part := range actors {
		for i := range actorOps {
			at := logParts + part*partSize + i*opSize
			word := func(i int) uint32 { return log.Uint32(at + 4*i).Load() }
			if word(0) == 0 {
				break
			}
			o := porcupine.Operation{ClientId: part, Input: op{int(word(2)), uint64(word(3))}, Call: int64(word(0)), Return: int64(word(1)),
				Output: result{int(word(4)), uint64(word(5))}}
			if word(1) != 0 {
				done = append(done, o)
				continue
			}
			if part != killed {
				t.Fatalf("process %d has not done operation %d", part, i)
			}
			o.Return = math.MaxInt64
			o.Output = result{how: unknown}
			pending = append(pending, o)
		}
	}
	return done, pending
}
