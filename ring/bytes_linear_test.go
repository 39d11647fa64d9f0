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

// byteOp is one step of the model. A TryWrite is two, a claim and a commit, both within its time: records come in
// the order of claims, and one whose TryWrite is not through yet holds up those behind it. A Next is one for each
// tombstone that it passed over, and one for what it returned. The consumer makes a full barrier after each, which
// is what it takes for what it has freed to be free for a claim that begins later.
type byteOp struct {
	kind string // claim, commit, abort, pass, next, advance
	id   uint64
	n    int
	ok   bool
}

// byteStep does one step of the model.
func byteStep(state, input, _ any) (bool, any) {
	m, op := state.(byteModel), input.(byteOp)
	find := func() int {
		return slices.IndexFunc(m.records, func(c modelRecord) bool { return c.id == op.id && c.state == ring.StateClaimed })
	}
	finish := func(as uint64) (bool, any) {
		i := find()
		if i < 0 {
			return false, m
		}
		m.records = slices.Clone(m.records)
		m.records[i].state, m.records[i].length = as, op.n
		return true, m
	}
	first := uint64(ring.StateEmpty)
	if len(m.records) > 0 {
		first = m.records[0].state
	}
	switch op.kind {
	case "claim":
		m.records = slices.Clone(m.records)
		return m.claim(op.id, op.n) == op.ok, m
	case "commit":
		return finish(ring.StateCommitted)
	case "abort":
		return finish(ring.StateAborted)
	case "next":
		if !op.ok {
			return first == ring.StateEmpty || first == ring.StateClaimed, m
		}
		return first == ring.StateCommitted && m.records[0].id == op.id && m.records[0].length == op.n, m
	case "pass", "advance":
		if want := uint64(ring.StateAborted); op.kind == "pass" && first != want ||
			op.kind == "advance" && first != ring.StateCommitted {
			return false, m
		}
		m.pass()
		return true, m
	}
	panic(op.kind)
}

func byteModelOf(r *ring.Bytes, from uint64) porcupine.Model {
	return porcupine.Model{
		Init: func() any {
			return byteModel{from: from, end: from, room: uint64(r.Cap()), slots: int(r.Slots())}
		},
		Step: byteStep,
		Equal: func(a, b any) bool {
			x, y := a.(byteModel), b.(byteModel)
			return x.from == y.from && x.end == y.end && slices.EqualFunc(x.records, y.records, func(x, y modelRecord) bool {
				return x.id == y.id && x.state == y.state && x.length == y.length
			})
		},
	}
}

// history is what one goroutine did.
type history struct {
	client int
	begin  time.Time
	ops    []porcupine.Operation
}

func (h *history) now() int64 { return int64(time.Since(h.begin)) }

func (h *history) add(call int64, ops ...byteOp) {
	end := h.now()
	for _, op := range ops {
		h.ops = append(h.ops, porcupine.Operation{ClientId: h.client, Input: op, Call: call, Return: end})
	}
}

// TestBytesLinearizable records what goroutines with handles of their own do and looks for an order of single steps
// that explains it. Either the bytes or the descriptors are what there is too little of; an Advance frees the one
// after the other. Then the ring is filled, which shows that all was freed in the end.
func TestBytesLinearizable(t *testing.T) {
	rnd := proctest.Rand(t)
	least := 1500 * time.Millisecond
	if testing.Short() || race.Enabled {
		least = 300 * time.Millisecond
	}
	counts := make(map[string]int)
	for end := time.Now().Add(proctest.Stress(least)); time.Now().Before(end); {
		for _, room := range []int{64, 1024} {
			history, model := byteHistory(t, rnd, room)
			result := porcupine.CheckOperationsTimeout(model, history, 5*time.Second)
			if result == porcupine.Unknown {
				t.Log("too many orders to look through, of one history")
			}
			if result == porcupine.Illegal {
				for _, op := range history {
					t.Logf("%d: %v, from %d to %d", op.ClientId, op.Input, op.Call, op.Return)
				}
				t.Fatal("not linearizable")
			}
			for _, op := range history {
				in := op.Input.(byteOp)
				counts[fmt.Sprint(in.kind, " ", in.ok)]++
			}
		}
	}
	t.Log(counts)
	for _, what := range []string{
		"claim true", "claim false", "commit true", "abort true", "pass true", "next true", "next false", "advance true",
	} {
		if counts[what] == 0 {
			t.Errorf("no %s", what)
		}
	}
}

