package process_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
)

func start[A any](t testing.TB, f process.Func[A], a A, opts ...process.Options) *process.Process {
	t.Helper()
	p, err := process.Start(t.Context(), f, a, opts...)
	if err != nil {
		t.Fatal(err)
	}
	proctest.Watch(t)
	return p
}

// TestLargeArgument: Start does not wait for a reader of what no socket holds, and all of it arrives.
func TestLargeArgument(t *testing.T) {
	size := 64 << 20
	if testing.Short() {
		size = 4 << 20
	}
	data := make([]byte, size)
	rand.NewChaCha8([32]byte{1}).Read(data)
	join(t, start(t, sum, SumArgs{data, sha256.Sum256(data)}))

	data = data[:4<<20]
	a := SumArgs{data, sha256.Sum256(data)}
	a.Sum[0]++
	if err := start(t, sum, a).Join(context.Background()); err == nil {
		t.Error("another sum was taken for right")
	}
	a.Sum[0]--

	// A context that ends before the argument has been read.
	ctx, cancel := context.WithCancel(t.Context())
	p, err := process.Start(ctx, sum, a, process.Options{Grace: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := p.Join(context.Background()); !errors.Is(err, context.Canceled) {
		t.Errorf("Join after the context ended: %v, want Canceled", err)
	}

	// A child that is killed before it has read it.
	p = start(t, sum, a)
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	p.Join(context.Background())
	if code, ok := p.ExitCode(); code != -9 || !ok {
		t.Errorf("ExitCode %d, %t, want -9", code, ok)
	}
}

func TestOptions(t *testing.T) {
	var out, errout bytes.Buffer
	reset := func() process.Options {
		out.Reset()
		errout.Reset()
		return process.Options{Stdout: &out, Stderr: &errout}
	}
	check := func(what, want string) {
		t.Helper()
		if out.String() != want || errout.Len() != 0 {
			t.Errorf("%s: stdout %q, stderr %q, want %q", what, out.String(), errout.String(), want)
		}
	}

	o := reset()
	join(t, start(t, printName, process.None{}, o))
	if got := out.String(); !strings.HasPrefix(got, "print-name-") {
		t.Errorf("default name %q", got)
	}
	o = reset()
	o.Name = "otto"
	p := start(t, printName, process.None{}, o)
	if p.Name() != "otto" {
		t.Errorf("Name is %q", p.Name())
	}
	join(t, p)
	check("Name", "otto\n")

	t.Setenv("SHOAL_TEST_OUTER", "outer")
	t.Setenv("SHOAL_TEST_BOTH", "outer")
	for name, want := range map[string]string{
		"SHOAL_TEST_OUTER": `"outer" true`,
		"SHOAL_TEST_BOTH":  `"inner" true`,
		"SHOAL_TEST_INNER": `"" true`,
		"SHOAL_CHILD":      `"" false`,
	} {
		o = reset()
		o.Env = []string{"SHOAL_TEST_INNER=", "SHOAL_TEST_BOTH=inner", "SHOAL_CHILD=nonsense"}
		join(t, start(t, getenv, name, o))
		check(name, want)
	}

	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o = reset()
	o.Dir = dir
	join(t, start(t, getwd, process.None{}, o))
	check("Dir", dir)

	join(t, start(t, copyInput, process.None{}, reset()))
	check("no Stdin", "")
	o = reset()
	o.Stdin = strings.NewReader("read me")
	join(t, start(t, copyInput, process.None{}, o))
	check("Stdin from a reader", "read me")
	file := tempFile(t, "file me")
	o = reset()
	o.Stdin = file
	join(t, start(t, copyInput, process.None{}, o))
	check("Stdin from a file", "file me")

	o = reset()
	o.Files = []*os.File{tempFile(t, "one,"), tempFile(t, "two")}
	join(t, start(t, readFiles, 2, o))
	check("Files", "one,two")

	file = tempFile(t, "")
	o = reset()
	o.Stdout = file
	join(t, start(t, printText, "to a file", o))
	if got, err := os.ReadFile(file.Name()); string(got) != "to a file" || err != nil {
		t.Errorf("Stdout to a file: %q, %v", got, err)
	}

	o = reset()
	o.Name, o.Prefix = "p", true
	join(t, start(t, printText, "one\n\ntwo", o))
	check("Prefix", "p: one\np: \np: two\n")

	o = reset()
	o.Stderr = &out
	join(t, start(t, printBoth, process.None{}, o))
	var want strings.Builder
	for i := range 100 {
		fmt.Fprintf(&want, "out %d\nerr %d\n", i, i)
	}
	check("one writer for both", want.String())

	func() {
		defer func() {
			if recover() == nil {
				t.Error("two Options did not panic")
			}
		}()
		process.Start(t.Context(), nothing, process.None{}, o, o)
	}()
}

func tempFile(t *testing.T, content string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(content); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		t.Fatal(err)
	}
	return f
}

// writerFunc is a writer that cannot be compared.
type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// TestOutputComplete: what the child wrote is there when it is done, though the writer is slower than the
// child's end.
func TestOutputComplete(t *testing.T) {
	for _, size := range []int{50 << 10, 1 << 20} { // less and more than a pipe holds
		text := strings.Repeat("0123456789abcdef", size/16)
		started := make(chan int, 1)
		var got strings.Builder
		p := start(t, printText, text, process.Options{Stdout: writerFunc(func(p []byte) (int, error) {
			if got.Len() == 0 && size < 64<<10 {
				// Until it has ended and its parent has noticed, with the rest still in the pipe.
				for pid := <-started; statOf(pid) != ""; {
					runtime.Gosched()
				}
				for range 1000 {
					runtime.Gosched()
				}
			}
			return got.Write(p)
		})})
		started <- p.Pid()
		<-p.Done()
		if got.String() != text {
			t.Errorf("%d bytes, want %d", got.Len(), len(text))
		}
		join(t, p)
	}

	// A writer that fails is not called again; the child finds the pipe broken.
	calls := 0
	p := start(t, printText, strings.Repeat("x", 1<<20), process.Options{Stdout: writerFunc(func(p []byte) (int, error) {
		calls++
		return 0, errors.New("full")
	})})
	if err := p.Join(context.Background()); err == nil || calls != 1 {
		t.Errorf("a writer that fails: %v, %d calls", err, calls)
	}
}

// TestOutputHeldOpen: a process that the child leaves behind keeps the pipe open; nobody waits for it, and
// what the child itself wrote is there.
func TestOutputHeldOpen(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() // ends the process left behind
	defer r.Close()
	var out bytes.Buffer
	p := start(t, leavesSomebody, process.None{}, process.Options{Stdout: &out, Files: []*os.File{r}})
	join(t, p)
	if out.String() != "left" {
		t.Errorf("%q, want left", out.String())
	}
	if _, err := w.WriteString("is there anybody?"); err != nil { // EPIPE if it had ended
		t.Error(err)
	}
}

func TestStartErrors(t *testing.T) {
	closed, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	var out bytes.Buffer
	for _, c := range []struct {
		name string
		ctx  context.Context
		o    process.Options
		want error
	}{
		{"Dir", t.Context(), process.Options{Dir: "/does/not/exist"}, fs.ErrNotExist},
		{"Dir is no directory", t.Context(), process.Options{Dir: "/proc/self/exe"}, syscall.ENOTDIR},
		{"Env", t.Context(), process.Options{Env: []string{"A=\x00"}}, nil},
		{"nil file", t.Context(), process.Options{Files: []*os.File{nil}}, os.ErrInvalid},
		{"closed file", t.Context(), process.Options{Files: []*os.File{closed}}, os.ErrClosed},
		{"ctx", ended, process.Options{}, context.Canceled},
	} {
		t.Run(c.name, func(t *testing.T) {
			before, goroutines := openFiles(), runtime.NumGoroutine()
			c.o.Stdout, c.o.Stderr, c.o.Stdin = &out, io.Discard, strings.NewReader("x")
			p, err := process.Start(c.ctx, nothing, process.None{}, c.o)
			if err == nil || p != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("Start: %v, %v, want %v", p, err, c.want)
			}
			if after := openFiles(); !slices.Equal(before, after) {
				t.Errorf("descriptors %v, before %v", after, before)
			}
			if n := runtime.NumGoroutine(); n > goroutines {
				t.Errorf("%d goroutines, before %d", n, goroutines)
			}
			if c := process.Children(); len(c) != 0 {
				t.Errorf("children %v", c)
			}
		})
	}
}

