package atomics_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/atomics"
)

// instruction is one line of go tool objdump.
type instruction struct {
	file string // base name of the source file
	line int
	op   string
	args string
}

func (i instruction) String() string {
	return i.file + ":" + strconv.Itoa(i.line) + "\t" + i.op + " " + i.args
}

// jumps reports whether i ends a run of instructions that are executed one after the other.
func (i instruction) jumps() bool {
	return strings.HasPrefix(i.op, "J") || i.op == "CALL" || i.op == "RET"
}

var (
	toMemory   = regexp.MustCompile(`, -?(0x)?[0-9a-f]*\([A-Z0-9]+\)(\([A-Z0-9]+\*\d\))?$`)
	fromMemory = regexp.MustCompile(`^-?(0x)?[0-9a-f]*\([A-Z0-9]+\)(\([A-Z0-9]+\*\d\))?, [A-Z0-9]+$`)
	register   = regexp.MustCompile(`^[A-Z][A-Z0-9]+$`)
	plainStore = regexp.MustCompile(`^[A-Z0-9]+, 0\([A-Z0-9]+\)$`)
)

// TestPublishOrder reads what the compiler makes of Publish on amd64, alone and within ring's methods: an
// ordinary store in the caller, without a call and without a locked instruction, after the access to the item,
// and with nothing between the two that could be skipped. The language does not promise that order, so it is
// looked at.
func TestPublishOrder(t *testing.T) {
	goTool, err := exec.LookPath("go") // go test puts its own in front
	if err != nil {
		t.Skip("no go command here to compile with")
	}
	program := filepath.Join(t.TempDir(), "publish")
	build := exec.Command(goTool, "build", "-buildvcs=false", "-o", program, "./testdata/publish")
	build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	// The lines of the source that access the item, and the one that publishes.
	items := marked(t, "main.go", "testdata/publish/main.go", "// item")
	for at := range marked(t, "spsc_unsafe.go", "../../ring/spsc_unsafe.go", "*(*T)(") {
		items[at] = true
	}
	publish := marked(t, "publish_unsafe_amd64.go", "publish_unsafe_amd64.go", "*(*uint64)(")

	for _, f := range []struct {
		name   string
		access *regexp.Regexp // how the item is accessed
	}{
		{"give", toMemory},
		{"take", fromMemory},
		{"push", toMemory},
		{"pop", fromMemory},
		{"pushAll", toMemory},
		{"popAll", fromMemory},
		{"pushLine", toMemory},
		{"popLine", fromMemory},
	} {
		t.Run(f.name, func(t *testing.T) {
			code := disassemble(t, goTool, program, "main."+f.name)
			published := 0
			for at, i := range code {
				if strings.HasPrefix(i.op, "LOCK") || strings.HasPrefix(i.op, "XCHG") {
					t.Errorf("a locked instruction: %v", i)
				}
				if i.op == "CALL" && !strings.Contains(i.args, "runtime.morestack") && !register.MatchString(i.args) {
					t.Errorf("a call: %v", i)
				}
				if publish[source{i.file, i.line}] && strings.HasPrefix(i.op, "MOV") && toMemory.MatchString(i.args) {
					published++
					checkPublished(t, code, at, items, f.access)
				}
			}
			if published == 0 {
				t.Error("Publish is not inlined")
			}
			if t.Failed() {
				for _, i := range code {
					t.Log(i)
				}
			}
		})
	}
}

