package ring_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
)

// byteOp is one step of the model. A TryWrite is two, a claim and a commit, both within its time: records come in
// the order of claims, and one whose TryWrite is not through yet holds up those behind it. A Next is one for each
// tombstone that it passed over, and one for what it returned. What an Advance or a pass frees is free for a claim
// as soon as the consumer's ordinary stores have arrived, which may be after the call: that is a step that may come
// any time later, in their order.
type byteOp struct {
	kind string // claim, commit, abort, pass, next, advance, free
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
	at, first := 0, uint64(ring.StateEmpty)
	for at < len(m.records) && m.records[at].passed {
		at++
	}
	if at < len(m.records) {
		first = m.records[at].state
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
		return first == ring.StateCommitted && m.records[at].id == op.id && m.records[at].length == op.n, m
	case "pass", "advance":
		if want := uint64(ring.StateAborted); op.kind == "pass" && first != want ||
			op.kind == "advance" && first != ring.StateCommitted {
			return false, m
		}
		m.records = slices.Clone(m.records)
		m.records[at].passed = true
		return true, m
	case "free":
		if at == 0 {
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
				return x.id == y.id && x.state == y.state && x.length == y.length && x.passed == y.passed
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
			if !porcupine.CheckOperations(model, history) {
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
	all := make([]history, writers+2)
	begin := time.Now()
	for i := range all {
		all[i] = history{client: i, begin: begin}
	}
	// Begin nearly full.
	for fill := range uint64(room)/8 - uint64(room)/8/4 {
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
		h, frees := &all[0], &all[writers+1]
		for range 2 * steps {
			before, _ := r.Start()
			call := h.now()
			p, ok := r.Next()
			after, _ := r.Start()
			op := byteOp{"next", 0, len(p), ok}
			if ok {
				op.id = idOf(p)
			}
			for range after - before {
				h.add(call, byteOp{"pass", 0, 0, true})
				frees.add(call, byteOp{"free", 0, 0, true})
			}
			h.add(call, op)
			if ok {
				call = h.now()
				r.Advance()
				h.add(call, byteOp{"advance", 0, 0, true})
				frees.add(call, byteOp{"free", 0, 0, true})
			}
		}
	})
	close(start)
	wg.Wait()
	// As seen from here all is freed, so these are after the last one.
	over := all[0].now()
	for i := range all[writers+1].ops {
		all[writers+1].ops[i].Return = over
	}
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
