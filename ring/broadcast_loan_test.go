package ring_test

import (
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// TestLoanOfLeaver: what was lent before a process left is committed and advanced no more, once it has noticed.
func TestLoanOfLeaver(t *testing.T) {
	for _, o := range kinds {
		w := &world{}
		mem, b := newBroadcast[uint64](t, 4, w.process(1), o)
		reader := join(t, openBroadcast[uint64](t, mem, w.process(3)))
		b.Reserve(2)
		w.kill(1)
		next := openBroadcast[uint64](t, mem, w.process(2))
		next.TryPushMany([]uint64{1, 2, 3})
		if err := b.Produce(); !errors.Is(err, os.ErrClosed) {
			t.Fatalf("%s: Produce: %v", kindName(o), err)
		}
		b.Commit(2)
		if tail := ring.Tail(mem); tail != 3 {
			t.Errorf("%s: the tail is %d, want 3", kindName(o), tail)
		}
		if o.Lossy {
			continue
		}
		reader.Peek(2)
		w.kill(3)
		next.TryPush(4)
		next.TryPush(5)
		if p := reader.Peek(4); len(p) != 0 || !errors.Is(reader.Err(), os.ErrClosed) {
			t.Fatalf("Peek: %d items, Err %v", len(p), reader.Err())
		}
		reader.Advance(2)
		if c := ring.CellWord(mem, 0); c != 0 {
			t.Errorf("the cell is %#x", c)
		}
	}
}

// TestLoanTakenAway: whatever another process writes, Commit and Advance of what was lent do not panic.
func TestLoanTakenAway(t *testing.T) {
	for _, o := range kinds {
		for _, owner := range []uint32{0, 9} {
			mem, b := newBroadcast[uint64](t, 4, self(1), o)
			b.Reserve(2)
			binary.NativeEndian.PutUint32(mem[136:], owner)
			b.Produce()
			b.Commit(1)
			b.Commit(1)
			if owner == 0 && !b.TryPush(1) {
				t.Error(b.Err())
			}
		}
	}
	mem, b := newBroadcast[uint64](t, 4, self(1), options{})
	r := join(t, b)
	b.TryPushMany([]uint64{1, 2})
	r.Peek(2)
	ring.SetTail(mem, 1<<40)
	r.Peek(3)
	r.Advance(2)
	if n, _ := r.TryPopMany(make([]uint64, 4)); n != 0 {
		t.Errorf("a corrupt reader popped %d items", n)
	}

	mem = memory(t, ring.SPSCSize[uint64](4))
	s, err := ring.NewSPSC[uint64](mem, 4, self(1))
	if err != nil {
		t.Fatal(err)
	}
	s.TryPush(1)
	s.Reserve(2)
	s.Peek(1)
	ring.SetOwners(mem, 0, 0)
	s.Produce()
	s.Consume()
	s.Commit(2)
	s.Advance(1)
	if v, ok := s.TryPop(); !ok || v != 1 {
		t.Errorf("TryPop: %d, %v", v, ok)
	}
}

// TestLoanOfCorrupt: a Commit after a push that has found the ring corrupt leaves the ring full.
func TestLoanOfCorrupt(t *testing.T) {
	mem, b := newBroadcast[uint64](t, 4, self(1), options{})
	b.Reserve(2)
	ring.SetCell(mem, 0, ring.Placed(9, 5))
	if b.TryPushMany(make([]uint64, 5)) != 0 || !errors.Is(b.Err(), ring.ErrCorrupt) {
		t.Fatal(b.Err())
	}
	b.Commit(2)
	if n := b.TryPushMany(make([]uint64, 9)); n != 0 {
		t.Errorf("%d items went into a corrupt ring of 4", n)
	}
}
