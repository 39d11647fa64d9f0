package rules_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// An error of a package, wherever it was returned, is found by errors.Is where the process is joined: package process names those
// of packages below it, others name their own by package sentinel.
func TestSentinelsTravel(t *testing.T) {
	table, err := os.ReadFile("../../process/errors.go")
	if err != nil {
		t.Fatal(err)
	}
	sentinel := regexp.MustCompile(`(?m)^(?:var|\t)\s*(Err[A-Z]\w*)\s*=`)
	found := 0
	for _, pkg := range []string{"locks", "ring", "shm", "value", "array", "futex", "queue", "pipe", "pool"} {
		own, _ := os.ReadFile("../../" + pkg + "/sentinels.go") // if it has some
		files, err := filepath.Glob("../../" + pkg + "/*.go")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range sentinel.FindAllSubmatch(text, -1) {
				found++
				if name := pkg + "." + string(m[1]); !strings.Contains(string(table), `"`+name+`":`) &&
					!strings.Contains(string(own), `sentinel.Add("`+name+`", `+string(m[1])+`)`) {
					t.Errorf("%s does not travel: neither process/errors.go nor its own sentinels.go has it", name)
				}
			}
		}
	}
	if found < 10 {
		t.Errorf("%d errors found", found)
	}
}
