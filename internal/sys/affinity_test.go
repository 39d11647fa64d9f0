package sys_test

import (
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// TestBind: a process that is bound runs there, in every thread, also in those that it starts later.
func TestBind(t *testing.T) {
	all := sys.CPUs()
	if all == nil {
		t.Skip("processes cannot be bound to a CPU here")
	}
	defer func() {
		if err := sys.Bind(all...); err != nil {
			t.Error(err)
		}
		if got := sys.CPUs(); !slices.Equal(got, all) {
			t.Errorf("bound to all CPUs again: %d, want %d", got, all)
		}
	}()
	for _, cpu := range all {
		if err := sys.Bind(cpu); err != nil {
			t.Fatal(err)
		}
		if got := sys.CPUs(); !slices.Equal(got, []int{cpu}) {
			t.Errorf("bound to CPU %d, may run on %d", cpu, got)
		}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				runtime.LockOSThread() // and ends the thread
				if got := sys.CurrentCPU(); got != cpu {
					t.Errorf("bound to CPU %d, a thread runs on %d", cpu, got)
				}
			})
		}
		wg.Wait()
	}
	if err := sys.Bind(1 << 20); err == nil {
		t.Error("Bind to a CPU that does not exist succeeded")
	}
}

// TestCPUTime: it is what the process ran, and not what it slept.
func TestCPUTime(t *testing.T) {
	if sys.CPUs() == nil {
		t.Skip("the time that a process ran is not known here")
	}
	spent := func() time.Duration {
		d, err := sys.CPUTime()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	const pause = 20 * time.Millisecond
	slept := time.Duration(1 << 62)
	for range 100 { // other goroutines may run meanwhile
		before := spent()
		time.Sleep(pause)
		if slept = min(slept, spent()-before); slept < pause/2 {
			break
		}
	}
	if slept >= pause/2 {
		t.Errorf("asleep for %v the process ran for %v", pause, slept)
	}
	for before := spent(); spent()-before < pause; { // ends
		sys.Yield()
	}
	before := spent()
	other, err := sys.CPUTimeOf(os.Getpid())
	if after := spent(); err != nil || other < before || other > after {
		t.Errorf("between %v and %v, a look as at another process finds %v, %v", before, after, other, err)
	}
	if _, err := sys.CPUTimeOf(1 << 28); err == nil {
		t.Error("the time of a process that there is not")
	}
}
