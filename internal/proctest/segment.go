package proctest

import (
	"errors"
	"testing"

	"github.com/shoal-ipc/shoal/shm"
)

// Segment makes an anonymous segment of size bytes (0 is the default size) for the length of the test, which
// is skipped where there are none.
func Segment(t testing.TB, size int) *shm.Segment {
	t.Helper()
	seg, err := shm.Anonymous(size)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip("this system has no shared segments")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { seg.Close() })
	return seg
}

// Must ends the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
