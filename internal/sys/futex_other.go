//go:build !linux

package sys

import (
	"errors"
	"sync/atomic"
)

// Monotonic is 0 here.
func Monotonic() int64 { return 0 }

// FutexWait is not supported here.
func FutexWait(w *atomic.Uint32, old uint32, deadline int64) error { return errors.ErrUnsupported }

// FutexWaitTwo is not supported here.
func FutexWaitTwo(own, shared *atomic.Uint32, old uint32, deadline int64) (woken bool, err error) {
	return false, errors.ErrUnsupported
}

// FutexMost is how many words FutexWaitAny would take.
const FutexMost = 128

// FutexExpected is nothing here.
type FutexExpected struct{}

// Expect is nothing here.
func Expect(w *atomic.Uint32, old uint32) FutexExpected { return FutexExpected{} }

// ExpectOwn is nothing here.
func ExpectOwn(w *atomic.Uint32, old uint32) FutexExpected { return FutexExpected{} }

// Wake wakes nobody here.
func (e FutexExpected) Wake() {}

// FutexWaitAny is not supported here.
func FutexWaitAny(words []FutexExpected, deadline int64) (woken int, err error) {
	return 0, errors.ErrUnsupported
}

// FutexWake wakes nobody here.
func FutexWake(w *atomic.Uint32, n int) int { return 0 }

// FutexWakeOwn wakes nobody here.
func FutexWakeOwn(w *atomic.Uint32) int { return 0 }

// HasWaitv is false here.
func HasWaitv() bool { return false }

// HasMembarrier is false here.
func HasMembarrier() bool { return false }

// RegisterBarrier is false here.
func RegisterBarrier() bool { return false }

// Barrier is false here.
func Barrier() bool { return false }

// HasIoUring is false here.
func HasIoUring() bool { return false }

// HasPidfd is false here.
func HasPidfd() bool { return false }
