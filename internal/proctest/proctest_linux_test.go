package proctest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// echoes says each line it hears, with the prefix it was given, until it hears "stop" or "fail".
var echoes = proctest.NewRole("echoes", func(ctx context.Context, c *proctest.Child, prefix string) error {
	fmt.Print("standard output stays free")
	c.Say("ready")
	for {
		switch line := c.Hear(); line {
		case "stop":
			return nil
		case "fail":
			return errors.New("told to fail")
		default:
			c.Say("%s%s", prefix, line)
		}
	}
})

func TestRole(t *testing.T) {
	var out bytes.Buffer
	p := echoes.Start(t, "> ", process.Options{Stdout: &out})
	p.WaitLine("ready")
	for _, text := range []string{"one", "", "two words", strings.Repeat("long", 20_000)} {
		p.Tell(text)
		if got := p.Line(); got != "> "+text {
			t.Errorf("%.20q became %.20q", text, got)
		}
	}
	for _, text := range []string{"a", "b", "c", "d"} {
		p.Tell(text)
	}
	p.WaitLine("> b") // passes over a
	if got := p.Line(); got != "> c" {
		t.Errorf("after b comes %q", got)
	}
	if p.Pid() != p.Process().Pid() || p.Pid() == os.Getpid() {
		t.Errorf("pid %d", p.Pid())
	}
	p.Tell("stop")
	if err := p.Wait(); err != nil || p.ExitCode() != 0 {
		t.Errorf("Wait: %v, exit code %d", err, p.ExitCode())
	}
	if out.String() != "standard output stays free" {
		t.Errorf("stdout %q", out.String())
	}

	p = echoes.Start(t, "")
	p.Tell("fail")
	var e *process.ExitError
	if err := p.Wait(); !errors.As(err, &e) || p.ExitCode() != 1 {
		t.Errorf("Wait: %v, exit code %d", err, p.ExitCode())
	}
	p = echoes.Start(t, "")
	p.Kill()
	if p.Wait(); p.ExitCode() != -9 {
		t.Errorf("exit code %d after Kill", p.ExitCode())
	}
}

func TestStop(t *testing.T) {
	p := echoes.Start(t, "")
	p.WaitLine("ready")
	for range 3 {
		p.Stop()
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid()))
		if err != nil || !strings.Contains(string(stat), ") T ") {
			t.Errorf("after Stop: %s (%v), want state T", stat, err)
		}
		p.Continue()
		p.Tell("still there?")
		p.WaitLine("still there?")
	}
	p.Stop()
	p.Kill() // works on a stopped one
	p.Wait()
}

// The tests from here on are fixtures: they do nothing, but for a run of the test binary by TestFailures.

func TestFixture(t *testing.T) {
	p, hold := echoes, make(chan struct{})
	switch os.Getenv(fixtureVariable) {
	case "descriptor":
		if _, err := syscall.Open("/dev/null", syscall.O_CLOEXEC, 0); err != nil {
			t.Fatal(err)
		}
	case "mapping":
		seg, err := shm.Anonymous(1 << 20)
		if err != nil {
			t.Fatal(err)
		}
		kept = seg
	case "name":
		if err := os.WriteFile(leakedName, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	case "child":
		if err := exec.Command("sleep", "60").Start(); err != nil {
			t.Fatal(err)
		}
	case "zombie":
		if err := exec.Command("true").Start(); err != nil {
			t.Fatal(err)
		}
	case "goroutine":
		go leaked(hold)
	case "permitted":
		go permitted(hold)
	case "end":
		p.Start(t, "> ").Tell("x")
		q := p.Start(t, "> ")
		q.Tell("one")
		q.Tell("fail")
		q.WaitLine("never said")
	case "hang":
		c := p.Start(t, "")
		c.WaitLine("ready")
		d := p.Start(t, "")
		d.WaitLine("ready")
		d.Stop()
		proctest.SetPatience(time.Millisecond, time.Minute)
		proctest.Watch(t)
		<-hold
	}
}

func leaked(hold chan struct{})    { <-hold }
func permitted(hold chan struct{}) { <-hold }

var (
	kept       *shm.Segment
	leakedName = fmt.Sprintf("/dev/shm/shoal-proctest-%d", os.Getppid())
)

// TestFailures shows that each thing that can go wrong is noticed.
func TestFailures(t *testing.T) {
	if os.Getenv(fixtureVariable) != "" {
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("/dev/shm/shoal-proctest-%d", os.Getpid())
	defer os.Remove(name)
	for _, c := range []struct {
		fixture, flag string
		code          int
		words         []string // regular expressions
	}{
		{"nothing", "-test.run=TestFixture", 0, nil},
		{"permitted", "-test.run=TestFixture", 0, nil},
		{"nothing", "-test.run=", 0, nil}, // TestRole uses the role
		{"nothing", "-test.count=0", 1, []string{`role "echoes", which no test uses`}},
		{"descriptor", "-test.run=TestFixture", 1, []string{`the tests left behind:\n\tdescriptor \d+: /dev/null\n$`}},
		{"mapping", "-test.run=TestFixture", 1, []string{`descriptor \d+: /memfd:`, `mapping .*/memfd:`}},
		{"name", "-test.run=TestFixture", 1, []string{`the tests left behind:\n\tname ` + name + `\n$`}},
		{"child", "-test.run=TestFixture", 1, []string{`child \d+ \(sleep\), state S`}},
		{"zombie", "-test.run=TestFixture", 1, []string{`child \d+ \(true\), state Z`}},
		{"goroutine", "-test.run=TestFixture", 1, []string{`goroutine \d+ \[chan receive`, `proctest_test\.leaked\(`}},
		{"end", "-test.run=TestFixture", 1, []string{`echoes-2: waiting for "never said": no more lines \(EOF; .*told to fail\); it said before:\s*ready\s*> one\n`}},
		{"hang", "-test.run=TestFixture", 2, []string{
			`proctest: TestFixture still runs after 1ms`, `proctest_test\.TestFixture\(`,
			`asking echoes-1 `, `asking echoes-2 `, `(?s)SIGQUIT: quit.*process\.run\(.*SIGQUIT: quit.*process\.run\(`}},
	} {
		t.Run(c.fixture+c.flag, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), exe, c.flag)
			cmd.Env = append(os.Environ(), fixtureVariable+"="+c.fixture)
			out, err := cmd.CombinedOutput()
			if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != c.code {
				t.Errorf("exit code %d, want %d:\n%s", code, c.code, out)
			}
			for _, words := range c.words {
				if !regexp.MustCompile(words).Match(out) {
					t.Errorf("no %s in:\n%s", words, out)
				}
			}
		})
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=TestFixture")
	cmd.Env = append(os.Environ(), fixtureVariable+"=nothing", "SHOAL_STRESS=soon")
	if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "SHOAL_STRESS") {
		t.Errorf("SHOAL_STRESS=soon: %s", out)
	}
}
