package ring_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
)

// beginnings are how many records, and bytes, have gone through a ring before a test begins.
var beginnings = []struct{ at, from uint64 }{
	{0, 0},
	{1<<32 - 5, 1<<32 - 16},
	{1<<64 - 5, 1<<64 - 24},
	{16*2048 - 3, 8},               // laps in words wrap around
	{1<<63 - 2, 1<<63 - 8},         // signs
	{3<<40 + 7, 1<<64 - 1<<13 + 8}, // the bytes wrap around somewhat later
}

func newBytes(t testing.TB, mem []byte, n int, p ring.Peers) *ring.Bytes {
	t.Helper()
	r, err := ring.NewBytes(mem, n, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openBytes(t testing.TB, mem []byte, p ring.Peers) *ring.Bytes {
	t.Helper()
	r, err := ring.OpenBytes(mem, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// record is what a test writes as number i: n bytes that depend on both.
func record(i uint64, n int) []byte {
	p := make([]byte, n)
	fill(p, i)
	return p
}

func fill(p []byte, i uint64) {
	for j := range p {
		p[j] = byte(i>>(8*(j%8))) ^ byte(j)
	}
}

// isRecord reports whether p is record i.
func isRecord(p []byte, i uint64) bool {
	for j := range p {
		if p[j] != byte(i>>(8*(j%8)))^byte(j) {
			return false
		}
	}
	return true
}

// readAll takes all records there are.
func readAll(r *ring.Bytes) (got [][]byte) {
	for p, ok := r.Next(); ok; p, ok = r.Next() {
		got = append(got, bytes.Clone(p))
		r.Advance()
	}
	return got
}

// texts are records as strings.
func texts(records [][]byte) (s []string) {
	for _, p := range records {
		s = append(s, string(p))
	}
	return s
}

func TestBytesSize(t *testing.T) {
	const h = ring.BytesHeaderSize
	for _, c := range []struct{ n, want int }{
		{-1, h + 16*16 + 64}, {0, h + 16*16 + 64}, {1, h + 16*16 + 64}, {64, h + 16*16 + 64}, {65, h + 16*16 + 128},
		{1000, h + 16*16 + 1024}, {4096, h + 64*16 + 4096}, {1 << 20, h + 1<<14*16 + 1<<20},
		{1 << 29, h + 1<<16*16 + 1<<29}, {math.MaxInt, math.MaxInt},
	} {
		if got := ring.BytesSize(c.n); got != c.want {
			t.Errorf("BytesSize(%d) = %d, want %d", c.n, got, c.want)
		}
	}
	if bits.UintSize == 64 {
		most := math.MaxInt>>29 + 1
		if got, want := ring.BytesSize(most), h+1<<16*16+most; got != want {
			t.Errorf("BytesSize of 16 GiB: %d, want %d", got, want)
		}
		if got := ring.BytesSize(most + 1); got != math.MaxInt {
			t.Errorf("BytesSize of more than 16 GiB: %d", got)
		}
	}
}

func TestNewBytesRefuses(t *testing.T) {
	mem := memory(t, ring.BytesSize(1024))
	for name, try := range map[string]func() (*ring.Bytes, error){
		"no room":         func() (*ring.Bytes, error) { return ring.NewBytes(mem, 0, self(1)) },
		"too much room":   func() (*ring.Bytes, error) { return ring.NewBytes(mem, math.MaxInt, self(1)) },
		"too short":       func() (*ring.Bytes, error) { return ring.NewBytes(mem[:len(mem)-1], 1024, self(1)) },
		"no memory":       func() (*ring.Bytes, error) { return ring.NewBytes(nil, 1024, self(1)) },
		"not aligned":     func() (*ring.Bytes, error) { return ring.NewBytes(mem[8:], 512, self(1)) },
		"no peers":        func() (*ring.Bytes, error) { return ring.NewBytes(mem, 1024, nil) },
		"open, too short": func() (*ring.Bytes, error) { return ring.OpenBytes(mem[:ring.BytesHeaderSize-1], self(1)) },
		"open, nothing":   func() (*ring.Bytes, error) { return ring.OpenBytes(mem, self(1)) },
	} {
		if r, err := try(); r != nil || err == nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	r := newBytes(t, mem, 1000, self(1))
	if r.Cap() != 1024 || r.Max() != 128 {
		t.Errorf("Cap %d, Max %d, want 1024 and 128", r.Cap(), r.Max())
	}
	if _, err := ring.NewBytes(mem, 1024, self(2)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v, want fs.ErrExist", err)
	}
	ring.ClearBytesMagic(mem)
	if _, err := ring.OpenBytes(mem, self(1)); !errors.Is(err, ring.ErrKind) {
		t.Errorf("killed in NewBytes: %v, want ErrKind", err)
	}
	newBytes(t, mem, 1024, self(2))
}

func TestOpenBytesRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(mem []byte) []byte
		want  error
	}{
		{"zeroes", func(mem []byte) []byte { clear(mem); return mem }, ring.ErrKind},
		{"another magic", func(mem []byte) []byte { mem[7] ^= 1; return mem }, ring.ErrKind},
		{"another version", func(mem []byte) []byte { mem[8] ^= 3; return mem }, ring.ErrKind},
		{"an SPSC", func(mem []byte) []byte { clear(mem); newSPSC[uint64](t, mem, 4, self(1)); return mem }, ring.ErrKind},
		{"room 0", func(mem []byte) []byte { put(mem[16:], 0); return mem }, ring.ErrCorrupt},
		{"room 32", func(mem []byte) []byte { put(mem[16:], 32); return mem }, ring.ErrCorrupt},
		{"room 1000", func(mem []byte) []byte { put(mem[16:], 1000); return mem }, ring.ErrCorrupt},
		{"room 2048", func(mem []byte) []byte { put(mem[16:], 2048); return mem }, ring.ErrCorrupt},
		{"room huge", func(mem []byte) []byte { put(mem[16:], 1<<63); return mem }, ring.ErrCorrupt},
		{"slots 0", func(mem []byte) []byte { put(mem[24:], 0); return mem }, ring.ErrCorrupt},
		{"slots 8", func(mem []byte) []byte { put(mem[24:], 8); return mem }, ring.ErrCorrupt},
		{"slots 24", func(mem []byte) []byte { put(mem[24:], 24); return mem }, ring.ErrCorrupt},
		{"slots 32", func(mem []byte) []byte { put(mem[24:], 32); return mem }, ring.ErrCorrupt},
		{"slots huge", func(mem []byte) []byte { put(mem[24:], 1<<60); return mem }, ring.ErrCorrupt},
		{"cut off", func(mem []byte) []byte { return mem[:len(mem)-1] }, ring.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory(t, ring.BytesSize(1024))
			newBytes(t, mem, 1024, self(1))
			if _, err := ring.OpenBytes(c.spoil(mem), self(1)); !errors.Is(err, c.want) {
				t.Errorf("OpenBytes: %v, want %v", err, c.want)
			}
		})
	}
}

// put writes a number as the machine does.
func put(b []byte, x uint64) { binary.NativeEndian.PutUint64(b, x) }

// TestBytesLengths: records of each length come out as they went in, and lie at multiples of 8 in one piece.
func TestBytesLengths(t *testing.T) {
	for _, b := range beginnings {
		mem := memory(t, ring.BytesSize(2048))
		w := newBytes(t, mem, 2048, self(1))
		w.SetStart(b.at, b.from)
		r := openBytes(t, mem, self(2))
		for n := range w.Max() + 1 {
			want := record(uint64(n), n)
			if !w.TryWrite(want) {
				t.Fatalf("TryWrite of %d bytes: %v", n, w.Err())
			}
			p, ok := r.Next()
			if !ok || !bytes.Equal(p, want) || cap(p) != n {
				t.Fatalf("Next: %v, %v, want %v; %v", p, ok, want, r.Err())
			}
			if n > 0 && (addressOf(p)-addressOf(mem))%8 != 0 {
				t.Fatalf("record of %d bytes at %#x", n, addressOf(p))
			}
			if q, ok := r.Next(); !ok || !bytes.Equal(p, q) {
				t.Fatalf("Next again: %v, %v", q, ok)
			}
			r.Advance()
			if p, ok := r.Next(); ok {
				t.Fatalf("Next of an empty ring: %v", p)
			}
		}
		if w.TryWrite(make([]byte, w.Max()+1)) || !errors.Is(w.Err(), ring.ErrTooLong) {
			t.Errorf("TryWrite of more than Max: Err %v", w.Err())
		}
		if _, ok := w.Reserve(-1); ok || !errors.Is(w.Err(), ring.ErrTooLong) {
			t.Errorf("Reserve(-1): %v, Err %v", ok, w.Err())
		}
		if !w.TryWrite(nil) || w.Err() != nil {
			t.Errorf("TryWrite after one that was too long: Err %v", w.Err())
		}
		if p, ok := r.Next(); !ok || len(p) != 0 {
			t.Errorf("an empty record: %v, %v", p, ok)
		}
	}
}

// TestBytesFull: as many records are accepted as there is room for, by bytes or by descriptors, and one more for
// each that is freed.
func TestBytesFull(t *testing.T) {
	for _, b := range beginnings {
		for _, c := range []struct{ room, n, want int }{
			{1024, 128, 8}, {1024, 8, 16}, {1024, 0, 16}, {64, 8, 8}, {1 << 14, 64, 256}, {1 << 14, 8, 256}, {1 << 14, 2048, 8},
		} {
			t.Run(fmt.Sprintf("at=%#x/room=%d/n=%d", b.at, c.room, c.n), func(t *testing.T) {
				r := newBytes(t, memory(t, ring.BytesSize(c.room)), c.room, self(1))
				r.SetStart(b.at, b.from&^uint64(c.room-1)) // so that the records fit without a gap
				in, out := uint64(0), uint64(0)
				for r.TryWrite(record(in, c.n)) {
					in++
				}
				if in != uint64(c.want) || r.Err() != nil {
					t.Fatalf("%d records fit, want %d, Err %v", in, c.want, r.Err())
				}
				for range 3 * c.want {
					p, ok := r.Next()
					if !ok || !bytes.Equal(p, record(out, c.n)) {
						t.Fatalf("record %d: %v, %v", out, p, ok)
					}
					if r.TryWrite(p) {
						t.Fatal("TryWrite before Advance")
					}
					r.Advance()
					out++
					if !r.TryWrite(record(in, c.n)) || r.TryWrite(record(in, c.n)) {
						t.Fatalf("TryWrite after Advance: Err %v", r.Err())
					}
					in++
				}
				if got := len(readAll(r)); got != c.want {
					t.Errorf("%d records at the end, want %d", got, c.want)
				}
			})
		}
	}
}

// TestBytesOrder: records come in the order of their claims, an unfinished one holds those behind it up, a
// committed one may be shorter than claimed, an aborted one is none, and its room is used again.
func TestBytesOrder(t *testing.T) {
	for _, b := range beginnings {
		r := newBytes(t, memory(t, ring.BytesSize(1024)), 1024, self(1))
		r.SetStart(b.at, b.from)
		reserve := func(n int) ring.Record {
			t.Helper()
			c, ok := r.Reserve(n)
			if !ok || len(c.Data) != n || cap(c.Data) != n {
				t.Fatalf("Reserve(%d): %d bytes, %v, %v", n, len(c.Data), ok, r.Err())
			}
			return c
		}
		first, second, third, last := reserve(100), reserve(50), reserve(8), reserve(0)
		if !r.TryWrite([]byte("after")) {
			t.Fatal(r.Err())
		}
		none := func(when string) {
			t.Helper()
			if p, ok := r.Next(); ok {
				t.Fatalf("Next %s: %q", when, p)
			}
		}
		none("before the first commit")
		third.Data[0] = '3'
		third.Commit(1)
		last.Commit(0)
		second.Abort()
		none("before the first commit")
		copy(first.Data, "the first")
		first.Commit(9)
		first.Abort() // too late
		first.Commit(1)
		third.Commit(8)
		if got, want := texts(readAll(r)), []string{"the first", "3", "", "after"}; !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
		first.Commit(1)
		second.Commit(1)
		none("after commits of records that are gone")

		// A ring full of aborted records is empty.
		for range 3 * r.Slots() {
			reserve(128).Abort()
			none("of aborted records")
		}
		if r.Err() != nil {
			t.Error(r.Err())
		}
	}
}

// TestBytesManyTombstones: one Next passes over all of a full ring.
func TestBytesManyTombstones(t *testing.T) {
	r := newBytes(t, memory(t, ring.BytesSize(1024)), 1024, self(1))
	for range 5 {
		for i := range r.Slots() {
			if c, ok := r.Reserve(8); !ok {
				t.Fatal(i, r.Err())
			} else if i == r.Slots()-1 {
				c.Commit(8)
			} else {
				c.Abort()
			}
		}
		if p, ok := r.Next(); !ok || len(p) != 8 {
			t.Fatalf("Next behind tombstones: %v, %v", p, ok)
		}
		r.Advance()
	}
}

func TestBytesMisuse(t *testing.T) {
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s does not panic", name)
			}
		}()
		f()
	}
	r := newBytes(t, memory(t, ring.BytesSize(1024)), 1024, self(1))
	panics("Advance without Next", func() { r.Advance() })
	c, _ := r.Reserve(9)
	panics("Commit(-1)", func() { c.Commit(-1) })
	panics("Commit of more than was reserved", func() { c.Commit(10) })
	panics("Commit of nothing", func() { ring.Record{}.Commit(0) })
	ring.Record{}.Abort() // nothing, so that it may be deferred
	c.Data = c.Data[:3]
	c.Commit(9)
	if p, ok := r.Next(); !ok || len(p) != 9 {
		t.Errorf("Next: %v, %v", p, ok)
	}
	r.Advance()
	panics("a second Advance", func() { r.Advance() })
	r.TryWrite([]byte("x"))
	r.Next()
	r.Close()
	panics("Advance after Close", func() { r.Advance() })
}

