package queue_test

import (
	"bytes"
	"encoding/binary"
	"reflect"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// TestLayout pins the tables of package queued.
func TestLayout(t *testing.T) {
	for _, c := range []struct {
		of           reflect.Type
		field        string
		offset, size uintptr
	}{
		{reflect.TypeFor[queued.Header](), "Form", 0, 4},
		{reflect.TypeFor[queued.Header](), "Flags", 4, 4},
		{reflect.TypeFor[queued.Header](), "Capacity", 8, 8},
		{reflect.TypeFor[queued.Header](), "Slot", 16, 8},
		{reflect.TypeFor[queued.Header](), "Most", 24, 8},
		{reflect.TypeFor[queued.Header](), "First", 32, 8},
		{reflect.TypeFor[queued.Header](), "Items", 128, 128},
		{reflect.TypeFor[queued.Header](), "Room", 256, 128},
		{reflect.TypeFor[queued.Header](), "Joiners", 384, 128},
		{reflect.TypeFor[queued.Header](), "Done", 512, 8},
		{reflect.TypeFor[queued.Header](), "Used", 520, 4},
		{reflect.TypeFor[queued.Header](), "Rings", 640, 248},
		{reflect.TypeFor[queued.Hand](), "Items", 0, 8},
		{reflect.TypeFor[queued.Hand](), "Busy", 8, 8},
	} {
		if err := layout.CheckShared(c.of); err != nil {
			t.Error(err)
		}
		f, ok := c.of.FieldByName(c.field)
		if !ok || f.Offset != c.offset || f.Type.Size() != c.size {
			t.Errorf("%s: offset %d, size %d, want %d and %d", c.field, f.Offset, f.Type.Size(), c.offset, c.size)
		}
	}
	if a, b := queued.FirstAt(queued.Grows), queued.FirstAt(queued.Grows|queued.Counts); a != 896 || b != 66432 {
		t.Errorf("the first ring lies at %d and %d", a, b)
	}
	for slot, hand := range map[uint32]uint32{0: 0, 1: 16, 255: 4080, 256: 1, 4095: 4095} {
		if h := queued.HandOf(slot); h != hand {
			t.Errorf("the hand of slot %d is number %d, want %d", slot, h, hand)
		}
	}
}

// golden checks bytes at an offset.
func golden(t *testing.T, mem []byte, at int, want ...byte) {
	t.Helper()
	if got := mem[at : at+len(want)]; !bytes.Equal(got, want) {
		t.Errorf("at %d: % x, want % x", at, got, want)
	}
}

func le(n int, x uint64) []byte { return binary.LittleEndian.AppendUint64(nil, x)[:n] }

// TestLayoutBytes pins the bytes of a queue that counts: with one item inline, one that is passed, and one in hand; and those of one that
// grows.
func TestLayoutBytes(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	self := uint64(seg.Self())
	q, err := queue.NewJoinable[string](seg, "", 5, queue.Options{SlotSize: 100, MaxItem: 1000})
	proctest.Must(t, err)
	for _, s := range []string{"done", "in hand", "hi", strings.Repeat("x", 200)} {
		proctest.Must(t, q.Put(t.Context(), s))
	}
	for range 2 {
		_, err := q.Get(t.Context())
		proctest.Must(t, err)
	}
	proctest.Must(t, q.TaskDone())
	mem := queue.Memory(&q.Queue)
	golden(t, mem, 0, 2, 0, 0, 0, 1, 0, 0, 0)
	golden(t, mem, 8, le(8, 5)...)
	golden(t, mem, 16, le(8, 100)...)
	golden(t, mem, 24, le(8, 1000)...)
	golden(t, mem, 32, le(8, 5)...)
	golden(t, mem, 40, make([]byte, 88)...)
	golden(t, mem, 512, le(8, 1)...)
	hand := self & 4095 % 256 * 16
	golden(t, mem, 520, le(4, hand+1)...)
	golden(t, mem, 524, make([]byte, 640-524+248)...)
	golden(t, mem, 896+16*int(hand), append(le(8, self<<32|1), le(8, self<<32)...)...)
	golden(t, mem, 66432, []byte("shl.mpmc")...)

	r, err := ring.OpenMessages(mem[66432:], seg)
	proctest.Must(t, err)
	kind, b, ok := r.TryPop(nil)
	if kind != 0 || !ok || !bytes.Equal(b, []byte{0x62, 'h', 'i'}) {
		t.Errorf("the first message is of kind %d, % x", kind, b)
	}
	kind, b, ok = r.TryPop(nil)
	if kind != 1 || !ok || len(b) != 24 {
		t.Fatalf("the second message is of kind %d, % x", kind, b)
	}
	golden(t, b, 8, le(8, 202)...)
	golden(t, b, 20, 0, 0, 0, 0)
	passed, err := seg.Claim(binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[16:]), 202)
	proctest.Must(t, err)
	golden(t, passed, 0, append([]byte{0x78, 200}, strings.Repeat("x", 200)...)...)
	proctest.Must(t, seg.Deallocate(binary.LittleEndian.Uint64(b)))
	proctest.Must(t, r.Close())

	g := newQueue[uint16](t, seg, 0, queue.SmallFirst(queue.Options{}, 2))
	for i := range uint16(3) {
		proctest.Must(t, g.Put(t.Context(), 0x0100+i))
	}
	mem = queue.Memory(g)
	golden(t, mem, 0, 1, 0, 0, 0, 2, 0, 0, 0)
	golden(t, mem, 8, le(8, 0)...)
	golden(t, mem, 16, le(8, 2)...)
	golden(t, mem, 24, le(8, 64<<20)...)
	golden(t, mem, 32, le(8, 2)...)
	golden(t, mem, 896, []byte("shl.mpmc")...)
	entry := binary.LittleEndian.Uint64(mem[640:])
	var part shm.Ref
	further, err := shm.Kind{Name: "qring", Min: 128, Part: true}.OpenIn(&part, seg,
		shm.Handle{Offset: entry >> 32 * 128, Generation: uint32(entry)})
	proctest.Must(t, err)
	h := g.Handle()
	golden(t, further, 0, append(append(le(8, h.Offset), le(4, uint64(h.Generation))...), 1, 0, 0, 0)...)
	golden(t, further, 128, []byte("shl.mpmc")...)
	for i, want := range []uint16{0x0100, 0x0101} {
		p, err := ring.OpenMPMC[uint16](mem[896:], seg)
		proctest.Must(t, err)
		if v, ok := p.TryPop(); v != want || !ok || p.Mark() != 2 {
			t.Errorf("item %d is %#x, %t; the mark is %d", i, v, ok, p.Mark())
		}
		p.Close()
	}
	p, err := ring.OpenMPMC[uint16](further[128:], seg)
	proctest.Must(t, err)
	if v, ok := p.TryPop(); v != 0x0102 || !ok || p.Mark() != 0 {
		t.Errorf("the last item is %#x, %t; the mark is %d", v, ok, p.Mark())
	}
	proctest.Must(t, p.Close())
	proctest.Must(t, part.Close())
}
