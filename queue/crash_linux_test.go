//go:build crashpoint

package queue_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// crashArgs is what a child works on.
type crashArgs struct {
	Q    numbers
	More int // of what it puts or gets
	Shut bool
}

// The numbers that a child puts begin with these; those that are there before are 1, 2, …; those that the test puts meanwhile begin
// with meanwhile.
const (
	childs    = 100
	meanwhile = 1000
)

var (
	opPut = proctest.NewOp("queue/put", nil, func(ctx context.Context, a crashArgs) error {
		for i := range a.More {
			if err := a.Q.put(ctx, childs+uint64(i)); err != nil {
				return err
			}
		}
		return nil
	})
	opPutMany = proctest.NewOp("queue/put-many", nil, func(ctx context.Context, a crashArgs) error {
		xs := []uint64{childs, childs + 1, childs + 2}
		n, err := a.Q.putMany(ctx, xs[:a.More]...)
		if n != a.More && err == nil {
			err = fmt.Errorf("it put %d", n)
		}
		return err
	})
	opGet = proctest.NewOp("queue/get", nil, func(ctx context.Context, a crashArgs) error {
		for range a.More {
			if _, err := a.Q.get(ctx); err != nil {
				return err
			}
		}
		return nil
	})
	opGetMany = proctest.NewOp("queue/get-many", nil, func(ctx context.Context, a crashArgs) error {
		xs, err := a.Q.getMany(ctx, a.More)
		if len(xs) != a.More && err == nil {
			err = fmt.Errorf("it got %d", xs)
		}
		return err
	})
	opDone = proctest.NewOp("queue/done", func(ctx context.Context, a crashArgs) error {
		_, err := a.Q.get(ctx)
		return err
	}, func(ctx context.Context, a crashArgs) error { return a.Q.taskDone() })
	opJoin = proctest.NewOp("queue/join", nil, func(ctx context.Context, a crashArgs) error { return a.Q.join(ctx) })
	opShut = proctest.NewOp("queue/shutdown", nil, func(ctx context.Context, a crashArgs) error { return a.Q.shutdown() })
	opNew  = proctest.NewOp("queue/new", nil, func(ctx context.Context, a newArgs) error { return a.make() })
)

// crash is one scenario: an operation of a child on a queue of a form.
type crash struct {
	op       *proctest.Op[crashArgs]
	f        form
	n, first int
	before   int  // how many items there are at first
	puts     int  // how many the child puts
	gets     int  // how many it gets
	done     bool // it deals with those
	stop     int  // how many the test puts and gets while the child is stopped
	beside   func(t testing.TB, q numbers, got *[]uint64)
	name     string   // if it is no longer plain from the operation
	besides  []uint64 // what the test puts beside it
	dealt    int      // with how many the test deals beside it
}

func (c crash) run(t *testing.T) {
	t.Run(c.name+c.f.name, func(t *testing.T) {
		var got, put []uint64 // by the test
		c.op.Beside(nil)
		if c.beside != nil {
			c.op.Beside(func(t testing.TB, p *proctest.Proc, a crashArgs) {
				p.Asleep()
				c.beside(t, a.Q, &got)
			})
		}
		setup := func(t testing.TB) crashArgs {
			got, put = nil, nil
			q := newNumbers(t, proctest.Segment(t, 1<<20), c.f, c.n, c.first)
			for i := range c.before {
				proctest.Must(t, q.tryPut(uint64(i+1)))
			}
			return crashArgs{Q: q, More: max(c.puts, c.gets)}
		}
		stopped := func(t testing.TB, a crashArgs) {
			for i := range uint64(c.stop) {
				proctest.Must(t, a.Q.tryPut(meanwhile+i))
				put = append(put, meanwhile+i)
				x, err := a.Q.tryGet()
				proctest.Must(t, err)
				got = append(got, x)
			}
		}
		proctest.Crash(t, c.op, setup, stopped, func(t testing.TB, a crashArgs, survived bool) {
			c.check(t, a.Q, survived, got, put)
		})
	})
}

