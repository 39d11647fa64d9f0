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

type crashArgs struct{ B *shm.Block }

// await waits until somebody sets the flag; set sets it and rings.
func await(ctx context.Context, a crashArgs) error {
	defer runtime.KeepAlive(a.B)
	return wait.Bell{W: a.B.Uint32(0)}.Wait(ctx, func() bool { return a.B.Uint32(256).Load() != 0 })
}

func set(ctx context.Context, a crashArgs) error {
	defer runtime.KeepAlive(a.B)
	a.B.Uint32(256).Store(1)
	wait.Bell{W: a.B.Uint32(0)}.Ring()
	return nil
}

var sleeps = proctest.NewRole("sleeps", func(ctx context.Context, c *proctest.Child, a crashArgs) error {
	err := await(ctx, a)
	c.Say("rung %v", err)
	c.Hear()
	return nil
})

var (
	opRing = proctest.NewOp("bell/ring", nil, set)
	opWait = proctest.NewOp("bell/wait", nil, await)
)

// Whoever rings and is killed or stopped on the way, those who wait see the change: by the ring, the next one,
// or at the end of their sleep.
func TestCrashRing(t *testing.T) {
	var sleeper *proctest.Proc
	setup := func(t testing.TB) crashArgs {
		a := crashArgs{newBlock(t)}
		sleeper = sleeps.Start(t, a)
		sleeper.Asleep()
		return a
	}
	rung := func(t testing.TB, a crashArgs) {
		if sleeper == nil {
			return // it was while the child was stopped
		}
		if line := sleeper.Line(); line != "rung <nil>" {
			t.Error(line)
		}
		sleeper = nil
	}
	proctest.Crash(t, opRing, setup, rung, func(t testing.TB, a crashArgs, survived bool) { rung(t, a) })
}

// A process killed or stopped while it waits costs those who ring no more than a useless wake.
func TestCrashWait(t *testing.T) {
	setup := func(t testing.TB) crashArgs { return crashArgs{newBlock(t)} }
	opWait := opWait.Beside(func(t testing.TB, p *proctest.Proc, a crashArgs) {
		if p.Asleep() {
			proctest.Must(t, set(t.Context(), a))
		}
	})
	proctest.Crash(t, opWait, setup, func(t testing.TB, a crashArgs) {
		proctest.Must(t, set(t.Context(), a))
	}, func(t testing.TB, a crashArgs, survived bool) {
		proctest.Must(t, set(t.Context(), a))
		proctest.Must(t, await(t.Context(), a))
		if v := a.B.Uint32(0).Load(); v&1 != 0 {
			t.Errorf("the word is %#x: somebody sleeps", v)
		}
	})
}
