package process_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
)

var (
	// computes, and looks at nothing but Err
	computes = proctest.NewRole("computes", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		c.Say("computing")
		for n := uint64(1); ; n = n*6364136223846793005 + 1442695040888963407 {
			if err := ctx.Err(); err != nil || n == 0 {
				return err
			}
		}
	})

	// starts a child with a deadline, which writes to descriptor 5 that it has begun and how its context ended,
	// and stays
	startsWithDeadline = proctest.NewRole("starts-with-deadline", func(ctx context.Context, c *proctest.Child, d time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		_, err := process.Start(ctx, writesEnd, process.None{}, process.Options{Files: []*os.File{os.NewFile(5, "")}, Grace: time.Hour})
		if err != nil {
			return err
		}
		c.Hear()
		return nil
	})

	writesEnd = process.Register("writes-end", func(ctx context.Context, _ process.None) error {
		w := os.NewFile(3, "")
		fmt.Fprintln(w, "begun")
		<-ctx.Done()
		_, err := fmt.Fprintln(w, ctx.Err())
		return err
	})
)

// lines starts tellsContext with ctx, and gives what it tells line by line.
func lines(t *testing.T, ctx context.Context) (p *process.Process, next func() string) {
	t.Helper()
	r, w, err := os.Pipe()
	proctest.Must(t, err)
	t.Cleanup(func() { r.Close() })
	p, err = process.Start(ctx, tellsContext, process.None{}, process.Options{Files: []*os.File{w}, Grace: time.Hour})
	w.Close()
	proctest.Must(t, err)
	proctest.Watch(t)
	read := bufio.NewReader(r)
	return p, func() string {
		line, err := read.ReadString('\n')
		proctest.Must(t, err)
		return strings.TrimSuffix(line, "\n")
	}
}

// tellsContext writes to descriptor 3 of its context's deadline, and then of its end.
var tellsContext = process.Register("tells-context", func(ctx context.Context, _ process.None) error {
	w := os.NewFile(3, "")
	deadline, ok := ctx.Deadline()
	fmt.Fprintln(w, ok, deadline.UnixNano(), ctx.Err())
	below, cancel := context.WithCancel(ctx)
	defer cancel()
	<-below.Done()
	fmt.Fprintln(w, ctx.Err(), below.Err())
	fmt.Fprintln(w, errors.Is(context.Cause(below), errFirst), context.Cause(ctx))
	return ctx.Err()
})

// TestDeadlineCrosses: a child sees the deadline of its parent's context, and that this is what ended its own.
func TestDeadlineCrosses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	deadline, _ := ctx.Deadline()
	p, next := lines(t, ctx)
	var ok bool
	var nanos int64
	var end string
	if _, err := fmt.Sscan(next(), &ok, &nanos, &end); err != nil {
		t.Fatal(err)
	}
	if off := time.Unix(0, nanos).Sub(deadline); !ok || end != "<nil>" || off < -time.Minute || off > time.Minute {
		t.Errorf("the child's deadline: %t, off by %v, ended: %s", ok, off, end)
	}
	cancel()
	if got := next(); got != "context canceled context canceled" {
		t.Errorf("cancelled before its deadline it ended by %s", got)
	}
	if err := p.Join(context.Background()); !errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Join: %v", err)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	p, next = lines(t, ctx)
	next()
	if got := next(); got != "context deadline exceeded context deadline exceeded" {
		t.Errorf("at its deadline it ended by %s", got)
	}
	if got := next(); got != "false context deadline exceeded" {
		t.Errorf("the cause is %s", got)
	}
	if err := p.Join(context.Background()); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		t.Errorf("Join: %v", err)
	}

	p, next = lines(t, t.Context())
	if got := next(); !strings.HasPrefix(got, "false ") {
		t.Errorf("a deadline without one: %s", got)
	}
	proctest.Must(t, p.Kill())
	p.Join(context.Background())
}

