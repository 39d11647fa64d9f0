package wait_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/shm"
)

func newBlock(t testing.TB) *shm.Block {
	t.Helper()
	b, err := shm.NewBlock(proctest.Segment(t, 1), "", 512)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

type turnArgs struct {
	B      *shm.Block
	N      int
	Parity uint32
}

// takeTurns raises the word at 256 from every number of its parity, N times, and rings.
func takeTurns(ctx context.Context, a turnArgs) error {
	bell, turn := wait.Bell{W: a.B.Uint32(0)}, a.B.Uint32(256)
	for range a.N {
		if err := bell.Wait(ctx, func() bool { return turn.Load()%2 == a.Parity }); err != nil {
			return err
		}
		turn.Add(1)
		bell.Ring()
	}
	runtime.KeepAlive(a.B)
	return nil
}

var turns = proctest.NewRole("turns", func(ctx context.Context, c *proctest.Child, a turnArgs) error {
	return takeTurns(ctx, a)
})

// Two processes take turns; a wake that got lost costs a second each, and the watchdog would see that.
func TestTurns(t *testing.T) {
	const n = 20_000
	b := newBlock(t)
	p := turns.Start(t, turnArgs{b, n, 1})
	if err := takeTurns(t.Context(), turnArgs{b, n, 0}); err != nil {
		t.Fatal(err)
	}
	if err := p.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := b.Uint32(256).Load(); got != 2*n {
		t.Errorf("%d turns, want %d", got, 2*n)
	}
	runtime.KeepAlive(b)
}

func TestBell(t *testing.T) {
	b := newBlock(t)
	bell := wait.Bell{W: b.Uint32(0)}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := bell.Wait(over, func() bool { return true }); err != nil {
		t.Errorf("ready, and the context is done: %v", err)
	}
	if err := bell.Wait(over, func() bool { return false }); err != context.Canceled {
		t.Errorf("the context is done: %v", err)
	}
	// The flag that the waiter left is used up by one ring.
	if v := b.Uint32(0).Load(); v&1 == 0 {
		t.Errorf("the word is %#x after a wait", v)
	}
	bell.Ring()
	if v := b.Uint32(0).Load(); v&1 != 0 || v != 2 {
		t.Errorf("the word is %#x after a ring", v)
	}
	bell.Ring()
	if v := b.Uint32(0).Load(); v != 4 {
		t.Errorf("the word is %#x after two", v)
	}

	// All who wait are woken by one ring.
	flag := b.Uint32(256)
	var wg sync.WaitGroup
	for range 5 {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := bell.Wait(ctx, func() bool { return flag.Load() == 1 }); err != nil {
				t.Error(err)
			}
		})
	}
	runtime.Gosched()
	flag.Store(1)
	bell.Ring()
	wg.Wait()
	runtime.KeepAlive(b)
}