// TestBytesEnds: one handle has the consumer's end; Close hands it on, with the record in hand.
func TestBytesEnds(t *testing.T) {
	mem := memory(t, ring.BytesSize(1024))
	a := newBytes(t, mem, 1024, self(1))
	sameProcess, other := openBytes(t, mem, self(1)), openBytes(t, mem, self(2))
	a.TryWrite([]byte("one"))
	if p, ok := a.Next(); !ok || string(p) != "one" {
		t.Fatalf("Next: %q, %v", p, ok)
	}
	if err := a.Consume(); err != nil {
		t.Errorf("Consume again: %v", err)
	}
	for name, r := range map[string]*ring.Bytes{"same process": sameProcess, "other process": other} {
		if err := r.Consume(); !errors.Is(err, ring.ErrBusy) || r.Err() != nil {
			t.Errorf("%s: Consume: %v, Err %v", name, err, r.Err())
		}
		if p, ok := r.Next(); ok || !errors.Is(r.Err(), ring.ErrBusy) {
			t.Errorf("%s: Next: %q, %v, Err %v", name, p, ok, r.Err())
		}
		if !r.TryWrite([]byte(name)) {
			t.Errorf("%s: TryWrite: %v", name, r.Err())
		}
	}
	if err := a.Close(); err != nil || a.Close() != nil || !errors.Is(a.Err(), os.ErrClosed) {
		t.Errorf("Close: %v, Err %v", err, a.Err())
	}
	if _, ok := a.Next(); ok || a.TryWrite(nil) || !errors.Is(a.Consume(), os.ErrClosed) {
		t.Error("a closed handle works")
	}
	got := texts(readAll(other))
	if len(got) != 3 || got[0] != "one" || other.Err() != nil {
		t.Errorf("after Close: %q, Err %v", got, other.Err())
	}
	if other.Consumer() != 2 {
		t.Errorf("the end belongs to %d", other.Consumer())
	}
}

