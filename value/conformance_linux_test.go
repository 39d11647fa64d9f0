package value_test

import (
	"context"
	"errors"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/value"
)

type numbers struct {
	I *value.Value[int32]
	D *value.Value[float64]
	H *value.Value[int16]
	Q *value.Value[int64]
	C *value.Value[byte]
}

var changeNumbers = process.Register("change-numbers", func(ctx context.Context, n numbers) error {
	for _, err := range []error{
		n.I.Set(ctx, 2*n.I.Load()), n.D.Set(ctx, 2*n.D.Load()), n.H.Set(ctx, 2*n.H.Load()), n.Q.Set(ctx, 2*n.Q.Load()),
		n.C.Set(ctx, n.C.Load()+1),
	} {
		if err != nil {
			return err
		}
	}
	return nil
})

// changedByChild makes five values, has a child change them, and compares.
func changedByChild(t *testing.T, opts ...value.Options) {
	seg := proctest.Segment(t, 0)
	var n numbers
	var err error
	n.I, err = value.New(seg, "", int32(7), opts...)
	proctest.Must(t, err)
	n.D, err = value.New(seg, "", 1.25, opts...)
	proctest.Must(t, err)
	n.H, err = value.New(seg, "", int16(-232), opts...)
	proctest.Must(t, err)
	n.Q, err = value.New(seg, "", int64(1<<33), opts...)
	proctest.Must(t, err)
	n.C, err = value.New(seg, "", byte('x'), opts...)
	proctest.Must(t, err)
	if get(t, n.I) != 7 || get(t, n.D) != 1.25 || get(t, n.H) != -232 || get(t, n.Q) != 1<<33 || get(t, n.C) != 'x' {
		t.Error("the first values")
	}
	proctest.Must(t, process.Run(t.Context(), changeNumbers, n))
	if get(t, n.I) != 14 || get(t, n.D) != 2.5 || get(t, n.H) != -464 || get(t, n.Q) != 1<<34 || get(t, n.C) != 'y' {
		t.Error("the values after the child")
	}
}

type point struct {
	X int32
	Y float64
	S [8]byte
}

type points struct {
	I *value.Value[int32]
	P *value.Value[point]
	A *value.Value[[10]float64]
}

var double = process.Register("double", func(ctx context.Context, p points) error {
	if err := p.I.Update(ctx, func(x *int32) error { *x *= 2; return nil }); err != nil {
		return err
	}
	err := p.P.Update(ctx, func(x *point) error {
		x.X, x.Y = 2*x.X, 2*x.Y
		copy(x.S[4:], x.S[:4])
		return nil
	})
	if err != nil {
		return err
	}
	return p.A.Update(ctx, func(x *[10]float64) error {
		for i := range x {
			x[i] *= 2
		}
		return nil
	})
})

func doubledByChild(t *testing.T, opts ...value.Options) {
	seg := proctest.Segment(t, 0)
	var p points
	var err error
	p.I, err = value.New(seg, "", int32(7), opts...)
	proctest.Must(t, err)
	p.P, err = value.New(seg, "", point{3, 2, [8]byte{'a', 'b', 'c', 'd'}}, opts...)
	proctest.Must(t, err)
	a := [10]float64{}
	for i := range a {
		a[i] = float64(i)
	}
	p.A, err = value.New(seg, "", a, opts...)
	proctest.Must(t, err)
	proctest.Must(t, process.Run(t.Context(), double, p))
	for i := range a {
		a[i] *= 2
	}
	if get(t, p.I) != 14 || get(t, p.P) != (point{6, 4, [8]byte([]byte("abcdabcd"))}) || get(t, p.A) != a {
		t.Error("the values after the child")
	}
}

type counted struct{ V *value.Value[int] }

const perGoroutine = 1000

// countUp adds 1 many times, in two goroutines, each with a handle of its own, as a recursive lock wants it.
var countUp = process.Register("count-up", func(ctx context.Context, c counted) error {
	other, err := value.Open[int](c.V.Segment(), c.V.Name())
	if err != nil {
		return err
	}
	errs := make(chan error)
	for _, v := range []*value.Value[int]{c.V, other} {
		go func() {
			var err error
			for i := 0; i < perGoroutine && err == nil; i++ {
				err = locks.With(ctx, v.Mutex(), func() error {
					v.Store(v.Load() + 1)
					return nil
				})
			}
			errs <- err
		}()
	}
	return errors.Join(<-errs, <-errs)
})

// TestConformance has the behaviours of Python's shared values, with Go types in place of type codes.
func TestConformance(t *testing.T) {
	t.Run("VAL-01", func(t *testing.T) { changedByChild(t) })
	t.Run("VAL-02", func(t *testing.T) { changedByChild(t, value.Options{Unlocked: true}) })
	t.Run("SCT-01", func(t *testing.T) { doubledByChild(t, value.Options{Unlocked: true}) })
	t.Run("SCT-02", func(t *testing.T) { doubledByChild(t) })
	t.Run("SEED-19", func(t *testing.T) {
		seg := proctest.Segment(t, 0)
		l, err := locks.NewLock(seg, "")
		proctest.Must(t, err)
		r, err := locks.NewRLock(seg, "")
		proctest.Must(t, err)
		for name, o := range map[string]value.Options{"own": {}, "given": {Lock: l}, "recursive": {Lock: r.Owner()}} {
			v, err := value.New(seg, name, 0, o)
			proctest.Must(t, err)
			if o.Lock != nil && v.Mutex() != o.Lock {
				t.Errorf("%s: Mutex is not what was given", name)
			}
			var ps []*process.Process
			for range 4 {
				p, err := process.Start(t.Context(), countUp, counted{v})
				proctest.Must(t, err)
				ps = append(ps, p)
			}
			for _, p := range ps {
				proctest.Must(t, p.Join(t.Context()))
			}
			if got := get(t, v); got != 4*2*perGoroutine {
				t.Errorf("%s: counted %d of %d", name, got, 4*2*perGoroutine)
			}
		}
		none, err := value.New(seg, "none", 0, value.Options{Unlocked: true})
		proctest.Must(t, err)
		if none.Mutex() != nil {
			t.Error("an unlocked value has a lock")
		}
		none.Store(none.Load() + 1)
		if get(t, none) != 1 {
			t.Error("an unlocked value does not count")
		}
	})
	t.Run("SCT-03", func(t *testing.T) {
		v, err := value.New(proctest.Segment(t, 0), "", point{X: 2})
		proctest.Must(t, err)
		copied := get(t, v)
		proctest.Must(t, v.Set(t.Context(), point{X: 5}))
		if copied.X != 2 {
			t.Error("a copy changed with the original")
		}
	})
}
