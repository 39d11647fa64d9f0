package process_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/shoal-ipc/shoal/process"
)

// BenchmarkStartJoin is one child from its start to its end.
func BenchmarkStartJoin(b *testing.B) {
	for b.Loop() {
		join(b, start(b, nothing, process.None{}))
	}
}

// BenchmarkArgument is the same with an argument of some size.
func BenchmarkArgument(b *testing.B) {
	for _, size := range []int{64 << 10, 4 << 20, 64 << 20} {
		b.Run(fmt.Sprintf("bytes=%d", size), func(b *testing.B) {
			data := make([]byte, size)
			a := SumArgs{data, sha256.Sum256(data)}
			b.SetBytes(int64(size))
			for b.Loop() {
				p, err := process.Start(context.Background(), sum, a)
				if err != nil {
					b.Fatal(err)
				}
				join(b, p)
			}
		})
	}
}
