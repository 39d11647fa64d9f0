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

// crashExact is what a child works on: an exact ring of 5 numbers, in each form.
type crashExact struct {
	B    *shm.Block
	Form uint32
}

const crashRoom = 5

func (c crashExact) open() (endable, error) {
	if c.Form == ring.MPMCMessages {
		r, err := ring.OpenMessages(c.B.Bytes(), c.B.Segment())
		return &letters{Messages: r}, err
	}
	r, err := ring.OpenMPMC[uint64](c.B.Bytes(), c.B.Segment())
	return exactNumbers{r}, err
}

// blocks is the ring as one of blocks, nil if it is of pairs.
func (c crashExact) blocks(t testing.TB) interface {
	blocks
	SetCellOwner(i int, owner uint32)
	Reclaim()
} {
	r, err := c.open()
	proctest.Must(t, err)
	switch r := r.(type) {
	case *letters:
		return r
	case exactNumbers:
		if c.Form == ring.MPMCBlocks {
			return r
		}
	}
	return nil
}

// account checks the blocks, when no living process has a cell.
func (c crashExact) account(t testing.TB) {
	t.Helper()
	if r := c.blocks(t); r != nil {
		r.Reclaim()
		account(t, r)
	}
	runtime.KeepAlive(c.B)
}

// crashExactOf makes such a ring with the numbers 1 to n in it, of which no living process has a cell.
func crashExactOf(form uint32, n uint64) func(t testing.TB) crashExact {
	return func(t testing.TB) crashExact {
		seg := proctest.Segment(t, 1)
		size := ring.MPMCSizeIn[uint64](crashRoom, form|ring.Exact)
		if form == ring.MPMCMessages {
			size = ring.MessagesSize(crashRoom, letterSize)
		}
		b, err := shm.NewBlock(seg, "", size)
		proctest.Must(t, err)
		if form == ring.MPMCMessages {
			newMessages(t, b.Bytes(), crashRoom, letterSize, seg)
		} else {
			newMPMC[uint64](t, b.Bytes(), crashRoom, seg, form|ring.Exact)
		}
		c := crashExact{b, form}
		r, err := c.open()
		proctest.Must(t, err)
		for i := range n {
			if !r.push(i + 1) {
				t.Fatal("full")
			}
		}
		proctest.Must(t, r.Close())
		return c
	}
}

// crashFew makes one that leaves only one cell, which who comes borrows for each push.
func crashFew(form uint32) func(t testing.TB) crashExact {
	return func(t testing.TB) crashExact {
		c := crashExactOf(form, 2)(t)
		r := c.blocks(t)
		for i := range ring.MPMCCells - 1 {
			r.SetCellOwner(i, c.B.Segment().Self())
		}
		return c
	}
}

func onExact(f func(r endable) bool) func(ctx context.Context, c crashExact) error {
	return func(ctx context.Context, c crashExact) error {
		r, err := c.open()
		if err != nil {
			return err
		}
		if !f(r) || r.Err() != nil {
			return errors.Join(errors.New("it did not work"), r.Err())
		}
		runtime.KeepAlive(c.B)
		return nil
	}
}

var (
	opExactPush = proctest.NewOp("exact/push", nil, onExact(func(r endable) bool { // unless the ring is ended meanwhile
		return (r.push(3) || r.Mark() != 0) && (r.push(4) || r.Mark() != 0)
	}))
	opExactPop = proctest.NewOp("exact/pop", nil, onExact(func(r endable) bool {
		_, ok1 := r.pop()
		_, ok2 := r.pop() // of messages by a look first
		return ok1 && ok2
	}))
	opExactEnd    = proctest.NewOp("exact/end", nil, onExact(func(r endable) bool { return r.End(2) && r.Mark() == 2 }))
	opExactBorrow = proctest.NewOp("exact/borrow", nil, onExact(func(r endable) bool {
		return r.push(3) && r.push(4)
	}))
)

// crashForms runs f for the forms of an exact ring that this machine has.
func crashForms(t *testing.T, f func(t *testing.T, form uint32)) {
	crashFormsOf(t, f, ring.MPMCBlocks, ring.MPMCPairs, ring.MPMCMessages)
}

func crashFormsOf(t *testing.T, f func(t *testing.T, form uint32), forms ...uint32) {
	for _, form := range forms {
		t.Run(map[uint32]string{ring.MPMCBlocks: "blocks", ring.MPMCPairs: "pairs", ring.MPMCMessages: "messages"}[form], func(t *testing.T) {
			if form == ring.MPMCPairs && len(ring.Forms(8)) == 2 {
				t.Skip("this processor cannot change two words at once")
			}
			f(t, form)
		})
	}
}

// drainExact pops all, and says what that was. A ring that was not ended then holds five numbers, not six, and can be ended.
func drainExact(t testing.TB, c crashExact, mark int) (got []uint64) {
	t.Helper()
	r, err := c.open()
	proctest.Must(t, err)
	n := r.Len()
	for x, ok := r.pop(); ok; x, ok = r.pop() {
		got = append(got, x)
	}
	if n != len(got) || r.Mark() != mark {
		t.Errorf("Len %d, mark %d before %v, want mark %d", n, r.Mark(), got, mark)
	}
	for i := range uint64(crashRoom + 1) {
		if ok := r.push(i); ok != (i < crashRoom && mark == 0) {
			t.Errorf("push %d, mark %d: %v, %v", i, mark, ok, r.Err())
		}
	}
	if r.End(3) != (mark == 0) {
		t.Errorf("a ring with mark %d: ended, or not", mark)
	}
	for i := uint64(0); i < crashRoom && mark == 0; i++ {
		if x, ok := r.pop(); !ok || x != i {
			t.Errorf("popped %d, %v", x, ok)
		}
	}
	if _, ok := r.pop(); ok || r.Len() != 0 {
		t.Error("more than there was")
	}
	proctest.Must(t, errors.Join(r.Err(), r.Close()))
	return got
}

