package sys_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// A process is dying when it has been killed, whoever waits for it, and not before.
func TestDying(t *testing.T) {
	if sys.Dying(os.Getpid()) {
		t.Error("this process is dying")
	}
	cat := exec.Command("cat")
	if _, err := cat.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	defer cat.Wait()
	if sys.Dying(cat.Process.Pid) {
		t.Error("a process that waits is dying")
	}
	if err := cat.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for !sys.Dying(cat.Process.Pid) { // a zombie in the end
	}
}

// A list of threads may lack some that run on: where a thread ends while it is listed, the kernel lists no more. So who is
// missing is noticed by the number of the threads, and a list with one that has ended says nothing.
func TestDyingListed(t *testing.T) {
	const runs, exits, ended = 0, 4, -1
	for _, c := range []struct {
		listed []int
		count  int
		want   bool
	}{
		{[]int{exits}, 1, true},
		{[]int{exits, exits}, 2, true},
		{[]int{exits, runs}, 2, false},
		{[]int{exits}, 2, false},
		{[]int{exits, ended}, 2, false},
		{[]int{exits, ended}, 1, false},
		{nil, 0, false},
	} {
		proc := t.TempDir()
		write := func(dir string, flags int) {
			stat := fmt.Sprintf("1 (a) Z 1 1 1 0 -1 %d 0 0 0 0 0 0 0 0 20 0 %d 0 7", flags, c.count)
			if err := os.WriteFile(filepath.Join(dir, "stat"), []byte(stat), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(proc, exits)
		for i, flags := range c.listed {
			dir := filepath.Join(proc, "task", fmt.Sprint(i+1))
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if flags != ended {
				write(dir, flags)
			}
		}
		if got := sys.DyingIn(proc); got != c.want {
			t.Errorf("threads with flags %v of %d: %t", c.listed, c.count, got)
		}
	}
}

// Names of programs are no fields.
func TestExiting(t *testing.T) {
	for stat, want := range map[string]bool{
		"1 (cat) R 1 1 1 0 -1 4194308 0 0":         true,
		"1 (cat) R 1 1 1 0 -1 4194304 0 0":         false,
		"1 (a) R 1 1 1 0 -1 4) R 1 1 1 0 -1 256 0": false,
		"1 (a) R 1 1 1 0 -1 0) R 1 1 1 0 -1 4 0":   true,
		"1 (cat) R 1 1":                            false,
		"":                                         false,
	} {
		if got := sys.Exiting([]byte(stat)); got != want {
			t.Errorf("%q: %t", stat, got)
		}
	}
}