// TestCauseCrosses: context.Cause of a child, and of contexts that it derives, is that of its parent.
func TestCauseCrosses(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	p, next := lines(t, ctx)
	next()
	cancel(fmt.Errorf("enough: %w", errFirst))
	if got := next(); got != "context canceled context canceled" {
		t.Errorf("it ended by %s", got)
	}
	if got := next(); got != "true enough: the first" {
		t.Errorf("the cause is %s", got)
	}
	if err := p.Join(context.Background()); !errors.Is(err, context.Canceled) {
		t.Errorf("Join: %v", err)
	}

	p, next = lines(t, t.Context())
	next()
	proctest.Must(t, p.Interrupt())
	next()
	if got := next(); got != "false process: interrupted" {
		t.Errorf("the cause of an interrupt is %s", got)
	}
	p.Join(context.Background())

	// The cause of a deadline is known when it is over, and the child does not wait for long for a parent that
	// is slow.
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 50*time.Millisecond, errFirst)
		p, next := lines(t, ctx)
		next()
		got := next()
		cause := next()
		p.Join(context.Background())
		cancel()
		if got != "context deadline exceeded context deadline exceeded" {
			t.Fatalf("it ended by %s", got)
		}
		if cause == "true the first" {
			break
		}
		if cause != "false context deadline exceeded" || i == 20 {
			t.Fatalf("the cause is %s", cause)
		}
	}
}

// TestSiblingsLearnWhy: who is ended by Run because another failed finds that in the cause.
func TestSiblingsLearnWhy(t *testing.T) {
	proctest.Watch(t)
	path := filepath.Join(t.TempDir(), "cause")
	if err := process.Run(t.Context(), failsOrTells, sibling{path, true}, sibling{path, false}); !errors.Is(err, errFirst) {
		t.Errorf("Run: %v", err)
	}
	if text, err := os.ReadFile(path); !strings.HasSuffix(string(text), ": the first true") {
		t.Errorf("the sibling's cause is %q (%v)", text, err)
	}
}

type sibling struct {
	Path  string
	Fails bool
}

// failsOrTells makes the file and writes the cause to it, or fails when there is the file.
var failsOrTells = process.Register("fails-or-tells", func(ctx context.Context, s sibling) error {
	for s.Fails && ctx.Err() == nil {
		if _, err := os.Stat(s.Path); err == nil {
			return errFirst
		}
		time.Sleep(time.Millisecond)
	}
	f, err := os.Create(s.Path)
	if err != nil {
		return err
	}
	<-ctx.Done()
	cause := context.Cause(ctx)
	_, err = fmt.Fprintf(f, "%v %t", cause, errors.Is(cause, errFirst))
	return err
})

// TestDeadlineOfStoppedParent: a deadline that has crossed needs the parent no more.
func TestDeadlineOfStoppedParent(t *testing.T) {
	r, w, err := os.Pipe()
	proctest.Must(t, err)
	defer r.Close()
	p := startsWithDeadline.Start(t, 300*time.Millisecond, process.Options{Files: []*os.File{w}})
	w.Close()
	read := bufio.NewReader(r)
	if line, err := read.ReadString('\n'); line != "begun\n" {
		t.Fatalf("%q, %v", line, err)
	}
	p.Stop()
	if line, err := read.ReadString('\n'); line != context.DeadlineExceeded.Error()+"\n" {
		t.Errorf("%q, %v", line, err)
	}
	p.Continue()
	p.Tell("end")
	proctest.Must(t, p.Wait())
}

// TestComputingFunctionEnds: a function that computes, and looks at nothing but ctx.Err, ends with its context;
// also where there is one processor.
func TestComputingFunctionEnds(t *testing.T) {
	for _, procs := range []int{1, 2} {
		t.Run("GOMAXPROCS="+strconv.Itoa(procs), func(t *testing.T) {
			p := computes.Start(t, process.None{}, process.Options{Env: []string{fmt.Sprintf("GOMAXPROCS=%d", procs)}})
			p.WaitLine("computing")
			proctest.Must(t, p.Process().Interrupt())
			if err := p.Wait(); !errors.Is(err, context.Canceled) {
				t.Errorf("Join: %v", err)
			}
		})
	}
}
