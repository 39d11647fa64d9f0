//go:build amd64 || arm64

package atomics

// HasPair reports whether this processor can change two words at once. The first 64-bit processors of AMD could
// not; every arm64 can.
func HasPair() bool { return hasPair() }

//go:noescape
func casPair(p *Pair, oldA, oldB, a, b uint64) (swapped bool)

func hasPair() bool
