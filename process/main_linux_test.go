package process_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

func init() { maps.Copy(programs, linuxPrograms) }

var linuxPrograms = map[string]func(){
	// neither Init nor Main
	"bare": func() {
		if os.Getenv("SHOAL_CHILD") != "" { // the fork bomb that must not be: do not let it grow
			os.Exit(97)
		}
		_, err := process.Start(context.Background(), nothing, process.None{})
		fmt.Println(errors.Is(err, process.ErrInit), err)
		os.Exit(0)
	},
	"succeed": func() { process.Main(func(ctx context.Context) error { return nil }) },
	"fail": func() {
		process.Main(func(ctx context.Context) error {
			// One that ends with run's context, and would not otherwise.
			if _, err := process.Start(ctx, untilDone, process.None{}); err != nil {
				return err
			}
			return errors.New("no luck today")
		})
	},
	"join": func() {
		process.Main(func(ctx context.Context) error {
			for range 3 {
				if _, err := process.Start(ctx, printName, process.None{}); err != nil {
					return err
				}
			}
			return nil
		})
	},
	"lost": func() {
		process.Main(func(ctx context.Context) error {
			_, err := process.Start(ctx, fail, "nobody joins me")
			return err
		})
	},
	"signal": func() {
		process.Main(func(ctx context.Context) error {
			fmt.Println("running")
			<-ctx.Done()
			fmt.Println("ended")
			return nil
		})
	},
	"deaf": func() {
		process.Main(func(ctx context.Context) error {
			fmt.Println("running")
			<-ctx.Done()
			fmt.Println("ended")
			io.Copy(io.Discard, os.Stdin) // until the test ends
			return errors.New("nobody killed me")
		})
	},
	// its file is another by the time it starts a child
	"replaced": func() {
		process.Main(func(ctx context.Context) error {
			exe, err := os.Executable()
			if err != nil {
				return err
			}
			if err := os.Remove(exe); err != nil {
				return err
			}
			if err := os.WriteFile(exe, []byte("#!/bin/sh\necho the wrong program\n"), 0o700); err != nil {
				return err
			}
			return process.Run(ctx, printName, process.None{})
		})
	},
	// its children find no /proc; in a namespace of its own
	"no-proc": func() {
		if os.Getenv("SHOAL_CHILD") != "" {
			hideProc()
		}
		process.Main(startWithoutProc)
	},
	// its children see nothing but an empty directory
	"chroot": func() {
		if os.Getenv("SHOAL_CHILD") != "" {
			if err := errors.Join(syscall.Chroot(os.Getenv(rootVariable)), syscall.Chdir("/")); err != nil {
				fmt.Println("hiding /proc:", err)
				os.Exit(96)
			}
		}
		process.Main(startWithoutProc)
	},
	// its children belong to nobody
	"other-uid": func() {
		if os.Getenv("SHOAL_CHILD") != "" && os.Getuid() == 0 {
			exe, err := os.Executable()
			err = errors.Join(err, syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody))
			if err == nil {
				err = syscall.Exec(exe, os.Args, os.Environ())
			}
			fmt.Println("becoming nobody:", err)
			os.Exit(96)
		}
		process.Main(startAsNobody)
	},
	// told to ignore SIGINT, as shells do for background jobs; only exec keeps that
	"background": func() {
		if os.Getenv("SHOAL_TEST_IGNORING") == "" {
			signal.Ignore(os.Interrupt)
			os.Setenv("SHOAL_TEST_IGNORING", "1")
			fmt.Println(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
			os.Exit(98)
		}
		process.Main(func(ctx context.Context) error {
			status, err := os.ReadFile("/proc/self/status")
			if err != nil {
				return err
			}
			_, mask, _ := strings.Cut(string(status), "SigIgn:")
			var ignored uint64
			if _, err := fmt.Sscanf(mask, "%x", &ignored); err != nil {
				return err
			}
			if ignored&(1<<(syscall.SIGINT-1)) == 0 {
				return fmt.Errorf("SIGINT is not ignored: %x", ignored)
			}
			return nil
		})
	},
}

// mountsVariable has the test's mount namespace, of which the program must not be.
const mountsVariable = "SHOAL_TEST_MOUNTS"

// rootVariable has the directory that is to be all that a child sees.
const rootVariable = "SHOAL_TEST_ROOT"

