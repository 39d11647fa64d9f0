package demo_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/demo"
)

func TestMaxWorkers(t *testing.T) {
	const limits = `Limit                     Soft Limit           Hard Limit           Units
Max processes             %p                  100000               processes
Max open files            %f                  1048576              files
`
	for _, c := range []struct {
		name                        string
		files, processes, available string
		group                       map[string]string
		want                        int
		because                     string
	}{
		{"plenty", "1048576", "unlimited", "99999999", nil, 1000, "most"},
		{"files", "1024", "unlimited", "99999999", nil, 120, "open files"},
		{"processes", "1048576", "3200", "99999999", nil, 100, "threads"},
		{"memory", "1048576", "unlimited", "1048576", nil, 64, "free memory"},
		{"group's processes", "1048576", "unlimited", "99999999", map[string]string{"pids.max": "500", "pids.current": "20"}, 30, "control group"},
		{"group's memory", "1048576", "unlimited", "99999999", map[string]string{"memory.max": "167772160", "memory.current": "0"}, 10, "control group"},
		{"group without limits", "1048576", "unlimited", "99999999", map[string]string{"memory.max": "max", "pids.max": "max"}, 1000, "most"},
		{"nothing left", "64", "10", "1", nil, 1, ""},
	} {
		root := t.TempDir()
		files := map[string]string{
			"proc/self/limits": strings.NewReplacer("%f", c.files, "%p", c.processes).Replace(limits),
			"proc/self/cgroup": "0::/user/me\n",
			"proc/meminfo":     "MemTotal: 1 kB\nMemAvailable:   " + c.available + " kB\n",
		}
		for name, text := range c.group {
			files["sys/fs/cgroup/user/me/"+name] = text + "\n"
		}
		for name, text := range files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if n, because := demo.MaxWorkersAt(root); n != c.want || !strings.Contains(because, c.because) {
			t.Errorf("%s: %d (%s), want %d (%s)", c.name, n, because, c.want, c.because)
		}
	}
	if n, because := demo.MaxWorkersAt(t.TempDir()); n != 1000 {
		t.Errorf("nothing to read: %d (%s), want 1000", n, because)
	}
	if n, _ := demo.MaxWorkers(); n < 1 {
		t.Errorf("here: %d, want at least 1", n)
	}
}
