package futex_test

import (
	"testing"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// A wait is counted when it sleeps, and as what it turned out to be.
func TestStats(t *testing.T) {
	b, err := shm.NewBlock(proctest.Segment(t, 1), "", 4)
	proctest.Must(t, err)
	before := futex.Stats()
	proctest.Must(t, futex.Wait(t.Context(), b.Uint32(0), 1))
	if s := futex.Stats(); s.Waits != before.Waits {
		t.Errorf("who need not sleep is counted: %+v", s)
	}
	proctest.Must(t, futex.Wait(t.Context(), b.Uint32(0), 0))
	if s := futex.Stats(); s.Waits != before.Waits+1 || s.Spurious != before.Spurious+1 || s.Wakes != before.Wakes {
		t.Errorf("a sleep that ended by itself: from %+v to %+v", before, s)
	}
}
