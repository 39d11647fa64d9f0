package shm_test

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// forker is a program in another language that takes part in a segment and forks.
type forker struct {
	t      *testing.T
	cmd    *exec.Cmd
	lines  *bufio.Reader
	stderr bytes.Buffer
}

// startForker starts a program with files as 3, 4, …
func startForker(t *testing.T, files []*os.File, args ...string) *forker {
	t.Helper()
	proctest.Watch(t)
	f := &forker{t: t, cmd: exec.Command(args[0], args[1:]...)}
	f.cmd.ExtraFiles = files
	f.cmd.Env = append(os.Environ(), "GOMAXPROCS=4")
	hear, tell, err := os.Pipe()
	proctest.Must(t, err)
	read, say, err := os.Pipe()
	proctest.Must(t, err)
	errors, stderr, err := os.Pipe()
	proctest.Must(t, err)
	f.cmd.Stdin, f.cmd.Stdout, f.cmd.Stderr = hear, say, stderr
	err = f.cmd.Start()
	hear.Close()
	say.Close()
	stderr.Close()
	proctest.Must(t, err)
	f.lines = bufio.NewReader(read)
	t.Cleanup(func() {
		f.cmd.Process.Kill()
		f.cmd.Wait()
		tell.Close()
		f.stderr.ReadFrom(errors) // until the forked child has ended
		read.Close()
		errors.Close()
		if t.Failed() {
			t.Logf("stderr: %s", f.stderr.String())
		}
	})
	return f
}

// words are the next n lines, sorted.
func (f *forker) words(n int) (words []string) {
	f.t.Helper()
	for range n {
		line, err := f.lines.ReadString('\n')
		if err != nil {
			f.t.Fatalf("%v after %q", err, words)
		}
		words = append(words, strings.TrimSpace(line))
	}
	slices.Sort(words)
	return words
}

// dies kills the program, while its forked child lives, and wants everybody to find it dead: at once if the child has
// closed what its parent's life was bound to, else when somebody has waited for it.
func (f *forker) dies(seg *shm.Segment, id uint32, l *locks.Lock, closed bool) {
	f.t.Helper()
	if seg.Dead(id) {
		f.t.Error("dead before its end")
	}
	if ok, err := l.TryAcquire(); ok || err != nil {
		f.t.Errorf("TryAcquire of what it holds: %v, %v", ok, err)
	}
	f.cmd.Process.Kill()
	if !closed || sys.AwaitExit(f.cmd.Process.Pid) != nil {
		f.cmd.Process.Wait()
	}
	if !seg.Dead(id) {
		f.t.Fatal("a killed process lives by one that was forked from it")
	}
	if err := l.Acquire(f.t.Context()); !errors.Is(err, locks.ErrOwnerDied) {
		f.t.Errorf("Acquire: %v, want ErrOwnerDied", err)
	}
}

// tool finds a program or skips the test.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Skipf("needs %s", names[0])
	return ""
}

// compile makes a C program of testdata.
func compile(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	out, err := exec.Command(tool(t, "gcc", "cc"), "-O2", "-Wall", "-o", program, "testdata/"+name+".c", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// A process that C or Python forks from one that has a segment gets ErrForked and harms its parent in no way; and it
// does not keep its parent alive when that is killed, whether it calls anything or not.
func TestForked(t *testing.T) {
	tool(t, "gcc", "cc")
	library := filepath.Join(t.TempDir(), "libforked.so")
	build := exec.Command("go", "build", "-buildmode=c-shared", "-o", library, "./testdata/forked")
	build.Env = append(os.Environ(), "CGO_ENABLED=1", "GOARCH=", "GOFLAGS=-buildvcs=false")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	programs := map[string]func(t *testing.T) []string{
		"c":      func(t *testing.T) []string { return []string{compile(t, "forker")} },
		"python": func(t *testing.T) []string { return []string{tool(t, "python3"), "testdata/forker.py"} },
	}
	for language, program := range programs {
		for _, how := range []string{"calls", "silent"} {
			t.Run(language+"/"+how, func(t *testing.T) {
				args := program(t)
				seg := proctest.Segment(t, 1)
				l, err := locks.NewLock(seg, "")
				proctest.Must(t, err)
				handle, err := l.MarshalBinary()
				proctest.Must(t, err)
				gift, err := seg.Prepare()
				proctest.Must(t, err)
				args = append(args, library, fmt.Sprint(gift.Owner), hex.EncodeToString(handle), how)
				f := startForker(t, []*os.File{gift.Memory, gift.Alive}, args...)
				gift.Sent()
				if got := f.words(2); !slices.Equal(got, []string{"child", "parent"}) {
					t.Fatalf("it said %q", got)
				}
				f.dies(seg, gift.Owner, l, how == "calls")
			})
		}
	}
}

// Programs in other languages that keep to docs/LAYOUT.md take part in a segment, and fork, like Go programs.
func TestPeers(t *testing.T) {
	for language, program := range map[string]func(t *testing.T) []string{
		"c": func(t *testing.T) []string { return []string{compile(t, "peer")} },
		"python": func(t *testing.T) []string {
			python := tool(t, "python3")
			if exec.Command(python, "-c", `import ctypes; ctypes.CDLL("libatomic.so.1")`).Run() != nil {
				t.Skip("needs libatomic.so.1, which comes with gcc")
			}
			return []string{python, "testdata/peer.py"}
		},
	} {
		t.Run(language, func(t *testing.T) {
			args := program(t)
			seg := proctest.Segment(t, 1)
			l, err := locks.NewLock(seg, "")
			proctest.Must(t, err)
			args = append(args, fmt.Sprint(shm.PayloadAt(l.Handle())))
			f := startForker(t, []*os.File{shm.File(seg)}, args...)
			words := f.words(2)
			id, err := strconv.ParseUint(words[0], 10, 32)
			if err != nil || words[1] != "child" {
				t.Fatalf("it said %q", words)
			}
			if err := seg.Check(); err != nil {
				t.Error(err)
			}
			if !slices.ContainsFunc(seg.Participants(), func(p shm.Participant) bool {
				return p.Pid == f.cmd.Process.Pid && p.Alive && !p.Since.IsZero()
			}) {
				t.Errorf("participants: %+v", seg.Participants())
			}
			f.dies(seg, uint32(id), l, true)
			if err := seg.Check(); err != nil {
				t.Error(err)
			}
		})
	}
}
