package ring_test

import (
	"bytes"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// paranoid is a process to which every other owner id is dead or alive by its lowest bit.
type paranoid uint32

func (p paranoid) Self() uint32      { return uint32(p) }
func (paranoid) Dead(id uint32) bool { return id&1 == 1 }

// FuzzOpenSPSC lets another process write anything into the memory of a ring, before it is opened and between
// all calls, and calls every method. Nothing may panic, loop, or touch memory that was not given; and no bool
// may be anything but 0 or 1.
func FuzzOpenSPSC(f *testing.F) {
	head := func(tail, head uint64) []byte {
		b := make([]byte, 400)
		le(b[0:], 8, tail)
		le(b[128:], 8, head)
		return b
	}
	f.Add([]byte{}, []byte{}, true)
	f.Add(head(0, 0), []byte{1, 2, 3, 4, 5, 6, 7, 8, 9}, true)
	f.Add(head(3, 1), bytes.Repeat([]byte{0x57, 0xff, 2}, 30), true)
	f.Add(head(1<<63, 5), []byte{7, 7, 7}, true)
	f.Add(head(5, 1<<64-2), []byte("push, pop, peek and poke"), true)
	valid := memory(f, ring.SPSCSize[flags](4))
	newSPSC[flags](f, valid, 4, self(2)).TryPush(flags{A: true})
	f.Add(bytes.Clone(valid), []byte("push, pop, peek and poke"), false)

	f.Fuzz(func(t *testing.T, shared, ops []byte, laidOut bool) {
		attack[flags](t, shared, ops, laidOut)
		attack[uint64](t, shared, ops, laidOut)
		attack[[3]byte](t, shared, ops, laidOut)
		attack[bool](t, shared, ops, laidOut)
	})
}

// attack runs ops over a ring of 8 items in memory with shared bytes: all of it, or, if it has been laid out,
// what follows the first line.
func attack[T any](t *testing.T, shared, ops []byte, laidOut bool) {
	const n, border = 8, 256
	size := ring.SPSCSize[T](n)
	whole := memory(t, size+2*border)
	for i := range whole {
		whole[i] = 0xa5
	}
	mem := whole[border : border+size : border+size]
	clear(mem)
	poke := mem
	if laidOut {
		newSPSC[T](t, mem, n, paranoid(2))
		poke = mem[128:]
	}
	copy(poke, shared)
	r, err := ring.OpenSPSC[T](mem, paranoid(4))
	if err != nil {
		return
	}
	var vs [n + 3]T
	got := func(items []T, most int) {
		if len(items) > most || len(items) > r.Cap() {
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
	inside := func(items []T) {
		if len(items) == 0 {
			return
		}
		off := addressOf(items) - addressOf(mem)
		if off < uintptr(size) && off+uintptr(len(bytesOf(items))) > uintptr(size) {
			t.Fatalf("items at %d to %d of %d bytes", off, off+uintptr(len(bytesOf(items))), size)
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
			got(dst[:r.TryPopMany(dst)], len(dst))
		case 6:
			room := r.Reserve(k)
			got(room, k)
			inside(room)
			r.Commit(len(room) / 2)
		case 7:
			items := r.Peek(k)
			got(items, k)
			inside(items)
			r.Advance(len(items) / 2)
		case 8:
			if l := r.Len(); l < 0 || l > r.Cap() || r.Cap() > n {
				t.Fatalf("Len %d, Cap %d", l, r.Cap())
			}
			_ = r.Err()
		case 9:
			_ = r.Produce()
			_ = r.Consume()
		case 10:
			_ = r.Close()
			if r, err = ring.OpenSPSC[T](mem, paranoid(6+2*uint32(k))); err != nil {
				return
			}
		default: // the other process writes
			if at := 8 * int(op>>3) % len(poke); len(shared) > 0 {
				copy(poke[at:], shared[i*8%len(shared):min(i*8%len(shared)+8, len(shared))])
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
