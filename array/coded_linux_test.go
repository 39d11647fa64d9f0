package array_test

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

func numbers(t *testing.T, a *array.Coded) (xs []any) {
	for i := range a.Len() {
		x, err := a.Get(t.Context(), i)
		proctest.Must(t, err)
		xs = append(xs, x)
	}
	return xs
}

// Who made an object, a Coded or an Array, makes no difference to who opens it; elements do not touch each
// other.
func TestCodedIsArray(t *testing.T) {
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	for _, code := range "cbBuhHiIlLqQfd" {
		a, err := array.NewCode(seg, string(code), shm.Code(code), 3)
		proctest.Must(t, err)
		b, err := array.OpenCode(seg, string(code))
		proctest.Must(t, err)
		if b.Code() != shm.Code(code) || b.Len() != 3 {
			t.Errorf("opened %d elements of code %q, want %q", b.Len(), b.Code(), code)
		}
		before := numbers(t, b)
		proctest.Must(t, a.Set(ctx, 1, 107))
		if got := numbers(t, b); got[0] != before[0] || got[2] != before[2] || got[1] == before[1] {
			t.Errorf("code %q: %v after %v", code, got, before)
		}
	}
	x, err := array.From(seg, "typed", []uint16{1, 2, 1<<16 - 1})
	proctest.Must(t, err)
	a, err := array.OpenCode(seg, "typed")
	proctest.Must(t, err)
	if got := numbers(t, a); a.Code() != 'H' || !slices.Equal(got, []any{uint64(1), uint64(2), uint64(1<<16 - 1)}) {
		t.Errorf("code %q: %v", a.Code(), got)
	}
	proctest.Must(t, a.Set(ctx, 2, 9))
	of, err := array.Of[uint16](a)
	proctest.Must(t, err)
	if !slices.Equal(values(x), []uint16{1, 2, 9}) || !slices.Equal(values(of), []uint16{1, 2, 9}) {
		t.Errorf("read %v and %v", values(x), values(of))
	}
	if _, err := array.Of[int16](a); !errors.Is(err, shm.ErrKind) {
		t.Errorf("Of with a type of another sign: %v", err)
	}
	_, err = array.New[[2]int32](seg, "pairs", 3)
	proctest.Must(t, err)
	if _, err := array.OpenCode(seg, "pairs"); !errors.Is(err, shm.ErrKind) {
		t.Errorf("OpenCode of an array of arrays: %v", err)
	}
	panics(t, "Get(3)", func() { a.Get(ctx, 3) })
	panics(t, "Set(-1)", func() { a.Set(ctx, -1, 0) })
	if err := a.Set(ctx, 0, 1<<16); !errors.Is(err, os.ErrInvalid) || of.Load(0) != 1 {
		t.Errorf("beyond the limit: %v", err)
	}
	for n, want := range map[int]error{-1: os.ErrInvalid, 1 << 28: shm.ErrNoSpace} {
		if _, err := array.NewCode(seg, "", 'd', n); !errors.Is(err, want) {
			t.Errorf("%d elements: %v", n, err)
		}
	}
	proctest.Must(t, a.Close())
	if _, err := a.Get(ctx, 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
	if err := a.Set(ctx, 0, 1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Set after Close: %v", err)
	}
	if _, err := array.Of[uint16](a); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Of after Close: %v", err)
	}
	proctest.Must(t, seg.Check())
}

type codedArgs struct{ A *array.Coded }

var prefixSumsCoded = process.Register("prefix-sums-coded", func(ctx context.Context, a codedArgs) error {
	xs, err := array.Of[int32](a.A)
	if err != nil {
		return err
	}
	return xs.Update(ctx, func(xs []int32) error {
		for i := 1; i < len(xs); i++ {
			xs[i] += xs[i-1]
		}
		return nil
	})
})

