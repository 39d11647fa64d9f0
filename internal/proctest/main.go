package proctest

import (
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/process"
)

// Main is the body of TestMain. In a child it plays the child's role; in the test binary itself it runs the
// tests and then fails the package if they left behind a descriptor, a mapping of a memory file, a name in
// /dev/shm, a child process or a goroutine, or if no test used a role (unless -run, -skip, -list or -short
// chose among the tests).
//
// Goroutines that are meant to stay are named by keep: parts of their stacks, "futex.(*group).run".
func Main(m *testing.M, keep ...string) {
	process.Init()
	os.Exit(run(m, keep))
}

func run(m *testing.M, keep []string) int {
	if _, err := stress(); err != nil {
		fmt.Fprintln(os.Stderr, "proctest:", err)
		return 2
	}
	if _, set := os.LookupEnv("GORACE"); !set {
		os.Setenv("GORACE", "atexit_sleep_ms=0") // else each child of a -race binary sleeps for a second before it ends
	}
	if signal.Ignored(os.Interrupt) {
		// The tests run as a job in the background, and so would their children ignore it, which some are to
		// mind.
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	}
	wakePoller()
	before := take(keep)
	code := m.Run()
	if code != 0 {
		return code // what a failed test leaves behind is not news
	}
	leaks := before.leaks(func() resources { return take(keep) })
	if !filtered() {
		for _, name := range unusedRoles() {
			leaks = append(leaks, fmt.Sprintf("role %q, which no test uses", name))
		}
	}
	if len(leaks) == 0 {
		return 0
	}
	fmt.Fprintf(os.Stderr, "FAIL: the tests left behind:\n\t%s\n", strings.Join(leaks, "\n\t"))
	return 1
}

// wakePoller lets the runtime open the descriptors that it keeps, so that they count as having been there before.
func wakePoller() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
}

// filtered reports whether flags chose among the tests.
func filtered() bool {
	choosing := []string{"test.run", "test.skip", "test.list", "test.fuzz", "test.short"}
	return slices.ContainsFunc(choosing, func(name string) bool {
		f := flag.Lookup(name)
		return f != nil && f.Value.String() != f.DefValue
	})
}

// roles are those of this test binary: the names of all and of those that were started.
var roles struct {
	sync.Mutex
	all  []string
	used map[string]bool
}

func unusedRoles() []string {
	roles.Lock()
	defer roles.Unlock()
	return slices.DeleteFunc(slices.Clone(roles.all), func(name string) bool { return roles.used[name] })
}

// stress is how long SHOAL_STRESS says that stressing tests shall run, 0 if it does not.
func stress() (time.Duration, error) {
	text := os.Getenv("SHOAL_STRESS")
	if text == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("SHOAL_STRESS: %w", err)
	}
	return d, nil
}

// Stress is how long a test that stresses shall run: least, or as long as SHOAL_STRESS says if that is longer
// ("10m").
func Stress(least time.Duration) time.Duration {
	d, _ := stress() // Main has looked at the error
	return max(least, d)
}

// NeedLinux skips a test that another system cannot pass, for the reason given.
func NeedLinux(t testing.TB, why string) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skipf("needs Linux: %s", why)
	}
}
