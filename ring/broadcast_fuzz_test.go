package ring_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// FuzzOpenBroadcast lets another process write anything into the memory of a ring of either kind, before it is opened
// and between all calls, and calls every method. Nothing may panic, loop, or touch memory that was not given; and no
// bool may be anything but 0 or 1.
func FuzzOpenBroadcast(f *testing.F) {
	everything := []byte("\x00\x10\x20\x01\x12\x24\x35\x46\x58\x69\x7a\x8b\x9c\xad\xbe\xcf push, pop, peek and poke")
	for _, lossy := range []bool{false, true} {
		f.Add([]byte{}, everything, true, lossy)
		f.Add(bytes.Repeat([]byte{0x57, 0xff, 2}, 300), everything, true, lossy)
		f.Add([]byte{1, 0, 0, 0, 0, 0, 0, 0x80, 3, 2, 1}, bytes.Repeat(everything, 3), true, lossy)
		valid, b := newBroadcast[flags](f, 8, paranoid(2), options{Readers: 3, Lossy: lossy})
		b.TryPush(flags{A: true})
		f.Add(bytes.Clone(valid), everything, false, lossy)
		// A reader in the first cell, joining and far behind; turns and bools that cannot be.
		f.Add(append(make([]byte, 516), 0, 0, 0, 0x80, 4, 0, 0, 0, 9, 9, 9, 9), everything, true, lossy)
		f.Add(append(make([]byte, 512), bytes.Repeat([]byte{4, 0, 0, 0, 4, 0, 0, 0}, 70)...), everything, true, lossy)
	}
	f.Fuzz(func(t *testing.T, shared, ops []byte, laidOut, lossy bool) {
		attackBroadcast[flags](t, shared, ops, laidOut, lossy)
		attackBroadcast[uint64](t, shared, ops, laidOut, lossy)
		attackBroadcast[[3]byte](t, shared, ops, laidOut, lossy)
		attackBroadcast[bool](t, shared, ops, laidOut, lossy)
	})
}

// attackBroadcast runs ops over a ring of 8 items and 3 readers in memory with shared bytes: all of it, or, if it has
// been laid out, what follows the first line.
func attackBroadcast[T any](t *testing.T, shared, ops []byte, laidOut, lossy bool) {
	const n, border = 8, 256
	o := options{Readers: 3, Lossy: lossy}
	size := ring.BroadcastSize[T](n, o)
	whole := memory(t, size+2*border)
	for i := range whole {
		whole[i] = 0xa5
	}
	mem := whole[border : border+size : border+size]
	clear(mem)
	poke := mem
	if laidOut {
		if _, err := ring.NewBroadcast[T](mem, n, paranoid(2), o); err != nil {
			t.Fatal(err)
		}
		poke = mem[128:]
	}
	copy(poke, shared)
	b, err := ring.OpenBroadcast[T](mem, paranoid(4))
	if err != nil {
		return
	}
	var readers []*ring.Reader[T]
	var vs [n + 3]T
	valid := func(items []T) {
		if len(items) == 0 {
			return
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
	got := func(items []T, most int) {
		if len(items) > most || len(items) > b.Cap() && !b.Lossy() {
			t.Fatalf("%d items of %d", len(items), most)
		}
		valid(slices.Clone(items))
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
		k := int(op >> 4) // how many, and which reader
		var r *ring.Reader[T]
		if len(readers) > 0 {
			r = readers[k%len(readers)]
		}
		switch op & 15 {
		case 0, 1:
			b.TryPush(vs[0])
		case 2, 3:
			if r != nil {
				v, _, _ := r.TryPop()
				got([]T{v}, 1)
			}
		case 4:
			if got := b.TryPushMany(vs[:k%len(vs)]); got > k%len(vs) {
				t.Fatalf("%d pushed", got)
			}
		case 5:
			if r != nil {
				dst := vs[:k%len(vs)]
				m, _ := r.TryPopMany(dst)
				got(dst[:m], len(dst))
				valid(slices.Clone(dst)) // nor is there anything wrong with the rest
			}
		case 6:
			room := b.Reserve(k)
			if len(room) > k {
				t.Fatalf("%d slots of %d", len(room), k)
			}
			inside(room)
			b.Commit(len(room) / 2)
			b.Commit((len(room) + 1) / 4)
		case 7:
			if r != nil {
				items := r.Peek(k)
				got(items, k)
				inside(items)
				r.Advance(len(items) / 2)
			}
		case 8:
			if r != nil {
				if l := r.Len(); l < 0 || l > b.Cap() || b.Cap() > 1<<10 {
					t.Fatalf("Len %d, Cap %d", l, b.Cap())
				}
				_ = r.Err()
			}
			_ = b.Err()
		case 9:
			_ = b.Produce()
		case 10, 11:
			if r, err := b.Reader(); err == nil {
				readers = append(readers, r)
			}
		case 12:
			if r != nil {
				_ = r.Close()
				readers = append(readers[:k%len(readers)], readers[k%len(readers)+1:]...)
			}
		case 13:
			_ = b.Close()
			if b, err = ring.OpenBroadcast[T](mem, paranoid(6+2*uint32(k))); err != nil {
				return
			}
		default: // the other process writes
			if at := 8 * int(op>>3) % len(poke); len(shared) > 0 {
				copy(poke[at+i*64%(len(poke)-at):], shared[i*8%len(shared):min(i*8%len(shared)+8, len(shared))])
			}
		}
	}
	for _, r := range readers {
		_ = r.Close()
	}
	_ = b.Close()
	for i := range border {
		if whole[i] != 0xa5 || whole[len(whole)-1-i] != 0xa5 {
			t.Fatal("memory outside of the ring was written")
		}
	}
}
