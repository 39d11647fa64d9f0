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

// passOn lets two goroutines change heap memory in turns, each with a handle of its own, that a semaphore, an event or a barrier
// gives them; synchronised tells whether they wait for their turn.
func passOn(t *testing.T, synchronised bool) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		s := newSemaphore(t, 1, o)
		x := new(int)
		var wg sync.WaitGroup
		for range 2 {
			h, err := locks.OpenSemaphore(s.Segment(), "sem")
			proctest.Must(t, err)
			wg.Go(func() {
				for range 1000 {
					if synchronised {
						if err := h.Acquire(t.Context()); err != nil {
							t.Error(err)
						}
					}
					*x++
					if synchronised {
						if err := h.Release(); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
		wg.Wait()
	})
	t.Run("event", func(t *testing.T) {
		e := newEvent(t)
		h, err := locks.OpenEvent(e.Segment(), "event")
		proctest.Must(t, err)
		x := new(int)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if synchronised {
				if err := h.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			}
			*x++
		}()
		*x++
		proctest.Must(t, e.Set())
		<-done
	})
	t.Run("barrier", func(t *testing.T) {
		b := newBarrier(t, 2)
		h, err := locks.OpenBarrier(b.Segment(), "barrier")
		proctest.Must(t, err)
		x := new(int)
		done := make(chan struct{})
		wait := func(b *locks.Barrier) {
			if synchronised {
				if _, err := b.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
		go func() {
			defer close(done)
			for range 100 {
				wait(h)
				*x++
				wait(h)
			}
		}()
		for range 100 {
			*x++
			wait(b)
			wait(b)
		}
		<-done
	})
}

// The race detector is quiet about what a semaphore, event or barrier hands over, and loud about the same without: the
// second half runs each part in a process of its own, which must fail.
func TestRaceDetectorSemaphore(t *testing.T) {
	if os.Getenv("SHOAL_TEST_UNLOCKED") != "" {
		passOn(t, false)
		return
	}
	passOn(t, true)
	if !race.Enabled {
		return // the rest is for -race
	}
	for _, part := range []string{"recover=false", "recover=true", "event", "barrier"} { // the detector reports the same race once
		self := exec.Command(os.Args[0], "-test.run=^TestRaceDetectorSemaphore$/^"+part+"$")
		self.Env = append(os.Environ(), "SHOAL_TEST_UNLOCKED=1")
		out, err := self.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "DATA RACE") {
			t.Errorf("%s: the race detector is quiet without: %v\n%s", part, err, out)
		}
	}
}
