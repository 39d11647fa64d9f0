package pool_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/process"
)

// What hangs, or hurts, users of Python's Pool.

// TestIdleWorkersKilled: nothing that a waiting worker holds is missed by the others.
func TestIdleWorkersKilled(t *testing.T) {
	p := newPool(t, 3)
	for range 5 {
		for _, w := range p.Stats().Workers {
			syscall.Kill(w.Pid, syscall.SIGKILL)
		}
		rs, err := pool.Map(t.Context(), p, square, count(100))
		var failed *pool.MapError
		if errors.As(err, &failed) { // those that were dealt before the death was known, and begun
			err = nil
			for _, f := range failed.Failed {
				if rs[f.Index] = f.Index * f.Index; !isDeath(f.Err) {
					t.Error(f.Err)
				}
			}
		}
		if err != nil || !slices.Equal(rs, squares(100)) {
			t.Error(err)
		}
	}
}

func isDeath(err error) bool {
	var died *pool.WorkerDiedError
	return errors.As(err, &died)
}

// TestBadEnds: a task that ends its goroutine, panics or exits is an error, and costs at most its worker.
func TestBadEnds(t *testing.T) {
	p := newPool(t, 1)
	pid := p.Stats().Workers[0].Pid
	if _, err := pool.Apply(t.Context(), p, goexit, 1); !isRemote(err, "Goexit") {
		t.Error(err)
	}
	if _, err := pool.Apply(t.Context(), p, panics, strings.Repeat("long", 1000)); !isRemote(err, "longlong") {
		t.Error(err)
	}
	if now, err := pool.Apply(t.Context(), p, die, 0); now != pid || err != nil {
		t.Errorf("pid %d, %v; it was %d", now, err, pid)
	}
	if _, err := pool.Apply(t.Context(), p, die, 5); !isDeath(err) {
		t.Error(err)
	}
	if now, err := pool.Apply(t.Context(), p, die, 0); now == pid || err != nil {
		t.Errorf("pid %d, %v; it was %d", now, err, pid)
	}
	if s := p.Stats(); s.Replaced != 1 || s.Failed != 3 || s.Done != 2 {
		t.Errorf("%+v", s)
	}
}

// TestInitializerFails: New says why.
func TestInitializerFails(t *testing.T) {
	h := newHold(t)
	_, err := pool.New(t.Context(), 2, pool.Options{Initializer: initialise.With(Init{Runs: h.Began, Fail: true})})
	var exit *process.ExitError
	if !errors.Is(err, errNegative) || !errors.As(err, &exit) || exit.Code != 1 {
		t.Errorf("%v", err)
	}
}

// TestInitializerFailsLater: when no worker can be started any more, the pool ends, and says why.
func TestInitializerFailsLater(t *testing.T) {
	seg := newSegment(t)
	runs, err := locks.NewSemaphore(seg, "", 1)
	proctest.Must(t, err)
	p := newPool(t, 1, pool.Options{Initializer: permitted.With(runs)})
	r := pool.ApplyAsync(t.Context(), p, die, -9)
	if _, err := r.Get(t.Context()); !isDeath(err) {
		t.Error(err)
	}
	if _, err = pool.Apply(t.Context(), p, square, 1); !errors.Is(err, errNegative) && err != pool.ErrClosed {
		t.Error(err)
	}
	proctest.Must(t, p.Close())
	proctest.Must(t, p.Join(t.Context()))
}

// permitted is an initializer that fails if there are no permits.
var permitted = process.Register("pool test: permitted", func(ctx context.Context, s *locks.Semaphore) error {
	if ok, _ := s.TryAcquire(); !ok {
		return errNegative
	}
	return nil
})

// TestTerminateInTheMiddle: whatever goes on, Terminate returns, and everything completes.
func TestTerminateInTheMiddle(t *testing.T) {
	for i := range 10 {
		p := newPool(t, 2, pool.Options{TasksPerWorker: 50 * (i % 2)})
		var all sync.WaitGroup
		text := strings.Repeat("x", 100_000)
		all.Go(func() { pool.Map(t.Context(), p, square, count(100_000)) })
		all.Go(func() { pool.Map(t.Context(), p, repeat, slices.Repeat([]string{text}, 1000)) })
		all.Go(func() {
			for range pool.Imap(t.Context(), p, square, slices.Values(count(100_000))) {
			}
		})
		all.Go(func() {
			for {
				if _, err := pool.Apply(t.Context(), p, square, 3); err != nil {
					return
				}
			}
		})
		all.Go(func() {
			pool.ApplyAsync(t.Context(), p, repeat, text).OnDone(func(s string, err error) { p.Terminate() })
		})
		if i%3 == 0 {
			p.Terminate()
		}
		all.Wait()
		proctest.Must(t, p.Join(t.Context()))
	}
}

