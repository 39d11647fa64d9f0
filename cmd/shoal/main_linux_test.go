package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/proctest"
)

// asShoal makes the test binary, and the workers that it starts, the program itself.
const asShoal = "SHOAL_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asShoal) != "" {
		main()
		return
	}
	proctest.Main(m)
}

func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(self, args...)
	c.Env = append(os.Environ(), asShoal+"=1")
	return c
}

// shoal runs the program to its end.
func shoal(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	c := command(t, args...)
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), out.String(), errs.String()
}

// texts makes a directory with so many bytes of text.
func texts(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	const line = "The quick brown fox; the LAZY dog.\n"
	if err := os.WriteFile(filepath.Join(dir, "text"), []byte(strings.Repeat(line, size/len(line)+1)), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestDemo(t *testing.T) {
	dir := texts(t, 100_000)
	code, out, errs := shoal(t, "demo", "--workers", "3", dir)
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, standard error %q (it is no terminal)", code, errs)
	}
	for _, want := range []string{"5716  the", "20006 words, 6 of them different", "3 workers took", "both found the same"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
}

func TestDemoJSON(t *testing.T) {
	dir := texts(t, 100_000)
	code, out, errs := shoal(t, "demo", "-w", "2", "--json", "--words", dir)
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, standard error %q", code, errs)
	}
	var r map[string]any
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	counts, _ := r["counts"].(map[string]any)
	if counts["the"] != 5716.0 || counts["lazy"] != 2858.0 || len(counts) != 6 {
		t.Errorf("counts %v", counts)
	}
	_, out, _ = shoal(t, "demo", "-w", "2", "--json", dir)
	if r = nil; json.Unmarshal([]byte(out), &r) != nil || r["counts"] != nil || r["words"] != 20006.0 {
		t.Errorf("without --words: %s", out)
	}
	for field := range r {
		if !strings.Contains(demoHelp, field) {
			t.Errorf("field %s is not documented", field)
		}
	}
}

// TestDemoDefault: without a path it is the current directory.
func TestDemoDefault(t *testing.T) {
	t.Chdir(texts(t, 1000))
	if code, out, errs := shoal(t, "demo"); code != 0 || !strings.Contains(out, "in 1 file ") {
		t.Errorf("exit code %d, %q\n%s", code, errs, out)
	}
}

func TestExitCodes(t *testing.T) {
	dir := texts(t, 1000)
	nothing := t.TempDir()
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", 0, ""},
		{"help demo", 0, ""},
		{"nonsense", exitUsage, "nonsense"},
		{"--nonsense", exitUsage, "nonsense"},
		{"demo --nonsense", exitUsage, "nonsense"},
		{"demo --workers", exitUsage, "workers"},
		{"demo --workers many", exitUsage, "many"},
		{"demo --kill-one=maybe " + dir, exitUsage, "maybe"},
		{"demo --workers 0 " + dir, exitUsage, "at least one"},
		{"demo --workers -1 " + dir, exitUsage, "at least one"},
		{"demo --workers 10000 " + dir, exitUsage, "at most"},
		{"demo --words " + dir, exitUsage, "--json"},
		{"demo " + dir + "/nope", exitFailure, dir + "/nope"},
		{"demo " + nothing, exitFailure, "no text files"},
		{"demo /proc/self/mem", exitFailure, "/proc/self/mem"}, // no bytes can be read there, not even by root
	} {
		code, out, errs := shoal(t, strings.Fields(c.args)...)
		if code != c.code || !strings.Contains(errs, c.says) || (code != 0) != (errs != "") {
			t.Errorf("shoal %s: exit code %d, want %d; standard error %q, want %q in it", c.args, code, c.code, errs, c.says)
		}
		if code != 0 && out != "" {
			t.Errorf("shoal %s: a failure, and %q on standard output", c.args, out)
		}
	}
}

// TestNoPoints: the flags for crash points are those of a build of its own.
func TestNoPoints(t *testing.T) {
	for _, flag := range []string{"--kill-at", "--stop-at", "--list-points"} {
		code, _, errs := shoal(t, "demo", flag)
		if unknown := strings.Contains(errs, "unknown flag"); unknown == crashpoint.Enabled || unknown && code != exitUsage {
			t.Errorf("%s: exit code %d, standard error %q, with crash points: %v", flag, code, errs, crashpoint.Enabled)
		}
	}
}

