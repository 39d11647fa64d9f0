//go:build crashpoint

package ring_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// crashMPMC is what a child works on: a ring of 8, of numbers in pairs or of wide items in blocks.
type crashMPMC struct {
	B     *shm.Block
	Pairs bool
}

// numbers is a ring of either form, seen as one of numbers.
type numbers interface {
	push(xs ...uint64) int // one at a time if it is one, else many
	pop(n int) []uint64
	Len() int
	Err() error
	Close() error
	Reclaim()
}

type pairNumbers struct{ *ring.MPMC[uint64] }

func (r pairNumbers) push(xs ...uint64) int {
	if len(xs) == 1 && r.TryPush(xs[0]) {
		return 1
	}
	return r.TryPushMany(xs)
}

func (r pairNumbers) pop(n int) []uint64 {
	if n == 1 {
		if x, ok := r.TryPop(); ok {
			return []uint64{x}
		}
		return nil
	}
	xs := make([]uint64, n)
	return xs[:r.TryPopMany(xs)]
}

func (r pairNumbers) Reclaim() {}

type blockNumbers struct{ *ring.MPMC[wide] }

func (r blockNumbers) push(xs ...uint64) int {
	vs := make([]wide, len(xs))
	for i := range xs {
		vs[i] = wideOf(xs[i])
	}
	if len(xs) == 1 && r.TryPush(vs[0]) {
		return 1
	}
	return r.TryPushMany(vs)
}

func (r blockNumbers) pop(n int) (xs []uint64) {
	vs := make([]wide, n)
	if n == 1 {
		v, ok := r.TryPop()
		if !ok {
			return nil
		}
		vs[0] = v
	} else {
		vs = vs[:r.TryPopMany(vs)]
	}
	for _, v := range vs {
		if v != wideOf(v[0]) {
			panic("a torn item")
		}
		xs = append(xs, v[0])
	}
	return xs
}

func (c crashMPMC) create() (numbers, error) {
	if c.Pairs {
		r, err := ring.NewMPMC[uint64](c.B.Bytes(), 8, c.B.Segment())
		return pairNumbers{r}, err
	}
	r, err := ring.NewMPMC[wide](c.B.Bytes(), 8, c.B.Segment())
	return blockNumbers{r}, err
}

func (c crashMPMC) open() (numbers, error) {
	if c.Pairs {
		r, err := ring.OpenMPMC[uint64](c.B.Bytes(), c.B.Segment())
		return pairNumbers{r}, err
	}
	r, err := ring.OpenMPMC[wide](c.B.Bytes(), c.B.Segment())
	return blockNumbers{r}, err
}

// account checks the blocks, when no living process has a cell.
func (c crashMPMC) account(t testing.TB) {
	t.Helper()
	if !c.Pairs {
		r, err := ring.OpenMPMC[wide](c.B.Bytes(), c.B.Segment())
		proctest.Must(t, err)
		r.Reclaim()
		account(t, r)
	}
	runtime.KeepAlive(c.B)
}

// crashEmpty makes room for such a ring.
func crashEmpty(pairs bool) func(t testing.TB) crashMPMC {
	return func(t testing.TB) crashMPMC {
		n := ring.MPMCSize[wide](8)
		if pairs {
			n = ring.MPMCSize[uint64](8)
		}
		b, err := shm.NewBlock(proctest.Segment(t, 1), "", n)
		proctest.Must(t, err)
		return crashMPMC{b, pairs}
	}
}

// crashNumbers makes one with the numbers 1 to n in it, of which no living process has a cell.
func crashNumbers(pairs bool, n uint64) func(t testing.TB) crashMPMC {
	return func(t testing.TB) crashMPMC {
		c := crashEmpty(pairs)(t)
		r, err := c.create()
		proctest.Must(t, err)
		for i := range n {
			if r.push(i+1) != 1 {
				t.Fatal("full")
			}
		}
		proctest.Must(t, r.Close())
		return c
	}
}

// crashDead makes one of whose cells three belong to a dead process, which was in the middle of pushes, and the others
// to this process.
func crashDead(t testing.TB) crashMPMC {
	c := crashNumbers(false, 2)(t)
	r, err := ring.OpenMPMC[wide](c.B.Bytes(), c.B.Segment())
	proctest.Must(t, err)
	self := c.B.Segment().Self()
	dead := self + 1<<12 // a generation of this process's slot that has not been
	if !c.B.Segment().Dead(dead) {
		t.Fatal("a process that never lived is not dead")
	}
	for i := range ring.MPMCCells {
		r.SetCellOwner(i, self)
		if i < 3 {
			r.SetCellOwner(i, dead)
			have, _ := r.Note(i)
			r.SetNote(i, have, r.SlotBlock(2+i))
		}
	}
	return c
}

