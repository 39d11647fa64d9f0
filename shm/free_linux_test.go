package shm_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// used is how many bytes of seg's heap are somebody's.
func used(seg *shm.Segment) int { return seg.Info().Used - shm.HeapAt }

// settled waits until the garbage collector has found seg's handles that nobody uses, so that want are left.
func settled(t testing.TB, seg *shm.Segment, want int) {
	t.Helper()
	for shm.Pinned(seg) != want {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
}

// An object that was freed cannot be opened; who has it open can go on; then its memory becomes another's.
func TestFree(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	b := block(t, seg, "", 1000)
	h := b.Handle()
	proctest.Must(t, shm.Free(b))
	for range 2 {
		if err := shm.Free(b); !errors.Is(err, shm.ErrStale) {
			t.Errorf("freed again: %v", err)
		}
	}
	data, err := h.MarshalBinary()
	proctest.Must(t, err)
	if err := new(shm.Block).UnmarshalBinary(data); !errors.Is(err, shm.ErrStale) {
		t.Errorf("opened after it was freed: %v", err)
	}
	if n := seg.Info().Objects; n != 0 {
		t.Errorf("%d objects", n)
	}
	for range 20 { // nothing of that gets its memory
		other := block(t, seg, "", 1000)
		if other.Handle().Offset == h.Offset {
			t.Fatal("memory that is in use was given to another")
		}
	}
	copy(b.Bytes(), "still here")
	proctest.Must(t, b.Close())
	if !bytes.HasPrefix(b.Bytes(), []byte("still here")) {
		t.Error("the memory of a handle that is closed, and still used, has changed")
	}
	runtime.KeepAlive(b)
	proctest.Must(t, seg.Check())
	b = nil
	settled(t, seg, 0)
	again := block(t, seg, "", 1000)
	if again.Handle().Offset != h.Offset {
		t.Errorf("the memory was not used again: at %d, not %d", again.Handle().Offset, h.Offset)
	}
	if !bytes.Equal(again.Bytes(), make([]byte, 1000)) {
		t.Error("memory that is used again is not zero")
	}
	if err := new(shm.Block).UnmarshalBinary(data); !errors.Is(err, shm.ErrStale) {
		t.Errorf("a handle of what was there before opened: %v", err)
	}
	proctest.Must(t, seg.Check())
}

// A name can be used again at once, by objects of any kind, and what had it goes on for those who have it.
func TestRemove(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	if err := seg.Remove("a"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed what is not there: %v", err)
	}
	if err := seg.Remove(""); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("removed no name: %v", err)
	}
	var kept []*shm.Block
	for i := range 100 {
		b := block(t, seg, "a", 8)
		b.Bytes()[0] = byte(i)
		if err := shm.Free(b); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("freed an object that has a name: %v", err)
		}
		proctest.Must(t, seg.Remove("a"))
		if _, err := shm.OpenBlock(seg, "a"); !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		kept = append(kept, b)
	}
	for i, b := range kept {
		if b.Bytes()[0] != byte(i) {
			t.Errorf("object %d has become another", i)
		}
	}
	proctest.Must(t, seg.Check())
	proctest.Must(t, seg.Close())
	if err := seg.Remove("a"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
	if err := shm.Free(kept[0]); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// Names in one bucket come and go in all orders.
func TestRemoveInChain(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	at := make(map[int][]string)
	var names []string
	for i := 0; names == nil; i++ {
		n := fmt.Sprint(i)
		b := shm.BucketAt(n)
		if at[b] = append(at[b], n); len(at[b]) == 5 {
			names = at[b]
		}
	}
	r := proctest.Rand(t)
	there := make(map[string]bool)
	for range 3000 {
		n := names[r.IntN(len(names))]
		if there[n] {
			proctest.Must(t, seg.Remove(n))
		} else {
			block(t, seg, n, 8)
		}
		there[n] = !there[n]
		for _, n := range names {
			if _, err := shm.OpenBlock(seg, n); (err == nil) != there[n] {
				t.Fatalf("%q is there: %v; %v", n, there[n], err)
			}
		}
	}
	proctest.Must(t, seg.Check())
	settled(t, seg, 0)
	for _, n := range names {
		if there[n] {
			proctest.Must(t, seg.Remove(n))
		}
	}
	shm.Spill(seg)
	if n := used(seg); n != 0 {
		t.Errorf("%d bytes are used by nothing", n)
	}
}

// After the last generation of a block comes the first: 0 is that of no object.
func TestObjectGenerationWraps(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	off, _, err := seg.Allocate(8)
	proctest.Must(t, err)
	state := shm.Memory(seg)[off-128+8:]
	binary.LittleEndian.PutUint32(state, binary.LittleEndian.Uint32(state)|(1<<28-1)<<4)
	proctest.Must(t, seg.Deallocate(off))
	b := block(t, seg, "", 8)
	if h := b.Handle(); h.Offset != off-128 || h.Generation != 1 {
		t.Errorf("generation %d at %d after the last one at %d", h.Generation, h.Offset, off-128)
	}
	proctest.Must(t, seg.Check())
	proctest.Must(t, shm.Free(b))
}

type lentArgs struct {
	Seg    *shm.Block
	Handle []byte // of the object that is lent
}

// lent has an object open until it is told to drop it.
var lent = proctest.NewRole("lent", func(ctx context.Context, c *proctest.Child, a lentArgs) error {
	seg := a.Seg.Segment()
	err := func() error { // nothing outside of it has the handle
		b := new(shm.Block)
		if err := b.UnmarshalBinary(a.Handle); err != nil {
			return err
		}
		b.Bytes()[0] = 1
		c.Say("open")
		c.Hear()
		if b.Bytes()[0] != 1 {
			return errors.New("the memory has become another's")
		}
		runtime.KeepAlive(b)
		return nil
	}()
	if err != nil {
		return err
	}
	for shm.Pinned(seg) > 1 {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	c.Say("dropped")
	c.Hear()
	runtime.KeepAlive(a.Seg)
	return nil
})

// Memory that another process has open is not reused before that has dropped it, or died.
func TestFreeOpenElsewhere(t *testing.T) {
	for _, end := range []string{"drop", "kill"} {
		t.Run(end, func(t *testing.T) {
			seg := proctest.Segment(t, 1<<20)
			first := block(t, seg, "", 8)
			base := used(seg)
			b := block(t, seg, "big", 5000)
			handle, err := b.MarshalBinary()
			proctest.Must(t, err)
			p := lent.Start(t, lentArgs{first, handle})
			p.WaitLine("open")
			proctest.Must(t, seg.Remove("big"))
			b = nil
			settled(t, seg, 1)
			shm.Spill(seg)
			for range 20 {
				fill(block(t, seg, "", 5000).Bytes(), 9)
			}
			before := used(seg)
			if before-base < 21*5000 {
				t.Errorf("%d bytes used", before-base)
			}
			if end == "kill" {
				p.Kill()
				p.Wait()
				if _, err := seg.Repair(); err != nil {
					t.Fatal(err)
				}
			} else {
				p.Tell("drop")
				p.WaitLine("dropped")
				p.Tell("end")
				p.Wait()
				proctest.Must(t, seg.Check())
				if _, err := seg.Repair(); err != nil { // what the other kept
					t.Fatal(err)
				}
			}
			proctest.Must(t, seg.Check())
			if n := used(seg); n >= before {
				t.Errorf("%d bytes used, %d before the last who had one open was gone", n, before)
			}
			runtime.KeepAlive(first)
		})
	}
}

func fill(b []byte, x byte) {
	for i := range b {
		b[i] = x
	}
}

// More processes than fit into the header of an object can have it open; it is reused when the last is gone.
func TestManyOpeners(t *testing.T) {
	seg := proctest.Segment(t, 4<<20)
	b := block(t, seg, "", 64)
	off := b.Handle().Offset
	proctest.Must(t, shm.Pin(seg, off))
	var others []*shm.Segment
	for range 150 {
		gift, err := seg.Prepare()
		proctest.Must(t, err)
		defer gift.Abandon()
		s := shm.As(seg, gift.Owner)
		proctest.Must(t, shm.Pin(s, off))
		others = append(others, s)
	}
	proctest.Must(t, seg.Check())
	proctest.Must(t, shm.Free(b))
	shm.Unpin(seg, off)
	b = nil
	settled(t, seg, 0)
	r := proctest.Rand(t)
	r.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] })
	for i, s := range others {
		if live := block(t, seg, "", 64).Handle().Offset; live == off {
			t.Fatalf("reused while %d have it open", len(others)-i)
		}
		shm.Unpin(s, off)
		shm.Spill(s)
		proctest.Must(t, seg.Check())
	}
	found := false
	for range 1000 {
		found = found || block(t, seg, "", 64).Handle().Offset == off
	}
	if !found {
		t.Error("not reused when nobody has it open")
	}
	// The room for openers stays with the block, for the next object there.
	proctest.Must(t, seg.Check())
}

