//go:build !linux

package sys

import (
	"errors"
	"time"
)

// FutexRing is not there here.
type FutexRing struct{}

// NewFutexRing is not supported here.
func NewFutexRing(n int) (*FutexRing, error) { return nil, errors.ErrUnsupported }

// Wait is not supported here.
func (r *FutexRing) Wait(w FutexExpected, id uint64) error { return errors.ErrUnsupported }

// Cancel is not supported here.
func (r *FutexRing) Cancel(id uint64) error { return errors.ErrUnsupported }

// Completed does nothing here.
func (r *FutexRing) Completed(f func(id uint64, err error)) {}

// Sleep does nothing here.
func (r *FutexRing) Sleep(until time.Time) {}

// Close does nothing here.
func (r *FutexRing) Close() {}
