package pool_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

var (
	errNegative = errors.New("negative")
	_           = process.RegisterError("pool test: negative", errNegative)
)

// Tasks.
var (
	square = pool.Register("square", func(ctx context.Context, n int) (int, error) {
		if n < 0 {
			return 0, fmt.Errorf("square of %d: %w", n, errNegative)
		}
		return n * n, nil
	})

	add = pool.Register("add", func(ctx context.Context, p Pair) (int, error) { return p.A + p.B, nil })

	describe = pool.Register("describe", func(ctx context.Context, m Many) (string, error) { return fmt.Sprintf("%+v", m), nil })

	repeat = pool.Register("repeat", func(ctx context.Context, s string) (string, error) { return s + s, nil })

	pidOf = pool.Register("pid", func(ctx context.Context, _ process.None) (int, error) { return os.Getpid(), nil })

	// hold says that it has begun, and ends when it may, or its context ends.
	hold = pool.Register("hold", func(ctx context.Context, h Hold) (int, error) {
		if h.Began != nil {
			if err := h.Began.Release(); err != nil {
				return 0, err
			}
		}
		return h.N, h.Open.Wait(ctx)
	})

	// stubborn is hold, but does not mind its context.
	stubborn = pool.Register("stubborn", func(ctx context.Context, h Hold) (int, error) {
		if err := h.Began.Release(); err != nil {
			return 0, err
		}
		err := h.Open.Wait(context.Background())
		return h.N, err
	})

	// watch says how its context ends.
	watch = pool.Register("watch", func(ctx context.Context, w Watch) (int, error) {
		at, ok := ctx.Deadline()
		w.Deadline.Store(at.UnixNano())
		if !ok {
			w.Deadline.Store(0)
		}
		w.Began.Release()
		<-ctx.Done()
		how := 0
		switch {
		case ctx.Err() == context.Canceled && errors.Is(context.Cause(ctx), errNegative):
			how = 3
		case ctx.Err() == context.Canceled:
			how = 1
		case ctx.Err() == context.DeadlineExceeded && errors.Is(context.Cause(ctx), errNegative):
			how = 4
		case ctx.Err() == context.DeadlineExceeded:
			how = 2
		}
		w.How.Store(how)
		w.Ended.Set()
		return 0, ctx.Err()
	})

	die = pool.Register("die", func(ctx context.Context, n int) (int, error) {
		switch {
		case n < 0:
			syscall.Kill(os.Getpid(), syscall.Signal(-n))
			select {}
		case n > 0:
			os.Exit(n)
		}
		return os.Getpid(), nil
	})

	panics = pool.Register("panics", func(ctx context.Context, s string) (int, error) {
		if s == "" {
			panic(errNegative)
		}
		panic(s)
	})

	goexit = pool.Register("goexit", func(ctx context.Context, n int) (int, error) {
		runtime.Goexit()
		return 0, nil
	})

	picky = pool.Register("picky", func(ctx context.Context, p Picky) (Picky, error) { return Picky{p.N * 10}, nil })

	initialised = pool.Register("initialised", func(ctx context.Context, _ process.None) (int, error) { return int(initRuns.Load()), nil })

	nested = pool.Register("nested", func(ctx context.Context, n int) (int, error) {
		p, err := pool.New(ctx, 2)
		if err != nil {
			return 0, err
		}
		defer p.Terminate()
		rs, err := pool.Map(ctx, p, square, []int{n, n + 1, n + 2})
		sum := 0
		for _, r := range rs {
			sum += r
		}
		return sum, err
	})

	grow = pool.Register("grow", func(ctx context.Context, n int) (int, error) {
		ballast = append(ballast, make([]byte, n))
		for i := 0; i < n; i += 4096 {
			ballast[len(ballast)-1][i] = 1
		}
		return os.Getpid(), nil
	})
)

var ballast [][]byte

// initRuns counts, in a worker, how often it was initialised.
var initRuns atomic.Int32

// initialise is an initializer: it counts, or fails.
var initialise = process.Register("pool test: initialise", func(ctx context.Context, i Init) error {
	if i.Fail {
		return fmt.Errorf("initialise: %w", errNegative)
	}
	initRuns.Add(int32(i.Add))
	return i.Runs.Release()
})