// check drains the queue, and holds what was got against what was put.
func (c crash) check(t testing.TB, q numbers, survived bool, got, put []uint64) {
	t.Helper()
	for {
		x, err := q.tryGet()
		if err == queue.ErrEmpty {
			break
		}
		proctest.Must(t, err)
		got = append(got, x)
	}
	if n := q.len(); n != 0 {
		t.Errorf("an empty queue has Len %d", n)
	}
	var mine, childrens []uint64 // what was got of either
	for _, x := range got {
		if x >= childs && x < meanwhile {
			childrens = append(childrens, x)
		} else {
			mine = append(mine, x)
		}
	}
	if n := len(childrens); n > c.puts || survived && n != c.puts || n > 0 && !consecutive(childrens, childs) {
		t.Errorf("got %v of the child's %d, survived %t", childrens, c.puts, survived)
	}
	// Mine come in order, but for what the child got, which are the first ones, or some that follow.
	var all []uint64
	for i := range c.before {
		all = append(all, uint64(i+1))
	}
	all = append(append(all, c.besides...), put...)
	lost := len(all) - len(mine)
	rest := slices.DeleteFunc(slices.Clone(all), func(x uint64) bool { return !slices.Contains(mine, x) })
	if !slices.Equal(rest, mine) || lost > c.gets || survived && lost != c.gets {
		t.Errorf("got %v of %v, of which the child has got %d at most; survived %t", mine, all, c.gets, survived)
	}
	if q.counts() {
		for range len(got) - c.dealt {
			proctest.Must(t, q.taskDone())
		}
		if survived && !c.done {
			if n := q.unfinished(); n != c.gets {
				t.Errorf("%d are unfinished, want %d", n, c.gets)
			}
			for range c.gets {
				proctest.Must(t, q.taskDone())
			}
			lost = 0
		}
		want(t, "TaskDone", q.taskDone(), queue.ErrTaskDone)
		err := q.join(t.Context())
		var l *queue.LostError
		switch {
		case c.done: // it may have been killed before or after
			if err != nil && (survived || !errors.As(err, &l) || l.Items != c.gets) {
				t.Errorf("Join: %v, survived %t", err, survived)
			}
		case lost == 0:
			if err != nil {
				t.Errorf("Join: %v, nothing was lost", err)
			}
		case !errors.As(err, &l) || l.Items != lost:
			t.Errorf("Join: %v, %d were lost", err, lost)
		}
		proctest.Must(t, q.join(t.Context())) // it is told once
		if n := q.unfinished(); n != 0 {
			t.Errorf("%d are unfinished after Join", n)
		}
	}
	goesOn(t, q, c.n)
}

// consecutive reports whether xs are numbers from first on.
func consecutive(xs []uint64, first uint64) bool {
	for i, x := range xs {
		if x != first+uint64(i) {
			return false
		}
	}
	return true
}

// A producer that is killed has put an item or not; one that is stopped holds nobody up.
func TestCrashPut(t *testing.T) {
	for _, f := range forms[:3] {
		crash{op: opPut, f: f, n: 8, before: 2, puts: 1, stop: 3}.run(t)
	}
	crash{op: opPutMany, f: forms[0], n: 8, before: 2, puts: 3, stop: 2}.run(t)
}

// So has one that finds the last ring full.
func TestCrashGrow(t *testing.T) {
	for _, f := range []form{forms[0], forms[2]} {
		crash{op: opPut, f: f, first: 2, before: 2, puts: 1, stop: 4}.run(t)
	}
}

// So has one that waits for room.
func TestCrashPutWaits(t *testing.T) {
	for _, f := range forms[2:3] {
		crash{op: opPut, f: f, n: 2, before: 2, puts: 1, beside: func(t testing.TB, q numbers, got *[]uint64) {
			x, err := q.tryGet()
			proctest.Must(t, err)
			*got = append(*got, x)
		}}.run(t)
	}
}

// A consumer that is killed has an item in hand at most, which Join reports; all others are got.
func TestCrashGet(t *testing.T) {
	for _, f := range append([]form{forms[2]}, forms[3:]...) {
		crash{op: opGet, f: f, n: 8, before: 3, gets: 1, stop: 2}.run(t)
	}
	crash{op: opGetMany, f: forms[3], n: 8, before: 4, gets: 2, stop: 2}.run(t)
}

// So has one that goes on to the next ring.
func TestCrashGetFurther(t *testing.T) {
	for _, f := range forms[5:] {
		crash{op: opGet, f: f, first: 2, before: 4, gets: 3, stop: 2}.run(t)
	}
}

