package words

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"unicode/utf8"
)

// PieceSize is the size in bytes up to which a file is read whole, and of the pieces of a larger one.
const PieceSize = 16 << 20

// ErrChanged is returned when a file is no longer what it was when Walk found it.
var ErrChanged = errors.New("file changed while it was being counted")

// Memory is where a text is read to.
type Memory interface {
	// Get returns n bytes to fill. The memory belongs to the reader until it has been visited or put back.
	Get(n int) ([]byte, error)
	// Put takes back the memory last got, which holds nothing to visit.
	Put()
}

// Text reads f and, if it is text, calls visit with all of it, in pieces that follow each other and that no
// word crosses; visit owns the piece. It reports whether f is text. A file of up to PieceSize bytes is one
// piece and is read once; a larger one is read twice, because it must be known to be text before its first
// piece is visited. Longer words make longer pieces.
//
// The error is ErrChanged if f's size or time are not what they were when Walk found it, or change until it
// is read. Then some pieces may have been visited.
func (f File) Text(ctx context.Context, mem Memory, visit func(piece []byte) error) (text bool, err error) {
	err = f.with(func(file *os.File) (err error) {
		if f.Size > PieceSize {
			text, err = f.large(ctx, file, mem, visit)
		} else {
			text, err = f.small(file, mem, visit)
		}
		return err
	})
	return text, err
}

// Again reads once more what Text visited as the piece of n bytes that begins at offset at of f, into memory
// that is the caller's afterwards, as it is the visitor's. The error is ErrChanged as it is of Text.
func (f File) Again(mem Memory, at int64, n int) (piece []byte, err error) {
	err = f.with(func(file *os.File) error {
		if piece, err = mem.Get(n); err != nil {
			return err
		}
		err := readFullAt(file, piece, at)
		if err == nil {
			err = f.check(file)
		}
		if err != nil {
			mem.Put()
		}
		return err
	})
	return piece, err
}

// with calls do with f open, if it is still what Walk found.
func (f File) with(do func(file *os.File) error) (err error) {
	defer func() {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%s disappeared: %w", f.Path, ErrChanged)
		case errors.Is(err, ErrChanged):
			err = fmt.Errorf("%s: %w", f.Path, err)
		}
	}()
	// Not blocking: what was a regular file may be a FIFO by now.
	file, err := os.OpenFile(f.Path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := f.check(file); err != nil {
		return err
	}
	return do(file)
}

func (f File) small(file *os.File, mem Memory, visit func([]byte) error) (bool, error) {
	if f.Size == 0 {
		return true, f.checkEmpty(file)
	}
	buf, err := mem.Get(int(f.Size))
	if err != nil {
		return false, err
	}
	err = readFull(file, buf)
	if err == nil {
		err = f.check(file)
	}
	if err != nil || !IsText(buf) {
		mem.Put()
		return false, err
	}
	return true, visit(buf)
}

func (f File) large(ctx context.Context, file *os.File, mem Memory, visit func([]byte) error) (bool, error) {
	if text, err := f.judge(ctx, file, mem); !text {
		return false, err
	}
	var rest []byte // of the piece before: the beginning of a word, perhaps
	for at := int64(0); at < f.Size; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n := int(min(int64(max(PieceSize, len(rest))), f.Size-at)) // doubling: a long word is copied a few times only
		buf, err := mem.Get(len(rest) + n)
		if err != nil {
			return false, err
		}
		copy(buf, rest)
		if err := readFullAt(file, buf[len(rest):], at); err != nil {
			mem.Put()
			return false, err
		}
		at += int64(n)
		end := len(buf)
		if at < f.Size {
			end = lastBreak(buf, len(rest))
		}
		rest = append(rest[:0], buf[end:]...)
		if end == 0 {
			mem.Put()
			continue
		}
		if err := visit(buf[:end]); err != nil {
			return false, err
		}
	}
	return true, f.check(file)
}

// judge reports whether all of file is text.
func (f File) judge(ctx context.Context, file *os.File, mem Memory) (bool, error) {
	buf, err := mem.Get(1 << 20)
	if err != nil {
		return false, err
	}
	defer mem.Put()
	rest := 0 // bytes at the beginning of buf that begin a rune
	for at := int64(0); at < f.Size; {
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		n := int(min(int64(len(buf)-rest), f.Size-at))
		if err := readFullAt(file, buf[rest:rest+n], at); err != nil {
			return false, err
		}
		at += int64(n)
		all := buf[:rest+n]
		whole := all
		if at < f.Size {
			whole = all[:completeRunes(all)]
		}
		if !IsText(whole) {
			return false, f.check(file)
		}
		rest = copy(buf, all[len(whole):])
	}
	return true, f.check(file)
}

// check returns ErrChanged if file is not what Walk found.
func (f File) check(file *os.File) error {
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || fileOf(f.Path, info) != f {
		return ErrChanged
	}
	return nil
}

// checkEmpty finds files that say they are empty and are not, as those of /proc do.
func (f File) checkEmpty(file *os.File) error {
	switch n, err := file.Read(make([]byte, 1)); {
	case n > 0:
		return fmt.Errorf("%s is not an ordinary file: its size is 0 but there is something to read", f.Path)
	case err != io.EOF:
		return err
	}
	return nil
}

// IsText reports whether text is valid UTF-8 without NUL.
func IsText(text []byte) bool { return bytes.IndexByte(text, 0) < 0 && utf8.Valid(text) }

func readFull(file *os.File, buf []byte) error {
	_, err := io.ReadFull(file, buf)
	return shortIsChanged(err)
}

func readFullAt(file *os.File, buf []byte, at int64) error {
	_, err := io.ReadFull(io.NewSectionReader(file, at, int64(len(buf))), buf)
	return shortIsChanged(err)
}

func shortIsChanged(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return ErrChanged
	}
	return err
}
