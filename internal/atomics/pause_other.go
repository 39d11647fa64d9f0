//go:build !(amd64 || 386 || arm64)

package atomics

// Pause passes n short moments; this architecture has no hint that Go can give.
func Pause(n uint32) {
	for range n {
		spin()
	}
}

//go:noinline
func spin() {}
