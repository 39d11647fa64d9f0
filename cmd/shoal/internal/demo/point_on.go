//go:build crashpoint

package demo

import (
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// arm makes this process, a worker, end or stop at p.
func (p Point) arm() (disarm func()) {
	switch {
	case p.List:
		crashpoint.Arm(crashpoint.Kill, 0)
		return func() {
			points := crashpoint.Disarm()
			slices.Sort(points)
			for _, name := range slices.Compact(points) {
				fmt.Fprintln(os.Stderr, name)
			}
		}
	case p.Kill != "":
		crashpoint.ArmAt(crashpoint.Kill, p.Kill)
	case p.Stop != "":
		crashpoint.ArmAt(crashpoint.Stop, p.Stop)
	}
	return func() {}
}

// watch continues a worker that stops at its point.
func (j *job) watch(m *member) {
	if m.at.Stop == "" {
		return
	}
	j.wait.Go(func() {
		if sys.AwaitStopped(m.process.Pid()) != nil {
			return // it has ended without
		}
		j.mu.Lock()
		j.fates.reached = true
		j.fates.stopped = append(j.fates.stopped, m.process.Pid())
		j.mu.Unlock()
		timer := time.NewTimer(stopFor)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-m.ended.Done():
		}
		sys.ContinueProcess(m.process.Pid()) // an error: it has ended meanwhile
	})
}
