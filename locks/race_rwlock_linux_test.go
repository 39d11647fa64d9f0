package locks_test

import (
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/locks"
)

// TestRaceDetectorRWLock: the race detector is quiet about what writers hand to readers and readers to writers, and loud about
// the same without the lock, and about two who write what they hold for reading: the second half runs in processes of
// its own, which must fail.
func TestRaceDetectorRWLock(t *testing.T) {
	how := os.Getenv("SHOAL_TEST_RWLOCK")
	l := newRWLock(t)
	m, err := locks.OpenRWLock(l.Segment(), "rwlock")
	proctest.Must(t, err)
	x, y := new(int), new(int)
	held := func(take, free func() error, f func()) {
		if how != "unlocked" {
			if err := take(); err != nil { // what testing.T does orders goroutines, too
				t.Error(err)
			}
			defer func() {
				if err := free(); err != nil {
					t.Error(err)
				}
			}()
		}
		f()
	}
	var wg sync.WaitGroup
	for _, h := range []*locks.RWLock{l, m} {
		write := func() error { return h.Acquire(t.Context()) }
		read := func() error { return h.RAcquire(t.Context()) }
		wg.Go(func() {
			for range 1000 {
				if how != "readers" { // else they alone order nothing
					held(write, h.Release, func() { *x++ })
				}
				held(read, h.RRelease, func() {
					if how == "readers" {
						*y = *x
					} else {
						_ = *x
					}
				})
			}
		})
	}
	wg.Wait()
	if !race.Enabled || how != "" {
		return // the rest is for -race
	}
	for _, how := range []string{"unlocked", "readers"} {
		self := exec.Command(os.Args[0], "-test.run=^TestRaceDetectorRWLock$")
		self.Env = append(os.Environ(), "SHOAL_TEST_RWLOCK="+how)
		out, err := self.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "DATA RACE") {
			t.Errorf("%s: the race detector is quiet: %v\n%s", how, err, out)
		}
	}
}
