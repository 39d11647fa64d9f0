package ring_test

import (
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/ring"
)

// TestMPMCLayout pins the tables in the package documentation.
func TestMPMCLayout(t *testing.T) {
	for _, c := range []struct {
		of           reflect.Type
		field        string
		offset, size uintptr
	}{
		{reflect.TypeFor[ring.MPMCHeader](), "magic", 0, 8},
		{reflect.TypeFor[ring.MPMCHeader](), "version", 8, 4},
		{reflect.TypeFor[ring.MPMCHeader](), "form", 12, 4},
		{reflect.TypeFor[ring.MPMCHeader](), "slots", 16, 8},
		{reflect.TypeFor[ring.MPMCHeader](), "size", 24, 8},
		{reflect.TypeFor[ring.MPMCHeader](), "hash", 32, 8},
		{reflect.TypeFor[ring.MPMCHeader](), "limit", 40, 8},
		{reflect.TypeFor[ring.MPMCHeader](), "itemsSleep", 128, 128},
		{reflect.TypeFor[ring.MPMCHeader](), "roomSleep", 256, 128},
		{reflect.TypeFor[ring.MPMCCell](), "note", 0, 8},
		{reflect.TypeFor[ring.MPMCCell](), "owner", 8, 4},
		{reflect.TypeFor[ring.Message](), "length", 0, 4},
		{reflect.TypeFor[ring.Message](), "kind", 4, 4},
	} {
		if err := layout.CheckShared(c.of); err != nil {
			t.Error(err)
		}
		f, ok := c.of.FieldByName(c.field)
		if !ok || f.Offset != c.offset || f.Type.Size() != c.size {
			t.Errorf("%s: offset %d, size %d, want %d and %d", c.field, f.Offset, f.Type.Size(), c.offset, c.size)
		}
	}
	if ring.MessageHead != 8 {
		t.Errorf("the head of a message has %d bytes", ring.MessageHead)
	}
	if ring.MPMCHeaderSize != 384 || ring.MPMCCells != 128 || ring.MPMCCellSize != 64 || ring.MPMCSlotsAt != 8576 {
		t.Errorf("header %d, %d cells of %d, slots at %d", ring.MPMCHeaderSize, ring.MPMCCells, ring.MPMCCellSize, ring.MPMCSlotsAt)
	}
}

// TestMPMCLayoutBytes pins the bytes of rings of 4 through which two items have gone, and which hold one.
func TestMPMCLayoutBytes(t *testing.T) {
	if bigEndian() {
		t.Skip("the bytes written down here are those of a little-endian machine")
	}
	type item struct {
		ID uint64
		OK bool
		_  [7]byte // else it has another size, and so another hash, in 32-bit programs
	}
	header := func(want []byte, form, size, hash uint64) {
		copy(want, "shl.mpmc")
		le(want[8:], 4, 2)
		le(want[12:], 4, form)
		le(want[16:], 8, 4)
		le(want[24:], 8, size)
		le(want[32:], 8, hash)
	}
	check := func(mem, want []byte) {
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
	mem := memory(t, ring.MPMCSize[item](4))
	r := newMPMC[item](t, mem, 4, self(0x11223344), ring.MPMCBlocks)
	for i := range uint64(6) {
		if !r.TryPush(item{ID: 0x0102030405060700 + i, OK: true}) {
			t.Fatal("TryPush: ", r.Err())
		}
		if i != 5 {
			r.TryPop()
		}
	}
	// Producers take the blocks of the slots in turn: the six items are in blocks 4 (the first cell's), 0, 1, 2, 3, 4.
	cell := uint64(0x11223344 * 37 % 128)
	want := make([]byte, 8704+132*16)
	header(want, 1, 16, 0xbfa630fef14ad64d) // package layout's example for this type
	for i := range uint64(128) {
		le(want[384+64*i:], 8, (4+i)<<32|0xffffffff)
	}
	first := 4 + cell
	le(want[384+64*cell:], 8, first<<32)
	le(want[392+64*cell:], 4, 0x11223344)
	blocks := []uint64{3, first, 1, 2}
	for i, state := range []uint64{2 << 1, 1<<1 | 1, 1 << 1, 1 << 1} { // lap and FULL, above the 8 bits for 132 blocks
		le(want[8576+8*i:], 8, state<<8|blocks[i])
	}
	for i, b := range []uint64{first, 0, 1, 2, 3, first} {
		le(want[8704+16*b:], 8, 0x0102030405060700+uint64(i))
		le(want[8704+16*b+8:], 1, 1)
	}
	check(mem, want)

	if len(ring.Forms(8)) == 2 {
		t.Skip("this processor cannot change two words at once")
	}
	mem = memory(t, ring.MPMCSize[[3]byte](4))
	p := newMPMC[[3]byte](t, mem, 4, self(0x11223344), ring.MPMCPairs)
	for i := range byte(6) {
		p.TryPush([3]byte{i, 2, 3})
		if i != 5 {
			p.TryPop()
		}
	}
	want = make([]byte, 384+4*16)
	header(want, 2, 3, layout.Hash(reflect.TypeFor[[3]byte]()))
	for i, state := range []uint64{2 << 1, 1<<1 | 1, 1 << 1, 1 << 1} {
		le(want[384+16*i:], 8, state<<2)
		copy(want[392+16*i:], []byte{[]byte{4, 5, 2, 3}[i], 2, 3})
	}
	check(mem, want)
}