// So has one that waits for an item.
func TestCrashGetWaits(t *testing.T) {
	for _, f := range forms[5:] {
		crash{op: opGet, f: f, n: 2, gets: 1, beside: func(t testing.TB, q numbers, got *[]uint64) {
			proctest.Must(t, q.put(t.Context(), 1))
		}, besides: []uint64{1}}.run(t)
	}
}

func TestCrashTaskDone(t *testing.T) {
	for _, f := range []form{forms[3], forms[5]} {
		crash{op: opDone, f: f, n: 4, before: 2, gets: 1, done: true, stop: 1}.run(t)
	}
}

// Who joins changes nothing.
func TestCrashJoin(t *testing.T) {
	for _, f := range []form{forms[3], forms[5]} {
		crash{op: opJoin, f: f, first: 2, before: 4, done: true, dealt: 4, beside: func(t testing.TB, q numbers, got *[]uint64) {
			for range 4 {
				x, err := q.tryGet()
				proctest.Must(t, err)
				*got = append(*got, x)
				proctest.Must(t, q.taskDone())
			}
		}}.run(t)
	}
}

// What a killed one was about to end can be ended.
func TestCrashShutdown(t *testing.T) {
	for _, f := range forms[:2] {
		for _, n := range []int{4, 0} {
			t.Run(fmt.Sprintf("%s/n=%d", f.name, n), func(t *testing.T) {
				proctest.Crash(t, opShut, func(t testing.TB) crashArgs {
					q := newNumbers(t, proctest.Segment(t, 1<<20), f, n, 2)
					for i := range uint64(3) {
						proctest.Must(t, q.tryPut(i))
					}
					return crashArgs{Q: q}
				}, func(t testing.TB, a crashArgs) {
					if x, err := a.Q.tryGet(); x != 0 || err != nil {
						t.Error(x, err)
					}
				}, func(t testing.TB, a crashArgs, survived bool) {
					err := a.Q.tryPut(3)
					if survived && err != queue.ErrShutdown || err != nil && err != queue.ErrShutdown {
						t.Errorf("put: %v, survived %t", err, survived)
					}
					proctest.Must(t, a.Q.shutdown())
					last := uint64(2)
					if err == nil {
						last = 3
					}
					x, err := a.Q.get(t.Context())
					if x > 1 || err != nil {
						t.Error(x, err)
					}
					for x++; x <= last; x++ {
						if y, err := a.Q.get(t.Context()); y != x || err != nil {
							t.Errorf("got %d, %v, want %d", y, err, x)
						}
					}
					_, err = a.Q.get(t.Context())
					want(t, "Get of all", err, queue.ErrShutdown)
				})
			})
		}
	}
}

// newArgs is where a queue is to be made.
type newArgs struct {
	Beside  *shm.Block
	Strings bool
}

func (a newArgs) make() error {
	if a.Strings {
		_, err := queue.NewJoinable[string](a.Beside.Segment(), "q", 0, queue.SmallFirst(queue.Options{}, 2))
		return err
	}
	_, err := queue.New[uint64](a.Beside.Segment(), "q", 4)
	return err
}

// There is a whole queue or none, and one can be made.
func TestCrashNew(t *testing.T) {
	for _, strings := range []bool{false, true} {
		open := func(t testing.TB, seg *shm.Segment) (numbers, error) {
			if strings {
				q, err := queue.OpenJoinable[string](seg, "q")
				return numbers{SJ: q}, err
			}
			q, err := queue.Open[uint64](seg, "q")
			return numbers{P: q}, err
		}
		proctest.Crash(t, opNew, func(t testing.TB) newArgs {
			b, err := shm.NewBlock(proctest.Segment(t, 1<<20), "", 8)
			proctest.Must(t, err)
			return newArgs{b, strings}
		}, nil, func(t testing.TB, a newArgs, survived bool) {
			seg := a.Beside.Segment()
			if _, err := open(t, seg); err != nil && (survived || !errors.Is(err, fs.ErrNotExist)) {
				t.Fatal(err)
			} else if err != nil {
				proctest.Must(t, a.make())
			}
			q, err := open(t, seg)
			proctest.Must(t, err)
			n := 4
			if strings {
				n = 0
			}
			goesOn(t, q, n)
			proctest.Must(t, seg.Remove("q"))
			proctest.Must(t, q.close())
		})
	}
}
