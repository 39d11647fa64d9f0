package sys_test

import (
	"errors"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// TestSetAffinity: a bound thread runs where it was bound to. It is never unlocked, so it ends with the test's
// goroutine.
func TestSetAffinity(t *testing.T) {
	runtime.LockOSThread()
	bound := 0
	for cpu := range runtime.NumCPU() {
		err := sys.SetAffinity(cpu)
		if errors.Is(err, errors.ErrUnsupported) {
			t.Skip("threads cannot be bound to a CPU here")
		}
		if err != nil {
			continue // the CPUs of this process need not be the first ones
		}
		bound++
		if got := sys.CurrentCPU(); got != cpu {
			t.Errorf("bound to CPU %d, runs on %d", cpu, got)
		}
	}
	if bound == 0 {
		t.Error("not one of the CPUs could be bound to")
	}
	if err := sys.SetAffinity(1 << 20); err == nil {
		t.Error("SetAffinity of a CPU that does not exist succeeded")
	}
	if got := sys.CurrentCPU(); got < 0 {
		t.Errorf("CurrentCPU: %d", got)
	}
}
