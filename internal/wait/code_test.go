package wait_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestWakeCode reads what the compiler makes of Wake after a publication on amd64: in the caller, without a locked
// instruction, an ordinary store of the position, then the load of what this process is to do, then that of the state, and
// no call but of wake, which begins with a locked instruction. The language promises no such order for the store
// (package atomics), so it is looked at.
func TestWakeCode(t *testing.T) {
	goTool, err := exec.LookPath("go") // go test puts its own in front
	if err != nil {
		t.Skip("no go command here to compile with")
	}
	program := filepath.Join(t.TempDir(), "wake")
	build := exec.Command(goTool, "build", "-buildvcs=false", "-o", program, "./testdata/wake")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	code := func(function string) string {
		out, err := exec.Command(goTool, "tool", "objdump", "-s", "^"+regexp.QuoteMeta(function)+"$", program).Output()
		if err != nil {
			t.Fatalf("go tool objdump: %v", err)
		}
		var lines []string
		for l := range strings.Lines(string(out)) {
			if f := strings.Fields(l); len(f) > 3 && f[0] != "TEXT" {
				lines = append(lines, strings.Join(append([]string{f[0]}, f[3:]...), " ")) // without address and bytes
			}
		}
		return strings.Join(lines, "\n")
	}

	publish := code("main.publish")
	order := regexp.MustCompile(`publish_unsafe_amd64\.go:\d+ MOVQ \w+, 0\(\w+\)\n(?s:.*)` +
		`type\.go:\d+ MOVL 0x8\(\w+\), \w+\n(?s:.*)` +
		`type\.go:\d+ MOVL 0\(\w+\), \w+\n(?s:.*)` +
		`TESTL \$0xb, \w+\n`)
	if !order.MatchString(publish) {
		t.Error("not: publish, load eager, load the state, test")
	}
	if regexp.MustCompile(`\b(LOCK|XCHG)`).MatchString(publish) {
		t.Error("a locked instruction")
	}
	for _, call := range regexp.MustCompile(`CALL .*`).FindAllString(publish, -1) {
		if !strings.Contains(call, "runtime.morestack") && !strings.HasSuffix(call, "wait.(*Word).wake(SB)") {
			t.Errorf("a call: %s", call)
		}
	}
	wake := code("github.com/shoal-ipc/shoal/internal/wait.(*Word).wake")
	// Nothing of the object is loaded before the fence.
	if !regexp.MustCompile(`^[^\n]*CMPQ[^\n]*\n[^\n]*JBE[^\n]*\n([^\n]* (PUSHQ|MOVQ SP, BP|MOVQ AX, 0x\w+\(SP\)|SUBQ|NOPL|MOVL \$0x1, \w+)[^\n]*\n)*[^\n]*LOCK XADDL`).MatchString(wake) {
		t.Error("wake does not begin with a locked instruction")
	}
	if t.Failed() {
		t.Logf("%s\n\n%s", publish, wake)
	}
}
