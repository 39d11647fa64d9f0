package ring_test

import (
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/ring"
)

// sameBytes compares all bytes of a ring with those written down here.
func sameBytes(t *testing.T, mem, want []byte) {
	t.Helper()
	if len(mem) != len(want) {
		t.Fatalf("%d bytes, want %d", len(mem), len(want))
	}
	for i := range want {
		if mem[i] != want[i] {
			t.Errorf("byte %d is %#02x, want %#02x", i, mem[i], want[i])
		}
	}
}

// exactHeader is the header of a ring of 4 slots that holds 3 items.
func exactHeader(want []byte, form, size, hash uint64) {
	copy(want, "shl.mpmc")
	le(want[8:], 4, 2)
	le(want[12:], 4, form)
	le(want[16:], 8, 4)
	le(want[24:], 8, size)
	le(want[32:], 8, hash)
	le(want[40:], 8, 3)
}

// TestMessagesLayoutBytes pins the bytes of a ring of 3 messages of up to 13 bytes, through which five have gone, which holds one, and
// which was ended with 2.
func TestMessagesLayoutBytes(t *testing.T) {
	if bigEndian() {
		t.Skip("the bytes written down here are those of a little-endian machine")
	}
	mem := memory(t, ring.MessagesSize(3, 13))
	r := newMessages(t, mem, 3, 13, self(0x11223344))
	for i := range uint32(6) {
		if !r.TryPush(0xa0b0c000+i, []byte("Hello, world!")[:13-i]) {
			t.Fatal("TryPush: ", r.Err())
		}
		if i != 5 {
			r.TryPop(nil)
		}
	}
	if !r.End(2) {
		t.Fatal("not ended")
	}
	cell := uint64(0x11223344 * 37 % 128)
	first := 4 + cell
	want := make([]byte, 8704+132*24)
	exactHeader(want, 3, 13, 0)
	for i := range uint64(128) {
		le(want[384+64*i:], 8, (4+i)<<32|0xffffffff)
	}
	le(want[384+64*cell:], 8, first<<32)
	le(want[392+64*cell:], 4, 0x11223344)
	blocks := []uint64{3, first, 1, 2}
	marks := []uint64{0, 0, 2, 0}                                      // the tail is in slot 2
	for i, state := range []uint64{2 << 1, 1<<1 | 1, 1 << 1, 1 << 1} { // lap and FULL, above the mark and the 8 bits for 132 blocks
		le(want[8576+8*i:], 8, state<<10|marks[i]<<8|blocks[i])
	}
	message := func(b, length, kind uint64) {
		le(want[8704+24*b:], 4, length)
		le(want[8708+24*b:], 4, kind)
		copy(want[8712+24*b:][:length], "Hello, world!")
	}
	message(first, 13, 0xa0b0c000) // and what is behind the bytes of the sixth stays as it was
	for i, b := range []uint64{0, 1, 2, 3, first} {
		message(b, 12-uint64(i), 0xa0b0c001+uint64(i))
	}
	sameBytes(t, mem, want)
}

// TestMPMCExactLayoutBytes pins the bytes of exact rings of 3 items, through which five have gone, which hold one and were ended with 3.
func TestMPMCExactLayoutBytes(t *testing.T) {
	if bigEndian() {
		t.Skip("the bytes written down here are those of a little-endian machine")
	}
	use := func(r *ring.MPMC[[3]byte]) {
		for i := range byte(6) {
			if r.TryPush([3]byte{i, 2, 3}); i != 5 {
				r.TryPop()
			}
		}
		if !r.End(3) {
			t.Fatal("not ended")
		}
	}
	hash := layout.Hash(reflect.TypeFor[[3]byte]())
	states := []uint64{2 << 1, 1<<1 | 1, 1 << 1, 1 << 1}

	mem := memory(t, ring.MPMCSizeIn[[3]byte](3, ring.MPMCBlocks|ring.Exact))
	use(newMPMC[[3]byte](t, mem, 3, self(7), ring.MPMCBlocks|ring.Exact))
	want := make([]byte, 8704+132*3)
	exactHeader(want, 1, 3, hash)
	for i := range uint64(128) {
		le(want[384+64*i:], 8, (4+i)<<32|0xffffffff)
	}
	const cell, first = 7 * 37 % 128, 4 + 7*37%128
	le(want[384+64*cell:], 8, first<<32)
	le(want[392+64*cell:], 4, 7)
	for i, b := range []uint64{3, first, 3<<8 | 1, 2} { // the third with the mark
		le(want[8576+8*i:], 8, states[i]<<10|b)
	}
	for i, b := range []uint64{first, 0, 1, 2, 3, first} {
		copy(want[8704+3*b:], []byte{byte(i), 2, 3})
	}
	sameBytes(t, mem, want)

	if len(ring.Forms(8)) == 2 {
		t.Skip("this processor cannot change two words at once")
	}
	mem = memory(t, ring.MPMCSizeIn[[3]byte](3, ring.MPMCPairs|ring.Exact))
	use(newMPMC[[3]byte](t, mem, 3, self(7), ring.MPMCPairs|ring.Exact))
	want = make([]byte, 384+4*16)
	exactHeader(want, 2, 3, hash)
	for i, mark := range []uint64{0, 0, 3, 0} {
		le(want[384+16*i:], 8, states[i]<<2|mark)
		copy(want[392+16*i:], []byte{[]byte{4, 5, 2, 3}[i], 2, 3})
	}
	sameBytes(t, mem, want)
}
