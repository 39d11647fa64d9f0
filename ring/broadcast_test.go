package ring_test

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-ipc/shoal/ring"
)

type options = ring.BroadcastOptions

// newBroadcast makes a ring in memory of its own.
func newBroadcast[T any](t testing.TB, n int, p ring.Peers, o options) ([]byte, *ring.Broadcast[T]) {
	t.Helper()
	mem := memory(t, ring.BroadcastSize[T](n, o))
	b, err := ring.NewBroadcast[T](mem, n, p, o)
	if err != nil {
		t.Fatal(err)
	}
	return mem, b
}

func openBroadcast[T any](t testing.TB, mem []byte, p ring.Peers) *ring.Broadcast[T] {
	t.Helper()
	b, err := ring.OpenBroadcast[T](mem, p)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func join[T any](t testing.TB, b *ring.Broadcast[T]) *ring.Reader[T] {
	t.Helper()
	r, err := b.Reader()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// kinds are the options by which tests of both kinds of ring make one.
var kinds = []options{{}, {Lossy: true}}

func kindName(o options) string {
	if o.Lossy {
		return "lossy"
	}
	return "blocking"
}

// broadcastStarts are starts, and where the turns of a lossy ring and the places in cells wrap around.
var broadcastStarts = append(slices.Clone(starts), 1<<31-3, 1<<63-3)

func TestBroadcastSize(t *testing.T) {
	one := options{Readers: 1}
	lossy := options{Lossy: true}
	for _, c := range []struct {
		name      string
		got, want int
	}{
		{"default", ring.BroadcastSize[uint64](4), 640 + 64*128 + 4*8},
		{"one reader", ring.BroadcastSize[uint64](4, one), 640 + 128 + 4*8},
		{"packed", ring.BroadcastSize[[3]byte](4, one), 640 + 128 + 4*3},
		{"rounded up", ring.BroadcastSize[uint64](1000, one), 640 + 128 + 1024*8},
		{"no items", ring.BroadcastSize[uint64](0, one), 640 + 128 + 8},
		{"lossy", ring.BroadcastSize[uint64](4, lossy), 640 + 4*16},
		{"lossy, words", ring.BroadcastSize[[9]byte](4, lossy), 640 + 4*24},
		{"too many", ring.BroadcastSize[uint64](math.MaxInt/4, lossy), math.MaxInt},
	} {
		if c.got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, c.got, c.want)
		}
	}
}

