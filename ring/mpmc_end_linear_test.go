package ring_test

import (
	"fmt"
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

// endOp is an operation on an exact ring, and endResult what it returned: Len and Mark a number, the others whether they did it.
type endOp struct {
	what string
	v    uint64
}

type endResult struct {
	ok bool
	v  uint64
}

type endState struct {
	items []uint64
	mark  uint64
}

// exactQueue is the model: what an exact ring promises, without exceptions.
func exactQueue(n int) porcupine.Model {
	return porcupine.Model{
		Init: func() any { return endState{} },
		Step: func(state, input, output any) (bool, any) {
			s, in, out := state.(endState), input.(endOp), output.(endResult)
			switch in.what {
			case "len":
				return uint64(len(s.items)) == out.v, s
			case "mark":
				return s.mark == out.v, s
			case "end":
				if out.ok != (s.mark == 0) {
					return false, s
				}
				if out.ok {
					s.mark = in.v
				}
				return true, s
			case "push":
				if out.ok != (s.mark == 0 && len(s.items) < n) {
					return false, s
				}
				if out.ok {
					s.items = append(slices.Clip(s.items), in.v)
				}
				return true, s
			default: // pop
				if out.ok != (len(s.items) > 0) || out.ok && s.items[0] != out.v {
					return false, s
				}
				if out.ok {
					s.items = s.items[1:]
				}
				return true, s
			}
		},
		Equal: func(a, b any) bool {
			x, y := a.(endState), b.(endState)
			return x.mark == y.mark && slices.Equal(x.items, y.items)
		},
		DescribeOperation: func(input, output any) string {
			in, out := input.(endOp), output.(endResult)
			return fmt.Sprintf("%s %d: %d, %v", in.what, in.v, out.v, out.ok)
		},
	}
}

// TestMPMCEndLinearizable records many short histories of goroutines on a few handles of exact rings, which look, count and end them
// too, and checks them. Half of the pops of messages are those of who looks first.
func TestMPMCEndLinearizable(t *testing.T) {
	rnd := proctest.Rand(t)
	rounds := 250 // for each capacity
	if testing.Short() || race.Enabled {
		rounds = 50
	}
	for _, n := range []int{1, 3, 6} {
		eachEndable(t, n, func(t *testing.T, size int, make, open func(t testing.TB, mem []byte, p ring.Peers) endable) {
			for round := range rounds {
				mem := shared(t, size)
				first := make(t, mem, self(1))
				starts := mpmcStarts(first)
				first.SetPosition(starts[rnd.IntN(len(starts))])
				endHistory(t, rnd, round, n, []endable{first, open(t, mem, self(2)), open(t, mem, self(3))})
			}
		})
	}
}

func endHistory(t *testing.T, rnd *rand.Rand, round, n int, rs []endable) {
	const goroutines, ops = 4, 7
	var next, clock atomic.Uint64
	var ready atomic.Int32
	var logs [goroutines][]porcupine.Operation
	var wg sync.WaitGroup
	pushes := 2 + rnd.Uint64N(3) // of 8
	for g := range goroutines {
		seed := rnd.Uint64()
		wg.Go(func() {
			rnd, r := rand.New(rand.NewPCG(seed, 0)), rs[g%len(rs)]
			for ready.Add(1); ready.Load() < goroutines; {
				runtime.Gosched()
			}
			for i := range ops {
				in, out := endOp{}, endResult{}
				k := rnd.Uint64N(8)
				// All beside the call itself comes before it, for that is short.
				switch {
				case i >= 3 && k == 7 && round%2 == 0:
					in = endOp{"end", 1 + uint64(g)%3}
				case k == 6:
					in = endOp{what: "mark"}
				case k == 5:
					in = endOp{what: "len"}
				case k < pushes:
					in = endOp{"push", next.Add(1)}
				default:
					in = endOp{what: "pop"}
				}
				call := clock.Add(1)
				switch in.what {
				case "end":
					out.ok = r.End(int(in.v))
				case "mark":
					out.v = uint64(r.Mark())
				case "len":
					out.v = uint64(r.Len())
				case "push":
					out.ok = r.push(in.v)
				default:
					out.v, out.ok = r.pop()
				}
				back := clock.Add(1)
				logs[g] = append(logs[g], porcupine.Operation{ClientId: g, Input: in, Call: int64(call), Output: out, Return: int64(back)})
			}
		})
	}
	wg.Wait()
	all := slices.Concat(logs[:]...)
	after := func(in endOp, out endResult) { // what is left is part of it
		at := int64(clock.Add(2))
		all = append(all, porcupine.Operation{ClientId: goroutines, Input: in, Call: at, Output: out, Return: at + 1})
	}
	after(endOp{what: "len"}, endResult{v: uint64(rs[0].Len())})
	for ok := true; ok; {
		var v uint64
		v, ok = rs[0].pop()
		after(endOp{what: "pop"}, endResult{ok, v})
	}
	after(endOp{what: "mark"}, endResult{v: uint64(rs[0].Mark())})
	for _, r := range rs {
		if r.Err() != nil {
			t.Fatal(r.Err())
		}
	}
	if porcupine.CheckOperationsTimeout(exactQueue(n), all, time.Minute) == porcupine.Ok {
		return
	}
	slices.SortFunc(all, func(a, b porcupine.Operation) int { return int(a.Call - b.Call) })
	for _, op := range all {
		t.Logf("%d: %4d to %4d %s", op.ClientId, op.Call, op.Return, exactQueue(n).DescribeOperation(op.Input, op.Output))
	}
	t.Fatalf("this did not happen one after the other in an exact ring of %d", n)
}
