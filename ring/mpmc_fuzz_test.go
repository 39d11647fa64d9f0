package ring_test

import (
	"bytes"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/ring"
)

// FuzzOpenMPMC lets another process write anything into the memory of a ring, before it is opened and between all
// calls, and calls every method. Nothing may panic, loop, or touch memory that was not given; and no bool may be
// anything but 0 or 1.
func FuzzOpenMPMC(f *testing.F) {
	every := []byte{0x10, 0x21, 0x32, 0x43, 0x54, 0x65, 0x76, 0x87, 0x98, 0xa9, 0xba, 0x00, 0x22, 0x33, 0xfe, 0x44}
	f.Add([]byte{}, []byte{}, true)
	f.Add([]byte{0xff}, every, true)
	f.Add(bytes.Repeat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 40), bytes.Repeat(every, 4), true)
	f.Add(bytes.Repeat([]byte{1, 2, 0, 0, 0, 0, 0, 0x80, 3, 0, 0, 0, 0, 0, 0, 0x20}, 40), bytes.Repeat(every, 4), true)
	f.Add([]byte("slots that are each beyond the other"), bytes.Repeat([]byte{0x0e, 0x1f, 0x2e, 0x00, 0x02, 0x3f}, 20), true)
	valid := memory(f, ring.MPMCSizeIn[flags](4, ring.MPMCBlocks))
	newMPMC[flags](f, valid, 4, self(2), ring.MPMCBlocks).TryPush(flags{A: true})
	f.Add(bytes.Clone(valid[:700]), every, false)

	f.Fuzz(func(t *testing.T, bytes, ops []byte, laidOut bool) {
		attackMPMC[flags](t, bytes, ops, laidOut)
		attackMPMC[uint64](t, bytes, ops, laidOut)
		attackMPMC[bool](t, bytes, ops, laidOut)
	})
}

// attackMPMC runs ops over rings of 8 items, in both forms, in memory with given bytes: all of it, or, if it has been
// laid out, what follows the first line. The cells are so many that those of the bytes go to the slots and the blocks
// too.
func attackMPMC[T any](t *testing.T, given, ops []byte, laidOut bool) {
	for _, form := range ring.Forms(sizeOf[T]()) {
		attackForm[T](t, given, ops, laidOut, form)
	}
}

