package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/process"
)

// TestConformance holds what Python's multiprocessing promises of a Process, by the numbers of the
// conformance list. A start cannot be separated from the making of a Process here, so nothing is said of one
// that was not started.
func TestConformance(t *testing.T) {
	// The main process object is alive, has the OS pid, and no exit code.
	t.Run("PROC-01", func(t *testing.T) {
		p := process.Current()
		if _, ok := p.ExitCode(); !p.Alive() || p.Pid() != os.Getpid() || ok {
			t.Errorf("alive %t, pid %d (want %d), exit code set %t", p.Alive(), p.Pid(), os.Getpid(), ok)
		}
	})

	// Arguments reach the target unchanged. Python has a list or a tuple of them; here they are one typed value.
	t.Run("PROC-03", func(t *testing.T) {
		for _, a := range []Many{
			{},
			{
				Int: -1, Text: "text", List: []int{1, 2, 3}, Pair: [2]string{"a", "b"}, Map: map[string]float64{"x": 0.1},
				Inner: &Many{Text: "inner"},
			},
			{Text: strings.Repeat("\x00\xff\n", 1000), List: []int{}},
		} {
			p := echoes.Start(t, a)
			if got, want := p.Line(), fmt.Sprintf("%q", a.String()); got != want {
				t.Errorf("the child says %s, want %s", got, want)
			}
		}
	})

	// The main process has no parent object; a child sees its parent's pid and name.
	t.Run("PROC-05", func(t *testing.T) {
		if p := process.Parent(); p != nil {
			t.Errorf("Parent is %v", p)
		}
		p := introduces.Start(t, process.None{})
		p.Line()
		if got, want := p.Line(), fmt.Sprintf("main %d true", os.Getpid()); got != want {
			t.Errorf("the child says of its parent %q, want %q", got, want)
		}
	})

	// A grandchild sees its parent alive until that is terminated. Python's grandchild then sees it dead and
	// goes on as an orphan; here it ends with its parent, so that nothing outlives a program that was killed.
	t.Run("PROC-06", func(t *testing.T) {
		p := founds.Start(t, true)
		var pid int
		if _, err := fmt.Sscan(p.Line(), &pid); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- sys.AwaitExit(pid) }()
		if err := p.Process().Terminate(); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	})

	// After the start: alive, listed, no exit code; the child has its arguments and its name, and the pid
	// matches.
	t.Run("PROC-08", func(t *testing.T) {
		p := introduces.Start(t, process.None{}, process.Options{Name: "given"})
		if _, ok := p.Process().ExitCode(); !p.Process().Alive() || ok || !slices.Contains(process.Children(), p.Process()) {
			t.Errorf("alive %t, exit code set %t, children %v", p.Process().Alive(), ok, process.Children())
		}
		if got, want := p.Line(), fmt.Sprintf("given %d true", p.Pid()); got != want || p.Process().Name() != "given" {
			t.Errorf("the child says %q, want %q", got, want)
		}
	})

	// After the join: exit code 0, not alive, not listed; the list is a fresh one each time.
	t.Run("PROC-09", func(t *testing.T) {
		p := start(t, nothing, process.None{})
		join(t, p)
		if code, ok := p.ExitCode(); code != 0 || !ok || p.Alive() || slices.Contains(process.Children(), p) {
			t.Errorf("exit code %d, %t, alive %t, children %v", code, ok, p.Alive(), process.Children())
		}
		q := holds.Start(t, process.None{})
		list := process.Children()
		clear(list)
		if !slices.Contains(process.Children(), q.Process()) {
			t.Error("changing the list changed the children")
		}
	})

	// A join that must not wait returns at once, and the child stays alive.
	t.Run("PROC-11", func(t *testing.T) {
		p := holds.Start(t, process.None{})
		if err := p.Process().Join(canceled()); err != context.Canceled || !p.Process().Alive() {
			t.Errorf("Join: %v, alive %t", err, p.Process().Alive())
		}
	})

	// An interrupt ends a function that leaves it to the language: there by KeyboardInterrupt, here by its
	// context.
	t.Run("PROC-12", func(t *testing.T) { signalled(t, waits, (*process.Process).Interrupt, 1) })

	// An interrupt of one with the default disposition, a terminate and a kill are the signal's number,
	// negative. Joining again is harmless.
	t.Run("PROC-13", func(t *testing.T) { signalled(t, resets, (*process.Process).Interrupt, -int(syscall.SIGINT)) })
	t.Run("PROC-14", func(t *testing.T) { signalled(t, waits, (*process.Process).Terminate, -int(syscall.SIGTERM)) })
	t.Run("PROC-15", func(t *testing.T) { signalled(t, waits, (*process.Process).Kill, -int(syscall.SIGKILL)) })

	// A blocked child is listed until it is released and joined.
	t.Run("PROC-17", func(t *testing.T) {
		p := holds.Start(t, process.None{})
		p.WaitLine("holding")
		if !slices.Contains(process.Children(), p.Process()) {
			t.Error("not listed")
		}
		p.Tell("go on")
		if err := p.Wait(); err != nil || slices.Contains(process.Children(), p.Process()) {
			t.Errorf("Join: %v, children %v", err, process.Children())
		}
	})

	// The sentinel is not ready while the process runs, and ready after. Here it is a channel.
	t.Run("PROC-19", func(t *testing.T) {
		p := holds.Start(t, process.None{})
		select {
		case <-p.Process().Done():
			t.Error("ready while it runs")
		default:
		}
		p.Tell("go on")
		<-p.Process().Done()
		if p.Process().Alive() {
			t.Error("ready, and alive")
		}
	})

	// Close is an error while it runs; after it all but Close is.
	t.Run("PROC-20", func(t *testing.T) {
		c := holds.Start(t, process.None{})
		p := c.Process()
		if p.Close() == nil {
			t.Error("closed while it runs")
		}
		c.Tell("go on")
		join(t, p)
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
		if !errors.Is(p.Join(t.Context()), os.ErrClosed) || !errors.Is(p.Terminate(), os.ErrClosed) ||
			attempt(func() { p.Alive() }) != os.ErrClosed {
			t.Error("usable after Close")
		}
	})

	// 100 short ones all end with 0; 100 sleeping ones all die of SIGTERM.
	t.Run("PROC-22", func(t *testing.T) {
		var ps []*process.Process
		for range 100 {
			ps = append(ps, start(t, nothing, process.None{}))
		}
		if err := process.JoinAll(context.Background(), ps...); err != nil {
			t.Error(err)
		}
		ps = nil
		for range 100 {
			ps = append(ps, start(t, untilDone, process.None{}))
		}
		for _, p := range ps {
			if err := p.Terminate(); err != nil {
				t.Error(err)
			}
		}
		for _, p := range ps {
			p.Join(context.Background())
			if code, ok := p.ExitCode(); code != -15 || !ok {
				t.Errorf("exit code %d, %t, want -15", code, ok)
			}
		}
	})

	// A child waits for its own children before it ends. Python says it of threads; goroutines end with their
	// process, as Python's daemon threads do.
	t.Run("PROC-25", func(t *testing.T) {
		var out bytes.Buffer
		join(t, start(t, leavesChild, process.None{}, process.Options{Stdout: &out}))
		if out.String() != "parent child" {
			t.Errorf("%q, want that the child's child could print", out.String())
		}
	})

	// Two ends of a conversation that the child was given when it was made: upper-case service, stop message,
	// join.
	t.Run("PROC-29", func(t *testing.T) {
		p := shouts.Start(t, "stop")
		for _, text := range []string{"hello", "you", "there"} {
			p.Tell(text)
			if got := p.Line(); got != strings.ToUpper(text) {
				t.Errorf("%q became %q", text, got)
			}
		}
		p.Tell("stop")
		if err := p.Wait(); err != nil {
			t.Error(err)
		}
	})

	// The text of a failure is complete before the child has ended: a panic's on stderr, an error's in Join.
	t.Run("PROC-30", func(t *testing.T) {
		text := strings.Repeat("all of it\n", 5000)
		var stderr bytes.Buffer
		start(t, panics, text, process.Options{Stderr: &stderr}).Join(context.Background())
		plain := strings.ReplaceAll(stderr.String(), "\n\t", "\n")
		if strings.Count(plain, "all of it\n") < 5000 || !strings.Contains(plain, "goroutine 1 [running") {
			t.Errorf("%d bytes of stderr", stderr.Len())
		}
		if err := start(t, fail, text).Join(context.Background()); !strings.HasSuffix(fmt.Sprint(err), text) {
			t.Errorf("an error of %d bytes, want %d", len(fmt.Sprint(err)), len(text))
		}
	})

	// Exit codes: nil is 0, an error 1 (Python prints it, here it is Join's), os.Exit(8) is 8.
	t.Run("PROC-31", func(t *testing.T) {
		for _, c := range []struct {
			p    *process.Process
			code int
		}{
			{start(t, nothing, process.None{}), 0},
			{start(t, exit, 0), 0},
			{start(t, exit, 1), 1},
			{start(t, exit, 8), 8},
			{start(t, fail, "an object"), 1},
		} {
			err := c.p.Join(context.Background())
			if code, _ := c.p.ExitCode(); code != c.code || (err == nil) != (code == 0) {
				t.Errorf("exit code %d, want %d (%v)", code, c.code, err)
			}
		}
	})
}