func TestNewBroadcastRefuses(t *testing.T) {
	mem := memory(t, 16<<10)
	if _, err := ring.NewBroadcast[*int](mem, 4, self(1)); err == nil {
		t.Error("of pointers: no error")
	}
	for name, try := range map[string]func() (*ring.Broadcast[uint64], error){
		"no items":        func() (*ring.Broadcast[uint64], error) { return ring.NewBroadcast[uint64](mem, 0, self(1)) },
		"too many items":  func() (*ring.Broadcast[uint64], error) { return ring.NewBroadcast[uint64](mem, math.MaxInt, self(1)) },
		"too short":       func() (*ring.Broadcast[uint64], error) { return ring.NewBroadcast[uint64](mem[:8863], 4, self(1)) },
		"not aligned":     func() (*ring.Broadcast[uint64], error) { return ring.NewBroadcast[uint64](mem[8:], 4, self(1)) },
		"no peers":        func() (*ring.Broadcast[uint64], error) { return ring.NewBroadcast[uint64](mem, 4, nil) },
		"open, too short": func() (*ring.Broadcast[uint64], error) { return ring.OpenBroadcast[uint64](mem[:639], self(1)) },
		"negative readers": func() (*ring.Broadcast[uint64], error) {
			return ring.NewBroadcast[uint64](mem, 4, self(1), options{Readers: -1})
		},
		"too many readers": func() (*ring.Broadcast[uint64], error) {
			return ring.NewBroadcast[uint64](mem, 4, self(1), options{Readers: ring.MaxReaders + 1})
		},
	} {
		if b, err := try(); b != nil || err == nil {
			t.Errorf("%s: %v, %v", name, b, err)
		}
	}
	if _, err := ring.NewBroadcast[uint64](mem[:8864], 4, self(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := ring.NewBroadcast[uint64](mem, 4, self(2)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v, want fs.ErrExist", err)
	}
}

func TestOpenBroadcastRefuses(t *testing.T) {
	type sameSize struct{ N uint64 }
	for _, c := range []struct {
		name  string
		spoil func(mem []byte)
		size  int // of the memory, if it is cut off
		want  error
	}{
		{name: "zeroes", spoil: func(mem []byte) { clear(mem) }, want: ring.ErrKind},
		{name: "killed in NewBroadcast", spoil: ring.ClearBroadcastMagic, want: ring.ErrKind},
		{name: "another magic", spoil: func(mem []byte) { mem[7] ^= 1 }, want: ring.ErrKind},
		{name: "another version", spoil: func(mem []byte) { le(mem[8:], 4, 2) }, want: ring.ErrKind},
		{name: "another kind", spoil: func(mem []byte) { le(mem[12:], 4, 2) }, want: ring.ErrCorrupt},
		{name: "lossy with cells", spoil: func(mem []byte) { le(mem[12:], 4, 1) }, want: ring.ErrCorrupt},
		{name: "slots 0", spoil: func(mem []byte) { le(mem[16:], 8, 0) }, want: ring.ErrCorrupt},
		{name: "slots 3", spoil: func(mem []byte) { le(mem[16:], 8, 3) }, want: ring.ErrCorrupt},
		{name: "slots 8", spoil: func(mem []byte) { le(mem[16:], 8, 8) }, want: ring.ErrCorrupt},
		{name: "slots huge", spoil: func(mem []byte) { le(mem[16:], 8, 1<<61) }, want: ring.ErrCorrupt},
		{name: "size 4", spoil: func(mem []byte) { le(mem[24:], 8, 4) }, want: ring.ErrCorrupt},
		{name: "cells 0", spoil: func(mem []byte) { le(mem[40:], 4, 0) }, want: ring.ErrCorrupt},
		{name: "cells 3", spoil: func(mem []byte) { le(mem[40:], 4, 3) }, want: ring.ErrCorrupt},
		{name: "cells huge", spoil: func(mem []byte) { le(mem[40:], 4, 1<<31) }, want: ring.ErrCorrupt},
		{name: "cut off", spoil: func(mem []byte) {}, size: 640 + 2*128 + 31, want: ring.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem, _ := newBroadcast[uint64](t, 4, self(1), options{Readers: 2})
			if bigEndian() && c.want == ring.ErrCorrupt {
				t.Skip("the bytes written here are those of a little-endian machine")
			}
			if c.spoil(mem); c.size != 0 {
				mem = mem[:c.size]
			}
			if _, err := ring.OpenBroadcast[uint64](mem, self(1)); !errors.Is(err, c.want) {
				t.Errorf("OpenBroadcast: %v, want %v", err, c.want)
			}
		})
	}
	mem, _ := newBroadcast[uint64](t, 4, self(1), options{})
	if _, err := ring.OpenBroadcast[sameSize](mem, self(1)); !errors.Is(err, ring.ErrKind) {
		t.Errorf("of another type: %v, want ErrKind", err)
	}
}

// TestBroadcastAgain: a NewBroadcast that was killed before its last store can be repeated, also with other options.
func TestBroadcastAgain(t *testing.T) {
	mem := memory(t, 16<<10)
	_, err := ring.NewBroadcast[uint64](mem, 2, self(1))
	if err != nil {
		t.Fatal(err)
	}
	ring.ClearBroadcastMagic(mem)
	b, err := ring.NewBroadcast[uint64](mem, 4, self(2), options{Lossy: true})
	if err != nil || b.Cap() != 4 || !b.Lossy() || !openBroadcast[uint64](t, mem, self(3)).Lossy() {
		t.Errorf("%v, Cap %d, Lossy %v", err, b.Cap(), b.Lossy())
	}
}

// TestBroadcastJoin: the first item of a reader is the first that is pushed after it has joined.
func TestBroadcastJoin(t *testing.T) {
	for _, o := range kinds {
		t.Run(kindName(o), func(t *testing.T) {
			mem, b := newBroadcast[uint64](t, 4, self(1), o)
			first := join(t, b)
			if _, _, ok := first.TryPop(); ok {
				t.Error("an item in an empty ring")
			}
			b.TryPush(1)
			b.TryPush(2)
			late := join(t, openBroadcast[uint64](t, mem, self(2)))
			if v, _, ok := late.TryPop(); ok || late.Len() != 0 {
				t.Errorf("who has just joined finds %d, Len %d", v, late.Len())
			}
			b.TryPush(3)
			if first.Len() != 3 || late.Len() != 1 {
				t.Errorf("Len %d and %d, want 3 and 1", first.Len(), late.Len())
			}
			for r, want := range map[*ring.Reader[uint64]][]uint64{first: {1, 2, 3}, late: {3}} {
				for _, w := range want {
					if v, lost, ok := r.TryPop(); v != w || lost != 0 || !ok {
						t.Errorf("popped %d, %d lost, %v, want %d", v, lost, ok, w)
					}
				}
				if _, _, ok := r.TryPop(); ok {
					t.Error("more items than were pushed")
				}
			}
		})
	}
}

// TestBroadcastModel runs random operations on a ring and on a slice of all that was pushed, and compares.
func TestBroadcastModel(t *testing.T) {
	t.Run("uint64", rapid.MakeCheck(func(t *rapid.T) { broadcastModel(t, func(x uint64) uint64 { return x }) }))
	t.Run("three bytes", rapid.MakeCheck(func(t *rapid.T) {
		broadcastModel(t, func(x uint64) [3]byte { return [3]byte{byte(x), byte(x >> 8), byte(x >> 16)} })
	}))
	t.Run("flags", rapid.MakeCheck(func(t *rapid.T) {
		broadcastModel(t, func(x uint64) flags {
			return flags{x%2 == 0, uint32(x), [3]bool{x%3 == 0, x%5 == 0, x%7 == 0}}
		})
	}))
	t.Run("big", rapid.MakeCheck(func(t *rapid.T) { broadcastModel(t, func(x uint64) big { return big{0: x, 32: ^x} }) }))
}

// modelReader is a reader, and how many items it has seen or lost since the ring was made.
type modelReader[T any] struct {
	*ring.Reader[T]
	at   int
	proc uint32
}

func broadcastModel[T comparable](t *rapid.T, item func(uint64) T) {
	o := options{Lossy: rapid.Bool().Draw(t, "lossy"), Readers: 3}
	n := 1 << rapid.IntRange(0, 4).Draw(t, "slots")
	start := rapid.SampledFrom(broadcastStarts).Draw(t, "start")
	w := &world{}
	mem := make([]byte, ring.BroadcastSize[T](n, o)+127)
	mem = mem[skip(mem):]
	must := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	producer := uint32(1)
	b, err := ring.NewBroadcast[T](mem, n, w.process(producer), o)
	must(err)
	ring.StartAt[T](mem, start)
	nextID := uint32(10)
	var all []T // that was pushed
	var readers []*modelReader[T]
	dead := map[*modelReader[T]]bool{}
	next := func() T { return item(uint64(len(all))) }

	// room is how many can be pushed after the dead were evicted, if the last one asks for all of it.
	room := func(withDead bool) int {
		room := n
		for _, r := range readers {
			if !o.Lossy && (withDead || !dead[r]) {
				room = min(room, n-(len(all)-r.at))
			}
		}
		return room
	}
	// evict is what the producer does when it finds no room at all.
	evict := func() {
		if !o.Lossy && room(true) <= 0 {
			readers = slices.DeleteFunc(readers, func(r *modelReader[T]) bool { return dead[r] && len(all)-r.at >= n })
		}
	}
	pick := func(t *rapid.T) *modelReader[T] {
		var living []*modelReader[T]
		for _, r := range readers {
			if !dead[r] {
				living = append(living, r)
			}
		}
		if len(living) == 0 {
			t.Skip("no reader")
		}
		return rapid.SampledFrom(living).Draw(t, "reader")
	}
	// got checks that r was given these items.
	got := func(t *rapid.T, r *modelReader[T], items []T, lost uint64) {
		want := uint64(0)
		if o.Lossy {
			want = uint64(max(len(all)-n-r.at, 0))
		}
		if len(items) == 0 {
			want = 0
		}
		if lost != want {
			t.Fatalf("%d lost, want %d", lost, want)
		}
		r.at += int(lost)
		if r.at+len(items) > len(all) || !slices.Equal(items, all[r.at:r.at+len(items)]) {
			t.Fatalf("at %d of %d: %v", r.at, len(all), items)
		}
		r.at += len(items)
	}
	there := func(r *modelReader[T]) int { return min(len(all)-r.at, n) }

	t.Repeat(map[string]func(*rapid.T){
		"push": func(t *rapid.T) {
			evict()
			ok := o.Lossy || room(true) > 0
			if b.TryPush(next()) != ok {
				t.Fatalf("TryPush with room for %d: %v, %v", room(true), !ok, b.Err())
			}
			if ok {
				all = append(all, next())
			}
		},
		"push many": func(t *rapid.T) {
			vs := make([]T, rapid.IntRange(0, 2*n+1).Draw(t, "n"))
			for i := range vs {
				vs[i] = item(uint64(len(all) + i))
			}
			if len(vs) != 0 {
				evict()
			}
			want := len(vs)
			if !o.Lossy {
				want = min(want, room(true))
			}
			if got := b.TryPushMany(vs); got != want {
				t.Fatalf("TryPushMany of %d with room for %d: %d", len(vs), room(true), got)
			}
			all = append(all, vs[:want]...)
		},
		"reserve": func(t *rapid.T) {
			ask := rapid.IntRange(0, n+1).Draw(t, "n")
			if ask != 0 {
				evict()
			}
			slots := b.Reserve(ask)
			if len(slots) > min(ask, room(true)) || len(slots) == 0 && ask > 0 && room(true) > 0 {
				t.Fatalf("Reserve(%d) with room for %d: %d", ask, room(true), len(slots))
			}
			for i := range slots {
				slots[i] = item(uint64(len(all) + i))
			}
			first := rapid.IntRange(0, len(slots)).Draw(t, "commit")
			second := rapid.IntRange(0, len(slots)-first).Draw(t, "commit too")
			items := slices.Clone(slots[:first+second])
			b.Commit(first)
			b.Commit(second)
			all = append(all, items...)
		},
		"join": func(t *rapid.T) {
			nextID++
			h, err := ring.OpenBroadcast[T](mem, w.process(nextID))
			must(err)
			r, err := h.Reader()
			full := !o.Lossy && len(readers) == o.Readers
			if full { // a dead one, whichever it is, makes room
				i := slices.IndexFunc(readers, func(r *modelReader[T]) bool {
					return dead[r] && ring.CellWord(mem, 0) != r.CellWord() && ring.CellWord(mem, 1) != r.CellWord() && ring.CellWord(mem, 2) != r.CellWord()
				})
				if full = i < 0; !full {
					readers = slices.Delete(readers, i, i+1)
				}
			}
			if full != errors.Is(err, ring.ErrBusy) || !full && err != nil {
				t.Fatalf("Reader beside %d: %v", len(readers), err)
			}
			if !full {
				readers = append(readers, &modelReader[T]{r, len(all), nextID})
			}
		},
		"pop": func(t *rapid.T) {
			r := pick(t)
			want := there(r) > 0
			v, lost, ok := r.TryPop()
			if ok != want {
				t.Fatalf("TryPop with %d: %v, %v", there(r), ok, r.Err())
			}
			if ok {
				got(t, r, []T{v}, lost)
			}
		},
		"pop many": func(t *rapid.T) {
			r := pick(t)
			dst := make([]T, rapid.IntRange(0, n+1).Draw(t, "n"))
			want := min(len(dst), there(r))
			k, lost := r.TryPopMany(dst)
			if k != want {
				t.Fatalf("TryPopMany of %d with %d: %d, %v", len(dst), there(r), k, r.Err())
			}
			got(t, r, dst[:k], lost)
		},
		"peek": func(t *rapid.T) {
			if o.Lossy {
				t.Skip("lossy")
			}
			r := pick(t)
			ask := rapid.IntRange(0, n+1).Draw(t, "n")
			items := r.Peek(ask)
			if len(items) > ask || len(items) == 0 && ask > 0 && there(r) > 0 {
				t.Fatalf("Peek(%d) with %d: %d", ask, there(r), len(items))
			}
			first := rapid.IntRange(0, len(items)).Draw(t, "advance")
			second := rapid.IntRange(0, len(items)-first).Draw(t, "advance too")
			got(t, r, items[:first+second], 0)
			r.Advance(first)
			r.Advance(second)
		},
		"leave": func(t *rapid.T) {
			r := pick(t)
			r.Close()
			readers = slices.DeleteFunc(readers, func(x *modelReader[T]) bool { return x == r })
		},
		"reader dies": func(t *rapid.T) {
			r := pick(t)
			w.kill(r.proc)
			dead[r] = true
			if o.Lossy {
				readers = slices.DeleteFunc(readers, func(x *modelReader[T]) bool { return x == r })
			}
		},
		"producer dies": func(t *rapid.T) {
			w.kill(producer)
			nextID++
			producer = nextID
			var err error
			b, err = ring.OpenBroadcast[T](mem, w.process(producer))
			must(err)
		},
		"producer leaves": func(t *rapid.T) {
			b.Close()
			var err error
			b, err = ring.OpenBroadcast[T](mem, w.process(producer))
			must(err)
		},
		"": func(t *rapid.T) {
			for _, r := range readers {
				if !dead[r] && (r.Len() != there(r) || r.Err() != nil) {
					t.Fatalf("Len %d, want %d, Err %v", r.Len(), there(r), r.Err())
				}
			}
			if b.Err() != nil || b.Cap() != n {
				t.Fatal(b.Err(), b.Cap())
			}
		},
	})
}

// TestBroadcastInPlace: Reserve and Peek give the slots themselves of a blocking ring, unless the items have bools.
func TestBroadcastInPlace(t *testing.T) {
	one := options{Readers: 1}
	mem, b := newBroadcast[uint64](t, 8, self(1), one)
	r := join(t, b)
	slots := b.Reserve(8)
	if len(slots) != 8 || cap(slots) != 8 || addressOf(slots) != addressOf(mem[640+128:]) {
		t.Fatalf("Reserve: %d slots of %d", len(slots), cap(slots))
	}
	b.Commit(8)
	if items := r.Peek(9); len(items) != 8 || cap(items) != 8 || addressOf(items) != addressOf(slots) {
		t.Errorf("Peek: %d items of %d", len(items), cap(items))
	}
	if b.TryPush(1) {
		t.Error("a push into what is lent")
	}
	fm, f := newBroadcast[flags](t, 64, self(1), one)
	fr := join(t, f)
	inside := func(items []flags) bool {
		return addressOf(items) >= addressOf(fm) && addressOf(items) < addressOf(fm)+uintptr(len(fm))
	}
	copies := f.Reserve(64)
	if inside(copies) {
		t.Error("Reserve of items with bools gives shared memory")
	}
	f.Commit(64)
	if items := fr.Peek(64); len(items) != ring.MaxStaged || inside(items) {
		t.Errorf("Peek of items with bools: %d", len(items))
	}
	lm, l := newBroadcast[uint64](t, 8, self(1), options{Lossy: true})
	if s := l.Reserve(3); addressOf(s) >= addressOf(lm) && addressOf(s) < addressOf(lm)+uintptr(len(lm)) {
		t.Error("Reserve of a lossy ring gives shared memory")
	}
}

// TestBroadcastBools: whatever another process writes for a bool, readers get one that is valid.
func TestBroadcastBools(t *testing.T) {
	for _, o := range []options{{Readers: 1}, {Lossy: true}} {
		mem, b := newBroadcast[flags](t, 4, self(1), o)
		r := join(t, b)
		b.TryPushMany(make([]flags, 4))
		for i := 640; i < len(mem); i++ {
			if at := i - 640; !o.Lossy && at >= 128 || o.Lossy && at%24 >= 8 {
				mem[i] = 0xff
			}
		}
		got := make([]flags, 3)
		got[0], _, _ = r.TryPop()
		if n, _ := r.TryPopMany(got[1:]); n != 2 {
			t.Fatal(n, r.Err())
		}
		if !o.Lossy {
			got = append(got, r.Peek(1)...)
		}
		for _, v := range got {
			if x := bytesOf([]flags{v}); x[0] != 1 || x[8] != 1 || x[9] != 1 || x[10] != 1 {
				t.Errorf("%s: bools of %v", kindName(o), x)
			}
		}
	}
}

// TestBroadcastLossyPeek: nothing of a lossy ring is lent.
func TestBroadcastLossyPeek(t *testing.T) {
	_, b := newBroadcast[uint64](t, 8, self(1), options{Lossy: true})
	r := join(t, b)
	b.TryPush(1)
	if items := r.Peek(1); items != nil || r.Err() != nil {
		t.Errorf("Peek: %v, %v", items, r.Err())
	}
	if v, _, ok := r.TryPop(); v != 1 || !ok {
		t.Errorf("TryPop after Peek: %d, %v", v, ok)
	}
}

// TestBroadcastLost: how many were lost is exact, whatever the reader asks for, and told with the next item.
func TestBroadcastLost(t *testing.T) {
	for _, start := range broadcastStarts {
		mem, b := newBroadcast[uint64](t, 4, self(1), options{Lossy: true})
		ring.StartAt[uint64](mem, start)
		r := join(t, b)
		push := func(n int) {
			for range n {
				b.TryPush(ring.Tail(mem) - start)
			}
		}
		push(4)
		var dst [8]uint64
		if n, lost := r.TryPopMany(dst[:2]); n != 2 || lost != 0 || dst[0] != 0 {
			t.Errorf("%d, %d lost, %v", n, lost, dst)
		}
		push(7) // 11 in all, of which 7 to 10 are there and 2 to 6 are lost
		if n, lost := r.TryPopMany(dst[:2]); n != 2 || lost != 5 || dst[0] != 7 {
			t.Errorf("%d, %d lost, %v", n, lost, dst)
		}
		if v, lost, ok := r.TryPop(); v != 9 || lost != 0 || !ok {
			t.Errorf("%d, %d lost, %v", v, lost, ok)
		}
		// The slot of the next one, 10, is being written over by 14: 10 is lost, 11 is the oldest.
		push(3)
		ring.SetTurn[uint64](mem, start+14, -1)
		if r.Len() != 4 {
			t.Errorf("Len %d", r.Len())
		}
		if v, lost, ok := r.TryPop(); v != 11 || lost != 1 || !ok {
			t.Errorf("%d, %d lost, %v", v, lost, ok)
		}
		if n, lost := r.TryPopMany(dst[:]); n != 2 || lost != 0 || dst[0] != 12 || dst[1] != 13 {
			t.Errorf("%d, %d lost, %v", n, lost, dst)
		}
		if _, _, ok := r.TryPop(); ok || r.Err() != nil {
			t.Errorf("an item that is being written; %v", r.Err())
		}
		// The next producer writes it anew.
		b.Close()
		if b = openBroadcast[uint64](t, mem, self(2)); !b.TryPush(14) {
			t.Fatal(b.Err())
		}
		if v, lost, ok := r.TryPop(); v != 14 || lost != 0 || !ok || r.Err() != nil {
			t.Errorf("%d, %d lost, %v, %v", v, lost, ok, r.Err())
		}
	}
}

// TestBroadcastUncounted: a producer killed between showing an item and counting it has pushed it: readers may have
// seen it, so the next producer must not write over it. Who joins in between begins behind it.
func TestBroadcastUncounted(t *testing.T) {
	for _, start := range broadcastStarts {
		mem, b := newBroadcast[uint64](t, 4, self(1), options{Lossy: true})
		ring.StartAt[uint64](mem, start)
		r := join(t, b)
		b.TryPush(1)
		b.TryPush(2)
		ring.SetTail(mem, start+1)
		if r.TryPop(); r.Len() != 0 {
			t.Errorf("Len %d of what is not counted", r.Len())
		}
		if v, _, ok := r.TryPop(); v != 2 || !ok || r.Len() != 0 {
			t.Errorf("popped %d, %v, Len %d", v, ok, r.Len())
		}
		b.Close()
		late := join(t, openBroadcast[uint64](t, mem, self(2)))
		b = openBroadcast[uint64](t, mem, self(2))
		if err := b.Produce(); err != nil || ring.Tail(mem) != start+2 {
			t.Errorf("%v, tail %#x", err, ring.Tail(mem))
		}
		b.TryPush(3)
		for _, r := range []*ring.Reader[uint64]{r, late} {
			if v, lost, ok := r.TryPop(); v != 3 || lost != 0 || !ok {
				t.Errorf("popped %d, %d lost, %v", v, lost, ok)
			}
		}
	}
}

// TestBroadcastReaders: as many readers as were asked for, no more, and a cell that becomes free is used again.
func TestBroadcastReaders(t *testing.T) {
	w := &world{}
	mem, b := newBroadcast[uint64](t, 4, w.process(1), options{Readers: 2})
	one := join(t, b)
	other := openBroadcast[uint64](t, mem, w.process(2))
	join(t, other)
	for _, h := range []*ring.Broadcast[uint64]{b, other} {
		if r, err := h.Reader(); r != nil || !errors.Is(err, ring.ErrBusy) {
			t.Errorf("a third reader: %v", err)
		}
	}
	one.Close()
	again := join(t, b)
	w.kill(2)
	if _, err := b.Reader(); err != nil {
		t.Errorf("a reader instead of a dead one: %v", err)
	}
	if b.TryPush(7); again.Len() != 1 {
		t.Errorf("Len %d", again.Len())
	}
	_, l := newBroadcast[uint64](t, 4, self(1), options{Lossy: true, Readers: 1})
	join(t, l)
	join(t, l)
}

// TestBroadcastEvict: a dead reader is evicted when it would hold the producer back, and not before; a living one
// never is.
func TestBroadcastEvict(t *testing.T) {
	w := &world{}
	for i, start := range broadcastStarts {
		dead, stopped := uint32(10+2*i), uint32(11+2*i)
		mem, b := newBroadcast[uint64](t, 4, w.process(1), options{})
		ring.StartAt[uint64](mem, start)
		join(t, openBroadcast[uint64](t, mem, w.process(dead)))
		b.TryPush(0)
		s := join(t, openBroadcast[uint64](t, mem, w.process(stopped)))
		b.TryPushMany([]uint64{1, 2, 3})
		if b.TryPush(4) || b.TryPushMany([]uint64{4}) != 0 || len(b.Reserve(1)) != 0 {
			t.Error("pushed over what a living reader has not read")
		}
		w.kill(dead)
		if w := ring.CellWord(mem, 0); w != ring.Placed(dead, start) {
			t.Errorf("cell %#x", w)
		}
		if !b.TryPush(4) || ring.CellWord(mem, 0) != 0 {
			t.Errorf("a dead reader holds the producer back: cell %#x, %v", ring.CellWord(mem, 0), b.Err())
		}
		if b.TryPush(5) {
			t.Error("a stopped reader does not hold the producer back")
		}
		var dst [5]uint64
		if n, lost := s.TryPopMany(dst[:]); n != 4 || lost != 0 || dst[0] != 1 || dst[3] != 4 {
			t.Errorf("%d, %v", n, dst)
		}
		if !b.TryPush(5) || b.Err() != nil || s.Err() != nil {
			t.Error(b.Err(), s.Err())
		}
	}
}

// TestBroadcastJoinStopped: a reader that is stopped between taking a cell and finding its place holds nobody back
// with a place that is long past: the producer gives it one.
func TestBroadcastJoinStopped(t *testing.T) {
	for _, start := range broadcastStarts {
		for pushed := range 12 { // in a ring of 4, before it goes on
			mem, b := newBroadcast[uint64](t, 4, self(1), options{})
			ring.StartAt[uint64](mem, start)
			b.TryPush(0)
			j := openBroadcast[uint64](t, mem, self(2))
			ring.SetCell(mem, 0, ring.Joining(2))
			n := uint64(0)
			at, err := j.PlaceStale(0, 2, func() {
				for range pushed {
					if b.TryPush(n + 1) {
						n++
					}
				}
			})
			// The producer knew of room for three more. Then it looked, and from there on there was room for four.
			if want := uint64(min(pushed, 7)); n != want {
				t.Errorf("%d of %d pushed, want %d", n, pushed, want)
			}
			if want := start + 1 + uint64(min(pushed, 3)); err != nil || at != want {
				t.Errorf("after %d: begins at %#x, %v, want %#x", pushed, at, err, want)
			}
			if w := ring.CellWord(mem, 0); w != ring.Placed(2, at) {
				t.Errorf("cell %#x", w)
			}
		}
	}
}

// TestBroadcastJoinKilled: one that is killed there is evicted like any other.
func TestBroadcastJoinKilled(t *testing.T) {
	w := &world{}
	mem, b := newBroadcast[uint64](t, 4, w.process(1), options{Readers: 1})
	ring.SetCell(mem, 0, ring.Joining(2))
	w.kill(2)
	for i := range uint64(20) {
		if !b.TryPush(i) {
			t.Fatal(i, b.Err())
		}
	}
	ring.SetCell(mem, 0, ring.Joining(2))
	r := join(t, openBroadcast[uint64](t, mem, w.process(3)))
	if b.TryPush(20); r.Len() != 1 || ring.CellWord(mem, 0)>>32 != 3 {
		t.Errorf("Len %d, cell %#x", r.Len(), ring.CellWord(mem, 0))
	}
}

// TestBroadcastZombie: a reader whose process has left the segment finds out, and does the ring no harm.
func TestBroadcastZombie(t *testing.T) {
	w := &world{}
	mem, b := newBroadcast[uint64](t, 4, w.process(1), options{Readers: 1})
	zombie := join(t, openBroadcast[uint64](t, mem, w.process(2)))
	b.TryPushMany([]uint64{1, 2, 3, 4})
	zombie.TryPop() // knows of three more
	w.kill(2)
	for i := range uint64(5) {
		if !b.TryPush(5 + i) {
			t.Fatal(b.Err())
		}
	}
	for _, _, ok := zombie.TryPop(); ok; _, _, ok = zombie.TryPop() {
	}
	if !errors.Is(zombie.Err(), os.ErrClosed) {
		t.Errorf("the reader of a process that has left: %v", zombie.Err())
	}
	for i := range uint64(10) { // although the cell has its word again
		if !b.TryPush(i) {
			t.Fatal(b.Err())
		}
	}
	r := join(t, b)
	if zombie.Close(); ring.CellWord(mem, 0)>>32 != 1 {
		t.Error("the zombie has freed a cell that is not its own")
	}
	if b.TryPush(1); r.Len() != 1 {
		t.Errorf("Len %d", r.Len())
	}
}

// TestBroadcastEnds: the producer's end has one owner; closing a handle gives it back and leaves readers as they are.
func TestBroadcastEnds(t *testing.T) {
	for _, o := range kinds {
		w := &world{}
		mem, b := newBroadcast[uint64](t, 4, w.process(1), o)
		other := openBroadcast[uint64](t, mem, w.process(2))
		r := join(t, b)
		if err := b.Produce(); err != nil {
			t.Fatal(err)
		}
		if err := other.Produce(); !errors.Is(err, ring.ErrBusy) || other.TryPush(1) || !errors.Is(other.Err(), ring.ErrBusy) {
			t.Errorf("a second producer: %v, Err %v", err, other.Err())
		}
		b.TryPush(1)
		b.Close()
		b.Close()
		if _, err := b.Reader(); !errors.Is(err, os.ErrClosed) || b.TryPush(2) || b.TryPushMany([]uint64{2}) != 0 ||
			b.Reserve(1) != nil || !errors.Is(b.Err(), os.ErrClosed) || !errors.Is(b.Produce(), os.ErrClosed) {
			t.Errorf("after Close: Reader %v, Err %v", err, b.Err())
		}
		if !other.TryPush(2) || other.Err() != nil {
			t.Error("the end is not free after Close: ", other.Err())
		}
		w.kill(2)
		third := openBroadcast[uint64](t, mem, w.process(3))
		if !third.TryPush(3) {
			t.Error("the end of a dead producer: ", third.Err())
		}
		for want := uint64(1); want <= 3; want++ {
			if v, lost, ok := r.TryPop(); v != want || lost != 0 || !ok {
				t.Errorf("popped %d, %d lost, %v, want %d", v, lost, ok, want)
			}
		}
		r.Close()
		r.Close()
		third.TryPush(4)
		if _, _, ok := r.TryPop(); ok || !errors.Is(r.Err(), os.ErrClosed) {
			t.Errorf("TryPop after Close: %v, Err %v", ok, r.Err())
		}
		if n, _ := r.TryPopMany(make([]uint64, 2)); n != 0 || r.Peek(1) != nil {
			t.Error("items after Close")
		}
		for i := range uint64(20) {
			if !third.TryPush(i) {
				t.Fatal("a reader that has left holds the producer back")
			}
		}
	}
}

// TestBroadcastNobody: who is no participant can read a lossy ring only.
func TestBroadcastNobody(t *testing.T) {
	mem, _ := newBroadcast[uint64](t, 4, self(1), options{})
	b := openBroadcast[uint64](t, mem, self(0))
	if _, err := b.Reader(); !errors.Is(err, os.ErrClosed) || b.TryPush(1) || b.Err() == nil {
		t.Errorf("Reader: %v, Err %v", err, b.Err())
	}
	mem, b = newBroadcast[uint64](t, 4, self(1), options{Lossy: true})
	r := join(t, openBroadcast[uint64](t, mem, self(0)))
	b.TryPush(1)
	if v, _, ok := r.TryPop(); v != 1 || !ok {
		t.Errorf("popped %d, %v, %v", v, ok, r.Err())
	}
}

// TestBroadcastCorrupt: what cannot be true makes who sees it stop, for good.
func TestBroadcastCorrupt(t *testing.T) {
	for _, lag := range []uint64{5, 1 << 20, 1<<31 - 1} {
		mem, b := newBroadcast[uint64](t, 4, self(1), options{})
		ring.SetCell(mem, 3, ring.Placed(9, -lag))
		if b.TryPush(1) || !errors.Is(b.Err(), ring.ErrCorrupt) {
			t.Errorf("a reader %d behind: %v", lag, b.Err())
		}
		ring.SetCell(mem, 3, 0)
		if _, err := b.Reader(); !errors.Is(err, ring.ErrCorrupt) || b.TryPush(1) || b.Reserve(1) != nil {
			t.Error("a corrupt ring works")
		}
	}
	for _, tail := range []uint64{5, 1 << 40, 1<<64 - 1} {
		mem, b := newBroadcast[uint64](t, 4, self(1), options{})
		r := join(t, b)
		ring.SetTail(mem, tail)
		if _, _, ok := r.TryPop(); ok || !errors.Is(r.Err(), ring.ErrCorrupt) || r.Peek(1) != nil || r.Len() > 4 {
			t.Errorf("a tail at %#x: %v, %v", tail, ok, r.Err())
		}
		ring.SetTail(mem, 1)
		if _, _, ok := r.TryPop(); ok {
			t.Error("a corrupt reader works")
		}
	}
	mem, b := newBroadcast[uint64](t, 4, self(1), options{})
	r := join(t, b)
	ring.SetCell(mem, 0, ring.Placed(7, 0))
	if _, _, ok := r.TryPop(); ok || !errors.Is(r.Err(), ring.ErrCorrupt) {
		t.Errorf("a cell that changed hands: %v", r.Err())
	}
	for _, off := range []int64{-2, -7, -9, 7, 8, 1 << 40} { // without a tail that agrees
		mem, b := newBroadcast[uint64](t, 4, self(1), options{Lossy: true})
		r := join(t, b)
		ring.SetTurn[uint64](mem, 0, off)
		if _, _, ok := r.TryPop(); ok || !errors.Is(r.Err(), ring.ErrCorrupt) {
			t.Errorf("a turn off by %d: %v, %v", off, ok, r.Err())
		}
	}
	// Overrun, says every slot, whatever the tail says: it ends.
	mem, b = newBroadcast[uint64](t, 4, self(1), options{Lossy: true})
	r = join(t, b)
	for p := range uint64(4) {
		ring.SetTurn[uint64](mem, p, 1<<50)
	}
	ring.SetTail(mem, 400)
	if _, _, ok := r.TryPop(); ok {
		t.Error("popped")
	}
}

func TestBroadcastMisuse(t *testing.T) {
	panics := func(name string, f func()) {
		t.Helper()
		defer func() {
			if recover() == nil {
				t.Errorf("%s does not panic", name)
			}
		}()
		f()
	}
	for _, o := range kinds {
		_, b := newBroadcast[uint64](t, 4, self(1), o)
		r := join(t, b)
		b.Commit(0)
		r.Advance(0)
		panics("Commit without Reserve", func() { b.Commit(1) })
		panics("Advance without Peek", func() { r.Advance(1) })
		b.Reserve(2)
		panics("Commit(-1)", func() { b.Commit(-1) })
		panics("Commit of more than Reserve gave", func() { b.Commit(3) })
		b.Commit(1)
		panics("Commit of more than is left", func() { b.Commit(2) })
		b.Commit(1)
		b.Reserve(2)
		b.TryPush(9)
		panics("Commit after a push", func() { b.Commit(1) })
		if b.Reserve(-1) != nil || r.Peek(-1) != nil {
			t.Error("Reserve(-1) or Peek(-1) gave something")
		}
		if o.Lossy {
			continue
		}
		r.Peek(2)
		r.TryPop()
		panics("Advance after a pop", func() { r.Advance(1) })
		r.Peek(2)
		r.Close()
		panics("Advance after Close", func() { r.Advance(1) })
	}
}

// TestBroadcastAllocs: no hot path allocates.
func TestBroadcastAllocs(t *testing.T) {
	for _, o := range kinds {
		mem, b := newBroadcast[flags](t, 8, self(1), o)
		r := join(t, b)
		busy := openBroadcast[flags](t, mem, self(2))
		var vs [3]flags
		b.TryPush(vs[0])
		b.Reserve(3)
		b.Commit(1)
		r.TryPop()
		r.TryPop()
		for name, f := range map[string]func(){
			"push and pop": func() { b.TryPush(vs[0]); r.TryPop() },
			"many":         func() { b.TryPushMany(vs[:]); r.TryPopMany(vs[:]) },
			"reserve":      func() { b.Commit(len(b.Reserve(2))); r.TryPopMany(vs[:]) },
			"empty":        func() { r.TryPop() },
			"peek":         func() { b.TryPush(vs[0]); r.Peek(1); r.TryPop() },
			"busy":         func() { busy.TryPush(vs[0]) },
		} {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%s, %s: %v allocations", kindName(o), name, n)
			}
		}
		for range 20 {
			b.TryPush(vs[0])
		}
		for name, f := range map[string]func(){
			"full":    func() { b.TryPush(vs[0]) },
			"overrun": func() { b.TryPushMany(make([]flags, 20)); r.TryPop() },
		} {
			if n := testing.AllocsPerRun(100, f); n != 0 {
				t.Errorf("%s, %s: %v allocations", kindName(o), name, n)
			}
		}
	}
}
