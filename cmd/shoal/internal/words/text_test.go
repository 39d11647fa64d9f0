package words_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
)

// heap is a Memory that never takes back what was visited.
type heap struct{ got, put int }

func (h *heap) Get(n int) ([]byte, error) { h.got++; return make([]byte, n), nil }
func (h *heap) Put()                      { h.put++ }

// file writes text to a file and returns it as Walk finds it.
func file(t *testing.T, text string) words.File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	files, err := words.Walk(t.Context(), []string{path})
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

// pieces reads f and checks that no memory is lost.
func pieces(t *testing.T, f words.File) (pieces []string, text bool, err error) {
	t.Helper()
	var mem heap
	text, err = f.Text(t.Context(), &mem, func(p []byte) error {
		pieces = append(pieces, string(p))
		return nil
	})
	if mem.got != mem.put+len(pieces) {
		t.Errorf("%d pieces of memory got, %d put back, %d visited", mem.got, mem.put, len(pieces))
	}
	return pieces, text, err
}

func TestText(t *testing.T) {
	for _, c := range []struct {
		name, content string
		text          bool
	}{
		{"empty", "", true},
		{"ASCII", "hello\n", true},
		{"UTF-8", "häßlich 日本", true},
		{"NUL", "a\x00b", false},
		{"Latin-1", "h\xe4", false},
		{"cut off", "日本"[:4], false},
		{"surrogate", "\xed\xa0\x80", false},
		{"overlong", "\xc0\x80", false},
	} {
		got, text, err := pieces(t, file(t, c.content))
		if err != nil || text != c.text {
			t.Errorf("%s: text %v, error %v", c.name, text, err)
		}
		if want := c.content; c.text && strings.Join(got, "") != want {
			t.Errorf("%s: %q, want %q", c.name, got, want)
		}
	}
}

// TestAgain reads the pieces of a large file a second time.
func TestAgain(t *testing.T) {
	f := file(t, strings.Repeat("word ", words.PieceSize/5+1000)+"é")
	all, _, err := pieces(t, f)
	if err != nil || len(all) < 2 {
		t.Fatalf("%d pieces, error %v", len(all), err)
	}
	at := int64(0)
	for i, p := range all {
		var mem heap
		got, err := f.Again(&mem, at, len(p))
		if err != nil || string(got) != p || mem.got != 1 || mem.put != 0 {
			t.Errorf("piece %d: %d bytes, %d of them wanted, error %v; memory %+v", i, len(got), len(p), err, mem)
		}
		at += int64(len(p))
	}
	if err := os.Chtimes(f.Path, time.Time{}, time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Again(new(heap), 0, 1); !errors.Is(err, words.ErrChanged) || !strings.Contains(err.Error(), f.Path) {
		t.Errorf("error %v, want ErrChanged and the file's name", err)
	}
	if err := os.Remove(f.Path); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Again(new(heap), 0, 1); !errors.Is(err, words.ErrChanged) {
		t.Errorf("error %v, want ErrChanged", err)
	}
}

func TestTextChanged(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"longer":      func(path string) error { return os.WriteFile(path, []byte("hello again"), 0o666) },
		"shorter":     func(path string) error { return os.Truncate(path, 1) },
		"later":       func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
		"gone":        os.Remove,
		"a directory": func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o777)) },
	} {
		f := file(t, "hello")
		if err := change(f.Path); err != nil {
			t.Fatal(err)
		}
		_, _, err := pieces(t, f)
		if !errors.Is(err, words.ErrChanged) || !strings.Contains(err.Error(), f.Path) {
			t.Errorf("%s: error %v, want ErrChanged and the file's name", name, err)
		}
	}
}

// TestTextChangedMeanwhile: a large file that changes between its judgement and its end.
func TestTextChangedMeanwhile(t *testing.T) {
	f := file(t, strings.Repeat("word ", words.PieceSize/5+1000))
	_, err := f.Text(t.Context(), new(heap), func([]byte) error { return os.Truncate(f.Path, 10) })
	if !errors.Is(err, words.ErrChanged) {
		t.Errorf("error %v, want ErrChanged", err)
	}
}

func TestTextVisitFails(t *testing.T) {
	stop := errors.New("stop")
	if _, err := file(t, "hello").Text(t.Context(), new(heap), func([]byte) error { return stop }); err != stop {
		t.Errorf("error %v, want visit's", err)
	}
}
