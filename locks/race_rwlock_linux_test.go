package locks_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
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

// Who recovers the lock after the death of another process's writer, with nothing to repair, comes after those who read.
func TestRaceDetectorRWLockRecover(t *testing.T) {
	for _, repair := range []func() error{nil, func() error { return nil }} {
		l := newRWLock(t)
		step, err := shm.NewBlock(l.Segment(), "", 4) // the detector does not see it
		proctest.Must(t, err)
		x := new(int)
		done := make(chan error)
		go func() {
			for step.Uint32(0).Load() == 0 {
				time.Sleep(100 * time.Microsecond)
			}
			err := l.Recover(t.Context(), repair)
			*x++
			done <- errors.Join(err, l.Release())
		}()
		proctest.Must(t, l.RAcquire(t.Context()))
		_ = *x
		proctest.Must(t, l.RRelease())
		p := writerRole.Start(t, rwArgs{L: l})
		p.WaitLine("in")
		p.Kill()
		p.Wait()
		step.Uint32(0).Store(1)
		proctest.Must(t, <-done)
	}
}
