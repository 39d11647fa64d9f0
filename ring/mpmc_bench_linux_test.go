package ring_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// stretch is what a process of BenchmarkMPMCProcesses does: push or pop so many numbers.
type stretch struct {
	Ring     *shm.Block
	Pops     bool
	N, Batch int
	Pauses   uint32 // how long it waits when it finds the ring empty or full; and now and then it lets others run
}

var stretches = proctest.NewRole("mpmc/stretch", func(_ context.Context, c *proctest.Child, s stretch) error {
	defer runtime.KeepAlive(s.Ring)
	r, err := ring.OpenMPMC[uint64](s.Ring.Bytes(), s.Ring.Segment())
	if err != nil {
		return err
	}
	c.Say("on")
	for {
		if c.Hear() == "end" {
			return r.Err()
		}
		move(r, s)
		c.Say("done")
	}
})

func move(r *ring.MPMC[uint64], s stretch) {
	vs := make([]uint64, s.Batch)
	for done, idle := 0, 0; done < s.N; {
		n := 0
		switch most := min(s.Batch, s.N-done); {
		case s.Batch == 1 && s.Pops:
			if _, ok := r.TryPop(); ok {
				n = 1
			}
		case s.Batch == 1:
			if r.TryPush(uint64(done)) {
				n = 1
			}
		case s.Pops:
			n = r.TryPopMany(vs[:most])
		default:
			n = r.TryPushMany(vs[:most])
		}
		done += n
		if n == 0 {
			atomics.Pause(s.Pauses)
			if idle++; idle%64 == 0 {
				sys.Yield()
			}
		}
	}
}

// BenchmarkMPMCProcesses is a number from any of some processes to any of some others.
func BenchmarkMPMCProcesses(b *testing.B) {
	for _, form := range ring.Forms(8) {
		for _, procs := range []int{1, 2} {
			for _, batch := range []int{1, 32} {
				for _, pauses := range []uint32{0, 50} {
					b.Run(fmt.Sprintf("procs=%d+%d/batch=%d/pauses=%d/impl=%s", procs, procs, batch, pauses, formNames[form]), func(b *testing.B) {
						seg := proctest.Segment(b, 0)
						block, err := shm.NewBlock(seg, "", ring.MPMCSizeIn[uint64](1024, form))
						proctest.Must(b, err)
						defer block.Close()
						newMPMC[uint64](b, block.Bytes(), 1024, seg, form)
						var all []*proctest.Proc
						for i := range 2 * procs {
							all = append(all, stretches.Start(b, stretch{block, i%2 == 1, b.N/procs + 1, batch, pauses}))
						}
						for _, p := range all {
							p.WaitLine("on")
						}
						b.ResetTimer()
						for _, p := range all {
							p.Tell("go")
						}
						for _, p := range all {
							p.WaitLine("done")
						}
						b.StopTimer()
						for _, p := range all {
							p.Tell("end")
							proctest.Must(b, p.Wait())
						}
					})
				}
			}
		}
	}
}
