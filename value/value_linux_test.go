package value_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"reflect"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

func get[T any](t testing.TB, v *value.Value[T]) T {
	t.Helper()
	x, err := v.Get(t.Context())
	proctest.Must(t, err)
	return x
}

type pair struct{ A, B uint64 }

func TestValue(t *testing.T) {
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	v, err := value.New(seg, "pair", pair{1, 2})
	proctest.Must(t, err)
	w, err := value.Open[pair](seg, "pair")
	proctest.Must(t, err)
	if got := get(t, w); got != (pair{1, 2}) {
		t.Errorf("the first value is %v", got)
	}
	proctest.Must(t, v.Set(ctx, pair{3, 4}))
	if got := w.Load(); got != (pair{3, 4}) {
		t.Errorf("read %v", got)
	}
	proctest.Must(t, w.Update(ctx, func(p *pair) error { p.A += 10; return nil }))
	broken := errors.New("broken")
	if err := w.Update(ctx, func(p *pair) error { p.A = 0; return broken }); err != broken {
		t.Errorf("Update whose function fails: %v", err)
	}
	func() {
		defer func() {
			if recover() != "in f" {
				t.Error("the panic did not go on")
			}
		}()
		w.Update(ctx, func(p *pair) error { p.A = 0; panic("in f") })
	}()
	if got := get(t, v); got != (pair{13, 4}) {
		t.Errorf("read %v", got)
	}
	if _, err := value.Open[[2]uint64](seg, "pair"); !errors.Is(err, shm.ErrKind) {
		t.Errorf("opened as another type: %v", err)
	}
	if _, err := value.Open[struct{ A, B uint64 }](seg, "pair"); err != nil {
		t.Errorf("opened as a type of the same structure: %v", err)
	}
	if _, err := value.New(seg, "pair", 1); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a name that is taken: %v", err)
	}
	if _, err := value.New(seg, "", "text"); !errors.Is(err, shm.ErrType) {
		t.Errorf("a string: %v", err)
	}
	if o, err := value.OpenOrNew(seg, "pair", pair{}); err != nil || o.Load() != (pair{13, 4}) {
		t.Errorf("OpenOrNew: %v", err)
	}
	if o, err := value.OpenOrNew(seg, "other", pair{7, 7}); err != nil || o.Load() != (pair{7, 7}) {
		t.Errorf("OpenOrNew: %v", err)
	}

	proctest.Must(t, v.Close())
	if _, err := v.Get(ctx); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Get after Close: %v", err)
	}
	if err := v.Set(ctx, pair{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Set after Close: %v", err)
	}
	defer func() {
		if recover() != os.ErrClosed {
			t.Error("Load after Close")
		}
	}()
	v.Load()
}

