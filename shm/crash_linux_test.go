//go:build crashpoint

package shm_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

type crashArgs struct{ B *shm.Block }

func crashSegment(t testing.TB) crashArgs {
	return crashArgs{block(t, proctest.Segment(t, 1), "first", 64)}
}

// large is more than is reserved at once.
const large = 9 << 20

var wholeKind = shm.Kind{Name: "whole", Min: 64}

func fillWhole(mem []byte) error {
	for i := range mem {
		mem[i] = 7
	}
	return nil
}

// open finds the object name, which is whole if it is there.
func openWhole(t testing.TB, seg *shm.Segment, name string) bool {
	t.Helper()
	var r shm.Ref
	mem, err := wholeKind.Open(&r, seg, name)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	proctest.Must(t, err)
	for i, b := range mem {
		if b != 7 {
			t.Fatalf("byte %d of an object that is half made can be seen", i)
		}
	}
	runtime.KeepAlive(&r)
	return true
}

var (
	opNew = proctest.NewOp("shm/new", nil, func(ctx context.Context, a crashArgs) error {
		_, err := wholeKind.New(new(shm.Ref), a.B.Segment(), "whole", 300, fillWhole)
		return err
	})
	// An object for which memory must be reserved, several times.
	opNewLarge = proctest.NewOp("shm/new-large", nil, func(ctx context.Context, a crashArgs) error {
		_, err := wholeKind.New(new(shm.Ref), a.B.Segment(), "whole", large, fillWhole)
		return err
	})
	opPrepare = proctest.NewOp("shm/prepare", nil, func(ctx context.Context, a crashArgs) error {
		gift, err := a.B.Segment().Prepare()
		if err != nil {
			return err
		}
		gift.Sent()
		return nil
	})
	// A participant dies, and this process finds it when it looks.
	opBury = proctest.NewOp("shm/watch", nil, func(ctx context.Context, a crashArgs) error {
		gift, err := a.B.Segment().Prepare()
		if err != nil {
			return err
		}
		gift.Sent()
		shm.Look(a.B.Segment())
		if !a.B.Segment().KnownDead(gift.Owner) {
			return errors.New("it looked, and did not bury the dead")
		}
		return nil
	})
	opLeave = proctest.NewOp("shm/leave", nil, func(ctx context.Context, a crashArgs) error { return a.B.Segment().Close() })
	opMake  = proctest.NewOp("shm/anonymous", nil, func(ctx context.Context, a crashArgs) error {
		seg, err := shm.Anonymous(1)
		if err != nil {
			return err
		}
		return seg.Close()
	})
)

// openOrNew finds or makes the object "one" and writes down where it is, in the n-th word of the block.
func openOrNew(a crashArgs, n int) error {
	var r shm.Ref
	if _, err := wholeKind.OpenOrNew(&r, a.B.Segment(), "one", 300, fillWhole); err != nil {
		return err
	}
	a.B.Uint32(4 * n).Store(uint32(r.Handle().Offset))
	runtime.KeepAlive(a.B)
	return nil
}

var opOpenOrNew = proctest.NewOp("shm/open-or-new", nil, func(ctx context.Context, a crashArgs) error { return openOrNew(a, 0) })

// While one that makes an object is stopped, another makes or finds it; both have the same one, and so has
// who comes later.
func TestCrashOpenOrNew(t *testing.T) {
	stopped := func(t testing.TB, a crashArgs) { proctest.Must(t, openOrNew(a, 1)) }
	proctest.Crash(t, opOpenOrNew, crashSegment, stopped, func(t testing.TB, a crashArgs, survived bool) {
		proctest.Must(t, openOrNew(a, 2))
		late := a.B.Uint32(8).Load()
		for n := range 2 {
			if at := a.B.Uint32(4 * n).Load(); at != 0 && at != late {
				t.Errorf("one name, two objects: at %d and %d", at, late)
			}
		}
	})
}

