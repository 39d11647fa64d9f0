//go:build !crashpoint

package crashpoint

// Enabled reports whether the program was built with -tags crashpoint.
const Enabled = false

// Hit marks a place between two changes of shared memory.
func Hit(name string) {}
