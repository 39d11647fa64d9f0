package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/process"
)

func TestJoin(t *testing.T) {
	c := holds.Start(t, process.None{})
	c.WaitLine("holding")
	p := c.Process()
	if err := p.Join(canceled()); err != context.Canceled {
		t.Errorf("Join of one that runs, with an ended context: %v", err)
	}
	if _, ok := p.ExitCode(); ok || !p.Alive() {
		t.Errorf("it runs: ExitCode ok %t, Alive %t", ok, p.Alive())
	}
	if err := p.Close(); err == nil {
		t.Error("Close of one that runs succeeded")
	}
	select {
	case <-p.Done():
		t.Error("Done, and it runs")
	default:
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() { join(t, p) })
	}
	c.Tell("go on")
	wg.Wait()
	<-p.Done()
	if err := p.Join(canceled()); err != nil {
		t.Errorf("Join after the end, with an ended context: %v", err)
	}
	if code, ok := p.ExitCode(); code != 0 || !ok || p.Alive() {
		t.Errorf("it has ended: ExitCode %d, %t, Alive %t", code, ok, p.Alive())
	}
	for _, f := range []func() error{p.Interrupt, p.Terminate, p.Kill} {
		if err := f(); err != nil {
			t.Errorf("a signal after the end: %v", err)
		}
	}
	for range 2 {
		if err := p.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	for _, f := range []func() error{
		p.Interrupt, p.Terminate, p.Kill,
		func() error { return p.Join(t.Context()) },
		func() error { return process.JoinAll(t.Context(), p) },
	} {
		if err := f(); !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v, want ErrClosed", err)
		}
	}
	for _, f := range []func(){func() { p.Alive() }, func() { p.ExitCode() }} {
		if got := attempt(f); got != os.ErrClosed {
			t.Errorf("after Close: panic %v, want ErrClosed", got)
		}
	}
	if p.Name() == "" || p.Pid() == 0 {
		t.Error("name and pid are gone after Close")
	}
}

func TestJoinAll(t *testing.T) {
	if err := process.JoinAll(t.Context()); err != nil {
		t.Error(err)
	}
	var cs []*proctest.Proc
	var ps []*process.Process
	for range 3 {
		c := holds.Start(t, process.None{})
		c.WaitLine("holding")
		cs, ps = append(cs, c), append(ps, c.Process())
	}
	if err := process.JoinAll(canceled(), ps...); err != context.Canceled {
		t.Errorf("JoinAll with an ended context: %v", err)
	}
	cs[2].Tell("go on") // a success first, then two failures in another order than that of the arguments
	cs[2].Wait()
	cs[1].Kill()
	cs[1].Wait()
	if err := process.JoinAll(canceled(), ps...); err != context.Canceled {
		t.Errorf("JoinAll with an ended context: %v", err)
	}
	cs[0].Kill()
	var e *process.ExitError
	if err := process.JoinAll(t.Context(), ps...); !errors.As(err, &e) || e.Pid != cs[1].Pid() {
		t.Errorf("JoinAll: %v, want the failure of %d", err, cs[1].Pid())
	}
}

func TestExitCodes(t *testing.T) {
	for _, code := range []int{0, 1, 2, 3, 8, 255} {
		p := start(t, exit, code)
		err := p.Join(context.Background())
		if got, ok := p.ExitCode(); got != code || !ok {
			t.Errorf("exit code %d, %t, want %d", got, ok, code)
		}
		var e *process.ExitError
		switch {
		case code == 0 && err != nil, code != 0 && !errors.As(err, &e):
			t.Errorf("exit code %d: %v", code, err)
		case code != 0 && *e != process.ExitError{Name: p.Name(), Pid: p.Pid(), Code: code}:
			t.Errorf("exit code %d: %+v", code, e)
		}
	}
}

func TestSignals(t *testing.T) {
	for _, c := range []struct {
		role *proctest.Role[process.None]
		line string
		send func(*process.Process) error
		code int
		want error
	}{
		{waits, "waiting", (*process.Process).Interrupt, 1, context.Canceled},
		{resets, "reset", (*process.Process).Interrupt, -2, nil},
		{waits, "waiting", (*process.Process).Terminate, -15, nil},
		{waits, "waiting", (*process.Process).Kill, -9, nil},
	} {
		p := c.role.Start(t, process.None{})
		p.WaitLine(c.line)
		if err := c.send(p.Process()); err != nil {
			t.Error(err)
		}
		err := p.Wait()
		var e *process.ExitError
		if !errors.As(err, &e) || e.Code != c.code || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%v, want exit code %d and %v", err, c.code, c.want)
		} else if e.Signal != syscall.Signal(max(0, -c.code)) {
			t.Errorf("signal %v, want %d", e.Signal, -c.code)
		}
		if p.ExitCode() != c.code {
			t.Errorf("ExitCode %d, want %d", p.ExitCode(), c.code)
		}
	}
}

