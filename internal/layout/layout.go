package layout

// CacheLine is how far apart words must lie that different processors write: 128 bytes. A line is 64
// bytes on x86-64, but its prefetcher fetches lines in pairs, so neighbours of a pair disturb each
// other too; and several arm64 processors (Apple's among them) have lines of 128 bytes. It is the
// same on every architecture because it is part of the shared format. (After crossbeam-utils,
// cache_padded.rs, https://docs.rs/crossbeam-utils.)
const CacheLine = 128

// Up rounds n up to a multiple of to, which must be a power of two. It wraps around if the result does
// not fit; whoever rounds a number from elsewhere checks its range first.
func Up[T ~int | ~uint32 | ~uint64 | ~uintptr](n, to T) T {
	return (n + to - 1) &^ (to - 1)
}
