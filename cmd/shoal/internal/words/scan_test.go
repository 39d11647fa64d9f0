package words_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/internal/proctest"
)

// plain counts as the definition reads, one rune after the other.
func plain(text string) (map[string]uint64, words.Tally, [words.LongLength + 1]uint64) {
	table := make(map[string]uint64)
	var lengths [words.LongLength + 1]uint64
	tally := words.Tally{Bytes: uint64(len(text))}
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		n := utf8.RuneCountInString(w)
		table[strings.Map(unicode.ToLower, w)]++
		lengths[min(n, words.LongLength)]++
		tally.Words++
		tally.Runes += uint64(n)
	}
	return table, tally, lengths
}

// check counts text in the ranges that end at cuts and at the end of text, and compares with plain.
func check(t *testing.T, text string, cuts []int) {
	t.Helper()
	var c words.Counter
	from := 0
	for _, to := range append(slices.Sorted(slices.Values(cuts)), len(text)) {
		c.Count([]byte(text), from, to)
		from = to
	}
	table, tally, lengths := plain(text)
	if c.Tally != tally {
		t.Errorf("%q cut at %v: %+v, want %+v", text, cuts, c.Tally, tally)
	}
	if c.Lengths != lengths {
		t.Errorf("%q cut at %v: lengths %v, want %v", text, cuts, c.Lengths, lengths)
	}
	if got := c.Table.Map(); !maps.Equal(got, table) {
		t.Errorf("%q cut at %v: %v, want %v", text, cuts, got, table)
	}
}

var samples = []string{
	"",
	" ",
	"a",
	"one two  two\nThree",
	"x_y don't 4th 3.14 A1b2",
	"Ärger über ÄRGER; naïve",
	"日本語 と 英語、漢字",
	"“quoted”—and—dashed…",
	"İstanbul Ⱥ ΣΑΣ ǅ",
	"٣٤ ५६ ² ½ Ⅷ ⅷ", // Arabic and Devanagari digits are; superscripts, fractions and numerals are not
	"e\u0301 \ufeffbom a\u200bb",
	"𝔘𝔫𝔦 \U0001F600 𐐀𐐨",
	strings.Repeat("x", 300) + " " + strings.Repeat("é", 255) + " " + strings.Repeat("ß", 256),
}

func TestCountEveryTwoCuts(t *testing.T) {
	for _, text := range samples {
		if len(text) > 64 {
			check(t, text, nil)
			check(t, text, []int{1, 300, 302, 303, 700})
			continue
		}
		for i := range len(text) + 1 {
			for j := i; j <= len(text); j++ {
				check(t, text, []int{i, j})
			}
		}
	}
}

func TestCountEveryByteAlone(t *testing.T) {
	for _, text := range samples {
		var cuts []int
		for i := range len(text) {
			cuts = append(cuts, i)
		}
		check(t, text, cuts)
	}
}

// TestCountAnyCutting is the property: any cutting of any text gives the same answer as no cutting.
func TestCountAnyCutting(t *testing.T) {
	rnd := proctest.Rand(t)
	alphabet := []rune("aaabzAZ059 \n._-äÄßİıΣ日本。、“”𝔘\U0001F600\u0301²½\u00a0")
	for range 3000 {
		var b strings.Builder
		for range rnd.IntN(60) {
			for r, n := alphabet[rnd.IntN(len(alphabet))], 1+rnd.IntN(3); n > 0; n-- {
				b.WriteRune(r)
			}
		}
		text := b.String()
		var cuts []int
		for range rnd.IntN(12) {
			cuts = append(cuts, rnd.IntN(len(text)+1))
		}
		check(t, text, cuts)
		if t.Failed() {
			return
		}
	}
}

func FuzzCount(f *testing.F) {
	for i, s := range samples {
		f.Add(s, uint(i), uint(2*i))
	}
	f.Fuzz(func(t *testing.T, text string, i, j uint) {
		cuts := []int{int(i % uint(len(text)+1)), int(j % uint(len(text)+1))}
		if words.IsText([]byte(text)) {
			check(t, text, cuts)
			return
		}
		// What is no text is never counted, unless a file changes in the meantime: then anything but a panic
		// will do.
		slices.Sort(cuts)
		var c words.Counter
		c.Count([]byte(text), 0, cuts[0])
		c.Count([]byte(text), cuts[0], cuts[1])
		c.Count([]byte(text), cuts[1], len(text))
		words.LastBreak([]byte(text), 0)
	})
}

func TestLastBreak(t *testing.T) {
	for _, text := range samples {
		for end := range len(text) + 1 {
			got := words.LastBreak([]byte(text[:end]), 0)
			want := 0
			for n := range end + 1 {
				before, _ := utf8.DecodeLastRuneInString(text[:n])
				if n > 0 && utf8.ValidString(text[:n]) && !unicode.IsLetter(before) && !unicode.IsDigit(before) {
					want = n
				}
			}
			if got != want {
				t.Errorf("%q: %d, want %d", text[:end], got, want)
			}
			if again := words.LastBreak([]byte(text), words.LastBreak([]byte(text[:end]), 0)); again > len(text) {
				t.Errorf("%q: %d is beyond the end", text, again)
			}
		}
	}
	word := []byte("日本日本")
	for begun := range len(word) {
		if got := words.LastBreak(append(slices.Clone(word), " x"...), begun); got != len(word)+1 {
			t.Errorf("the first %d bytes known to be a word: %d, want %d", begun, got, len(word)+1)
		}
	}
}

func TestCut(t *testing.T) {
	for size := range 50 {
		for longest := 1; longest < 20; longest++ {
			at := 0
			for from, to := range words.Cut(size, longest) {
				if from != at || to <= from || to-from > longest {
					t.Fatalf("Cut(%d, %d): range [%d, %d) after %d", size, longest, from, to, at)
				}
				at = to
			}
			if at != size {
				t.Fatalf("Cut(%d, %d) ends at %d", size, longest, at)
			}
		}
	}
}

// TestCountAllocatesNothing: counting words that are known makes no garbage.
func TestCountAllocatesNothing(t *testing.T) {
	text := []byte(strings.Join(samples, " "))
	var c words.Counter
	c.Count(text, 0, len(text))
	if n := testing.AllocsPerRun(100, func() { c.Count(text, 0, len(text)) }); n != 0 {
		t.Errorf("%v allocations for a text of known words, want 0", n)
	}
}

func ExampleCounter() {
	text := []byte("The sea, the SEA!")
	var c words.Counter
	c.Count(text, 0, 6) // "sea" begins in the first range and belongs to it
	c.Count(text, 6, len(text))
	fmt.Println(c.Tally.Words, c.Table.Top(1))
	// Output: 4 [{sea 2}]
}