func attackForm[T any](t *testing.T, given, ops []byte, laidOut bool, form uint32) {
	const n, border = 8, 256
	size := ring.MPMCSizeIn[T](n, form)
	whole := memory(t, size+2*border)
	for i := range whole {
		whole[i] = 0xa5
	}
	mem := whole[border : border+size : border+size]
	clear(mem)
	slots := mem[ring.MPMCHeaderSize:]
	if form&^ring.Exact == ring.MPMCBlocks {
		slots = mem[ring.MPMCSlotsAt:]
	}
	poke := mem
	if laidOut {
		newMPMC[T](t, mem, n, paranoid(2), form)
		poke = mem[128:]
		copy(slots, given)
	}
	copy(poke, given)
	r, err := ring.OpenMPMC[T](mem, paranoid(4))
	if err != nil {
		return
	}
	var vs [n + 3]T
	got := func(items []T, most int) {
		if len(items) > most {
			t.Fatalf("%d items of %d", len(items), most)
		}
		switch any(vs[0]).(type) {
		case flags:
			for b := bytesOf(items); len(b) > 0; b = b[12:] {
				if b[0] > 1 || b[8] > 1 || b[9] > 1 || b[10] > 1 {
					t.Fatalf("bools of %v", b[:12])
				}
			}
		case bool:
			for _, b := range bytesOf(items) {
				if b > 1 {
					t.Fatalf("a bool of %d", b)
				}
			}
		}
	}
	for i, op := range ops {
		k := int(op >> 4) // how many
		switch op & 15 {
		case 0, 1:
			r.TryPush(vs[0])
		case 2, 3:
			if v, ok := r.TryPop(); ok {
				got([]T{v}, 1)
			}
		case 4:
			r.TryPushMany(vs[:k%len(vs)])
		case 5:
			dst := vs[:k%len(vs)]
			if n := r.TryPopMany(dst); n > 0 {
				got(dst[:n], len(dst))
			}
		case 6:
			if l := r.Len(); l < 0 || l > r.Cap() || r.Cap() > n {
				t.Fatalf("Len %d, Cap %d", l, r.Cap())
			}
			if m := r.Mark(); m < 0 || m > 3 || m != 0 && form&ring.Exact == 0 && r.Cap() == n {
				t.Fatalf("Mark %d", m)
			}
			_ = r.Inspect()
			_ = r.Err()
		case 7:
			r.Forget()
		case 8:
			if form&^ring.Exact == ring.MPMCBlocks && r.Cap() == n {
				r.Reclaim()
			}
		case 9, 10:
			_ = r.Close()
			if r, err = ring.OpenMPMC[T](mem, paranoid(6+2*uint32(k))); err != nil {
				return
			}
		case 11: // all cells belong to somebody, dead or not
			if form&^ring.Exact == ring.MPMCBlocks {
				for c := range ring.MPMCCells {
					r.SetCellOwner(c, uint32(1000+c*k))
				}
			}
		case 12:
			r.End(k % 5)
		case 13: // the other process writes to the slots
			if len(given) > 0 {
				copy(slots[8*k%len(slots):], given[i*8%len(given):min(i*8%len(given)+8, len(given))])
			}
		default: // or anywhere
			if at := 8 * (int(op) + 256*i) % len(poke); len(given) > 0 {
				copy(poke[at:], given[i*8%len(given):min(i*8%len(given)+8, len(given))])
			}
		}
	}
	_ = r.Close()
	for i := range border {
		if whole[i] != 0xa5 || whole[len(whole)-1-i] != 0xa5 {
			t.Fatal("memory outside of the ring was written")
		}
	}
}

// TestMPMCWhirl: slots of which each is laps beyond another, around the circle of all laps, do not lead around for ever.
func TestMPMCWhirl(t *testing.T) {
	rnd := proctest.Rand(t)
	each[uint64](t, func(t *testing.T, form uint32) {
		for _, n := range []int{4, 8, 64} {
			mem := memory(t, ring.MPMCSizeIn[uint64](n, form))
			r := newMPMC[uint64](t, mem, n, self(1), form)
			for range 300 {
				for i := range n {
					r.SetSlot(i, uint64(rnd.IntN(5))*0x3333_3333_3333_3333)
				}
				r = openMPMC[uint64](t, mem, self(1))
				r.Len()
				r.TryPush(1)
				r.TryPop()
				r.TryPopMany(make([]uint64, 3))
				r.Close()
			}
		}
	})
}

// TestMPMCBools: another process can put anything where a bool is; what one pops are bools.
func TestMPMCBools(t *testing.T) {
	poisoned(t, true)
	poisoned(t, [3]bool{true, false, true})
	poisoned(t, [9]bool{})
}

func poisoned[T any](t *testing.T, v T) {
	each[T](t, func(t *testing.T, form uint32) {
		const n = 8
		mem := memory(t, ring.MPMCSizeIn[T](n, form))
		r := newMPMC[T](t, mem, n, self(1), form)
		for range n {
			r.TryPush(v)
		}
		if form&^ring.Exact == ring.MPMCPairs {
			for i := range n {
				copy(mem[ring.MPMCHeaderSize+16*i+8:][:8], "\xff\x02\xee\x55\x66\x77\x88\x99")
			}
		} else {
			blocks := mem[ring.MPMCSlotsAt+8*n:]
			for i := range blocks {
				blocks[i] = 0xff
			}
		}
		var got [n]T
		k := r.TryPopMany(got[:n-1])
		for ; k < n; k++ {
			x, ok := r.TryPop()
			if !ok {
				t.Fatal(r.Err())
			}
			got[k] = x
		}
		for i, b := range bytesOf(got[:]) {
			if b != 1 {
				t.Errorf("byte %d is %#x", i, b)
			}
		}
	})
}