// TestBlockedDecoder: a result whose decoding does not end delays no other, and not Terminate.
func TestBlockedDecoder(t *testing.T) {
	p := newPool(t, 1)
	r := pool.ApplyAsync(t.Context(), p, picky, Picky{returnBlocks})
	for i := range 100 {
		if n, err := pool.Apply(t.Context(), p, square, i); n != i*i || err != nil {
			t.Error(n, err)
		}
	}
	p.Close()
	proctest.Must(t, p.Terminate())
	if r.Ready() {
		t.Error("ready")
	}
	close(decodable)
	if v, err := r.Get(t.Context()); v.N != returnBlocks*10 || err != nil {
		t.Error(v, err)
	}
}

// TestManyNotes: a task hears of its end, however many others there are to hear of at once.
func TestManyNotes(t *testing.T) {
	p := newPool(t, 1)
	first := newWatch(t)
	pool.ApplyAsync(t.Context(), p, watch, first)
	proctest.Must(t, first.Began.Acquire(t.Context()))
	_, err := pool.Apply(canceled(), p, square, 1)
	if err != context.Canceled {
		t.Error(err)
	}
	pool.Notes(p, 100)
	r := pool.ApplyAsync(t.Context(), p, square, 3)
	pool.CancelAll(p)
	proctest.Must(t, first.Ended.Wait(t.Context()))
	if _, err := r.Get(t.Context()); err != context.Canceled {
		t.Error(err)
	}
}

// TestFarDeadline: a deadline beyond all clocks is none.
func TestFarDeadline(t *testing.T) {
	p := newPool(t, 1)
	ctx, cancel := context.WithDeadline(t.Context(), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC))
	defer cancel()
	if n, err := pool.Apply(ctx, p, square, 3); n != 9 || err != nil {
		t.Error(n, err)
	}
}

// TestInterrupted: a Ctrl-C reaches the workers too, and is none of their business.
func TestInterrupted(t *testing.T) {
	p, h := newPool(t, 1), newHold(t)
	r := pool.ApplyAsync(t.Context(), p, hold, h)
	h.begun(t, 1)
	pid := p.Stats().Workers[0].Pid
	syscall.Kill(pid, syscall.SIGINT)
	if now, err := pool.Apply(canceled(), p, die, 0); err != context.Canceled {
		t.Error(now, err)
	}
	h.Open.Set()
	if _, err := r.Get(t.Context()); err != nil {
		t.Error(err)
	}
	if now, err := pool.Apply(t.Context(), p, die, 0); now != pid || err != nil {
		t.Error(now, err)
	}
}

// parentOf makes a pool, says its workers' pids, keeps them busy, and waits to be killed.
var parentOf = proctest.NewRole("parent of a pool", func(ctx context.Context, c *proctest.Child, h Hold) error {
	p, err := pool.New(ctx, 3)
	if err != nil {
		return err
	}
	r := pool.ApplyAsync(ctx, p, stubborn, h)
	if err := h.Began.Acquire(ctx); err != nil {
		return err
	}
	for _, w := range p.Stats().Workers {
		c.Say("%d", w.Pid)
	}
	c.Hear()
	_, err = r.Get(ctx)
	return err
})

