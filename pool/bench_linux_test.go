package pool_test

import (
	"slices"
	"testing"

	"github.com/shoal-ipc/shoal/pool"
)

func BenchmarkMap(b *testing.B) {
	p := newPool(b, 2)
	xs := make([]int, 100_000)
	for b.Loop() {
		pool.Map(b.Context(), p, square, xs)
	}
	b.ReportMetric(float64(len(xs)*b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func BenchmarkImapUnordered(b *testing.B) {
	p := newPool(b, 2)
	xs := make([]int, 100_000)
	for b.Loop() {
		for range pool.ImapUnordered(b.Context(), p, square, slices.Values(xs)) {
		}
	}
	b.ReportMetric(float64(len(xs)*b.N)/b.Elapsed().Seconds(), "tasks/s")
}

func BenchmarkApply(b *testing.B) {
	p := newPool(b, 2)
	for b.Loop() {
		pool.Apply(b.Context(), p, square, 3)
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		p := newPool(b, 2)
		pool.Map(b.Context(), p, square, []int{1, 2, 3})
		p.Terminate()
	}
}
