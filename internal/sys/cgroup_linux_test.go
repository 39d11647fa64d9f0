package sys_test

import (
	"testing"
	"testing/fstest"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// What is left to a process in control groups, in the ways in which they are found.
func TestMemoryLeft(t *testing.T) {
	const none = -1 << 62
	for _, c := range []struct {
		what  string
		files map[string]string
		want  int64
	}{
		{"no groups", nil, none},
		{"version 2, no limit", map[string]string{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "5\n",
		}, none},
		{"version 2", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.current": "600\n",
			"sys/fs/cgroup/a/b/memory.stat": "anon 100\nactive_file 20\ninactive_file 30\nshmem 7\n",
		}, 450},
		{"a parent leaves less", map[string]string{
			"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1000\n", "sys/fs/cgroup/a/b/memory.current": "600\n",
			"sys/fs/cgroup/a/memory.max": "800\n", "sys/fs/cgroup/a/memory.current": "790\n",
		}, 10},
		{"a container sees its own group at the root", map[string]string{
			"proc/self/cgroup": "0::/docker/1234\n", "sys/fs/cgroup/memory.max": "100\n", "sys/fs/cgroup/memory.current": "130\n",
		}, -30},
		{"version 1", map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/x\n1:name=systemd:/\n0::/\n",
			"sys/fs/cgroup/memory/x/memory.limit_in_bytes":     "1000\n",
			"sys/fs/cgroup/memory/x/memory.usage_in_bytes":     "100\n",
			"sys/fs/cgroup/memory/x/memory.stat":               "cache 50\ntotal_inactive_file 5\ntotal_active_file 6\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":       "9223372036854771712\n",
			"sys/fs/cgroup/memory/memory.usage_in_bytes":       "900\n",
			"sys/fs/cgroup/cpu,cpuacct/x/memory.usage_in_byte": "0\n",
		}, 911},
		{"nonsense", map[string]string{
			"proc/self/cgroup": "x\n0::/../..\n0:\n", "sys/fs/cgroup/memory.max": "many\n", "sys/fs/cgroup/memory.current": "\n",
		}, none},
	} {
		files := make(fstest.MapFS)
		for name, text := range c.files {
			files[name] = &fstest.MapFile{Data: []byte(text)}
		}
		left, ok := sys.MemoryLeftIn(files)
		if !ok {
			left = none
		}
		if left != c.want {
			t.Errorf("%s: %d, want %d", c.what, left, c.want)
		}
	}
}
