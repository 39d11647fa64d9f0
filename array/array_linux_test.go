package array_test

import (
	"context"
	"errors"
	"math"
	"os"
	"reflect"
	"slices"
	"testing"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

func panics(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic", what)
		}
	}()
	f()
}

func values[T any](a *array.Array[T]) []T {
	xs := make([]T, a.Len())
	a.ReadAt(xs, 0)
	return xs
}

func TestArray(t *testing.T) {
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	a, err := array.From(seg, "a", []int{1, 2, 3, 4})
	proctest.Must(t, err)
	b, err := array.Open[int](seg, "a")
	proctest.Must(t, err)
	if got := values(b); !slices.Equal(got, []int{1, 2, 3, 4}) || b.Len() != 4 {
		t.Errorf("read %v", got)
	}
	proctest.Must(t, a.Set(ctx, 1, 20))
	b.Store(2, 30)
	if x, err := b.Get(ctx, 1); x != 20 || err != nil || a.Load(2) != 30 {
		t.Errorf("read %d, %v", x, err)
	}
	if n := a.WriteAt([]int{7, 8, 9}, 2); n != 2 {
		t.Errorf("wrote %d elements where 2 fit", n)
	}
	dst := []int{0, 0, 0}
	if n := b.ReadAt(dst, 3); n != 1 || dst[0] != 8 {
		t.Errorf("read %d elements: %v", n, dst)
	}
	proctest.Must(t, b.Update(ctx, func(xs []int) error { xs[0]++; return nil }))
	proctest.Must(t, a.View(func(xs []int) error {
		if len(xs) != 4 || cap(xs) != 4 || xs[0] != 2 {
			t.Errorf("View of %v", xs)
		}
		xs[3] = 40
		return nil
	}))
	var got []int
	for i, x := range b.All() {
		if i == 3 && x != 40 {
			t.Errorf("element 3 is %d", x)
		}
		got = append(got, x)
		if i == 2 {
			break
		}
	}
	if !slices.Equal(got, []int{2, 20, 7}) {
		t.Errorf("All gives %v", got)
	}
	panics(t, "Load(4)", func() { a.Load(4) })
	panics(t, "Load(-1)", func() { a.Load(-1) })
	panics(t, "Set(4)", func() { a.Set(ctx, 4, 0) })
	panics(t, "ReadAt(5)", func() { a.ReadAt(dst, 5) })
	if a.Mutex().Locked() {
		t.Error("held after an index out of range")
	}
	if _, err := array.Open[uint](seg, "a"); !errors.Is(err, shm.ErrKind) {
		t.Errorf("opened as another type: %v", err)
	}
	if o, err := array.OpenOrNew[int](seg, "a", 9); err != nil || o.Len() != 4 {
		t.Errorf("OpenOrNew: %v", err)
	}
	if o, err := array.OpenOrNew[int](seg, "b", 9); err != nil || o.Len() != 9 {
		t.Errorf("OpenOrNew: %v", err)
	}
	proctest.Must(t, a.Close())
	if err := a.View(func([]int) error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("View after Close: %v", err)
	}
	if err := a.Update(ctx, func([]int) error { return nil }); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Update after Close: %v", err)
	}
	panics(t, "Load after Close", func() { a.Load(0) })
}

func TestSizes(t *testing.T) {
	seg := proctest.Segment(t, 0)
	for _, c := range []struct {
		n    int
		want error
	}{
		{0, nil}, {1, nil}, {1000, nil}, {-1, os.ErrInvalid}, {math.MaxInt, shm.ErrNoSpace}, {1 << 28, shm.ErrNoSpace},
	} {
		a, err := array.New[float64](seg, "", c.n)
		if !errors.Is(err, c.want) {
			t.Errorf("%d elements: %v, want %v", c.n, err, c.want)
		}
		if err == nil && (a.Len() != c.n || len(values(a)) != c.n) {
			t.Errorf("%d elements, want %d", a.Len(), c.n)
		}
	}
	if _, err := array.New[*int](seg, "", 1); !errors.Is(err, shm.ErrType) {
		t.Errorf("an array of pointers: %v", err)
	}
	if _, err := array.New[struct{}](seg, "", 1); !errors.Is(err, shm.ErrType) {
		t.Errorf("an array of nothing: %v", err)
	}
}

func TestBools(t *testing.T) {
	seg := proctest.Segment(t, 0)
	type flag struct {
		N  uint16
		OK bool
	}
	a, err := array.New[flag](seg, "", 3)
	proctest.Must(t, err)
	raw := shm.Kind{Name: "array", Hash: layout.Hash(reflect.TypeFor[flag]())}
	mem, err := raw.OpenHandle(new(shm.Ref), a.Handle())
	proctest.Must(t, err)
	for i := range 3 {
		mem[128+4*i+2] = byte(100 * i)
	}
	check := func(how string, xs []flag) {
		for i, x := range xs {
			n := 0
			if x.OK {
				n = 1
			}
			if n != min(i, 1) || [2]int{10, 11}[n] != 10+n {
				t.Errorf("%s: element %d is %v", how, i, x)
			}
		}
	}
	check("ReadAt", values(a))
	check("Load", []flag{a.Load(0), a.Load(1), a.Load(2)})
	proctest.Must(t, a.View(func(xs []flag) error { check("View", xs); xs[1].N = 5; return nil }))
	proctest.Must(t, a.Update(t.Context(), func(xs []flag) error { check("Update", xs); xs[2].N = 6; return nil }))
	if a.Load(1).N != 5 || a.Load(2).N != 6 {
		t.Errorf("%v", values(a))
	}
}

