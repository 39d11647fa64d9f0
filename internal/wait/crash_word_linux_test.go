//go:build crashpoint

package wait_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/shm"
)

type potArgs struct {
	B     *shm.Block
	Force bool // the publisher fences always
}

func put(ctx context.Context, a potArgs) error {
	if a.Force {
		wait.Force("unregistered")
		defer wait.Force()
	}
	defer runtime.KeepAlive(a.B)
	p, err := potOf(a.B)
	if err != nil {
		return err
	}
	p.put()
	return nil
}

// get takes an item, waiting for it.
func get(ctx context.Context, a potArgs) error {
	defer runtime.KeepAlive(a.B)
	p, err := potOf(a.B)
	if err != nil {
		return err
	}
	return p.get(ctx)
}

// manyFences makes the child the publisher that takes FENCED away.
func manyFences(ctx context.Context, a potArgs) error {
	defer runtime.KeepAlive(a.B)
	p, err := potOf(a.B)
	if err != nil {
		return err
	}
	for range wait.Enough + 1 {
		p.word.Wake()
	}
	return nil
}

var takes = proctest.NewRole("takes", func(ctx context.Context, c *proctest.Child, a potArgs) error {
	c.Say("took %v", get(ctx, a))
	c.Hear()
	return nil
})

var (
	opWake     = proctest.NewOp("word/wake", nil, put)
	opGet      = proctest.NewOp("word/get", nil, get)
	opUnfenced = proctest.NewOp("word/unfenced", nil, manyFences)
)

// Whoever publishes and is killed or stopped on the way to its wake, whoever sleeps takes the item: by that wake, or the
// next one, or at the end of its sleep. Nobody is left asleep beside an item.
func TestCrashWake(t *testing.T) {
	for _, c := range []struct {
		name     string
		sleepers int
		dead     bool // they are killed
		force    bool
	}{
		{"one", 1, false, false},
		{"one, fences", 1, false, true},
		{"two", 2, false, false},
		{"two dead", 2, true, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			var procs []*proctest.Proc
			setup := func(t testing.TB) potArgs {
				a := potArgs{newBlock(t), c.force}
				procs = nil
				for range c.sleepers {
					q := takes.Start(t, potArgs{a.B, false})
					q.Asleep()
					procs = append(procs, q)
				}
				if c.dead {
					for _, q := range procs {
						q.Kill()
						q.Wait()
					}
					procs = nil
				}
				return a
			}
			took := func(t testing.TB, a potArgs) {
				// Each who is still there takes one: one has been published, or is now.
				p := openPot(t, a.B)
				for range procs {
					p.put()
				}
				for _, q := range procs {
					if line := q.Line(); line != "took <nil>" {
						t.Error(line)
					}
				}
				procs = nil
			}
			proctest.Crash(t, opWake, setup, took, func(t testing.TB, a potArgs, survived bool) {
				took(t, a)
				proctest.Must(t, put(t.Context(), potArgs{a.B, false}))
				proctest.Must(t, get(t.Context(), a))
				p := openPot(t, a.B)
				for range 3 {
					p.put()
				}
				if n := p.word.Counts().Wakes; n > 1 {
					t.Errorf("%d wakes for nobody", n)
				}
			})
		})
	}
}

// A process killed or stopped while it waits costs those who publish no more than a useless wake.
func TestCrashGet(t *testing.T) {
	for name, state := range map[string]uint32{
		"all fence": 0, "bare": wait.Bare, "fenced": wait.Bare | wait.Fenced | wait.Sure, "asked": wait.Bare | wait.Fenced,
		"others": wait.Bare | wait.One, "waking": wait.Bare | wait.Fenced | wait.Sure | wait.Several | wait.Waking,
	} {
		t.Run(name, func(t *testing.T) {
			setup := func(t testing.TB) potArgs {
				a := potArgs{newBlock(t), false}
				a.B.Uint32(0).Store(state)
				return a
			}
			opGet := opGet.Beside(func(t testing.TB, p *proctest.Proc, a potArgs) {
				if p.Asleep() {
					proctest.Must(t, put(t.Context(), a))
				}
			})
			proctest.Crash(t, opGet, setup, func(t testing.TB, a potArgs) {
				proctest.Must(t, put(t.Context(), a))
			}, func(t testing.TB, a potArgs, survived bool) {
				p := openPot(t, a.B)
				p.put()
				proctest.Must(t, p.get(t.Context()))
				for range 3 {
					p.put()
				}
				if n := p.word.Counts().Wakes; n > 1 {
					t.Errorf("%d wakes for nobody", n)
				}
				if v := p.word.State().Load(); v&wait.Sleepers != 0 {
					t.Errorf("the state is %#x: somebody sleeps", v)
				}
			})
		})
	}
}

// Nor does it matter where a publisher is killed or stopped that takes FENCED away.
func TestCrashUnfenced(t *testing.T) {
	setup := func(t testing.TB) potArgs {
		a := potArgs{newBlock(t), false}
		a.B.Uint32(0).Store(wait.Bare | wait.Fenced | wait.Sure)
		return a
	}
	turn := func(t testing.TB, a potArgs) {
		p := openPot(t, a.B)
		done := make(chan error)
		go func() { done <- p.get(t.Context()) }()
		p.asleep(wait.One)
		p.put()
		proctest.Must(t, <-done)
	}
	proctest.Crash(t, opUnfenced, setup, turn, func(t testing.TB, a potArgs, survived bool) { turn(t, a) })
}