// hideProc mounts something else over /proc.
func hideProc() {
	mounts, err := os.Readlink("/proc/self/ns/mnt")
	if err == nil && mounts == os.Getenv(mountsVariable) {
		err = errors.New("in the mount namespace of the test")
	}
	if err == nil {
		err = syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, "")
	}
	if err == nil {
		err = syscall.Mount("none", "/proc", "tmpfs", 0, "")
	}
	if err != nil {
		fmt.Println("hiding /proc:", err)
		os.Exit(96)
	}
}

// withoutProc uses what it was given, cannot make or hand over segments, and says so; then it waits to be
// killed.
var withoutProc = process.Register("without-proc", func(ctx context.Context, s Shared) error {
	if _, err := os.Stat("/proc/self"); err == nil {
		return errors.New("there is /proc")
	}
	if seg, err := shm.Anonymous(1); err == nil {
		seg.Close()
		return errors.New("a segment was made without /proc")
	} else if !strings.Contains(err.Error(), "needs /proc") {
		return fmt.Errorf("Anonymous: %w", err)
	}
	if _, err := shm.NewBlock(s.A.Segment(), "", 64); err != nil {
		return err
	}
	var asked shm.Block
	err := asked.UnmarshalBinary(s.A.Bytes()[8 : 8+29])
	if os.Getenv(rootVariable) == "" { // the parent does not find /proc either
		if !errors.Is(err, shm.ErrUnreachable) || !strings.Contains(err.Error(), "needs /proc") {
			return fmt.Errorf("a segment that its owner cannot give: %w", err)
		}
	} else if err != nil {
		return err
	} else if seg := asked.Segment(); seg.Dead(seg.Self()) || seg.Info().Living != 2 {
		return fmt.Errorf("a segment that was asked for: %+v", seg.Participants())
	}
	if err := process.Run(ctx, adds, s); err == nil || !strings.Contains(err.Error(), "needs /proc") {
		return fmt.Errorf("a segment was handed over without /proc: %w", err)
	}
	s.A.Uint32(0).Store(s.A.Segment().Self())
	<-ctx.Done()
	return ctx.Err()
})

func startWithoutProc(ctx context.Context) error {
	seg, err := shm.Anonymous(1)
	if err != nil {
		return err
	}
	b, err := shm.NewBlock(seg, "", 64)
	if err != nil {
		return err
	}
	other, g, err := newGuarded() // to be asked for
	if err != nil {
		return err
	}
	defer other.Close()
	copy(b.Bytes()[8:], g.Block)
	p, err := process.Start(ctx, withoutProc, Shared{A: b})
	if err != nil {
		return err
	}
	for b.Uint32(0).Load() == 0 && p.Alive() {
		runtime.Gosched()
	}
	id := b.Uint32(0).Load()
	if id == 0 {
		return p.Join(ctx)
	}
	if seg.Dead(id) {
		return errors.New("a child that runs is dead")
	}
	if err := p.Kill(); err != nil {
		return err
	}
	p.Join(ctx)
	if !seg.Dead(id) {
		return errors.New("a child that was killed lives")
	}
	if n := other.Info().Living; n != 1 {
		return fmt.Errorf("%d living participants of the segment that the child asked for", n)
	}
	fmt.Println("done")
	return nil
}

// TestChildWithoutProc: a child that finds no /proc, as in a sandbox, has what it was given, and its life is
// its own.
func TestChildWithoutProc(t *testing.T) {
	mounts, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	cmd := program(t, "no-proc", mountsVariable+"="+mounts)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	withoutProcIn(t, cmd)
}

// TestChildInChroot: the same where there is no file at all.
func TestChildInChroot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs to be root, for chroot")
	}
	withoutProcIn(t, program(t, "chroot", rootVariable+"="+t.TempDir()))
}

func withoutProcIn(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if cmd.Process == nil {
		t.Skipf("needs a mount namespace of its own: %v", err)
	}
	if strings.Contains(string(out), "hiding /proc") {
		t.Skipf("needs to mount: %s", out)
	}
	if err != nil || string(out) != "done\n" {
		t.Errorf("%v: %s", err, out)
	}
}

