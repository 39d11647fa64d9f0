package process

import (
	"runtime"
	"sync"
)

// spawner is the thread from which all processes are started. A child asks the kernel to be killed with its
// parent (PR_SET_PDEATHSIG), and for the kernel the parent is a thread: one that ended (a goroutine that was
// locked to its thread, and returned) would take with it what was started from it. This one ends with the
// process. It is there from the first start on.
var spawner struct {
	sync.Once
	requests chan func()
}

// onSpawner calls f on that thread.
func onSpawner(f func()) {
	spawner.Do(func() {
		spawner.requests = make(chan func())
		go runSpawner(spawner.requests)
	})
	done := make(chan struct{})
	spawner.requests <- func() {
		defer close(done)
		f()
	}
	<-done
}

func runSpawner(requests <-chan func()) {
	runtime.LockOSThread()
	for f := range requests {
		f()
	}
}
