package process_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

func init() {
	// a program that another one starts by Command, with objects
	linuxPrograms["given"] = func() {
		process.Main(func(ctx context.Context) error {
			var g Given
			g.L, g.B = new(locks.Lock), new(shm.Block)
			if err := errors.Join(process.Given("lock", g.L), process.Given("block", g.B)); err != nil {
				return err
			}
			if err := process.Given("other", new(shm.Block)); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("something that was not given: %w", err)
			}
			if err := process.Given("lock", new(shm.Block)); !errors.Is(err, shm.ErrKind) {
				return fmt.Errorf("a lock taken for a block: %w", err)
			}
			if _, ok := os.LookupEnv("SHOAL_SEGMENTS"); ok {
				return errors.New("SHOAL_SEGMENTS is still set")
			}
			if err := g.use(ctx); err != nil {
				return err
			}
			// A program that this one starts has none of its descriptors.
			left, err := exec.Command("ls", "-l", "/proc/self/fd").Output()
			if err != nil || strings.Contains(string(left), "memfd") {
				return fmt.Errorf("%w: a child's descriptors:\n%s", err, left)
			}
			fmt.Println(process.Parent() == nil, g.B.Segment().Info().Living)
			// Its own children get what they need as ever.
			return process.Run(ctx, countsInGiven, counted{g.B})
		})
	}
	linuxPrograms["commands"] = func() {
		process.Main(func(ctx context.Context) error {
			var pids []int
			for _, argv := range [][]string{{"sleep", "1000"}, {os.Getenv("SHOAL_TEST_C_PROGRAM")}} {
				if argv[0] == "" {
					continue
				}
				p, err := process.Command(ctx, argv, nil)
				if err != nil {
					return err
				}
				pids = append(pids, p.Pid())
			}
			for range 2 {
				r, w, err := os.Pipe()
				if err != nil {
					return err
				}
				p, err := process.Start(ctx, staysForever, true, process.Options{Files: []*os.File{w}})
				if err != nil {
					return err
				}
				w.Close()
				if _, err := io.ReadFull(r, make([]byte, 2)); err != nil {
					return err
				}
				pids = append(pids, p.Pid())
			}
			fmt.Println(strings.Trim(fmt.Sprint(pids), "[]"))
			io.Copy(io.Discard, os.Stdin)
			select {}
		})
	}
}

type counted struct{ B *shm.Block }

var countsInGiven = process.Register("counts-in-given", func(ctx context.Context, b counted) error {
	b.B.Uint32(4).Add(1)
	return nil
})

func command(t *testing.T, argv []string, objects map[string]shm.Object, opts ...process.Options) *process.Process {
	t.Helper()
	p, err := process.Command(t.Context(), argv, objects, opts...)
	proctest.Must(t, err)
	proctest.Watch(t)
	return p
}

// TestCommand runs other executables with all that Options can say.
func TestCommand(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	proctest.Must(t, err)
	var out, errout bytes.Buffer
	p := command(t, []string{"sh", "-c", "pwd; echo $0 $1 $SHOAL_TEST_X; cat; cat <&3; echo err >&2; exit 3", "a", "b c"}, nil, process.Options{
		Name: "shell", Prefix: true, Dir: dir, Env: []string{"SHOAL_TEST_X=x"}, Stdin: strings.NewReader("in\n"),
		Stdout: &out, Stderr: &errout, Files: []*os.File{tempFile(t, "file\n")},
	})
	err = p.Join(context.Background())
	var e *process.ExitError
	if !errors.As(err, &e) || e.Code != 3 || e.Name != "shell" || e.Pid != p.Pid() || e.Err != nil {
		t.Errorf("Join: %v, want exit code 3", err)
	}
	if want := "shell: " + dir + "\nshell: a b c x\nshell: in\nshell: file\n"; out.String() != want || errout.String() != "shell: err\n" {
		t.Errorf("stdout %q, stderr %q, want %q", out.String(), errout.String(), want)
	}

	p = command(t, []string{"true"}, nil)
	if !strings.HasPrefix(p.Name(), "true-") {
		t.Errorf("the default name is %q", p.Name())
	}
	join(t, p)

	p = command(t, []string{"sleep", "1000"}, nil)
	if c := process.Children(); len(c) != 1 || c[0] != p || !p.Alive() {
		t.Errorf("Children: %v", c)
	}
	proctest.Must(t, p.Interrupt())
	if err := p.Join(context.Background()); !errors.As(err, &e) || e.Signal != syscall.SIGINT {
		t.Errorf("Join after Interrupt: %v", err)
	}
}