// Which lock guards a value, and that it does.
func TestGuards(t *testing.T) {
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	given, err := value.New(seg, "given", 1, value.Options{Lock: l})
	proctest.Must(t, err)
	if given.Mutex() != l {
		t.Error("Mutex is not the lock that was given")
	}
	own, err := value.New(seg, "own", 1)
	proctest.Must(t, err)
	none, err := value.New(seg, "none", 1, value.Options{Unlocked: true})
	proctest.Must(t, err)
	if none.Mutex() != nil {
		t.Error("an unlocked value has a lock")
	}
	proctest.Must(t, none.Set(ctx, 2))
	if get(t, none) != 2 {
		t.Error("an unlocked value")
	}

	over, cancel := context.WithCancel(ctx)
	cancel()
	for _, v := range []*value.Value[int]{given, own} {
		m := v.Mutex()
		proctest.Must(t, m.Acquire(ctx))
		if _, err := v.Get(over); !errors.Is(err, context.Canceled) {
			t.Errorf("Get while the lock is held: %v", err)
		}
		opened, err := value.Open[int](seg, v.Name())
		proctest.Must(t, err)
		if err := opened.Set(over, 5); !errors.Is(err, context.Canceled) {
			t.Errorf("Set through another handle while the lock is held: %v", err)
		}
		if !opened.Mutex().Locked() {
			t.Error("another handle has another lock")
		}
		v.Store(v.Load() + 1)
		proctest.Must(t, opened.Mutex().Release())
		if got := get(t, opened); got != 2 {
			t.Errorf("read %d", got)
		}
	}

	// Close lets go who waits for the lock, also for a lock that was given.
	for _, name := range []string{"own", "given"} {
		v, err := value.Open[int](seg, name)
		proctest.Must(t, err)
		m := v.Mutex()
		proctest.Must(t, m.Acquire(ctx))
		done := make(chan error)
		go func() { done <- v.Set(context.Background(), 1) }()
		time.Sleep(10 * time.Millisecond) // so that it sleeps; nothing depends on it
		proctest.Must(t, v.Close())
		if err := <-done; !errors.Is(err, os.ErrClosed) {
			t.Errorf("Set of a value %q that is closed: %v", name, err)
		}
		proctest.Must(t, m.Release())
	}

	other := proctest.Segment(t, 0)
	far, err := locks.NewLock(other, "")
	proctest.Must(t, err)
	if _, err := value.New(seg, "", 1, value.Options{Lock: far}); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("a lock in another segment: %v", err)
	}
	if _, err := value.New(seg, "", 1, value.Options{Lock: l, Unlocked: true}); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("a lock and none: %v", err)
	}
}

// Close of a value lets a call go that is blocked on a lock the value was given, by waking it: a call that
// went only at the cap of its sleep would cost a second a round, and the watchdog would see that.
func TestCloseLetsGo(t *testing.T) {
	proctest.Watch(t)
	seg := proctest.Segment(t, 0)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	for name, m := range map[string]locks.Mutex{"given": l, "recursive": r.Owner()} {
		_, err = value.New(seg, name, 1, value.Options{Lock: m})
		proctest.Must(t, err)
		proctest.Must(t, m.Acquire(t.Context()))
		for range 200 {
			v, err := value.Open[int](seg, name)
			proctest.Must(t, err)
			blocked := make(chan error)
			go func() { blocked <- v.Set(context.Background(), 1) }()
			time.Sleep(time.Millisecond) // so that it sleeps; nothing depends on it
			proctest.Must(t, v.Close())
			if err := <-blocked; !errors.Is(err, os.ErrClosed) {
				t.Fatalf("Set of a value that is closed: %v", err)
			}
		}
		proctest.Must(t, m.Release())
	}
}

// Of two that make one value with different locks, the one that comes second has the first one's lock.
func TestOpenOrNewWithLocks(t *testing.T) {
	seg := proctest.Segment(t, 0)
	var given [2]*locks.Lock
	for i := range given {
		l, err := locks.NewLock(seg, "")
		proctest.Must(t, err)
		given[i] = l
	}
	for round := range 300 {
		made := make(chan *value.Value[[512]byte], 2)
		for _, l := range given {
			go func() {
				v, err := value.OpenOrNew(seg, fmt.Sprint(round), [512]byte{}, value.Options{Lock: l})
				if err != nil {
					t.Error(err)
				}
				made <- v
			}()
		}
		v, w := <-made, <-made
		if t.Failed() {
			return
		}
		if a, b := v.Mutex().(*locks.Lock).Handle(), w.Mutex().(*locks.Lock).Handle(); a != b {
			t.Fatalf("round %d: one value has two locks, %v and %v", round, a, b)
		}
	}
}

var updateOnce = proctest.NewRole("update-once", func(ctx context.Context, c *proctest.Child, a workArgs) error {
	c.Say("ready")
	c.Hear()
	return a.Pair.Set(ctx, pair{7, 7})
})

// A process that leaves the segment in the middle of an update has died with it half done: others are told,
// and not let in beside it.
func TestSegmentClosedInUpdate(t *testing.T) {
	a := newWork(t, 1)
	p := updateOnce.Start(t, a)
	p.WaitLine("ready")
	err := a.Pair.Update(t.Context(), func(x *pair) error {
		proctest.Must(t, a.Pair.Segment().Close())
		p.Tell("go")
		if err := p.Wait(); err == nil {
			t.Error("another process was let in beside one that still updates")
		}
		return nil
	})
	if err == nil {
		t.Error("Update says nothing of the segment's Close")
	}
}

