package atomics_test

import (
	"sync"
	"testing"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
)

// pair is a Pair at a multiple of 16.
func pair() *atomics.Pair {
	pairs := new([2]atomics.Pair)
	return (*atomics.Pair)(unsafe.Add(unsafe.Pointer(pairs), uintptr(unsafe.Pointer(pairs))&8))
}

// TestPair: both words change, or none.
func TestPair(t *testing.T) {
	if !atomics.HasPair() {
		t.Skip("this processor cannot change two words at once")
	}
	p := pair()
	for _, c := range []struct {
		oldA, oldB, a, b uint64
		want             bool
	}{
		{0, 0, 1<<63 | 1, 1<<62 | 2, true},
		{0, 0, 3, 4, false},
		{1<<63 | 1, 0, 3, 4, false},
		{0, 1<<62 | 2, 3, 4, false},
		{1, 1<<62 | 2, 3, 4, false},
		{1<<63 | 1, 1<<62 | 2, 5, 6, true},
		{5, 6, 5, 6, true},
	} {
		a, b := p.First.Load(), p.Second.Load()
		if got := p.CompareAndSwap(c.oldA, c.oldB, c.a, c.b); got != c.want {
			t.Errorf("CompareAndSwap%v of %#x, %#x: %v", c, a, b, got)
		}
		if c.want {
			a, b = c.a, c.b
		}
		if p.First.Load() != a || p.Second.Load() != b {
			t.Errorf("after %v: %#x, %#x, want %#x, %#x", c, p.First.Load(), p.Second.Load(), a, b)
		}
	}
}

// TestPairCounts: nothing is lost when many change a pair at once, some of them only its first word.
func TestPairCounts(t *testing.T) {
	if !atomics.HasPair() {
		t.Skip("this processor cannot change two words at once")
	}
	const goroutines, rounds = 4, 20_000
	p := pair()
	var wg sync.WaitGroup
	for range goroutines {
		wg.Go(func() {
			for range rounds {
				for {
					a, b := p.First.Load(), p.Second.Load()
					if p.CompareAndSwap(a, b, a+1, b+1) {
						break
					}
				}
				for {
					a := p.First.Load()
					if p.First.CompareAndSwap(a, a+1<<32) {
						break
					}
				}
			}
		})
	}
	wg.Wait()
	const n = goroutines * rounds
	if a, b := p.First.Load(), p.Second.Load(); a != n<<32+n || b != n {
		t.Errorf("%#x and %#x, want %#x and %#x", a, b, uint64(n<<32+n), n)
	}
}