// codedSumsByChild is prefixSumsByChild with a type code.
func codedSumsByChild(t *testing.T, opts ...array.Options) {
	a, err := array.NewCode(proctest.Segment(t, 0), "", 'i', 10, opts...)
	proctest.Must(t, err)
	var want []any
	for i, x := range []int64{680, 626, 934, 821, 150, 233, 548, 982, 714, 831} {
		proctest.Must(t, a.Set(t.Context(), i, x))
		want = append(want, x)
	}
	if got := numbers(t, a); !slices.Equal(got, want) {
		t.Errorf("read %v", got)
	}
	proctest.Must(t, process.Run(t.Context(), prefixSumsCoded, codedArgs{a}))
	for i := 1; i < len(want); i++ {
		want[i] = want[i].(int64) + want[i-1].(int64)
	}
	if got := numbers(t, a); !slices.Equal(got, want) {
		t.Errorf("the child made %v, want %v", got, want)
	}
}

// A segment that is closed while Of is under way is an error, as one that was closed before.
func TestOfWhileClosing(t *testing.T) {
	rounds := 2000
	if testing.Short() {
		rounds = 200
	}
	for range rounds {
		seg, err := shm.Anonymous(1 << 20)
		proctest.Must(t, err)
		v, err := array.NewCode(seg, "", 'i', 2)
		proctest.Must(t, err)
		closed := make(chan error)
		go func() { closed <- seg.Close() }()
		if _, err := array.Of[int32](v); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Errorf("Of while the segment was being closed: %v", err)
		}
		proctest.Must(t, <-closed)
	}
}

// What is open needs nobody's leave: Of has the lock that was given also if that was freed since.
func TestOfWithFreedLock(t *testing.T) {
	seg := proctest.Segment(t, 0)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	for _, c := range []struct {
		given locks.Mutex
		of    shm.Object
	}{{l, l}, {r.Owner(), r}} {
		v, err := array.NewCode(seg, "", 'i', 2, array.Options{Lock: c.given})
		proctest.Must(t, err)
		proctest.Must(t, shm.Free(c.of))
		proctest.Must(t, v.Set(t.Context(), 1, 6))
		n, err := array.Of[int32](v)
		if err != nil {
			t.Errorf("Of of what has a %T that was freed: %v", c.given, err)
			continue
		}
		if n.Mutex() != c.given {
			t.Errorf("Mutex is not the %T that was given", c.given)
		}
		if x := n.Load(1); x != 6 {
			t.Errorf("read %v", x)
		}
	}
}

// TestConformanceCoded has the behaviours of Python's shared arrays with Python's type codes.
func TestConformanceCoded(t *testing.T) {
	t.Run("ARR-01 codes", func(t *testing.T) { codedSumsByChild(t) })
	t.Run("ARR-03 codes", func(t *testing.T) { codedSumsByChild(t, array.Options{Unlocked: true}) })
	// A lock of its own, a given one, none; what is no lock does not compile, and a lock that cannot serve is
	// an error.
	t.Run("ARR-04", func(t *testing.T) {
		seg := proctest.Segment(t, 0)
		l, err := locks.NewLock(seg, "")
		proctest.Must(t, err)
		mutex := func(opts ...array.Options) locks.Mutex {
			a, err := array.NewCode(seg, "", 'i', 10, opts...)
			proctest.Must(t, err)
			of, err := array.Of[int32](a)
			proctest.Must(t, err)
			return of.Mutex()
		}
		if m := mutex(); m == nil || m.Locked() {
			t.Error("no lock of its own")
		}
		if m := mutex(array.Options{}); m == nil || m == locks.Mutex(l) {
			t.Error("no lock of its own, with Options")
		}
		if m := mutex(array.Options{Lock: l}); m != locks.Mutex(l) {
			t.Error("Mutex is not the lock that was given")
		}
		if m := mutex(array.Options{Unlocked: true}); m != nil {
			t.Error("a lock, where there is to be none")
		}
		far, err := locks.NewLock(proctest.Segment(t, 0), "")
		proctest.Must(t, err)
		if _, err := array.NewCode(seg, "", 'i', 10, array.Options{Lock: far}); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("a lock in another segment: %v", err)
		}
	})
	t.Run("ARR-05", func(t *testing.T) {
		seg := proctest.Segment(t, 0)
		for _, code := range []shm.Code{0, 'x', 'w', '?', 'D', 200} {
			_, err := array.NewCode(seg, "x", code, 1)
			if !errors.Is(err, shm.ErrType) || !strings.Contains(err.Error(), "bad typecode") {
				t.Errorf("code %q: %v", code, err)
			}
		}
		if n := seg.Info().Objects; n != 0 {
			t.Errorf("left %d objects", n)
		}
	})
}