// A bool that another process wrote as 200 is true, and nothing worse.
func TestBools(t *testing.T) {
	seg := proctest.Segment(t, 0)
	type flags struct {
		N  int32
		OK bool
	}
	v, err := value.New(seg, "", flags{N: 1})
	proctest.Must(t, err)
	raw := shm.Kind{Name: "value", Hash: layout.Hash(reflect.TypeFor[flags]())}
	mem, err := raw.OpenHandle(new(shm.Ref), v.Handle())
	proctest.Must(t, err)
	for i := 32; i < len(mem); i++ {
		if i%8 == 4 {
			mem[i] = 200
		}
	}
	table := [2]int{5, 6}
	i := 0
	if x := v.Load(); x.OK {
		i = 1
	}
	if table[i] != 6 {
		t.Errorf("table[%d] = %d", i, table[i])
	}
	if x := get(t, v); !x.OK || x.N != 1 {
		t.Errorf("read %+v", x)
	}
}

type workArgs struct {
	Pair  *value.Value[pair]
	Hits  *value.Atomic[int]
	Small *value.Atomic[int32]
	N     int
}

// work changes the pair, whose halves are always equal, and the integers.
func work(ctx context.Context, a workArgs) error {
	for range a.N {
		err := a.Pair.Update(ctx, func(p *pair) error {
			if p.A != p.B {
				return fmt.Errorf("half a value: %v", *p)
			}
			p.A, p.B = p.A+1, p.B+1
			return nil
		})
		if err != nil {
			return err
		}
		a.Hits.Add(1)
		for {
			x := a.Small.Load()
			if a.Small.CompareAndSwap(x, x-1) {
				break
			}
		}
	}
	return nil
}

var worker = proctest.NewRole("work", func(ctx context.Context, c *proctest.Child, a workArgs) error {
	c.Say("ready")
	return work(ctx, a)
})

func newWork(t *testing.T, n int) workArgs {
	seg := proctest.Segment(t, 0)
	p, err := value.New(seg, "", pair{})
	proctest.Must(t, err)
	h, err := value.NewAtomic(seg, "", 0)
	proctest.Must(t, err)
	s, err := value.NewAtomic[int32](seg, "", 0)
	proctest.Must(t, err)
	return workArgs{p, h, s, n}
}

func TestHammer(t *testing.T) {
	n := 20_000
	if testing.Short() {
		n = 2_000
	}
	a := newWork(t, n)
	var ps []*proctest.Proc
	for range 3 {
		ps = append(ps, worker.Start(t, a))
	}
	proctest.Must(t, work(t.Context(), a))
	for _, p := range ps {
		proctest.Must(t, p.Wait())
	}
	if got := get(t, a.Pair); got != (pair{uint64(4 * n), uint64(4 * n)}) {
		t.Errorf("counted %v of %d", got, 4*n)
	}
	if a.Hits.Load() != 4*n || a.Small.Load() != int32(-4*n) {
		t.Errorf("counted %d and %d of %d", a.Hits.Load(), a.Small.Load(), 4*n)
	}
}

// Processes killed anywhere in Update leave a whole value and no trace.
func TestKilledInUpdate(t *testing.T) {
	n := 60
	if testing.Short() {
		n = 10
	}
	a := newWork(t, math.MaxInt)
	last := pair{}
	for i := range n {
		p := worker.Start(t, a)
		p.WaitLine("ready")
		for range i * 20 {
			runtime.Gosched()
		}
		p.Kill()
		p.Wait()
		x := get(t, a.Pair)
		if x.A != x.B || x.A < last.A {
			t.Fatalf("read %v after %v", x, last)
		}
		proctest.Must(t, a.Pair.Update(t.Context(), func(p *pair) error { return nil }))
		last = x
	}
}

