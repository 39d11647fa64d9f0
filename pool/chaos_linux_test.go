package pool_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/shm"
)

// Busy is a task that keeps a processor busy, and counts that it was done.
type Busy struct {
	I     int
	For   time.Duration
	Count *array.Array[uint8]
}

var busy = pool.Register("busy", func(ctx context.Context, b Busy) (int, error) {
	b.Count.Store(b.I, b.Count.Load(b.I)+1)
	for start := time.Now(); time.Since(start) < b.For; {
	}
	return b.I + 1, nil
})

// chaos maps tasks on four workers while disturb is called each interval with one of them.
func chaos(t *testing.T, retries int, interval time.Duration, disturb func(pid int)) {
	long := proctest.Stress(400 * time.Millisecond)
	n := int(long / time.Millisecond)
	seg, err := shm.Anonymous(0)
	proctest.Must(t, err)
	defer seg.Close()
	counts, err := array.New[uint8](seg, "", n, array.Options{Unlocked: true})
	proctest.Must(t, err)
	p := newPool(t, 4, pool.Options{Retries: retries})
	xs := make([]Busy, n)
	for i := range xs {
		xs[i] = Busy{i, time.Millisecond, counts}
	}
	rand := proctest.Rand(t)
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		hits := 0
		for {
			select {
			case <-stop:
				stopped <- hits
				return
			case <-time.After(interval):
			}
			ws := p.Stats().Workers
			if len(ws) > 0 {
				disturb(ws[rand.IntN(len(ws))].Pid)
				hits++
			}
		}
	}()
	rs, err := pool.Map(t.Context(), p, busy, xs)
	close(stop)
	hits := <-stopped
	for _, w := range p.Stats().Workers {
		syscall.Kill(w.Pid, syscall.SIGCONT)
	}

	var failed *pool.MapError
	var failures []pool.ItemError
	if errors.As(err, &failed) {
		failures = failed.Failed
	} else {
		proctest.Must(t, err)
	}
	again := 0
	for i, r := range rs {
		k, bad := slices.BinarySearchFunc(failures, i, func(e pool.ItemError, i int) int { return e.Index - i })
		var died *pool.WorkerDiedError
		switch {
		case !bad && r != i+1:
			t.Errorf("result %d is %d", i, r)
		case bad && (r != 0 || !errors.As(failures[k].Err, &died) || died.Signal != syscall.SIGKILL || died.Task != "busy"):
			t.Errorf("result %d is %d, %v", i, r, failures[k].Err)
		}
		switch c := counts.Load(i); {
		case c > 1 && retries == 0 || c == 0 && !bad:
			t.Errorf("task %d was begun %d times, and failed: %t", i, c, bad)
		case c > 1:
			again++
		}
	}
	s := p.Stats()
	t.Logf("%d tasks, %d hits, %d failed, %d run again; %d done, %d failed, %d retried, %d replaced",
		n, hits, len(failures), again, s.Done, s.Failed, s.Retried, s.Replaced)
	if s.Done+s.Failed != n || s.Failed != len(failures) || s.Queued != 0 {
		t.Errorf("%+v", s)
	}
	proctest.Must(t, p.Close())
	proctest.Must(t, p.Join(t.Context()))
	proctest.Must(t, seg.Check())
}

// TestChaosKill: every task completes once while workers are killed, with its result or that its worker died.
func TestChaosKill(t *testing.T) {
	for _, retries := range []int{0, 100} {
		t.Run(fmt.Sprintf("retries=%d", retries), func(t *testing.T) {
			chaos(t, retries, chaosEach(), func(pid int) { syscall.Kill(pid, syscall.SIGKILL) })
		})
	}
}

// TestChaosStop: the same while workers are stopped and continued.
func TestChaosStop(t *testing.T) {
	last := 0
	chaos(t, 0, chaosEach()/2, func(pid int) {
		if last != 0 {
			syscall.Kill(last, syscall.SIGCONT)
		}
		syscall.Kill(pid, syscall.SIGSTOP)
		last = pid
		if pid%3 == 0 {
			syscall.Kill(pid, syscall.SIGCONT)
			last = 0
		}
	})
}

// chaosEach is how often chaos strikes: rarely enough, in a long run, that a worker does something in between.
func chaosEach() time.Duration {
	if proctest.Stress(0) > 0 {
		return 50 * time.Millisecond
	}
	if race.Enabled {
		return 50 * time.Millisecond
	}
	return 15 * time.Millisecond
}
