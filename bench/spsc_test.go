package bench_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/bench"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// BenchmarkSPSC compares a ring of 1,024 numbers between two processes, bound to CPUs 0 and 1 and both
// spinning, with the same in C. flow=stream is one way, flow=turns one number at a time there and back. Both
// check every number.
func BenchmarkSPSC(b *testing.B) {
	for _, c := range []struct {
		name, what string
		turns      bool
		items      int
	}{
		{"flow=stream", "an item of 8 bytes; 10 M of them, from CPU 0 to CPU 1", false, 10_000_000},
		{"flow=turns", "a round trip of 8 bytes; 1 M of them, CPU 0 to CPU 1 and back", true, 1_000_000},
	} {
		b.Run(c.name, func(b *testing.B) {
			needTwoCPUs(b)
			peer := compilePeer(b, "spsc")
			compare(b, c.what,
				bench.Side{Name: "C", Run: func() (float64, error) { return spscC(peer, c.turns, c.items) }},
				bench.Side{Name: "Go", Run: func() (float64, error) { return spscGo(b, c.turns, c.items) }})
		})
	}
}

// TestSPSCProcesses moves numbers between two processes and checks their order, and that of the C program.
func TestSPSCProcesses(t *testing.T) {
	needTwoCPUs(t)
	for _, turns := range []bool{false, true} {
		if _, err := spscGo(t, turns, 50_000); err != nil {
			t.Error(err)
		}
	}
	t.Run("C", func(t *testing.T) {
		peer := compilePeer(t, "spsc")
		for _, turns := range []bool{false, true} {
			if _, err := spscC(peer, turns, 50_000); err != nil {
				t.Error(err)
			}
		}
	})
}

// spscC measures the C program once.
func spscC(peer string, turns bool, items int) (float64, error) {
	flow := "stream"
	if turns {
		flow = "turns"
	}
	out, err := exec.Command(peer, flow, strconv.Itoa(items), "0", "1").Output()
	if err != nil {
		return 0, err
	}
	var r struct {
		NS                 float64
		Producer, Consumer [2]int
	}
	if err := json.Unmarshal(out, &r); err != nil {
		return 0, err
	}
	return r.NS, checkCPUs(r.Producer, r.Consumer)
}

// spscArgs are one side's part of a measurement.
type spscArgs struct {
	There, Back *shm.Block // the rings
	Reports     *array.Array[spscReport]
	CPU         int // to run on
	Items       int
	Turns       bool
}

// spscReport is what a side measured, and on which CPU it was at its beginning and at its end. The producer's
// comes first.
type spscReport struct {
	NS   float64
	CPUs [2]int
}

const spscSlots = 1024

// spscGo measures two processes with ring.SPSC once.
func spscGo(tb testing.TB, turns bool, items int) (float64, error) {
	seg := proctest.Segment(tb, 0)
	defer seg.Close()
	a := spscArgs{Items: items, Turns: turns}
	var err error
	for _, b := range []**shm.Block{&a.There, &a.Back} {
		if *b, err = shm.NewBlock(seg, "", ring.SPSCSize[uint64](spscSlots)); err != nil {
			return 0, err
		}
		if _, err := ring.NewSPSC[uint64]((*b).Bytes(), spscSlots, seg); err != nil {
			return 0, err
		}
	}
	if a.Reports, err = array.New[spscReport](seg, "", 2); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(tb.Context())
	defer cancel()
	produce, consume := a, a
	consume.CPU = 1
	p, err := process.Start(ctx, spscConsume, consume)
	if err != nil {
		return 0, err
	}
	err = process.Run(ctx, spscProduce, produce)
	if err != nil {
		p.Kill() // it would wait for ever
	}
	if err := errors.Join(err, p.Join(context.Background()), p.Close()); err != nil {
		return 0, err
	}
	produced, consumed := a.Reports.Load(0), a.Reports.Load(1)
	return consumed.NS, checkCPUs(produced.CPUs, consumed.CPUs)
}