// TestBytesCloseAborts: what a handle has reserved and not committed is no record after its Close.
func TestBytesCloseAborts(t *testing.T) {
	mem := memory(t, ring.BytesSize(1024))
	a, b := newBytes(t, mem, 1024, self(1)), openBytes(t, mem, self(1))
	b.NoSpin()
	c, _ := a.Reserve(100)
	b.TryWrite([]byte("behind"))
	if p, ok := b.Next(); ok {
		t.Fatalf("Next: %q", p)
	}
	a.Close()
	c2 := openBytes(t, mem, self(1)) // takes the cell that a has left
	if !c2.TryWrite([]byte("last")) {
		t.Fatal(c2.Err())
	}
	if got := texts(readAll(b)); !slices.Equal(got, []string{"behind", "last"}) {
		t.Errorf("after Close: %q", got)
	}
	c.Commit(4)
	if p, ok := b.Next(); ok {
		t.Errorf("Commit after Close: %q", p)
	}
}

// TestBytesCells: 128 handles write at a time; then one must close, or die.
func TestBytesCells(t *testing.T) {
	var w world
	mem := memory(t, ring.BytesSize(1<<16))
	first := newBytes(t, mem, 1<<16, w.process(1000))
	var all []*ring.Bytes
	for i := range uint32(ring.BytesCells) {
		r := openBytes(t, mem, w.process(i/2+1))
		if !r.TryWrite([]byte{byte(i)}) {
			t.Fatal(i, r.Err())
		}
		all = append(all, r)
	}
	if first.TryWrite(nil) || !errors.Is(first.Err(), ring.ErrBusy) {
		t.Fatalf("with all cells taken: %v", first.Err())
	}
	all[7].Close()
	if !first.TryWrite([]byte("first")) || first.Err() != nil {
		t.Fatal(first.Err())
	}
	second := openBytes(t, mem, w.process(1000))
	if second.TryWrite(nil) || !errors.Is(second.Err(), ring.ErrBusy) {
		t.Fatalf("with all cells taken again: %v", second.Err())
	}
	w.kill(20)
	if !second.TryWrite([]byte("second")) {
		t.Fatal(second.Err())
	}
	if n := len(readAll(first)); n != ring.BytesCells+2 {
		t.Errorf("%d records", n)
	}
}

