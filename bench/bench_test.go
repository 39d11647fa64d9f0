package bench_test

import (
	"testing"

	"github.com/shoal-ipc/shoal/bench"
)

// BenchmarkRows is `shoal bench --peers` under package testing: one iteration measures each side of a row for one repeat. It reports
// the median cost of each side, and what Shoal costs in terms of each other side. With -short the repeats are
// so short that they show no more than that all works.
func BenchmarkRows(b *testing.B) {
	all, done, err := bench.Compare(bench.Options{Peers: true, Quick: testing.Short()})
	if err != nil {
		b.Fatal(err)
	}
	defer done()
	for _, c := range all {
		b.Run(c.Title(), func(b *testing.B) {
			if r := c.Result(); r.Err != nil {
				b.Skip(r.Err)
			}
			if !c.Tried() {
				if err := c.Repeat(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			c.Reset() // with -count, each is a measurement of its own
			for b.Loop() {
				if err := c.Repeat(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(0, "ns/op") // an operation of b is a repeat, which says nothing
			for _, s := range c.Result().Sides {
				if s.Err != nil {
					if b.Logf("%s: %v", s.Impl, s.Err); !s.Missing() {
						b.Fail()
					}
					continue
				}
				b.ReportMetric(s.Cost.Median, s.Impl+"-ns/op")
				if s.Ratio.Median != 0 {
					b.ReportMetric(s.Ratio.Median, "shoal/"+s.Impl)
				}
			}
		})
	}
}
