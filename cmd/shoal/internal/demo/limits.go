package demo

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// What a worker costs, estimated generously: it is better to refuse a number that would just have worked than
// to find out with most of the processes running.
const (
	workersAtMost    = 1000
	threadsPerWorker = 16       // of its own, and one of the parent
	filesPerWorker   = 8        // of the parent: control socket, pidfd, and what is open while a process starts
	memoryPerWorker  = 16 << 20 // a Go process with a small table
)

// MaxWorkers is how many workers may be asked for, and what limits them: 1,000, or fewer if this process's
// limits for open files (8 for a worker) and threads (16), its control group's for processes, or the free
// memory (16 MiB) allow no more. Limits that cannot be read, as on other systems than Linux, do not count.
func MaxWorkers() (n int, because string) { return maxWorkers("/") }

// maxWorkers reads the limits below root.
func maxWorkers(root string) (n int, because string) {
	n, because = workersAtMost, "the most that a demo starts"
	limit := func(available, each int64, name string) {
		// A limit never forbids the first worker: if even that does not start, its error says more.
		if m := max(1, available/each); m < int64(n) {
			n, because = int(m), fmt.Sprintf("%s allows about %d, and a worker may need %d", name, available, each)
		}
	}
	files := rlimit(root, "Max open files")
	limit(files-64, filesPerWorker, "the limit for open files")
	threads := min(rlimit(root, "Max processes")/2, number(root, "proc/sys/kernel/threads-max")/2)
	limit(threads, threadsPerWorker, "the limit for processes and threads")
	group := filepath.Join("sys/fs/cgroup", controlGroup(root))
	limit(room(root, group, "pids.max", "pids.current"), threadsPerWorker, "the control group's limit for processes")
	limit(room(root, group, "memory.max", "memory.current"), memoryPerWorker, "the control group's limit for memory")
	limit(memAvailable(root), memoryPerWorker, "the free memory")
	return n, because
}

// unlimited is what cannot be read, or is not limited.
const unlimited = math.MaxInt64

// rlimit returns a soft limit of this process by its name in /proc/self/limits.
func rlimit(root, name string) int64 {
	for line := range lines(root, "proc/self/limits") {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return parse(rest)
		}
	}
	return unlimited
}

// memAvailable is the kernel's estimate, in bytes, of what can be used without swapping.
func memAvailable(root string) int64 {
	for line := range lines(root, "proc/meminfo") {
		if rest, ok := strings.CutPrefix(line, "MemAvailable:"); ok {
			if kib := parse(rest); kib < unlimited>>10 {
				return kib << 10
			}
		}
	}
	return unlimited
}

// controlGroup is this process's, of the unified hierarchy.
func controlGroup(root string) string {
	for line := range lines(root, "proc/self/cgroup") {
		if path, ok := strings.CutPrefix(line, "0::"); ok {
			return path
		}
	}
	return "/"
}

// room is what a limit of a control group leaves.
func room(root, group, limit, current string) int64 {
	most := number(root, filepath.Join(group, limit))
	if most == unlimited {
		return unlimited
	}
	used := number(root, filepath.Join(group, current))
	if used == unlimited {
		used = 0
	}
	return max(0, most-used)
}

func number(root, name string) int64 {
	for line := range lines(root, name) {
		return parse(line)
	}
	return unlimited
}

// parse returns the number that s begins with.
func parse(s string) int64 {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return unlimited
	}
	n, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		return unlimited
	}
	return n
}

func lines(root, name string) func(func(string) bool) {
	text, _ := os.ReadFile(filepath.Join(root, name)) // absent: no lines
	return func(yield func(string) bool) {
		for line := range bytes.Lines(text) {
			if !yield(strings.TrimRight(string(line), "\n")) {
				return
			}
		}
	}
}