var holdMutex = proctest.NewRole("hold-mutex", func(ctx context.Context, c *proctest.Child, a workArgs) error {
	if err := a.Pair.Mutex().Acquire(ctx); err != nil {
		return err
	}
	x := a.Pair.Load()
	x.A++
	a.Pair.Store(x)
	c.Say("held")
	c.Hear()
	return nil
})

// A death while holding Mutex() is not passed over.
func TestOwnerOfMutexDied(t *testing.T) {
	a := newWork(t, 1)
	p := holdMutex.Start(t, a)
	p.WaitLine("held")
	p.Kill()
	p.Wait()
	if _, err := a.Pair.Get(t.Context()); !errors.Is(err, locks.ErrOwnerDied) {
		t.Errorf("Get: %v", err)
	}
	if err := a.Pair.Set(t.Context(), pair{}); !errors.Is(err, locks.ErrOwnerDied) {
		t.Errorf("Set: %v", err)
	}
	m := a.Pair.Mutex()
	proctest.Must(t, m.Recover(t.Context(), func() error {
		x := a.Pair.Load()
		if x != (pair{1, 0}) {
			t.Errorf("read %v", x)
		}
		a.Pair.Store(pair{1, 1})
		return nil
	}))
	proctest.Must(t, m.Release())
	if got := get(t, a.Pair); got != (pair{1, 1}) {
		t.Errorf("read %v", got)
	}
}

// What is open goes on working when it is removed, its lock included, its own or a given one.
func TestMutexOfRemoved(t *testing.T) {
	seg := proctest.Segment(t, 0)
	l, err := locks.NewLock(seg, "lock")
	proctest.Must(t, err)
	own, err := value.New(seg, "own", 1)
	proctest.Must(t, err)
	_, err = value.New(seg, "given", 1, value.Options{Lock: l})
	proctest.Must(t, err)
	given, err := value.Open[int](seg, "given") // which was not given the handle
	proctest.Must(t, err)
	for _, name := range []string{"own", "given", "lock"} {
		proctest.Must(t, seg.Remove(name))
	}
	for _, v := range []*value.Value[int]{own, given} {
		m := v.Mutex()
		proctest.Must(t, m.Acquire(t.Context()))
		done, cancel := context.WithCancel(t.Context())
		cancel()
		if err := v.Set(done, 2); err != context.Canceled {
			t.Errorf("Set while the lock is held: %v", err)
		}
		proctest.Must(t, m.Release())
	}
}

type myInt int64

func TestAtomic(t *testing.T) {
	seg := proctest.Segment(t, 0)
	a, err := value.NewAtomic[myInt](seg, "a", -5)
	proctest.Must(t, err)
	b, err := value.OpenAtomic[myInt](seg, "a")
	proctest.Must(t, err)
	if got := a.Add(-2); got != -7 || b.Load() != -7 {
		t.Errorf("Add gave %d", got)
	}
	if old := b.Swap(9); old != -7 {
		t.Errorf("Swap gave %d", old)
	}
	if a.CompareAndSwap(8, 1) || !a.CompareAndSwap(9, 1) || b.Load() != 1 {
		t.Error("CompareAndSwap")
	}
	b.Store(math.MinInt64)
	if a.Load() != math.MinInt64 {
		t.Error("Store")
	}
	u, err := value.NewAtomic[uint32](seg, "u", math.MaxUint32)
	proctest.Must(t, err)
	if u.Add(2) != 1 {
		t.Error("an uint32 does not wrap")
	}
	if _, err := value.OpenAtomic[uint32](seg, "a"); !errors.Is(err, shm.ErrKind) {
		t.Errorf("opened as another type: %v", err)
	}
	if o, err := value.OpenOrNewAtomic[uint32](seg, "u", 7); err != nil || o.Load() != 1 {
		t.Errorf("OpenOrNewAtomic: %v", err)
	}
	proctest.Must(t, a.Close())
	defer func() {
		if recover() != os.ErrClosed {
			t.Error("Load after Close")
		}
	}()
	a.Load()
}

