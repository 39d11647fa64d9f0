package ring_test

import (
	"bytes"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// FuzzOpenMessages lets another process write anything into the memory of a ring of messages, before it is opened and between all
// calls, and calls every method. Nothing may panic, loop, or touch memory that was not given, and no message be longer than
// any may be.
func FuzzOpenMessages(f *testing.F) {
	every := []byte{0x10, 0x51, 0x22, 0x03, 0x14, 0x05, 0x06, 0x17, 0x08, 0x09, 0x1a, 0x0b, 0x1c, 0x3d, 0x3e, 0x4f, 0x14, 0x02}
	f.Add([]byte{}, []byte{}, true)
	f.Add([]byte{0xff}, every, true)
	f.Add(bytes.Repeat([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f}, 40), bytes.Repeat(every, 4), true)
	f.Add(bytes.Repeat([]byte{1, 4, 0, 0, 0, 0, 0, 0x80, 3, 0, 0, 0, 0, 0, 0, 0x20}, 40), bytes.Repeat(every, 4), true)
	f.Add([]byte("slots that are each beyond the other"), bytes.Repeat([]byte{0x0e, 0x1f, 0x2e, 0x00, 0x03, 0x14, 0x3f}, 20), true)
	valid := memory(f, ring.MessagesSize(5, 12))
	r := newMessages(f, valid, 5, 12, self(2))
	r.TryPush(3, []byte("three"))
	f.Add(bytes.Clone(valid[:700]), every, false)
	r.End(1)
	f.Add(bytes.Clone(valid), every, false)

	f.Fuzz(func(t *testing.T, given, ops []byte, laidOut bool) {
		const n, size, border = 5, 12, 256
		whole := memory(t, ring.MessagesSize(n, size)+2*border)
		for i := range whole {
			whole[i] = 0xa5
		}
		mem := whole[border : len(whole)-border : len(whole)-border]
		clear(mem)
		poke, slots := mem, mem[ring.MPMCSlotsAt:]
		if laidOut {
			newMessages(t, mem, n, size, paranoid(2))
			poke = mem[128:]
			copy(slots, given)
		}
		copy(poke, given)
		r, err := ring.OpenMessages(mem, paranoid(4))
		if err != nil {
			return
		}
		var ticket ring.Ticket
		got := func(b []byte, ok bool) {
			if len(b) < 2 || len(b) > 2+r.Size() || string(b[:2]) != "to" || !ok && len(b) > 2 {
				t.Fatalf("%q, %v of at most %d", b, ok, r.Size())
			}
		}
		for i, op := range ops {
			k := int(op >> 4)
			switch op & 15 {
			case 0, 1:
				r.TryPush(uint32(op), make([]byte, k%(r.Size()+1)))
			case 2:
				_, b, ok := r.TryPop([]byte("to"))
				got(b, ok)
			case 3:
				var b []byte
				var ok bool
				_, b, ticket, ok = r.Peek([]byte("to"))
				got(b, ok)
			case 4:
				r.Take(ticket)
			case 5:
				if l := r.Len(); l < 0 || l > r.Cap() || r.Cap() >= r.Slots() {
					t.Fatalf("Len %d, Cap %d", l, r.Cap())
				}
				if m := r.Mark(); m < 0 || m > 3 {
					t.Fatalf("Mark %d", m)
				}
				_ = r.Err()
				_ = r.Inspect()
			case 6:
				each := 0
				err := ring.EachMessage(mem, func(_ uint32, b []byte) {
					if each++; each > r.Slots() || len(b) > len(mem) {
						t.Fatalf("message %d of %d bytes", each, len(b))
					}
				})
				if err == nil && each > len(mem) {
					t.Fatal("more messages than bytes")
				}
			case 7:
				r.Forget()
			case 8:
				r.Reclaim()
			case 9:
				_ = r.Close()
				if r, err = ring.OpenMessages(mem, paranoid(6+2*uint32(k))); err != nil {
					return
				}
			case 10:
				r.End(k % 5)
			case 11: // all cells, or half of them, belong to somebody, dead or not
				for c := 0; c < ring.MPMCCells; c += 1 + k%2 {
					r.SetCellOwner(c, uint32(1000+c*k))
				}
			case 12, 13: // the other process writes to the slots
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
	})
}