// others do what the package promises that all can do whatever one that was killed or stopped left.
func others(t testing.TB, a crashArgs) {
	t.Helper()
	seg := a.B.Segment()
	for range 3 {
		proctest.Must(t, shm.Free(block(t, seg, "", 200)))
		gift, err := seg.Prepare()
		proctest.Must(t, err)
		if seg.Dead(gift.Owner) {
			t.Error("a new participant is dead")
		}
		gift.Abandon()
	}
	if _, err := shm.OpenBlock(seg, "first"); err != nil {
		t.Error(err)
	}
	openWhole(t, seg, "whole") // there or not, but never half
	if n := seg.Info().Living; n < 1 {
		t.Errorf("%d living participants", n)
	}
}

func alive(t testing.TB, seg *shm.Segment, most int) {
	t.Helper()
	living := 0
	for _, p := range seg.Participants() {
		if p.Alive {
			living++
		}
	}
	if living < 1 || living > most {
		t.Errorf("%d living participants, want this process and at most %d", living, most-1)
	}
	if seg.Dead(seg.Self()) {
		t.Error("this process is dead")
	}
}

// A process killed or stopped while it makes an object leaves all of it or nothing that can be seen, and
// others go on.
func TestCrashNew(t *testing.T) {
	spacious := func(t testing.TB) crashArgs {
		return crashArgs{block(t, proctest.Segment(t, 64<<20), "first", 64)}
	}
	crashNew(t, opNew, crashSegment, 300)
	crashNew(t, opNewLarge, spacious, large)
}

func crashNew(t *testing.T, op *proctest.Op[crashArgs], setup func(testing.TB) crashArgs, size int) {
	proctest.Crash(t, op, setup, others, func(t testing.TB, a crashArgs, survived bool) {
		if survived && !openWhole(t, a.B.Segment(), "whole") {
			t.Error("an object that was made is not there")
		}
		others(t, a)
		_, err := wholeKind.OpenOrNew(new(shm.Ref), a.B.Segment(), "whole", size, fillWhole)
		proctest.Must(t, err)
		if !openWhole(t, a.B.Segment(), "whole") {
			t.Error("the name cannot be used after a kill")
		}
		if !survived {
			alive(t, a.B.Segment(), 1)
		}
	})
}

// A process killed while it prepares a child leaves no participant that lives.
func TestCrashPrepare(t *testing.T) {
	proctest.Crash(t, opPrepare, crashSegment, others, func(t testing.TB, a crashArgs, survived bool) {
		others(t, a)
		most := 1
		if survived {
			most = 2
		}
		alive(t, a.B.Segment(), most)
	})
}

// A process killed or stopped while it buries one that it watched leaves the others to learn of both.
func TestCrashWatch(t *testing.T) {
	proctest.Crash(t, opBury, crashSegment, others, func(t testing.TB, a crashArgs, survived bool) {
		others(t, a)
		most := 1
		if survived {
			most = 2
		}
		alive(t, a.B.Segment(), most)
	})
}

// late is a block that a child attaches to, and with it to the segment, when it is told to and not before.
type late struct {
	shm.Block
	handle []byte
}

func (l *late) UnmarshalBinary(data []byte) error {
	l.handle = bytes.Clone(data)
	return nil
}

type lateArgs struct{ B *late }

var opAdopt = proctest.NewOp("shm/adopt", nil, func(ctx context.Context, a lateArgs) error {
	return a.B.Block.UnmarshalBinary(a.B.handle)
})

// A process killed while it adopts the segment that its parent handed over is dead, whatever it has moved of its
// life to a description of its own; while it is stopped it lives.
func TestCrashAdopt(t *testing.T) {
	setup := func(t testing.TB) lateArgs {
		data, err := crashSegment(t).B.MarshalBinary()
		proctest.Must(t, err)
		l := new(late)
		proctest.Must(t, l.Block.UnmarshalBinary(data))
		return lateArgs{l}
	}
	proctest.Crash(t, opAdopt, setup, func(t testing.TB, a lateArgs) {
		if n := a.B.Segment().Info().Living; n != 2 {
			t.Errorf("%d living participants while one of two is stopped", n)
		}
		others(t, crashArgs{&a.B.Block})
	}, func(t testing.TB, a lateArgs, survived bool) {
		most := 1
		if survived {
			most = 2
		}
		alive(t, a.B.Segment(), most)
		others(t, crashArgs{&a.B.Block})
	})
}