func onNumbers(f func(r numbers) bool) func(ctx context.Context, c crashMPMC) error {
	return func(ctx context.Context, c crashMPMC) error {
		r, err := c.open()
		if err != nil {
			return err
		}
		if !f(r) {
			return errors.Join(errors.New("it did not work"), r.Err())
		}
		runtime.KeepAlive(c.B)
		return nil
	}
}

var (
	opMPMCPush = proctest.NewOp("mpmc/push", nil, onNumbers(func(r numbers) bool {
		return r.push(3) == 1 && r.push(4) == 1
	}))
	opMPMCPushMany = proctest.NewOp("mpmc/push-many", nil, onNumbers(func(r numbers) bool {
		return r.push(3, 4) == 2
	}))
	opMPMCPop = proctest.NewOp("mpmc/pop", nil, onNumbers(func(r numbers) bool {
		return len(r.pop(1)) == 1 && len(r.pop(1)) == 1
	}))
	opMPMCPopMany = proctest.NewOp("mpmc/pop-many", nil, onNumbers(func(r numbers) bool {
		return len(r.pop(2)) == 2
	}))
	opMPMCClose = proctest.NewOp("mpmc/close", nil, onNumbers(func(r numbers) bool {
		return r.push(3) == 1 && r.Close() == nil
	}))
	opMPMCNew = proctest.NewOp("mpmc/new", nil, func(ctx context.Context, c crashMPMC) error {
		_, err := c.create()
		return err
	})
	opMPMCReclaim = proctest.NewOp("mpmc/reclaim", nil, onNumbers(func(r numbers) bool {
		return r.push(3) == 1
	}))
)

// othersGoOn is what others can do while a process is stopped: everything.
func othersGoOn(t testing.TB, c crashMPMC) {
	r, err := c.open()
	proctest.Must(t, err)
	if first := r.pop(1); len(first) != 1 {
		t.Errorf("popped %v", first)
	}
	if r.push(100) != 1 || r.push(101, 102) != 2 {
		t.Errorf("pushed nothing: %v", r.Err())
	}
	proctest.Must(t, errors.Join(r.Err(), r.Close()))
}

// drainNumbers pops all, and checks that it is some of the numbers from 1 to 4, and some from 100 on, each in order.
func drainNumbers(t testing.TB, c crashMPMC) []uint64 {
	t.Helper()
	r, err := c.open()
	proctest.Must(t, err)
	n := r.Len()
	var got []uint64
	for {
		x := r.pop(1)
		if len(x) == 0 {
			break
		}
		got = append(got, x...)
	}
	proctest.Must(t, r.Err())
	if n != len(got) {
		t.Errorf("Len %d before %v", n, got)
	}
	for k, from := range []uint64{1, 100} {
		part := slices.DeleteFunc(slices.Clone(got), func(x uint64) bool { return x >= 100 != (k == 1) })
		if len(part) > 0 && !consecutive(part, part[0], part[len(part)-1]) || len(part) > 0 && part[0] < from {
			t.Errorf("popped %v", got)
		}
	}
	// Nothing is left that the ring needs: it can be filled and emptied.
	for i := range uint64(8) {
		if r.push(i) != 1 {
			t.Errorf("push %d: %v", i, r.Err())
		}
	}
	if r.push(8) != 0 || r.Err() != nil || !slices.Equal(r.pop(9), []uint64{0, 1, 2, 3, 4, 5, 6, 7}) {
		t.Errorf("a full ring: %v", r.Err())
	}
	proctest.Must(t, r.Close())
	return got
}

// A producer killed at any step has pushed a beginning of what it meant to; no item and no block is lost.
func TestCrashMPMCPush(t *testing.T) {
	for _, c := range []struct {
		op    *proctest.Op[crashMPMC]
		pairs bool
		left  []uint64 // how many items are there after a kill at each step
	}{
		{opMPMCPush, true, []uint64{3, 4}},
		{opMPMCPushMany, true, []uint64{3, 4}},
		{opMPMCPush, false, []uint64{2, 2, 2, 3, 3, 3, 4}},
		{opMPMCPushMany, false, []uint64{2, 2, 2, 3, 3, 3, 4}},
	} {
		t.Run(map[bool]string{true: "pairs", false: "blocks"}[c.pairs], func(t *testing.T) {
			if c.pairs && len(ring.Forms(8)) == 2 {
				t.Skip("this processor cannot change two words at once")
			}
			proctest.Crash(t, c.op, crashNumbers(c.pairs, 2), othersGoOn, func(t testing.TB, a crashMPMC, survived bool) {
				got := drainNumbers(t, a)
				if survived {
					if !slices.Contains(got, 3) || !slices.Contains(got, 4) {
						t.Errorf("popped %v", got)
					}
					return
				}
				if n := left(t, c.left); !consecutive(got, 1, n) {
					t.Errorf("popped %v, want 1 to %d", got, n)
				}
				a.account(t)
			})
		})
	}
}

