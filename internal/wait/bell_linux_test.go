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

// waits is asleep on the bell until it is killed.
var waits = proctest.NewRole("waits", func(ctx context.Context, c *proctest.Child, a turnArgs) error {
	return wait.Bell{W: a.B.Uint32(0)}.Wait(ctx, func() bool { return false })
})

// A sleeper that was killed costs one useless wake: the ringer takes its flag away, and after that rings
// without a system call.
func TestSleeperKilled(t *testing.T) {
	b := newBlock(t)
	bell := wait.Bell{W: b.Uint32(0)}
	p := waits.Start(t, turnArgs{B: b})
	for b.Uint32(0).Load()&1 == 0 {
		runtime.Gosched()
	}
	p.Kill()
	p.Wait()
	for range 2 {
		bell.Ring()
		if v := b.Uint32(0).Load(); v&1 != 0 {
			t.Errorf("the word is %#x after a ring: the next one wakes nobody again", v)
		}
	}
	runtime.KeepAlive(b)
}

// A ringer that is stopped, or killed, between publishing and waking keeps nobody asleep: a sleeper looks
// again at the cap of its sleep, and finds what was published, whether or not the flag is still there.
func TestRingerStopped(t *testing.T) {
	for _, add := range []uint32{0, 2, 2 - 1} { // before the ring; after it; after the flag was taken away, too
		b := newBlock(t)
		bell, published := wait.Bell{W: b.Uint32(0)}, b.Uint32(256)
		done := make(chan error)
		go func() { done <- bell.Wait(t.Context(), func() bool { return published.Load() == 1 }) }()
		for b.Uint32(0).Load()&1 == 0 {
			runtime.Gosched()
		}
		time.Sleep(20 * time.Millisecond) // so that it sleeps; nothing depends on it
		published.Store(1)
		b.Uint32(0).Add(add)
		if err := <-done; err != nil {
			t.Error(err)
		}
		runtime.KeepAlive(b)
	}
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

// Closing the handle of the block, or its segment, lets a waiter go within milliseconds that is told so by ready,
// in the first part of its sleep too.
func TestCloseInFirstPart(t *testing.T) {
	for range 3 {
		b := newBlock(t)
		bell := wait.Bell{W: b.Uint32(0)}
		time.AfterFunc(2*time.Millisecond, func() { b.Close() })
		begin := time.Now()
		if err := bell.Wait(t.Context(), b.Closed); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(begin); d > 500*time.Millisecond {
			t.Errorf("a waiter went on %v after its handle was closed", d)
		}
		runtime.KeepAlive(b)
	}
}
