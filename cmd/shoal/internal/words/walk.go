package words

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// File is a regular file as the walk found it.
type File struct {
	Path    string
	Size    int64
	ModTime int64 // nanoseconds since 1970
}

func fileOf(path string, info fs.FileInfo) File {
	return File{path, info.Size(), info.ModTime().UnixNano()}
}

// Walk finds the regular files at and under paths, in the order of the paths and then of the names. Files
// that are found twice, because paths overlap or by symbolic links, are reported once; hard links are files
// of their own.
//
// A path itself may be a symbolic link to anything. Below it, a link to a file is followed and one to a
// directory is not. Hidden files are files; directories called .git are left out, unless they are a path
// themselves. What is neither a regular file nor a directory (a socket, a device, a dangling link) is left
// out. A path that does not exist and a directory that cannot be read are errors.
func Walk(ctx context.Context, paths []string) ([]File, error) {
	w := walk{ctx: ctx, seen: make(map[string]bool)}
	for _, p := range paths {
		real, err := realPath(p)
		if err != nil {
			return nil, err
		}
		// The names in the result begin as the caller wrote them; what has been seen is known by its real path.
		err = filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
			return w.visit(path, filepath.Join(p, path[len(real):]), path == real, d, err)
		})
		if err != nil {
			return nil, err
		}
	}
	return w.files, nil
}

type walk struct {
	ctx   context.Context
	seen  map[string]bool // by real path
	files []File
}

func (w *walk) visit(path, shown string, root bool, d fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	switch t := d.Type(); {
	case t.IsDir():
		if d.Name() == ".git" && !root {
			return filepath.SkipDir
		}
		return nil
	case t.IsRegular():
		info, err := d.Info()
		if err != nil {
			return err
		}
		w.add(path, fileOf(shown, info))
	case t&fs.ModeSymlink != 0:
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() {
			return nil // dangling, a loop, a directory or a device
		}
		real, err := realPath(path)
		if err != nil {
			return err
		}
		w.add(real, fileOf(shown, info))
	}
	return nil
}

func (w *walk) add(real string, f File) {
	if !w.seen[real] {
		w.seen[real] = true
		w.files = append(w.files, f)
	}
}

// realPath is absolute and without symbolic links.
func realPath(path string) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err == nil {
		real, err = filepath.Abs(real)
	}
	if inner := (*fs.PathError)(nil); errors.As(err, &inner) {
		err = inner.Err // which part of path it is about depends on links: name all of it
	}
	if err != nil {
		return "", &fs.PathError{Op: "find", Path: path, Err: err}
	}
	return real, nil
}
