package ring_test

import (
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/ring"
)

// TestBytesLayout pins the table in the package documentation.
func TestBytesLayout(t *testing.T) {
	h, d := reflect.TypeFor[ring.BytesHeader](), reflect.TypeFor[ring.Descriptor]()
	for _, c := range []struct {
		of           reflect.Type
		field        string
		offset, size uintptr
	}{
		{h, "magic", 0, 8},
		{h, "version", 8, 4},
		{h, "room", 16, 8},
		{h, "slots", 24, 8},
		{h, "tail", 128, 8},
		{h, "head", 256, 8},
		{h, "freed", 264, 8},
		{h, "consumer", 272, 4},
		{h, "itemsSleep", 384, 128},
		{h, "roomSleep", 512, 128},
		{h, "cells", 640, 1024},
		{d, "word", 0, 8},
		{d, "end", 8, 8},
	} {
		f, ok := c.of.FieldByName(c.field)
		if !ok || f.Offset != c.offset || f.Type.Size() != c.size {
			t.Errorf("%s: offset %d, size %d, want %d and %d", c.field, f.Offset, f.Type.Size(), c.offset, c.size)
		}
	}
	for _, s := range []reflect.Type{h, d} {
		if err := layout.CheckShared(s); err != nil {
			t.Error(err)
		}
	}
	if ring.BytesHeaderSize != 1664 || ring.DescriptorSize != 16 {
		t.Errorf("header of %d bytes, descriptors of %d, want 1664 and 16", ring.BytesHeaderSize, ring.DescriptorSize)
	}
}

// TestBytesLayoutBytes pins the bytes of a ring with records in all states, of which one was read.
func TestBytesLayoutBytes(t *testing.T) {
	if bigEndian() {
		t.Skip("the bytes written down here are those of a little-endian machine")
	}
	mem := memory(t, ring.BytesSize(1024))
	r := newBytes(t, mem, 1024, self(0x11223344))
	r.TryWrite([]byte("gone"))
	r.Next()
	r.Advance()
	r.TryWrite([]byte("a record"))
	aborted, _ := r.Reserve(20)
	aborted.Abort()
	if c, ok := r.Reserve(128); !ok {
		t.Fatal(r.Err())
	} else {
		c.Data[127] = 0xee
	}
	short, _ := r.Reserve(128)
	short.Commit(copy(short.Data, "short"))

	cell := uint64(0x44) // the owner id modulo 128
	want := make([]byte, 1664+16*16+1024)
	copy(want, "shl.byte")
	le(want[8:], 4, 1)
	le(want[16:], 8, 1024)
	le(want[24:], 8, 16)
	le(want[256:], 8, 1)
	le(want[264:], 8, 8)
	le(want[272:], 4, 0x11223344)
	le(want[640+8*cell:], 8, 1<<32|0x11223344)
	who := 1<<20 | cell<<13 // generation 1
	for i, d := range []struct{ word, end uint64 }{
		{16, 8}, // empty, in the next lap
		{8<<13 | 3, 16},
		{2<<36 | who | 2, 40},
		{15<<36 | who | 1, 168},
		{5<<13 | 3, 296},
	} {
		le(want[1664+16*i:], 8, d.word)
		le(want[1664+16*i+8:], 8, d.end)
	}
	area := want[1664+16*16:]
	copy(area, "gone")
	copy(area[8:], "a record")
	area[167] = 0xee
	copy(area[168:], "short")
	for i := range want {
		if mem[i] != want[i] {
			t.Errorf("byte %d is %#02x, want %#02x", i, mem[i], want[i])
		}
	}
}