// checkCPUs is an error if the sides did not run where they were bound to.
func checkCPUs(producer, consumer [2]int) error {
	if producer != [2]int{0, 0} || consumer != [2]int{1, 1} {
		return fmt.Errorf("the producer ran on CPUs %v, the consumer on %v", producer, consumer)
	}
	return nil
}

// spscProduce waits for the consumer's sign and sends the numbers from 0 on.
var spscProduce = process.Register("spsc-produce", func(ctx context.Context, a spscArgs) error {
	there, back, err := spscOpen(a)
	if err != nil {
		return err
	}
	r := spscReport{CPUs: [2]int{0: sys.CurrentCPU()}}
	spscWait(back)
	if a.Turns {
		err = spscServe(there, back, uint64(a.Items))
	} else {
		spscSend(there, uint64(a.Items))
	}
	r.CPUs[1] = sys.CurrentCPU()
	a.Reports.Store(0, r)
	runtime.KeepAlive(a)
	return errors.Join(err, there.Err(), back.Err())
})

// spscConsume gives the sign, checks the numbers, and measures from the first to the last.
var spscConsume = process.Register("spsc-consume", func(ctx context.Context, a spscArgs) error {
	there, back, err := spscOpen(a)
	if err != nil {
		return err
	}
	r := spscReport{CPUs: [2]int{0: sys.CurrentCPU()}}
	back.TryPush(0)
	first := spscWait(there)
	start := time.Now()
	switch {
	case first != 0:
		err = spscWrong(first, 0)
	case a.Turns:
		err = spscReturn(there, back, uint64(a.Items))
	default:
		err = spscReceive(there, uint64(a.Items))
	}
	r.NS = float64(time.Since(start)) / float64(a.Items-1)
	r.CPUs[1] = sys.CurrentCPU()
	a.Reports.Store(1, r)
	runtime.KeepAlive(a)
	return errors.Join(err, there.Err(), back.Err())
})

// spscOpen binds the caller to its CPU and opens the rings there and back.
func spscOpen(a spscArgs) (there, back *ring.SPSC[uint64], err error) {
	if err := bind(a.CPU); err != nil {
		return nil, nil, err
	}
	there, err1 := ring.OpenSPSC[uint64](a.There.Bytes(), a.There.Segment())
	back, err2 := ring.OpenSPSC[uint64](a.Back.Bytes(), a.Back.Segment())
	return there, back, errors.Join(err1, err2)
}

// The loops that are measured are functions of their own, with no more variables than they need: what the
// compiler cannot keep in registers it stores once an item, and those stores queue behind the ring's.

func spscSend(r *ring.SPSC[uint64], n uint64) {
	for i := uint64(0); i < n; {
		if r.TryPush(i) {
			i++
		}
	}
}

func spscReceive(r *ring.SPSC[uint64], n uint64) error {
	for i := uint64(1); i < n; {
		v, ok := r.TryPop()
		if !ok {
			continue
		}
		if v != i {
			return spscWrong(v, i)
		}
		i++
	}
	return nil
}

// spscServe sends each number when the one before it has come back.
func spscServe(there, back *ring.SPSC[uint64], n uint64) error {
	for i := range n {
		there.TryPush(i)
		if v := spscWait(back); v != i {
			return spscWrong(v, i)
		}
	}
	return nil
}

// spscReturn sends 0 back, which has arrived already, and then each number that comes.
func spscReturn(there, back *ring.SPSC[uint64], n uint64) error {
	for i := uint64(1); i < n; i++ {
		back.TryPush(i - 1)
		if v := spscWait(there); v != i {
			return spscWrong(v, i)
		}
	}
	back.TryPush(n - 1)
	return nil
}

func spscWait(r *ring.SPSC[uint64]) uint64 {
	for {
		if v, ok := r.TryPop(); ok {
			return v
		}
	}
}

func spscWrong(got, want uint64) error { return fmt.Errorf("item %d is %d", want, got) }
