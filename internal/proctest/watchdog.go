package proctest

import (
	"context"
	"fmt"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/process"
)

// patience is how long a test that started processes may take before it counts as hung. (A variable for tests.)
var patience = 2 * time.Minute

// Watch lets the watchdog end the test binary if t takes longer than two minutes (and four times
// SHOAL_STRESS, if that is set) from now on: it prints the stacks of all goroutines, here and in all
// children. Role.Start calls it.
func Watch(t testing.TB) {
	more, _ := stress() // Main has looked at the error
	limit := patience + 4*more
	timer := time.AfterFunc(limit, func() { bark(t.Name(), limit) })
	t.Cleanup(func() { timer.Stop() })
}

// barking is for one only: who barks first ends the process.
var barking sync.Mutex

// bark ends this process for a test that hangs, after all who may be the reason have shown where they are.
func bark(test string, limit time.Duration) {
	barking.Lock()
	fmt.Fprintf(os.Stderr, "proctest: %s still runs after %v. Goroutines of this process:\n\n%s\n\n", test, limit, stacks())
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	for _, p := range process.Children() { // one at a time, so that what they print does not mix
		fmt.Fprintf(os.Stderr, "proctest: asking %s (pid %d) for its goroutines\n", p.Name(), p.Pid())
		if q, err := os.FindProcess(p.Pid()); err == nil {
			q.Signal(syscall.SIGQUIT) // upon which a Go program prints them and ends
			q.Release()
		}
		sys.ContinueProcess(p.Pid()) // should it be stopped
		select {
		case <-p.Done():
		case <-ctx.Done():
			fmt.Fprintf(os.Stderr, "proctest: %s (pid %d) does not end\n", p.Name(), p.Pid())
		}
	}
	os.Exit(2)
}