// The race detector sees what is handed over by an atomic and under a value's lock.
func TestRaceDetector(t *testing.T) {
	seg := proctest.Segment(t, 0)
	ready, err := value.NewAtomic(seg, "ready", 0)
	proctest.Must(t, err)
	v, err := value.New(seg, "", 0)
	proctest.Must(t, err)
	x, y := 0, 0
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 100 {
				if err := v.Update(t.Context(), func(*int) error { y++; return nil }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		x = 1
		ready.Store(1)
	})
	other, err := value.OpenAtomic[int](seg, "ready")
	proctest.Must(t, err)
	for other.Load() == 0 {
		runtime.Gosched()
	}
	if x != 1 {
		t.Error("not handed over")
	}
	wg.Wait()
	if y != 200 {
		t.Errorf("%d of 200", y)
	}
}

// TestAllocations: what is done most often allocates nothing.
func TestAllocations(t *testing.T) {
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	v, err := value.New(seg, "", [6]int64{})
	proctest.Must(t, err)
	a, err := value.NewAtomic(seg, "", 0)
	proctest.Must(t, err)
	for name, f := range map[string]func() error{
		"Get":    func() error { _, err := v.Get(ctx); return err },
		"Set":    func() error { return v.Set(ctx, [6]int64{1}) },
		"Update": func() error { return v.Update(ctx, func(x *[6]int64) error { x[1]++; return nil }) },
		"Add":    func() error { a.Add(1); return nil },
	} {
		if n := testing.AllocsPerRun(100, func() { proctest.Must(t, f()) }); n != 0 {
			t.Errorf("%s allocates %v times", name, n)
		}
	}
}

// What a call that Close overtook still writes is not taken for whole when the last Segment of the name is forgotten,
// and not closed.
func TestForgottenExposes(t *testing.T) {
	name := proctest.Name(t)
	seg, err := shm.Create(name, 0)
	proctest.Must(t, err)
	v, err := value.New(seg, "v", 1)
	proctest.Must(t, err)
	forgotten, err := shm.Open(name)
	proctest.Must(t, err)
	self := seg.Self()
	err = v.Update(t.Context(), func(x *int) error {
		proctest.Must(t, seg.Close())
		forgotten = nil
		for !seg.KnownDead(self) {
			runtime.GC()
			time.Sleep(time.Millisecond)
		}
		other, err := shm.Open(name)
		proctest.Must(t, err)
		defer other.Close()
		again, err := value.Open[int](other, "v")
		proctest.Must(t, err)
		if _, err := again.Get(t.Context()); !errors.Is(err, locks.ErrOwnerDied) {
			t.Errorf("who left while it wrote: %v, want ErrOwnerDied", err)
		}
		proctest.Must(t, again.Mutex().Recover(t.Context(), nil))
		again.Store(2)
		proctest.Must(t, again.Mutex().Release())
		*x = 3
		return nil
	})
	last, e := shm.Open(name)
	proctest.Must(t, e)
	defer last.Close()
	again, e := value.Open[int](last, "v")
	proctest.Must(t, e)
	if got := again.Load(); got != 2 {
		t.Errorf("Update of who left meanwhile stored %d", got)
	}
	if !errors.Is(err, locks.ErrNotLocked) {
		t.Errorf("Update of who left meanwhile: %v", err)
	}
	runtime.KeepAlive(forgotten)
}