// A process killed while it leaves has left, or died.
func TestCrashLeave(t *testing.T) {
	proctest.Crash(t, opLeave, crashSegment, others, func(t testing.TB, a crashArgs, survived bool) {
		others(t, a)
		alive(t, a.B.Segment(), 1)
	})
}

// A process killed while it makes a segment leaves nothing: the segment had no other user.
func TestCrashAnonymous(t *testing.T) {
	proctest.Crash(t, opMake, crashSegment, others, func(t testing.TB, a crashArgs, survived bool) {
		others(t, a)
	})
}

// freeing has objects that are to be freed.
type freeing struct{ First, Loose, Named *shm.Block }

func newFreeing(t testing.TB) freeing {
	seg := proctest.Segment(t, 2<<20)
	// Others in the bucket of the one that goes, before it and after it.
	a, b := siblings()
	f := freeing{First: block(t, seg, "first", 64)}
	block(t, seg, a, 64)
	f.Loose, f.Named = block(t, seg, "", 500), block(t, seg, "named", 500)
	block(t, seg, b, 64)
	return f
}

var (
	// Objects that the child alone has open: what it frees is reused at once.
	opFree = proctest.NewOp("shm/free", func(ctx context.Context, f freeing) (err error) {
		if mine[0], err = shm.NewBlock(f.First.Segment(), "", 500); err == nil {
			mine[1], err = shm.NewBlock(f.First.Segment(), "mine", 500)
		}
		return err
	}, func(ctx context.Context, f freeing) error {
		seg := f.First.Segment()
		if err := shm.Free(mine[0]); err != nil {
			return err
		}
		if err := seg.Remove("mine"); err != nil {
			return err
		}
		for _, b := range mine {
			shm.Unpin(seg, b.Handle().Offset) // as the garbage collector does
		}
		shm.Spill(seg)
		return nil
	})
	mine           [2]*shm.Block // of a child
	opRemoveObject = proctest.NewOp("shm/remove-object", nil, func(ctx context.Context, f freeing) error {
		for _, name := range []string{"named", "first"} {
			if err := f.First.Segment().Remove(name); err != nil {
				return err
			}
		}
		return nil
	})
	opAllocate = proctest.NewOp("shm/allocate", nil, func(ctx context.Context, f freeing) error {
		seg := f.First.Segment()
		var offs []uint64
		for _, n := range []int{100, 100, 70_000} {
			off, mem, err := seg.Allocate(n)
			if err != nil {
				return err
			}
			fill(mem, 1)
			offs = append(offs, off)
		}
		for _, off := range offs {
			if err := seg.Deallocate(off); err != nil {
				return err
			}
		}
		// What was given back serves again, from the hints.
		shm.Spill(seg)
		off, _, err := seg.Allocate(100)
		if err != nil {
			return err
		}
		if err := seg.Deallocate(off); err != nil {
			return err
		}
		shm.Spill(seg)
		return nil
	})
	opPass = proctest.NewOp("shm/pass", nil, func(ctx context.Context, f freeing) error {
		seg := f.First.Segment()
		off, _, err := seg.Allocate(300)
		if err != nil {
			return err
		}
		stamp, err := seg.Pass(off, nil)
		if err != nil {
			return err
		}
		if _, err := seg.Claim(off, stamp, 300); err != nil {
			return err
		}
		return seg.Deallocate(off)
	})
	// A block that must be cut, as there is no other memory.
	opSplit = proctest.NewOp("shm/split", func(ctx context.Context, f freeing) error {
		seg := f.First.Segment()
		off, _, err := seg.Allocate(500_000)
		for err == nil {
			_, _, err = seg.Allocate(10_000)
		}
		if !errors.Is(err, shm.ErrNoSpace) {
			return err
		}
		for err = nil; err == nil; {
			_, _, err = seg.Allocate(1)
		}
		return seg.Deallocate(off)
	}, func(ctx context.Context, f freeing) error {
		off, mem, err := f.First.Segment().Allocate(10_000)
		if err != nil {
			return err
		}
		fill(mem, 1)
		return f.First.Segment().Deallocate(off)
	})
	// Somebody died with much in his hands; who sweeps up is killed too.
	opSweep = proctest.NewOp("shm/sweep", func(ctx context.Context, f freeing) error {
		seg := f.First.Segment()
		gift, err := seg.Prepare()
		if err != nil {
			return err
		}
		dead := shm.As(seg, gift.Owner)
		for _, b := range []*shm.Block{f.Loose, f.Named} {
			if err := shm.Pin(dead, b.Handle().Offset); err != nil {
				return err
			}
			shm.Unpin(seg, b.Handle().Offset)
		}
		if _, _, err := dead.Allocate(300); err != nil {
			return err
		}
		if err := shm.Free(f.Loose); err != nil {
			return err
		}
		gift.Sent() // its only descriptors
		return nil
	}, func(ctx context.Context, f freeing) error {
		_, err := f.First.Segment().Repair()
		return err
	})
	// More processes than fit into the header have one object open.
	opExtend = proctest.NewOp("shm/extend", func(ctx context.Context, f freeing) error {
		for i := range 10 {
			gift, err := f.First.Segment().Prepare()
			if err != nil {
				return err
			}
			if i < 7 { // with the child and its parent nine
				if err := shm.Pin(shm.As(f.First.Segment(), gift.Owner), f.Named.Handle().Offset); err != nil {
					return err
				}
			}
			gifts = append(gifts, gift)
		}
		return nil
	}, func(ctx context.Context, f freeing) error {
		for _, gift := range gifts[7:] {
			if err := shm.Pin(shm.As(f.First.Segment(), gift.Owner), f.Named.Handle().Offset); err != nil {
				return err
			}
		}
		return nil
	})
	gifts []*inherit.Gift // of a child
)