// While a process is stopped others push and pop.
func exactGoesOn(t testing.TB, c crashExact) {
	r, err := c.open()
	proctest.Must(t, err)
	if x, ok := r.pop(); !ok || !r.push(100) {
		t.Errorf("popped %d, %v; %v", x, ok, r.Err())
	}
	proctest.Must(t, errors.Join(r.Err(), r.Close()))
}

// A producer killed at any step of a push to an exact ring has pushed a beginning of what it meant to. One that is stopped while
// another ends the ring pushes nothing more, and finds nothing wrong.
func TestCrashExactPush(t *testing.T) {
	steps := map[uint32][]uint64{
		ring.MPMCPairs: {3, 4}, ring.MPMCBlocks: {2, 2, 2, 3, 3, 3, 4}, ring.MPMCMessages: {2, 2, 2, 3, 3, 3, 4},
	}
	crashForms(t, func(t *testing.T, form uint32) {
		proctest.Crash(t, opExactPush, crashExactOf(form, 2), exactGoesOn, func(t testing.TB, c crashExact, survived bool) {
			got := drainExact(t, c, 0)
			if survived {
				if !slices.Contains(got, 3) || !slices.Contains(got, 4) {
					t.Errorf("popped %v", got)
				}
				return
			}
			if n := left(t, steps[form]); !consecutive(got, 1, n) {
				t.Errorf("popped %v, want 1 to %d", got, n)
			}
			c.account(t)
		})
		mark, n := 0, 0
		proctest.Crash(t, opExactPush, func(t testing.TB) crashExact {
			mark = 0
			return crashExactOf(form, 2)(t)
		}, func(t testing.TB, c crashExact) {
			r, err := c.open()
			proctest.Must(t, err)
			if !r.End(1) {
				t.Error("not ended: ", r.Err())
			}
			mark, n = 1, r.Len()
			proctest.Must(t, errors.Join(r.Err(), r.Close()))
		}, func(t testing.TB, c crashExact, survived bool) {
			if got := drainExact(t, c, mark); mark != 0 && !consecutive(got, 1, uint64(n)) {
				t.Errorf("popped %v, there were %d at the end", got, n)
			}
		})
	})
}

// A consumer killed at any step has popped what it had taken, and what it had only looked at is there.
func TestCrashExactPop(t *testing.T) {
	steps := map[uint32][]uint64{
		ring.MPMCPairs: {4, 3, 3, 2}, ring.MPMCBlocks: {4, 3, 3, 2}, ring.MPMCMessages: {4, 3, 2},
	}
	crashForms(t, func(t *testing.T, form uint32) {
		proctest.Crash(t, opExactPop, crashExactOf(form, 4), exactGoesOn, func(t testing.TB, c crashExact, survived bool) {
			got := drainExact(t, c, 0)
			if survived {
				if len(got) > 0 && got[len(got)-1] == 100 { // it was stopped, and another popped one
					if got = got[:len(got)-1]; !consecutive(got, 4, 4) {
						t.Errorf("left are %v", got)
					}
				} else if !consecutive(got, 3, 4) {
					t.Errorf("left are %v", got)
				}
				return
			}
			if n := left(t, steps[form]); !consecutive(got, 5-n, 4) {
				t.Errorf("popped %v, want the last %d of 4", got, n)
			}
			c.account(t)
		})
	})
}

// A process killed when it has just ended a ring has ended it.
func TestCrashExactEnd(t *testing.T) {
	crashForms(t, func(t *testing.T, form uint32) {
		proctest.Crash(t, opExactEnd, crashExactOf(form, 3), func(t testing.TB, c crashExact) {
			r, err := c.open()
			proctest.Must(t, err)
			if x, ok := r.pop(); !ok || x != 1 || r.push(100) || r.End(1) || r.Mark() != 2 {
				t.Errorf("popped %d, %v, mark %d; %v", x, ok, r.Mark(), r.Err())
			}
			proctest.Must(t, errors.Join(r.Err(), r.Close()))
		}, func(t testing.TB, c crashExact, survived bool) {
			got := drainExact(t, c, 2)
			if len(got) < 2 || !consecutive(got, 4-uint64(len(got)), 3) {
				t.Errorf("popped %v", got)
			}
			c.account(t)
		})
	})
}

// A process killed at any step of a push for which it borrowed a cell leaves the cell to who needs it, and what it pushed.
func TestCrashExactBorrow(t *testing.T) {
	crashFormsOf(t, func(t *testing.T, form uint32) {
		proctest.Crash(t, opExactBorrow, crashFew(form), func(t testing.TB, c crashExact) {
			r, err := c.open()
			proctest.Must(t, err)
			if x, ok := r.pop(); !ok {
				t.Errorf("popped %d, %v", x, ok)
			}
			if !r.push(100) && !errors.Is(r.Err(), ring.ErrBusy) { // the one cell may be the child's just now
				t.Errorf("pushed nothing: %v", r.Err())
			}
			proctest.Must(t, r.Close())
		}, func(t testing.TB, c crashExact, survived bool) {
			got := drainExact(t, c, 0)
			if survived && (!slices.Contains(got, 3) || !slices.Contains(got, 4)) || !survived && !consecutive(got, 1, uint64(len(got))) {
				t.Errorf("popped %v", got)
			}
			r := c.blocks(t)
			for i := range ring.MPMCCells - 1 {
				r.SetCellOwner(i, 0)
			}
			c.account(t)
		})
	}, ring.MPMCBlocks, ring.MPMCMessages) // in a ring of pairs nobody has a cell
}