type args struct {
	A *array.Array[int64]
}

// half moves 50 from the first to the second element, and is killed in between.
var half = proctest.NewRole("half", func(ctx context.Context, c *proctest.Child, a args) error {
	return a.A.Update(ctx, func(xs []int64) error {
		xs[0] -= 50
		c.Say("half")
		c.Hear()
		xs[1] += 50
		return nil
	})
})

func TestKilledInUpdate(t *testing.T) {
	a, err := array.From(proctest.Segment(t, 0), "", []int64{100, 100})
	proctest.Must(t, err)
	p := half.Start(t, args{a})
	p.WaitLine("half")
	p.Kill()
	p.Wait()
	if _, err := a.Get(t.Context(), 0); !errors.Is(err, locks.ErrOwnerDied) {
		t.Errorf("Get: %v", err)
	}
	proctest.Must(t, a.Mutex().Recover(t.Context(), func() error {
		a.Store(1, 200-a.Load(0))
		return nil
	}))
	proctest.Must(t, a.Mutex().Release())
	if got := values(a); !slices.Equal(got, []int64{50, 150}) {
		t.Errorf("read %v", got)
	}

	panics(t, "Update", func() { a.Update(t.Context(), func([]int64) error { panic("in f") }) })
	if err := a.Set(t.Context(), 0, 0); !errors.Is(err, locks.ErrOwnerDied) {
		t.Errorf("Set after a panic in Update: %v", err)
	}
}

var prefixSums = process.Register("prefix-sums", func(ctx context.Context, a args) error {
	return a.A.Update(ctx, func(xs []int64) error {
		for i := 1; i < len(xs); i++ {
			xs[i] += xs[i-1]
		}
		return nil
	})
})

// prefixSumsByChild is Python's test of shared arrays.
func prefixSumsByChild(t *testing.T, opts ...array.Options) {
	want := []int64{680, 626, 934, 821, 150, 233, 548, 982, 714, 831}
	a, err := array.From(proctest.Segment(t, 0), "", want, opts...)
	proctest.Must(t, err)
	if a.Len() != len(want) || a.Load(3) != want[3] || !slices.Equal(values(a), want) {
		t.Errorf("read %v", values(a))
	}
	a.WriteAt([]int64{1, 2, 3}, 4)
	copy(want[4:], []int64{1, 2, 3})
	if got := values(a)[4:8]; !slices.Equal(got, want[4:8]) {
		t.Errorf("read %v", got)
	}
	proctest.Must(t, process.Run(t.Context(), prefixSums, args{a}))
	for i := 1; i < len(want); i++ {
		want[i] += want[i-1]
	}
	if got := values(a); !slices.Equal(got, want) {
		t.Errorf("the child made %v, want %v", got, want)
	}
}

// TestConformance has the behaviours of Python's shared arrays, with Go types in place of type codes.
func TestConformance(t *testing.T) {
	t.Run("ARR-01", func(t *testing.T) { prefixSumsByChild(t) })
	t.Run("ARR-03", func(t *testing.T) { prefixSumsByChild(t, array.Options{Unlocked: true}) })
}

// A panic in Update leaves a recursive lock at whatever depth, as a death would.
func TestGivenOwner(t *testing.T) {
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	o := r.Owner()
	a, err := array.New[int](seg, "", 3, array.Options{Lock: o})
	proctest.Must(t, err)
	proctest.Must(t, locks.With(ctx, o, func() error {
		return a.Update(ctx, func(xs []int) error {
			xs[0] = 1
			return a.Set(ctx, 1, xs[0]+1)
		})
	}))
	if o.Depth() != 0 || o.Locked() || a.Load(0) != 1 || a.Load(1) != 2 {
		t.Errorf("depth %d, elements %d and %d", o.Depth(), a.Load(0), a.Load(1))
	}
	func() {
		defer func() { recover() }()
		proctest.Must(t, o.Acquire(ctx))
		a.Update(ctx, func([]int) error { panic("in f") })
	}()
	if _, err := a.Get(ctx, 0); o.Depth() != 0 || !errors.Is(err, locks.ErrOwnerDied) {
		t.Errorf("after a panic: depth %d, %v", o.Depth(), err)
	}
	proctest.Must(t, a.Mutex().Recover(ctx, nil))
	proctest.Must(t, a.Mutex().Release())
}

// An Update that works on a copy writes nothing back once the lock is not its own any more.
func TestUpdateLosesLock(t *testing.T) {
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	o := r.Owner()
	a, err := array.New[bool](seg, "", 2, array.Options{Lock: o})
	proctest.Must(t, err)
	err = a.Update(ctx, func(xs []bool) error {
		func() {
			defer func() { recover() }()
			locks.With(ctx, o, func() error { panic("deeper down") })
		}()
		a.Store(0, true)
		xs[1] = true
		return nil
	})
	if !errors.Is(err, locks.ErrNotLocked) {
		t.Errorf("Update that has lost its lock: %v", err)
	}
	if !a.Load(0) || a.Load(1) {
		t.Errorf("Update without its lock wrote %v and %v", a.Load(0), a.Load(1))
	}
}
