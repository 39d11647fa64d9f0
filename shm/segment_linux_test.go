package shm_test

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

func block(t testing.TB, seg *shm.Segment, name string, size int) *shm.Block {
	t.Helper()
	b, err := shm.NewBlock(seg, name, size)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestAnonymousSizes(t *testing.T) {
	for _, c := range []struct {
		size, least int
		err         error
	}{
		{0, shm.DefaultSize, nil},
		{1, shm.HeapAt + 1, nil},
		{shm.HeapAt + 1<<20, shm.HeapAt + 1<<20, nil},
		{-1, 0, os.ErrInvalid},
		{math.MaxInt, 0, os.ErrInvalid},
		{min(math.MaxInt, 1<<43+1), 0, os.ErrInvalid}, // links reach no further
	} {
		seg, err := shm.Anonymous(c.size)
		if !errors.Is(err, c.err) {
			t.Errorf("Anonymous(%d): %v, want %v", c.size, err, c.err)
		}
		if err != nil {
			continue
		}
		if got := seg.Info().Size; got < c.least || got > c.least+64<<10 {
			t.Errorf("Anonymous(%d) has %d bytes, want %d or a little more", c.size, got, c.least)
		}
		if err := seg.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A terabyte of address space costs nothing until it is used.
func TestSparse(t *testing.T) {
	if math.MaxInt == math.MaxInt32 {
		t.Skip("needs 64-bit addresses")
	}
	size := int64(1) << 40
	seg := proctest.Segment(t, int(size))
	b := block(t, seg, "", 1<<20)
	b.Bytes()[1<<20-1] = 1
	if used := seg.Info().Used; used > 4<<20 {
		t.Errorf("%d bytes used", used)
	}
	runtime.KeepAlive(b)
}

// Segments that are closed give their address space back when it is needed.
func TestAddressSpace(t *testing.T) {
	size, n := int64(8)<<40, 128 // of 128 TiB
	if math.MaxInt == math.MaxInt32 {
		size = 512 << 20
	}
	for range n {
		seg, err := shm.Anonymous(int(size))
		if err != nil {
			t.Fatal(err)
		}
		if err := seg.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNoSpace(t *testing.T) {
	seg := proctest.Segment(t, 1)
	if _, err := shm.NewBlock(seg, "", 10<<20); !errors.Is(err, shm.ErrNoSpace) {
		t.Errorf("too large a block: %v", err)
	}
	if _, err := shm.NewBlock(seg, "", math.MaxInt); !errors.Is(err, shm.ErrNoSpace) {
		t.Errorf("far too large a block: %v", err)
	}
	for i := 0; ; i++ {
		if _, err := shm.NewBlock(seg, "", 1000); errors.Is(err, shm.ErrNoSpace) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if i > 1000 {
			t.Fatal("a segment that is never full")
		}
	}
	for o := range seg.Objects() {
		if o.Size != 1000 || o.Kind != "block" {
			t.Errorf("object %+v", o)
		}
	}
}

// A limit on the size of files is an error that names it.
func TestFileLimit(t *testing.T) {
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	low := old
	low.Cur = 2 << 20
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &low); err != nil {
		t.Fatal(err)
	}
	_, err := shm.Anonymous(4 << 20)
	seg, errSmall := shm.Anonymous(1 << 20)
	if e := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &old); e != nil {
		t.Fatal(e)
	}
	if !errors.Is(err, shm.ErrNoSpace) || !errors.Is(err, syscall.EFBIG) || !strings.Contains(err.Error(), "ulimit -f") {
		t.Errorf("beyond the limit: %v, want ErrNoSpace", err)
	}
	if errSmall != nil {
		t.Fatalf("below the limit: %v", errSmall)
	}
	seg.Close()
}

func TestBlock(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b := block(t, seg, "grid", 1000)
	m := b.Bytes()
	if len(m) != 1000 || cap(m) != 1000 || !bytes.Equal(m, make([]byte, 1000)) {
		t.Fatalf("a block of %d bytes, capacity %d, or not zero", len(m), cap(m))
	}
	b.Uint32(996).Store(7)
	c, err := shm.OpenBlock(seg, "grid")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Uint32(996).Load(); got != 7 {
		t.Errorf("read %d through another handle", got)
	}
	if c.Handle() != b.Handle() || c.Name() != "grid" || c.Segment() != seg {
		t.Errorf("%+v and %+v", c.Handle(), b.Handle())
	}
	for _, off := range []int{-4, 2, 998, 1000} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("Uint32(%d) is allowed", off)
				}
			}()
			b.Uint32(off)
		}()
	}
	runtime.KeepAlive(b)
}

