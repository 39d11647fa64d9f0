package codec_test

import (
	"reflect"
	"strconv"
	"testing"

	"github.com/shoal-ipc/shoal/internal/codec"
)

// task is a struct of six small fields.
type task struct {
	ID   int64
	Name string
	At   float64
	OK   bool
	Data []byte
	N    uint32
}

func sampleTask() task {
	return task{12345, "resize image", 0.5, true, []byte("0123456789abcdef"), 70_000}
}

func BenchmarkCodec(b *testing.B) {
	measure(b, "fields=6", sampleTask())
	measure(b, "plain=1", 1.5)
	measure(b, "strings=8", []string{"a", "bb", "ccc", "dddd", "eeeee", "ffffff", "ggggggg", "hhhhhhhh"})
	measure(b, "tasks=8", []*task{ptr(sampleTask()), ptr(sampleTask()), ptr(sampleTask()), ptr(sampleTask()),
		ptr(sampleTask()), ptr(sampleTask()), ptr(sampleTask()), ptr(sampleTask())})
	measure(b, "pairs=8", map[string]int{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6, "g": 7, "h": 8})
}

func measure[T any](b *testing.B, name string, v T) {
	c, err := codec.Of[T]()
	if err != nil {
		b.Fatal(err)
	}
	data, err := c.Append(nil, &v)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("op=size/"+name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Size(&v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=append/"+name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if data, err = c.Append(data[:0], &v); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(len(data)), "bytes")
	})
	b.Run("op=decode/"+name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var x T
			if err := c.Decode(data, &x); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=marshal/"+name, func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := codec.Marshal(&v); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("op=unmarshal/"+name, func(b *testing.B) {
		b.ReportAllocs()
		dst := reflect.New(reflect.TypeFor[T]()).Interface()
		for b.Loop() {
			if err := codec.Unmarshal(data, dst); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkFloats compares runs of numbers with copies of the same memory.
func BenchmarkFloats(b *testing.B) {
	c, err := codec.Of[[]float64]()
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{16, 1 << 20} {
		v := make([]float64, n)
		for i := range v {
			v[i] = float64(i)
		}
		data, err := c.Append(nil, &v)
		if err != nil {
			b.Fatal(err)
		}
		raw := make([]byte, len(data))
		run := func(op, impl string, f func() error) {
			b.Run("op="+op+"/floats="+strconv.Itoa(n)+"/impl="+impl, func(b *testing.B) {
				b.SetBytes(int64(8 * n))
				b.ReportAllocs()
				for b.Loop() {
					if err := f(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("append", "shoal", func() (err error) { data, err = c.Append(data[:0], &v); return err })
		run("append", "copy", func() error { copy(raw, data); return nil })
		run("decode", "shoal", func() error { return c.Decode(data, &keepFloats) })
		run("decode", "copy", func() error { copy(raw, data); return nil })
		run("decode", "clone", func() error { keep = append([]byte(nil), data...); return nil })
	}
}

// What benchmarks make, so that it does not become garbage at once.
var (
	keep       []byte
	keepFloats []float64
)
