package process_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/process"
)

// finishing lets Finish run while children are held; it has its list of them when finishing returns, or a
// little later, which makes these tests weaker but not wrong.
func finishing() chan error {
	result := make(chan error, 1)
	go func() { result <- process.Finish(context.Background()) }()
	time.Sleep(50 * time.Millisecond)
	return result
}

// A child that its owner joins and closes while Finish waits for another is no failure.
func TestClosedDuringFinish(t *testing.T) {
	a := holds.Start(t, process.None{})
	a.WaitLine("holding")
	b := holds.Start(t, process.None{})
	b.WaitLine("holding")
	result := finishing()
	b.Tell("go")
	if err := b.Wait(); err != nil {
		t.Fatal(err)
	}
	if err := b.Process().Close(); err != nil {
		t.Fatal(err)
	}
	a.Tell("go")
	if err := <-result; err != nil {
		t.Errorf("Finish after children that all succeeded: %v", err)
	}
}

// A child that is started while Finish waits, and fails, is what Finish reports.
func TestFailsDuringFinish(t *testing.T) {
	a := holds.Start(t, process.None{})
	a.WaitLine("holding")
	result := finishing()
	b := start(t, fail, "started meanwhile")
	<-b.Done()
	a.Tell("go")
	if err := <-result; err == nil || !strings.Contains(err.Error(), "started meanwhile") {
		t.Errorf("Finish: %v, want the failure of the child started meanwhile", err)
	}
}

type writerIn struct{ io.Writer }

// Two writers of a type that can be compared, with contents that cannot.
func TestWritersThatCannotBeCompared(t *testing.T) {
	var buf bytes.Buffer
	w := writerIn{writerFunc(func(p []byte) (int, error) { return buf.Write(p) })}
	join(t, start(t, nothing, process.None{}, process.Options{Stdout: w, Stderr: w}))
}

type badError struct{}

func (badError) Error() string { return "bad" }
func (badError) Is(error) bool { panic("in Is") }

type badText struct{}

func (badText) Error() string { panic("in Error") }

var panicsStrangely = process.Register("panics-strangely", func(ctx context.Context, how string) error {
	switch how {
	case "cyclic":
		m := map[string]any{}
		m["self"] = m
		panic(m)
	case "bad Is":
		panic(badError{})
	case "bad Error":
		return badText{}
	}
	return nil
})

// A panic, or an error, crosses whatever its value does when it is looked at.
func TestStrangeValuesCross(t *testing.T) {
	for _, how := range []string{"cyclic", "bad Is", "bad Error"} {
		p := start(t, panicsStrangely, how, process.Options{Stderr: io.Discard})
		err := p.Join(context.Background())
		var remote *process.RemoteError
		if !errors.As(err, &remote) || remote.Panic != (how != "bad Error") || remote.Type == "" {
			t.Errorf("%s: %v", how, err)
		}
	}
}
