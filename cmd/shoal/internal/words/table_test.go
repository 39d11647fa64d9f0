package words_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
)

func tableOf(m map[string]uint64) *words.Table {
	var t words.Table
	for w, n := range m {
		t.Add([]byte(w), n)
	}
	return &t
}

func TestTableAgainstMap(t *testing.T) {
	var table words.Table
	want := make(map[string]uint64)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200_000 {
		w := fmt.Sprintf("w%d", int(rnd.ExpFloat64()*5000))
		n := rnd.Uint64N(3) + 1
		table.Add([]byte(w), n)
		want[w] += n
	}
	if got := table.Map(); !maps.Equal(got, want) || table.Len() != len(want) {
		t.Fatalf("%d words, want %d, or counts differ", table.Len(), len(want))
	}
	for w, n := range want {
		if got := table.Count([]byte(w)); got != n {
			t.Fatalf("Count(%q) = %d, want %d", w, got, n)
		}
	}
	if got := table.Count([]byte("absent")); got != 0 {
		t.Errorf("Count of an absent word = %d", got)
	}
}

func TestTableEmpty(t *testing.T) {
	var table words.Table
	if table.Len() != 0 || table.Count([]byte("a")) != 0 || len(table.Top(10)) != 0 || len(table.Map()) != 0 {
		t.Error("the zero table is not empty")
	}
	if d := table.Diff(new(words.Table)); d != "" {
		t.Errorf("two empty tables differ: %s", d)
	}
}

// TestTableKeepsNoReference: the caller's buffer is the caller's.
func TestTableKeepsNoReference(t *testing.T) {
	var table words.Table
	w := []byte("shoal")
	table.Add(w, 1)
	copy(w, "other")
	if table.Count([]byte("shoal")) != 1 || table.Count(w) != 0 {
		t.Error("the table changed with its caller's buffer")
	}
}

func TestTableTop(t *testing.T) {
	table := tableOf(map[string]uint64{"c": 2, "a": 1, "b": 2, "ä": 2, "d": 9, "z": 1, "y": 1})
	for n, want := range []string{"[]", "[{d 9}]", "[{d 9} {b 2}]", "[{d 9} {b 2} {c 2}]", "[{d 9} {b 2} {c 2} {ä 2}]", "[{d 9} {b 2} {c 2} {ä 2} {a 1}]"} {
		if got := fmt.Sprint(table.Top(n)); got != want {
			t.Errorf("Top(%d) = %s, want %s", n, got, want)
		}
	}
	if got := len(table.Top(100)); got != 7 {
		t.Errorf("Top(100) has %d entries, want all 7", got)
	}
}

func TestTableMerge(t *testing.T) {
	a, b := tableOf(map[string]uint64{"x": 1, "y": 2}), tableOf(map[string]uint64{"y": 3, "z": 4})
	a.Merge(b)
	if want := (map[string]uint64{"x": 1, "y": 5, "z": 4}); !maps.Equal(a.Map(), want) {
		t.Errorf("%v, want %v", a.Map(), want)
	}
}

func TestTableDiff(t *testing.T) {
	base := map[string]uint64{"x": 1, "y": 2}
	for _, other := range []map[string]uint64{{"x": 1}, {"x": 1, "y": 3}, {"x": 1, "y": 2, "z": 1}, {}} {
		if tableOf(base).Diff(tableOf(other)) == "" || tableOf(other).Diff(tableOf(base)) == "" {
			t.Errorf("no difference found between %v and %v", base, other)
		}
	}
	if d := tableOf(base).Diff(tableOf(base)); d != "" {
		t.Errorf("a table differs from itself: %s", d)
	}
}

// BenchmarkTable is what the table is for: a text of frequent and rare words.
func BenchmarkTable(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rnd, 1.1, 1, 100_000)
	list := make([][]byte, 1<<18)
	for i := range list {
		list[i] = fmt.Appendf(nil, "word%d", zipf.Uint64())
	}
	b.Run("impl=table", func(b *testing.B) {
		var t words.Table
		for i := 0; b.Loop(); i++ {
			t.Add(list[i%len(list)], 1)
		}
	})
	b.Run("impl=map", func(b *testing.B) {
		m := make(map[string]*uint64)
		for i := 0; b.Loop(); i++ {
			w := list[i%len(list)]
			if p := m[string(w)]; p != nil {
				*p++
			} else {
				m[string(w)] = new(uint64)
			}
		}
	})
}

// BenchmarkCount is the whole of a worker's work, on words of every kind.
func BenchmarkCount(b *testing.B) {
	rnd := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(rnd, 1.1, 1, 100_000)
	forms := []string{"word%d ", "camelCase%d.", "Über%d, ", "x := f(%d)\n"}
	var text strings.Builder
	for text.Len() < 8<<20 {
		fmt.Fprintf(&text, forms[min(rnd.IntN(20), len(forms)-1)], zipf.Uint64())
	}
	bytes := slices.Clone([]byte(text.String()))
	b.SetBytes(int64(len(bytes)))
	var c words.Counter
	for b.Loop() {
		c.Count(bytes, 0, len(bytes))
	}
}
