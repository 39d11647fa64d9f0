package pool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"weak"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/process"
)

// TestConformance holds what Python's Pool and ProcessPoolExecutor promise, by the numbers of the conformance list.
func TestConformance(t *testing.T) {
	ctx := t.Context()

	// One call, arguments of all sorts.
	t.Run("POOL-01", func(t *testing.T) {
		p := newPool(t, 1)
		m := Many{1, "a", []int{2}, map[string]float64{"b": 0.5}, nil}
		if s, err := pool.Apply(ctx, p, describe, m); s != fmt.Sprintf("%+v", m) || err != nil {
			t.Error(s, err)
		}
		if n, err := pool.Apply(ctx, p, add, Pair{2, 3}); n != 5 || err != nil {
			t.Error(n, err)
		}
	})

	// Map keeps the order, for every chunk size.
	t.Run("POOL-02", func(t *testing.T) {
		p := newPool(t, 3)
		for _, chunk := range []int{0, 1, 7, 20, 1000} {
			rs, err := pool.Map(ctx, p, square, count(100), pool.MapOptions{ChunkSize: chunk})
			if err != nil || !slices.Equal(rs, squares(100)) {
				t.Error(chunk, rs, err)
			}
		}
	})

	// Tuples of arguments are structs.
	t.Run("POOL-03", func(t *testing.T) {
		p := newPool(t, 2)
		for _, chunk := range []int{0, 2} {
			rs, err := pool.Map(ctx, p, add, []Pair{{1, 2}, {3, 4}, {5, 6}}, pool.MapOptions{ChunkSize: chunk})
			if err != nil || !slices.Equal(rs, []int{3, 7, 11}) {
				t.Error(rs, err)
			}
		}
	})
	t.Run("POOL-04", func(t *testing.T) {
		p := newPool(t, 2)
		rs, err := pool.MapAsync(ctx, p, add, []Pair{{1, 2}, {3, 4}, {5, 6}}).Get(ctx)
		if err != nil || !slices.Equal(rs, []int{3, 7, 11}) {
			t.Error(rs, err)
		}
	})
	t.Run("POOL-05", func(t *testing.T) {
		p := newPool(t, 2)
		rs, err := pool.MapAsync(ctx, p, square, count(5000)).Get(ctx)
		if err != nil || !slices.Equal(rs, squares(5000)) {
			t.Error(len(rs), err)
		}
	})

	// Callbacks run once, with the whole list, or the error.
	t.Run("POOL-06", func(t *testing.T) {
		p := newPool(t, 2)
		for _, xs := range [][]int{count(10), {1, -1, 2}} {
			called := make(chan error, 2)
			r := pool.MapAsync(ctx, p, square, xs)
			r.OnDone(func(rs []int, err error) {
				if err == nil && !slices.Equal(rs, squares(10)) {
					err = fmt.Errorf("called with %v", rs)
				}
				called <- err
			})
			err := <-called
			_, want := r.Get(ctx)
			if err != want || (err != nil) != (len(xs) == 3) {
				t.Errorf("%v, Get says %v", err, want)
			}
			if len(called) != 0 {
				t.Error("called twice")
			}
		}
	})

	// An argument that cannot be encoded is an error of its item.
	t.Run("POOL-07", func(t *testing.T) {
		p := newPool(t, 2)
		rs, err := pool.Map(ctx, p, picky, []Picky{{1}, {refuses}, {bursts}, {2}})
		var e *pool.MapError
		if !errors.As(err, &e) || len(e.Failed) != 2 || e.Failed[0].Index != 1 || !errors.Is(e.Failed[0].Err, errNegative) ||
			e.Failed[1].Index != 2 || !slices.Equal(rs, []Picky{{10}, {}, {}, {20}}) {
			t.Error(rs, err)
		}
	})

	t.Run("POOL-08", func(t *testing.T) {
		p := newPool(t, 2)
		rs, err := pool.MapAsync(ctx, p, square, []int{}, pool.MapOptions{ChunkSize: 1}).Get(ctx)
		if rs == nil || len(rs) != 0 || err != nil {
			t.Error(rs, err)
		}
	})

	t.Run("POOL-10", func(t *testing.T) {
		p, h := newPool(t, 1), newHold(t)
		r := pool.ApplyAsync(ctx, p, hold, Hold{h.Began, h.Open, 7})
		h.begun(t, 1)
		if r.Ready() {
			t.Error("ready")
		}
		h.Open.Set()
		if n, err := r.Get(ctx); n != 7 || err != nil {
			t.Error(n, err)
		}
	})

	t.Run("POOL-11", func(t *testing.T) {
		p, h := newPool(t, 1), newHold(t)
		r := pool.ApplyAsync(ctx, p, hold, h)
		h.begun(t, 1)
		soon, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if _, err := r.Get(soon); err != context.DeadlineExceeded {
			t.Error(err)
		}
		p.Terminate()
		if _, err := r.Get(ctx); err != pool.ErrTerminated {
			t.Error(err)
		}
	})

	// Imap yields in order, and ends.
	t.Run("POOL-12", func(t *testing.T) {
		p := newPool(t, 3)
		for _, o := range []pool.MapOptions{{}, {ChunkSize: 100}, {Window: 1}} {
			var got []int
			for v, err := range pool.Imap(ctx, p, square, slices.Values(count(1000)), o) {
				proctest.Must(t, err)
				got = append(got, v)
			}
			if !slices.Equal(got, squares(1000)) {
				t.Error(o, len(got))
			}
		}
	})
	t.Run("POOL-14", func(t *testing.T) {
		p := newPool(t, 3)
		for _, o := range []pool.MapOptions{{}, {ChunkSize: 53}, {Window: 1}} {
			var got []int
			for v, err := range pool.ImapUnordered(ctx, p, square, slices.Values(count(1000)), o) {
				proctest.Must(t, err)
				got = append(got, v)
			}
			slices.Sort(got)
			if !slices.Equal(got, squares(1000)) {
				t.Error(o, len(got))
			}
		}
	})

	// An error of the input, which is a panic here, comes once, after what was taken before.
	t.Run("POOL-15", func(t *testing.T) {
		p := newPool(t, 3)
		var got []int
		func() {
			defer func() {
				if v := recover(); v != "no more" {
					t.Errorf("recovered %v", v)
				}
			}()
			for v, err := range pool.ImapUnordered(ctx, p, square, func(yield func(int) bool) {
				for i := range 100 {
					if !yield(i) {
						return
					}
				}
				panic("no more")
			}) {
				proctest.Must(t, err)
				got = append(got, v)
			}
			t.Error("no panic")
		}()
		slices.Sort(got)
		if !slices.Equal(got, squares(100)) {
			t.Error(got)
		}
	})

	t.Run("POOL-16", func(t *testing.T) {
		if _, err := pool.New(ctx, -1); !errors.Is(err, os.ErrInvalid) {
			t.Error(err)
		}
		if ws := newPool(t, 3).Stats().Workers; len(ws) != 3 {
			t.Error(ws)
		}
	})

	t.Run("POOL-17", func(t *testing.T) {
		p, h := newPool(t, 2), newHold(t)
		rs := make([]*pool.AsyncResult[int], 10_000)
		for i := range rs {
			rs[i] = pool.ApplyAsync(ctx, p, stubborn, h)
		}
		p.Terminate()
		proctest.Must(t, p.Join(ctx))
		for _, r := range rs {
			if _, err := r.Get(canceled()); err != pool.ErrTerminated {
				t.Fatal(err)
			}
		}
	})

	t.Run("POOL-18", func(t *testing.T) {
		p := newPool(t, 2)
		if rs, err := pool.Map(ctx, p, square, nil); rs == nil || len(rs) != 0 || err != nil {
			t.Error(rs, err)
		}
		for v, err := range pool.Imap(ctx, p, square, slices.Values([]int{})) {
			t.Error(v, err)
		}
		for v, err := range pool.ImapUnordered(ctx, p, square, slices.Values([]int{})) {
			t.Error(v, err)
		}
		if rs, err := pool.MapAsync(ctx, p, square, nil).Get(ctx); len(rs) != 0 || err != nil {
			t.Error(rs, err)
		}
	})

	// The end of the scope ends the pool: there a with statement, here defer.
	t.Run("POOL-19", func(t *testing.T) {
		var p *pool.Pool
		func() {
			p = newPool(t, 2)
			defer p.Terminate()
		}()
		if _, err := pool.Apply(ctx, p, square, 1); err != pool.ErrClosed {
			t.Error(err)
		}
		proctest.Must(t, p.Join(ctx))
	})

	// An error keeps its kind, and a panic brings its stack; an error of the input has none.
	t.Run("POOL-20", func(t *testing.T) {
		p := newPool(t, 1)
		_, err := pool.Apply(ctx, p, square, -3)
		if !errors.Is(err, errNegative) || !isRemote(err, "square of -3: negative") {
			t.Error(err)
		}
		_, err = pool.Apply(ctx, p, panics, "oh")
		var e *process.RemoteError
		if !errors.As(err, &e) || !e.Panic || e.Text != "oh" || e.Type != "string" || len(e.Stack) == 0 {
			t.Errorf("%#v", err)
		}
		if _, err = pool.Apply(ctx, p, panics, ""); !errors.Is(err, errNegative) {
			t.Error(err)
		}
	})

	// What has ended keeps neither arguments nor results.
	t.Run("POOL-23", func(t *testing.T) {
		p := newPool(t, 1)
		used := pool.Used(p)
		var arg, result weak.Pointer[Many]
		func() {
			m := &Many{Text: string(make([]byte, 1<<20))}
			arg = weak.Make(m)
			r := pool.ApplyAsync(ctx, p, echo, m)
			v, err := r.Get(ctx)
			proctest.Must(t, err)
			result = weak.Make(v)
		}()
		for arg.Value() != nil || result.Value() != nil {
			runtime.GC()
		}
		for range 20 {
			_, err := pool.Apply(ctx, p, echo, &Many{Text: string(make([]byte, 1<<20))})
			proctest.Must(t, err)
		}
		if now := pool.Used(p); now > used+10<<20 {
			t.Errorf("%d bytes of the segment are used, before %d", now, used)
		}
	})

	t.Run("POOL-24", func(t *testing.T) {
		p := newPool(t, 1)
		proctest.Must(t, p.Terminate())
		for v, err := range pool.Imap(ctx, p, square, slices.Values(count(3))) {
			if err != pool.ErrClosed {
				t.Error(v, err)
			}
		}
		if _, err := pool.Map(ctx, p, square, count(3)); err != pool.ErrClosed {
			t.Error(err)
		}
		if _, err := pool.MapAsync(ctx, p, square, count(3)).Get(ctx); err != pool.ErrClosed {
			t.Error(err)
		}
		if _, err := pool.ApplyAsync(ctx, p, square, 3).Get(ctx); err != pool.ErrClosed {
			t.Error(err)
		}
	})

	t.Run("POOL-26", func(t *testing.T) {
		p := newPool(t, 1)
		r := pool.ApplyAsync(ctx, p, square, -1)
		called := make(chan error)
		r.OnDone(func(_ int, err error) { called <- err })
		err := <-called
		if _, got := r.Get(ctx); got != err || !errors.Is(err, errNegative) {
			t.Error(got, err)
		}
	})

	// Results that cannot be encoded cost no worker.
	t.Run("POOL-27", func(t *testing.T) {
		p := newPool(t, 2)
		before := p.Stats()
		for i := range 20 {
			if _, err := pool.Apply(ctx, p, picky, Picky{resultFails + i%2}); !isRemote(err, "picky") {
				t.Error(err)
			}
		}
		after := p.Stats()
		if after.Replaced != 0 || after.Workers[0].Pid != before.Workers[0].Pid || after.Workers[1].Pid != before.Workers[1].Pid {
			t.Errorf("%+v", after)
		}
	})

	t.Run("POOL-28", func(t *testing.T) {
		p := newPool(t, 3, pool.Options{TasksPerWorker: 10})
		done := make(map[int]int)
		pids, err := pool.Map(ctx, p, pidOf, make([]process.None, 100))
		proctest.Must(t, err)
		for _, pid := range pids {
			done[pid]++
		}
		if len(done) < 10 {
			t.Errorf("%d workers did 100 tasks", len(done))
		}
		for pid, n := range done {
			if pid == 0 || n > 10 {
				t.Errorf("worker %d did %d tasks", pid, n)
			}
		}
		rs, err := pool.Map(ctx, p, square, count(100))
		if err != nil || !slices.Equal(rs, squares(100)) {
			t.Error(err)
		}
	})

	t.Run("POOL-30", func(t *testing.T) {
		if _, err := pool.New(ctx, 1, pool.Options{TasksPerWorker: -1}); !errors.Is(err, os.ErrInvalid) {
			t.Error(err)
		}
	})

	// The initializer runs once in each worker, before its tasks.
	t.Run("POOL-33", func(t *testing.T) {
		h := newHold(t)
		p := newPool(t, 3, pool.Options{Initializer: initialise.With(Init{Runs: h.Began, Add: 5})})
		h.begun(t, 3)
		rs, err := pool.Map(ctx, p, initialised, make([]process.None, 30))
		proctest.Must(t, err)
		for _, r := range rs {
			if r != 5 {
				t.Error(rs)
			}
		}
		if ok, _ := h.Began.TryAcquire(); ok {
			t.Error("it has run more often than there are workers")
		}
	})

	t.Run("POOL-34", func(t *testing.T) {
		n := 200
		if race.Enabled || testing.Short() {
			n = 20
		}
		p := newPool(t, n)
		rs, err := pool.Map(ctx, p, square, count(1000))
		if err != nil || !slices.Equal(rs, squares(1000)) || len(p.Stats().Workers) != n {
			t.Error(err)
		}
	})

	// A pool in a worker of a pool, hence in a child. Python's workers cannot have children.
	t.Run("POOL-35", func(t *testing.T) {
		p := newPool(t, 2)
		rs, err := pool.Map(ctx, p, nested, []int{1, 2})
		if err != nil || !slices.Equal(rs, []int{1 + 4 + 9, 4 + 9 + 16}) {
			t.Error(rs, err)
		}
	})

	// Imap takes no more than the window ahead, of an endless input too, and may be left early; then Close and
	// Join.
	t.Run("POOL-36", func(t *testing.T) {
		p := newPool(t, 2)
		for _, imap := range []func(window int, input func(func(int) bool)) func(func(int, error) bool){
			func(window int, input func(func(int) bool)) func(func(int, error) bool) {
				return pool.Imap(ctx, p, square, input, pool.MapOptions{Window: window})
			},
			func(window int, input func(func(int) bool)) func(func(int, error) bool) {
				return pool.ImapUnordered(ctx, p, square, input, pool.MapOptions{Window: window})
			},
		} {
			var taken atomic.Int64
			ended := make(chan struct{})
			n := 0
			for _, err := range imap(5, func(yield func(int) bool) {
				defer close(ended)
				for i := 0; yield(i); i++ {
					taken.Add(1)
				}
			}) {
				proctest.Must(t, err)
				if ahead := int(taken.Load()) + 1 - n; ahead > 5 {
					t.Errorf("%d items ahead", ahead)
				}
				if n++; n == 100 {
					break
				}
			}
			<-ended
		}
		func() {
			defer func() {
				if recover() == nil {
					t.Error("a window of -1 is accepted")
				}
			}()
			pool.Imap(ctx, p, square, slices.Values(count(3)), pool.MapOptions{Window: -1})
		}()
		p.Close()
		proctest.Must(t, p.Join(ctx))
	})

	// Futures.
	t.Run("EXE-01", func(t *testing.T) {
		p := newPool(t, 1)
		if n, err := pool.ApplyAsync(ctx, p, add, Pair{A: 1, B: 2}).Get(ctx); n != 3 || err != nil {
			t.Error(n, err)
		}
	})
	t.Run("EXE-02", func(t *testing.T) {
		p, h := newPool(t, 2), newHold(t)
		var got []error
		for _, err := range pool.Imap(ctx, p, square, slices.Values([]int{1, -1, 2})) {
			got = append(got, err)
		}
		if len(got) != 3 || got[0] != nil || !errors.Is(got[1], errNegative) || got[2] != nil {
			t.Error(got)
		}
		soon, cancel := context.WithCancel(ctx)
		defer cancel()
		first := true
		held := func(yield func(Hold) bool) {
			open := newHold(t)
			open.Open.Set()
			_ = yield(open) && yield(h)
		}
		for _, err := range pool.Imap(soon, p, hold, held) {
			if first {
				proctest.Must(t, err)
				cancel()
			} else if err != context.Canceled {
				t.Error(err)
			}
			first = false
		}
	})
	t.Run("EXE-03", func(t *testing.T) {
		if _, err := pool.New(ctx, -3); !errors.Is(err, os.ErrInvalid) {
			t.Error(err)
		}
	})

	// A killed worker is an error of its task alone; there it breaks the executor.
	t.Run("EXE-04", func(t *testing.T) {
		p := newPool(t, 2)
		_, err := pool.Apply(ctx, p, die, -int(syscall.SIGKILL))
		var died *pool.WorkerDiedError
		if !errors.As(err, &died) || died.Signal != syscall.SIGKILL || died.ExitCode != -9 || died.Task != "die" || died.Pid == 0 {
			t.Errorf("%#v", err)
		}
		_, err = pool.Apply(ctx, p, die, 3)
		if !errors.As(err, &died) || died.Signal != 0 || died.ExitCode != 3 {
			t.Errorf("%#v", err)
		}
		rs, err := pool.Map(ctx, p, square, count(100))
		if err != nil || !slices.Equal(rs, squares(100)) {
			t.Error(err)
		}
	})
	t.Run("EXE-05", func(t *testing.T) {
		p := newPool(t, 3)
		for _, chunk := range []int{6, 40, 50} {
			rs, err := pool.Map(ctx, p, square, count(40), pool.MapOptions{ChunkSize: chunk})
			if err != nil || !slices.Equal(rs, squares(40)) {
				t.Error(rs, err)
			}
		}
		defer func() {
			if recover() == nil {
				t.Error("a chunk of -1 is accepted")
			}
		}()
		pool.Map(ctx, p, square, count(40), pool.MapOptions{ChunkSize: -1})
	})
	t.Run("EXE-06", func(t *testing.T) {
		p := newPool(t, 1)
		_, err := pool.Map(ctx, p, square, []int{1, -7})
		var e *process.RemoteError
		if !errors.As(err, &e) || e.Text != "square of -7: negative" || !errors.Is(err, errNegative) {
			t.Error(err)
		}
	})

	// Fifteen tasks for each worker, and never more workers than asked for.
	t.Run("EXE-07", func(t *testing.T) {
		p, h := newPool(t, 3), newHold(t)
		var rs []*pool.AsyncResult[int]
		for range 45 {
			rs = append(rs, pool.ApplyAsync(ctx, p, hold, h))
		}
		h.begun(t, 3)
		if ok, _ := h.Began.TryAcquire(); ok {
			t.Error("more than three run")
		}
		if s := p.Stats(); len(s.Workers) != 3 || s.Running != 3 || s.Queued != 42 || s.Workers[0].Task != "hold" {
			t.Errorf("%+v", s)
		}
		h.Open.Set()
		for _, r := range rs {
			_, err := r.Get(ctx)
			proctest.Must(t, err)
		}
		if s := p.Stats(); len(s.Workers) != 3 || s.Done != 45 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("EXE-08", func(t *testing.T) {
		p := newPool(t, 1, pool.Options{TasksPerWorker: 3})
		var pids []int
		for range 7 {
			pid, err := pool.Apply(ctx, p, pidOf, process.None{})
			proctest.Must(t, err)
			pids = append(pids, pid)
		}
		if pids[0] != pids[2] || pids[2] == pids[3] || pids[3] != pids[5] || pids[5] == pids[6] {
			t.Error(pids)
		}
		p.Close()
		proctest.Must(t, p.Join(ctx))
	})
	t.Run("EXE-09", func(t *testing.T) {
		p, h := newPool(t, 1), newHold(t)
		r := pool.ApplyAsync(ctx, p, hold, Hold{nil, h.Open, 1})
		p.Close()
		p.Close()
		if _, err := pool.Apply(ctx, p, square, 1); err != pool.ErrClosed {
			t.Error(err)
		}
		if err := p.Join(canceled()); err != context.Canceled {
			t.Error(err)
		}
		h.Open.Set()
		proctest.Must(t, p.Join(ctx))
		if n, err := r.Get(canceled()); n != 1 || err != nil {
			t.Error(n, err)
		}
	})

	// Cancelling what has not begun, while what has goes on to its end.
	t.Run("EXE-10", func(t *testing.T) {
		p, h := newPool(t, 1), newHold(t)
		running := pool.ApplyAsync(ctx, p, hold, Hold{h.Began, h.Open, 1})
		h.begun(t, 1)
		rest, cancel := context.WithCancel(ctx)
		var rs []*pool.AsyncResult[int]
		for range 10 {
			rs = append(rs, pool.ApplyAsync(rest, p, hold, h))
		}
		cancel()
		p.Close()
		for _, r := range rs {
			if _, err := r.Get(ctx); err != context.Canceled {
				t.Error(err)
			}
		}
		h.Open.Set()
		if n, err := running.Get(ctx); n != 1 || err != nil {
			t.Error(n, err)
		}
		proctest.Must(t, p.Join(ctx))
		if ok, _ := h.Began.TryAcquire(); ok {
			t.Error("a cancelled one has begun")
		}
	})
	t.Run("EXE-11", func(t *testing.T) {
		p := newPool(t, 2)
		var rs []*pool.AsyncResult[int]
		for i := range 1000 {
			rs = append(rs, pool.ApplyAsync(ctx, p, square, i))
		}
		p.Close()
		proctest.Must(t, p.Join(ctx))
		for i, r := range rs {
			if n, err := r.Get(canceled()); n != i*i || err != nil {
				t.Fatal(i, n, err)
			}
		}
	})

	t.Run("DLK-01", func(t *testing.T) {
		p := newPool(t, 1)
		if _, err := pool.ApplyAsync(ctx, p, picky, Picky{refuses}).Get(ctx); !errors.Is(err, errNegative) {
			t.Error(err)
		}
		if r, err := pool.Apply(ctx, p, picky, Picky{1}); r.N != 10 || err != nil {
			t.Error(r, err)
		}
	})

	// A worker that fails, or ends, while it decodes its task, or encodes its result.
	t.Run("DLK-02", func(t *testing.T) {
		p := newPool(t, 1)
		for _, n := range []int{undecodable, burstsLater} {
			if _, err := pool.Apply(ctx, p, picky, Picky{n}); !isRemote(err, "picky") {
				t.Error(n, err)
			}
		}
		var died *pool.WorkerDiedError
		if _, err := pool.Apply(ctx, p, picky, Picky{exitsLater}); !errors.As(err, &died) || died.ExitCode != 4 {
			t.Error(err)
		}
		if r, err := pool.Apply(ctx, p, picky, Picky{1}); r.N != 10 || err != nil {
			t.Error(r, err)
		}
	})
	t.Run("DLK-04", func(t *testing.T) {
		p := newPool(t, 1)
		for _, n := range []int{resultFails, resultBursts} {
			if _, err := pool.Apply(ctx, p, picky, Picky{n}); !isRemote(err, "picky") {
				t.Error(n, err)
			}
		}
		var died *pool.WorkerDiedError
		if _, err := pool.Apply(ctx, p, picky, Picky{resultExits}); !errors.As(err, &died) || died.ExitCode != 3 {
			t.Error(err)
		}
		if r, err := pool.Apply(ctx, p, picky, Picky{1}); r.N != 10 || err != nil {
			t.Error(r, err)
		}
	})
	t.Run("DLK-05", func(t *testing.T) {
		p := newPool(t, 1)
		for _, n := range []int{returnFails, returnBursts} {
			if r, err := pool.Apply(ctx, p, picky, Picky{n}); r.N != 0 || err == nil {
				t.Error(r, err)
			}
		}
		if r, err := pool.Apply(ctx, p, picky, Picky{1}); r.N != 10 || err != nil {
			t.Error(r, err)
		}
	})
	t.Run("DLK-06", func(t *testing.T) {
		for range 5 {
			p := newPool(t, 2)
			var rs []*pool.AsyncResult[int]
			for i := range 20 {
				rs = append(rs, pool.ApplyAsync(ctx, p, die, i%3*7))
			}
			bad := pool.ApplyAsync(ctx, p, picky, Picky{refuses})
			p.Close()
			proctest.Must(t, p.Join(ctx))
			for i, r := range rs {
				if _, err := r.Get(canceled()); (err != nil) != (i%3 != 0) {
					t.Error(i, err)
				}
			}
			if _, err := bad.Get(canceled()); !errors.Is(err, errNegative) {
				t.Error(err)
			}
		}
	})

	// To wait for the first, for the first failure, for all is a select here.
	t.Run("FUT-01", func(t *testing.T) {
		p, h := newPool(t, 2), newHold(t)
		slow, fast := pool.ApplyAsync(ctx, p, hold, h), pool.ApplyAsync(ctx, p, square, 2)
		select {
		case <-slow.Done():
			t.Error("the slow one is first")
		case <-fast.Done():
		}
		soon, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if err := slow.Wait(soon); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if err := fast.Wait(canceled()); err != nil {
			t.Error(err)
		}
		h.Open.Set()
		proctest.Must(t, slow.Wait(ctx))
	})
	t.Run("FUT-02", func(t *testing.T) {
		p, h := newPool(t, 2), newHold(t)
		rs := []*pool.AsyncResult[int]{
			pool.ApplyAsync(ctx, p, hold, h), pool.ApplyAsync(ctx, p, square, 2), pool.ApplyAsync(ctx, p, square, 3),
		}
		ended := make(chan int, len(rs))
		for i, r := range rs {
			r.OnDone(func(int, error) { ended <- i })
		}
		if i := <-ended; i == 0 {
			t.Error("the one that waits is first")
		}
		if i := <-ended; i == 0 {
			t.Error("the one that waits is second")
		}
		h.Open.Set()
		if i := <-ended; i != 0 {
			t.Error(i)
		}
	})

	// Callbacks run for results, errors, cancellations, and when it is over already; one that panics is reported.
	t.Run("FUT-03", func(t *testing.T) {
		p, h := newPool(t, 1), newHold(t)
		waits := pool.ApplyAsync(ctx, p, hold, h)
		h.begun(t, 1)
		behind := pool.ApplyAsync(ctx, p, hold, h)
		called := make(chan error, 10)
		behind.OnDone(func(_ int, err error) { called <- err })
		behind.Cancel()
		if err := <-called; err != context.Canceled {
			t.Error(err)
		}
		behind.OnDone(func(_ int, err error) { called <- err })
		if err := <-called; err != context.Canceled {
			t.Error(err)
		}
		captured(t, func() {
			waits.OnDone(func(int, error) { panic("a bad callback") })
			waits.OnDone(func(_ int, err error) { called <- err })
			h.Open.Set()
			if err := <-called; err != nil {
				t.Error(err)
			}
			if _, err := pool.Apply(ctx, p, square, -1); !errors.Is(err, errNegative) {
				t.Error(err)
			}
		}, "a bad callback")
	})

	// What has not begun can be cancelled; what has begun gets its context's end.
	t.Run("FUT-04", func(t *testing.T) {
		p, h := newPool(t, 1), newHold(t)
		w := newWatch(t)
		running := pool.ApplyAsync(ctx, p, watch, w)
		proctest.Must(t, w.Began.Acquire(ctx))
		pending := pool.ApplyAsync(ctx, p, hold, h)
		pending.Cancel()
		if _, err := pending.Get(ctx); err != context.Canceled {
			t.Error(err)
		}
		if ok, err := running.Successful(); ok || err != pool.ErrNotReady {
			t.Error(ok, err)
		}
		running.Cancel()
		if _, err := running.Get(ctx); err != context.Canceled {
			t.Error(err)
		}
		proctest.Must(t, w.Ended.Wait(ctx))
		if how := w.How.Load(); how != 1 {
			t.Error(how)
		}
		done := pool.ApplyAsync(ctx, p, square, 3)
		proctest.Must(t, done.Wait(ctx))
		done.Cancel()
		if n, err := done.Get(ctx); n != 9 || err != nil {
			t.Error(n, err)
		}
		if ok, _ := h.Began.TryAcquire(); ok {
			t.Error("the cancelled one has begun")
		}
	})

	t.Run("SEED-06", func(t *testing.T) {
		h := newHold(t)
		p := newPool(t, 0, pool.Options{Initializer: initialise.With(Init{Runs: h.Began, Add: 3})})
		if n := len(p.Stats().Workers); n != runtime.NumCPU() {
			t.Error(n)
		}
		h.begun(t, runtime.NumCPU())
		if n, err := pool.Apply(ctx, p, initialised, process.None{}); n != 3 || err != nil {
			t.Error(n, err)
		}
	})

	// Applies of one goroutine follow each other; four ApplyAsync run at once.
	t.Run("SEED-07", func(t *testing.T) {
		p, h := newPool(t, 4), newHold(t)
		for i := range 4 {
			if n, err := pool.Apply(ctx, p, square, i); n != i*i || err != nil {
				t.Error(n, err)
			}
			if s := p.Stats(); s.Running != 0 || s.Done != i+1 {
				t.Errorf("%+v", s)
			}
		}
		var rs []*pool.AsyncResult[int]
		for range 4 {
			rs = append(rs, pool.ApplyAsync(ctx, p, hold, h))
		}
		h.begun(t, 4)
		h.Open.Set()
		for _, r := range rs {
			proctest.Must(t, r.Wait(ctx))
		}
	})

	// A callback that blocks delays nobody, and Terminate can be called in one.
	t.Run("SEED-08", func(t *testing.T) {
		p := newPool(t, 2)
		block := make(chan struct{})
		defer close(block)
		pool.ApplyAsync(ctx, p, square, 1).OnDone(func(int, error) { <-block })
		for i := range 100 {
			if n, err := pool.Apply(ctx, p, square, i); n != i*i || err != nil {
				t.Error(n, err)
			}
		}
		ended := make(chan struct{})
		pool.ApplyAsync(ctx, p, square, 1).OnDone(func(int, error) {
			p.Terminate()
			close(ended)
		})
		<-ended
	})

	// The order of results does not depend on who is first.
	t.Run("SEED-09", func(t *testing.T) {
		p, first, second := newPool(t, 2), newHold(t), newHold(t)
		r := pool.MapAsync(ctx, p, hold, []Hold{{first.Began, first.Open, 1}, {second.Began, second.Open, 2}})
		first.begun(t, 1)
		second.Open.Set()
		second.begun(t, 1)
		first.Open.Set()
		if rs, err := r.Get(ctx); !slices.Equal(rs, []int{1, 2}) || err != nil {
			t.Error(rs, err)
		}
	})

	// Imap yields before the last item has begun; ImapUnordered prefers the fast.
	t.Run("SEED-10", func(t *testing.T) {
		p, h := newPool(t, 2), newHold(t)
		open := newHold(t)
		open.Open.Set()
		var later atomic.Bool
		for range pool.Imap(ctx, p, hold, func(yield func(Hold) bool) {
			for i := 0; i < 3 && yield(open); i++ {
			}
			<-t.Context().Done()
			later.Store(true)
		}) {
			if later.Load() {
				t.Error("the input has ended")
			}
			break
		}
		slow := true
		for n, err := range pool.ImapUnordered(ctx, p, hold, slices.Values([]Hold{{h.Began, h.Open, 1}, {open.Began, open.Open, 2}})) {
			proctest.Must(t, err)
			if slow && n != 2 {
				t.Error("the slow one is first")
			}
			slow = false
			h.Open.Set()
		}
	})

	t.Run("SEED-11", func(t *testing.T) {
		p, h := newPool(t, 1), newHold(t)
		if err := p.Join(ctx); err != pool.ErrRunning {
			t.Error(err)
		}
		rs := []*pool.AsyncResult[int]{pool.ApplyAsync(ctx, p, hold, h), pool.ApplyAsync(ctx, p, square, 4)}
		p.Close()
		if _, err := pool.Apply(ctx, p, square, 1); err != pool.ErrClosed {
			t.Error(err)
		}
		h.Open.Set()
		if n, err := rs[1].Get(ctx); n != 16 || err != nil {
			t.Error(n, err)
		}
		proctest.Must(t, p.Join(ctx))
		proctest.Must(t, p.Join(ctx))
		proctest.Must(t, p.Terminate())

		p, h = newPool(t, 1), newHold(t)
		rs = nil
		for range 10 {
			rs = append(rs, pool.ApplyAsync(ctx, p, stubborn, h))
		}
		m := pool.MapAsync(ctx, p, stubborn, []Hold{h, h})
		h.begun(t, 1)
		proctest.Must(t, p.Terminate())
		for _, r := range rs {
			if _, err := r.Get(canceled()); err != pool.ErrTerminated {
				t.Error(err)
			}
		}
		if _, err := m.Get(ctx); !errors.Is(err, pool.ErrTerminated) {
			t.Error(err)
		}
	})

	t.Run("SEED-12", func(t *testing.T) {
		p, h := newPool(t, 1), newHold(t)
		r := pool.ApplyAsync(ctx, p, hold, Hold{h.Began, h.Open, 5})
		if ok, err := r.Successful(); ok || err != pool.ErrNotReady || r.Ready() {
			t.Error(ok, err)
		}
		soon, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if err := r.Wait(soon); err != context.DeadlineExceeded {
			t.Error(err)
		}
		if _, err := r.Get(soon); err != context.DeadlineExceeded {
			t.Error(err)
		}
		h.Open.Set()
		for range 2 {
			if n, err := r.Get(ctx); n != 5 || err != nil {
				t.Error(n, err)
			}
		}
		if ok, err := r.Successful(); !ok || err != nil || !r.Ready() {
			t.Error(ok, err)
		}
		bad := pool.ApplyAsync(ctx, p, square, -1)
		bad.Wait(ctx)
		if ok, err := bad.Successful(); ok || err != nil {
			t.Error(ok, err)
		}
	})

	// A pool that is forgotten ends its workers, once nobody waits for a result of its.
	t.Run("SEED-13", func(t *testing.T) {
		children := len(process.Children())
		func() {
			p, err := pool.New(context.Background(), 2)
			proctest.Must(t, err)
			if n, err := pool.Apply(ctx, p, square, 3); n != 9 || err != nil {
				t.Error(n, err)
			}
		}()
		for len(process.Children()) > children {
			runtime.GC()
			runtime.Gosched()
		}
		h := newHold(t)
		r := func() *pool.AsyncResult[int] {
			p, err := pool.New(context.Background(), 1)
			proctest.Must(t, err)
			return pool.ApplyAsync(ctx, p, hold, h)
		}()
		h.begun(t, 1)
		runtime.GC()
		runtime.GC()
		h.Open.Set()
		if _, err := r.Get(ctx); err != nil {
			t.Error(err)
		}
		r = nil
		for len(process.Children()) > children {
			runtime.GC()
			runtime.Gosched()
		}
	})
}