// A consumer killed at any step has popped what it had taken, and at most one that it could not tell anybody of.
func TestCrashMPMCPop(t *testing.T) {
	for _, c := range []struct {
		op    *proctest.Op[crashMPMC]
		pairs bool
		left  []uint64
	}{
		{opMPMCPop, true, []uint64{5, 4, 4, 3}},
		{opMPMCPopMany, true, []uint64{5, 4, 3}},
		{opMPMCPop, false, []uint64{5, 4, 4, 3}},
		{opMPMCPopMany, false, []uint64{5, 4, 4, 3}},
	} {
		t.Run(map[bool]string{true: "pairs", false: "blocks"}[c.pairs], func(t *testing.T) {
			if c.pairs && len(ring.Forms(8)) == 2 {
				t.Skip("this processor cannot change two words at once")
			}
			proctest.Crash(t, c.op, crashNumbers(c.pairs, 5), othersGoOn, func(t testing.TB, a crashMPMC, survived bool) {
				got := drainNumbers(t, a)
				if survived {
					if len(got) > 0 && got[len(got)-1] == 102 { // it was stopped, and another popped one
						got = got[:len(got)-3]
						if !consecutive(got, 4, 5) {
							t.Errorf("left are %v", got)
						}
					} else if !consecutive(got, 3, 5) {
						t.Errorf("left are %v", got)
					}
					return
				}
				if n := left(t, c.left); !consecutive(got, 6-n, 5) {
					t.Errorf("popped %v, want the last %d of 5", got, n)
				}
				a.account(t)
			})
		})
	}
}

// A process killed while it gives its cells back has given them back, or the next one takes them over.
func TestCrashMPMCClose(t *testing.T) {
	proctest.Crash(t, opMPMCClose, crashNumbers(false, 2), othersGoOn, func(t testing.TB, c crashMPMC, survived bool) {
		got := drainNumbers(t, c)
		if survived && !slices.Contains(got, 3) {
			t.Errorf("popped %v", got)
		}
		c.account(t) // the child has no cell any more, or is dead
	})
}

// A process killed while it takes cells over from the dead leaves them to the next one.
func TestCrashMPMCReclaim(t *testing.T) {
	proctest.Crash(t, opMPMCReclaim, crashDead, othersGoOn, func(t testing.TB, c crashMPMC, survived bool) {
		got := drainNumbers(t, c)
		if survived {
			if !slices.Contains(got, 3) {
				t.Errorf("popped %v", got)
			}
			return
		}
		r, err := ring.OpenMPMC[wide](c.B.Bytes(), c.B.Segment())
		proctest.Must(t, err)
		for i, owner := range r.CellOwners() {
			if owner == c.B.Segment().Self() {
				r.SetCellOwner(i, 0)
			}
		}
		c.account(t)
	})
}

// A process killed while it makes a ring has made it, or somebody else can.
func TestCrashMPMCNew(t *testing.T) {
	proctest.Crash(t, opMPMCNew, crashEmpty(false), func(t testing.TB, c crashMPMC) {
		if _, err := c.open(); !errors.Is(err, ring.ErrKind) {
			t.Errorf("a ring that is not yet made: %v", err)
		}
	}, func(t testing.TB, c crashMPMC, survived bool) {
		if !survived {
			if _, err := c.create(); err != nil {
				t.Fatal(err)
			}
		}
		if got := drainNumbers(t, c); len(got) != 0 {
			t.Errorf("popped %v of a new ring", got)
		}
		c.account(t)
	})
}

// crashCell makes a ring of whose cells so many are free, or one belongs to a dead process that was in the middle of a push, and
// the others to this process.
func crashCell(dead bool, free int) func(t testing.TB) crashMPMC {
	return func(t testing.TB) crashMPMC {
		c := crashDead(t)
		r, err := ring.OpenMPMC[wide](c.B.Bytes(), c.B.Segment())
		proctest.Must(t, err)
		r.SetCellOwner(0, c.B.Segment().Self())
		r.SetCellOwner(1, c.B.Segment().Self())
		if !dead {
			have, _ := r.Note(2)
			r.SetNote(2, have, 1<<32-1)
			for i := range free {
				r.SetCellOwner(2+i, 0)
			}
		}
		return c
	}
}

