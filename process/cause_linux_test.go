package process_test

import (
	"context"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
)

// silent is an error that does not say what it is until it may.
type silent chan struct{}

func (s silent) Error() string {
	<-s
	return "silent"
}

var heedless = process.Register("heedless", func(ctx context.Context, _ process.None) error { select {} })

// TestSilentCause: a cause whose method waits does not keep a process alive beyond its grace.
func TestSilentCause(t *testing.T) {
	proctest.Watch(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	p, err := process.Start(ctx, heedless, process.None{}, process.Options{Grace: -1})
	proctest.Must(t, err)
	cause := make(silent)
	defer close(cause)
	cancel(cause)
	<-p.Done()
	if code, _ := p.ExitCode(); code != -9 {
		t.Error(code)
	}
}
