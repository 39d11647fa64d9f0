package pool

import (
	"context"
	"errors"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// tally counts the results of a call.
type tally struct{ results, ended int }

type tallied struct{ *tally }

func (c tallied) receive(i int, o *outcome) { c.results++ }
func (c tallied) ended()                    { c.tally.ended++ }

// FuzzDesk has the dealer work on a desk into which somebody writes anything. Whatever that is, each task gets
// one result when the worker is buried, if it does not get it before.
func FuzzDesk(f *testing.F) {
	f.Add([]byte{0, 3, 0, 1, 0, 0, 0}, []byte{1, 128, 1, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{1, 0, 1, 2, 3, 4, 5, 6, 7, 8}, []byte{2, 2, 1, 255, 255})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		seg := proctest.Segment(t, 1<<20)
		board, err := shm.NewBlock(seg, "", boardSize)
		if err != nil {
			t.Fatal(err)
		}
		desk, err := shm.NewBlock(seg, "", deskSize())
		if err != nil {
			t.Fatal(err)
		}
		d, err := newDealer(seg, board.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		h, err := d.newHand(desk.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		h.more = func(h *hand) {
			if h.state == spare {
				h.state = working
			}
		}
		h.desk.state.Store(ready)
		d.enter(h)
		fn := &function{name: "f"}
		scribble := func(data []byte) {
			if len(data) < 2 {
				return
			}
			at := (int(data[0]) | int(data[1])<<8) % deskSize()
			copy(desk.Bytes()[at:], data[2:])
		}
		var counts []*tally
		var calls []*call
		work := func() {
			c := &tally{}
			x := &call{fn: fn, to: tallied{c}, room: make(chan struct{}, 1), gone: make(chan struct{})}
			counts, calls = append(counts, c), append(calls, x)
			if err := d.begin(x); err != nil {
				t.Fatal(err)
			}
			ts := make([]task, 20)
			for i := range ts {
				offset, mem, err := seg.Allocate(200)
				if err != nil {
					t.Fatal(err)
				}
				ts[i].i, ts[i].img.size, ts[i].img.kind = i, uint64(len(mem)), inBlock
				place(ts[i].img.data[:], offset, 0)
			}
			d.give(x, ts)
			d.fill(x)
			d.news()
			d.collect()
			d.steal(true)
			h.flush()
		}
		work()
		scribble(first)
		work()
		d.cancel(calls[0], context.Canceled, errors.New("a cause"))
		scribble(second)
		work()
		d.cancel(calls[1], context.DeadlineExceeded, nil)
		d.bury(h, func(string) error { return errors.New("died") })
		d.cancel(calls[2], context.Canceled, nil)
		for i, c := range counts {
			if c.results != 20 || c.ended != 1 {
				t.Errorf("call %d has %d results and ended %d times", i, c.results, c.ended)
			}
		}
	})
}
