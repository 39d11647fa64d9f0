package locks_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/locks"
)

// takeTurns lets two goroutines change heap memory in turns, each with a handle of its own of a condition on that kind of lock:
// who comes waits for his turn, and then it is the other's. If how is "unlocked" they do not ask, and do not wait; if it is
// "late" they change what they are to change when they have released the lock, so that Notify alone stands between them.
func takeTurns(t *testing.T, kind, how string) {
	seg := proctest.Segment(t, 0)
	var on locks.Mutex
	if kind != "own" {
		r, err := locks.NewRLock(seg, "")
		proctest.Must(t, err)
		on = r.Owner()
		if kind == "lock" {
			on, err = locks.NewLock(seg, "")
			proctest.Must(t, err)
		}
	}
	c, err := locks.NewCondition(seg, "cond", on)
	proctest.Must(t, err)
	const rounds = 300
	turn, x := new(int), new(int)
	turns := func(c *locks.Condition, me int) (err error) {
		for n := 0; n < rounds && err == nil; n++ {
			if how != "unlocked" {
				if err := c.Acquire(t.Context()); err != nil {
					return err
				}
				if err := c.WaitFor(t.Context(), func() bool { return *turn == me }); err != nil {
					return err
				}
			}
			if how != "late" {
				*x++
			}
			*turn = 1 - me
			if how != "unlocked" {
				err = errors.Join(c.Notify(1), c.Release())
			}
			if how == "late" {
				*x++
			}
		}
		return err
	}
	other := reopened(t, c)
	done := make(chan error)
	go func() { done <- turns(other, 1) }()
	proctest.Must(t, turns(c, 0))
	proctest.Must(t, <-done)
	if how == "" && *x != 2*rounds {
		t.Errorf("%d of %d", *x, 2*rounds)
	}
}

// TestRaceDetectorCondition: the race detector is quiet about what the waits of a condition hand over, and loud about the same
// without the lock, and about what is changed when it was released: the second half runs in processes of its own, which
// must fail.
func TestRaceDetectorCondition(t *testing.T) {
	how := os.Getenv("SHOAL_TEST_CONDITION")
	for _, kind := range []string{"own", "lock", "rlock"} {
		t.Run(kind, func(t *testing.T) {
			takeTurns(t, kind, how)
			if !race.Enabled || how != "" {
				return // the rest is for -race
			}
			for _, how := range []string{"unlocked", "late"} { // in a process the detector reports the same race once
				self := exec.Command(os.Args[0], "-test.run=^TestRaceDetectorCondition$/^"+kind+"$")
				self.Env = append(os.Environ(), "SHOAL_TEST_CONDITION="+how)
				out, err := self.CombinedOutput()
				if err == nil || !strings.Contains(string(out), "DATA RACE") {
					t.Errorf("%s: the race detector is quiet: %v\n%s", how, err, out)
				}
			}
		})
	}
}
