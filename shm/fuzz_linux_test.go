package shm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// vandalise writes to a live segment what data says: 8 bytes of place and 8 of content each.
func vandalise(mem []byte, used int, data []byte) {
	for ; len(data) >= 16; data = data[16:] {
		at := binary.LittleEndian.Uint64(data) % uint64(used)
		if data[7]&1 == 0 {
			at &^= 7
		}
		if binary.LittleEndian.Uint64(data)>>62 == 0 {
			at %= 4096 // the header more often
		}
		copy(mem[at:used], data[8:16])
	}
}

// everything calls every method; what they answer does not matter, that they return does.
func everything(seg *shm.Segment, b *shm.Block) {
	seg.Check()
	seg.Info()
	seg.Participants()
	for range seg.Objects() {
	}
	for i := range uint32(8) {
		seg.Dead(i<<12 | i)
		seg.KnownDead(seg.Self() + i)
	}
	for _, name := range []string{"a", "b", "c"} {
		if o, err := shm.OpenBlock(seg, name); err == nil {
			clear(o.Bytes())
			if len(o.Bytes()) >= 4 {
				o.Uint32(0).Add(1)
			}
			o.Close()
		}
		if o, err := shm.NewBlock(seg, name, 100); err == nil {
			clear(o.Bytes())
			o.MarshalBinary()
		}
		seg.Remove(name)
	}
	for _, n := range []int{0, 100, 100, 1000, 30_000, 300_000} {
		if off, mem, err := seg.Allocate(n); err == nil {
			clear(mem)
			seg.Memory(off, n)
			seg.Deallocate(off)
		}
		if o, err := shm.NewBlock(seg, "", n); err == nil {
			shm.Free(o)
			shm.Pin(seg, o.Handle().Offset)
			shm.Unpin(seg, o.Handle().Offset)
		}
	}
	seg.Repair()
	h := b.Handle()
	for i := range uint64(4) {
		h.Offset = uint64(shm.HeapAt) + 128*i
		for gen := range uint32(3) {
			h.Generation = gen
			data, _ := h.MarshalBinary()
			var c shm.Block
			if c.UnmarshalBinary(data) == nil {
				clear(c.Bytes())
			}
		}
	}
	if g, err := seg.Prepare(); err == nil {
		g.Abandon()
	}
	runtime.KeepAlive(b)
}

func fuzzSegment(t testing.TB, data []byte) {
	seg, err := shm.Anonymous(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	defer seg.Close()
	b := block(t, seg, "a", 256)
	block(t, seg, "b", 1)
	used := seg.Info().Used
	// Half before, half after somebody else has looked.
	half := len(data) / 32 * 16
	vandalise(shm.Memory(seg), used, data[:half])
	everything(seg, b)
	vandalise(shm.Memory(seg), used, data[half:])
	everything(seg, b)
}

// A state that has an owner where there is none is an error, not one more reason to look again.
func TestLiveWithOwner(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	b := block(t, seg, "a", 8)
	binary.LittleEndian.PutUint32(shm.Memory(seg)[b.Handle().Offset+12:], seg.Self())
	if _, err := shm.OpenBlock(seg, "a"); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("opened by its name: %v", err)
	}
	if err := seg.Remove("a"); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("removed: %v", err)
	}
}

// A chain without an end is found to be one after as many steps as there are blocks, however large the segment is.
func TestEndlessChain(t *testing.T) {
	proctest.Watch(t)
	seg := proctest.Segment(t, 1<<(30+10*(^uint(0)>>63)))
	at := block(t, seg, "a", 8).Handle().Offset
	shm.Word(seg, at+16).Store(at / 128)
	other := "0"
	for n := 1; shm.BucketAt(other) != shm.BucketAt("a"); n++ {
		other = fmt.Sprint(n)
	}
	if _, err := shm.OpenBlock(seg, other); !errors.Is(err, shm.ErrCorrupt) {
		t.Error(err)
	}
}

