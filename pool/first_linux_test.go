package pool_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/pool"
)

func TestFirst(t *testing.T) {
	p := newPool(t, 2)
	for i := range 10 {
		v, err := pool.Apply(t.Context(), p, square, i)
		if v != i*i || err != nil {
			t.Fatal(v, err)
		}
	}
	xs := make([]int, 10000)
	for i := range xs {
		xs[i] = i
	}
	rs, err := pool.Map(t.Context(), p, square, xs)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range rs {
		if r != i*i {
			t.Fatal(i, r)
		}
	}
	big := string(make([]byte, 1<<20))
	ss, err := pool.Map(t.Context(), p, repeat, []string{"a", "", big, big})
	if err != nil || ss[0] != "aa" || ss[2] != big+big {
		t.Fatal(err, len(ss[2]))
	}
	n := 0
	for v, err := range pool.Imap(t.Context(), p, square, slices.Values(xs)) {
		if v != n*n || err != nil {
			t.Fatal(v, err)
		}
		n++
	}
	sum := 0
	for v, err := range pool.ImapUnordered(t.Context(), p, square, slices.Values(xs)) {
		if err != nil {
			t.Fatal(v, err)
		}
		sum += v
	}
	fmt.Println(n, sum, p.Stats())
	ds, err := pool.Map(t.Context(), p, die, []int{0, 0, -9, 0, 0})
	fmt.Println(ds, err)
	_, err = pool.Apply(t.Context(), p, square, -1)
	fmt.Println(err, p.Stats())
	p.Close()
	if err := p.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func BenchmarkMap(b *testing.B) {
	p := newPool(b, 2)
	xs := make([]int, 100000)
	pool.Map(b.Context(), p, square, xs)
	b.ResetTimer()
	start := time.Now()
	for range b.N {
		pool.Map(b.Context(), p, square, xs)
	}
	b.ReportMetric(float64(len(xs)*b.N)/time.Since(start).Seconds(), "tasks/s")
}

func BenchmarkImapUnordered(b *testing.B) {
	p := newPool(b, 2)
	xs := make([]int, 100000)
	pool.Map(b.Context(), p, square, xs)
	b.ResetTimer()
	start := time.Now()
	for range b.N {
		for range pool.ImapUnordered(b.Context(), p, square, slices.Values(xs)) {
		}
	}
	b.ReportMetric(float64(len(xs)*b.N)/time.Since(start).Seconds(), "tasks/s")
}

func BenchmarkApply(b *testing.B) {
	p := newPool(b, 2)
	b.ResetTimer()
	for range b.N {
		pool.Apply(b.Context(), p, square, 3)
	}
}

func BenchmarkStart(b *testing.B) {
	for range b.N {
		p := newPool(b, 2)
		pool.Map(b.Context(), p, square, []int{1, 2, 3})
		p.Terminate()
	}
}