// TestInterruptEarly: however early it comes, the interrupt ends the context and not the process.
func TestInterruptEarly(t *testing.T) {
	for range 20 {
		p := start(t, untilDone, process.None{})
		if err := p.Interrupt(); err != nil {
			t.Fatal(err)
		}
		if err := p.Join(context.Background()); !errors.Is(err, context.Canceled) {
			t.Fatalf("Join: %v, want Canceled", err)
		}
	}
}

// TestInterruptIgnored: SIGINT ends the context once; a function that does not mind goes on.
func TestInterruptIgnored(t *testing.T) {
	p := ignores.Start(t, process.None{})
	p.WaitLine("waiting")
	for range 2 {
		if err := p.Process().Interrupt(); err != nil {
			t.Fatal(err)
		}
	}
	p.WaitLine("ignoring")
	if err := p.Process().Interrupt(); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	p.Continue()
	if !p.Process().Alive() {
		t.Error("it ended")
	}
}

var ignoring, ignored process.Func[process.None]

func init() {
	ignored = process.Register("ignored", func(ctx context.Context, _ process.None) error {
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			return err
		}
		if !signal.Ignored(os.Interrupt) {
			return errors.New("SIGINT is not ignored")
		}
		return ctx.Err()
	})
	// In a process of its own, because Go cannot take back that a signal is ignored.
	ignoring = process.Register("ignoring", func(ctx context.Context, _ process.None) error {
		signal.Ignore(os.Interrupt)
		return process.Run(ctx, ignored, process.None{})
	})
}

// TestIgnoringProgram: a program that was told to ignore SIGINT, as a job in the background is, has children
// that ignore it too.
func TestIgnoringProgram(t *testing.T) {
	if err := process.Run(t.Context(), ignoring, process.None{}); err != nil {
		t.Error(err)
	}
}

func TestFamily(t *testing.T) {
	self := process.Current()
	if self.Name() != "main" || self.Pid() != os.Getpid() || !self.Alive() || process.Current() != self {
		t.Errorf("Current: %q %d %t", self.Name(), self.Pid(), self.Alive())
	}
	if _, ok := self.ExitCode(); ok {
		t.Error("this process has an exit code")
	}
	if self.Join(t.Context()) == nil || self.Close() == nil {
		t.Error("this process joined, or closed, itself")
	}
	if process.Parent() != nil {
		t.Error("the main process has a parent")
	}
	p := introduces.Start(t, process.None{}, process.Options{Name: "walter"})
	for _, want := range []string{
		fmt.Sprintf("walter %d true", p.Pid()),
		fmt.Sprintf("main %d true", os.Getpid()),
		"0",
	} {
		if got := p.Line(); got != want {
			t.Errorf("the child says %q, want %q", got, want)
		}
	}
	c := process.Children()
	if !slices.Equal(c, []*process.Process{p.Process()}) {
		t.Errorf("Children: %v", c)
	}
	c[0] = nil
	if process.Children()[0] == nil {
		t.Error("Children gave its own slice away")
	}
	p.Tell("go on")
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	if c := process.Children(); len(c) != 0 {
		t.Errorf("Children after Join: %v", c)
	}
}

// TestSignalParent: a child signals its parent by the Process that Parent returns.
func TestSignalParent(t *testing.T) {
	p := signalsParent.Start(t, process.None{})
	p.WaitLine("interrupted")
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
}

