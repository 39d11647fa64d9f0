package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBenchUnwritable: that FILE cannot be written is known before anything is measured, and what is in it survives.
func TestBenchUnwritable(t *testing.T) {
	code, stdout, stderr := shoal(t, "bench", "--quick", "--only", "value.add", "--json", filepath.Join(t.TempDir(), "no", "file"))
	if code != 1 || stdout != "" || !strings.Contains(stderr, "no such file") {
		t.Errorf("exit code %d, %q, %q", code, stdout, stderr)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := shoal(t, "bench", "--only", "nonsense", "--json", file); code != 2 {
		t.Errorf("exit code %d", code)
	}
	if got, err := os.ReadFile(file); string(got) != "old" {
		t.Errorf("%q, %v", got, err)
	}
}

// TestBenchMissing: a peer that is missing is told although the table is not.
func TestBenchMissing(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	code, stdout, stderr := shoal(t, "bench", "--quick", "--peers", "--only", "value.add", "--json", "-")
	if code != 0 || strings.Contains(stdout, "python") {
		t.Errorf("exit code %d, %q", code, stdout)
	}
	for _, want := range []string{"value.add, one-cpu, c: missing: ", "value.add, one-cpu, python: missing: "} {
		if !strings.Contains(stderr, want) {
			t.Errorf("%q does not contain %q", stderr, want)
		}
	}
}
