//go:build !race

package race

import "unsafe"

// Enabled reports whether the race detector is on.
const Enabled = false

// Word stands for one piece of shared memory.
type Word struct{}

// At returns the Word of the shared memory at p.
func At(p unsafe.Pointer) *Word { return nil }

// Acquire orders what follows after every Release of w so far.
func (w *Word) Acquire() {}

// Release orders what came before ahead of every later Acquire of w.
func (w *Word) Release() {}
