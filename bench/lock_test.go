package bench_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/bench"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
)

type attachArgs struct{ Lock *locks.Lock }

// attach takes the lock once and has it open until it is told to go.
var attach = proctest.NewRole("attach", func(ctx context.Context, c *proctest.Child, a attachArgs) error {
	if _, err := lockPairs(ctx, a.Lock, 1); err != nil {
		return err
	}
	c.Say("attached")
	c.Hear()
	return nil
})

// attached is a lock that a second process has open too, until the end of the test.
func attached(tb testing.TB) *locks.Lock {
	tb.Helper()
	l, err := locks.NewLock(proctest.Segment(tb, 0), "")
	if err != nil {
		tb.Fatal(err)
	}
	attach.Start(tb, attachArgs{l}).WaitLine("attached")
	return l
}

// BenchmarkLock compares an acquisition and a release that nobody else wants, while a second process has the lock
// open too, with the same of sync.Mutex.
func BenchmarkLock(b *testing.B) {
	l := attached(b)
	const n = 5_000_000
	ctx := b.Context()
	b.Run("op=pair", func(b *testing.B) {
		compare(b, "an acquisition and a release, uncontended; 5 M of them",
			bench.Side{Name: "sync.Mutex", Run: func() (float64, error) { return mutexPairs(n), nil }},
			bench.Side{Name: "Lock", Run: func() (float64, error) { return lockPairs(ctx, l, n) }})
	})
	// The same by the usual means, for who wants to see them alone.
	b.Run("op=pair/impl=shoal", func(b *testing.B) {
		for b.Loop() {
			if err := l.Acquire(ctx); err != nil {
				b.Fatal(err)
			}
			if err := l.Release(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=pair/impl=go-mutex", func(b *testing.B) {
		var mu sync.Mutex
		for b.Loop() {
			mu.Lock()
			//lint:ignore SA2001 an empty critical section is what is measured
			mu.Unlock()
		}
	})
}

func mutexPairs(n int) float64 {
	var mu sync.Mutex
	start := time.Now()
	for range n {
		mu.Lock()
		//lint:ignore SA2001 an empty critical section is what is measured
		mu.Unlock()
	}
	return float64(time.Since(start)) / float64(n)
}

func lockPairs(ctx context.Context, l *locks.Lock, n int) (float64, error) {
	start := time.Now()
	for range n {
		if err := l.Acquire(ctx); err != nil {
			return 0, err
		}
		if err := l.Release(); err != nil {
			return 0, err
		}
	}
	return float64(time.Since(start)) / float64(n), nil
}

// TestLockAttached is BenchmarkLock for a moment.
func TestLockAttached(t *testing.T) {
	if _, err := lockPairs(t.Context(), attached(t), 1000); err != nil {
		t.Error(err)
	}
}