// leaving is a process that closes its segment as soon as it has heard that another is dead.
type leaving struct{ *shm.Segment }

func (l leaving) Dead(id uint32) bool {
	dead := l.Segment.Dead(id)
	if dead && id != l.Self() {
		l.Segment.Close()
	}
	return dead
}

// leavingFirst is one that closes it when it has been told that it has not.
type leavingFirst struct{ *shm.Segment }

func (l leavingFirst) Dead(id uint32) bool {
	dead := l.Segment.Dead(id)
	if id == l.Self() {
		l.Segment.Close()
	}
	return dead
}

var (
	opMPMCCloseLate = proctest.NewOp("mpmc/close-late", nil, onNumbers(func(r numbers) bool {
		ok := r.push(3) == 1
		r.(blockNumbers).Leave()
		return r.Close() == nil && ok
	}))
	opMPMCPushLate = proctest.NewOp("mpmc/push-late", nil, onNumbers(func(r numbers) bool {
		ok := r.push(3) == 1
		r.(blockNumbers).Leave()
		r.push(5)
		return ok
	}))
	opMPMCPushManyLate = proctest.NewOp("mpmc/push-many-late", nil, onNumbers(func(r numbers) bool {
		ok := r.push(3) == 1
		r.(blockNumbers).Leave()
		r.push(5, 6)
		return ok
	}))
	opMPMCBorrowLate = proctest.NewOp("mpmc/borrow-late", nil, func(ctx context.Context, c crashMPMC) error {
		r, err := ring.OpenMPMC[wide](c.B.Bytes(), leavingFirst{c.B.Segment()})
		if err == nil {
			r.TryPush(wideOf(3))
			err = r.Close()
		}
		runtime.KeepAlive(c.B)
		return err
	})
	opMPMCReclaimLate = proctest.NewOp("mpmc/reclaim-late", nil, func(ctx context.Context, c crashMPMC) error {
		r, err := ring.OpenMPMC[wide](c.B.Bytes(), leaving{c.B.Segment()})
		if err == nil {
			r.Reclaim()
		}
		runtime.KeepAlive(c.B)
		return err
	})
)

// What a process that has left does to a cell when it goes on to push, closes its ring, or was just taking the cell over
// from the dead, is nothing to whoever has the cell by then and has pushed: its note stays what it wrote, and its blocks
// stay its own. (It could be otherwise if the process were stopped elsewhere: see doc.go.)
func TestCrashMPMCLate(t *testing.T) {
	for _, c := range []struct {
		name string
		op   *proctest.Op[crashMPMC]
		dead bool
		free int // with fewer than half it borrows one
	}{
		{"push", opMPMCPushLate, false, 100},
		{"push-many", opMPMCPushManyLate, false, 100},
		{"close", opMPMCCloseLate, false, 100},
		{"borrow", opMPMCBorrowLate, false, 1},
		{"reclaim", opMPMCReclaimLate, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			taken, at := 0, 0     // at is the child's cell, or the dead one's
			var have, want uint64 // of the cell, if this process has taken it over
			proctest.Crash(t, c.op, crashCell(c.dead, c.free), func(t testing.TB, c crashMPMC) {
				r, err := ring.OpenMPMC[wide](c.B.Bytes(), c.B.Segment())
				proctest.Must(t, err)
				at = 0
				for i, owner := range r.CellOwners() {
					if owner == 0 {
						r.SetCellOwner(i, c.B.Segment().Self())
					} else if owner != c.B.Segment().Self() {
						at = i
					}
				}
				if have, want = 0, 0; r.TryPush(wideOf(4)) {
					have, want = r.Note(at)
					taken++
				} else if !errors.Is(r.Err(), ring.ErrBusy) {
					t.Error(r.Err())
				}
			}, func(t testing.TB, c crashMPMC, survived bool) {
				r, err := ring.OpenMPMC[wide](c.B.Bytes(), c.B.Segment())
				proctest.Must(t, err)
				if h, w := r.Note(at); have != want && (h != have || w != want) {
					t.Errorf("the note %d, %d was written over with %d, %d", have, want, h, w)
				}
				have, want = 0, 0
				seen := make(map[uint64]bool)
				for i := range r.Slots() {
					if b := r.SlotBlock(i); seen[b] {
						t.Errorf("two slots have block %d", b)
					} else {
						seen[b] = true
					}
				}
			})
			if taken == 0 {
				t.Error("no cell was taken over from a process that had left and went on")
			}
		})
	}
}