// A handle that was given an Owner acts for it: its calls nest while the Owner holds the lock. Other handles have owners
// of their own.
func TestGivenOwner(t *testing.T) {
	ctx := t.Context()
	over, cancel := context.WithCancel(ctx)
	cancel()
	seg := proctest.Segment(t, 0)
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	o := r.Owner()
	v, err := value.New(seg, "v", 1, value.Options{Lock: o})
	proctest.Must(t, err)
	w, err := value.Open[int](seg, "v")
	proctest.Must(t, err)
	if v.Mutex() != o || w.Mutex() == o || w.Mutex() != w.Mutex() {
		t.Error("Mutex is not the handle's owner")
	}
	same, err := value.OpenOrNew(seg, "v", 5, value.Options{Lock: o})
	proctest.Must(t, err)
	if same.Mutex() != o {
		t.Error("a handle that is opened with the value's own lock does not act for the owner that was given")
	}
	elsewhere, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	q := elsewhere.Owner()
	another, err := value.OpenOrNew(seg, "v", 5, value.Options{Lock: q})
	proctest.Must(t, err)
	if another.Mutex() == q {
		t.Error("of a value that is found the lock stands")
	}
	proctest.Must(t, locks.With(ctx, o, func() error {
		if err := another.Set(over, 7); !errors.Is(err, context.Canceled) {
			t.Errorf("Set for another owner: %v", err)
		}
		return nil
	}))
	depth := func(want int) {
		t.Helper()
		if o.Depth() != want {
			t.Errorf("depth %d, want %d", o.Depth(), want)
		}
	}
	proctest.Must(t, locks.With(ctx, v.Mutex(), func() error {
		proctest.Must(t, v.Set(over, get(t, same)+1))
		if err := w.Set(over, 7); !errors.Is(err, context.Canceled) {
			t.Errorf("Set for another owner: %v", err)
		}
		return v.Update(over, func(x *int) error {
			depth(2)
			proctest.Must(t, v.Update(over, func(y *int) error { *y = 10; return nil }))
			if get(t, v) != 10 || *x != 2 {
				t.Errorf("Update in Update: the value is %d, the outer copy %d", get(t, v), *x)
			}
			*x = 3
			return nil
		})
	}))
	depth(0)
	if got := get(t, w); got != 3 {
		t.Errorf("read %d", got)
	}

	func() {
		defer func() { recover() }()
		v.Update(ctx, func(*int) error { panic("in f") })
	}()
	depth(0)
	if r.Owner().Locked() || get(t, w) != 3 {
		t.Error("a panic in Update")
	}

	// Close of the value lets a call go that waits, and leaves the owner alone.
	proctest.Must(t, w.Mutex().Acquire(ctx))
	done := make(chan error)
	go func() { done <- v.Set(context.Background(), 1) }()
	time.Sleep(10 * time.Millisecond) // so that it sleeps; nothing depends on it
	proctest.Must(t, v.Close())
	if err := <-done; !errors.Is(err, os.ErrClosed) {
		t.Errorf("Set of a value that is closed: %v", err)
	}
	proctest.Must(t, w.Mutex().Release())
	proctest.Must(t, o.Acquire(ctx))
	if err := v.Set(ctx, 1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Set of a closed value, nested: %v", err)
	}
	depth(1)
	proctest.Must(t, o.Release())

	far, err := locks.NewRLock(proctest.Segment(t, 0), "")
	proctest.Must(t, err)
	if _, err := value.New(seg, "", 1, value.Options{Lock: far.Owner()}); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("a lock in another segment: %v", err)
	}
}

type diesArgs struct {
	V   *value.Value[int]
	How string
}

// dies is killed in Update.
var dies = proctest.NewRole("dies", func(ctx context.Context, c *proctest.Child, a diesArgs) error {
	wait := func() error {
		c.Say("in it")
		c.Hear()
		return nil
	}
	update := func(f func() error) error { return a.V.Update(ctx, func(*int) error { return f() }) }
	switch a.How {
	case "alone":
		return update(wait)
	case "in itself":
		return update(func() error { return update(wait) })
	case "while held":
		return locks.With(ctx, a.V.Mutex(), func() error { return update(wait) })
	case "holding":
		return update(func() error { return locks.With(ctx, a.V.Mutex(), wait) })
	case "having held":
		return update(func() error {
			if err := locks.With(ctx, a.V.Mutex(), func() error { return nil }); err != nil {
				return err
			}
			return wait()
		})
	}
	return errors.New("how?")
})

