//go:build crashpoint

package process_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

type crashArgs struct{ B *shm.Block }

var addOne = process.Register("add-one", func(ctx context.Context, a crashArgs) error {
	a.B.Uint32(0).Add(1)
	runtime.KeepAlive(a.B)
	return nil
})

var opStart = proctest.NewOp("process/start", nil, func(ctx context.Context, a crashArgs) error {
	return process.Run(ctx, addOne, a)
})

var opCommand = proctest.NewOp("process/command", nil, func(ctx context.Context, a crashArgs) error {
	p, err := process.Command(ctx, []string{"true"}, map[string]shm.Object{"b": a.B})
	if err != nil {
		return err
	}
	return p.Join(ctx)
})

// A process that is killed while it starts another program, which gets a segment, leaves neither behind.
func TestCrashCommand(t *testing.T) {
	setup := func(t testing.TB) crashArgs {
		b, err := shm.NewBlock(proctest.Segment(t, 1), "", 64)
		proctest.Must(t, err)
		return crashArgs{b}
	}
	run := func(t testing.TB, a crashArgs) {
		p, err := process.Command(t.Context(), []string{"true"}, map[string]shm.Object{"b": a.B})
		proctest.Must(t, err)
		proctest.Must(t, p.Join(context.Background()))
	}
	proctest.Crash(t, opCommand, setup, run, func(t testing.TB, a crashArgs, survived bool) {
		if !survived {
			living(t, a.B.Segment(), 1)
		}
		run(t, a)
	})
}

// A process that is killed while it starts another, which gets a segment, leaves neither of them behind, and
// at most what the other did; the segment is as good as before.
func TestCrashStart(t *testing.T) {
	setup := func(t testing.TB) crashArgs {
		b, err := shm.NewBlock(proctest.Segment(t, 1), "", 64)
		proctest.Must(t, err)
		return crashArgs{b}
	}
	proctest.Crash(t, opStart, setup, func(t testing.TB, a crashArgs) {
		proctest.Must(t, process.Run(t.Context(), addOne, a)) // others start processes meanwhile
		a.B.Uint32(0).Add(^uint32(0))
	}, func(t testing.TB, a crashArgs, survived bool) {
		seg := a.B.Segment()
		most := 1 // this process
		if survived {
			most = 2
		}
		for { // what was started ends when it finds that its parent is dead
			living := 0
			for _, p := range seg.Participants() {
				if p.Alive {
					living++
				}
			}
			if living <= most {
				break
			}
			runtime.Gosched()
		}
		if n := a.B.Uint32(0).Load(); n > 1 || survived && n != 1 {
			t.Errorf("the child ran %d times, survived %v", n, survived)
		}
		a.B.Uint32(0).Store(0)
		proctest.Must(t, process.Run(t.Context(), addOne, a))
		if n := a.B.Uint32(0).Load(); n != 1 {
			t.Errorf("a child started later ran %d times", n)
		}
		if seg.Dead(seg.Self()) {
			t.Error("this process is dead")
		}
	})
}
