package sys_test

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// TestMonotonic: the clock is the one by which the kernel measures deadlines.
func TestMonotonic(t *testing.T) {
	read := func() int64 {
		var ts unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
			t.Fatal(err)
		}
		return ts.Nano()
	}
	const slack = 100e6 // a process may be preempted between the two readings that it takes for one moment
	for range 1000 {
		before, got, after := read(), sys.Monotonic(), read()
		if got < before-slack || got > after+slack {
			t.Fatalf("%d is not between %d and %d", got, before, after)
		}
	}
}
