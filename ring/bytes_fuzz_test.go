package ring_test

import (
	"bytes"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// FuzzOpenBytes lets another process write anything into the memory of a ring of records, before it is opened and
// between all calls, and calls every method. Nothing may panic, loop, or touch memory that was not given.
func FuzzOpenBytes(f *testing.F) {
	const room = 64
	size := ring.BytesSize(room)
	ops := []byte("write, reserve, commit, abort, next, advance, close and poke")
	f.Add([]byte{}, ops, true)
	f.Add(bytes.Repeat([]byte{0xff, 0, 0x57}, 100), ops, true)
	f.Add(bytes.Repeat([]byte{1, 0, 0, 0, 0, 0, 0, 0}, 300), []byte{0, 0, 0, 4, 5, 4, 5, 4, 5}, true)
	valid := memory(f, size)
	v := newBytes(f, valid, room, paranoid(2))
	for range 5 {
		v.TryWrite([]byte("record"))
		v.Next()
		v.Advance()
	}
	v.Reserve(3)
	v.TryWrite([]byte("record"))
	f.Add(bytes.Clone(valid), ops, false)
	// The header is fuzzed often only if its valid part is left alone, so there is that, too.
	f.Add(bytes.Clone(valid[128:]), ops, true)

	f.Fuzz(func(t *testing.T, shared, ops []byte, laidOut bool) {
		const border = 256
		whole := memory(t, size+2*border)
		for i := range whole {
			whole[i] = 0xa5
		}
		mem := whole[border : border+size : border+size]
		clear(mem)
		poke := mem
		if laidOut {
			newBytes(t, mem, room, paranoid(2))
			poke = mem[128:]
		}
		copy(poke, shared)
		r, err := ring.OpenBytes(mem, paranoid(4))
		if err != nil {
			return
		}
		inside := func(p []byte) {
			first, last := addressOf(mem), addressOf(mem)+uintptr(size)
			if len(p) > r.Cap() || len(p) > 0 && (addressOf(p) < first || addressOf(p)+uintptr(len(p)) > last) {
				t.Fatalf("a record of %d bytes at %d of %d", len(p), int(addressOf(p)-addressOf(mem)), size)
			}
		}
		reserved := make([]ring.Record, 3)
		for i, op := range ops {
			k := int(op >> 4)
			switch op & 15 {
			case 0, 1:
				r.TryWrite(make([]byte, k))
			case 2:
				if c, ok := r.Reserve(k); ok {
					if len(c.Data) != k {
						t.Fatalf("Reserve(%d): %d bytes", k, len(c.Data))
					}
					inside(c.Data)
					fill(c.Data, 1<<64-1)
					reserved[i%3] = c
				}
			case 3:
				if c := reserved[k%3]; c.Data != nil {
					c.Commit(len(c.Data) / 2)
				}
			case 4, 5, 6:
				if p, ok := r.Next(); ok {
					inside(p)
					_ = bytes.Count(p, []byte{0})
					if op&1 == 0 {
						r.Advance()
					}
				}
			case 7:
				if c := reserved[k%3]; c.Data != nil {
					c.Abort()
				}
			case 8:
				if r.Cap() != 64 && laidOut || r.Max() > r.Cap() {
					t.Fatalf("Cap %d, Max %d", r.Cap(), r.Max())
				}
				_ = r.Err()
			case 9:
				_ = r.Consume()
			case 10:
				_ = r.Close()
				if r, err = ring.OpenBytes(mem, paranoid(6+2*uint32(k))); err != nil {
					return
				}
			default: // the other process writes, 8 bytes that stand in shared to a place that stands there, too
				if at := 8 * (int(op>>3) + 32*i) % len(poke); len(shared) > 0 {
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
	})
}
