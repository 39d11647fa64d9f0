package crashpoint_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestNothingLeft reads compiled programs: without the tag there is nothing of the crash points in one that uses
// what has them, neither calls nor names; with it there is.
func TestNothingLeft(t *testing.T) {
	goTool, err := exec.LookPath("go") // go test puts its own in front
	if err != nil {
		t.Skip("no go command here to compile with")
	}
	const hit = "github.com/shoal-ipc/shoal/internal/crashpoint."
	names := pointNames(t)
	for _, c := range []struct {
		tags string
		left bool
	}{
		{"", false},
		{"crashpoint", true},
	} {
		t.Run("tags="+c.tags, func(t *testing.T) {
			program := filepath.Join(t.TempDir(), "program")
			build := exec.Command(goTool, "build", "-buildvcs=false", "-tags", c.tags, "-o", program, "./testdata/program")
			build.Env = append(os.Environ(), "GOOS=linux", "GOARCH=amd64", "CGO_ENABLED=0")
			if out, err := build.CombinedOutput(); err != nil {
				t.Fatalf("go build: %v\n%s", err, out)
			}
			symbols, err := exec.Command(goTool, "tool", "nm", program).Output()
			if err != nil {
				t.Fatalf("go tool nm: %v", err)
			}
			if has := bytes.Contains(symbols, []byte(hit)); has != c.left {
				t.Errorf("symbols of package crashpoint are there: %t, want %t", has, c.left)
			}
			binary, err := os.ReadFile(program)
			if err != nil {
				t.Fatal(err)
			}
			var found []string
			for _, name := range names {
				if bytes.Contains(binary, []byte(name)) {
					found = append(found, name)
				}
			}
			if !c.left && len(found) != 0 {
				t.Errorf("names of crash points are there: %s", strings.Join(found, " "))
			}
			if c.left && len(found) < len(names)/2 { // the program does not use all that has them
				t.Errorf("%d names of %d are there: %s", len(found), len(names), strings.Join(found, " "))
			}
		})
	}
}

// pointNames are the names of the crash points in the module.
func pointNames(t *testing.T) (names []string) {
	t.Helper()
	point := regexp.MustCompile(`crashpoint\.Hit\("([^"]+)"\)`)
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range point.FindAllSubmatch(text, -1) {
			names = append(names, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(names) < 30 {
		t.Fatalf("%d crash points: %s", len(names), strings.Join(names, " "))
	}
	return names
}
