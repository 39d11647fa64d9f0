package words_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
)

// tree makes files below a new directory; a name that ends in / is a directory, "a -> b" a symbolic link.
func tree(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		link, target, isLink := strings.Cut(name, " -> ")
		path := filepath.Join(dir, filepath.FromSlash(link))
		var err error
		switch {
		case strings.HasSuffix(name, "/"):
			err = os.MkdirAll(path, 0o777)
		case isLink:
			err = os.Symlink(target, path)
		default:
			if err = os.MkdirAll(filepath.Dir(path), 0o777); err == nil {
				err = os.WriteFile(path, []byte(name), 0o666)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// walk returns what Walk finds, relative to dir, which becomes the working directory.
func walk(t *testing.T, dir string, paths ...string) []string {
	t.Helper()
	t.Chdir(dir)
	files, err := words.Walk(t.Context(), paths)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, f := range files {
		names = append(names, filepath.ToSlash(f.Path))
	}
	return names
}

func TestWalk(t *testing.T) {
	dir := tree(t, "b/x", "a", ".hidden", "b/.deep/y", ".git/config", "b/.git/z", "c/.git", "empty/",
		"elsewhere/w", "b/tofile -> ../a", "b/todir -> ../elsewhere", "b/dangling -> nowhere", "b/loop -> loop")
	for _, c := range []struct {
		paths, want []string
	}{
		{[]string{"."}, []string{".hidden", "a", "b/.deep/y", "b/x", "c/.git", "elsewhere/w"}},
		{[]string{"b"}, []string{"b/.deep/y", "b/tofile", "b/x"}}, // a by its link
		{[]string{"b", "."}, []string{"b/.deep/y", "b/tofile", "b/x", ".hidden", "c/.git", "elsewhere/w"}},
		{[]string{"a", "./a", "b/../a", filepath.Join(dir, "a")}, []string{"a"}},
		{[]string{"b/todir"}, []string{"b/todir/w"}}, // a path itself may be a link
		{[]string{"b/todir", "elsewhere"}, []string{"b/todir/w"}},
		{[]string{"b/.git"}, []string{"b/.git/z"}}, // and a .git, when it is meant
		{[]string{"empty"}, []string{}},
	} {
		if got := walk(t, dir, c.paths...); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.paths, got, c.want)
		}
	}
}

func TestWalkErrors(t *testing.T) {
	dir := tree(t, "a", "dangling -> nowhere")
	for _, path := range []string{"nope", "a/b", "dangling"} {
		if _, err := words.Walk(t.Context(), []string{dir, filepath.Join(dir, path)}); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, path[:1])) {
			t.Errorf("%s: error %v, want one that names it", path, err)
		}
	}
	if _, err := words.Walk(t.Context(), []string{filepath.Join(dir, "nope")}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	cancel(enough)
	if _, err := words.Walk(ctx, []string{dir}); err != enough {
		t.Errorf("error %v, want the context's cause", err)
	}
}