// TestParentEnds: a child ends with its parent, whatever the parent ends of and whatever the child does.
func TestParentEnds(t *testing.T) {
	for _, how := range []string{"kill", "terminate", "exit", "panic", "fail", "return"} {
		t.Run(how, func(t *testing.T) {
			// A parent that fails joins its children: those must look at their context, then.
			p := founds.Start(t, how != "fail", process.Options{Stderr: new(bytes.Buffer)})
			pid, err := strconv.Atoi(p.Line())
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { ended <- sys.AwaitExit(pid) }()
			switch how {
			case "kill":
				p.Kill()
			case "terminate":
				p.Process().Terminate()
			default:
				p.Tell(how)
			}
			want := map[string]int{"kill": -9, "terminate": -15, "exit": 7, "panic": 2, "fail": 1}[how]
			if code := p.ExitCode(); code != want {
				t.Errorf("the parent's exit code is %d, want %d (%v)", code, want, p.Wait())
			}
			if err := <-ended; err != nil && !errors.Is(err, syscall.ESRCH) { // ESRCH: it ended before it could be watched
				t.Error(err)
			}
		})
	}
}

// TestStoppedChildOfDeadParent: a child that is stopped while its parent is killed ends, too.
func TestStoppedChildOfDeadParent(t *testing.T) {
	p := founds.Start(t, true)
	pid, err := strconv.Atoi(p.Line())
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- sys.AwaitExit(pid) }()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for !strings.Contains(statOf(pid), ") T ") {
		runtime.Gosched()
	}
	p.Kill()
	p.Wait()
	if err := <-ended; err != nil && !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
}

// TestErrorsCross starts a child for each error, and one whose own child has it.
func TestErrorsCross(t *testing.T) {
	for _, f := range []process.Func[string]{returns, relays} {
		for name, want := range returned {
			if testing.Short() && name != "joined" && name != "values" && name != "long" {
				continue
			}
			err := start(t, f, name).Join(context.Background())
			checkCauses(t, name, err)
			checkTypes(t, name, err)
			var e *process.ExitError
			var r *process.RemoteError
			if !errors.As(err, &e) || e.Code != 1 || e.Err != error(r) && !errors.As(e.Err, &r) || r.Panic || r.Stack != "" {
				t.Errorf("%s: %.200v", name, err)
				continue
			}
			if text := want.Error(); !strings.Contains(r.Text, text[:min(len(text), 1000)]) {
				t.Errorf("%s: text %.200q, want %.200q in it", name, r.Text, text)
			}
		}
	}
}

func TestPanic(t *testing.T) {
	for how, want := range map[string]struct {
		typ, text, printed string
		is                 error
	}{
		"boom":    {"string", "boom", "panic: boom", nil},
		"error":   {"*fmt.wrapError", "wrapped: file does not exist", "panic: wrapped: file does not exist", os.ErrNotExist},
		"runtime": {"runtime.boundsError", "index out of range", "panic: runtime error: index out of range", nil},
	} {
		var stderr bytes.Buffer
		err := start(t, panics, how, process.Options{Stderr: &stderr}).Join(context.Background())
		var e *process.ExitError
		var r *process.RemoteError
		if !errors.As(err, &e) || !errors.As(err, &r) || e.Code != 2 || !r.Panic || r.Type != want.typ ||
			!strings.Contains(r.Text, want.text) {
			t.Errorf("%s: %v", how, err)
			continue
		}
		if !strings.Contains(r.Stack, "functions_linux_test.go") {
			t.Errorf("%s: the stack does not lead to the function:\n%s", how, r.Stack)
		}
		if want.is != nil && !errors.Is(err, want.is) {
			t.Errorf("%s: errors.Is does not find %v", how, want.is)
		}
		for _, words := range []string{want.printed, "goroutine 1 [running", "functions_linux_test.go"} {
			if !strings.Contains(stderr.String(), words) {
				t.Errorf("%s: no %s in stderr:\n%s", how, words, stderr.String())
			}
		}
	}
}

func TestGoexit(t *testing.T) {
	p := start(t, goexit, process.None{})
	err := p.Join(context.Background())
	var r *process.RemoteError
	if code, _ := p.ExitCode(); code != 1 || !errors.As(err, &r) || !strings.Contains(r.Text, "Goexit") {
		t.Errorf("Join: %v", err)
	}
}

