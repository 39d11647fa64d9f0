package ring_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// BenchmarkBytes is one record written and read in one goroutine: what the code itself costs. A copy of as many bytes
// from one slice to another, of which each line is then read, is for comparison.
func BenchmarkBytes(b *testing.B) {
	for _, n := range []int{8, 64, 1 << 10, 64 << 10, 1 << 20} {
		room := max(1<<16, 8*n)
		p, want := record(7, n), touched(n)
		b.Run(fmt.Sprintf("op=write/n=%d/impl=shoal", n), func(b *testing.B) {
			r := newBytes(b, memory(b, ring.BytesSize(room)), room, self(1))
			b.SetBytes(int64(n))
			for b.Loop() {
				if !r.TryWrite(p) {
					b.Fatal(r.Err())
				}
				q, ok := r.Next()
				if !ok || touch(q) != want {
					b.Fatal(ok, r.Err())
				}
				r.Advance()
			}
		})
		b.Run(fmt.Sprintf("op=write/n=%d/impl=copy", n), func(b *testing.B) {
			area := memory(b, room)
			b.SetBytes(int64(n))
			for at := 0; b.Loop(); at = (at + n) % room {
				copy(area[at:], p)
				if touch(area[at:at+n]) != want {
					b.Fatal("lines lost")
				}
			}
		})
		b.Run(fmt.Sprintf("op=loan/n=%d/impl=shoal", n), func(b *testing.B) {
			r := newBytes(b, memory(b, ring.BytesSize(room)), room, self(1))
			b.SetBytes(int64(n))
			for b.Loop() {
				c, ok := r.Reserve(n)
				if !ok {
					b.Fatal(r.Err())
				}
				c.Commit(n)
				if q, ok := r.Next(); !ok || len(q) != n {
					b.Fatal(len(q), ok)
				}
				r.Advance()
			}
		})
	}
}

// touch reads one byte of each cache line.
func touch(p []byte) (sum byte) {
	for i := 0; i < len(p); i += 64 {
		sum += p[i] | 1
	}
	return sum
}

// touched is what touch finds in record(7, n), for n a multiple of 256, or less than that.
func touched(n int) byte { return touch(record(7, min(n, 256))) * byte(max(1, n/256)) }

// BenchmarkBytesGoroutines streams records of 64 bytes from goroutines to one.
func BenchmarkBytesGoroutines(b *testing.B) {
	for _, writers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("writers=%d/impl=shoal", writers), func(b *testing.B) {
			mem := memory(b, ring.BytesSize(1<<16))
			r := newBytes(b, mem, 1<<16, self(1))
			p := record(7, 64)
			n := (b.N + writers - 1) / writers
			for i := range writers {
				w := openBytes(b, mem, self(uint32(i)+2))
				go func() {
					for i := 0; i < n; {
						if w.TryWrite(p) {
							i++
						} else {
							runtime.Gosched()
						}
					}
				}()
			}
			for i := 0; i < n*writers; {
				if _, ok := r.Next(); ok {
					r.Advance()
					i++
				} else {
					runtime.Gosched()
				}
			}
		})
	}
}