// going does what others can do while somebody who frees, allocates or sweeps is stopped.
func going(t testing.TB, f freeing) {
	t.Helper()
	seg := f.First.Segment()
	for range 3 {
		b := block(t, seg, "", 500)
		fill(b.Bytes(), 3)
		proctest.Must(t, shm.Free(b))
		proctest.Must(t, seg.Remove(block(t, seg, "of another", 64).Name()))
		off, mem, err := seg.Allocate(700)
		proctest.Must(t, err)
		fill(mem, 4)
		proctest.Must(t, seg.Deallocate(off))
	}
	a, b := siblings()
	for _, name := range []string{a, b} {
		if _, err := shm.OpenBlock(seg, name); err != nil {
			t.Error(err)
		}
	}
	_, err := seg.Repair()
	proctest.Must(t, err)
}

// Whatever one who frees, allocates, or sweeps leaves when it is killed or stopped, others go on, nothing that is
// in use is given away, and nothing is lost.
func TestCrashFree(t *testing.T) {
	for _, op := range []*proctest.Op[freeing]{opFree, opRemoveObject, opAllocate, opPass, opSweep, opExtend} {
		proctest.Crash(t, op, newFreeing, going, func(t testing.TB, f freeing, survived bool) {
			going(t, f)
			if err := f.First.Segment().Remove("mine"); survived && op == opFree && err == nil {
				t.Error("an object that was removed is there")
			}
			if survived && op == opRemoveObject {
				if _, err := shm.OpenBlock(f.First.Segment(), "named"); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("a name that was removed is there: %v", err)
				}
			}
			fill(f.Loose.Bytes(), 7) // this process has both open
			fill(f.Named.Bytes(), 8)
			going(t, f)
			if f.Loose.Bytes()[499] != 7 || f.Named.Bytes()[499] != 8 {
				t.Error("memory that this process has open was given to another")
			}
		})
	}
}

