//go:build crashpoint

package crashpoint

import (
	"runtime"
	"sync"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// Enabled reports whether the program was built with -tags crashpoint.
const Enabled = true

// Mode is what happens at the place.
type Mode string

// The modes: the process is killed (SIGKILL), or stopped until somebody continues it (SIGSTOP).
const (
	Kill Mode = "kill"
	Stop Mode = "stop"
)

var state struct {
	sync.Mutex
	armed bool
	mode  Mode
	n     int    // which hit it is to be
	name  string // or the first hit of which name
	hits  []string
}

// Arm makes the n-th Hit from now on, n counting from 1, kill or stop the process; with n 0 they only count.
func Arm(mode Mode, n int) {
	state.Lock()
	defer state.Unlock()
	state.armed, state.mode, state.n, state.name, state.hits = true, mode, n, "", nil
}

// ArmAt makes the first Hit of that name from now on kill or stop the process.
func ArmAt(mode Mode, name string) {
	Arm(mode, 0)
	state.Lock()
	defer state.Unlock()
	state.name = name
}

// Disarm ends the counting and returns the names that were hit.
func Disarm() []string {
	state.Lock()
	defer state.Unlock()
	state.armed = false
	return state.hits
}

// Hit marks a place between two changes of shared memory.
func Hit(name string) {
	state.Lock()
	if !state.armed {
		state.Unlock()
		return
	}
	state.hits = append(state.hits, name)
	now := len(state.hits) == state.n || name == state.name
	if now {
		state.name = "" // once
	}
	mode := state.mode
	state.Unlock() // a stopped process must not hold what its other goroutines need
	if !now {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	sys.SignalSelf(mode == Kill)
}
