package ring_test

import (
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
	"github.com/shoal-ipc/shoal/ring"
)

// queueOp is an operation on a bounded queue: a push of v, or a pop.
type queueOp struct {
	pop bool
	v   uint64
}

// queueResult is what it returned. Of the pop of a process that was killed one does not know what it got.
type queueResult struct {
	ok      bool
	v       uint64
	unknown bool
}

// boundedQueue is the model: what MPMC promises, without exceptions.
func boundedQueue(n int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return []uint64(nil) },
		Step: func(state, input, output any) (bool, any) {
			q, in, out := state.([]uint64), input.(queueOp), output.(queueResult)
			switch {
			case in.pop && !out.ok:
				return len(q) == 0, q
			case in.pop:
				if len(q) == 0 || !out.unknown && q[0] != out.v {
					return false, q
				}
				return true, q[1:]
			case !out.ok:
				return len(q) == n, q
			case len(q) == n:
				return false, q
			}
			return true, append(slices.Clip(q), in.v)
		},
		Equal: func(a, b any) bool { return slices.Equal(a.([]uint64), b.([]uint64)) },
		DescribeOperation: func(input, output any) string {
			in, out := input.(queueOp), output.(queueResult)
			if in.pop {
				return fmt.Sprintf("pop: %d, %v", out.v, out.ok)
			}
			return fmt.Sprintf("push %d: %v", in.v, out.ok)
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
		// No history here is so long that this is not the answer.
		if porcupine.CheckOperationsTimeout(boundedQueue(n), history, time.Minute) == porcupine.Ok {
			return
		}
	}
	slices.SortFunc(done, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range slices.Concat(done, pending) {
		t.Logf("%d: %6d to %6d %s", op.ClientId, op.Call, op.Return, boundedQueue(n).DescribeOperation(op.Input, op.Output))
	}
	t.Fatalf("this did not happen one after the other in a queue of %d", n)
}

// TestMPMCLinearizable records many short histories of goroutines on a few handles and checks them.
func TestMPMCLinearizable(t *testing.T) {
	rnd := proctest.Rand(t)
	each[uint64](t, func(t *testing.T, form uint32) {
		histories(t, rnd, form, func(x uint64) uint64 { return x }, func(v uint64) uint64 { return v })
	})
	t.Run("large", func(t *testing.T) {
		histories(t, rnd, ring.MPMCBlocks, func(x uint64) big { return big{0: x, 32: x} }, func(v big) uint64 {
			if v[0] != v[32] {
				t.Errorf("a torn item: %d, %d", v[0], v[32])
			}
			return v[0]
		})
	})
}

func histories[T any](t *testing.T, rnd *rand.Rand, form uint32, item func(x uint64) T, number func(v T) uint64) {
	const goroutines, ops = 4, 7
	rounds := 200 // for each capacity
	if testing.Short() || race.Enabled {
		rounds = 60
	}
	for _, n := range []int{1, 2, 4, 8} {
		mem := shared(t, ring.MPMCSizeIn[T](n, form))
		rs := []*ring.MPMC[T]{newMPMC[T](t, mem, n, self(1), form)}
		starts := mpmcStarts(rs[0])
		for range 2 {
			rs = append(rs, openMPMC[T](t, mem, self(uint32(len(rs)+1))))
		}
		for round := range rounds {
			if round%20 == 0 {
				for _, r := range rs[1:] {
					r.Close()
				}
				rs[0].Close()
				rs[0] = openMPMC[T](t, mem, self(1))
				rs[0].SetPosition(starts[rnd.IntN(len(starts))])
				for i := range rs {
					rs[i] = openMPMC[T](t, mem, self(uint32(i+1)))
				}
			}
			var next atomic.Uint64
			var ready atomic.Int32
			origin := time.Now()
			var logs [goroutines][]porcupine.Operation
			var wg sync.WaitGroup
			pushes := 2 + rnd.Uint64N(5) // of 8
			for g := range goroutines {
				seed := rnd.Uint64()
				wg.Go(func() {
					rnd, r := rand.New(rand.NewPCG(seed, 0)), rs[g%len(rs)]
					for ready.Add(1); ready.Load() < goroutines; {
						runtime.Gosched()
					}
					for range ops {
						in := queueOp{pop: rnd.Uint64N(8) >= pushes, v: next.Add(1)}
						var out queueResult
						call := time.Since(origin)
						if in.pop {
							var v T
							v, out.ok = r.TryPop()
							out.v = number(v)
						} else {
							out.ok = r.TryPush(item(in.v))
						}
						back := time.Since(origin)
						logs[g] = append(logs[g], porcupine.Operation{ClientId: g, Input: in, Call: int64(call), Output: out, Return: int64(back)})
					}
				})
			}
			wg.Wait()
			all := slices.Concat(logs[:]...)
			for v, ok := rs[0].TryPop(); ok; v, ok = rs[0].TryPop() { // what is left is part of it
				at := int64(time.Since(origin)) + math.MaxInt32
				all = append(all, porcupine.Operation{ClientId: goroutines, Input: queueOp{pop: true}, Call: at,
					Output: queueResult{ok: true, v: number(v)}, Return: at + 1})
			}
			checkHistory(t, n, all, nil)
			if rs[0].Err() != nil {
				t.Fatal(rs[0].Err())
			}
		}
	}
}
