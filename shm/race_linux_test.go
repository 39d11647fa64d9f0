package shm_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// raceArgs is what racing processes share: words 0 and 1 of B are the round that has begun, and how many have
// ended it; word 2 is a clock. From byte 128 on each has 16 bytes.
type raceArgs struct {
	B    *shm.Block
	Name string
	N    int // of this process
	Seed uint64
	Ops  int
}

const lastRound = 1<<32 - 1

// round waits until round r has begun, and reports whether there is one.
func (a raceArgs) round(ctx context.Context, r uint32) (bool, error) {
	for {
		now := a.B.Uint32(0).Load()
		if now >= r {
			return now != lastRound, nil
		}
		if err := futex.Wait(ctx, a.B.Uint32(0), now); err != nil {
			return false, err
		}
	}
}

// begin begins round r, and waits until all have ended it.
func begin(t *testing.T, b *shm.Block, r uint32, procs int) {
	t.Helper()
	b.Uint32(4).Store(0)
	b.Uint32(0).Store(r)
	futex.Wake(b.Uint32(0), procs)
	for r != lastRound {
		n := b.Uint32(4).Load()
		if n == uint32(procs) {
			return
		}
		proctest.Must(t, futex.Wait(t.Context(), b.Uint32(4), n))
	}
}

func (a raceArgs) end() {
	a.B.Uint32(4).Add(1)
	futex.Wake(a.B.Uint32(4), 1)
}

// racesToOpen opens or creates the name of each round, and keeps the segment until the next.
var racesToOpen = proctest.NewRole("races-to-open", func(ctx context.Context, c *proctest.Child, a raceArgs) error {
	c.Say("ready")
	var last *shm.Segment
	for r := uint32(1); ; r++ {
		if more, err := a.round(ctx, r); !more || err != nil {
			return err
		}
		seg, err := shm.OpenOrCreate(fmt.Sprint(a.Name, "-", r), 1)
		if err != nil {
			return err
		}
		if last != nil {
			last.Close()
		}
		last = seg
		id := shm.UUID(seg)
		copy(a.B.Bytes()[128+16*a.N:], id[:])
		a.end()
	}
})

// Of many processes that open or create one name, all get one segment, and all are in it.
func TestOpenOrCreateRace(t *testing.T) {
	procs := 100
	if testing.Short() {
		procs = 10
	}
	b := block(t, proctest.Segment(t, 0), "", 128+16*procs)
	name := proctest.Name(t)
	var ps []*proctest.Proc
	for i := range procs {
		ps = append(ps, racesToOpen.Start(t, raceArgs{B: b, Name: name, N: i}))
	}
	for _, p := range ps {
		p.WaitLine("ready")
	}
	rounds := uint32(0)
	for end := time.Now().Add(proctest.Stress(time.Second)); rounds < 5 || time.Now().Before(end); {
		rounds++
		begin(t, b, rounds, procs)
		one := fmt.Sprint(name, "-", rounds)
		seg, err := shm.Open(one)
		proctest.Must(t, err)
		id := shm.UUID(seg)
		for i := range procs {
			if got := b.Bytes()[128+16*i:][:16]; string(got) != string(id[:]) {
				t.Errorf("round %d: process %d has segment %x, the name leads to %x", rounds, i, got, id)
			}
		}
		if in := seg.Info(); in.Living != procs+1 {
			t.Errorf("round %d: %+v", rounds, in)
		}
		proctest.Must(t, seg.Check())
		seg.Close()
		proctest.Must(t, shm.Remove(one))
		if t.Failed() {
			break
		}
	}
	begin(t, b, lastRound, procs)
	for _, p := range ps {
		proctest.Must(t, p.Wait())
	}
	if left := leftovers(t); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	t.Logf("%d rounds of %d processes", rounds, procs)
	runtime.KeepAlive(b)
}

// The operations on a name.
const (
	opOpen   = "open"   // OpenOrCreate, and the segment is kept
	opFresh  = "fresh"  // the same with Fresh; in a history it is opClear and opOpen
	opClear  = "clear"  // what Fresh does first
	opClose  = "close"  // of a segment that was kept
	opRemove = "remove" // of the name
)

type nameInput struct {
	op string
	id string // of what is closed
}

