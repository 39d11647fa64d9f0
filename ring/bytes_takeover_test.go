package ring_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// TestBytesProducerDead kills a producer with records claimed, at each step of a claim, and everywhere in the ring:
// the consumer passes over what was not committed, whoever else has said where that ends; and the next producer
// that takes the cell has nothing to do with it.
func TestBytesProducerDead(t *testing.T) {
	for _, b := range beginnings {
		for before := range 20 {
			for _, placed := range []bool{false, true} {
				for _, behind := range []bool{false, true} {
					for _, retaken := range []bool{false, true} {
						name := fmt.Sprintf("at=%#x/before=%d/placed=%v/behind=%v/retaken=%v", b.at, before, placed, behind, retaken)
						t.Run(name, func(t *testing.T) {
							var w world
							mem := memory(t, ring.BytesSize(1024))
							r := newBytes(t, mem, 1024, w.process(1))
							r.SetStart(b.at, b.from)
							r.NoSpin()
							for range before {
								if !r.TryWrite(record(7, 96)) {
									t.Fatal(r.Err())
								}
								readAll(r)
							}
							r.TryWrite([]byte("before"))
							victim := openBytes(t, mem, w.process(2))
							c := victim.Claim(120, placed)
							if c.Data == nil {
								t.Fatal(victim.Err())
							}
							var want []string
							if behind {
								if !r.TryWrite([]byte("behind")) {
									t.Fatal(r.Err())
								}
								want = append(want, "behind")
							}
							if got := texts(readAll(r)); !slices.Equal(got, []string{"before"}) {
								t.Fatalf("before its death: %q", got)
							}
							w.kill(2)
							if retaken {
								heir := openBytes(t, mem, w.process(3))
								occupyCells(heir)
								if !heir.TryWrite([]byte("heir")) || uint32(heir.Cell(2).Load()) != 3 {
									t.Fatal(heir.Err())
								}
								want = append(want, "heir")
							}
							if got := texts(readAll(r)); !slices.Equal(got, want) {
								t.Errorf("after its death: %q, want %q", got, want)
							}
							c.Commit(3) // it was not dead after all, or had left its segment
							if !r.TryWrite([]byte("last")) {
								t.Fatal(r.Err())
							}
							if got := texts(readAll(r)); !slices.Equal(got, []string{"last"}) || r.Err() != nil {
								t.Errorf("at last: %q, Err %v", got, r.Err())
							}
						})
					}
				}
			}
		}
	}
}

// occupyCells makes all free cells those of process 1, so that who joins has to look for a dead one's.
func occupyCells(r *ring.Bytes) {
	for i := range ring.BytesCells {
		r.Cell(i).CompareAndSwap(0, 1<<32|1)
	}
}

// TestBytesHelp: several claims in a row whose ends nobody has said yet. (A claimer may be stopped before it does;
// the next one does it.)
func TestBytesHelp(t *testing.T) {
	for _, b := range beginnings {
		mem := memory(t, ring.BytesSize(1024))
		r := newBytes(t, mem, 1024, self(1))
		r.SetStart(b.at, b.from)
		end := b.from
		for i := range uint64(1000) {
			n := int(i*37) % 129
			place, next := r.Follow(end, n)
			c := r.Claim(n, false)
			if c.Data == nil || n > 0 && addressOf(c.Data) != addressOf(mem[len(mem)-1024:])+uintptr(place%1024) {
				t.Fatalf("record %d of %d bytes: %d bytes at %#x, want place %#x; %v",
					i, n, len(c.Data), addressOf(c.Data), place, r.Err())
			}
			second, ok := r.Reserve(8) // it needs the end of the first
			if got := r.End(c.At()); !ok || got != next {
				t.Fatalf("record %d ends at %#x, want %#x; %v, %v", i, got, next, ok, r.Err())
			}
			_, end = r.Follow(next, 8)
			second.Abort()
			c.Commit(n)
			if p, ok := r.Next(); !ok || len(p) != n {
				t.Fatalf("record %d: %d bytes, %v, want %d; %v", i, len(p), ok, n, r.Err())
			}
			r.Advance()
			if p, ok := r.Next(); ok {
				t.Fatalf("after record %d: %v", i, p)
			}
		}
	}
}