func byteHistory(t *testing.T, rnd *rand.Rand, room int) ([]porcupine.Operation, porcupine.Model) {
	const writers, steps = 3, 9
	mem := memory(t, ring.BytesSize(room))
	r := newBytes(t, mem, room, self(1))
	r.NoSpin()
	b := beginnings[rnd.IntN(len(beginnings))]
	r.SetStart(b.at, b.from)
	all := make([]history, writers+1)
	begin := time.Now()
	for i := range all {
		all[i] = history{client: i, begin: begin}
	}
	// Begin empty, full, or in between.
	for fill := range rnd.Uint64N(uint64(min(room/8, int(r.Slots()))) + 1) {
		call := all[0].now()
		if !r.TryWrite(record(fill, 8)) {
			break
		}
		all[0].add(call, byteOp{"claim", fill, 8, true}, byteOp{"commit", fill, 8, true})
	}
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := 1; i <= writers; i++ {
		w, h := openBytes(t, mem, self(uint32(i)+1)), &all[i]
		rnd := rand.New(rand.NewPCG(rnd.Uint64(), 0))
		wg.Go(func() {
			<-start
			for j := range uint64(steps) {
				id := uint64(i)*1000 + j
				call := h.now()
				if rnd.IntN(3) > 0 {
					ok := w.TryWrite(record(id, 8))
					if ops := []byteOp{{"claim", id, 8, ok}, {"commit", id, 8, true}}; ok {
						h.add(call, ops...)
					} else {
						h.add(call, ops[0])
					}
					continue
				}
				c, ok := w.Reserve(8)
				h.add(call, byteOp{"claim", id, 8, ok})
				if !ok {
					continue
				}
				if rnd.IntN(2) == 0 {
					runtime.Gosched()
				}
				call = h.now()
				if rnd.IntN(2) == 0 {
					c.Abort()
					h.add(call, byteOp{"abort", id, 0, true})
				} else {
					copy(c.Data, record(id, 7))
					c.Commit(7)
					h.add(call, byteOp{"commit", id, 7, true})
				}
			}
		})
	}
	wg.Go(func() {
		<-start
		h, barrier := &all[0], new(atomic.Uint64)
		for range 3 * steps {
			before, _ := r.Start()
			call := h.now()
			p, ok := r.Next()
			barrier.Add(1)
			after, _ := r.Start()
			op := byteOp{"next", 0, len(p), ok}
			if ok {
				op.id = idOf(p)
			}
			for range after - before {
				h.add(call, byteOp{"pass", 0, 0, true})
			}
			h.add(call, op)
			if ok {
				call = h.now()
				r.Advance()
				barrier.Add(1)
				h.add(call, byteOp{"advance", 0, 0, true})
			} else {
				runtime.Gosched()
			}
		}
	})
	close(start)
	wg.Wait()
	for readAll(r) != nil {
	}
	var records int
	for r.TryWrite(record(0, 8)) {
		records++
	}
	if records != min(room/8, int(r.Slots())) {
		t.Fatalf("in the end %d records fit", records)
	}
	var ops []porcupine.Operation
	for _, h := range all {
		ops = append(ops, h.ops...)
	}
	return ops, byteModelOf(r, b.from)
}

// idOf is the number, below 2^16, of a record of at least two bytes.
func idOf(p []byte) uint64 { return uint64(p[0]) | uint64(p[1]^1)<<8 }
