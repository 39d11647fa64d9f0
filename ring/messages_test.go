package ring_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
)

func newMessages(t testing.TB, mem []byte, n, size int, p ring.Peers) *ring.Messages {
	t.Helper()
	r, err := ring.NewMessages(mem, n, size, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func openMessages(t testing.TB, mem []byte, p ring.Peers) *ring.Messages {
	t.Helper()
	r, err := ring.OpenMessages(mem, p)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// letterSize is how many bytes a letter has at most.
const letterSize = 50

// letter is a message that says of which number it is, in 8 bytes to letterSize, and shows when it is torn.
func letter(x uint64) (kind uint32, b []byte) {
	b = binary.LittleEndian.AppendUint64(make([]byte, 0, letterSize), x)
	for len(b) < 8+int(x*x%(letterSize-7)) {
		b = append(b, byte(x)+byte(len(b)))
	}
	return uint32(x * 3), b
}

// numberOf is the number of a letter, and whether it is whole.
func numberOf(kind uint32, b []byte) (uint64, bool) {
	if len(b) < 8 {
		return 0, false
	}
	x := binary.LittleEndian.Uint64(b)
	k, want := letter(x)
	return x, k == kind && bytes.Equal(b, want)
}

// letters is a ring of messages, seen as one of numbers. By turns they are popped, and looked at and taken.
type letters struct {
	*ring.Messages
	turn atomic.Uint32
}

func (r *letters) push(x uint64) bool { return r.TryPush(letter(x)) }

func (r *letters) pop() (uint64, bool) {
	for r.turn.Add(1)%2 == 0 {
		kind, b, ticket, ok := r.Peek(nil)
		if !ok {
			return 0, false
		}
		if r.Take(ticket) {
			return r.read(kind, b), true
		}
	}
	kind, b, ok := r.TryPop(nil)
	if !ok {
		return 0, false
	}
	return r.read(kind, b), true
}

func (r *letters) read(kind uint32, b []byte) uint64 {
	x, whole := numberOf(kind, b)
	if !whole {
		panic("a torn message")
	}
	return x
}

// Messages have a length each, and a kind; who peeks leaves them, and one of those who take one gets it.
func TestMessages(t *testing.T) {
	const n, size = 3, 40
	mem := memory(t, ring.MessagesSize(n, size))
	r, err := ring.NewMessages(mem, n, size, self(1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ring.OpenMessages(mem, self(2))
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("0123456789012345678901234567890123456789")
	for i := range 100 {
		if !r.TryPush(uint32(i), text[:i%(size+1)]) || !other.TryPush(7, nil) {
			t.Fatal(r.Err(), other.Err())
		}
		if other.Len() != 2 || other.Cap() != n || other.Size() != size {
			t.Fatal(other.Len(), other.Cap(), other.Size())
		}
		there := 0
		if err := ring.EachMessage(mem, func(kind uint32, b []byte) { there += 1 + len(b) }); err != nil || there != 2+i%(size+1) {
			t.Fatalf("%d, %v", there, err)
		}
		_, _, first, ok := r.Peek(nil)
		kind, b, second, ok2 := other.Peek([]byte("x"))
		if !ok || !ok2 || kind != uint32(i) || string(b) != "x"+string(text[:i%(size+1)]) {
			t.Fatalf("kind %d, %q", kind, b)
		}
		if !r.Take(first) || other.Take(second) || r.Take(first) {
			t.Fatal("taken twice, or not")
		}
		if kind, b, ok := other.TryPop(nil); !ok || kind != 7 || len(b) != 0 {
			t.Fatal(kind, b, ok)
		}
		if _, _, ok := r.TryPop(nil); ok {
			t.Fatal("more than there was")
		}
	}
	for range n {
		r.TryPush(0, text)
	}
	if r.TryPush(0, nil) || !other.End(3) || r.Mark() != 3 {
		t.Fatal("no limit, or no end")
	}
}

func TestMessagesSize(t *testing.T) {
	for _, c := range []struct{ n, size, want int }{
		{-1, 0, 8704 + 132*8}, {3, 0, 8704 + 132*8}, {3, 1, 8704 + 132*16}, {3, 8, 8704 + 132*16}, {3, 9, 8704 + 132*24},
		{15, 40, 8704 + 144*48}, {16, 40, 8832 + 160*48}, {4, -1, math.MaxInt}, {4, math.MaxInt, math.MaxInt}, {math.MaxInt, 8, math.MaxInt},
	} {
		if got := ring.MessagesSize(c.n, c.size); got != c.want {
			t.Errorf("%d messages of %d bytes take %d, want %d", c.n, c.size, got, c.want)
		}
	}
}

func TestNewMessagesRefuses(t *testing.T) {
	n := ring.MessagesSize(4, 20)
	mem := memory(t, n)
	for name, try := range map[string]func() (*ring.Messages, error){
		"no messages":     func() (*ring.Messages, error) { return ring.NewMessages(mem, 0, 20, self(1)) },
		"too many":        func() (*ring.Messages, error) { return ring.NewMessages(mem, math.MaxInt, 20, self(1)) },
		"too long":        func() (*ring.Messages, error) { return ring.NewMessages(mem, 4, math.MaxInt32, self(1)) },
		"less than none":  func() (*ring.Messages, error) { return ring.NewMessages(mem, 4, -1, self(1)) },
		"too short":       func() (*ring.Messages, error) { return ring.NewMessages(mem[:n-1], 4, 20, self(1)) },
		"not aligned":     func() (*ring.Messages, error) { return ring.NewMessages(mem[8:], 4, 20, self(1)) },
		"no peers":        func() (*ring.Messages, error) { return ring.NewMessages(mem, 4, 20, nil) },
		"open, too short": func() (*ring.Messages, error) { return ring.OpenMessages(mem[:383], self(1)) },
		"open, no peers":  func() (*ring.Messages, error) { return ring.OpenMessages(mem, nil) },
	} {
		if r, err := try(); r != nil || err == nil {
			t.Errorf("%s: %v, %v", name, r, err)
		}
	}
	newMessages(t, mem, 4, 20, self(1))
	if _, err := ring.NewMessages(mem, 4, 20, self(2)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a second time: %v, want fs.ErrExist", err)
	}
}

func TestOpenMessagesRefuses(t *testing.T) {
	if bigEndian() {
		t.Skip("the bytes written here are those of a little-endian machine")
	}
	n := ring.MessagesSize(3, 20)
	for _, c := range []struct {
		name  string
		spoil func(mem []byte) []byte
		want  error
	}{
		{"zeroes", func(mem []byte) []byte { clear(mem); return mem }, ring.ErrKind},
		{"killed in NewMessages", func(mem []byte) []byte { ring.ClearMPMCMagic(mem); return mem }, ring.ErrKind},
		{"another version", func(mem []byte) []byte { le(mem[8:], 4, 1); return mem }, ring.ErrKind},
		{"blocks", func(mem []byte) []byte { le(mem[12:], 4, 1); return mem }, ring.ErrKind},
		{"pairs", func(mem []byte) []byte { le(mem[12:], 4, 2); return mem }, ring.ErrKind},
		{"no limit", func(mem []byte) []byte { le(mem[40:], 8, 0); return mem }, ring.ErrCorrupt},
		{"a limit of all slots", func(mem []byte) []byte { le(mem[40:], 8, 4); return mem }, ring.ErrCorrupt},
		{"slots 0", func(mem []byte) []byte { le(mem[16:], 8, 0); return mem }, ring.ErrCorrupt},
		{"slots 5", func(mem []byte) []byte { le(mem[16:], 8, 5); return mem }, ring.ErrCorrupt},
		{"slots 64", func(mem []byte) []byte { le(mem[16:], 8, 64); return mem }, ring.ErrCorrupt},
		{"slots most", func(mem []byte) []byte { le(mem[16:], 8, 1<<63); return mem }, ring.ErrCorrupt},
		{"longer messages", func(mem []byte) []byte { le(mem[24:], 8, 25); return mem }, ring.ErrCorrupt},
		{"huge messages", func(mem []byte) []byte { le(mem[24:], 8, 1<<40); return mem }, ring.ErrCorrupt},
		{"messages of less than no bytes", func(mem []byte) []byte { le(mem[24:], 8, math.MaxUint64); return mem }, ring.ErrCorrupt},
		{"cut off", func(mem []byte) []byte { return mem[:n-1] }, ring.ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := memory(t, n)
			newMessages(t, mem, 3, 20, self(1)).TryPush(1, []byte("x"))
			mem = c.spoil(mem)
			if _, err := ring.OpenMessages(mem, self(1)); !errors.Is(err, c.want) {
				t.Errorf("OpenMessages: %v, want %v", err, c.want)
			}
			if err := ring.EachMessage(mem, func(uint32, []byte) { t.Error("a message") }); !errors.Is(err, c.want) {
				t.Errorf("EachMessage: %v, want %v", err, c.want)
			}
			if _, err := ring.OpenMPMC[[3]uint64](mem, self(1)); err == nil {
				t.Error("opened as a ring of something else")
			}
		})
	}
}

// TestMessagesModel runs random operations on a ring of messages, through several handles, and on a slice, and compares.
func TestMessagesModel(t *testing.T) {
	type message struct {
		kind uint32
		text []byte
	}
	for _, n := range []int{1, 3, 4, 30} {
		for _, size := range []int{0, 7, 100} {
			rapid.Check(t, func(t *rapid.T) {
				mem := aligned(ring.MessagesSize(n, size))
				first, err := ring.NewMessages(mem, n, size, self(1))
				if err != nil {
					t.Fatal(err)
				}
				first.SetPosition(rapid.SampledFrom(mpmcStarts(first)).Draw(t, "start"))
				var handles []*ring.Messages
				open := func(id uint32) *ring.Messages {
					r, err := ring.OpenMessages(mem, self(id))
					if err != nil {
						t.Fatal(err)
					}
					return r
				}
				for id := range uint32(3) {
					handles = append(handles, open(1+id))
				}
				var model []message
				var old []ring.Ticket // each of a message that somebody has taken
				mark := 0
				pick := rapid.SampledFrom(handles)
				there := func(t *rapid.T, kind uint32, b []byte, ok bool) {
					if ok != (len(model) > 0) || ok && (kind != model[0].kind || string(b) != "before"+string(model[0].text)) {
						t.Fatalf("of %d messages: %d, %q, %v", len(model), kind, b, ok)
					}
					if !ok && string(b) != "before" {
						t.Fatalf("nothing there, and %q returned", b)
					}
				}
				t.Repeat(map[string]func(*rapid.T){
					"push": func(t *rapid.T) {
						r, m := pick.Draw(t, "handle"), message{rapid.Uint32().Draw(t, "kind"), rapid.SliceOfN(rapid.Byte(), 0, size).Draw(t, "text")}
						if ok := r.TryPush(m.kind, m.text); ok != (len(model) < n && mark == 0) {
							t.Fatalf("TryPush with %d of %d, mark %d: %v, %v", len(model), n, mark, ok, r.Err())
						} else if ok {
							model = append(model, m)
						}
					},
					"pop": func(t *rapid.T) {
						kind, b, ok := pick.Draw(t, "handle").TryPop([]byte("before"))
						there(t, kind, b, ok)
						model = model[min(1, len(model)):]
					},
					"peek": func(t *rapid.T) {
						kind, b, ticket, ok := pick.Draw(t, "handle").Peek([]byte("before"))
						there(t, kind, b, ok)
						if !ok || rapid.Bool().Draw(t, "leave it") {
							return
						}
						if !pick.Draw(t, "handle").Take(ticket) {
							t.Fatal("not taken")
						}
						model, old = model[1:], append(old, ticket)
					},
					"take again": func(t *rapid.T) {
						for _, ticket := range append(old, ring.Ticket{}) {
							if pick.Draw(t, "handle").Take(ticket) {
								t.Fatal("taken twice")
							}
						}
					},
					"look": func(t *rapid.T) {
						r := pick.Draw(t, "handle")
						if r.Len() != len(model) || r.Cap() != n || r.Size() != size || r.Mark() != mark || r.Err() != nil {
							t.Fatalf("Len %d, Cap %d, Size %d, Mark %d, %v", r.Len(), r.Cap(), r.Size(), r.Mark(), r.Err())
						}
						var all, want []string
						if err := ring.EachMessage(mem, func(kind uint32, b []byte) { all = append(all, string(b)) }); err != nil {
							t.Fatal(err)
						}
						for _, m := range model {
							want = append(want, string(m.text))
						}
						if slices.Sort(all); !slices.Equal(all, slices.Sorted(slices.Values(want))) {
							t.Fatalf("EachMessage has %q, want %q", all, want)
						}
					},
					"end": func(t *rapid.T) {
						if rapid.IntRange(0, 15).Draw(t, "seldom") > 0 {
							return
						}
						if ok := pick.Draw(t, "handle").End(2); ok != (mark == 0) {
							t.Fatalf("End with mark %d: %v", mark, ok)
						}
						mark = 2
					},
					"fall behind": func(t *rapid.T) { pick.Draw(t, "handle").Forget() },
					"close": func(t *rapid.T) {
						i := rapid.IntRange(0, len(handles)-1).Draw(t, "handle")
						handles[i].Close()
						handles[i] = open(uint32(1 + i))
						pick = rapid.SampledFrom(handles)
					},
				})
			})
		}
	}
}

// The zero Ticket is of no message. In a new ring its word is that of the first slot, and a Take of it would be a push.
func TestMessagesZeroTicket(t *testing.T) {
	mem := memory(t, ring.MessagesSize(3, 8))
	r := newMessages(t, mem, 3, 8, self(1))
	if r.Take(ring.Ticket{}) || r.Len() != 0 {
		t.Errorf("a message was taken that was not there; Len %d", r.Len())
	}
}

// A message that is longer than any may be is the programmer's mistake.
func TestMessagesTooLong(t *testing.T) {
	r := newMessages(t, memory(t, ring.MessagesSize(3, 8)), 3, 8, self(1))
	defer func() {
		if v := recover(); v == nil || !strings.Contains(v.(string), "9 bytes") {
			t.Errorf("recovered %v", v)
		}
		if r.Len() != 0 || !r.TryPush(0, make([]byte, 8)) {
			t.Error("the ring is not as before")
		}
	}()
	r.TryPush(0, make([]byte, 9))
}

// Who is nobody looks, and changes nothing; who has closed its handle neither pushes nor takes, also not what it had seen.
func TestMessagesClosed(t *testing.T) {
	mem := memory(t, ring.MessagesSize(3, 8))
	r := newMessages(t, mem, 3, 8, self(1))
	r.TryPush(1, []byte("one"))
	_, _, ticket, _ := r.Peek(nil)
	nobody := openMessages(t, mem, self(0))
	other := openMessages(t, mem, self(2))
	other.TryPush(2, []byte("two"))
	other.Close()
	before := slices.Clone(mem)
	for _, r := range []*ring.Messages{nobody, other} {
		_, _, ok1 := r.TryPop(nil)
		_, _, _, ok2 := r.Peek(nil)
		if ok1 || ok2 || r.Take(ticket) || r.TryPush(3, nil) || r.End(1) {
			t.Error("a handle that can do nothing did something")
		}
		if r.Len() != 2 || r.Mark() != 0 || !errors.Is(r.Err(), os.ErrClosed) {
			t.Errorf("Len %d, Mark %d, Err %v", r.Len(), r.Mark(), r.Err())
		}
	}
	if !slices.Equal(before, mem) {
		t.Error("the ring was changed")
	}
	if !r.Take(ticket) || r.Len() != 1 {
		t.Error("not taken")
	}
	r.Close()
	if r.Close() != nil {
		t.Error("closed twice")
	}
	account(t, r)
}

// TestMessagesAllocations: nothing is allocated where there is room for the bytes.
func TestMessagesAllocations(t *testing.T) {
	if race.Enabled {
		return // its instrumentation allocates
	}
	r := newMessages(t, memory(t, ring.MessagesSize(3, 100)), 3, 100, self(1))
	text, dst := make([]byte, 100), make([]byte, 0, 100)
	if n := testing.AllocsPerRun(100, func() {
		for i := range 5 {
			r.TryPush(uint32(i), text[:20*i])
		}
		r.TryPop(dst)
		_, _, ticket, _ := r.Peek(dst)
		r.Take(ticket)
		r.Take(ticket)
		r.TryPop(dst)
		r.TryPop(dst)
		r.Len()
		r.Mark()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMessagesHammer: goroutines of several handles push and pop, peek and take; each message comes once and whole, and those of
// one goroutine in order. Meanwhile one reads all that there are, and finds those that stay.
func TestMessagesHammer(t *testing.T) {
	const n, producers, consumers = 6, 3, 3
	items := uint64(6000)
	if testing.Short() || race.Enabled {
		items = 600
	}
	mem := shared(t, ring.MessagesSize(n, letterSize))
	first := &letters{Messages: newMessages(t, mem, n, letterSize, self(1))}
	first.SetPosition(1<<first.PositionBits() - 100)
	var wg, pushers sync.WaitGroup
	for p := range uint64(producers) {
		r := &letters{Messages: openMessages(t, mem, self(uint32(2+p)))}
		pushers.Add(1)
		wg.Go(func() {
			defer pushers.Done()
			for i := uint64(0); i < items; {
				if r.push(p<<32 | i) {
					i++
				} else {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Go(func() {
		pushers.Wait()
		first.End(1)
	})
	var got [consumers][producers][]uint64
	for c := range consumers {
		r := &letters{Messages: openMessages(t, mem, self(uint32(10+c)))}
		wg.Go(func() {
			for {
				over := r.Mark() != 0
				x, ok := r.pop()
				if !ok && over {
					break
				}
				if !ok {
					runtime.Gosched()
				} else {
					got[c][x>>32] = append(got[c][x>>32], x&math.MaxUint32)
				}
			}
			if r.Err() != nil {
				t.Error(r.Err())
			}
		})
	}
	for first.Mark() == 0 {
		k := 0
		if err := ring.EachMessage(mem, func(uint32, []byte) { k++ }); err != nil || k > n+2 { // slots
			t.Errorf("%d messages, %v", k, err)
			break
		}
		runtime.Gosched()
	}
	wg.Wait()
	for p := range producers {
		var all []uint64
		for c := range consumers {
			if !slices.IsSorted(got[c][p]) {
				t.Errorf("consumer %d got the messages of producer %d out of order", c, p)
			}
			all = append(all, got[c][p]...)
		}
		slices.Sort(all)
		if uint64(len(all)) != items || len(slices.Compact(all)) != len(all) || all[len(all)-1] != items-1 {
			t.Errorf("%d messages of producer %d, want %d", len(all), p, items)
		}
	}
}

// Of messages that stay in the ring, whatever is pushed and popped beside them, EachMessage tells all.
func TestEachMessageStays(t *testing.T) {
	const n = 6
	mem := shared(t, ring.MessagesSize(n, letterSize))
	r := &letters{Messages: newMessages(t, mem, n, letterSize, self(1))}
	for x := range uint64(4) {
		r.push(1000 + x)
	}
	done := make(chan struct{})
	go func() { // behind these
		defer close(done)
		for x := range uint64(2) {
			r.push(x)
			runtime.Gosched()
		}
	}()
	for going := true; going; {
		select {
		case <-done:
			going = false
		default:
		}
		seen := 0
		if err := ring.EachMessage(mem, func(kind uint32, b []byte) {
			if x, whole := numberOf(kind, b); whole && x >= 1000 {
				seen++
			}
		}); err != nil || seen != 4 {
			t.Fatalf("%d of 4, %v", seen, err)
		}
	}
}

// A message of hostile length is not read, and one whose slot names a block that is not there neither.
func TestMessagesCorrupt(t *testing.T) {
	if bigEndian() {
		t.Skip("the bytes written here are those of a little-endian machine")
	}
	for _, length := range []uint64{9, 1 << 31, math.MaxUint32} {
		mem := memory(t, ring.MessagesSize(3, 8))
		r := newMessages(t, mem, 3, 8, self(1))
		r.TryPush(1, []byte("one"))
		le(mem[8704+16*r.SlotBlock(0):], 4, length)
		if err := ring.EachMessage(mem, func(uint32, []byte) { t.Error("a message") }); err != nil {
			t.Error(err)
		}
		if _, b, ok := r.TryPop([]byte("x")); ok || string(b) != "x" || !errors.Is(r.Err(), ring.ErrCorrupt) {
			t.Errorf("length %d: %q, %v, %v", length, b, ok, r.Err())
		}
	}
	mem := memory(t, ring.MessagesSize(3, 8))
	r := newMessages(t, mem, 3, 8, self(1))
	r.TryPush(1, []byte("one"))
	r.SetSlot(0, 1<<10|200)
	if _, _, ok := r.TryPop(nil); ok || !errors.Is(r.Err(), ring.ErrCorrupt) {
		t.Errorf("block 200: %v, %v", ok, r.Err())
	}
	if err := ring.EachMessage(mem, func(uint32, []byte) { t.Error("a message") }); err != nil {
		t.Error(err)
	}
}

// A message is there still until somebody takes it; who puts another into its slot and block does not make it come back.
func TestMessageStillThere(t *testing.T) {
	const n, size = 3, 40
	mem := memory(t, ring.MessagesSize(n, size))
	r, err := ring.NewMessages(mem, n, size, self(1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ring.OpenMessages(mem, self(2))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		r.TryPush(1, []byte("first"))
		_, _, late, ok := r.Peek(nil)
		_, _, ticket, ok2 := other.Peek(nil)
		if !ok || !ok2 || !r.Still(late) || !other.Still(ticket) || !r.Still(late) {
			t.Fatal("it is gone")
		}
		if !other.Take(ticket) || r.Still(late) || other.Still(ticket) {
			t.Fatal("it is there, though it was taken")
		}
		for range 4 {
			r.TryPush(1, []byte("second"))
			if r.Still(late) {
				t.Fatal("it is there again")
			}
			other.TryPop(nil)
		}
	}
}