// checkPublished checks the store of a position at code[at] and what surrounds it.
func checkPublished(t *testing.T, code []instruction, at int, items map[source]bool, access *regexp.Regexp) {
	t.Helper()
	if i := code[at]; i.op != "MOVQ" || !plainStore.MatchString(i.args) {
		t.Errorf("Publish is not an ordinary store of 64 bits: %v", i)
	}
	isItem := func(i instruction) bool { return items[source{i.file, i.line}] }
	accesses := 0
	for k := at - 1; k >= 0 && !code[k].jumps(); k-- {
		if isItem(code[k]) && strings.HasPrefix(code[k].op, "MOV") && access.MatchString(code[k].args) {
			accesses++
		}
	}
	if accesses == 0 {
		t.Error("the item is not accessed in the straight run of instructions before its position is published")
	}
	for k := at + 1; k < len(code) && !code[k].jumps(); k++ {
		if isItem(code[k]) {
			t.Errorf("the item is accessed after its position is published: %v", code[k])
		}
	}
}

// source is a line of source as the disassembly names it.
type source struct {
	file string
	line int
}

// marked finds the lines of the file at path that contain mark.
func marked(t *testing.T, file, path, mark string) map[source]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(path))
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[source]bool)
	for n, l := range strings.Split(string(text), "\n") {
		if strings.Contains(l, mark) {
			found[source{file, n + 1}] = true
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s has no line with %q", path, mark)
	}
	return found
}

// disassemble returns the instructions of one function, no-ops left out.
func disassemble(t *testing.T, goTool, program, function string) []instruction {
	t.Helper()
	out, err := exec.Command(goTool, "tool", "objdump", "-s", "^"+regexp.QuoteMeta(function)+"$", program).Output()
	if err != nil {
		t.Fatalf("go tool objdump: %v", err)
	}
	var code []instruction
	for l := range strings.Lines(string(out)) {
		f := strings.Fields(l)
		if len(f) < 4 || f[0] == "TEXT" || strings.HasPrefix(f[3], "NOP") {
			continue
		}
		file, line, _ := strings.Cut(f[0], ":")
		n, err := strconv.Atoi(line)
		if err != nil {
			continue
		}
		code = append(code, instruction{file, n, f[3], strings.Join(f[4:], " ")})
	}
	if len(code) == 0 {
		t.Fatalf("no code of %s in the program:\n%s", function, out)
	}
	return code
}

// TestPublishLitmus passes messages: whoever has loaded a position sees what was written before it was
// published. (Weak machines and broken compilers fail this often, not always.)
func TestPublishLitmus(t *testing.T) {
	const messages = 1 << 20
	slots := make([]uint64, messages) // each is written once, so there is nothing else to race for
	var pos atomics.Pos
	go func() {
		for i := range uint64(messages) {
			slots[i] = ^i
			pos.Publish(i + 1)
		}
	}()
	for seen := uint64(0); seen < messages; {
		now := pos.Load()
		if now < seen || now > messages {
			t.Fatalf("position %d after %d", now, seen)
		}
		// The newest first: it is the one that a store done too early would have let out.
		for i := now; i > seen; i-- {
			if got := slots[i-1]; got != ^(i - 1) {
				t.Fatalf("position %d is published, its item is %#x", i, got)
			}
		}
		if now == seen {
			runtime.Gosched()
		}
		seen = now
	}
}

// TestPublishReverse is the other direction: what was loaded before a position is published is not
// overwritten by who waits for that position.
func TestPublishReverse(t *testing.T) {
	const rounds = 1 << 17
	var slot uint64
	var full, free atomics.Pos
	go func() {
		for i := range uint64(rounds) {
			for free.Load() != i {
				runtime.Gosched()
			}
			slot = i
			full.Publish(i + 1)
		}
	}()
	for i := range uint64(rounds) {
		for full.Load() != i+1 {
			runtime.Gosched()
		}
		got := slot
		free.Publish(i + 1)
		if got != i {
			t.Fatalf("round %d: item %d", i, got)
		}
	}
}

// TestPos checks the value, at both ends of its range.
func TestPos(t *testing.T) {
	var p atomics.Pos
	for _, x := range []uint64{1, 1<<32 - 1, 1 << 32, 1<<64 - 1, 0} {
		p.Publish(x)
		if got := p.Load(); got != x {
			t.Errorf("Publish(%#x), Load() = %#x", x, got)
		}
	}
}
