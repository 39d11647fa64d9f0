//go:build crashpoint

package pool_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/shm"
)

// Armed is a task that arms the crash points of its worker: what the worker does from here on counts, its
// result first.
type Armed struct {
	Mode crashpoint.Mode
	N    int
}

var arm = pool.Register("arm", func(ctx context.Context, a Armed) (int, error) {
	crashpoint.Arm(a.Mode, a.N)
	return 1, nil
})

var disarm = pool.Register("disarm", func(ctx context.Context, a Armed) (int, error) {
	hits := len(crashpoint.Disarm())
	if a.Mode == crashpoint.Stop && hits < a.N && a.N != never {
		sys.SignalSelf(false) // this time there were fewer steps
	}
	return hits, nil
})

// never is a step that nobody comes to.
const never = 1 << 20

// TestCrashWorker kills and stops a worker at each step of taking tasks and giving results, small ones and
// large ones and errors.
func TestCrashWorker(t *testing.T) {
	steps := 0
	for n := 1; n <= max(steps, 1); n++ {
		for _, mode := range []crashpoint.Mode{crashpoint.Kill, crashpoint.Stop} {
			t.Run(fmt.Sprintf("%v-%d", mode, n), func(t *testing.T) {
				p := newPool(t, 1)
				pid := p.Stats().Workers[0].Pid
				count := steps == 0
				at := n
				if count {
					at = never
				}
				rs := []*pool.AsyncResult[int]{pool.ApplyAsync(t.Context(), p, arm, Armed{mode, at})}
				text := pool.ApplyAsync(t.Context(), p, repeat, string(make([]byte, 1000)))
				rs = append(rs, pool.ApplyAsync(t.Context(), p, square, 1), pool.ApplyAsync(t.Context(), p, square, -1),
					pool.ApplyAsync(t.Context(), p, disarm, Armed{mode, at}))
				if count {
					n, err := rs[3].Get(t.Context())
					proctest.Must(t, err)
					steps = n
				}
				if !count && mode == crashpoint.Stop {
					proctest.Must(t, sys.AwaitStopped(pid))
					syscall.Kill(pid, syscall.SIGCONT)
				}
				failures := 0
				for i, r := range rs {
					v, err := r.Get(t.Context())
					switch {
					case isDeath(err):
						failures++
					case i == 2 && !errors.Is(err, errNegative), i != 2 && err != nil, i < 2 && v != 1:
						t.Errorf("result %d is %d, %v", i, v, err)
					}
				}
				s, err := text.Get(t.Context())
				if isDeath(err) {
					failures++
				} else if len(s) != 2000 || err != nil {
					t.Error(len(s), err)
				}
				if failures > 1 || failures != 0 && (mode == crashpoint.Stop || count) {
					t.Errorf("%d tasks failed", failures)
				}
				if v, err := pool.Apply(t.Context(), p, square, 7); v != 49 || err != nil {
					t.Error(v, err)
				}
				proctest.Must(t, pool.Check(p))
				proctest.Must(t, p.Close())
				proctest.Must(t, p.Join(t.Context()))
			})
		}
	}
	if steps < 10 {
		t.Errorf("only %d steps", steps)
	}
	fmt.Printf("crash: pool/worker %d steps, %[1]d kills, %[1]d stops\n", steps)
}

// dealing is a parent that is killed, or stopped, while it deals, recalls and takes results.
var dealing = proctest.NewRole("deals", func(ctx context.Context, c *proctest.Child, a Armed) error {
	p, err := pool.New(ctx, 2)
	if err != nil {
		return err
	}
	for _, w := range p.Stats().Workers {
		c.Say("%d", w.Pid)
	}
	crashpoint.Arm(a.Mode, a.N)
	rs, err := pool.Map(ctx, p, square, count(20))
	if err != nil || len(rs) != 20 {
		return fmt.Errorf("%v, %w", rs, err)
	}
	one, cancel := context.WithCancel(ctx)
	defer cancel()
	h, err := newHeld()
	if err != nil {
		return err
	}
	r, s := pool.ApplyAsync(one, p, hold, h), pool.MapAsync(one, p, hold, []Hold{h, h, h, h})
	h.Began.Acquire(ctx)
	cancel()
	if _, err := r.Get(ctx); err != context.Canceled {
		return fmt.Errorf("Get: %w", err)
	}
	if _, err := s.Get(ctx); !errors.Is(err, context.Canceled) {
		return fmt.Errorf("Get: %w", err)
	}
	h.Open.Set()
	if v, err := pool.Apply(ctx, p, square, 5); v != 25 || err != nil {
		return fmt.Errorf("Apply: %d, %w", v, err)
	}
	if err := errors.Join(p.Close(), p.Join(ctx)); err != nil {
		return err
	}
	c.Say("survived %d", len(crashpoint.Disarm()))
	c.Hear()
	return nil
})

// TestCrashDealer kills the parent at steps of dealing: its workers end. Then it is stopped there and goes on:
// all is done.
func TestCrashDealer(t *testing.T) {
	steps := 0
	run := func(mode crashpoint.Mode, n int) {
		t.Run(fmt.Sprintf("%v-%d", mode, n), func(t *testing.T) {
			c := dealing.Start(t, Armed{mode, n})
			var pids [2]int
			for i := range pids {
				fmt.Sscan(c.Line(), &pids[i])
			}
			switch {
			case n == never:
				fmt.Sscanf(c.Line(), "survived %d", &steps)
				c.Kill()
			case mode == crashpoint.Stop:
				proctest.Must(t, sys.AwaitStopped(c.Pid()))
				c.Continue()
				c.Line()
				c.Kill()
			}
			for _, pid := range pids {
				if err := sys.AwaitExit(pid); err != nil && !errors.Is(err, syscall.ESRCH) {
					t.Error(err)
				}
			}
		})
	}
	run(crashpoint.Kill, never)
	if steps < 20 {
		t.Fatalf("only %d steps", steps)
	}
	each := max(steps/25, 1) // what is not of this package is in the way, and tested elsewhere
	hits := 0
	for n := 1; n <= steps/2; n += each {
		run(crashpoint.Kill, n)
		run(crashpoint.Stop, n)
		hits++
	}
	fmt.Printf("crash: pool/dealer %d steps, %d kills, %[2]d stops\n", steps, hits)
}

// newHeld is newHold for a role.
func newHeld() (h Hold, err error) {
	seg, err := shm.Anonymous(0)
	if err != nil {
		return h, err
	}
	if h.Began, err = locks.NewSemaphore(seg, "", 0); err != nil {
		return h, err
	}
	h.Open, err = locks.NewEvent(seg, "")
	return h, err
}