func TestBytesNobody(t *testing.T) {
	r := newBytes(t, memory(t, ring.BytesSize(1024)), 1024, self(0))
	if err := r.Consume(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Consume by a process without an owner id: %v", err)
	}
	if r.TryWrite(nil) || !errors.Is(r.Err(), os.ErrClosed) {
		t.Errorf("TryWrite by a process without an owner id: Err %v", r.Err())
	}
}

// TestBytesAllocs: no path allocates, nor does a spinning one that is refused.
func TestBytesAllocs(t *testing.T) {
	mem := memory(t, ring.BytesSize(1024))
	r := newBytes(t, mem, 1024, self(1))
	busy := openBytes(t, mem, self(2))
	full := newBytes(t, memory(t, ring.BytesSize(64)), 64, self(1))
	for full.TryWrite(nil) {
	}
	p := make([]byte, 100)
	r.TryWrite(p)
	r.Next()
	r.Advance()
	for name, f := range map[string]func(){
		"write and read": func() { r.TryWrite(p); r.Next(); r.Advance() },
		"reserve":        func() { c, _ := r.Reserve(64); c.Commit(8); r.Next(); r.Advance() },
		"abort":          func() { c, _ := r.Reserve(64); c.Abort(); r.Next() },
		"empty":          func() { r.Next() },
		"full":           func() { full.TryWrite(nil) },
		"too long":       func() { full.TryWrite(p) },
		"busy":           func() { busy.Next() },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// TestBytesCorrupt: what cannot be true is ErrCorrupt, for good.
func TestBytesCorrupt(t *testing.T) {
	committed := func(lap, length uint64) uint64 { return length<<13 | lap<<2 | ring.StateCommitted }
	for _, c := range []struct {
		name  string
		spoil func(r *ring.Bytes)
		write bool
	}{
		{"freed beyond the end", func(r *ring.Bytes) { r.SetHead(1, 1<<40) }, true},
		{"freed far before the end", func(r *ring.Bytes) { r.SetEnd(0, 1<<40) }, true},
		{"end not a multiple of 8", func(r *ring.Bytes) { r.SetEnd(0, 13) }, true},
		{"longer than its room", func(r *ring.Bytes) { r.SetWord(0, committed(0, 9)) }, false},
		{"of another lap", func(r *ring.Bytes) { r.SetWord(0, committed(1, 8)) }, false},
		{"empty in another lap", func(r *ring.Bytes) { r.SetWord(0, 32) }, false},
		{"ends where it begins", func(r *ring.Bytes) { r.SetEnd(0, 0) }, false},
		{"ends before it begins", func(r *ring.Bytes) { r.SetEnd(0, 1<<64-8) }, false},
		{"ends far behind", func(r *ring.Bytes) { r.SetEnd(0, 1032) }, false},
		{"odd end", func(r *ring.Bytes) { r.SetEnd(0, 12) }, false},
		{"claims too much, dead", func(r *ring.Bytes) { r.SetWord(0, 1<<63|ring.StateClaimed) }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory(t, ring.BytesSize(1024))
			newBytes(t, mem, 1024, self(1)).TryWrite([]byte("01234567"))
			r := openBytes(t, mem, self(2))
			proctest.Must(t, r.Consume())
			c.spoil(r)
			if c.write {
				n := 0
				for r.TryWrite(make([]byte, 128)) {
					n++ // until it has to know where the consumer is
				}
				if n > 8 {
					t.Errorf("%d records of 128 bytes fit into 1 KiB", n)
				}
			} else if p, ok := r.Next(); ok {
				t.Errorf("Next: %q", p)
			}
			if !errors.Is(r.Err(), ring.ErrCorrupt) {
				t.Fatalf("Err: %v, want ErrCorrupt", r.Err())
			}
			r.SetStart(0, 0)
			if _, ok := r.Next(); ok || r.TryWrite(nil) || r.Consume() == nil {
				t.Error("a corrupt ring is not empty and full")
			}
		})
	}
}

// TestBytesHint: whatever the hint says, claims find the tail.
func TestBytesHint(t *testing.T) {
	for _, b := range beginnings {
		for _, filled := range []uint64{0, 1, 5, 15} {
			for _, off := range []uint64{0, 1, 2, 15, 16, 17, 31, 32, 1000, 16 * 2048, 16*2048 + 16, 1 << 40, 1 << 63} {
				for _, off := range []uint64{off, -off} {
					mem := memory(t, ring.BytesSize(1024))
					r := newBytes(t, mem, 1024, self(1))
					r.SetStart(b.at, b.from)
					w := openBytes(t, mem, self(2))
					for i := range 40 + filled {
						if !r.TryWrite(record(i, 8)) {
							t.Fatal(r.Err())
						}
						if i < 40 {
							if _, ok := r.Next(); !ok {
								t.Fatal(r.Err())
							}
							r.Advance()
						}
					}
					at := b.at + 40 + filled
					w.SetHint(at + off)
					c, ok := w.Reserve(8)
					if !ok || c.At() != at {
						t.Fatalf("with %d records the hint was %d off: claimed %d instead of %d, %v",
							filled, int64(off), c.At(), at, w.Err())
					}
					fill(c.Data, 40+filled)
					c.Commit(8)
					if filled == 15 {
						w.SetHint(at + 1 + off)
						if c, ok := w.Reserve(8); ok || w.Err() != nil {
							t.Fatalf("in a full ring the hint was %d off: claimed %d, Err %v", int64(off), c.At(), w.Err())
						}
					}
					for i := range filled + 1 {
						p, ok := r.Next()
						if !ok || !isRecord(p, 40+i) {
							t.Fatalf("record %d: %v, %v, %v", 40+i, p, ok, r.Err())
						}
						r.Advance()
					}
				}
			}
		}
	}
}

// TestBytesConcurrent: several goroutines write through one handle or several, in all ways, and one reads; each
// writer's records come in its order, whole.
func TestBytesConcurrent(t *testing.T) {
	per := uint64(8_000)
	if testing.Short() || race.Enabled {
		per = 1_000
	}
	for _, c := range []struct{ room, writers, handles int }{
		{64, 2, 1}, {1024, 3, 3}, {4096, 4, 2}, {1 << 16, 2, 2}, {1 << 16, 8, 1},
	} {
		t.Run(fmt.Sprintf("room=%d/writers=%d/handles=%d", c.room, c.writers, c.handles), func(t *testing.T) {
			rnd := proctest.Rand(t)
			mem := memory(t, ring.BytesSize(c.room))
			r := newBytes(t, mem, c.room, self(1))
			r.SetStart(-per, -per*8)
			handles := []*ring.Bytes{r}
			for len(handles) < c.handles {
				handles = append(handles, openBytes(t, mem, self(uint32(len(handles))+1)))
			}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for i := range c.writers {
				seed := rnd.Uint64()
				wg.Go(func() { writeNumbers(handles[i%len(handles)], uint64(i), per, seed, stop) })
			}
			next := make([]uint64, c.writers)
			for left := per * uint64(c.writers); left > 0; {
				p, ok := r.Next()
				if !ok {
					if err := r.Err(); err != nil {
						close(stop)
						t.Fatal(err)
					}
					runtime.Gosched()
					continue
				}
				who, n, ok := readNumber(p)
				if !ok || who >= uint64(c.writers) || n != next[who] {
					close(stop)
					t.Fatalf("record % x, which is %d of %d, after %v", p, n, who, next)
				}
				next[who]++
				left--
				r.Advance()
			}
			wg.Wait()
			if p, ok := r.Next(); ok || r.Err() != nil {
				t.Errorf("at the end: % x, Err %v", p, r.Err())
			}
		})
	}
}

// writeNumbers writes records 0 to n-1 of writer who, in all ways.
func writeNumbers(r *ring.Bytes, who, n, seed uint64, stop <-chan struct{}) {
	for i := uint64(0); i < n; {
		seed = seed*6364136223846793005 + 1442695040888963407
		length := 8
		if most := r.Max(); most > 8 {
			length += int(seed>>33) % (most - 7)
		}
		if writeNumber(r, who, i, length, seed>>61) {
			i++
			continue
		}
		select {
		case <-stop:
			return
		default:
			runtime.Gosched()
		}
	}
}

// writeNumber writes record i of writer who in some way, and reports whether it did.
func writeNumber(r *ring.Bytes, who, i uint64, length int, how uint64) bool {
	key := who<<40 | i
	switch how {
	case 0:
		if c, ok := r.Reserve(length); ok {
			fill(c.Data, ^key)
			c.Abort()
		}
		return false
	case 1, 2, 3:
		c, ok := r.Reserve(length)
		if !ok {
			return false
		}
		length = max(8, length/int(how))
		fill(c.Data[:length], key)
		c.Commit(length)
		return true
	}
	return r.TryWrite(record(key, length))
}

// readNumber reads what writeNumber wrote.
func readNumber(p []byte) (who, i uint64, ok bool) {
	if len(p) < 8 {
		return 0, 0, false
	}
	var key uint64
	for j := range 8 {
		key |= uint64(p[j]^byte(j)) << (8 * j)
	}
	return key >> 40, key & (1<<40 - 1), isRecord(p, key)
}

func TestBytesErrorsTell(t *testing.T) {
	r := newBytes(t, memory(t, ring.BytesSize(1024)), 1024, self(1))
	r.TryWrite(make([]byte, 129))
	if !strings.Contains(r.Err().Error(), "128 bytes") {
		t.Errorf("too long: %v", r.Err())
	}
}

// TestBytesCommitAfterClose: Close aborts what is reserved, also while nobody reads.
func TestBytesCommitAfterClose(t *testing.T) {
	mem := memory(t, ring.BytesSize(1024))
	a, b := newBytes(t, mem, 1024, self(1)), openBytes(t, mem, self(2))
	c, _ := a.Reserve(8)
	a.Close()
	c.Commit(8)
	if got := readAll(b); len(got) != 0 || b.Err() != nil {
		t.Errorf("Commit after Close published %q; Err %v", got, b.Err())
	}
}

// TestBytesEndedTwice: what is ended stays so, and nothing else is ended with it, though the words of descriptors
// come again after 2,048 laps.
func TestBytesEndedTwice(t *testing.T) {
	for name, again := range map[string]func(ring.Record){
		"Abort": func(c ring.Record) { c.Abort() }, "Commit": func(c ring.Record) { c.Commit(0) },
	} {
		r := newBytes(t, memory(t, ring.BytesSize(1024)), 1024, self(1))
		c, _ := r.Reserve(8)
		c.Commit(8)
		for range 2048*r.Slots() - 1 {
			r.TryWrite([]byte("between!"))
			r.Next()
			r.Advance()
		}
		r.Next()
		r.Advance()
		d, ok := r.Reserve(8)
		if !ok || d.At() != c.At()+2048*r.Slots() {
			t.Fatal(d.At(), r.Err())
		}
		copy(d.Data, "the last")
		again(c)
		d.Commit(8)
		if got := texts(readAll(r)); !slices.Equal(got, []string{"the last"}) {
			t.Errorf("%s of an old record ended another: %q", name, got)
		}
	}
}
