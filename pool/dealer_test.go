package pool

import (
	"context"
	"fmt"
	"os"
	"testing"

	"pgregory.net/rapid"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// book records the results of a call.
type book struct {
	t       *rapid.T
	call    *call
	results map[int]string
	given   int
	over    int
}

func (b *book) receive(i int, o *outcome) {
	if old, ok := b.results[i]; ok {
		b.t.Fatalf("task %d has two results: %s, %v", i, old, o.err)
	}
	b.results[i] = string(o.data)
	if o.err != nil {
		b.results[i] = o.err.Error()
	}
}

func (b *book) ended() { b.over++ }

// fake is a worker without a process: it begins and finishes when it is told to.
type fake struct {
	h     *hand
	begun bool
	at    uint32 // position of the task
}

// begin begins the next task, if there is one.
func (f *fake) begin() bool {
	turn := f.h.desk.turn.Load()
	if f.begun || begunOf(turn) == dealtOf(turn) {
		return false
	}
	f.h.desk.turn.Store(turnOf(begunOf(turn)+1, dealtOf(turn)))
	f.begun, f.at = true, begunOf(turn)
	return true
}

// write writes the result, without saying so.
func (f *fake) write() *slot {
	s := &f.h.slots[f.at%slots]
	s.kind, s.size = 0, uint64(copy(s.data[:], "did "+string(s.data[:s.size])))
	return s
}

func (f *fake) finish() {
	f.write()
	f.begun = false
	f.h.desk.busy.Publish(f.h.desk.busy.Load() + 1000)
	f.h.desk.done.Publish(uint64(f.at + 1))
}

// TestDealer has the dealer deal to workers that begin, finish and die at random, while calls come, are
// cancelled and end. Each task gets one result; what was begun twice had a retry; what a cancelled call had not
// begun is not begun; and nothing is left.
func TestDealer(t *testing.T) {
	seg := proctest.Segment(t, 64<<20)
	board, err := shm.NewBlock(seg, "", boardSize)
	if err != nil {
		t.Fatal(err)
	}
	var desks []*shm.Block
	fns := []*function{{name: "short"}, {name: "long"}}
	rapid.Check(t, func(t *rapid.T) {
		clear(board.Bytes())
		d, err := newDealer(seg, board.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		d.retries = rapid.IntRange(0, 2).Draw(t, "retries")
		for i, fn := range fns {
			fn.each.Store([]int64{0, 1000, 1e6, 1e9}[rapid.IntRange(0, 3).Draw(t, "each")])
			fn.number = uint32(i)
		}
		var workers []*fake
		var books []*book
		begun := make(map[string]int)
		used := 0
		hire := func() {
			if used == len(desks) {
				b, err := shm.NewBlock(seg, "", deskSize())
				if err != nil {
					t.Fatal(err)
				}
				desks = append(desks, b)
			}
			h, err := d.newHand(desks[used].Bytes())
			if err != nil {
				t.Fatal(err)
			}
			used++
			h.more = func(h *hand) {
				if h.state == spare {
					h.state = working
				}
			}
			workers = append(workers, &fake{h: h})
			h.desk.state.Store(ready)
			d.mu.Lock()
			d.enter(h)
			d.mu.Unlock()
		}
		collect := func() {
			d.mu.Lock()
			d.collect()
			d.deal()
			d.steal(rapid.Bool().Draw(t, "force"))
			d.mu.Unlock()
		}
		note := func(f *fake) {
			s := &f.h.slots[f.at%slots]
			what := string(s.data[:s.size])
			if begun[what]++; begun[what] > 1+d.retries {
				t.Fatalf("%s was begun %d times", what, begun[what])
			}
			for _, b := range books {
				if b.call.number == s.call && b.call.over != nil {
					t.Fatalf("%s was begun after its call was cancelled", what)
				}
			}
		}
		pick := func() *fake {
			if len(workers) == 0 {
				return nil
			}
			return workers[rapid.IntRange(0, len(workers)-1).Draw(t, "worker")]
		}
		give := func(b *book, n int) {
			ts := make([]task, n)
			for k := range ts {
				ts[k].i = b.given + k
				ts[k].img.fn = b.call.fn.number
				ts[k].img.size = uint64(copy(ts[k].img.data[:], fmt.Sprintf("%d.%d", b.call.number, b.given+k)))
			}
			if _, err := d.give(b.call, ts); err == nil {
				b.given += n
			} else if b.call.over == nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(1, 4).Draw(t, "workers") {
			hire()
		}
		collect()
		t.Repeat(map[string]func(*rapid.T){
			"call": func(t *rapid.T) {
				if len(books) > 8 {
					t.Skip("enough calls are open")
				}
				b := &book{t: t, results: make(map[int]string)}
				b.call = &call{fn: fns[rapid.IntRange(0, 1).Draw(t, "fn")], to: b, chunk: rapid.IntRange(0, 5).Draw(t, "chunk"),
					room: make(chan struct{}, 1), gone: make(chan struct{})}
				if err := d.begin(b.call); err != nil {
					t.Fatal(err)
				}
				books = append(books, b)
				give(b, rapid.IntRange(1, 40).Draw(t, "tasks"))
			},
			"give": func(t *rapid.T) {
				if len(books) == 0 {
					t.Skip("no call is open")
				}
				b := books[rapid.IntRange(0, len(books)-1).Draw(t, "call")]
				if b.call.full {
					t.Skip("the call gets no more tasks")
				}
				give(b, rapid.IntRange(1, 3).Draw(t, "tasks"))
			},
			"fill": func(t *rapid.T) {
				if len(books) == 0 {
					t.Skip("no call is open")
				}
				d.fill(books[rapid.IntRange(0, len(books)-1).Draw(t, "call")].call)
			},
			"cancel": func(t *rapid.T) {
				if len(books) == 0 {
					t.Skip("no call is open")
				}
				b := books[rapid.IntRange(0, len(books)-1).Draw(t, "call")]
				d.cancel(b.call, context.Canceled, nil)
				if b.call.over != nil && len(b.results) != b.given {
					t.Fatalf("%d results of a cancelled call of %d", len(b.results), b.given)
				}
			},
			"begin": func(t *rapid.T) {
				if f := pick(); f != nil && f.begin() {
					note(f)
				}
			},
			"finish": func(t *rapid.T) {
				if f := pick(); f != nil && f.begun {
					f.finish()
				}
			},
			"run": func(t *rapid.T) {
				f := pick()
				if f == nil {
					t.Skip("nobody works")
				}
				if f.begun {
					f.finish()
				}
				for range rapid.IntRange(1, 20).Draw(t, "n") {
					if !f.begin() {
						break
					}
					note(f)
					f.finish()
				}
			},
			"collect": func(t *rapid.T) { collect() },
			"hire": func(t *rapid.T) {
				if len(workers) > 5 || used > 20 {
					t.Skip("enough workers")
				}
				hire()
			},
			"die": func(t *rapid.T) {
				f := pick()
				if f == nil {
					t.Skip("nobody works")
				}
				if f.begun && rapid.Bool().Draw(t, "written") {
					f.write()
				}
				d.mu.Lock()
				d.bury(f.h, func(task string) error { return fmt.Errorf("died in %s", task) })
				d.mu.Unlock()
				for i, g := range workers {
					if g == f {
						workers = append(workers[:i:i], workers[i+1:]...)
						break
					}
				}
			},
			"": func(t *rapid.T) {
				d.mu.Lock()
				defer d.mu.Unlock()
				queued := len(d.again)
				for _, b := range books {
					queued += len(b.call.queue) - b.call.head
					if len(b.results)+b.call.left != b.given {
						t.Fatalf("%d results and %d left of %d", len(b.results), b.call.left, b.given)
					}
					if ended := b.call.full && b.call.left == 0; b.over > 1 || (b.over == 1) != ended {
						t.Fatalf("a call has ended %d times; it is full: %t, %d are left", b.over, b.call.full, b.call.left)
					}
				}
				if queued != d.queued {
					t.Fatalf("%d are queued, not %d", queued, d.queued)
				}
				for _, h := range d.hands {
					if h.corrupt || dealtOf(h.desk.turn.Load()) != h.dealt || h.outstanding() > slots {
						t.Fatalf("a hand that says %x, dealt %d, taken %d", h.desk.turn.Load(), h.dealt, h.taken.Load())
					}
				}
			},
		})
		// In the end all is done.
		d.close(os.ErrClosed)
		for _, b := range books {
			d.fill(b.call)
		}
		if len(workers) == 0 {
			hire()
		}
		for left := true; left; {
			collect()
			left = false
			for _, f := range workers {
				if f.begun || f.begin() {
					if left = true; f.begun {
						f.finish()
					}
				}
			}
		}
		for _, b := range books {
			for i := range b.given {
				want := fmt.Sprintf("did %d.%d", b.call.number, i)
				got := b.results[i]
				dead := got == "died in "+b.call.fn.name && (d.retries == 0 || begun[want[4:]] == d.retries+1)
				if got != want && !dead && !(got == context.Canceled.Error() && b.call.over != nil) {
					t.Fatalf("the result of %d.%d is %q", b.call.number, i, got)
				}
			}
			if b.over != 1 {
				t.Fatalf("a call has ended %d times", b.over)
			}
		}
		select {
		case <-d.idle:
		default:
			t.Fatal("not idle")
		}
		for _, f := range workers {
			f.h.notes.Close()
		}
	})
}