// TestFinish joins what runs.
func TestFinish(t *testing.T) {
	if err := process.Finish(t.Context()); err != nil {
		t.Errorf("Finish without children: %v", err)
	}
	p := holds.Start(t, process.None{})
	p.WaitLine("holding")
	if err := process.Finish(canceled()); err != context.Canceled {
		t.Errorf("Finish with an ended context: %v", err)
	}
	q := holds.Start(t, process.None{})
	q.WaitLine("holding")
	ctx := &watchedContext{Context: t.Context(), watched: make(chan struct{})}
	finished := make(chan error)
	go func() { finished <- process.Finish(ctx) }()
	<-ctx.watched // Finish waits
	q.Kill()
	p.Tell("go on")
	var e *process.ExitError
	if err := <-finished; !errors.As(err, &e) || e.Pid != q.Pid() {
		t.Errorf("Finish: %v, want the failure of %d", err, q.Pid())
	}
	if p.Process().Alive() || q.Process().Alive() {
		t.Error("Finish left one alive")
	}
}

// TestFd: the descriptor is readable, at its end, when the process has ended, and not before.
func TestFd(t *testing.T) {
	if fd := process.Current().Fd(); fd != -1 {
		t.Errorf("that of this process is %d", fd)
	}
	c := holds.Start(t, process.None{})
	c.WaitLine("holding")
	p := c.Process()
	fd := p.Fd()
	read := func(flags int) (int, error) {
		n, _, err := syscall.Recvfrom(p.Fd(), make([]byte, 1), flags)
		return n, err
	}
	if n, err := read(syscall.MSG_DONTWAIT); err != syscall.EAGAIN || fd < 3 || p.Fd() != fd {
		t.Errorf("descriptor %d, then %d, while it runs: %d, %v", fd, p.Fd(), n, err)
	}
	c.Tell("go on")
	for range 2 {
		if n, err := read(0); n != 0 || err != nil { // waits
			t.Errorf("descriptor %d at the end: %d, %v", fd, n, err)
		}
	}
	if p.Alive() {
		t.Error("readable, and alive")
	}
	proctest.Must(t, p.Close())
	if fd := p.Fd(); fd != -1 {
		t.Errorf("after Close it is %d", fd)
	}

	q := start(t, nothing, process.None{})
	join(t, q)
	p = q
	for range 2 {
		if n, err := read(syscall.MSG_DONTWAIT); n != 0 || err != nil {
			t.Errorf("asked for after the end: %d, %v", n, err)
		}
	}
	proctest.Must(t, q.Close())
}

// watchedContext tells when somebody begins to wait for it.
type watchedContext struct {
	context.Context
	once    sync.Once
	watched chan struct{}
}

func (c *watchedContext) Done() <-chan struct{} {
	c.once.Do(func() { close(c.watched) })
	return c.Context.Done()
}

// TestProtocol: what a child says that makes no sense is an error of that child.
func TestProtocol(t *testing.T) {
	for _, what := range []string{"?\x00", "e\x00", "e\x02", "c\x00", "e\x00" + strings.Repeat("x", 40<<10)} {
		p := start(t, babbles, what)
		err := p.Join(context.Background())
		if !errors.Is(err, process.ErrProtocol) {
			t.Errorf("%.10q: %v, want ErrProtocol", what, err)
		}
	}
}

// babbles writes into its control socket, which is descriptor 3 here, and exits.
var babbles = process.Register("babbles", func(ctx context.Context, what string) error {
	if _, err := os.NewFile(3, "").WriteString(what); err != nil {
		return err
	}
	os.Exit(1)
	return nil
})

// TestFullSizeErrorNeedsNoReader: the largest message of a child fits into the socket, so a parent that is
// stopped does not keep it from ending.
func TestFullSizeErrorNeedsNoReader(t *testing.T) {
	ours, theirs, err := sys.ControlPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	body := strings.Repeat("x", process.MaxError)
	if err := process.Send(ours, process.KindError, []byte(body)); err != nil {
		t.Fatal(err)
	}
	ours.Close()
	got, err := received(theirs, process.MaxError)
	if err != nil || !slices.Equal(got, []message{{process.KindError, body}}) {
		t.Errorf("%d messages, %v", len(got), err)
	}
}

// TestResetBeforeMessages: an end that is closed with something unread makes its peer's reading fail once, before
// what it had written.
func TestResetBeforeMessages(t *testing.T) {
	ours, theirs, err := sys.ControlPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	for _, err := range []error{
		process.Send(ours, process.KindCancel, nil),
		process.Send(theirs, process.KindError, []byte("last words")),
		theirs.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := received(ours, process.MaxError)
	if err != nil || !slices.Equal(got, []message{{process.KindError, "last words"}}) {
		t.Errorf("%q, %v", got, err)
	}
}
