package permits_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/shoal-ipc/shoal/internal/permits"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// peer is one of several processes that are made up.
type peer struct {
	id   uint32
	dead func(id uint32) bool
}

func (p peer) Self() uint32             { return p.id }
func (p peer) Dead(id uint32) bool      { return p.dead != nil && p.dead(id) }
func (p peer) KnownDead(id uint32) bool { return p.Dead(id) }
func (p peer) Closed() bool             { return false }

// payload is the 8-aligned payload of a semaphore.
func payload(size int) []byte {
	words := make([]byte, size+8)
	return words[:size:size]
}

// The offsets and bits of docs/LAYOUT.md.
func TestLayout(t *testing.T) {
	mem := payload(permits.SizeCells(3))
	if len(mem) != 140 {
		t.Errorf("%d bytes for 3 cells, want 140", len(mem))
	}
	permits.InitCells(mem, 3)
	a, err := permits.At(mem, peer{id: 0x1001}, peer{})
	if err != nil {
		t.Fatal(err)
	}
	if got := [4]uint32{u32(mem, 0), u32(mem, 8), u32(mem, 12), u32(mem, 16)}; got != [4]uint32{0, 3, 1, 0} {
		t.Errorf("words of cells: %v", got)
	}
	if !a.TryAcquire() || u32(mem, 128)|u32(mem, 132)|u32(mem, 136) != 0x1001 {
		t.Errorf("cells after one was taken: %x", mem[128:])
	}
	binary.LittleEndian.PutUint32(mem[16:], 5<<2|1)
	if err := a.Release(); err != nil || u32(mem, 16) != 6<<2 {
		t.Errorf("the sleep word after a release that found nobody: %#x, %v", u32(mem, 16), err)
	}

	mem = payload(permits.Size)
	permits.InitCount(mem, 2, 7)
	c, err := permits.At(mem, peer{id: 0x1001}, peer{})
	if err != nil {
		t.Fatal(err)
	}
	if got := [4]uint32{u32(mem, 0), u32(mem, 4), u32(mem, 8), u32(mem, 12)}; got != [4]uint32{2, 0, 7, 0} {
		t.Errorf("words of a count: %v", got)
	}
	binary.LittleEndian.PutUint64(mem, 1<<64-1<<32+1<<31+3) // the count comes round
	if err := c.Release(); err != nil || binary.LittleEndian.Uint64(mem) != 4 {
		t.Errorf("the counting word after a release that found nobody: %#x, %v", mem[:8], err)
	}

	mem = payload(permits.FlagSize)
	f := permits.FlagAt(mem, peer{id: 0x1001}, peer{})
	binary.LittleEndian.PutUint32(mem, 5<<2|2)
	if f.Set(); u32(mem, 0) != 6<<2|1 {
		t.Errorf("the flag after a set: %#x", u32(mem, 0))
	}
	if f.Clear(); u32(mem, 0) != 6<<2 {
		t.Errorf("the flag after a clear: %#x", u32(mem, 0))
	}
}

func u32(mem []byte, at int) uint32 { return binary.LittleEndian.Uint32(mem[at:]) }

// Payloads that are no semaphores are errors; words of any content give an answer.
func TestCorrupt(t *testing.T) {
	for _, c := range []struct {
		size       int
		most, mode uint32
		ok         bool
	}{
		{24, 1<<31 - 1, 0, true},
		{24, 1 << 31, 0, false},
		{24, 1<<32 - 1, 1, false},
		{24, 0, 1, false},
		{128, 0, 1, true},
		{128, 1, 1, false},
		{132, 1, 1, true},
		{132, 2, 1, false},
		{132, 1 << 30, 1, false},
		{132, 1, 2, false},
		{128 + 4<<20, 1 << 20, 1, true},
		{132 + 4<<20, 1<<20 + 1, 1, false},
	} {
		mem := payload(c.size)
		binary.LittleEndian.PutUint32(mem[8:], c.most)
		binary.LittleEndian.PutUint32(mem[12:], c.mode)
		p, err := permits.At(mem, peer{id: 0x1001}, peer{})
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
		if err != nil {
			continue
		}
		for i := range mem {
			if i < 8 || i >= 16 {
				mem[i] = 0xff
			}
		}
		p.Value()
		p.TryAcquire()
		p.Release()
		p.TryAcquire()
	}
}

// What the dead have is taken over by who wants it, without a wake for anybody, and recalled with one for each.
func TestDead(t *testing.T) {
	mem := payload(permits.SizeCells(4))
	permits.InitCells(mem, 4)
	const a, b, c = 0x1001, 0x1002, 0x1003
	dead := func(id uint32) bool { return id == b }
	p, err := permits.At(mem, peer{a, dead}, peer{})
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range []uint32{c, b, b, c} {
		binary.LittleEndian.PutUint32(mem[128+4*i:], id)
	}
	if v := p.Value(); v != 2 {
		t.Errorf("%d free, want 2", v)
	}
	if err := p.Release(); !errors.Is(err, robust.ErrNotOwner) {
		t.Errorf("Release of what others have: %v", err)
	}
	if !p.TryAcquire() || u32(mem, 132) != a && u32(mem, 136) != a {
		t.Errorf("cells after one of a dead was taken: %x", mem[128:])
	}
	if !permits.Abandoned(mem, dead) {
		t.Error("a dead one has a cell, and nobody says so")
	}
	binary.LittleEndian.PutUint32(mem[16:], 1)
	permits.Recall(mem, dead)
	if permits.Abandoned(mem, dead) || p.Value() != 1 || u32(mem, 16) != 1<<2 {
		t.Errorf("after the recall: cells %x, sleep word %#x", mem[128:], u32(mem, 16))
	}
	given := func(id uint32) bool { return id == a || id == c }
	if at, w, wrong := permits.Check(mem, given); wrong {
		t.Errorf("%#x at %d is wrong", w, at)
	}
	binary.LittleEndian.PutUint32(mem[140:], b)
	if at, w, wrong := permits.Check(mem, given); !wrong || at != 140 || w != b {
		t.Errorf("a cell of nobody: %#x at %d, %t", w, at, wrong)
	}
	binary.LittleEndian.PutUint32(mem[16:], 2)
	if at, w, wrong := permits.Check(mem, given); !wrong || at != 16 || w != 2 {
		t.Errorf("FREED without WAITERS: %#x at %d, %t", w, at, wrong)
	}
	for _, c := range []struct {
		at int
		w  uint32
	}{{0, 1}, {8, 3}, {12, 0}} { // a count of permits, fewer cells than there are, counted permits
		mem := payload(permits.SizeCells(4))
		permits.InitCells(mem, 4)
		binary.LittleEndian.PutUint32(mem[c.at:], c.w)
		if at, w, wrong := permits.Check(mem, given); !wrong || at != c.at || w != uint64(c.w) {
			t.Errorf("%d at %d: %#x at %d, %t", c.w, c.at, w, at, wrong)
		}
	}
}
