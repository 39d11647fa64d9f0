// Rings: a process hands numbers to two others, which factor them and write what they found into a log.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

type Args struct {
	Jobs *shm.Block // a ring.MPMC[uint64]
	Log  *shm.Block // a ring.Bytes
	Bell *shm.Block // two words: changed when there are jobs, and when there are records
}

const (
	count = 1000
	room  = 1 << 16
)

var factor = process.Register("factor", func(ctx context.Context, a Args) error {
	defer runtime.KeepAlive(a) // the rings lie in its blocks
	jobs, err := ring.OpenMPMC[uint64](a.Jobs.Bytes(), a.Jobs.Segment())
	if err != nil {
		return err
	}
	log, err := ring.OpenBytes(a.Log.Bytes(), a.Log.Segment())
	if err != nil {
		return err
	}
	for {
		var n uint64
		if err := await(ctx, a.Bell, 0, func() (ok bool) { n, ok = jobs.TryPop(); return ok }); err != nil {
			return err
		}
		if n == 0 { // no more; the others shall know it, too
			return push(jobs, a.Bell, 0)
		}
		record := fmt.Appendf(nil, "%d is %d times %d", n, least(n), n/least(n))
		for !log.TryWrite(record) {
			time.Sleep(time.Millisecond) // full: its reader is slower
		}
		tell(a.Bell, 1)
	}
})

func least(n uint64) uint64 {
	for d := uint64(2); d*d <= n; d++ {
		if n%d == 0 {
			return d
		}
	}
	return n
}

// await tries until that succeeds, and sleeps while word i of the bell is as it was before the last trial.
func await(ctx context.Context, bell *shm.Block, i int, try func() bool) error {
	w := bell.Uint32(128 * i)
	for {
		was := w.Load()
		if try() {
			return nil
		}
		if err := futex.Wait(ctx, w, was); err != nil {
			return err
		}
	}
}

// tell tells all who await something of word i.
func tell(bell *shm.Block, i int) {
	w := bell.Uint32(128 * i)
	w.Add(1)
	futex.Wake(w, 1<<30)
}

func push(jobs *ring.MPMC[uint64], bell *shm.Block, n uint64) error {
	for !jobs.TryPush(n) {
		if err := jobs.Err(); err != nil {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	tell(bell, 0)
	return nil
}

func main() { process.Main(run) }

func run(ctx context.Context) error {
	seg, err := shm.Anonymous(0)
	if err != nil {
		return err
	}
	defer seg.Close()
	var a Args
	var errs [3]error
	a.Jobs, errs[0] = shm.NewBlock(seg, "", ring.MPMCSize[uint64](64))
	a.Log, errs[1] = shm.NewBlock(seg, "", ring.BytesSize(room))
	a.Bell, errs[2] = shm.NewBlock(seg, "", 2*128)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	defer runtime.KeepAlive(a)
	jobs, err := ring.NewMPMC[uint64](a.Jobs.Bytes(), 64, seg)
	if err != nil {
		return err
	}
	log, err := ring.NewBytes(a.Log.Bytes(), room, seg)
	if err != nil {
		return err
	}
	var ps []*process.Process
	for range 2 {
		p, err := process.Start(ctx, factor, a)
		if err != nil {
			return err
		}
		ps = append(ps, p)
	}
	go func() {
		for n := range uint64(count) {
			push(jobs, a.Bell, n+1_000_000_000)
		}
		push(jobs, a.Bell, 0)
	}()
	primes := 0
	for range count {
		var record []byte // where it lies, until Advance
		if err := await(ctx, a.Bell, 1, func() (ok bool) { record, ok = log.Next(); return ok }); err != nil {
			return err
		}
		if bytes.HasSuffix(record, []byte(" times 1")) {
			primes++
		}
		log.Advance()
	}
	fmt.Println(primes, "primes")
	return process.JoinAll(ctx, ps...)
}
