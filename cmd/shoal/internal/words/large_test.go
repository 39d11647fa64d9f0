//go:build !race

package words_test

import (
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
)

// In these tests one goroutine goes over many millions of bytes: the race detector could find nothing in them, and would
// take half a minute.

// TestTextLarge: a large file comes in pieces that no word crosses, and is judged as a whole before the first.
func TestTextLarge(t *testing.T) {
	line := "ein Wörtchen 日本語、" // 8 of 26 bytes can be cut
	big := strings.Repeat(line, words.PieceSize*2/len(line)+100)
	got, text, err := pieces(t, file(t, big))
	if err != nil || !text || len(got) < 3 {
		t.Fatalf("%d pieces, text %v, error %v", len(got), text, err)
	}
	if strings.Join(got, "") != big {
		t.Error("the pieces together are not the file")
	}
	var whole, parts words.Counter
	whole.Count([]byte(big), 0, len(big))
	for _, p := range got {
		parts.Count([]byte(p), 0, len(p))
	}
	if whole.Tally != parts.Tally || whole.Table.Diff(&parts.Table) != "" {
		t.Errorf("the pieces have %+v, the file %+v", parts.Tally, whole.Tally)
	}

	for _, bad := range []string{"\x00", "\xff", "日"[:2]} {
		if got, text, err := pieces(t, file(t, big+bad)); err != nil || text || len(got) != 0 {
			t.Errorf("with %q at the end: %d pieces, text %v, error %v", bad, len(got), text, err)
		}
	}
}

// TestTextLongWord: a word longer than a piece makes a longer piece.
func TestTextLongWord(t *testing.T) {
	word := strings.Repeat("ä", words.PieceSize/2+words.PieceSize/4)
	got, text, err := pieces(t, file(t, "a b "+word+" c"))
	if err != nil || !text {
		t.Fatal(text, err)
	}
	var c words.Counter
	for _, p := range got {
		c.Count([]byte(p), 0, len(p))
	}
	if c.Tally.Words != 4 || c.Table.Count([]byte(word)) != 1 {
		t.Errorf("%d words, want 4, the long one once", c.Tally.Words)
	}
}
