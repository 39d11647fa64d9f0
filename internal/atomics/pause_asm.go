//go:build amd64 || 386 || arm64

package atomics

// Pause tells the CPU n times that this is a spin loop, so that a sibling thread and the power budget profit.
//
//go:noescape
func Pause(n uint32)