// TestBytesConsumerDead kills a consumer at each step of Advance: the next one goes on, with the record in hand if
// Advance had not freed it.
func TestBytesConsumerDead(t *testing.T) {
	for _, b := range beginnings {
		for _, c := range []struct {
			name string
			do   func(r *ring.Bytes)
			want []string
		}{
			{"claimed", func(r *ring.Bytes) { r.Consume() }, []string{"one", "two"}},
			{"in hand", func(r *ring.Bytes) { r.Next() }, []string{"one", "two"}},
			{"freed", func(r *ring.Bytes) { halfPass(r, true, false, false) }, []string{"two"}},
			{"passed", func(r *ring.Bytes) { halfPass(r, true, true, false) }, []string{"two"}},
			{"emptied", func(r *ring.Bytes) { halfPass(r, true, true, true) }, []string{"two"}},
			{"the next in hand", func(r *ring.Bytes) { r.Next(); r.Advance(); r.Next() }, []string{"two"}},
		} {
			for _, more := range []int{0, 1, 13, 14} { // claimed by others meanwhile, 14 fill the descriptors
				t.Run(fmt.Sprintf("at=%#x/%s/more=%d", b.at, c.name, more), func(t *testing.T) {
					var w world
					mem := memory(t, ring.BytesSize(1024))
					r := newBytes(t, mem, 1024, w.process(1))
					r.SetStart(b.at, b.from)
					for _, s := range []string{"one", "two"} {
						r.TryWrite([]byte(s))
					}
					victim := openBytes(t, mem, w.process(2))
					c.do(victim)
					want := slices.Clone(c.want)
					for i := range more {
						s := fmt.Sprint(i)
						if !r.TryWrite([]byte(s)) {
							t.Fatal(i, r.Err())
						}
						want = append(want, s)
					}
					if err := r.Consume(); !errors.Is(err, ring.ErrBusy) {
						t.Fatalf("Consume beside a living consumer: %v", err)
					}
					w.kill(2)
					if err := r.Consume(); err != nil {
						t.Fatal(err)
					}
					if got := texts(readAll(r)); !slices.Equal(got, want) {
						t.Errorf("%q, want %q; Err %v", got, want, r.Err())
					}
					for range 3 * r.Slots() {
						if !r.TryWrite([]byte("x")) || len(readAll(r)) != 1 {
							t.Fatal("the ring does not go on: ", r.Err())
						}
					}
				})
			}
		}
	}
}

// halfPass does some of what Advance does with the first record, as package ring does it.
func halfPass(r *ring.Bytes, freed, passed, emptied bool) {
	r.Next()
	at, from := r.Start()
	if freed {
		from = r.End(at)
	}
	if emptied {
		r.SetWord(at, (at+r.Slots())&^(r.Slots()-1))
	}
	if passed {
		at++
	}
	r.SetHead(at, from)
}

// TestBytesTombstoneDead: a consumer that is killed while it makes a tombstone leaves the same to the next.
func TestBytesTombstoneDead(t *testing.T) {
	for step := range 3 {
		var w world
		mem := memory(t, ring.BytesSize(1024))
		r := newBytes(t, mem, 1024, w.process(1))
		c := openBytes(t, mem, w.process(2)).Claim(40, false)
		r.TryWrite(nil)                 // so that the end is said
		r.SetEnd(c.At(), 0)             // and is not again
		openBytes(t, mem, w.process(3)) // the consumer
		w.kill(2)
		if step > 0 {
			r.SetEnd(c.At(), 40)
		}
		if step > 1 {
			r.SetWord(c.At(), r.Word(c.At())^ring.StateClaimed^ring.StateAborted)
		}
		w.kill(3)
		if got := readAll(r); len(got) != 1 || len(got[0]) != 0 || r.Err() != nil {
			t.Errorf("step %d: %q, Err %v", step, got, r.Err())
		}
	}
}

