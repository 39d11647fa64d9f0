package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// prints is what the programs print.
var prints = map[string]string{
	"counter": "20000 40000\n",
	"array":   "1000000 6.666661664588418e+08\n",
	"recover": "50 150\n",
}

func TestExamples(t *testing.T) {
	dirs, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if !d.IsDir() {
			continue
		}
		t.Run(d.Name(), func(t *testing.T) {
			t.Parallel()
			want, ok := prints[d.Name()]
			if !ok {
				t.Fatal("say what it prints")
			}
			program := filepath.Join(t.TempDir(), d.Name())
			if out, err := exec.Command("go", "build", "-o", program, "./"+d.Name()).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			out, err := exec.Command(program).CombinedOutput()
			if err != nil || string(out) != want {
				t.Errorf("%v; it printed\n%swant\n%s", err, out, want)
			}
		})
	}
}
