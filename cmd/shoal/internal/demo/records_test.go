package demo_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/demo"
	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// TestRecords sends tables through a ring that is smaller than they are, one of them with a word that is.
func TestRecords(t *testing.T) {
	proctest.NeedLinux(t, "shared memory")
	seg, err := shm.Anonymous(0)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	var many, long words.Table
	for i := range 50_000 {
		many.Add(fmt.Appendf(nil, "w%d", i), uint64(i)<<20|1)
	}
	long.Add([]byte("a"), 1<<64-1)
	long.Add([]byte(strings.Repeat("x", 10<<20)), 3)
	for name, table := range map[string]*words.Table{"empty": new(words.Table), "many": &many, "long": &long} {
		got, done, err := demo.SendBack(t.Context(), seg, table, 100_000)
		if err != nil || done != 100_000 {
			t.Fatalf("%s: %d ranges done, error %v", name, done, err)
		}
		if d := table.Diff(got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRecordsNonsense(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"nothing":          {"", io.EOF},
		"unknown":          {"?", demo.ErrRecord},
		"not dealt":        {"d", demo.ErrRecord},
		"empty word":       {"w\x00\x01", demo.ErrRecord},
		"long word":        {"w\x65aaa", demo.ErrRecord},
		"huge word":        {"w\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a", demo.ErrRecord},
		"cut off":          {"w\x05ab", io.EOF},
		"missing a word":   {"w\x01a\x01s\x00\x00\x00\x00\x02", demo.ErrRecord},
		"cut off at its n": {"w\x01a", io.EOF},
	} {
		if err := demo.ReadRecords(bufio.NewReader(strings.NewReader(c.in)), 100); !errors.Is(err, c.want) {
			t.Errorf("%s: error %v, want %v", name, err, c.want)
		}
	}
}

func FuzzRecords(f *testing.F) {
	f.Add([]byte("w\x01a\x01s\x00\x00\x00\x00\x01"))
	f.Add([]byte("w\x65aaa"))
	f.Fuzz(func(t *testing.T, in []byte) {
		demo.ReadRecords(bufio.NewReader(bytes.NewReader(in)), 100) // no panic, no hang
	})
}