func signalled(t *testing.T, role *proctest.Role[process.None], send func(*process.Process) error, code int) {
	t.Helper()
	p := role.Start(t, process.None{})
	p.Line()
	if err := send(p.Process()); err != nil {
		t.Error(err)
	}
	for range 2 {
		var e *process.ExitError
		if err := p.Wait(); !errors.As(err, &e) || e.Code != code {
			t.Errorf("Join: %v, want exit code %d", err, code)
		}
	}
}

// Many are arguments of many types.
type Many struct {
	Int   int
	Text  string
	List  []int
	Pair  [2]string
	Map   map[string]float64
	Inner *Many
}

// String tells nil from empty.
func (m Many) String() string {
	inner := "none"
	if m.Inner != nil {
		inner = m.Inner.String()
		m.Inner = nil
	}
	return fmt.Sprintf("%#v %s %v", m, inner, reflect.ValueOf(m.List).IsNil())
}

var (
	echoes = proctest.NewRole("echoes", func(ctx context.Context, c *proctest.Child, m Many) error {
		c.Say("%q", m.String())
		return nil
	})

	shouts = proctest.NewRole("shouts", func(ctx context.Context, c *proctest.Child, stop string) error {
		for {
			line := c.Hear()
			if line == stop {
				return nil
			}
			c.Say("%s", strings.ToUpper(line))
		}
	})

	leavesChild = process.Register("leaves-child", func(ctx context.Context, _ process.None) error {
		fmt.Print("parent")
		_, err := process.Start(ctx, printText, " child")
		return err
	})
)
