package ring_test

import (
	"reflect"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/ring"
)

// TestLayout pins the table in the package documentation: other programs, in other languages, rely on it.
func TestLayout(t *testing.T) {
	h := reflect.TypeFor[ring.SPSCHeader]()
	if err := layout.CheckShared(h); err != nil {
		t.Error(err)
	}
	for _, want := range []struct {
		field        string
		offset, size uintptr
	}{
		{"magic", 0, 8},
		{"version", 8, 4},
		{"slots", 16, 8},
		{"size", 24, 8},
		{"hash", 32, 8},
		{"tail", 128, 8},
		{"producer", 136, 4},
		{"head", 256, 8},
		{"consumer", 264, 4},
		{"itemsSleep", 384, 128},
		{"roomSleep", 512, 128},
	} {
		f, ok := h.FieldByName(want.field)
		if !ok || f.Offset != want.offset || f.Type.Size() != want.size {
			t.Errorf("%s: offset %d, size %d, want %d and %d",
				want.field, f.Offset, f.Type.Size(), want.offset, want.size)
		}
	}
	if ring.SPSCHeaderSize != 640 {
		t.Errorf("header of %d bytes, want 640", ring.SPSCHeaderSize)
	}
}

// TestLayoutBytes pins the bytes of a ring with one item.
func TestLayoutBytes(t *testing.T) {
	type item struct {
		ID uint64
		OK bool
		_  [7]byte // else it has another size, and so another hash, in 32-bit programs
	}
	mem := memory(t, ring.SPSCSize[item](4))
	r := newSPSC[item](t, mem, 4, self(0x11223344))
	if !r.TryPush(item{ID: 0x0102030405060708, OK: true}) {
		t.Fatal("TryPush on an empty ring")
	}
	if _, ok := r.TryPop(); !ok {
		t.Fatal("TryPop of one item")
	}
	want := make([]byte, 640+4*16)
	copy(want, "shl.spsc")
	le(want[8:], 4, 1)
	le(want[16:], 8, 4)
	le(want[24:], 8, 16)
	le(want[32:], 8, 0xbfa630fef14ad64d) // package layout's example for this type
	le(want[128:], 8, 1)
	le(want[136:], 4, 0x11223344)
	le(want[256:], 8, 1)
	le(want[264:], 4, 0x11223344)
	le(want[640:], 8, 0x0102030405060708)
	le(want[648:], 1, 1)
	if bigEndian() {
		t.Skip("the bytes written down here are those of a little-endian machine")
	}
	for i := range want {
		if mem[i] != want[i] {
			t.Errorf("byte %d is %#02x, want %#02x", i, mem[i], want[i])
		}
	}
}

// TestBroadcastLayout pins the other table.
func TestBroadcastLayout(t *testing.T) {
	h := reflect.TypeFor[ring.BroadcastHeader]()
	for _, shared := range []reflect.Type{h, reflect.TypeFor[ring.Cell]()} {
		if err := layout.CheckShared(shared); err != nil {
			t.Error(err)
		}
	}
	for _, want := range []struct {
		field        string
		offset, size uintptr
	}{
		{"magic", 0, 8},
		{"version", 8, 4},
		{"kind", 12, 4},
		{"slots", 16, 8},
		{"size", 24, 8},
		{"hash", 32, 8},
		{"cells", 40, 4},
		{"tail", 128, 8},
		{"producer", 136, 4},
		{"used", 256, 4},
		{"itemsSleep", 384, 128},
		{"roomSleep", 512, 128},
	} {
		f, ok := h.FieldByName(want.field)
		if !ok || f.Offset != want.offset || f.Type.Size() != want.size {
			t.Errorf("%s: offset %d, size %d, want %d and %d",
				want.field, f.Offset, f.Type.Size(), want.offset, want.size)
		}
	}
	if f, ok := reflect.TypeFor[ring.Cell]().FieldByName("word"); !ok || f.Offset != 0 || f.Type.Size() != 8 {
		t.Errorf("word: offset %d, size %d", f.Offset, f.Type.Size())
	}
	if n := reflect.TypeFor[ring.Cell]().Size(); ring.BroadcastHeaderSize != 640 || n != 128 {
		t.Errorf("header of %d bytes, cells of %d, want 640 and 128", ring.BroadcastHeaderSize, n)
	}
}

// TestBroadcastLayoutBytes pins the bytes of rings of two items in which three were pushed.
func TestBroadcastLayoutBytes(t *testing.T) {
	if bigEndian() {
		t.Skip("the bytes written down here are those of a little-endian machine")
	}
	type item struct {
		ID uint64
		OK bool
		_  [7]byte // else it has another size, and so another hash, in 32-bit programs
	}
	for _, o := range []options{{Readers: 3}, {Lossy: true}} {
		mem, b := newBroadcast[item](t, 2, self(0x11223344), o)
		var r *ring.Reader[item]
		for i := range uint64(3) {
			if i == 1 {
				r = join(t, b)
			}
			if !b.TryPush(item{ID: 0x0102030405060700 + i, OK: true}) {
				t.Fatal("full")
			}
			if i == 1 {
				r.TryPop()
			}
		}
		var want []byte
		if o.Lossy {
			want = make([]byte, 640+2*24)
			le(want[12:], 4, 1)
			le(want[640:], 8, 8) // 2*(2-0+2)
			le(want[648:], 8, 0x0102030405060702)
			le(want[656:], 1, 1)
			le(want[664:], 8, 4) // 2*(1-1+2)
			le(want[672:], 8, 0x0102030405060701)
			le(want[680:], 1, 1)
		} else {
			want = make([]byte, 640+3*128+2*16)
			le(want[40:], 4, 3)
			le(want[256:], 4, 1)
			le(want[640:], 8, 0x11223344_00000002)
			le(want[1024:], 8, 0x0102030405060702)
			le(want[1032:], 1, 1)
			le(want[1040:], 8, 0x0102030405060701)
			le(want[1048:], 1, 1)
		}
		copy(want, "shl.bcst")
		le(want[8:], 4, 1)
		le(want[16:], 8, 2)
		le(want[24:], 8, 16)
		le(want[32:], 8, 0xbfa630fef14ad64d) // package layout's example for this type
		le(want[128:], 8, 3)
		le(want[136:], 4, 0x11223344)
		for i := range want {
			if mem[i] != want[i] {
				t.Errorf("%s: byte %d is %#02x, want %#02x", kindName(o), i, mem[i], want[i])
			}
		}
		if i := len(want); i != ring.BroadcastSize[item](2, o) {
			t.Errorf("%d bytes", i)
		}
	}
	if ring.Joining(0x11223344) != 0x11223344_80000000 {
		t.Errorf("joining %#x", ring.Joining(0x11223344))
	}
}

// le writes the n lowest bytes of x, the lowest first.
func le(b []byte, n int, x uint64) {
	for i := range n {
		b[i] = byte(x >> (8 * i))
	}
}