// TestReplacedProgram: a child is the program that runs, whatever has become of its file since: an update, or
// what "go run" leaves.
func TestReplacedProgram(t *testing.T) {
	cmd := program(t, "replaced")
	program, err := os.ReadFile(cmd.Path)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path = filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(cmd.Path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := finished(t, cmd); code != 0 || stdout != "print-name-1\n" {
		t.Errorf("exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
}

// program is a run of the test binary as another program.
func program(t *testing.T, name string, env ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	proctest.Watch(t)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(append(os.Environ(), programVariable+"="+name), env...)
	return cmd
}

// finished runs cmd to its end.
func finished(t *testing.T, cmd *exec.Cmd) (code int, stdout, stderr string) {
	t.Helper()
	var out, errout bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errout
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), errout.String()
}

func TestMainExits(t *testing.T) {
	for _, c := range []struct {
		program string
		code    int
		stdout  []string // in any order of lines
		stderr  string   // somewhere in it
	}{
		{"bare", 0, []string{"true process: neither process.Init nor process.Main was called"}, ""},
		{"succeed", 0, nil, ""},
		{"fail", 1, nil, ".test: no luck today\n"},
		{"join", 0, []string{"print-name-1", "print-name-2", "print-name-3"}, ""},
		{"lost", 0, nil, "nobody joins me"},
		{"background", 0, nil, ""},
	} {
		t.Run(c.program, func(t *testing.T) {
			code, stdout, stderr := finished(t, program(t, c.program))
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			lines := strings.Fields(stdout)
			if c.program == "bare" {
				lines = strings.Split(strings.TrimSpace(stdout), "\n")
			}
			if !sameLines(lines, c.stdout) {
				t.Errorf("stdout %q, want the lines %q", stdout, c.stdout)
			}
			if !strings.Contains(stderr, c.stderr) || c.stderr == "" && stderr != "" {
				t.Errorf("stderr %q, want %q in it", stderr, c.stderr)
			}
		})
	}
}

func TestMainSignals(t *testing.T) {
	for _, c := range []struct {
		program string
		signals []syscall.Signal // each after a line
		code    int              // as Process.ExitCode has it
	}{
		{"signal", []syscall.Signal{syscall.SIGINT}, 0},
		{"signal", []syscall.Signal{syscall.SIGTERM}, 0},
		{"deaf", []syscall.Signal{syscall.SIGINT, syscall.SIGINT}, -2},
		{"deaf", []syscall.Signal{syscall.SIGTERM, syscall.SIGINT}, -2},
		{"deaf", []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}, -15},
	} {
		t.Run(fmt.Sprint(c.program, c.signals), func(t *testing.T) {
			cmd := program(t, c.program)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if _, err := cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for i, word := range []string{"running", "ended"}[:len(c.signals)] {
				if _, err := fmt.Fscanln(out, &word); err != nil {
					t.Fatalf("waiting for %s: %v", word, err)
				}
				if err := cmd.Process.Signal(c.signals[i]); err != nil {
					t.Fatal(err)
				}
			}
			cmd.Wait()
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			code := status.ExitStatus()
			if status.Signaled() {
				code = -int(status.Signal())
			}
			if code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
		})
	}
}

// TestMarkerGuard sets SHOAL_CHILD for a program that nobody started as a child: it ends at once, and starts
// nothing.
func TestMarkerGuard(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	id := process.BuildID()
	for _, text := range []string{
		"", " ", "1", "0 " + id + " 3", "1 " + id, "1 " + id + " x", "1 " + id + " 2", "1 " + id + " -1", "1 " + id + " 03",
		"1 " + id + " 3 ", "1 " + id + " 99999999999999999999", "1 " + id + " 1073741825",
		"1 " + id + " 1073741824",           // not open
		"1 " + id + " 900",                  // not open
		"1 0123456789abcdef 3",              // another build
		"1 " + id + " 3",                    // open, no socket
		"1 " + id + " 3 zz:4:5:1",           // no UUID
		"1 " + id + " 3 00:4:5:1",           // a short one
		"1 " + id + " 3 " + uuid,            // a part
		"1 " + id + " 3 " + uuid + ":3:4:1", // the same descriptor twice
		"1 " + id + " 3 " + uuid + ":4:5:1", // not open
		"1 " + id + " 3 " + uuid + ":4:5:4294967296",
	} {
		for _, name := range []string{"succeed", "join"} {
			cmd := program(t, name, "SHOAL_CHILD="+text)
			cmd.ExtraFiles = []*os.File{null}
			code, stdout, stderr := finished(t, cmd)
			if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 ||
				!strings.Contains(stderr, "SHOAL_CHILD is not for this process") {
				t.Errorf("%s with SHOAL_CHILD=%q: exit code %d, stdout %q, stderr %q, want 2 and one line",
					name, text, code, stdout, stderr)
			}
		}
	}
}

const uuid = "000102030405060708090a0b0c0d0e0f"