// A handle that nobody uses any more gives the object up, closed or not.
func TestForgottenHandles(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	for i := range 10 {
		b := block(t, seg, "", 64)
		if i%2 == 0 {
			proctest.Must(t, b.Close())
		}
		proctest.Must(t, shm.Free(b))
	}
	settled(t, seg, 0)
	shm.Spill(seg)
	if n := used(seg); n != 0 {
		t.Errorf("%d bytes used", n)
	}
}

// A segment is full when there is neither memory of the dead nor of handles that nobody uses, not when one of them is
// not enough.
func TestObtainFromBoth(t *testing.T) {
	seg := proctest.Segment(t, 2<<20)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	_, _, err = shm.As(seg, gift.Owner).Allocate(100)
	proctest.Must(t, err)
	gift.Sent() // its only descriptors
	proctest.Must(t, shm.Free(block(t, seg, "", 1200<<10)))
	block(t, seg, "", 1200<<10)
}

// Of an object that is freed before the next is made there is always room for the next, however busy the machine is.
func TestObtainFromGarbage(t *testing.T) {
	seg := proctest.Segment(t, 2<<20)
	var stop atomic.Bool
	defer stop.Store(true)
	for range 8 {
		go func() {
			for !stop.Load() {
			}
		}()
	}
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	for range rounds {
		proctest.Must(t, shm.Free(block(t, seg, "", 1200<<10)))
	}
}

