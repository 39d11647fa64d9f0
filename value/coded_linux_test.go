package value_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

func newCode(t *testing.T, seg *shm.Segment, code shm.Code, init any, opts ...value.Options) *value.Coded {
	t.Helper()
	v, err := value.NewCode(seg, "", code, init, opts...)
	proctest.Must(t, err)
	return v
}

func wantCode(t *testing.T, v *value.Coded, want any) {
	t.Helper()
	if got, err := v.Get(t.Context()); got != want || err != nil {
		t.Errorf("code %q: read %v (%T), %v, want %v (%T)", v.Code(), got, got, err, want, want)
	}
}

// Who made an object, a Coded or a Value, makes no difference to who opens it.
func TestCodedIsValue(t *testing.T) {
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	v, err := value.NewCode(seg, "coded", 'd', 1.5)
	proctest.Must(t, err)
	x, err := value.Open[float64](seg, "coded")
	proctest.Must(t, err)
	proctest.Must(t, x.Update(ctx, func(x *float64) error { *x *= 2; return nil }))
	wantCode(t, v, 3.0)

	type celsius int16
	y, err := value.New(seg, "typed", celsius(-4))
	proctest.Must(t, err)
	w, err := value.OpenCode(seg, "typed")
	proctest.Must(t, err)
	if w.Code() != 'h' {
		t.Errorf("the code of a Value[int16] is %q", w.Code())
	}
	wantCode(t, w, int64(-4))
	proctest.Must(t, w.Set(ctx, 7))
	if y.Load() != 7 {
		t.Errorf("read %v", y.Load())
	}
	y.Store(-9)
	wantCode(t, w, int64(-9))

	// The code that a number was made with stays, and does not matter to types.
	for _, code := range []shm.Code{'l', 'q'} {
		v := newCode(t, seg, code, -1)
		data, err := v.MarshalBinary()
		proctest.Must(t, err)
		var again value.Coded
		proctest.Must(t, again.UnmarshalBinary(data))
		if v.Code() != code || again.Code() != code {
			t.Errorf("codes %q and %q, want %q", v.Code(), again.Code(), code)
		}
		n, err := value.Of[int64](v)
		proctest.Must(t, err)
		n.Store(5)
		wantCode(t, &again, int64(5))
	}

	codes := map[string]shm.Code{"coded": 'd', "typed": 'h', "plain": 0, "lock": 0, "atomic": 0}
	_, err = value.New(seg, "plain", [2]int32{})
	proctest.Must(t, err)
	_, err = locks.NewLock(seg, "lock")
	proctest.Must(t, err)
	_, err = value.NewAtomic(seg, "atomic", 1)
	proctest.Must(t, err)
	seen := 0
	for o := range seg.Objects() {
		if want, ok := codes[o.Name]; ok && o.Code != want {
			t.Errorf("the code of %q is %q, want %q", o.Name, o.Code, want)
		} else if ok {
			seen++
		}
	}
	if seen != len(codes) {
		t.Errorf("saw %d objects", seen)
	}
	for _, name := range []string{"plain", "lock", "atomic"} {
		if _, err := value.OpenCode(seg, name); !errors.Is(err, shm.ErrKind) {
			t.Errorf("OpenCode of %q: %v", name, err)
		}
	}
	if _, err := value.Of[uint16](w); !errors.Is(err, shm.ErrKind) || !strings.Contains(fmt.Sprint(err), `'h'`) {
		t.Errorf("Of with a type of another sign: %v", err)
	}
	if _, err := value.Of[*int](w); !errors.Is(err, shm.ErrType) {
		t.Errorf("Of with a pointer: %v", err)
	}
	proctest.Must(t, seg.Check())
}

