package sys_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/shoal-ipc/shoal/internal/sys"
)

func readMonotonic(t *testing.T) int64 {
	t.Helper()
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		t.Fatal(err)
	}
	return ts.Nano()
}

// TestMonotonic: the clock is the one by which the kernel measures deadlines.
func TestMonotonic(t *testing.T) {
	const slack = 100e6 // a process may be preempted between two readings
	for range 1000 {
		before, got, after := readMonotonic(t), sys.Monotonic(), readMonotonic(t)
		if got < before-slack || got > after+slack {
			t.Fatalf("%d is not between %d and %d", got, before, after)
		}
	}
}

// TestMonotonicStopped: a process that is stopped while it reads the clocks for the first time has the same clock.
func TestMonotonicStopped(t *testing.T) {
	const stopped, slack = 500 * time.Millisecond, 250e6
	for _, first := range []bool{false, true} {
		n := 0
		now := sys.MonotonicBy(func() int64 {
			if n++; n > 1 {
				return readMonotonic(t)
			}
			if first {
				time.Sleep(stopped)
			}
			at := readMonotonic(t)
			if !first {
				time.Sleep(stopped)
			}
			return at
		})
		before, got, after := readMonotonic(t), now(), readMonotonic(t)
		if got < before-slack || got > after+slack {
			t.Errorf("stopped before the kernel's clock was read: %t: %d is not between %d and %d", first, got, before, after)
		}
	}
}
