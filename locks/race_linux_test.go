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

// handOver lets two goroutines change heap memory under two handles of a lock, or two owners of a recursive one, or
// without it.
func handOver(t *testing.T, locked bool) {
	l := newLock(t)
	m, err := locks.OpenLock(l.Segment(), "lock")
	proctest.Must(t, err)
	hammer(t, locked, l, m)
	r := newRLock(t)
	q, err := locks.OpenRLock(r.Segment(), "rlock")
	proctest.Must(t, err)
	hammer(t, locked, r.Owner(), q.Owner())
	hammer(t, locked, r.Owner(), r.Owner())
}

func hammer(t *testing.T, locked bool, ms ...locks.Mutex) {
	x := new(int)
	var wg sync.WaitGroup
	for _, h := range ms {
		wg.Go(func() {
			for range 1000 {
				if locked {
					if err := h.Acquire(t.Context()); err != nil {
						t.Error(err)
					}
				}
				*x++
				if locked {
					if err := h.Release(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if locked && *x != 2000 {
		t.Errorf("%d of 2000", *x)
	}
}

// The race detector is quiet about what a lock guards, and loud about the same without the lock: the second
// half runs this test in a process of its own, which must fail.
func TestRaceDetector(t *testing.T) {
	if os.Getenv("SHOAL_TEST_UNLOCKED") != "" {
		handOver(t, false)
		return
	}
	handOver(t, true)
	if !race.Enabled {
		return // the rest is for -race
	}
	self := exec.Command(os.Args[0], "-test.run=^TestRaceDetector$")
	self.Env = append(os.Environ(), "SHOAL_TEST_UNLOCKED=1")
	out, err := self.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DATA RACE") {
		t.Errorf("the race detector is quiet without the lock: %v\n%s", err, out)
	}
}
