package wait_test

import (
	"context"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/shm"
)

type echoArgs struct {
	There, Back *shm.Block
	CPU         int
}

var echo = proctest.NewRole("echo", func(ctx context.Context, c *proctest.Child, a echoArgs) error {
	if err := sys.Bind(a.CPU); err != nil {
		return err
	}
	there, err := openLink(a.There)
	if err != nil {
		return err
	}
	back, err := openLink(a.Back)
	if err != nil {
		return err
	}
	for {
		v, err := there.take(ctx)
		if err != nil {
			return err
		}
		if err := back.give(ctx, v); err != nil {
			return err
		}
		if v == 0 {
			runtime.KeepAlive(a)
			return nil
		}
	}
})

func (l *link) take(ctx context.Context) (uint64, error) {
	for {
		if v, ok := l.ring.TryPop(); ok {
			l.room.Wake()
			return v, nil
		}
		if err := l.items.Wait(ctx, l.canPop); err != nil {
			return 0, err
		}
	}
}

func (l *link) give(ctx context.Context, v uint64) error {
	for !l.ring.TryPush(v) {
		if err := l.room.Wait(ctx, l.canPush); err != nil {
			return err
		}
	}
	l.items.Wake()
	return nil
}

// Two processes on one processor take turns.
func TestEcho(t *testing.T) {
	seg := proctest.Segment(t, 1)
	a := echoArgs{newLink(t, seg), newLink(t, seg), 0}
	there, err := openLink(a.There)
	proctest.Must(t, err)
	back, err := openLink(a.Back)
	proctest.Must(t, err)
	p := echo.Start(t, a)
	for i := uint64(1000); i+1 != 0; i-- {
		proctest.Must(t, there.give(t.Context(), i))
		if v, err := back.take(t.Context()); err != nil || v != i {
			t.Fatalf("%d came back as %d: %v", i, v, err)
		}
	}
	proctest.Must(t, p.Wait())
	runtime.KeepAlive(a)
}

// Two processes take turns through two rings, and sleep at once.
func BenchmarkTurns(b *testing.B) {
	for _, c := range []struct {
		name string
		cpu  int
	}{{"cpus=same", 0}, {"cpus=two", 1}} {
		b.Run(c.name, func(b *testing.B) {
			if c.cpu >= runtime.NumCPU() {
				b.Skip("there is one processor")
			}
			seg := proctest.Segment(b, 1)
			a := echoArgs{newLink(b, seg), newLink(b, seg), c.cpu}
			there, err := openLink(a.There)
			proctest.Must(b, err)
			back, err := openLink(a.Back)
			proctest.Must(b, err)
			p := echo.Start(b, a)
			proctest.Must(b, sys.Bind(0))
			defer sys.Bind(0, 1)
			b.ReportAllocs()
			for i := uint64(1); b.Loop(); i++ {
				proctest.Must(b, there.give(b.Context(), i))
				if v, err := back.take(b.Context()); v != i {
					b.Fatal(v, err)
				}
			}
			proctest.Must(b, there.give(b.Context(), 0))
			p.Wait()
		})
	}
}

// What a publisher pays while nobody sleeps, and when it is to fence.
func BenchmarkWake(b *testing.B) {
	for _, mode := range []string{"registered", "fenced"} {
		b.Run("mode="+mode, func(b *testing.B) {
			block := newBlock(b)
			w, err := wait.New(block.Bytes())
			proctest.Must(b, err)
			w.Wake()
			for i := 0; b.Loop(); i++ {
				if mode == "fenced" && i%256 == 0 {
					w.State().Store(wait.Bare | wait.Fenced | wait.Sure)
				}
				w.Wake()
			}
			runtime.KeepAlive(block)
		})
	}
}