func TestCommandErrors(t *testing.T) {
	seg := proctest.Segment(t, 1)
	b, err := shm.NewBlock(seg, "", 64)
	proctest.Must(t, err)
	for name, c := range map[string]struct {
		argv    []string
		objects map[string]shm.Object
		ctx     context.Context
		want    error
	}{
		"nothing":    {nil, nil, t.Context(), fs.ErrInvalid},
		"no name":    {[]string{""}, nil, t.Context(), fs.ErrInvalid},
		"not found":  {[]string{"shoal-test-no-such-program"}, nil, t.Context(), exec.ErrNotFound},
		"not there":  {[]string{"/shoal/test"}, map[string]shm.Object{"b": b}, t.Context(), fs.ErrNotExist},
		"no program": {[]string{"/dev/null"}, map[string]shm.Object{"b": b}, t.Context(), fs.ErrPermission},
		"key":        {[]string{"true"}, map[string]shm.Object{"a=b": b}, t.Context(), fs.ErrInvalid},
		"empty key":  {[]string{"true"}, map[string]shm.Object{"": b}, t.Context(), fs.ErrInvalid},
		"nil object": {[]string{"true"}, map[string]shm.Object{"b": nil}, t.Context(), fs.ErrInvalid},
		"ended":      {[]string{"true"}, map[string]shm.Object{"b": b}, canceled(), context.Canceled},
	} {
		p, err := process.Command(c.ctx, c.argv, c.objects)
		if p != nil || !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	living(t, seg, 1)
	if c := process.Children(); len(c) != 0 {
		t.Errorf("children %v", c)
	}
}

// TestCommandContext: SIGTERM when the context ends, and SIGKILL after the grace.
func TestCommandContext(t *testing.T) {
	for _, c := range []struct {
		script string
		grace  time.Duration
		want   syscall.Signal
	}{
		{"echo ready; exec sleep 1000", time.Hour, syscall.SIGTERM},
		{"trap '' TERM; echo ready; while :; do sleep 0.01; done", time.Millisecond, syscall.SIGKILL},
	} {
		r, w, err := os.Pipe()
		proctest.Must(t, err)
		defer r.Close()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		p, err := process.Command(ctx, []string{"sh", "-c", c.script}, nil, process.Options{Stdout: w, Grace: c.grace})
		w.Close()
		proctest.Must(t, err)
		proctest.Watch(t)
		if _, err := bufio.NewReader(r).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		cancel()
		var e *process.ExitError
		if err := p.Join(context.Background()); !errors.As(err, &e) || e.Signal != c.want {
			t.Errorf("%s: %v, want %v", c.script, err, c.want)
		}
	}
}

// TestCommandGoProgram: another Go program opens what it was given, and takes part in the segment as its own
// participant.
func TestCommandGoProgram(t *testing.T) {
	g, _ := newGiven(t)
	exe, err := os.Executable()
	proctest.Must(t, err)
	var out bytes.Buffer
	p := command(t, []string{exe}, map[string]shm.Object{"lock": g.L, "block": g.B}, process.Options{
		Env: []string{programVariable + "=given"}, Stdout: &out, Stderr: &out,
	})
	if err := p.Join(context.Background()); err != nil || out.String() != "true 2\n" {
		t.Errorf("%v: %s", err, out.String())
	}
	if n, m := g.B.Uint32(0).Load(), g.B.Uint32(4).Load(); n != 1 || m != 1 {
		t.Errorf("it counted %d and %d times, want 1 and 1", n, m)
	}
	living(t, g.B.Segment(), 1)
}

// TestCommandHoldsParticipant: a program that was given an object has it, as long as it runs, whatever it does.
func TestCommandHoldsParticipant(t *testing.T) {
	g, _ := newGiven(t)
	seg := g.B.Segment()
	p := command(t, []string{"sleep", "1000"}, map[string]shm.Object{"lock": g.L, "block": g.B})
	if n := seg.Info().Living; n != 2 {
		t.Errorf("%d participants, want 2", n)
	}
	proctest.Must(t, p.Kill())
	p.Join(context.Background())
	living(t, seg, 1)
}

// TestForeignSegments: SHOAL_SEGMENTS that was set by somebody else makes nobody close or use descriptors.
func TestForeignSegments(t *testing.T) {
	null, err := os.Open(os.DevNull)
	proctest.Must(t, err)
	defer null.Close()
	file := tempFile(t, "no segment")
	for _, text := range []string{
		"", " ", "x", uuid + ":3:4:1", uuid + ":3:3:1", uuid + ":4:4:1", uuid + ":900:901:1", uuid + ":4:5:1 " + uuid + ":4:5:1", uuid + ":4:5:1",
	} {
		cmd := program(t, "given", "SHOAL_SEGMENTS="+text, "SHOAL_HANDLE_lock="+uuid+"-1000-1")
		cmd.ExtraFiles = []*os.File{null, file, file}
		code, _, stderr := finished(t, cmd)
		if code != 1 || !strings.Contains(stderr, `given "lock": `) || !strings.Contains(stderr, `given "block": file does not exist`) {
			t.Errorf("%q: exit code %d, stderr %q", text, code, stderr)
		}
	}
}

// cProgram compiles testdata/given.c; the test is skipped where that is impossible.
func cProgram(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"gcc", "cc"} {
		if cc, err := exec.LookPath(name); err == nil {
			program := filepath.Join(t.TempDir(), "given")
			out, err := exec.Command(cc, "-O2", "-Wall", "-Werror", "-o", program, "testdata/given.c").CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return program
		}
	}
	t.Skip("needs a C compiler")
	return ""
}

