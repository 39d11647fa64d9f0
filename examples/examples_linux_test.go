package examples_test

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// prints is what the programs print that have no test of their own.
var prints = map[string]string{
	"counter":   "20000 40000\n",
	"array":     "1000000 6.666661664588418e+08\n",
	"recover":   "50 150\n",
	"condition": "499500\n",
	"barrier":   "go\nlap 1\nlap 2\nlap 3\n",
	"ring":      "49 primes\n",
	"pool":      "[1 4 9 16 25]\n55\nthe task failed: negative\na worker died of item 3 in crash\n",
}

// hasOwnTest are the others.
var hasOwnTest = map[string]bool{"named": true, "queue": true, "ticks": true}

func TestExamples(t *testing.T) {
	dirs, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !d.IsDir() || hasOwnTest[d.Name()] {
			continue
		}
		t.Run(d.Name(), func(t *testing.T) {
			t.Parallel()
			want, ok := prints[d.Name()]
			if !ok {
				t.Fatal("say what it prints")
			}
			out, err := exec.Command(build(t, d.Name())).CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("%v; it printed\n%swant\n%s", err, out, want)
			}
		})
	}
}

// TestNamed kills one that holds the lock while another waits for it.
func TestNamed(t *testing.T) {
	t.Parallel()
	program, name := build(t, "named"), proctest.Name(t)
	runs := func(want string, args ...string) {
		t.Helper()
		out, err := exec.Command(program, append([]string{name}, args...)...).CombinedOutput()
		if err != nil || string(out) != want {
			t.Errorf("%v; it printed\n%swant\n%s", err, out, want)
		}
	}
	runs("-10 10\n")

	stalled := exec.Command(program, name, "stall")
	said, err := stalled.StdoutPipe()
	proctest.Must(t, err)
	proctest.Must(t, stalled.Start())
	line, err := bufio.NewReader(said).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "half-way: ") {
		t.Errorf("it said %q: %v", line, err)
	}
	var out strings.Builder
	waits := exec.Command(program, name)
	waits.Stdout, waits.Stderr = &out, &out
	err = waits.Start()
	proctest.Must(t, errors.Join(err, stalled.Process.Kill()))
	stalled.Wait()
	if err := waits.Wait(); err != nil || out.String() != "somebody died half-way\n-30 30\n" {
		t.Errorf("%v; the next one printed\n%s", err, &out)
	}

	runs("-40 40\n")
	runs("", "remove")
	if _, err := shm.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after remove: %v", err)
	}
}

// TestQueue: the consumers share the jobs in no fixed way.
func TestQueue(t *testing.T) {
	t.Parallel()
	out, err := exec.Command(build(t, "queue")).CombinedOutput()
	proctest.Must(t, err)
	seen := make(map[string]bool)
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "hello" || seen[f[1]] {
			t.Errorf("it printed %q", line)
			continue
		}
		seen[f[1]] = true
	}
	for i := range 200 {
		if !seen[strconv.Itoa(i)] {
			t.Errorf("nobody got job %d", i)
		}
	}
}

// TestTicks starts watch first, kills feed, and starts that again.
func TestTicks(t *testing.T) {
	t.Parallel()
	feed, watch, name := build(t, "ticks/feed"), build(t, "ticks/watch"), proctest.Name(t)
	watches := exec.Command(watch, "-rm", "-segment", name)
	watches.Stderr = os.Stderr
	out, err := watches.StdoutPipe()
	proctest.Must(t, err)
	proctest.Must(t, watches.Start())
	lines, last := bufio.NewScanner(out), 0
	see := func() {
		t.Helper()
		for range 3 {
			if !lines.Scan() {
				t.Fatal("watch has ended")
			}
			seq := 0
			if _, err := fmt.Sscanf(lines.Text(), "%d SHOAL 100.00", &seq); err != nil || seq <= last {
				t.Fatalf("%q after number %d: %v", lines.Text(), last, err)
			}
			last = seq
		}
	}
	for range 2 {
		feeds := exec.Command(feed, "-segment", name)
		feeds.Stderr = os.Stderr
		proctest.Must(t, feeds.Start())
		see()
		proctest.Must(t, feeds.Process.Kill())
		feeds.Wait()
	}
	proctest.Must(t, watches.Process.Signal(os.Interrupt))
	for lines.Scan() { // it may have had some more
	}
	proctest.Must(t, watches.Wait())
	if _, err := shm.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after watch -rm: %v", err)
	}
}

func build(t *testing.T, name string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), filepath.Base(name))
	if out, err := exec.Command("go", "build", "-o", program, "./"+name).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return program
}
