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

// TestRaceDetectorBarrier: the race detector is quiet about what the parties hand to the action, whoever runs it, and that to
// them, and loud if two of them change something in one pass: the second half runs in a process of its own, which must fail.
func TestRaceDetectorBarrier(t *testing.T) {
	how := os.Getenv("SHOAL_TEST_BARRIER")
	const parties, passes = 2, 200
	b := newBarrier(t, parties)
	var each [parties]int
	sum, both := new(int), new(int)
	action := func() error {
		for i := range each {
			*sum += each[i]
			each[i] = 0
		}
		return nil
	}
	var wg sync.WaitGroup
	for i := range parties {
		h, err := locks.OpenBarrier(b.Segment(), "barrier", locks.BarrierOptions{Action: action})
		proctest.Must(t, err)
		wg.Go(func() {
			for n := range passes {
				each[i]++
				if how == "late" {
					*both++
				}
				if _, err := h.Wait(t.Context()); err != nil {
					t.Error(err)
					return
				}
				if *sum != parties*(n+1) {
					t.Errorf("the action of pass %d left %d", n, *sum)
				}
				if _, err := h.Wait(t.Context()); err != nil { // nobody comes again before all have looked
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if !race.Enabled || how != "" {
		return // the rest is for -race
	}
	self := exec.Command(os.Args[0], "-test.run=^TestRaceDetectorBarrier$")
	self.Env = append(os.Environ(), "SHOAL_TEST_BARRIER=late")
	out, err := self.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "DATA RACE") {
		t.Errorf("the race detector is quiet: %v\n%s", err, out)
	}
}
