package shm_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// Classes grow, waste at most an eighth, and a block belongs to one whose least size it has.
func TestClasses(t *testing.T) {
	last := 0
	for n := uint64(1); n < 1<<32; n = max(n+1, n+n/100) {
		c := shm.ClassOf(n)
		if c < last || c >= 256 {
			t.Fatalf("%d units are of class %d, fewer of %d", n, c, last)
		}
		last = c
		in := shm.InClass(n)
		if in < n || (in-n)*8 > in {
			t.Fatalf("%d units for %d", in, n)
		}
		if n <= 8192 && shm.LeastOf(shm.ClassOf(in)) != in {
			t.Fatalf("%d units are class %d, whose least size is %d", in, shm.ClassOf(in), shm.LeastOf(shm.ClassOf(in)))
		}
		if shm.LeastOf(c) > n {
			t.Fatalf("%d units are class %d, whose least size is %d", n, c, shm.LeastOf(c))
		}
	}
}

// Memory that is allocated is nobody else's, and what is given back serves again.
func TestAllocate(t *testing.T) {
	seg := proctest.Segment(t, 2<<20)
	r := proctest.Rand(t)
	type piece struct {
		off uint64
		mem []byte
		x   byte
	}
	var have []piece
	full := 0
	for i := range 50_000 {
		if len(have) == 0 || r.IntN(100) < 51 {
			n := 1 << r.IntN(16)
			off, mem, err := seg.Allocate(n + r.IntN(n))
			if errors.Is(err, shm.ErrNoSpace) {
				full++
				drop := have[len(have)/4:]
				have = have[:len(have)/4]
				for _, p := range drop {
					proctest.Must(t, seg.Deallocate(p.off))
				}
				continue
			}
			proctest.Must(t, err)
			if off%128 != 0 {
				t.Fatalf("at %d", off)
			}
			fill(mem, byte(i))
			have = append(have, piece{off, mem, byte(i)})
			continue
		}
		k := r.IntN(len(have))
		p := have[k]
		for _, x := range p.mem {
			if x != p.x {
				t.Fatal("memory was somebody else's too")
			}
		}
		proctest.Must(t, seg.Deallocate(p.off))
		if err := seg.Deallocate(p.off); !errors.Is(err, shm.ErrStale) {
			t.Fatalf("given back twice: %v", err)
		}
		have[k] = have[len(have)-1]
		have = have[:len(have)-1]
		if i%5000 == 0 {
			proctest.Must(t, seg.Check())
		}
	}
	if full == 0 {
		t.Error("the segment was never full")
	}
	for _, p := range have {
		proctest.Must(t, seg.Deallocate(p.off))
	}
	shm.Spill(seg)
	if n := used(seg); n != 0 {
		t.Errorf("%d bytes used by nobody", n)
	}
	proctest.Must(t, seg.Check())
}

// When there is no other memory, what large blocks left is cut into small ones: all of it can be used.
func TestAllocateSplits(t *testing.T) {
	seg := proctest.Segment(t, 4<<20)
	var offs []uint64
	for {
		off, _, err := seg.Allocate(200 << 10)
		if err != nil {
			break
		}
		offs = append(offs, off)
	}
	for _, off := range offs {
		proctest.Must(t, seg.Deallocate(off))
	}
	n := 0
	for {
		if _, _, err := seg.Allocate(1000); err != nil {
			if !errors.Is(err, shm.ErrNoSpace) {
				t.Fatal(err)
			}
			break
		}
		n++
	}
	if got, room := n*(1024+128), 4<<20-shm.HeapAt; got < room*95/100 {
		t.Errorf("%d of %d bytes could be used", got, room)
	}
	proctest.Must(t, seg.Check())
}

// Goroutines that allocate at once get memory of their own.
func TestAllocateAtOnce(t *testing.T) {
	seg := proctest.Segment(t, 16<<20)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 0))
			var offs []uint64
			var mems [][]byte
			for range 5000 {
				if len(offs) < 50 {
					off, mem, err := seg.Allocate(r.IntN(3000))
					if err != nil {
						t.Error(err)
						return
					}
					if !race.Enabled { // that knows nothing of who had the memory before
						fill(mem, byte(g))
					}
					offs, mems = append(offs, off), append(mems, mem)
					continue
				}
				for i, off := range offs {
					for _, x := range mems[i] {
						if x != byte(g) && !race.Enabled {
							t.Error("memory was somebody else's too")
							return
						}
					}
					if err := seg.Deallocate(off); err != nil {
						t.Error(err)
					}
				}
				offs, mems = offs[:0], mems[:0]
			}
		})
	}
	wg.Wait()
	proctest.Must(t, seg.Check())
}

