//go:build !linux

package sys

import (
	"errors"
	"sync/atomic"
)

// Dying is false here.
func Dying(pid int) bool { return false }

// RobustList is nothing here.
type RobustList struct{}

// The bits of a robust list's words.
const (
	RobustDied    = 1 << 30
	RobustWaiters = 1 << 31
)

// Set is not supported here.
func (l *RobustList) Set() (thread uint32, restore func(), err error) {
	return 0, nil, errors.ErrUnsupported
}

// Link does nothing here.
func (l *RobustList) Link(nodes []*atomic.Uint64) {}