// TestParentKilled: its workers end, whatever they do, also one that is stopped and then goes on.
func TestParentKilled(t *testing.T) {
	h := newHold(t)
	c := parentOf.Start(t, h)
	var pids []int
	for range 3 {
		var pid int
		fmt.Sscan(c.Line(), &pid)
		pids = append(pids, pid)
	}
	syscall.Kill(pids[2], syscall.SIGSTOP)
	c.Kill()
	for _, pid := range pids {
		if err := sys.AwaitExit(pid); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
}

// forgets makes a pool and returns without an end of it.
var forgets = proctest.NewRole("forgets a pool", func(ctx context.Context, c *proctest.Child, h Hold) error {
	p, err := pool.New(context.Background(), 2)
	if err != nil {
		return err
	}
	pool.ApplyAsync(ctx, p, stubborn, h)
	return h.Began.Acquire(ctx)
})

// TestForgotten: a program that does not end its pool ends nevertheless.
func TestForgotten(t *testing.T) {
	c := forgets.Start(t, newHold(t))
	if code := c.ExitCode(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestBehindALongTask: what waits behind a long task is done by who is idle, though it was dealt.
func TestBehindALongTask(t *testing.T) {
	p, h, open := newPool(t, 2), newHold(t), newHold(t)
	open.Open.Set()
	for range 3 { // so that many are dealt ahead
		_, err := pool.Map(t.Context(), p, hold, slices.Repeat([]Hold{{nil, open.Open, 1}}, 500))
		proctest.Must(t, err)
	}
	hs := slices.Repeat([]Hold{{nil, open.Open, 1}}, 500)
	hs[0].Open = h.Open
	n := 0
	for v, err := range pool.ImapUnordered(t.Context(), p, hold, slices.Values(hs), pool.MapOptions{Window: 500, ChunkSize: 250}) {
		proctest.Must(t, err)
		if n += v; n == 499 {
			h.Open.Set()
		}
	}
	if n != 500 {
		t.Error(n)
	}
}

// TestStoppedWorker: it keeps the task that it has begun, and nothing else.
func TestStoppedWorker(t *testing.T) {
	p, h := newPool(t, 2), newHold(t)
	r := pool.ApplyAsync(t.Context(), p, hold, h)
	h.begun(t, 1)
	ws := p.Stats().Workers
	i := slices.IndexFunc(ws, func(w pool.Worker) bool { return w.Task != "" })
	proctest.Must(t, sys.StopProcess(ws[i].Pid))
	for range 3 {
		rs, err := pool.Map(t.Context(), p, square, count(1000))
		if err != nil || !slices.Equal(rs, squares(1000)) {
			t.Error(err)
		}
	}
	proctest.Must(t, sys.ContinueProcess(ws[i].Pid))
	h.Open.Set()
	if _, err := r.Get(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestContexts: how the context of a call ends is seen by its tasks, also by one that computes and only looks.
func TestContexts(t *testing.T) {
	p := newPool(t, 1, pool.Options{Process: process.Options{Env: []string{"GOMAXPROCS=1"}}})
	long := errors.New(strings.Repeat("a long reason ", 100))
	for _, c := range []struct {
		name string
		ctx  func(time.Duration) (context.Context, context.CancelFunc)
		how  int
		err  error
	}{
		{"canceled", func(d time.Duration) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(t.Context())
			return ctx, cancel
		}, 1, context.Canceled},
		{"cause", func(d time.Duration) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(t.Context())
			return ctx, func() { cancel(errNegative) }
		}, 3, context.Canceled},
		{"long cause", func(d time.Duration) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancelCause(t.Context())
			return ctx, func() { cancel(fmt.Errorf("%w, for %w", errNegative, long)) }
		}, 3, context.Canceled},
		{"deadline", func(d time.Duration) (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), d)
		}, 2, context.DeadlineExceeded},
		{"deadline with cause", func(d time.Duration) (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(t.Context(), d, errNegative)
		}, 4, context.DeadlineExceeded},
	} {
		for _, task := range []pool.Func[Watch, int]{watch, poll} {
			t.Run(c.name, func(t *testing.T) {
				w := newWatch(t)
				var at time.Time
				var timed bool
				for d, begun := 50*time.Millisecond, false; !begun; d *= 2 {
					ctx, end := c.ctx(d)
					t.Cleanup(end)
					if at, timed = ctx.Deadline(); !timed {
						go func() {
							w.Began.Acquire(t.Context())
							end()
						}()
					}
					var err error
					if task == watch {
						_, err = pool.Apply(ctx, p, task, w)
					} else {
						_, err = pool.Map(ctx, p, task, []Watch{w})
					}
					if !errors.Is(err, c.err) {
						t.Fatal(err)
					}
					begun = !timed // else it may be over before it has begun
					if timed {
						begun, _ = w.Began.TryAcquire()
					}
				}
				proctest.Must(t, w.Ended.Wait(t.Context()))
				// A deadline does not wait long for its cause, which may come too late, above all where a task
				// keeps the only processor.
				if how := w.How.Load(); how != c.how && !(c.how == 4 && how == 2) {
					t.Errorf("it ended as %d, want %d", how, c.how)
				}
				if seen := w.Deadline.Load(); timed != (seen != 0) || timed && seen/int64(time.Second) > at.Unix()+1 {
					t.Errorf("deadline %d, want %v", seen, at)
				}
			})
		}
	}
}