func TestNames(t *testing.T) {
	seg := proctest.Segment(t, 0)
	block(t, seg, "a", 1)
	block(t, seg, "", 1)
	block(t, seg, "", 1)
	if _, err := shm.NewBlock(seg, "a", 1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("New of a name that is taken: %v", err)
	}
	for _, name := range []string{"b", ""} {
		if _, err := shm.OpenBlock(seg, name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Open of %q: %v", name, err)
		}
	}
	for _, name := range []string{strings.Repeat("x", 201), "\xff"} {
		if _, err := shm.NewBlock(seg, name, 1); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("New of %q: %v", name, err)
		}
	}
	var want []string
	for i := range 3000 { // several in each bucket
		name := fmt.Sprint("object ", i)
		block(t, seg, name, 0)
		want = append(want, name)
	}
	for _, name := range want {
		if _, err := shm.OpenBlock(seg, name); err != nil {
			t.Fatal(err)
		}
	}
	if n := seg.Info().Objects; n != 3003 {
		t.Errorf("%d objects", n)
	}
}

// Of many that make a name at once exactly one does, and all find that one.
func TestNameRace(t *testing.T) {
	seg := proctest.Segment(t, 0)
	kind := shm.Kind{Name: "test"}
	for round := range 200 {
		name := fmt.Sprint(round)
		var wg sync.WaitGroup
		var mu sync.Mutex
		handles := map[shm.Handle]int{}
		made := 0
		for range 8 {
			wg.Go(func() {
				var r shm.Ref
				mem, err := kind.OpenOrNew(&r, seg, name, 8, func(mem []byte) error { mem[0] = 1; return nil })
				if err != nil {
					t.Error(err)
					return
				}
				if mem[0] != 1 {
					t.Error("seen before it was whole")
				}
				mu.Lock()
				handles[r.Handle()]++
				mu.Unlock()
			})
			wg.Go(func() {
				var r shm.Ref
				if _, err := kind.New(&r, seg, name, 8, func(mem []byte) error { mem[0] = 1; return nil }); err == nil {
					mu.Lock()
					made++
					mu.Unlock()
				} else if !errors.Is(err, fs.ErrExist) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(handles) != 1 || made > 1 {
			t.Fatalf("round %d: %d objects of one name, %d made", round, len(handles), made)
		}
	}
}

func TestKinds(t *testing.T) {
	seg := proctest.Segment(t, 0)
	var a, b, c, d shm.Ref
	k := shm.Kind{Name: "pair", Hash: 1, Type: "T", Min: 16}
	if _, err := k.New(&a, seg, "x", 16, nil); err != nil {
		t.Fatal(err)
	}
	for _, other := range []shm.Kind{{Name: "pair", Hash: 2}, {Name: "pai", Hash: 1}, {Name: "lock", AnyGuarded: true}} {
		var r shm.Ref
		if _, err := other.Open(&r, seg, "x"); !errors.Is(err, shm.ErrKind) {
			t.Errorf("%+v opens it: %v", other, err)
		}
	}
	grown := shm.Kind{Name: "pair", Hash: 2, Type: "T"}
	if _, err := grown.Open(new(shm.Ref), seg, "x"); err == nil || !strings.Contains(err.Error(), "whose fields differ") {
		t.Errorf("a structure of the same name: %v", err)
	}
	if _, err := (shm.Kind{Name: "pair", Hash: 1, Min: 17}).Open(&b, seg, "x"); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("too small an object: %v", err)
	}
	if _, err := k.Open(&c, seg, "x"); err != nil {
		t.Error(err)
	}
	if _, err := k.Open(&c, seg, "x"); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("a handle used twice: %v", err)
	}
	broken := errors.New("broken")
	if _, err := k.New(&d, seg, "y", 16, func([]byte) error { return broken }); !errors.Is(err, broken) {
		t.Errorf("New with a failing init: %v", err)
	}
	if _, err := k.Open(&d, seg, "y"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an object whose init failed is there: %v", err)
	}
}

func TestHandles(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b := block(t, seg, "", 8)
	text, err := b.Handle().MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var h shm.Handle
	if err := h.UnmarshalText(text); err != nil || h != b.Handle() {
		t.Errorf("%s: %v, %v", text, h, err)
	}
	for _, s := range []string{"", "-", "--", "00-1-1", string(text) + "-", string(text[1:]), strings.Replace(string(text), "-", "-x", 1)} {
		if err := h.UnmarshalText([]byte(s)); err == nil {
			t.Errorf("%q is a handle", s)
		}
	}

	data, err := b.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var c shm.Block
	if err := c.UnmarshalBinary(data); err != nil || c.Handle() != b.Handle() || c.Segment() != seg {
		t.Errorf("%+v, %v", c.Handle(), err)
	}
	change := func(f func(*shm.Handle)) []byte {
		h := b.Handle()
		f(&h)
		d, err := h.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	for _, x := range []struct {
		data []byte
		want error
	}{
		{nil, shm.ErrCorrupt},
		{data[:20], shm.ErrCorrupt},
		{append([]byte{9}, data[1:]...), shm.ErrCorrupt},
		{change(func(h *shm.Handle) { h.Segment[3]++ }), shm.ErrUnreachable},
		{change(func(h *shm.Handle) { h.Generation++ }), shm.ErrStale},
		{change(func(h *shm.Handle) { h.Offset++ }), shm.ErrCorrupt},
		{change(func(h *shm.Handle) { h.Offset = 0 }), shm.ErrCorrupt},
		{change(func(h *shm.Handle) { h.Offset = math.MaxUint64 - 127 }), shm.ErrCorrupt},
	} {
		var c shm.Block
		if err := c.UnmarshalBinary(x.data); !errors.Is(err, x.want) {
			t.Errorf("%x: %v, want %v", x.data, err, x.want)
		}
	}
	var _ encoding.BinaryMarshaler = b
	var _ shm.Object = b
}

func TestClose(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b, c := block(t, seg, "b", 8), block(t, seg, "c", 8)
	data, err := c.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := b.MarshalBinary(); !errors.Is(err, os.ErrClosed) || !b.Closed() || c.Closed() {
		t.Errorf("after Close of a handle: %v", err)
	}
	if _, err := shm.OpenBlock(seg, "b"); err != nil {
		t.Errorf("Close of a handle ended the object: %v", err)
	}
	for range 2 {
		if err := seg.Close(); err != nil {
			t.Error(err)
		}
	}
	if !c.Closed() {
		t.Error("a handle is open in a closed segment")
	}
	c.Bytes()[0] = 1 // late, but harmless
	if _, err := shm.NewBlock(seg, "", 8); !errors.Is(err, os.ErrClosed) {
		t.Errorf("New in a closed segment: %v", err)
	}
	if _, err := shm.OpenBlock(seg, "c"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Open in a closed segment: %v", err)
	}
	if err := new(shm.Block).UnmarshalBinary(data); !errors.Is(err, shm.ErrUnreachable) {
		t.Errorf("handle of a closed segment: %v", err)
	}
	if _, err := seg.Prepare(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Prepare of a closed segment: %v", err)
	}
}

// Segments and handles that nobody closes go when they are unreachable; the package's TestMain looks for what
// is left of their mappings and descriptors.
func TestForgotten(t *testing.T) {
	for range 300 {
		seg, err := shm.Anonymous(1)
		if err != nil {
			t.Fatal(err)
		}
		block(t, seg, "x", 8)
	}
	seg := proctest.Segment(t, 0)
	b := block(t, seg, "kept", 8)
	for range 1000 {
		if _, err := shm.OpenBlock(seg, "kept"); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		runtime.GC()
	}
	b.Bytes()[0] = 1
	runtime.KeepAlive(b)
}

func TestParticipants(t *testing.T) {
	seg := proctest.Segment(t, 0)
	self := seg.Self()
	if self == 0 || seg.Dead(self) || seg.KnownDead(self) {
		t.Errorf("self is %#x, dead %v", self, seg.Dead(self))
	}
	for _, id := range []uint32{0, self + 1<<12, self - 1<<12, self ^ 1, math.MaxUint32} {
		if !seg.KnownDead(id) || !seg.Dead(id) {
			t.Errorf("%#x lives", id)
		}
	}
	ps := seg.Participants()
	if len(ps) != 1 || ps[0].Pid != os.Getpid() || !ps[0].Alive {
		t.Errorf("participants %+v", ps)
	}

	// A participant that was prepared for a child is alive for as long as anybody has its descriptor.
	gift, err := seg.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if seg.Dead(gift.Owner) || len(seg.Participants()) != 2 {
		t.Error("a prepared participant is dead")
	}
	gift.Sent() // nobody has it now
	if !seg.Dead(gift.Owner) || !seg.KnownDead(gift.Owner) {
		t.Error("a participant without a descriptor lives")
	}
	gift, err = seg.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	gift.Abandon()
	if !seg.KnownDead(gift.Owner) {
		t.Error("an abandoned participant lives")
	}
}

// More participants than slots, one after the other: slots are used again, and no owner id is.
func TestSlotsReused(t *testing.T) {
	seg := proctest.Segment(t, 0)
	seen := map[uint32]bool{seg.Self(): true}
	for i := range 4096 + 500 {
		gift, err := seg.Prepare()
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if seen[gift.Owner] {
			t.Fatalf("%d: owner id %#x for the second time", i, gift.Owner)
		}
		seen[gift.Owner] = true
		if i%2 == 0 {
			gift.Abandon()
		} else {
			gift.Sent() // dies unnoticed
		}
	}
	for id := range seen {
		if dead := seg.Dead(id); dead != (id != seg.Self()) {
			t.Fatalf("%#x dead: %v", id, dead)
		}
	}
}

func TestAllSlotsTaken(t *testing.T) {
	if testing.Short() {
		t.Skip("needs 4,096 descriptors and some seconds")
	}
	seg := proctest.Segment(t, 0)
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Cur < 4200 {
		t.Skipf("needs 4,200 descriptors, the limit is %d", lim.Cur)
	}
	for i := range 4095 {
		gift, err := seg.Prepare()
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		defer gift.Abandon()
	}
	if _, err := seg.Prepare(); !errors.Is(err, shm.ErrNoSpace) {
		t.Errorf("one more than there are slots: %v", err)
	}
}

// A child that is prepared while the segment is closed finds the memory that its parent has open kept from others; or
// it is not prepared.
func TestCloseDuringPrepare(t *testing.T) {
	for i := range 3000 {
		seg, err := shm.Anonymous(1)
		proctest.Must(t, err)
		b := block(t, seg, "", 64)
		prepared := make(chan error)
		go func() {
			gift, err := seg.Prepare()
			if err == nil {
				if w := slotWord(seg, seg.Self()%slotCount); w%generation == slotFree {
					err = errors.New("the parent's slot is free while it has an object open")
				}
				gift.Abandon()
			} else if errors.Is(err, os.ErrClosed) {
				err = nil
			}
			prepared <- err
		}()
		for range i % 50 {
			runtime.Gosched()
		}
		seg.Close()
		if err := <-prepared; err != nil {
			t.Fatalf("round %d: %v", i, err)
		}
		runtime.KeepAlive(b)
	}
}

// An object that could not be had because Close came first is not left to nobody.
func TestCloseDuringNew(t *testing.T) {
	for i := range 1000 {
		seg, err := shm.Anonymous(1)
		proctest.Must(t, err)
		gift, err := seg.Prepare()
		proctest.Must(t, err)
		made := make(chan int)
		go func() {
			n := 0
			for {
				if _, err := shm.NewBlock(seg, "", 8); err != nil {
					made <- n
					return
				}
				n++
			}
		}()
		for range i % 20 {
			runtime.Gosched()
		}
		seg.Close()
		if n, there := <-made, seg.Info().Objects; n != there {
			t.Fatalf("round %d: %d objects, New returned %d", i, there, n)
		}
		gift.Abandon()
	}
}

// A kind that opens any code opens what has a known one, whose hash it has, and tells which it is.
func TestAnyCode(t *testing.T) {
	seg := proctest.Segment(t, 1)
	of := func(name string, code shm.Code, typ reflect.Type) uint64 {
		var r shm.Ref
		_, err := shm.Kind{Name: "number", Code: code, Hash: layout.Hash(typ)}.New(&r, seg, name, 8, nil)
		proctest.Must(t, err)
		if got := shm.CodeOfRef(&r); got != code {
			t.Errorf("made with code %q, has %q", code, got)
		}
		return r.Handle().Offset
	}
	d, none := of("d", 'd', reflect.TypeFor[float64]()), of("none", 0, reflect.TypeFor[float64]())
	open := func(k shm.Kind, name string) (shm.Code, error) {
		var r, again shm.Ref
		if _, err := k.Open(&r, seg, name); err != nil {
			return 0, err
		}
		_, err := shm.Again(&again, &r)
		proctest.Must(t, err)
		if shm.CodeOfRef(&again) != shm.CodeOfRef(&r) {
			t.Error("a handle of the same object has another code")
		}
		return shm.CodeOfRef(&r), nil
	}
	anyCode := shm.Kind{Name: "number", AnyCode: true}
	if code, err := open(anyCode, "d"); code != 'd' || err != nil {
		t.Errorf("code %q, %v", code, err)
	}
	if _, err := open(shm.Kind{Name: "numbers", AnyCode: true}, "d"); !errors.Is(err, shm.ErrKind) {
		t.Errorf("as another kind: %v", err)
	}
	if _, err := open(anyCode, "none"); !errors.Is(err, shm.ErrKind) {
		t.Errorf("without a code: %v", err)
	}
	for code, want := range map[byte]error{'Q': shm.ErrCorrupt, 'f': shm.ErrCorrupt, 'x': shm.ErrKind, 255: shm.ErrKind} {
		for _, off := range []uint64{d, none} {
			shm.Memory(seg)[off+52] = code
			if _, err := open(anyCode, map[uint64]string{d: "d", none: "none"}[off]); !errors.Is(err, want) {
				t.Errorf("code %q of a float64: %v, want %v", code, err, want)
			}
		}
	}
}
