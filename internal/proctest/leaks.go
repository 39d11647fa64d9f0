package proctest

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// resources are what a process has at one moment: descriptions, by something that identifies each.
type resources map[string]string

// settle is how long what is ending may take to end. It is only ever waited for in full when something is
// wrong. (A variable for tests.)
var settle = 10 * time.Second

// leaks describes what is there but was not before, once it has had time to go: goroutines that are about to
// return, mappings that go with the garbage.
func (before resources) leaks(now func() resources) []string {
	for deadline := time.Now().Add(settle); ; time.Sleep(20 * time.Millisecond) {
		runtime.GC()
		after := now()
		maps.DeleteFunc(after, func(id, _ string) bool { _, ok := before[id]; return ok })
		late := time.Now().After(deadline)
		if late {
			dropUsed(after)
		}
		if late || len(after) == 0 {
			return slices.Sorted(maps.Values(after))
		}
	}
}

// take lists this process's resources, but for goroutines with a part of keep in their stacks.
func take(keep []string) resources {
	r := make(resources)
	descriptors(r)
	mappings(r)
	names(r)
	children(r)
	goroutines(r, keep)
	return r
}

func descriptors(r resources) {
	entries, _ := os.ReadDir("/proc/self/fd")
	for _, e := range entries {
		target, err := os.Readlink("/proc/self/fd/" + e.Name())
		if err != nil {
			continue // the one that ReadDir used
		}
		s := fmt.Sprintf("descriptor %s: %s", e.Name(), target)
		r[s] = s
	}
}

func mappings(r resources) {
	for line := range strings.Lines(read("/proc/self/maps")) {
		if strings.Contains(line, "/memfd:") || strings.Contains(line, "/dev/shm/") {
			s := "mapping " + strings.Join(strings.Fields(line), " ")
			r[s] = s
		}
	}
}

// names are files in /dev/shm. Other processes make some, too: see dropUsed.
func names(r resources) {
	filepath.WalkDir("/dev/shm", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			r["name "+path] = "name " + path
		}
		return nil
	})
}

// dropUsed removes those names that a living process has mapped or open: the tests' own processes have ended
// by now, so these belong to somebody else, and so does what this process may not look into.
func dropUsed(r resources) {
	for id := range r {
		path, ok := strings.CutPrefix(id, "name ")
		if !ok {
			continue
		}
		if others(path) || used(path) {
			delete(r, id)
		}
	}
}

// others reports whether the file has a name that Name gave to another process: other packages are tested at the
// same time.
func others(path string) bool {
	name, ok := strings.CutPrefix(filepath.Base(path), "shoal.test-")
	pid, _, _ := strings.Cut(name, "-")
	return ok && pid != strconv.Itoa(os.Getpid())
}

func used(path string) bool {
	maps, _ := filepath.Glob("/proc/[0-9]*/maps")
	for _, m := range maps {
		if m != fmt.Sprintf("/proc/%d/maps", os.Getpid()) && strings.Contains(read(m), path) {
			return true
		}
	}
	links, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, l := range links {
		own := strings.HasPrefix(l, fmt.Sprintf("/proc/%d/", os.Getpid()))
		if target, err := os.Readlink(l); err == nil && target == path && !own {
			return true
		}
	}
	info, err := os.Stat(path)
	return err != nil || !mine(info)
}

// children are the child processes, those included that nobody has waited for.
func children(r resources) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, stat := range stats {
		// pid (name) state ppid …; the name may contain anything.
		text := read(stat)
		end := strings.LastIndex(text, ") ")
		if end < 0 {
			continue
		}
		fields := strings.Fields(text[end+2:])
		if len(fields) < 2 || fields[1] != strconv.Itoa(os.Getpid()) {
			continue
		}
		s := fmt.Sprintf("child %s), state %s", text[:end], fields[0])
		r[s] = s
	}
}

// system are goroutines that the standard library and package process start once and keep.
var system = []string{"os/signal.loop(", "runtime.ensureSigM.", "process.runSpawner("}

var goroutineID = regexp.MustCompile(`^goroutine \d+`)

func goroutines(r resources, keep []string) {
	for _, stack := range strings.Split(stacks(), "\n\n") {
		known := func(part string) bool { return strings.Contains(stack, part) }
		if slices.ContainsFunc(system, known) || slices.ContainsFunc(keep, known) {
			continue
		}
		if id := goroutineID.FindString(stack); id != "" {
			r[id] = strings.ReplaceAll(strings.TrimSpace(stack), "\n", "\n\t\t")
		}
	}
}

// stacks are those of all goroutines.
func stacks() string {
	for buf := make([]byte, 64<<10); ; buf = make([]byte, 2*len(buf)) {
		if n := runtime.Stack(buf, true); n < len(buf) {
			return string(bytes.TrimSpace(buf[:n]))
		}
	}
}

// read is the content of a file of /proc, or "" if it cannot be read (any more).
func read(path string) string {
	data, _ := os.ReadFile(path)
	return string(data)
}