// A block that is being cut is whole or cut.
func TestCrashSplit(t *testing.T) {
	proctest.Crash(t, opSplit, newFreeing, nil, func(t testing.TB, f freeing, survived bool) {
		if !survived {
			going(t, f)
		}
	})
}

// reuse is a segment whose objects are removed, and their memory used for others, while somebody looks at them.
type reuse struct{ B *shm.Block }

// newReuse has three objects in one bucket, with nothing but sevens in them, which nobody has open.
func newReuse(t testing.TB) reuse {
	seg := proctest.Segment(t, 1<<20)
	u := reuse{block(t, seg, "", 64)}
	for _, name := range triplets() {
		makeWhole(t, seg, name, 7)
	}
	settled(t, seg, 1)
	return u
}

func triplets() []string {
	a, b := siblings()
	at := shm.BucketAt(a)
	for i := 1_000_000; ; i++ {
		if c := fmt.Sprint("n", i); shm.BucketAt(c) == at {
			return []string{a, b, c}
		}
	}
}

func makeWhole(t testing.TB, seg *shm.Segment, name string, x byte) {
	t.Helper()
	_, err := wholeKind.New(new(shm.Ref), seg, name, 300, func(mem []byte) error {
		fill(mem, x)
		return nil
	})
	proctest.Must(t, err)
}

// recycle removes them, and makes others, full of nines, of their memory.
func recycle(t testing.TB, u reuse) { recycleSome(t, u, triplets()) }

func recycleSome(t testing.TB, u reuse, names []string) {
	t.Helper()
	seg := u.B.Segment()
	_, err := seg.Repair() // collects what somebody else was about to
	proctest.Must(t, err)
	for _, name := range names {
		if err := seg.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	}
	shm.Spill(seg)
	for i := range 10 {
		makeWhole(t, seg, fmt.Sprint("nine ", i), 9)
	}
	for i := range 10 {
		openNine(t, seg, fmt.Sprint("nine ", i))
	}
}

func openNine(t testing.TB, seg *shm.Segment, name string) {
	t.Helper()
	var r shm.Ref
	mem, err := wholeKind.Open(&r, seg, name)
	proctest.Must(t, err)
	for _, x := range mem {
		if x != 9 {
			t.Fatalf("%q has become another object", name)
		}
	}
	runtime.KeepAlive(&r)
}