// What a process that was killed allocated, was making, or kept for later becomes free.
func TestSweep(t *testing.T) {
	seg := proctest.Segment(t, 16<<20)
	b := block(t, seg, "", 8)
	base := used(seg)
	for range 3 {
		p := hoard.Start(t, b)
		p.WaitLine("hoarded")
		if n := used(seg) - base; n < 500*256 {
			t.Fatalf("%d bytes used", n)
		}
		p.Kill()
		p.Wait()
		_, err := seg.Repair() // of what the watch has not swept up already
		proctest.Must(t, err)
		if n := used(seg) - base; n != 0 {
			t.Errorf("%d bytes are still used", n)
		}
		proctest.Must(t, seg.Check())
		if n := seg.Info().Dead; n != 0 {
			t.Errorf("%d dead participants after a sweep", n)
		}
	}
	runtime.KeepAlive(b)
}

var hoard = proctest.NewRole("hoard", func(ctx context.Context, c *proctest.Child, b *shm.Block) error {
	seg := b.Segment()
	var offs []uint64
	for range 1000 {
		off, _, err := seg.Allocate(64)
		if err != nil {
			return err
		}
		offs = append(offs, off)
	}
	for _, off := range offs[:500] {
		if err := seg.Deallocate(off); err != nil {
			return err
		}
	}
	c.Say("hoarded")
	c.Hear()
	return nil
})

// Who notices a death sweeps, without being asked to.
func TestSweepWithoutRepair(t *testing.T) {
	seg := proctest.Segment(t, 16<<20)
	b := block(t, seg, "", 8)
	base := used(seg)
	p := hoard.Start(t, b)
	p.WaitLine("hoarded")
	ids := livingIDs(seg)
	p.Kill()
	p.Wait()
	for _, id := range ids {
		seg.Dead(id)
	}
	for used(seg) != base { // in the background
		time.Sleep(time.Millisecond)
	}
	runtime.KeepAlive(b)
}

// livingIDs are the owner ids that slots of living participants have, this process's not among them.
func livingIDs(seg *shm.Segment) (ids []uint32) {
	for i := range uint32(16) {
		for g := range uint32(16) {
			if id := (g+1)<<12 | i; id != seg.Self() && !seg.KnownDead(id) {
				ids = append(ids, id)
			}
		}
	}
	return ids
}

// A segment that was closed keeps its memory from others until nobody can use it here.
func TestCloseLingers(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	first := block(t, seg, "", 8)
	p := closer.Start(t, first)
	p.WaitLine("open")
	h := p.Line()
	var name string
	if _, err := fmt.Sscan(h, &name); err != nil {
		t.Fatal(err)
	}
	proctest.Must(t, seg.Remove(name))
	p.Tell("close")
	p.WaitLine("closed")
	if n := seg.Info().Living; n != 1 {
		t.Errorf("%d living participants after the other has left", n)
	}
	seg.Repair()
	for range 30 {
		fill(block(t, seg, "", 3000).Bytes(), 9)
	}
	p.Tell("look")
	p.WaitLine("whole")
	p.Wait()
	seg.Repair()
	if n := seg.Info().Dead; n != 0 {
		t.Errorf("%d dead participants that nobody has tidied up", n)
	}
	proctest.Must(t, seg.Check())
	runtime.KeepAlive(first)
}

