//go:build crashpoint

package proctest_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// word is an object whose payload is an owner word.
type word struct {
	shm.Ref
	mem []byte
}

var wordKind = shm.Kind{Name: "word", Min: 8, Guarded: true}

func (w *word) UnmarshalBinary(data []byte) (err error) {
	w.mem, err = wordKind.Unmarshal(&w.Ref, data)
	return err
}

type crashArgs struct{ W *word }

// opFixture makes an object after a step of its own.
var opFixture = proctest.NewOp("fixture", nil, func(ctx context.Context, a crashArgs) error {
	crashpoint.Hit("fixture/begun")
	_, err := shm.NewBlock(a.W.Segment(), "", 100)
	return err
})

// TestCrashFixture is TestCrashFindsFaults's: it runs opFixture and does what the fixture says wrong, after the
// second kill or during the first stop.
func TestCrashFixture(t *testing.T) {
	fixture := os.Getenv(fixtureVariable)
	if fixture == "hang" {
		proctest.SetPatience(500*time.Millisecond, time.Minute)
	}
	kills := 0
	var gift *inherit.Gift
	setup := func(t testing.TB) crashArgs {
		w := new(word)
		var err error
		w.mem, err = wordKind.New(&w.Ref, proctest.Segment(t, 1), "", 8, nil)
		proctest.Must(t, err)
		return crashArgs{w}
	}
	stopped := func(t testing.TB, a crashArgs) {
		switch fixture {
		case "damage":
			a.W.mem[1] = 1
		case "hang":
			time.Sleep(time.Hour)
		}
	}
	op := opFixture.Beside(func(t testing.TB, p *proctest.Proc, a crashArgs) {
		if kills == 2 && fixture == "waste" { // in place of the child
			_, err := shm.NewBlock(a.W.Segment(), "", 1000)
			proctest.Must(t, err)
		}
	})
	proctest.Crash(t, op, setup, stopped, func(t testing.TB, a crashArgs, survived bool) {
		if kills++; kills != 3 {
			return
		}
		switch fixture {
		case "descriptor":
			if _, err := syscall.Open("/dev/null", syscall.O_CLOEXEC, 0); err != nil {
				t.Fatal(err)
			}
		case "participant":
			var err error
			gift, err = a.W.Segment().Prepare()
			proctest.Must(t, err)
			t.Cleanup(gift.Abandon)
		}
	})
}

// TestCrashFindsFaults shows that Crash notices what goes wrong, and where.
func TestCrashFindsFaults(t *testing.T) {
	if os.Getenv(fixtureVariable) != "" {
		return
	}
	exe, err := os.Executable()
	proctest.Must(t, err)
	for _, c := range []struct {
		fixture string
		code    int
		words   string // a regular expression
	}{
		{"nothing", 0, `(?m)^crash: fixture 7 steps, 7 kills, 7 stops, ok$`},
		{"descriptor", 1, `kill-2 shm/lay/claimed left behind: descriptor \d+: /dev/null`},
		{"participant", 1, `TestCrashFixture/kill-2_shm/lay/claimed(.*\n)*.* 2 living participants, 1 before`},
		{"waste", 1, `TestCrashFixture/kill-2_shm/lay/claimed(.*\n)*.* \d+ bytes of memory are left in use, 256 by a child to which nothing happens`},
		{"damage", 1, `TestCrashFixture/stop-1_fixture/begun(.*\n)*.*shm: offset \d+: word 0x100 of a lock`},
		{"hang", 2, `proctest: TestCrashFixture/stop-1_fixture/begun still runs(.*\n)*.*proctest_test\.TestCrashFixture(.*\n)*` +
			`.*asking crash/fixture-\d+ \(pid \d+\)(.*\n)*SIGQUIT: quit(.*\n)*.*process\.run\(`},
	} {
		t.Run(c.fixture, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe, "-test.run=TestCrashFixture")
			cmd.Env = append(os.Environ(), fixtureVariable+"="+c.fixture)
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d", code, c.code)
			}
			if !regexp.MustCompile(c.words).Match(out) {
				t.Errorf("no %s in:\n%s", c.words, out)
			}
			if c.code == 1 && !strings.Contains(string(out), "FAILED") {
				t.Errorf("no summary in:\n%s", out)
			}
		})
	}
}

type chanceArgs struct{ B *shm.Block }

// opChance has a step more the first times that it runs.
var opChance = proctest.NewOp("chance", nil, func(ctx context.Context, a chanceArgs) error {
	if a.B.Uint32(0).Add(1) <= 4 {
		crashpoint.Hit("chance/first")
	}
	crashpoint.Hit("chance/always")
	runtime.KeepAlive(a.B)
	return nil
})

// A child that comes to fewer steps than the one before it is no hang.
func TestCrashFewerSteps(t *testing.T) {
	b, err := shm.NewBlock(proctest.Segment(t, 1), "", 64)
	proctest.Must(t, err)
	stops := 0
	proctest.Crash(t, opChance, func(testing.TB) chanceArgs { return chanceArgs{b} },
		func(testing.TB, chanceArgs) { stops++ }, func(testing.TB, chanceArgs, bool) {})
	if stops != 2 {
		t.Errorf("%d stops, want 2", stops)
	}
}