// TestBytesTakeOverRace: of many that find the consumer dead one gets the end.
func TestBytesTakeOverRace(t *testing.T) {
	for range 200 {
		var w world
		mem := memory(t, ring.BytesSize(1024))
		first := newBytes(t, mem, 1024, w.process(1))
		first.Consume()
		w.kill(1)
		var got atomic.Int32
		var wg sync.WaitGroup
		for i := range uint32(8) {
			r := openBytes(t, mem, w.process(2+i/2))
			wg.Go(func() {
				if err := r.Consume(); err == nil {
					got.Add(1)
				} else if !errors.Is(err, ring.ErrBusy) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := got.Load(); n != 1 {
			t.Fatalf("%d consumers", n)
		}
	}
}

// TestBytesCellRace: goroutines of one handle that write for the first time take one cell; handles take different
// ones, also when all of them find a dead one's.
func TestBytesCellRace(t *testing.T) {
	for range 100 {
		var w world
		mem := memory(t, ring.BytesSize(1024))
		first := newBytes(t, mem, 1024, w.process(1))
		for i := range ring.BytesCells {
			first.Cell(i).Store(uint64(i)<<32 | 1)
		}
		w.kill(1)
		var wg sync.WaitGroup
		var handles []*ring.Bytes
		for _, id := range []uint32{2, 2, 3} {
			handles = append(handles, openBytes(t, mem, w.process(id)))
		}
		for _, r := range handles {
			for range 3 {
				wg.Go(func() {
					if !r.TryWrite(nil) {
						t.Error(r.Err())
					}
				})
			}
		}
		wg.Wait()
		cells := make(map[uint32]int)
		for i := range ring.BytesCells {
			cells[uint32(first.Cell(i).Load())]++
		}
		if cells[1] != ring.BytesCells-3 || cells[2] != 2 || cells[3] != 1 {
			t.Fatalf("cells by owner: %v", cells)
		}
	}
}

// TestBytesOwnDeath: a process that has left and goes on to use its handle gets nothing more and spoils nothing.
func TestBytesOwnDeath(t *testing.T) {
	mem := memory(t, ring.BytesSize(1024))
	me := &leaver{id: 1}
	r := newBytes(t, mem, 1024, me)
	r.TryWrite([]byte("one"))
	r.TryWrite([]byte("two"))
	if p, ok := r.Next(); !ok || string(p) != "one" {
		t.Fatalf("Next: %q, %v", p, ok)
	}
	c, _ := r.Reserve(40)
	me.left = true
	next := openBytes(t, mem, &interrupted{id: 1 + 128})
	for i := range ring.BytesCells { // all others are its own, so that it takes the one that was left
		next.Cell(i).CompareAndSwap(0, 1<<32|129)
	}
	if !next.TryWrite([]byte("three")) {
		t.Fatal(next.Err())
	}
	if got := texts(readAll(next)); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("the next consumer got %q", got)
	}
	at, from := next.Start()
	r.Advance() // the record is the other's now
	if at2, from2 := next.Start(); at2 != at || from2 != from {
		t.Errorf("a process that has left moved the head from %d, %d to %d, %d", at, from, at2, from2)
	}
	c.Commit(1)
	if r.TryWrite([]byte("x")) || !errors.Is(r.Err(), os.ErrClosed) {
		t.Errorf("a process that has left writes: Err %v", r.Err())
	}
	if _, ok := r.Next(); ok || !errors.Is(r.Err(), os.ErrClosed) || next.Consumer() != 129 {
		t.Errorf("a process that has left reads: Err %v", r.Err())
	}
	r.Close()
	if !next.TryWrite([]byte("four")) || next.Consumer() != 129 {
		t.Errorf("Close took away what was another's: consumer %d, Err %v", next.Consumer(), next.Err())
	}
	if got := texts(readAll(next)); !slices.Equal(got, []string{"four"}) || next.Err() != nil {
		t.Errorf("in the end: %q, Err %v", got, next.Err())
	}
}

// TestBytesLostInHand: the record that a consumer had in hand when another took the end over is not its to free, also
// when that one has given the end back.
func TestBytesLostInHand(t *testing.T) {
	mem := memory(t, ring.BytesSize(1024))
	me := &leaver{id: 1}
	r := newBytes(t, mem, 1024, me)
	r.TryWrite([]byte("one"))
	r.Next()
	me.left = true
	next := openBytes(t, mem, &interrupted{id: 2})
	if p, ok := next.Next(); !ok || string(p) != "one" {
		t.Fatalf("Next of the next consumer: %q, %v, %v", p, ok, next.Err())
	}
	if err := r.Consume(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Consume by a process that has left: %v", err)
	}
	next.Close()
	r.Advance()
	if at, _ := r.Start(); at != 0 {
		t.Errorf("the head is %d", at)
	}
}

// TestBytesLeaverPasses: a consumer whose process has left passes over nothing any more, not even over records that
// were aborted: they are the next consumer's.
func TestBytesLeaverPasses(t *testing.T) {
	mem := memory(t, ring.BytesSize(1024))
	me := &leaver{id: 1}
	r, next := newBytes(t, mem, 1024, me), openBytes(t, mem, self(2))
	if err := r.Consume(); err != nil {
		t.Fatal(err)
	}
	c, _ := next.Reserve(8)
	c.Abort()
	next.TryWrite([]byte("behind"))
	me.left = true
	next = openBytes(t, mem, &interrupted{id: 3})
	if err := next.Consume(); err != nil {
		t.Fatal(err)
	}
	if p, ok := r.Next(); ok || !errors.Is(r.Err(), os.ErrClosed) {
		t.Errorf("a process that has left reads %q, Err %v", p, r.Err())
	}
	if got := texts(readAll(next)); !slices.Equal(got, []string{"behind"}) || next.Err() != nil {
		t.Errorf("the next consumer got %q, Err %v", got, next.Err())
	}
}

// TestBytesManyDead: one Next passes over all the records of the dead, however often it looks at each before it asks.
func TestBytesManyDead(t *testing.T) {
	var w world
	mem := memory(t, ring.BytesSize(1024))
	r, victim := newBytes(t, mem, 1024, w.process(1)), openBytes(t, mem, w.process(2))
	r.Spin(16)
	for range 3 {
		for range r.Slots() - 1 {
			if _, ok := victim.Reserve(8); !ok {
				t.Fatal(victim.Err())
			}
		}
		r.TryWrite([]byte("behind"))
		victim.Close()
		victim = openBytes(t, mem, w.process(2))
		if p, ok := r.Next(); !ok || string(p) != "behind" {
			t.Fatalf("Next behind records of the dead: %q, %v, Err %v", p, ok, r.Err())
		}
		r.Advance()
	}
}

// TestBytesEndTakenAway: whatever another process writes, Advance of what Next has given does not panic.
func TestBytesEndTakenAway(t *testing.T) {
	for _, owner := range []uint32{0, 2} {
		r := newBytes(t, memory(t, ring.BytesSize(1024)), 1024, self(1))
		r.TryWrite([]byte("one"))
		r.TryWrite([]byte("two"))
		if _, ok := r.Next(); !ok {
			t.Fatal(r.Err())
		}
		r.SetConsumer(owner)
		r.Consume()
		r.Advance()
		if owner == 0 {
			if got := texts(readAll(r)); !slices.Equal(got, []string{"one", "two"}) {
				t.Errorf("after the end was taken again: %q", got)
			}
		}
	}
}