var (
	opOpenObject = proctest.NewOp("shm/open-object", nil, func(ctx context.Context, u reuse) error {
		for _, name := range triplets() {
			var r shm.Ref
			mem, err := wholeKind.Open(&r, u.B.Segment(), name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			if i := bytes.IndexFunc(mem, func(x rune) bool { return x != 7 }); i >= 0 {
				return fmt.Errorf("%q was opened, and is another object", name)
			}
			runtime.KeepAlive(&r)
		}
		return nil
	})
	// The object at the end of its chain.
	opSeek = proctest.NewOp("shm/seek", nil, func(ctx context.Context, u reuse) error {
		_, err := wholeKind.Open(new(shm.Ref), u.B.Segment(), triplets()[0])
		return err
	})
	// Objects that are removed by who does not have them open.
	opUnlink = proctest.NewOp("shm/unlink", nil, func(ctx context.Context, u reuse) error {
		for _, name := range triplets() {
			if err := u.B.Segment().Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
	// A free block that is split while somebody is about to take it.
	opTake = proctest.NewOp("shm/take", func(ctx context.Context, u reuse) error {
		seg := u.B.Segment()
		off, _, err := seg.Allocate(200_000)
		for err == nil {
			_, _, err = seg.Allocate(1)
		}
		if !errors.Is(err, shm.ErrNoSpace) {
			return err
		}
		return seg.Deallocate(off)
	}, func(ctx context.Context, u reuse) error {
		seg := u.B.Segment()
		off, mem, err := seg.Allocate(200_000)
		if errors.Is(err, shm.ErrNoSpace) {
			return nil
		}
		if err != nil {
			return err
		}
		fill(mem, 1)
		return seg.Deallocate(off)
	})
)

// Who opens an object that is removed, and whose memory becomes another's, at any moment, gets the object that
// he meant or none.
func TestCrashOpenObject(t *testing.T) {
	proctest.Crash(t, opOpenObject, newReuse, recycle, func(t testing.TB, u reuse, survived bool) { recycleAgain(t, u) })
}

// An object is found whatever becomes of those before it in its chain.
func TestCrashSeek(t *testing.T) {
	others := func(t testing.TB, u reuse) { recycleSome(t, u, triplets()[1:]) }
	proctest.Crash(t, opSeek, newReuse, others, func(t testing.TB, u reuse, survived bool) { recycleAgain(t, u) })
}

// Objects that somebody is removing are collected by others, and used for something else.
func TestCrashUnlink(t *testing.T) {
	proctest.Crash(t, opUnlink, newReuse, recycle, func(t testing.TB, u reuse, survived bool) { recycleAgain(t, u) })
}

// recycleAgain leaves nothing of what recycle makes.
func recycleAgain(t testing.TB, u reuse) {
	t.Helper()
	seg := u.B.Segment()
	for _, o := range slices.Collect(seg.Objects()) {
		if strings.HasPrefix(o.Name, "nine ") {
			openNine(t, seg, o.Name)
			proctest.Must(t, seg.Remove(o.Name))
		}
	}
	recycle(t, u)
	for i := range 10 {
		proctest.Must(t, seg.Remove(fmt.Sprint("nine ", i)))
	}
}

// A block that is split while somebody is about to take it is not taken for what it was.
func TestCrashTake(t *testing.T) {
	var offs []uint64 // what this process took
	cut := func(t testing.TB, u reuse) {
		seg := u.B.Segment()
		for range 10 {
			off, mem, err := seg.Allocate(10_000)
			if errors.Is(err, shm.ErrNoSpace) { // the other has it already
				break
			}
			proctest.Must(t, err)
			fill(mem, 2)
			offs = append(offs, off)
		}
		if len(offs) > 0 { // the first part of it
			proctest.Must(t, seg.Deallocate(offs[0]))
			shm.Spill(seg)
			offs = offs[1:]
		}
	}
	proctest.Crash(t, opTake, newReuse, cut, func(t testing.TB, u reuse, survived bool) {
		for _, off := range offs {
			mem, err := u.B.Segment().Memory(off, 10_000)
			proctest.Must(t, err)
			for i, x := range mem {
				if x != 2 {
					t.Fatalf("byte %d of memory at %d is another's", i, off)
				}
			}
			proctest.Must(t, u.B.Segment().Deallocate(off))
		}
		offs = nil
	})
}

// The second record stays.
var opWaiting = proctest.NewOp("shm/waiting", nil, func(ctx context.Context, a crashArgs) error {
	for i := range uint64(2) {
		done := a.B.Segment().Waiting(a.B.Uint32(0), time.Now(), i)
		if done == nil {
			return errors.New("no record")
		}
		if i == 0 {
			done()
		}
	}
	return nil
})

// A process that is killed while it records that it waits is not named; one that is stopped is if the record
// was whole.
func TestCrashWaiting(t *testing.T) {
	proctest.Crash(t, opWaiting, crashSegment, func(t testing.TB, a crashArgs) {
		_, waiters, since, err := shm.Inspect(a.B)
		whole := strings.HasSuffix(t.Name(), "/recorded")
		if err != nil || (len(waiters) == 1) != whole || whole && (!waiters[0].Alive || time.Since(since) > time.Hour) {
			t.Errorf("%+v wait since %v, %v", waiters, since, err)
		}
		others(t, a)
	}, func(t testing.TB, a crashArgs, survived bool) {
		if _, waiters, _, err := shm.Inspect(a.B); err != nil || (len(waiters) == 1) != survived {
			t.Errorf("%+v wait, %v, survived %v", waiters, err, survived)
		}
		others(t, a)
	})
}