// TestUnprivileged runs the program as a user who may do nothing special: it works, and what that user may not read is a clear
// error. Root, to whom nothing is forbidden, becomes nobody for it.
func TestUnprivileged(t *testing.T) {
	dir, err := os.MkdirTemp("", "shoal") // others cannot enter t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	exe, secret := filepath.Join(dir, "shoal"), filepath.Join(dir, "texts", "secret")
	for _, err := range []error{
		os.Chmod(dir, 0o755),
		os.WriteFile(exe, program, 0o755),
		os.Mkdir(filepath.Dir(secret), 0o755),
		os.WriteFile(filepath.Join(dir, "texts", "open"), []byte("anybody may read this\n"), 0o644),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	run := func() (int, string) {
		c := command(t, "demo", "--workers", "2", filepath.Dir(secret))
		c.Path, c.Dir = exe, dir
		var errs bytes.Buffer
		c.Stderr = &errs
		if os.Geteuid() == 0 {
			const nobody = 65534
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
		}
		err := c.Run()
		if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode(), errs.String()
	}
	if code, errs := run(); code != 0 || errs != "" {
		t.Errorf("exit code %d, standard error %q", code, errs)
	}
	if err := os.WriteFile(secret, []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if code, errs := run(); code != exitFailure || !strings.Contains(errs, secret) {
		t.Errorf("a file that may not be read: exit code %d, standard error %q", code, errs)
	}
}

// TestSignals sends the program, alone or with its workers, a signal while they run.
func TestSignals(t *testing.T) {
	dir := texts(t, 64<<20)
	for _, c := range []struct {
		name   string
		signal syscall.Signal
		group  bool // as a terminal does
	}{
		{"interrupt", syscall.SIGINT, false},
		{"Ctrl-C", syscall.SIGINT, true},
		{"terminate", syscall.SIGTERM, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, errs := whileWorking(t, dir, func(pid int, workers []int) error {
				if c.group {
					pid = -pid
				}
				return syscall.Kill(pid, c.signal)
			})
			if code != exitInterrupted || errs != "shoal: interrupted\n" {
				t.Errorf("exit code %d, standard error %q; want %d", code, errs, exitInterrupted)
			}
		})
	}
	t.Run("worker killed", func(t *testing.T) {
		// Which of the workers it is does not show in the order of the children.
		code, errs := whileWorking(t, dir, func(pid int, workers []int) error {
			return syscall.Kill(workers[1], syscall.SIGKILL)
		})
		if code != 0 || errs != "" {
			t.Errorf("exit code %d, standard error %q; want another worker to go on", code, errs)
		}
	})
}

// TestKillOne: the command's report tells of the killed worker.
func TestKillOne(t *testing.T) {
	dir := texts(t, 100_000)
	code, out, errs := shoal(t, "demo", "--workers", "2", "--kill-one", dir)
	told := strings.Contains(out, "was killed when it had counted")
	if code != 0 || errs != "" || !told || !strings.Contains(out, "20006 words") {
		t.Errorf("exit code %d, standard error %q:\n%s", code, errs, out)
	}
	code, out, errs = shoal(t, "demo", "--workers", "2", "--kill-one", "--json", dir)
	var r struct {
		Killed []struct{ Worker, Pid int }
	}
	err := json.Unmarshal([]byte(out), &r)
	if err != nil || code != 0 || len(r.Killed) != 1 || r.Killed[0].Pid == 0 || r.Killed[0].Worker == 0 {
		t.Errorf("error %v, exit code %d, standard error %q: %s", err, code, errs, out)
	}
}

// whileWorking starts a demo with two workers, calls f when they run, and waits for the end of all.
func whileWorking(t *testing.T, dir string, f func(pid int, workers []int) error) (code int, stderr string) {
	t.Helper()
	var errs bytes.Buffer
	c := command(t, "demo", "--workers", "2", dir)
	c.Stderr = &errs
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	pid := c.Process.Pid
	for {
		workers := children(t, pid)
		if len(workers) == 2 {
			if err := f(pid, workers); err != nil {
				t.Error(err)
			}
			break
		}
		time.Sleep(time.Millisecond) // nothing tells that a grandchild has begun
	}
	c.Wait()
	if err := syscall.Kill(-pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("something is left of the process group: %v", err)
	}
	return c.ProcessState.ExitCode(), errs.String()
}

// children lists the children of a process in the order of their start.
func children(t *testing.T, pid int) (pids []int) {
	t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("the demo ended before it had two workers, or its children cannot be listed: %v", err)
	}
	for _, name := range tasks {
		text, _ := os.ReadFile(name) // the thread may have ended
		for _, field := range strings.Fields(string(text)) {
			var child int
			fmt.Sscan(field, &child)
			pids = append(pids, child)
		}
	}
	return pids
}
