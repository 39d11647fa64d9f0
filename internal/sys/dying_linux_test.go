package sys_test

import (
	"os"
	"os/exec"
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
