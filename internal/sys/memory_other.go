//go:build !linux

package sys

import (
	"errors"
	"os"
)

// Supported reports whether this system has what shared segments need.
const Supported = false

// MemoryFile is not supported here.
func MemoryFile(name string, size int64) (*os.File, error) { return nil, errors.ErrUnsupported }

// Sealed is false here.
func Sealed(f *os.File) bool { return false }

// Commit is not supported here.
func Commit(f *os.File, off, n int64) error { return errors.ErrUnsupported }

// Reopen is not supported here.
func Reopen(f *os.File) (*os.File, error) { return nil, errors.ErrUnsupported }

// LockByte is not supported here.
func LockByte(f *os.File, at int64) (bool, error) { return false, errors.ErrUnsupported }

// UnlockBytes is not supported here.
func UnlockBytes(f *os.File, at, n int64) error { return errors.ErrUnsupported }

// BytesLocked is not supported here.
func BytesLocked(f *os.File, at, n int64) (bool, error) { return false, errors.ErrUnsupported }

// AwaitUnlocked is not supported here.
func AwaitUnlocked(f *os.File, at, n int64) error { return errors.ErrUnsupported }

// PidNamespace is 0 here.
func PidNamespace() uint64 { return 0 }

// Random is not supported here.
func Random(p []byte) error { return errors.ErrUnsupported }

// MarkProcess does nothing here.
func MarkProcess() {}

// Forked is false here.
func Forked() bool { return false }

// DontFork is not supported here.
func DontFork(mapping []byte) error { return errors.ErrUnsupported }