// poll is watch, but computes until its context has ended.
var poll = pool.Register("poll", func(ctx context.Context, w Watch) (int, error) {
	w.Began.Release()
	at, ok := ctx.Deadline()
	if ok {
		w.Deadline.Store(at.UnixNano())
	}
	for ctx.Err() == nil {
	}
	how := 0
	switch caused := errors.Is(context.Cause(ctx), errNegative); {
	case ctx.Err() == context.Canceled && caused:
		how = 3
	case ctx.Err() == context.Canceled:
		how = 1
	case caused:
		how = 4
	default:
		how = 2
	}
	w.How.Store(how)
	w.Ended.Set()
	return 0, ctx.Err()
})

// TestNewsContext: its end is the pool's.
func TestNewsContext(t *testing.T) {
	proctest.Watch(t)
	if _, err := pool.New(canceled(), 1); err != context.Canceled && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	p, err := pool.New(ctx, 1)
	proctest.Must(t, err)
	h := newHold(t)
	r := pool.ApplyAsync(t.Context(), p, stubborn, h)
	h.begun(t, 1)
	cancel()
	if _, err := r.Get(t.Context()); err != pool.ErrTerminated {
		t.Error(err)
	}
	proctest.Must(t, p.Terminate())
}

// TestRecycle: workers are replaced by their tasks and by their memory, and the next one is there before.
func TestRecycle(t *testing.T) {
	for _, o := range []pool.Options{{TasksPerWorker: 7}, {TasksPerWorker: 1}, {WorkerMemory: 64 << 20}} {
		t.Run(fmt.Sprintf("tasks=%d memory=%d", o.TasksPerWorker, o.WorkerMemory), func(t *testing.T) {
			p := newPool(t, 2, o)
			pids := make(map[int]int)
			for v, err := range pool.ImapUnordered(t.Context(), p, grow, slices.Values(slices.Repeat([]int{4 << 20}, 60))) {
				proctest.Must(t, err)
				pids[v]++
			}
			if len(pids) < 4 {
				t.Errorf("%v", pids)
			}
			for pid, n := range pids {
				if o.TasksPerWorker > 0 && n > o.TasksPerWorker {
					t.Errorf("worker %d did %d tasks", pid, n)
				}
			}
			if s := p.Stats(); s.Failed != 0 || s.Replaced < len(pids)-2 {
				t.Errorf("%+v", s)
			}
			p.Close()
			proctest.Must(t, p.Join(t.Context()))
		})
	}
}

// TestLarge: arguments and results that do not fit into a slot, and a segment that holds few of them.
func TestLarge(t *testing.T) {
	p := newPool(t, 2, pool.Options{Memory: 16 << 20})
	xs := make([][]float64, 40)
	for i := range xs {
		xs[i] = make([]float64, 1<<17) // 1 MiB
		xs[i][i] = float64(i)
	}
	rs, err := pool.Map(t.Context(), p, halve, xs)
	proctest.Must(t, err)
	for i, r := range rs {
		if len(r) != 1<<17 || r[i] != float64(i)/2 {
			t.Errorf("result %d", i)
		}
	}
	i := 0
	for r, err := range pool.Imap(t.Context(), p, halve, slices.Values(xs)) {
		if err != nil || r[i] != float64(i)/2 {
			t.Error(err)
		}
		i++
	}
	var many []*pool.AsyncResult[[]float64]
	for range 40 {
		many = append(many, pool.ApplyAsync(t.Context(), p, halve, xs[3]))
	}
	for _, r := range many {
		if v, err := r.Get(t.Context()); err != nil || v[3] != 1.5 {
			t.Error(err)
		}
	}
	if _, err := pool.Apply(t.Context(), p, halve, make([]float64, 1<<22)); !errors.Is(err, errNoSpace) {
		t.Error(err)
	}
	if _, err := pool.Map(t.Context(), p, halve, [][]float64{make([]float64, 1<<22)}); !errors.Is(err, errNoSpace) {
		t.Error(err)
	}
}

