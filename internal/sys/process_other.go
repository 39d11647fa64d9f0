//go:build !linux

package sys

import (
	"errors"
	"os"
)

// ControlPair is not supported here.
func ControlPair() (ours, theirs *os.File, err error) { return nil, nil, errors.ErrUnsupported }

// AdoptControl is not supported here.
func AdoptControl(fd int) (*os.File, error) { return nil, errors.ErrUnsupported }

// SendPacket is not supported here.
func SendPacket(f *os.File, p []byte, files ...*os.File) error { return errors.ErrUnsupported }

// ReceivePacket is not supported here.
func ReceivePacket(f *os.File, p []byte) (n int, files []*os.File, cut bool, err error) {
	return 0, nil, false, errors.ErrUnsupported
}

// NoProcess is false here.
func NoProcess(pid int) bool { return false }

// SetCloseOnExec is not supported here.
func SetCloseOnExec(fd int) error { return errors.ErrUnsupported }

// OneFile is false here.
func OneFile(a, b int) bool { return false }

// Unread is not supported here.
func Unread(f *os.File) (int, error) { return 0, errors.ErrUnsupported }

// Mark is not supported here.
func Mark() (read, write *os.File, err error) { return nil, nil, errors.ErrUnsupported }

// AwaitExit is not supported here.
func AwaitExit(pid int) error { return errors.ErrUnsupported }

// OpenProcess is not supported here.
func OpenProcess(pid int) (*os.File, error) { return nil, errors.ErrUnsupported }

// AwaitEnd is not supported here.
func AwaitEnd(f *os.File) error { return errors.ErrUnsupported }

// StopProcess is not supported here.
func StopProcess(pid int) error { return errors.ErrUnsupported }

// ContinueProcess is not supported here.
func ContinueProcess(pid int) error { return errors.ErrUnsupported }

// SignalSelf does nothing here.
func SignalSelf(kill bool) {}

// AwaitStopped is not supported here.
func AwaitStopped(pid int) error { return errors.ErrUnsupported }

// FileID is "" here.
func FileID(path string) string { return "" }