// A number that does not fit changes nothing, and neither takes the lock nor waits for it.
func TestCodedRefuses(t *testing.T) {
	seg := proctest.Segment(t, 0)
	v := newCode(t, seg, 'b', 1)
	n, err := value.Of[int8](v)
	proctest.Must(t, err)
	proctest.Must(t, n.Mutex().Acquire(t.Context()))
	for _, x := range []any{128, -129, 0.5, math.NaN()} {
		err := v.Set(t.Context(), x)
		if !errors.Is(err, os.ErrInvalid) || !strings.Contains(err.Error(), "-128 to 127: "+fmt.Sprint(x)) {
			t.Errorf("Set(%v): %v", x, err)
		}
		if _, err := value.NewCode(seg, "", 'b', x); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("NewCode with %v: %v", x, err)
		}
	}
	if err := v.Set(t.Context(), "1"); !errors.Is(err, shm.ErrType) {
		t.Errorf("a string: %v", err)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Set(over, 2); err != context.Canceled {
		t.Errorf("Set while the lock is held: %v", err)
	}
	if _, err := v.Get(over); err != context.Canceled {
		t.Errorf("Get while the lock is held: %v", err)
	}
	proctest.Must(t, n.Mutex().Release())
	wantCode(t, v, int64(1))

	proctest.Must(t, v.Close())
	if _, err := v.Get(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
	if err := v.Set(t.Context(), 1000); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Set after Close: %v", err)
	}
	if _, err := value.Of[int8](v); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Of after Close: %v", err)
	}
	if n.Load() != 1 {
		t.Error("what Of made is closed with what it was made of")
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
		v, err := value.NewCode(seg, "", 'i', 5)
		proctest.Must(t, err)
		closed := make(chan error)
		go func() { closed <- seg.Close() }()
		if _, err := value.Of[int32](v); err != nil && !errors.Is(err, os.ErrClosed) {
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
		v, err := value.NewCode(seg, "", 'i', 5, value.Options{Lock: c.given})
		proctest.Must(t, err)
		proctest.Must(t, shm.Free(c.of))
		proctest.Must(t, v.Set(t.Context(), 6))
		n, err := value.Of[int32](v)
		if err != nil {
			t.Errorf("Of of what has a %T that was freed: %v", c.given, err)
			continue
		}
		if n.Mutex() != c.given {
			t.Errorf("Mutex is not the %T that was given", c.given)
		}
		if x := n.Load(); x != 6 {
			t.Errorf("read %v", x)
		}
	}
}

type codes struct{ I, D, H, Q, C *value.Coded }

func (c codes) all() []*value.Coded { return []*value.Coded{c.I, c.D, c.H, c.Q, c.C} }

var changeCodes = process.Register("change-codes", func(ctx context.Context, c codes) error {
	for i, x := range []any{-99, -99.5, -9, int64(-1 << 40), byte('y')} {
		if err := c.all()[i].Set(ctx, x); err != nil {
			return err
		}
	}
	return nil
})

// codesChangedByChild is changedByChild with type codes.
func codesChangedByChild(t *testing.T, opts ...value.Options) {
	seg := proctest.Segment(t, 0)
	c := codes{newCode(t, seg, 'i', 4343, opts...), newCode(t, seg, 'd', 3.625, opts...), newCode(t, seg, 'h', -232, opts...),
		newCode(t, seg, 'q', int64(1<<33), opts...), newCode(t, seg, 'c', 'x', opts...)}
	for i, want := range []any{int64(4343), 3.625, int64(-232), int64(1 << 33), byte('x')} {
		wantCode(t, c.all()[i], want)
	}
	proctest.Must(t, process.Run(t.Context(), changeCodes, c))
	for i, want := range []any{int64(-99), -99.5, int64(-9), int64(-1 << 40), byte('y')} {
		wantCode(t, c.all()[i], want)
	}
}

