package pool_test

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/process"
)

// Bad luck, and what users' methods may do.

// trap is called by methods of a Trapped in the process of the test.
var trap atomic.Pointer[func(what string)]

func sprung(what string) {
	if f := trap.Load(); f != nil {
		(*f)(what)
	}
}

func setTrap(t testing.TB, f func(what string)) {
	trap.Store(&f)
	t.Cleanup(func() { trap.Store(nil) })
}

// Trapped is an argument, and an error, whose methods call back.
type Trapped struct{ N int }

func (p *Trapped) MarshalBinary() ([]byte, error) {
	sprung("marshal")
	return append(make([]byte, 1000), byte(p.N)), nil
}

func (p *Trapped) UnmarshalBinary(data []byte) error {
	sprung("unmarshal")
	p.N = int(data[1000])
	return nil
}

func (p *Trapped) Error() string {
	sprung("error")
	return "trapped"
}

type big struct {
	Hold Hold
	Pad  []byte
}

var (
	_ = process.RegisterErrorType[*Trapped]("pool test: trapped")

	failTrapped = pool.Register("fail trapped", func(ctx context.Context, n int) (int, error) { return 0, &Trapped{n} })
	takeTrapped = pool.Register("take trapped", func(ctx context.Context, p *Trapped) (int, error) { return p.N, nil })
	holdBig     = pool.Register("hold big", func(ctx context.Context, b big) (int, error) {
		b.Hold.Began.Release()
		return b.Hold.N, b.Hold.Open.Wait(ctx)
	})
)

// TestCauseCallsBack: a cause may use the pool to say what it is.
func TestCauseCallsBack(t *testing.T) {
	p := newPool(t, 1)
	w := newWatch(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	r := pool.ApplyAsync(ctx, p, watch, w)
	proctest.Must(t, w.Began.Acquire(t.Context()))
	setTrap(t, func(string) { p.Stats() })
	cancel(&Trapped{1})
	if _, err := r.Get(t.Context()); err != context.Canceled {
		t.Error(err)
	}
	proctest.Must(t, w.Ended.Wait(t.Context()))
}

// TestErrorCallsBack: so may an error that is decoded; and if that panics, what else is known of it arrives.
func TestErrorCallsBack(t *testing.T) {
	p := newPool(t, 1)
	setTrap(t, func(string) { p.Stats() })
	_, err := pool.Apply(t.Context(), p, failTrapped, 7)
	var e *Trapped
	if !errors.As(err, &e) || e.N != 7 {
		t.Error(err)
	}
	setTrap(t, func(what string) { panic(what) })
	_, err = pool.Apply(t.Context(), p, failTrapped, 7)
	var remote *process.RemoteError
	if !errors.As(err, &remote) || remote.Text != "trapped" || remote.Err != nil {
		t.Error(err)
	}
	if s := p.Stats(); s.Failed != 2 || s.Done != 0 {
		t.Errorf("%+v", s)
	}
}

// TestTerminatedByArgument: what an argument that terminates the pool, and those after it, find is that.
func TestTerminatedByArgument(t *testing.T) {
	xs := []*Trapped{{1}, {2}, {3}}
	for name, f := range map[string]func(p *pool.Pool) []error{
		"Map": func(p *pool.Pool) (errs []error) {
			_, err := pool.Map(t.Context(), p, takeTrapped, xs)
			var failed *pool.MapError
			if errors.As(err, &failed) {
				for _, f := range failed.Failed {
					errs = append(errs, f.Err)
				}
			}
			return errs
		},
		"Imap": func(p *pool.Pool) (errs []error) {
			for _, err := range pool.Imap(t.Context(), p, takeTrapped, func(yield func(*Trapped) bool) {
				for _, x := range xs {
					if !yield(x) {
						return
					}
				}
			}) {
				errs = append(errs, err)
			}
			return errs
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, 1)
			setTrap(t, func(string) { p.Terminate() })
			errs := f(p)
			if len(errs) == 0 {
				t.Error("no errors")
			}
			for _, err := range errs {
				if !errors.Is(err, pool.ErrTerminated) {
					t.Error(err)
				}
			}
		})
	}
}

// TestLatePanic: an argument that is measured and then not encoded leaves no memory behind.
func TestLatePanic(t *testing.T) {
	p := newPool(t, 1)
	before, calls := 0, 0
	setTrap(t, func(what string) {
		if calls++; calls%2 == 0 {
			panic(what)
		}
	})
	for i := range 10 {
		if i == 1 { // the first changes how the memory is cut
			before = pool.Used(p)
		}
		if _, err := pool.Apply(t.Context(), p, takeTrapped, &Trapped{1}); err == nil {
			t.Fatal("it was encoded once")
		}
	}
	if now := pool.Used(p); now != before {
		t.Errorf("%d bytes are in use, %d before", now, before)
	}
}