func TestDescriptorLimit(t *testing.T) {
	if err := limits.Start(t, process.None{}, process.Options{Stderr: io.Discard}).Wait(); err != nil {
		t.Error(err)
	}
}

// TestManyChildren wants nothing to be left of children that ended in whatever way, and no thread for one
// that runs.
func TestManyChildren(t *testing.T) {
	join(t, start(t, nothing, process.None{})) // what is opened once is open now
	before := openFiles()
	threads := threadCount(t)

	var ps []*process.Process
	for range 100 {
		ps = append(ps, start(t, nothing, process.None{}))
	}
	if err := process.JoinAll(context.Background(), ps...); err != nil {
		t.Error(err)
	}
	ps = nil
	for range 50 {
		ps = append(ps, start(t, untilDone, process.None{}))
	}
	if n := threadCount(t); n > threads+25 {
		t.Errorf("%d threads with 50 children, %d before", n, threads)
	}
	if n := len(process.Children()); n != 50 {
		t.Errorf("%d children", n)
	}
	for _, p := range ps {
		if err := p.Kill(); err != nil {
			t.Error(err)
		}
	}
	for _, p := range ps {
		var e *process.ExitError
		err := p.Join(context.Background())
		if !errors.As(err, &e) || e.Code != -9 || e.Signal != syscall.SIGKILL || e.Pid != p.Pid() {
			t.Errorf("Join: %v", err)
		}
	}
	if after := openFiles(); !slices.Equal(before, after) {
		t.Errorf("descriptors %v, before %v", after, before)
	}
	if c := process.Children(); len(c) != 0 {
		t.Errorf("children %v", c)
	}
	for _, p := range ps {
		if _, err := os.Stat(fmt.Sprintf("/proc/%d/stat", p.Pid())); err == nil && strings.Contains(statOf(p.Pid()), ") Z") {
			t.Errorf("process %d is a zombie", p.Pid())
		}
	}
}

func statOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return string(text)
}

func threadCount(t *testing.T) int {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nThreads:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestWithoutPidfd(t *testing.T) {
	defer process.WithoutPidfd()()
	p := holds.Start(t, process.None{})
	p.WaitLine("holding")
	if !p.Process().Alive() {
		t.Error("not alive")
	}
	p.Tell("go on")
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	q := start(t, untilDone, process.None{})
	if err := q.Kill(); err != nil {
		t.Fatal(err)
	}
	q.Join(context.Background())
	if code, ok := q.ExitCode(); code != -9 || !ok {
		t.Errorf("ExitCode: %d, %t", code, ok)
	}
}

func TestContext(t *testing.T) {
	t.Run("ends", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		p, err := process.Start(ctx, untilDone, process.None{}, process.Options{Grace: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Join(canceled()); err != context.Canceled {
			t.Errorf("Join with an ended context: %v", err)
		}
		cancel()
		var e *process.ExitError
		if err := p.Join(context.Background()); !errors.Is(err, context.Canceled) || !errors.As(err, &e) || e.Code != 1 {
			t.Errorf("Join: %v", err)
		}
	})
	for _, grace := range []time.Duration{-1, time.Millisecond} {
		t.Run(fmt.Sprintf("grace=%v", grace), func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			p, err := process.Start(ctx, hangs, process.None{}, process.Options{Grace: grace, Files: []*os.File{w}})
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(r, make([]byte, 2)); err != nil {
				t.Fatal(err)
			}
			cancel(errFirst)
			err = p.Join(context.Background())
			if code, _ := p.ExitCode(); code != -9 {
				t.Errorf("exit code %d, want -9", code)
			}
			if !errors.Is(err, context.Canceled) || !errors.Is(err, errFirst) || !strings.Contains(err.Error(), "it had not ended") {
				t.Errorf("the error does not say why: %v", err)
			}
		})
	}
	t.Run("stopped", func(t *testing.T) {
		// A stopped child hears nothing; with a large argument its socket is full, and the parent's goroutine
		// stuck.
		ctx, cancel := context.WithCancel(t.Context())
		p, err := process.Start(ctx, sum, SumArgs{Data: make([]byte, 4<<20)}, process.Options{Grace: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(p.Pid(), syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		cancel()
		if p.Join(context.Background()) == nil {
			t.Error("it succeeded")
		}
	})
}

// hangs looks at no context.
var hangs = process.Register("hangs", func(ctx context.Context, _ process.None) error {
	fmt.Fprint(os.NewFile(3, ""), "ok")
	select {}
})

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func TestRun(t *testing.T) {
	proctest.Watch(t)
	if err := process.Run(t.Context(), nothing); err != nil {
		t.Error(err)
	}
	if err := process.Run(t.Context(), nothing, process.None{}, process.None{}, process.None{}); err != nil {
		t.Error(err)
	}
	err := process.Run(t.Context(), failIfFirst, 1, 2, 0, 3)
	if !errors.Is(err, errFirst) || errors.Is(err, context.Canceled) {
		t.Errorf("Run: %v, want the first failure", err)
	}
	if c := process.Children(); len(c) != 0 {
		t.Errorf("children %v", c)
	}

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(time.Millisecond, cancel)
	if err := process.Run(ctx, untilDone, process.None{}, process.None{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Run whose context ends: %v", err)
	}
	if err := process.Run(canceled(), nothing, process.None{}); err != context.Canceled && !errors.Is(err, context.Canceled) {
		t.Errorf("Run with an ended context: %v", err)
	}

	// The third cannot be started.
	err = process.Run(t.Context(), stubborn, awkward(1), awkward(2), awkward(-1), awkward(4))
	if !errors.Is(err, errAwkward) {
		t.Errorf("Run of what cannot be encoded: %v", err)
	}
	if c := process.Children(); len(c) != 0 {
		t.Errorf("children %v", c)
	}
	if process.Run(t.Context(), process.Func[int]{}, 1) == nil {
		t.Error("the zero Func ran")
	}
}

// awkward cannot be encoded if it is negative.
type awkward int

var errAwkward = errors.New("awkward")

func (a awkward) MarshalBinary() ([]byte, error) {
	if a < 0 {
		return nil, errAwkward
	}
	return strconv.AppendInt(nil, int64(a), 10), nil
}

func (a *awkward) UnmarshalBinary(b []byte) error {
	n, err := strconv.Atoi(string(b))
	*a = awkward(n)
	return err
}

var stubborn = process.Register("stubborn", func(ctx context.Context, a awkward) error {
	<-ctx.Done()
	return fmt.Errorf("%d: %w", a, ctx.Err())
})

// TestDecodingFails: the child says so.
func TestDecodingFails(t *testing.T) {
	err := start(t, unwelcome, deaf{}).Join(context.Background())
	var remote *process.RemoteError
	if !errors.As(err, &remote) || !errors.Is(err, errAwkward) || !strings.Contains(remote.Text, "unwelcome") {
		t.Errorf("Join: %v", err)
	}
}

// deaf can be encoded, not decoded.
type deaf struct{}

func (deaf) MarshalBinary() ([]byte, error) { return []byte("deaf"), nil }
func (*deaf) UnmarshalBinary([]byte) error  { return errAwkward }

var (
	unwelcome = process.Register("unwelcome", func(ctx context.Context, _ deaf) error { return nil })
	_         = process.RegisterError("process_test: awkward", errAwkward)
)

// TestStartFromManyGoroutines is for the race detector.
func TestStartFromManyGoroutines(t *testing.T) {
	proctest.Watch(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p, err := process.Start(t.Context(), fail, strconv.Itoa(i))
			if err != nil {
				t.Error(err)
				return
			}
			process.Children()
			if err := p.Join(context.Background()); err == nil || !strings.HasSuffix(err.Error(), ": "+strconv.Itoa(i)) {
				t.Errorf("Join: %v", err)
			}
		})
	}
	wg.Wait()
}