// register is the model of a name: it leads to one segment or to none, and how many use that is known.
//
//	open    the segment that it leads to; a new one if it leads to none
//	clear   if nobody uses that to which it leads, it may lead to none from now on
//	close   one user less
//	remove  it leads to none; it is an error if it did before
//
// A new one was never there before.
type register struct {
	id    string
	users int
	past  string // the ids of all that were there
}

// step returns what may be after an operation, nothing if that cannot have happened.
func (r register) step(in nameInput, out string) []any {
	switch {
	case in.op == opOpen && out == r.id && out != "":
		r.users++
	case in.op == opOpen && r.id == "" && out != "" && !strings.Contains(r.past, out):
		r = register{out, 1, r.past + " " + out}
	case in.op == opClear && r.id != "" && r.users == 0:
		return []any{r, register{past: r.past}}
	case in.op == opClear, in.op == opClose && in.id != r.id:
	case in.op == opClose:
		r.users--
	case in.op == opRemove && (out == "removed") == (r.id != ""):
		r = register{past: r.past}
	default:
		return nil
	}
	return []any{r}
}

var nameModel = (&porcupine.NondeterministicModel{
	Init: func() []any { return []any{register{}} },
	Step: func(state, in, out any) []any { return state.(register).step(in.(nameInput), out.(string)) },
}).ToModel()

// nameHistory appends an operation on a name.
func nameHistory(history []porcupine.Operation, client int, in nameInput, out string, call, end int64) []porcupine.Operation {
	op := porcupine.Operation{ClientId: client, Input: in, Output: out, Call: call, Return: end}
	if in.op == opFresh {
		op.Input, op.Output = nameInput{op: opClear}, ""
		history = append(history, op)
		op.Input, op.Output = nameInput{op: opOpen}, out
	}
	return append(history, op)
}

// usesName does what it likes with the name of each round, and says what happened and when.
var usesName = proctest.NewRole("uses-name", func(ctx context.Context, c *proctest.Child, a raceArgs) error {
	rnd := rand.New(rand.NewPCG(a.Seed, uint64(a.N)))
	clock := a.B.Uint32(8)
	var last []*shm.Segment
	c.Say("ready")
	for r := uint32(1); ; r++ {
		if more, err := a.round(ctx, r); !more || err != nil {
			return err
		}
		for _, s := range last {
			s.Close()
		}
		name := fmt.Sprint(a.Name, "-", r)
		var kept []*shm.Segment
		var said []string
		for range a.Ops {
			op := []string{opOpen, opOpen, opFresh, opRemove}[rnd.IntN(4)]
			in, out := "-", "-"
			if len(kept) == 2 || len(kept) == 1 && rnd.IntN(2) == 0 {
				op = opClose
			}
			call := clock.Add(1)
			switch op {
			case opClose:
				id := shm.UUID(kept[0])
				in = hex.EncodeToString(id[:])
				if err := kept[0].Close(); err != nil {
					return err
				}
				kept = kept[1:]
			case opRemove:
				err := shm.Remove(name)
				if err == nil {
					out = "removed"
				} else if !errors.Is(err, fs.ErrNotExist) {
					return err
				}
			default:
				seg, err := shm.OpenOrCreate(name, 1, shm.Options{Fresh: op == opFresh})
				if err != nil {
					return err
				}
				id := shm.UUID(seg)
				out = hex.EncodeToString(id[:])
				kept = append(kept, seg)
			}
			said = append(said, fmt.Sprintf("%s %s %s %d %d", op, in, out, call, clock.Add(1)))
		}
		for _, s := range said {
			c.Say("%s", s)
		}
		a.end()
		last = kept // nobody is to see a close that is not said
	}
})