// Check takes time in proportion to the number of blocks, also if each is wrong.
func TestCheckMuchWrong(t *testing.T) {
	proctest.Watch(t)
	const blocks = 1 << 18
	seg := proctest.Segment(t, 128<<20)
	self := uint64(seg.Self()) << 32
	for i := range uint64(blocks) {
		at := shm.HeapAt + 256*i
		shm.Word(seg, at).Store(self | 2)
		shm.Word(seg, at+8).Store(self | 5) // openers of what lies at
		shm.Word(seg, at+128+8).Store(shm.HeapAt + 128)
	}
	shm.Word(seg, 512).Store(shm.HeapAt + 256*blocks)
	shm.Word(seg, 384).Store(shm.HeapAt + 256*blocks)
	if err := seg.Check(); !errors.Is(err, shm.ErrCorrupt) {
		t.Error(err)
	}
}

// FuzzSegment writes random bytes over a live segment and calls every method.
func FuzzSegment(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 20 {
		data := make([]byte, 16*(n+1))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) { fuzzSegment(t, data) })
}

// What init finds fault with is given up, whatever has become of its header.
func TestVandalsInInit(t *testing.T) {
	for _, units := range []uint32{0, 512, 1 << 31} {
		seg := proctest.Segment(t, 1<<20)
		at := int(block(t, seg, "", 8).Handle().Offset) + 256
		fault := errors.New("fault")
		_, err := shm.Kind{Name: "test"}.New(new(shm.Ref), seg, "", 100, func([]byte) error {
			binary.LittleEndian.PutUint32(shm.Memory(seg)[at:], units)
			return fault
		})
		if !errors.Is(err, fault) {
			t.Error(err)
		}
		if o, err := shm.NewBlock(seg, "", 512*128-128); err == nil {
			clear(o.Bytes())
		}
	}
}

// Bytes that change between two looks at them.
func TestVandalsMeanwhile(t *testing.T) {
	seg, err := shm.Anonymous(1 << 20)
	proctest.Must(t, err)
	defer seg.Close()
	b := block(t, seg, "a", 256)
	mem := shm.Memory(seg)
	stop, stopped := make(chan struct{}), make(chan struct{})
	r := proctest.Rand(t)
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			// The length or the state of a block, and what it was again.
			at := shm.HeapAt + 128*r.IntN(64) + 8*r.IntN(2)
			was := binary.LittleEndian.Uint32(mem[at:])
			binary.LittleEndian.PutUint32(mem[at:], 1<<r.IntN(32)>>1)
			runtime.Gosched()
			binary.LittleEndian.PutUint32(mem[at:], was)
		}
	}()
	for range 100 {
		everything(seg, b)
	}
	close(stop)
	<-stopped
}

// Segments filled with one byte, and with bytes that look like offsets.
func TestVandals(t *testing.T) {
	for _, c := range []byte{0, 1, 0x7f, 0x80, 0xff} {
		for _, from := range []int{0, 128, 384, 512, 4096, shm.SlotsAt, shm.HeapAt} {
			t.Run(fmt.Sprintf("%#x from %d", c, from), func(t *testing.T) {
				seg, err := shm.Anonymous(1 << 20)
				if err != nil {
					t.Fatal(err)
				}
				defer seg.Close()
				b := block(t, seg, "a", 256)
				mem := shm.Memory(seg)[from:seg.Info().Used]
				for i := range mem {
					mem[i] = c
				}
				everything(seg, b)
			})
		}
	}
	r := proctest.Rand(t)
	data := make([]byte, 16*32)
	for range 300 {
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		for i := 8; i < len(data); i += 16 { // contents that are plausible
			switch r.IntN(4) {
			case 0:
				binary.LittleEndian.PutUint64(data[i:], uint64(r.IntN(1<<21)))
			case 1:
				binary.LittleEndian.PutUint64(data[i:], uint64(shm.HeapAt+128*r.IntN(16)))
			case 2:
				binary.LittleEndian.PutUint64(data[i:], uint64(shm.HeapAt/128+r.IntN(16)))
			}
		}
		fuzzSegment(t, data)
	}
}
