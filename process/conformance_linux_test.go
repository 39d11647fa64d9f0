package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
)

// TestConformance holds what Python's multiprocessing promises of a Process, by the numbers of the
// conformance list. A start cannot be separated from the making of a Process here, so nothing is said of one
// that was not started.
func TestConformance(t *testing.T) {
	// The main process object is alive, no daemon, has a key and the OS pid, and no exit code.
	t.Run("PROC-01", func(t *testing.T) {
		p := process.Current()
		if _, ok := p.ExitCode(); !p.Alive() || p.Daemon() || len(process.AuthKey()) == 0 || p.Pid() != os.Getpid() || ok {
			t.Errorf("alive %t, daemon %t, pid %d (want %d), exit code set %t", p.Alive(), p.Daemon(), p.Pid(), os.Getpid(), ok)
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

	// A process is a daemon if that was said. In Python a child of a daemon is one too, if nothing was said;
	// but there it cannot have children, so this is about flags that a program sets by hand. Here it can have
	// some, joins them as any process does, and they end with it.
	t.Run("PROC-04", func(t *testing.T) {
		for _, daemon := range []bool{false, true} {
			p := tellsDaemon.Start(t, process.None{}, process.Options{Daemon: daemon})
			if got, want := p.Line(), fmt.Sprintf("%t, child false true", daemon); got != want || p.Process().Daemon() != daemon {
				t.Errorf("the child says %q, want %q; here it is %t", got, want, p.Process().Daemon())
			}
			proctest.Must(t, p.Wait())
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

	// Before the start: not alive, not listed, no exit code. A process that was not started is a Call here, and
	// nothing but that; nor is one whose start fails. The child inherits the key (SEED-05 has more of that).
	t.Run("PROC-07", func(t *testing.T) {
		call := fail.With("it ran")
		p, err := process.Start(canceled(), fail, "it ran")
		if p != nil || err == nil || len(process.Children()) != 0 {
			t.Errorf("Start: %v, %v, children %v", p, err, process.Children())
		}
		if err := call.Run(t.Context()); err == nil || err.Error() != "it ran" {
			t.Errorf("Run: %v", err)
		}
		c := tellsKey.Start(t, process.None{})
		if got, want := c.Line(), fmt.Sprintf("%x", process.AuthKey()); got != want {
			t.Error("the child's key is another")
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

	// There is at least one CPU, and children count as many as their parent: by GOMAXPROCS in the environment,
	// theirs or what Options.Env says, and without it by what the system gives to all of them.
	t.Run("PROC-16", func(t *testing.T) {
		if runtime.NumCPU() < 1 {
			t.Errorf("%d CPUs", runtime.NumCPU())
		}
		for _, c := range []struct {
			env  []string
			want string
		}{
			{nil, fmt.Sprintf("%d %d %q", runtime.NumCPU(), startedWith, os.Getenv("GOMAXPROCS"))},
			{[]string{"GOMAXPROCS=1"}, fmt.Sprintf("%d 1 %q", runtime.NumCPU(), "1")},
			{[]string{"GOMAXPROCS=5"}, fmt.Sprintf("%d 5 %q", runtime.NumCPU(), "5")},
		} {
			p := countsCPUs.Start(t, process.None{}, process.Options{Env: c.env})
			if got := p.Line(); got != c.want {
				t.Errorf("with %q a child counts %s, want %s", c.env, got, c.want)
			}
		}
	})

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

	// The sentinel is not ready while the process runs, and ready after. Here it is a channel, and a descriptor.
	t.Run("PROC-19", func(t *testing.T) {
		p := holds.Start(t, process.None{})
		select {
		case <-p.Process().Done():
			t.Error("ready while it runs")
		default:
		}
		peek := func(flags int) error {
			_, _, err := syscall.Recvfrom(p.Process().Fd(), make([]byte, 1), syscall.MSG_PEEK|flags)
			return err
		}
		if err := peek(syscall.MSG_DONTWAIT); err != syscall.EAGAIN {
			t.Errorf("the descriptor while it runs: %v", err)
		}
		p.Tell("go on")
		if err := peek(0); err != nil {
			t.Errorf("the descriptor at the end: %v", err)
		}
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

	// A signal to this process does not disturb a Join.
	t.Run("WAIT-09", func(t *testing.T) {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, syscall.SIGUSR1)
		defer signal.Stop(signals)
		p := holds.Start(t, process.None{})
		ctx := &watchedContext{Context: context.Background(), watched: make(chan struct{})}
		joined := make(chan error)
		go func() { joined <- p.Process().Join(ctx) }()
		<-ctx.watched
		for range 100 {
			proctest.Must(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
			<-signals
		}
		select {
		case err := <-joined:
			t.Fatalf("Join returned: %v", err)
		default:
		}
		p.Tell("go on")
		if err := <-joined; err != nil {
			t.Errorf("Join: %v", err)
		}
	})

	// A program that starts processes without the guard, which is Init or Main here, gets an error, and no avalanche.
	t.Run("CTX-09", func(t *testing.T) {
		code, stdout, stderr := finished(t, program(t, "bare"))
		if code != 0 || stdout != "true "+process.ErrInit.Error()+"\n" || stderr != "" {
			t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
		}
	})

	// A child has no descriptors but those that it is to have, whatever this process has open. (What whoever
	// started this process left open for all to inherit, against all custom, is inherited further, as with
	// os/exec.)
	t.Run("CTX-10", func(t *testing.T) {
		high := tempFile(t, "high")
		const number = 300
		proctest.Must(t, syscall.Dup3(int(high.Fd()), number, syscall.O_CLOEXEC))
		defer syscall.Close(number)
		for _, files := range [][]*os.File{nil, {tempFile(t, "given")}} {
			var out bytes.Buffer
			join(t, start(t, listsDescriptors, process.None{}, process.Options{Files: files, Stdout: &out}))
			want := []string{"0", "1", "2", "3"} // the streams, and the control socket
			if len(files) > 0 {
				want = append(want, "4")
			}
			for _, fd := range inheritable() {
				if !slices.Contains(want, fd) {
					want = append(want, fd)
				}
			}
			if got := strings.Fields(out.String()); !sameLines(got, want) {
				t.Errorf("with %d files a child has descriptors %v, want %v", len(files), got, want)
			}
		}
	})

	// What a child put off to its end is done there: that is what defer is for, also when its context has ended.
	t.Run("FIN-04", func(t *testing.T) {
		for _, interrupt := range []bool{false, true} {
			p := defers.Start(t, process.None{})
			p.WaitLine("running")
			if interrupt {
				proctest.Must(t, p.Process().Interrupt())
			} else {
				p.Tell("return")
			}
			if a, b := p.Line(), p.Line(); a != "second" || b != "first" {
				t.Errorf("at the end it did %s, %s", a, b)
			}
			proctest.Must(t, p.Wait())
		}
	})

	// What children log comes out of this process, with their names if that is wanted, and line by line. There
	// is no logger of the package; the level is a matter of what the child is given.
	t.Run("LOG-01", func(t *testing.T) {
		var log bytes.Buffer
		join(t, start(t, logs, "warn", process.Options{Name: "loggy", Prefix: true, Stderr: &log}))
		if got, want := log.String(), "loggy: level=WARN msg=second process=loggy\nloggy: level=ERROR msg=third process=loggy\n"; got != want {
			t.Errorf("it logged\n%swant\n%s", got, want)
		}
	})

	// Struct arguments and a name reach the child; names by default are the function's with numbers, and "main"
	// (in Python Process-1, Process-2, …, and MainProcess); a registered function can be called here, too.
	t.Run("SEED-01", func(t *testing.T) {
		if name := process.Current().Name(); name != "main" {
			t.Errorf("this process is %q", name)
		}
		var numbers [2]int
		for i := range numbers {
			p := introduces.Start(t, process.None{})
			if _, err := fmt.Sscanf(p.Process().Name(), "introduces-%d", &numbers[i]); err != nil {
				t.Errorf("%q: %v", p.Process().Name(), err)
			}
			if line := p.Line(); !strings.HasPrefix(line, p.Process().Name()+" ") {
				t.Errorf("%s says %q", p.Process().Name(), line)
			}
		}
		if numbers[0] < 1 || numbers[1] != numbers[0]+1 {
			t.Errorf("numbers %v", numbers)
		}
		p := echoes.Start(t, Many{Text: "to Otto"}, process.Options{Name: "Otto"})
		if got, want := p.Line(), fmt.Sprintf("%q", Many{Text: "to Otto"}.String()); got != want || p.Process().Name() != "Otto" {
			t.Errorf("%s says %s, want %s", p.Process().Name(), got, want)
		}
		if err := failIfFirst.Call(t.Context(), 0); err != errFirst {
			t.Errorf("called here: %v", err)
		}
	})

	// A Join whose time is up leaves the child alive; joining again works.
	t.Run("SEED-02", func(t *testing.T) {
		c := holds.Start(t, process.None{})
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			if err := c.Process().Join(ctx); err != context.DeadlineExceeded || !c.Process().Alive() {
				t.Errorf("Join: %v, alive %t", err, c.Process().Alive())
			}
			cancel()
		}
		c.Tell("go on")
		for range 2 {
			join(t, c.Process())
		}
	})

	// At the end of the program daemons are ended and the others joined; a daemon's own child ends with it.
	// TestDaemons says in which order.
	t.Run("SEED-03", func(t *testing.T) {
		code, stdout, stderr := finished(t, program(t, "daemons"))
		if code != 0 || stderr != "" || !strings.Contains(stdout, "\nanswered\n") || !strings.Contains(stdout, "daemon ends") {
			t.Errorf("exit code %d, stderr %q, it printed\n%s", code, stderr, stdout)
		}
	})

	// The lock of a process that was terminated tells the next who takes it, and the children of that process
	// are gone, a C program among them.
	t.Run("SEED-04", func(t *testing.T) {
		g, _ := newGiven(t)
		p := takesAndStarts.Start(t, g)
		var pids [2]int
		_, err := fmt.Sscan(p.Line(), &pids[0], &pids[1])
		proctest.Must(t, err)
		ended := make(chan error, len(pids))
		for _, pid := range pids {
			go func() { ended <- sys.AwaitExit(pid) }()
		}
		proctest.Must(t, p.Process().Terminate())
		if err := g.L.Acquire(t.Context()); !errors.Is(err, locks.ErrOwnerDied) {
			t.Errorf("Acquire: %v, want ErrOwnerDied", err)
		}
		for range pids {
			if err := <-ended; err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Error(err)
			}
		}
	})

	// The key is 32 random bytes, the same in children of children, and another in another program. (AUTH-01
	// and AUTH-02 say that it is refused.)
	t.Run("SEED-05", func(t *testing.T) {
		key := process.AuthKey()
		if len(key) != 32 || bytes.Equal(key, make([]byte, 32)) {
			t.Errorf("the key is %x", key)
		}
		p := tellsKey.Start(t, process.None{})
		for range 2 { // the child's, and its child's
			if got, want := p.Line(), fmt.Sprintf("%x", key); got != want {
				t.Errorf("a child's key is %s, want %s", got, want)
			}
		}
		key[0]++
		if bytes.Equal(process.AuthKey(), key) {
			t.Error("AuthKey gave its own slice away")
		}
		code, stdout, stderr := finished(t, program(t, "key"))
		if code != 0 || len(strings.TrimSpace(stdout)) != 64 || strings.TrimSpace(stdout) == fmt.Sprintf("%x", process.AuthKey()) {
			t.Errorf("another program: exit code %d, %q, %q", code, stdout, stderr)
		}
		defer process.SetAuthKey(process.AuthKey())
		process.SetAuthKey([]byte("ours"))
		q := tellsKey.Start(t, process.None{})
		if got, want := q.Line(), fmt.Sprintf("%x", "ours"); got != want {
			t.Errorf("a child's key is %s, want what was set", got)
		}
	})
}

// startedWith is GOMAXPROCS at the start: tests may change it.
var startedWith = runtime.GOMAXPROCS(0)

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

	tellsDaemon = proctest.NewRole("tells-daemon", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		var said [2]bool
		for i, daemon := range []bool{false, true} {
			p, err := process.Start(ctx, untilDone, process.None{}, process.Options{Daemon: daemon})
			if err != nil {
				return err
			}
			said[i] = p.Daemon()
			if err := errors.Join(p.Kill()); err != nil {
				return err
			}
			p.Join(ctx)
		}
		c.Say("%t, child %t %t", process.Current().Daemon(), said[0], said[1])
		return nil
	})

	tellsKey = proctest.NewRole("tells-key", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		c.Say("%x", process.AuthKey())
		var out bytes.Buffer
		p, err := process.Start(ctx, printKey, process.None{}, process.Options{Stdout: &out})
		if err != nil {
			return err
		}
		err = p.Join(ctx)
		c.Say("%s", out.String())
		return err
	})

	countsCPUs = proctest.NewRole("counts-cpus", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		c.Say("%d %d %q", runtime.NumCPU(), runtime.GOMAXPROCS(0), os.Getenv("GOMAXPROCS"))
		return nil
	})

	listsDescriptors = process.Register("lists-descriptors", func(ctx context.Context, _ process.None) error {
		var numbers []string
		for fd := range 1024 {
			if _, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && !ofRuntime(fd) {
				numbers = append(numbers, strconv.Itoa(fd))
			}
		}
		fmt.Println(strings.Join(numbers, " "))
		return nil
	})

	defers = proctest.NewRole("defers", func(ctx context.Context, c *proctest.Child, _ process.None) error {
		defer c.Say("first")
		defer c.Say("second")
		told := make(chan struct{})
		go func() {
			defer close(told)
			if ctx.Err() == nil {
				c.Hear()
			}
		}()
		c.Say("running")
		select {
		case <-told:
		case <-ctx.Done():
		}
		return nil
	})

	logs = process.Register("logs", func(ctx context.Context, level string) error {
		o := new(slog.HandlerOptions)
		var l slog.Level
		if err := l.UnmarshalText([]byte(level)); err != nil {
			return err
		}
		o.Level = l
		o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
		log := slog.New(slog.NewTextHandler(os.Stderr, o)).With("process", process.Current().Name())
		log.Info("first")
		log.Warn("second")
		log.Error("third")
		return nil
	})

	takesAndStarts = proctest.NewRole("takes-and-starts", func(ctx context.Context, c *proctest.Child, g Given) error {
		if err := g.L.Acquire(ctx); err != nil {
			return err
		}
		p, err := process.Start(ctx, untilDone, process.None{})
		if err != nil {
			return err
		}
		q, err := process.Command(ctx, []string{"sleep", "1000"}, nil)
		if err != nil {
			return err
		}
		c.Say("%d %d", p.Pid(), q.Pid())
		<-ctx.Done()
		return ctx.Err()
	})

	leavesChild = process.Register("leaves-child", func(ctx context.Context, _ process.None) error {
		fmt.Print("parent")
		_, err := process.Start(ctx, printText, " child")
		return err
	})
)

// inheritable are the numbers of descriptors without close-on-exec.
func inheritable() (numbers []string) {
	for _, fd := range openFiles() {
		info, err := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
		_, flags, ok := strings.Cut(string(info), "flags:\t")
		line, _, _ := strings.Cut(flags, "\n")
		bits, e := strconv.ParseUint(line, 8, 64)
		if err == nil && ok && e == nil && bits&syscall.O_CLOEXEC == 0 {
			numbers = append(numbers, strconv.Itoa(fd))
		}
	}
	return numbers
}

// ofRuntime reports whether a descriptor is one that Go's runtime opens for itself.
func ofRuntime(fd int) bool {
	target, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	return err == nil && (strings.HasPrefix(target, "anon_inode:[event") || strings.HasPrefix(target, "/sys/fs/cgroup/")) // which tell it GOMAXPROCS
}

var printKey = process.Register("print-key", func(ctx context.Context, _ process.None) error {
	fmt.Printf("%x", process.AuthKey())
	return nil
})

func init() {
	linuxPrograms["key"] = func() {
		process.Main(func(ctx context.Context) error {
			fmt.Printf("%x\n", process.AuthKey())
			return nil
		})
	}
}