type (
	Pair struct{ A, B int }
	Many struct {
		Int   int
		Text  string
		List  []int
		Map   map[string]float64
		Inner *Many
	}
	Hold struct {
		Began *locks.Semaphore
		Open  *locks.Event
		N     int
	}
	Watch struct {
		Began    *locks.Semaphore
		Ended    *locks.Event
		How      *value.Value[int]
		Deadline *value.Value[int64]
	}
	Init struct {
		Runs *locks.Semaphore
		Add  int
		Fail bool
	}
	// Picky encodes and decodes itself, if it likes.
	Picky struct{ N int }
)

// What the numbers of a Picky do.
const (
	refuses      = -1 // to be encoded
	bursts       = -2 // panics when encoded
	undecodable  = 100
	burstsLater  = 101 // panics when decoded
	exitsLater   = 102 // ends the process that decodes it, if that is no test
	resultFails  = 5   // ten times that cannot be encoded
	resultBursts = 6
	resultExits  = 7
	returnFails  = 8 // ten times that cannot be decoded
	returnBursts = 9
	returnBlocks = 11 // ten times that is decoded when decodable is closed
)

var decodable = make(chan struct{})

func (p Picky) MarshalBinary() ([]byte, error) {
	switch p.N {
	case refuses, resultFails * 10:
		return nil, fmt.Errorf("picky: %d: %w", p.N, errNegative)
	case bursts, resultBursts * 10:
		panic("picky bursts")
	case resultExits * 10:
		os.Exit(3)
	}
	return fmt.Appendf(nil, "%d", p.N), nil
}

func (p *Picky) UnmarshalBinary(data []byte) error {
	fmt.Sscan(string(data), &p.N)
	switch p.N {
	case undecodable, returnFails * 10:
		return errors.New("picky: undecodable")
	case burstsLater, returnBursts * 10:
		panic("picky bursts later")
	case exitsLater:
		os.Exit(4)
	case returnBlocks * 10:
		<-decodable
	}
	return nil
}

func newPool(t testing.TB, n int, opts ...pool.Options) *pool.Pool {
	t.Helper()
	if os.Getenv("SHOAL_NO_CHILDREN") != "" {
		t.Skip("SHOAL_NO_CHILDREN is set")
	}
	proctest.Watch(t)
	p, err := pool.New(context.Background(), n, opts...)
	proctest.Must(t, err)
	t.Cleanup(func() { p.Terminate() })
	return p
}

func newSegment(t testing.TB) *shm.Segment {
	t.Helper()
	seg, err := shm.Anonymous(0)
	proctest.Must(t, err)
	t.Cleanup(func() { seg.Close() })
	return seg
}

func newHold(t testing.TB) Hold {
	t.Helper()
	seg := newSegment(t)
	began, err := locks.NewSemaphore(seg, "", 0)
	proctest.Must(t, err)
	open, err := locks.NewEvent(seg, "")
	proctest.Must(t, err)
	return Hold{Began: began, Open: open}
}

// begun waits until n holds have begun.
func (h Hold) begun(t testing.TB, n int) {
	t.Helper()
	for range n {
		proctest.Must(t, h.Began.Acquire(t.Context()))
	}
}

func newWatch(t testing.TB) (w Watch) {
	t.Helper()
	h := newHold(t)
	how, err := value.New(h.Open.Segment(), "", 0, value.Options{Unlocked: true})
	proctest.Must(t, err)
	at, err := value.New(h.Open.Segment(), "", int64(0), value.Options{Unlocked: true})
	proctest.Must(t, err)
	return Watch{h.Began, h.Open, how, at}
}

func count(n int) []int {
	xs := make([]int, n)
	for i := range xs {
		xs[i] = i
	}
	return xs
}

func squares(n int) []int {
	xs := count(n)
	for i := range xs {
		xs[i] *= i
	}
	return xs
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func isRemote(err error, text string) bool {
	var e *process.RemoteError
	return errors.As(err, &e) && strings.Contains(e.Error(), text)
}
