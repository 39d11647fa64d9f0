//go:build !linux

package sys

import (
	"errors"
	"time"
)

// Bind is not supported here.
func Bind(cpus ...int) error { return errors.ErrUnsupported }

// CPUs is nil here.
func CPUs() []int { return nil }

// CurrentCPU is -1 here.
func CurrentCPU() int { return -1 }

// Yield does nothing here.
func Yield() {}

// CPUTime is not supported here.
func CPUTime() (time.Duration, error) { return 0, errors.ErrUnsupported }

// CPUTimeOf is not supported here.
func CPUTimeOf(pid int) (time.Duration, error) { return 0, errors.ErrUnsupported }