var closer = proctest.NewRole("closer", func(ctx context.Context, c *proctest.Child, first *shm.Block) error {
	seg := first.Segment()
	b, err := shm.NewBlock(seg, "his", 3000)
	if err != nil {
		return err
	}
	fill(b.Bytes(), 5)
	c.Say("open")
	c.Say("his")
	c.Hear()
	if err := seg.Close(); err != nil {
		return err
	}
	c.Say("closed")
	c.Hear()
	for i, x := range b.Bytes() {
		if x != 5 {
			return fmt.Errorf("byte %d has become another's", i)
		}
	}
	c.Say("whole")
	runtime.KeepAlive(b)
	return nil
})

// Close takes nothing away that a call it overtakes has in its hands: others never get it from two sides.
func TestCloseOvertakesRepair(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	procs := runtime.GOMAXPROCS(16) // so that the kernel interrupts calls anywhere
	var made, collected atomic.Int64
	defer func() {
		for collected.Load() != made.Load() { // what waits for its cleanup while there are fewer again may wait for ever
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
		runtime.GOMAXPROCS(procs)
	}()
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range rounds {
				if err := closeOvertakesRepair(&made, &collected); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func closeOvertakesRepair(made, collected *atomic.Int64) error {
	seg, err := shm.Anonymous(128 << 20)
	if err != nil {
		return err
	}
	made.Add(1)
	runtime.AddCleanup(seg, func(n *atomic.Int64) { n.Add(1) }, collected)
	gift, err := seg.Prepare()
	if err != nil {
		return err
	}
	defer gift.Abandon()
	other := shm.As(seg, gift.Owner)
	allocate := func(seg *shm.Segment) (offs []uint64, err error) {
		for k := 0; k < 900 && err == nil; k++ {
			var off uint64
			if off, _, err = seg.Allocate(k%16*128 + 1); err == nil {
				offs = append(offs, off)
			}
		}
		return offs, err
	}
	deallocate := func(seg *shm.Segment, offs []uint64) error {
		for _, off := range offs {
			if err := seg.Deallocate(off); err != nil {
				return err
			}
		}
		return nil
	}
	mine, err := allocate(seg)
	if err == nil {
		err = deallocate(seg, mine)
	}
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { seg.Repair() }) // gives all that is kept
	wg.Go(func() { seg.Close() })
	var his []uint64
	wg.Go(func() { his, _ = allocate(other) }) // until Close closes the file
	wg.Wait()
	return deallocate(other, his)
}

// unmapping drops its last handle, and with it the segment, while what that had open takes long to collect.
var unmapping = proctest.NewRole("unmapping", func(ctx context.Context, c *proctest.Child, _ int) error {
	runtime.GOMAXPROCS(8) // so that there is more than one goroutine for cleanups
	for range 3 {
		if err := dropLast(); err != nil {
			return err
		}
		for range 50 {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
	}
	return nil
})

func dropLast() error {
	seg, err := shm.Anonymous(1 << 30)
	if err != nil {
		return err
	}
	b, err := shm.NewBlock(seg, "a", 8)
	if err != nil {
		return err
	}
	if err := seg.Remove("a"); err != nil {
		return err
	}
	// The bucket leads to an object that leads to itself.
	at, mem, err := seg.Allocate(64)
	if err != nil {
		return err
	}
	mem[0] = 'z'
	head := shm.Memory(seg)[at-128:]
	binary.LittleEndian.PutUint64(head[8:], 1<<4|1)
	binary.LittleEndian.PutUint64(head[16:], at/128-1)
	binary.LittleEndian.PutUint16(head[48:], 1)
	binary.LittleEndian.PutUint64(shm.Memory(seg)[shm.BucketAt("a"):], at/128-1)
	runtime.KeepAlive(b)
	return nil
}

// The memory stays mapped until all that the last handle leaves to do is done.
func TestLastHandleCollects(t *testing.T) {
	proctest.Must(t, unmapping.Start(t, 0).Wait())
}

func TestFreeNothing(t *testing.T) {
	if err := shm.Free(new(shm.Block)); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
}
