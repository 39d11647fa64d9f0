//go:build !linux

package sys

import "errors"

// SetAffinity is not supported here.
func SetAffinity(cpu int) error { return errors.ErrUnsupported }

// CurrentCPU is -1 here.
func CurrentCPU() int { return -1 }