// TestSmallBesideLarge: small arguments do not wait for memory that they do not need.
func TestSmallBesideLarge(t *testing.T) {
	p := newPool(t, 2, pool.Options{Memory: 8 << 20})
	h := newHold(t)
	r := pool.ApplyAsync(t.Context(), p, holdBig, big{h, make([]byte, 5<<20)})
	h.begun(t, 1)
	if n, err := pool.Apply(t.Context(), p, square, 3); n != 9 || err != nil {
		t.Error(n, err)
	}
	proctest.Must(t, h.Open.Set())
	if _, err := r.Get(t.Context()); err != nil {
		t.Error(err)
	}
}

// registering counts what is to be called at its end.
type registering struct {
	context.Context
	n atomic.Int64
}

func (r *registering) AfterFunc(f func()) func() bool {
	r.n.Add(1)
	stop := context.AfterFunc(r.Context, f)
	return func() bool {
		r.n.Add(-1)
		return stop()
	}
}

// TestRefusedLeavesNothing: a task that was not accepted leaves nothing in its context.
func TestRefusedLeavesNothing(t *testing.T) {
	p := newPool(t, 1)
	parent, cancel := context.WithCancel(t.Context())
	defer cancel()
	ctx := &registering{Context: parent}
	proctest.Must(t, p.Close())
	if _, err := pool.ApplyAsync(ctx, p, square, 1).Get(t.Context()); !errors.Is(err, pool.ErrClosed) {
		t.Error(err)
	}
	if n := ctx.n.Load(); n != 0 {
		t.Errorf("%d functions are left", n)
	}
}

// TestDiesWhileHired: a worker that ends before its start is noted is replaced as well.
func TestDiesWhileHired(t *testing.T) {
	p := newPool(t, 1, pool.Options{Retries: 5})
	var once sync.Once
	defer pool.SetHired(p, nil) // else p is no garbage
	pool.SetHired(p, func() {
		once.Do(func() {
			for _, w := range p.Stats().Workers {
				syscall.Kill(w.Pid, syscall.SIGKILL)
			}
			for len(p.Stats().Workers) > 0 {
				runtime.Gosched()
			}
		})
	})
	syscall.Kill(p.Stats().Workers[0].Pid, syscall.SIGKILL)
	if n, err := pool.Apply(t.Context(), p, square, 3); n != 9 || err != nil {
		t.Error(n, err)
	}
}

// TestFailingStarts: starts that fail take no memory, and do no harm to the worker that is left.
func TestFailingStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dir")
	proctest.Must(t, os.Mkdir(dir, 0o700))
	p := newPool(t, 2, pool.Options{Process: process.Options{Dir: dir}})
	proctest.Must(t, os.Remove(dir))
	before := pool.Used(p)
	tries := make(chan int, 100)
	defer pool.SetHired(p, nil) // else p is no garbage
	pool.SetHired(p, func() { tries <- pool.Used(p) })
	syscall.Kill(p.Stats().Workers[0].Pid, syscall.SIGKILL)
	for range 3 {
		if now := <-tries; now > before {
			t.Errorf("%d bytes are in use, %d before", now, before)
		}
	}
	if n, err := pool.Apply(t.Context(), p, square, 3); n != 9 || err != nil {
		t.Error(n, err)
	}
}

// TestNotesWhileStopped: what a worker is to be told, and had no room for when it was stopped, it is told later though no
// result comes.
func TestNotesWhileStopped(t *testing.T) {
	p := newPool(t, 1)
	open := make(chan struct{})
	defer close(open)
	var stops []func()
	for range 12 { // more than there are notes
		next, stop := iter.Pull2(pool.Imap(t.Context(), p, square, func(yield func(int) bool) {
			if yield(1) {
				<-open
			}
		}))
		defer stop()
		if _, err, ok := next(); err != nil || !ok {
			t.Fatal(err, ok)
		}
		stops = append(stops, stop)
	}
	w := newWatch(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := pool.ApplyAsync(ctx, p, watch, w)
	proctest.Must(t, w.Began.Acquire(t.Context()))
	pid := p.Stats().Workers[0].Pid
	syscall.Kill(pid, syscall.SIGSTOP)
	for _, stop := range stops {
		stop()
	}
	cancel()
	if _, err := r.Get(t.Context()); err != context.Canceled {
		t.Error(err)
	}
	syscall.Kill(pid, syscall.SIGCONT)
	proctest.Must(t, w.Ended.Wait(t.Context()))
}

// TestWholeTerm: a worker does as many tasks as it may before it is replaced.
func TestWholeTerm(t *testing.T) {
	p := newPool(t, 1, pool.Options{TasksPerWorker: 100})
	pids, err := pool.Map(t.Context(), p, pidOf, make([]process.None, 1000))
	proctest.Must(t, err)
	did := make(map[int]int)
	for _, pid := range pids {
		did[pid]++
	}
	if len(did) != 10 {
		t.Errorf("%d workers: %v", len(did), did)
	}
}
