package proctest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"
	"testing"

	"github.com/shoal-ipc/shoal/shm"
)

var named atomic.Uint32

// Name is a name for a segment that no other test has; the segment is removed at the end of the test if there is
// one then. The test is skipped where there are no segments.
func Name(t testing.TB) string {
	t.Helper()
	NeedLinux(t, "segments are there alone")
	name := fmt.Sprintf("test-%d-%d", os.Getpid(), named.Add(1))
	t.Cleanup(func() {
		if err := shm.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	return name
}
