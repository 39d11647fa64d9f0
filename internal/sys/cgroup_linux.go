package sys

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MemoryLeft is how much memory the control groups of this process leave it, with what the kernel can free by
// dropping file pages and by swapping: beyond that it kills somebody. It is not ok if there is no limit, or
// none that can be found. Groups of version 1 and 2 are looked for where they usually are.
func MemoryLeft() (left int64, ok bool) {
	left, ok = memoryLeft(os.DirFS("/"))
	var info unix.Sysinfo_t
	if ok && unix.Sysinfo(&info) == nil {
		left += int64(info.Freeswap) * int64(info.Unit)
	}
	return left, ok
}

// groups are the two versions: how a line of /proc/self/cgroup begins, where the groups are, and the names of
// files and of counters.
var groups = []struct{ controllers, root, limit, used, file string }{
	{"", "sys/fs/cgroup", "memory.max", "memory.current", ""},
	{"memory", "sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_"},
}

func memoryLeft(root fs.FS) (left int64, ok bool) {
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) != 3 {
			continue
		}
		for _, g := range groups {
			if part[1] != g.controllers {
				continue
			}
			// A container may see its own group at the root, whatever its path is; so the path is tried from
			// its end, and what is not there is passed over.
			for p := path.Clean("/" + part[2]); ; p = path.Dir(p) {
				dir := path.Join(g.root, p)
				limit, okLimit := number(root, path.Join(dir, g.limit))
				used, okUsed := number(root, path.Join(dir, g.used))
				if okLimit && okUsed {
					here := limit - used + filePages(root, dir, g.file)
					if !ok || here < left {
						left, ok = here, true
					}
				}
				if p == "/" {
					break
				}
			}
		}
	}
	return left, ok
}

// number reads a file that is one number; "max" is none.
func number(root fs.FS, name string) (int64, bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil && n < 1<<60 // version 1 writes "no limit" as a number near 2^63
}

// filePages is the memory of a group's file pages, those of tmpfs excepted, which can be dropped.
func filePages(root fs.FS, dir, prefix string) (n int64) {
	text, err := fs.ReadFile(root, path.Join(dir, "memory.stat"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(text)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if key == prefix+"active_file" || key == prefix+"inactive_file" {
			if v, err := strconv.ParseInt(value, 10, 64); err == nil {
				n += v
			}
		}
	}
	return n
}