// What happens to a name while several processes open, create, replace and remove it could have happened in some
// order, one after the other.
func TestNameLinearizable(t *testing.T) {
	const procs, ops = 5, 25
	r := proctest.Rand(t)
	b := block(t, proctest.Segment(t, 0), "", 128)
	name := proctest.Name(t)
	var ps []*proctest.Proc
	for i := range procs {
		ps = append(ps, usesName.Start(t, raceArgs{B: b, Name: name, N: i, Seed: r.Uint64(), Ops: ops}))
	}
	for _, p := range ps {
		p.WaitLine("ready")
	}
	rounds := uint32(0)
	t.Cleanup(func() { shm.Remove(fmt.Sprint(name, "-", rounds)) })
	counts := make(map[string]int)
	for end := time.Now().Add(proctest.Stress(2 * time.Second)); rounds < 5 || time.Now().Before(end); {
		rounds++
		begin(t, b, rounds, procs)
		var history []porcupine.Operation
		for i, p := range ps {
			for range ops {
				var in nameInput
				var out string
				var call, end int64
				if _, err := fmt.Sscan(p.Line(), &in.op, &in.id, &out, &call, &end); err != nil {
					t.Fatal(err)
				}
				history = nameHistory(history, i, in, strings.Trim(out, "-"), call, end)
				counts[in.op]++
			}
		}
		if !porcupine.CheckOperations(nameModel, history) {
			for _, op := range history {
				t.Logf("%d: %v -> %v, from %d to %d", op.ClientId, op.Input, op.Output, op.Call, op.Return)
			}
			t.Fatalf("round %d is not linearizable", rounds)
		}
		if err := shm.Remove(fmt.Sprint(name, "-", rounds)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	begin(t, b, lastRound, procs)
	for _, p := range ps {
		proctest.Must(t, p.Wait())
	}
	t.Logf("%d rounds of %d processes: %v", rounds, procs, counts)
	runtime.KeepAlive(b)
}

// The model refuses what must not happen.
func TestNameModelCanFail(t *testing.T) {
	type op struct{ op, id, out string }
	for _, c := range []struct {
		history []op
		ok      bool
	}{
		{[]op{{opOpen, "", "a"}, {opOpen, "", "a"}, {opRemove, "", "removed"}, {opOpen, "", "b"}, {opRemove, "", "removed"}, {opRemove, "", ""}}, true},
		{[]op{{opOpen, "", "a"}, {opClose, "a", ""}, {opFresh, "", "b"}, {opFresh, "", "b"}}, true},
		{[]op{{opOpen, "", "a"}, {opOpen, "", "b"}}, false},
		{[]op{{opOpen, "", "a"}, {opFresh, "", "b"}}, false},
		{[]op{{opOpen, "", "a"}, {opRemove, "", "removed"}, {opOpen, "", "a"}}, false},
		{[]op{{opOpen, "", "a"}, {opRemove, "", ""}}, false},
		{[]op{{opRemove, "", "removed"}}, false},
	} {
		var history []porcupine.Operation
		for i, o := range c.history {
			history = nameHistory(history, 0, nameInput{o.op, o.id}, o.out, int64(2*i), int64(2*i+1))
		}
		if porcupine.CheckOperations(nameModel, history) != c.ok {
			t.Errorf("%v is linearizable: %v", c.history, !c.ok)
		}
	}
}

// freshens opens the name of each round with Fresh and then stays until it is killed.
var freshens = proctest.NewRole("freshens", func(ctx context.Context, c *proctest.Child, name string) error {
	c.Say("ready")
	c.Hear()
	seg, err := shm.OpenOrCreate(name, 1, shm.Options{Fresh: true})
	if err != nil {
		return err
	}
	c.Say("%x", shm.UUID(seg))
	c.Hear()
	runtime.KeepAlive(seg)
	return nil
})

// Of many that find a segment of dead processes, and ask for a fresh one, all get one new segment.
func TestFreshRace(t *testing.T) {
	procs, rounds := 6, 4
	if testing.Short() {
		rounds = 2
	}
	name := proctest.Name(t)
	last := ""
	for range rounds {
		var ps []*proctest.Proc
		for range procs {
			ps = append(ps, freshens.Start(t, name))
		}
		for _, p := range ps {
			p.WaitLine("ready")
		}
		for _, p := range ps {
			p.Tell("go")
		}
		id := ps[0].Line()
		for _, p := range ps[1:] {
			if got := p.Line(); got != id {
				t.Errorf("segments %s and %s", got, id)
			}
		}
		if id == last {
			t.Error("the segment of the dead was not replaced")
		}
		last = id
		for _, p := range ps {
			p.Kill()
		}
		for _, p := range ps {
			p.Wait()
		}
	}
	if _, err := os.Stat(fileOf(name)); err != nil {
		t.Error(err)
	}
}