var halve = pool.Register("halve", func(ctx context.Context, xs []float64) ([]float64, error) {
	for i := range xs {
		xs[i] /= 2
	}
	return xs, nil
})

// TestUnregistered: the zero Func, and names that cannot be.
func TestUnregistered(t *testing.T) {
	p := newPool(t, 1)
	var f pool.Func[int, int]
	if _, err := pool.Apply(t.Context(), p, f, 1); err == nil {
		t.Error("Apply")
	}
	if _, err := pool.Map(t.Context(), p, f, []int{1}); err == nil {
		t.Error("Map")
	}
	if _, err := pool.ApplyAsync(t.Context(), p, f, 1).Get(t.Context()); err == nil {
		t.Error("ApplyAsync")
	}
	for _, err := range pool.Imap(t.Context(), p, f, slices.Values([]int{1})) {
		if err == nil {
			t.Error("Imap")
		}
	}
	for name, register := range map[string]func(){
		"taken or late": func() { pool.Register("square", func(context.Context, int) (int, error) { return 0, nil }) },
		"no name":       func() { pool.Register("", func(context.Context, int) (int, error) { return 0, nil }) },
		"no function":   func() { pool.Register[int, int]("none", nil) },
		"channel":       func() { pool.Register("chan", func(context.Context, chan int) (int, error) { return 0, nil }) },
		"result":        func() { pool.Register("func", func(context.Context, int) (func(), error) { return nil, nil }) },
	} {
		func() {
			defer func() {
				if v := recover(); v == nil {
					t.Errorf("%s: no panic", name)
				} else if _, ok := v.(error); !ok {
					t.Errorf("%s: %v", name, v)
				}
			}()
			register()
		}()
	}
}

// TestMapError tells which items failed, and not too much.
func TestMapError(t *testing.T) {
	p := newPool(t, 2)
	xs := count(20)
	for i := 5; i < 10; i++ {
		xs[i] = -1
	}
	rs, err := pool.Map(t.Context(), p, square, xs)
	var e *pool.MapError
	if !errors.As(err, &e) || e.Len != 20 || len(e.Failed) != 5 || e.Failed[0].Index != 5 || e.Failed[4].Index != 9 {
		t.Fatalf("%+v", err)
	}
	if text := e.Error(); !strings.HasPrefix(text, "pool: 5 of 20 items failed; item 5: square of -1") || !strings.HasSuffix(text, "; and 2 more") {
		t.Error(text)
	}
	if rs[4] != 16 || rs[5] != 0 || rs[10] != 100 {
		t.Error(rs)
	}
}

// TestImapInputWaits: an input that yields no more, and does not end, holds up no loop whose context ends, or whose pool.
func TestImapInputWaits(t *testing.T) {
	type imap = func(context.Context, *pool.Pool, pool.Func[int, int], iter.Seq[int], ...pool.MapOptions) iter.Seq2[int, error]
	p := newPool(t, 1)
	for name, f := range map[string]imap{"Imap": pool.Imap[int, int], "ImapUnordered": pool.ImapUnordered[int, int]} {
		for _, end := range []string{"cancel", "terminate"} {
			t.Run(name+" "+end, func(t *testing.T) {
				p, want := p, context.Canceled
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				if end == "terminate" {
					p, want = newPool(t, 1), pool.ErrTerminated
					stop = func() { p.Terminate() }
				}
				more, over := make(chan struct{}), make(chan struct{})
				input := func(yield func(int) bool) {
					defer close(over)
					for i := range 3 {
						if !yield(i) {
							return
						}
					}
					<-more
					for yield(3) {
					}
				}
				sum, n, last := 0, 0, error(nil)
				for v, err := range f(ctx, p, square, input) {
					sum, last = sum+v, err
					if n++; n == 3 {
						go stop()
					}
				}
				if sum != 5 || n != 4 || !errors.Is(last, want) {
					t.Error(sum, n, last)
				}
				close(more)
				<-over
			})
		}
	}
}
