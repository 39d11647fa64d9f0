//go:build !(amd64 || arm64)

package atomics

// HasPair reports whether this processor can change two words at once.
func HasPair() bool { return false }

func casPair(p *Pair, oldA, oldB, a, b uint64) (swapped bool) {
	panic("atomics: no double-width compare-and-swap here")
}
