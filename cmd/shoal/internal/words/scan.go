package words

import (
	"unicode"
	"unicode/utf8"
)

// LongLength is the last class of the histogram of word lengths: words of that many runes or more.
const LongLength = 256

// Tally is what counting adds up beside the words themselves. It has no pointers, so it can lie in shared memory.
type Tally struct {
	Bytes uint64 // of the ranges
	Words uint64
	Runes uint64 // of the words
}

// Add adds u to t.
func (t *Tally) Add(u Tally) {
	t.Bytes += u.Bytes
	t.Words += u.Words
	t.Runes += u.Runes
}

// Counter counts ranges of texts. Its zero value is ready; it is used by one goroutine at a time.
type Counter struct {
	Table   Table
	Tally   Tally
	Lengths [LongLength + 1]uint64 // Lengths[n] words have n runes, the last ones have LongLength or more

	lowered []byte // the word at hand, when it is not in lower case as it stands
}

// Count adds the words of text that begin in text[from:to]. It reads beyond to where the last word does, and
// up to a rune before from. It does not allocate, except for words that are new.
func (c *Counter) Count(text []byte, from, to int) {
	c.Tally.Bytes += uint64(to - from)
	i := skipBegun(text, from, to)
	for i < to {
		switch fold[text[i]] {
		case separator:
			i++
		case wide:
			r, n := utf8.DecodeRune(text[i:])
			if inWord(r) {
				n = c.wideWord(text[i:])
			}
			i += n
		default:
			i += c.asciiWord(text[i:])
		}
	}
}

// asciiWord adds the word at the beginning of text, whose first byte is an ASCII letter or digit, and returns its
// length in bytes.
func (c *Counter) asciiWord(text []byte) int {
	var changed byte
	n := len(text)
	for i, b := range text {
		f := fold[b]
		if f == separator {
			n = i
			break
		}
		if f == wide {
			return c.wideWord(text)
		}
		changed |= b ^ f
	}
	word := text[:n]
	if changed != 0 {
		word = append(c.lowered[:0], word...)
		for i, b := range word {
			word[i] = fold[b]
		}
		c.lowered = word
	}
	c.add(word, n)
	return n
}

// wideWord is asciiWord for words of any runes.
func (c *Counter) wideWord(text []byte) int {
	word := c.lowered[:0]
	i, runes := 0, 0
	for i < len(text) {
		r, n := utf8.DecodeRune(text[i:])
		if !inWord(r) {
			break
		}
		word = utf8.AppendRune(word, unicode.ToLower(r))
		i += n
		runes++
	}
	c.lowered = word
	c.add(word, runes)
	return i
}

func (c *Counter) add(word []byte, runes int) {
	c.Tally.Words++
	c.Tally.Runes += uint64(runes)
	c.Lengths[min(runes, LongLength)]++
	c.Table.Add(word, 1)
}

// skipBegun returns where in text[from:to] the first rune begins that is not of a word begun before from; to
// if there is none.
func skipBegun(text []byte, from, to int) int {
	i := from
	for i < to && !utf8.RuneStart(text[i]) {
		i++ // the rest of a rune that begins before from
	}
	if i == 0 || i >= to {
		return i
	}
	if r, _ := utf8.DecodeLastRune(text[:i]); !inWord(r) {
		return i
	}
	for i < to {
		r, n := utf8.DecodeRune(text[i:])
		if !inWord(r) {
			break
		}
		i += n
	}
	return min(i, to)
}

// lastBreak returns the greatest n for which no word and no rune of a longer text that begins with text crosses
// offset n; 0 if all of text may be of one word. It is known that text[:begun] has no such offset but 0.
func lastBreak(text []byte, begun int) int {
	begun = completeRunes(text[:begun])
	for i := completeRunes(text); i > begun; {
		r, n := utf8.DecodeLastRune(text[:i])
		if !inWord(r) {
			return i
		}
		i -= n
	}
	return 0
}

// completeRunes returns the length of text without the rune that its end cuts off, if any.
func completeRunes(text []byte) int {
	for i := len(text) - 1; i >= 0 && i > len(text)-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			if utf8.FullRune(text[i:]) {
				break
			}
			return i
		}
	}
	return len(text)
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }

// What fold says of bytes that are neither letters nor digits of ASCII.
const (
	separator = 0
	wide      = 0xff // a byte of a longer rune
)

// fold has the lower case of ASCII letters, and ASCII digits as they are.
var fold = func() (t [256]byte) {
	for b := range t {
		switch {
		case b >= utf8.RuneSelf:
			t[b] = wide
		case inWord(rune(b)):
			t[b] = byte(unicode.ToLower(rune(b)))
		}
	}
	return t
}()
