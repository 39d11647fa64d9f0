//go:build !race

package demo_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/demo"
	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
)

// For so many bytes the race detector takes more than a minute; TestRun has the same goroutines.

// TestRunLongWords: words longer than a range, than a ring, than a piece, and than the window.
func TestRunLongWords(t *testing.T) {
	dir := t.TempDir()
	long := strings.Repeat("xé", 1<<20)
	longest := strings.Repeat("Y", 3*words.PieceSize)
	for name, text := range map[string]string{"a": "a " + long + " b", "b": longest, "c": longest + " c " + longest + "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	r, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2, Words: true})
	if err != nil {
		t.Fatal(err)
	}
	if r.Words != 7 || r.Counts[long] != 1 || r.Counts[strings.ToLower(longest)] != 3 || r.Lengths[words.LongLength] != 4 {
		t.Errorf("%d words, %d and %d of them long, want 7, 1 and 3", r.Words, r.Counts[long], r.Counts[strings.ToLower(longest)])
	}
	var out bytes.Buffer
	if err := r.WriteText(&out); err != nil || out.Len() > 4096 {
		t.Errorf("%d bytes of text for people, error %v", out.Len(), err)
	}
}
