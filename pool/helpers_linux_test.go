package pool_test

import (
	"bytes"
	"context"
	"os"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/shm"
)

var errNoSpace = shm.ErrNoSpace

// echo returns what it is given.
var echo = pool.Register("echo", func(ctx context.Context, m *Many) (*Many, error) { return m, nil })

// captured is what f, and what it started, wrote to the standard error until it contained text.
func captured(t testing.TB, f func(), text string) string {
	t.Helper()
	r, w, err := os.Pipe()
	proctest.Must(t, err)
	defer r.Close()
	stderr := os.Stderr
	os.Stderr = w
	defer func() { os.Stderr = stderr }()
	f()
	var b bytes.Buffer
	buf := make([]byte, 4096)
	for !strings.Contains(b.String(), text) {
		n, err := r.Read(buf)
		if err != nil {
			t.Errorf("%v after %q", err, b.String())
			break
		}
		b.Write(buf[:n])
	}
	w.Close()
	return b.String()
}