// TestNoSpaceTellsOfFreed: who has no memory because what was freed is open still is told so.
func TestNoSpaceTellsOfFreed(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	big := func() (*shm.Block, error) { return shm.NewBlock(seg, "", 300<<10) }
	a, err := big()
	proctest.Must(t, err)
	if _, err := big(); !errors.Is(err, shm.ErrNoSpace) || strings.Contains(err.Error(), "freed") {
		t.Error(err)
	}
	proctest.Must(t, shm.Free(a))
	if _, err := big(); !errors.Is(err, shm.ErrNoSpace) || !strings.Contains(err.Error(), "bytes are freed, but open") {
		t.Error(err)
	}
	runtime.KeepAlive(a)
}

func TestAllocateErrors(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	if _, _, err := seg.Allocate(-1); !errors.Is(err, os.ErrInvalid) {
		t.Error(err)
	}
	if _, _, err := seg.Allocate(2 << 20); !errors.Is(err, shm.ErrNoSpace) {
		t.Error(err)
	}
	off, mem, err := seg.Allocate(100)
	proctest.Must(t, err)
	mem[99] = 7
	same, err := seg.Memory(off, 100)
	proctest.Must(t, err)
	if same[99] != 7 {
		t.Error("other memory")
	}
	for _, x := range []struct {
		off uint64
		n   int
	}{{0, 1}, {off, -1}, {off, 1 << 20}, {1 << 63, 1}, {off + 1<<19, 1}} {
		if _, err := seg.Memory(x.off, x.n); !errors.Is(err, shm.ErrCorrupt) {
			t.Errorf("%d bytes at %d: %v", x.n, x.off, err)
		}
	}
	for _, x := range []uint64{0, 1, off + 128, off + 1<<20, 1<<64 - 128} {
		if err := seg.Deallocate(x); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("deallocate %d: ", x)) {
			t.Errorf("deallocated %d: %v", x, err)
		}
	}
	b := block(t, seg, "", 8)
	if err := seg.Deallocate(b.Handle().Offset + 128); !errors.Is(err, shm.ErrStale) {
		t.Errorf("deallocated an object: %v", err)
	}
	proctest.Must(t, seg.Deallocate(off))
	proctest.Must(t, seg.Close())
	if _, _, err := seg.Allocate(1); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}

func TestAllocateAllocatesNothing(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	n := testing.AllocsPerRun(1000, func() {
		off, _, err := seg.Allocate(64)
		if err == nil {
			err = seg.Deallocate(off)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// There is memory for everybody while somebody cuts the only free block.
func TestAllocateWhileSplit(t *testing.T) {
	for range 100 {
		seg := proctest.Segment(t, 4<<20)
		large, _, err := seg.Allocate(3 << 20)
		proctest.Must(t, err)
		for size := 1 << 20; size > 0; size /= 2 {
			for err = nil; err == nil; {
				_, _, err = seg.Allocate(size)
			}
		}
		proctest.Must(t, seg.Deallocate(large))
		shm.Spill(seg)
		var all sync.WaitGroup
		for range 2 {
			all.Go(func() {
				for range 20 { // 200 kB of 3 MB
					if _, _, err := seg.Allocate(5000); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		all.Wait()
		proctest.Must(t, seg.Close())
	}
}

// Who leaves changes nothing in plain memory, even where a lock was before.
func TestCloseLeavesMemory(t *testing.T) {
	seg := proctest.Segment(t, 1)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	was := l.Handle().Offset
	proctest.Must(t, shm.Free(l))
	l = nil
	settled(t, seg, 0)
	off, mem, err := seg.Allocate(8)
	proctest.Must(t, err)
	if off != was+128 {
		t.Fatalf("memory at %d, want that of the lock at %d", off, was)
	}
	const like = robust.Locked | robust.Whole
	binary.LittleEndian.PutUint64(mem, uint64(seg.Self())<<32|like)
	proctest.Must(t, seg.Close())
	if got := binary.LittleEndian.Uint32(mem); got != like {
		t.Errorf("the memory is %#x after Close, was %#x", got, like)
	}
	runtime.KeepAlive(seg)
}