// TestConformanceCoded has the behaviours of Python's shared values with Python's type codes.
func TestConformanceCoded(t *testing.T) {
	t.Run("VAL-01 codes", func(t *testing.T) { codesChangedByChild(t) })
	t.Run("VAL-02 codes", func(t *testing.T) { codesChangedByChild(t, value.Options{Unlocked: true}) })
	// A lock of its own, a given one, none; what is no lock does not compile, and a lock that cannot serve is
	// an error.
	t.Run("VAL-03", func(t *testing.T) {
		seg := proctest.Segment(t, 0)
		l, err := locks.NewLock(seg, "")
		proctest.Must(t, err)
		mutex := func(opts ...value.Options) locks.Mutex {
			n, err := value.Of[int32](newCode(t, seg, 'i', 5, opts...))
			proctest.Must(t, err)
			return n.Mutex()
		}
		if m := mutex(); m == nil || m.Locked() {
			t.Error("no lock of its own")
		}
		if m := mutex(value.Options{}); m == nil || m == locks.Mutex(l) {
			t.Error("no lock of its own, with Options")
		}
		if m := mutex(value.Options{Lock: l}); m != locks.Mutex(l) {
			t.Error("Mutex is not the lock that was given")
		}
		if m := mutex(value.Options{Unlocked: true}); m != nil {
			t.Error("a lock, where there is to be none")
		}
		far, err := locks.NewLock(proctest.Segment(t, 0), "")
		proctest.Must(t, err)
		if _, err := value.NewCode(seg, "", 'i', 5, value.Options{Lock: far}); !errors.Is(err, os.ErrInvalid) {
			t.Errorf("a lock in another segment: %v", err)
		}
	})
	t.Run("VAL-04", func(t *testing.T) {
		seg := proctest.Segment(t, 0)
		for _, code := range []shm.Code{0, 'x', 'w', '?', 'D', 200} {
			_, err := value.NewCode(seg, "x", code, 1)
			if !errors.Is(err, shm.ErrType) || !strings.Contains(err.Error(), "bad typecode") {
				t.Errorf("code %q: %v", code, err)
			}
		}
		if n := seg.Info().Objects; n != 0 {
			t.Errorf("left %d objects", n)
		}
	})
	// A number beyond the limits is an error; Python's wraps.
	t.Run("SEED-18", func(t *testing.T) {
		seg := proctest.Segment(t, 0)
		for _, c := range []struct {
			code      shm.Code
			size      int
			low, high any
			beyond    []any
		}{
			{'b', 1, int64(-128), int64(127), []any{-129, 128}},
			{'B', 1, uint64(0), uint64(255), []any{-1, 256}},
			{'c', 1, byte(0), byte(255), []any{-1, 256}},
			{'u', 4, rune(0), '\U0010ffff', []any{-1, 0x110000}},
			{'h', 2, int64(-1 << 15), int64(1<<15 - 1), []any{-1<<15 - 1, 1 << 15}},
			{'H', 2, uint64(0), uint64(1<<16 - 1), []any{-1, 1 << 16}},
			{'i', 4, int64(-1 << 31), int64(1<<31 - 1), []any{int64(-1<<31 - 1), int64(1 << 31)}},
			{'I', 4, uint64(0), uint64(1<<32 - 1), []any{-1, int64(1 << 32)}},
			{'l', 8, int64(math.MinInt64), int64(math.MaxInt64), []any{-1.5 * (1 << 63), uint64(1 << 63)}},
			{'L', 8, uint64(0), uint64(math.MaxUint64), []any{-1, 0x1p64}},
			{'q', 8, int64(math.MinInt64), int64(math.MaxInt64), []any{-1.5 * (1 << 63), uint64(1 << 63)}},
			{'Q', 8, uint64(0), uint64(math.MaxUint64), []any{-1, 0x1p64}},
			{'f', 4, -math.MaxFloat32, math.MaxFloat32, []any{-0x1p128, 0x1p128}},
			{'d', 8, -math.MaxFloat64, math.MaxFloat64, nil},
		} {
			if c.code.Size() != c.size {
				t.Errorf("code %q has %d bytes, want %d", c.code, c.code.Size(), c.size)
			}
			v := newCode(t, seg, c.code, c.low)
			wantCode(t, v, c.low)
			proctest.Must(t, v.Set(t.Context(), c.high))
			for _, x := range c.beyond {
				if err := v.Set(t.Context(), x); !errors.Is(err, os.ErrInvalid) {
					t.Errorf("code %q, %v: %v", c.code, x, err)
				}
			}
			wantCode(t, v, c.high)
		}
		for _, code := range "aejkmnoprstvwxyz?ACDEFG" {
			if n := shm.Code(code).Size(); n != 0 {
				t.Errorf("code %q has %d bytes", code, n)
			}
		}
		if shm.CodeOf[float64]() != 'd' || shm.CodeOf[int64]() != 'q' || shm.CodeOf[byte]() != 'B' || shm.CodeOf[string]() != 0 {
			t.Error("codes of types")
		}
	})
}