// TestCommandCProgram: a C program finds its object by the environment, and adds to it.
func TestCommandCProgram(t *testing.T) {
	program := cProgram(t)
	g, _ := newGiven(t)
	g.B.Uint32(0).Store(41)
	var out bytes.Buffer
	p := command(t, []string{program, "block"}, map[string]shm.Object{"block": g.B}, process.Options{Stdout: &out, Stderr: &out})
	if err := p.Join(context.Background()); err != nil || g.B.Uint32(0).Load() != 42 {
		t.Errorf("%v: %s; the block has %d, want 42", err, out.String(), g.B.Uint32(0).Load())
	}
	if got, want := out.String(), fmt.Sprintf("%d\n", g.B.Segment().Self()); got == want || strings.TrimSpace(got) == "" {
		t.Errorf("it is participant %q, as this process is", got)
	}
	living(t, g.B.Segment(), 1)
}

// TestKilledProgramLeavesNobody: all children of a killed program end, of whatever language, and also those that are
// stopped.
func TestKilledProgramLeavesNobody(t *testing.T) {
	env := ""
	for _, name := range []string{"gcc", "cc"} {
		if _, err := exec.LookPath(name); err == nil {
			env = cProgram(t)
			break
		}
	}
	cmd := program(t, "commands", "SHOAL_TEST_C_PROGRAM="+env)
	out, err := cmd.StdoutPipe()
	proctest.Must(t, err)
	in, err := cmd.StdinPipe()
	proctest.Must(t, err)
	defer in.Close()
	proctest.Must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	proctest.Must(t, err)
	var pids []int
	for _, field := range strings.Fields(line) {
		pid, err := strconv.Atoi(field)
		proctest.Must(t, err)
		pids = append(pids, pid)
	}
	if len(pids) < 3 {
		t.Fatalf("children %v", pids)
	}
	stopped := pids[len(pids)-1]
	proctest.Must(t, syscall.Kill(stopped, syscall.SIGSTOP))
	proctest.Must(t, syscall.Kill(pids[0], syscall.SIGSTOP))
	ended := make(chan error, len(pids))
	for _, pid := range pids {
		go func() { ended <- sys.AwaitExit(pid) }()
	}
	proctest.Must(t, cmd.Process.Kill())
	cmd.Wait()
	for range pids {
		if err := <-ended; err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
}

// TestStarterThreadEnds: children outlive the goroutine that started them, also one that takes its thread with it.
func TestStarterThreadEnds(t *testing.T) {
	children := make(chan *process.Process)
	threads := make(chan int)
	r, w, err := os.Pipe()
	proctest.Must(t, err)
	defer w.Close()
	go onDyingThread(func() {
		threads <- syscall.Gettid()
		p, err := process.Start(context.Background(), copyInput, process.None{}, process.Options{Stdin: r, Stdout: io.Discard})
		if err != nil {
			t.Error(err)
		}
		q, err := process.Command(context.Background(), []string{"cat"}, nil, process.Options{Stdin: r, Stdout: io.Discard})
		if err != nil {
			t.Error(err)
		}
		children <- p
		children <- q
	})
	tid := <-threads
	p, q := <-children, <-children
	r.Close()
	proctest.Watch(t)
	for {
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", tid)); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	for _, p := range []*process.Process{p, q} {
		if err := p.Join(canceled()); !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with the thread: %v", err)
		}
	}
	w.Close()
	join(t, p)
	join(t, q)
}

// onDyingThread calls f on a thread that ends with it. The first thread of a Go program never does, so f gets
// another.
func onDyingThread(f func()) {
	runtime.LockOSThread()
	if syscall.Gettid() != os.Getpid() {
		f() // and the thread stays locked
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		onDyingThread(f)
	}()
	<-done
	runtime.UnlockOSThread()
}