// A death in Update is passed over, if it is not also one of who holds the recursive lock.
func TestGivenOwnerDies(t *testing.T) {
	for how, passed := range map[string]bool{
		"alone": true, "in itself": true, "while held": false, "holding": false, "having held": false,
	} {
		seg := proctest.Segment(t, 0)
		r, err := locks.NewRLock(seg, "")
		proctest.Must(t, err)
		v, err := value.New(seg, "", 1, value.Options{Lock: r.Owner()})
		proctest.Must(t, err)
		p := dies.Start(t, diesArgs{v, how})
		p.WaitLine("in it")
		p.Kill()
		p.Wait()
		_, err = v.Get(t.Context())
		if passed && err != nil || !passed && !errors.Is(err, locks.ErrOwnerDied) {
			t.Errorf("Get after a death %s: %v", how, err)
		}
		proctest.Must(t, v.Mutex().Recover(t.Context(), nil))
		proctest.Must(t, v.Mutex().Release())
		if got := get(t, v); got != 1 {
			t.Errorf("read %d", got)
		}
	}
}

// A process that opened a segment's name twice closes one Segment: what it opened through the other goes on, the given lock
// of a value too.
func TestGivenLockOfOtherSegment(t *testing.T) {
	name := proctest.Name(t)
	first, err := shm.Create(name, 0)
	proctest.Must(t, err)
	second, err := shm.Open(name)
	proctest.Must(t, err)
	defer second.Close()
	l, err := locks.NewLock(first, "")
	proctest.Must(t, err)
	r, err := locks.NewRLock(first, "")
	proctest.Must(t, err)
	_, err = value.New(first, "lock", 1, value.Options{Lock: l})
	proctest.Must(t, err)
	_, err = value.New(first, "owner", 1, value.Options{Lock: r.Owner()})
	proctest.Must(t, err)
	a, err := value.Open[int](second, "lock")
	proctest.Must(t, err)
	b, err := value.Open[int](second, "owner")
	proctest.Must(t, err)
	proctest.Must(t, first.Close())
	for _, v := range []*value.Value[int]{a, b} {
		proctest.Must(t, locks.With(t.Context(), v.Mutex(), func() error {
			v.Store(2)
			return nil
		}))
		if got := get(t, v); got != 2 {
			t.Errorf("%s: read %d", v.Name(), got)
		}
	}
}

// Update stores nothing once the lock is not its own any more: others may have it, and have stored since.
func TestUpdateLosesLock(t *testing.T) {
	ctx := t.Context()
	name := proctest.Name(t)
	seg, err := shm.Create(name, 0)
	proctest.Must(t, err)
	defer seg.Close()
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	o := r.Owner()
	v, err := value.New(seg, "v", 1, value.Options{Lock: o})
	proctest.Must(t, err)
	w, err := value.Open[int](seg, "v")
	proctest.Must(t, err)
	err = v.Update(ctx, func(x *int) error {
		func() {
			defer func() { recover() }()
			locks.With(ctx, o, func() error { panic("deeper down") })
		}()
		proctest.Must(t, w.Mutex().Recover(ctx, nil))
		w.Store(2)
		*x = 3
		return nil
	})
	if !errors.Is(err, locks.ErrNotOwner) {
		t.Errorf("Update whose lock another owner has: %v", err)
	}
	if got := w.Load(); got != 2 {
		t.Errorf("Update without its lock stored %d", got)
	}
	proctest.Must(t, w.Mutex().Release())
}

// A lock that was freed guards nothing new: there would be an object that nobody can open.
func TestFreedLockGiven(t *testing.T) {
	seg := proctest.Segment(t, 0)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	proctest.Must(t, shm.Free(l))
	proctest.Must(t, shm.Free(r))
	for _, m := range []locks.Mutex{l, r.Owner()} {
		if _, err := value.New(seg, "v", 1, value.Options{Lock: m}); !errors.Is(err, shm.ErrStale) {
			t.Errorf("New with a lock that was freed: %v", err)
		}
		if _, err := value.Open[int](seg, "v"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("New left an object: %v", err)
		}
	}
}
