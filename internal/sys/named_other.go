//go:build !linux

package sys

import (
	"errors"
	"io/fs"
	"os"
)

// MemoryDir is not supported here.
func MemoryDir(path string) (dir *os.File, page int, err error) { return nil, 0, errors.ErrUnsupported }

// InMemory is false here.
func InMemory(f *os.File) bool { return false }

// NewUnnamedAt is not supported here.
func NewUnnamedAt(dir *os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

// NewAt is not supported here.
func NewAt(dir *os.File, name string) (*os.File, error) { return nil, errors.ErrUnsupported }

// OpenAt is not supported here.
func OpenAt(dir *os.File, name string, write bool) (*os.File, error) {
	return nil, errors.ErrUnsupported
}

// LinkAt is not supported here.
func LinkAt(f, dir *os.File, name string, proc bool) error { return errors.ErrUnsupported }

// RenameAt is not supported here.
func RenameAt(dir *os.File, from, to string) error { return errors.ErrUnsupported }

// RemoveAt is not supported here.
func RemoveAt(dir *os.File, name string) error { return errors.ErrUnsupported }

// LeadsTo is not supported here.
func LeadsTo(dir *os.File, name string, f *os.File) (bool, error) {
	return false, errors.ErrUnsupported
}

// ListDir is not supported here.
func ListDir(dir *os.File) ([]string, error) { return nil, errors.ErrUnsupported }

// Owner is -1 here.
func Owner(info fs.FileInfo) int { return -1 }

// LockByteShared is not supported here.
func LockByteShared(f *os.File, at int64) (bool, error) { return false, errors.ErrUnsupported }

// HugePages does nothing here.
func HugePages(mem []byte) {}

// Populate is not supported here.
func Populate(mem []byte) error { return errors.ErrUnsupported }

// Pin is not supported here.
func Pin(mem []byte) error { return errors.ErrUnsupported }

// MemoryLeft knows nothing here.
func MemoryLeft() (int64, bool) { return 0, false }
