package locks_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

func newSemaphore(t testing.TB, n int, opts ...locks.SemaphoreOptions) *locks.Semaphore {
	t.Helper()
	s, err := locks.NewSemaphore(proctest.Segment(t, 1), "sem", n, opts...)
	proctest.Must(t, err)
	return s
}

// withAndWithout runs f for permits that are counted, and for permits that come back.
func withAndWithout(t *testing.T, f func(t *testing.T, o locks.SemaphoreOptions)) {
	for _, o := range []locks.SemaphoreOptions{{}, {Recover: true}} {
		t.Run(fmt.Sprintf("recover=%t", o.Recover), func(t *testing.T) { f(t, o) })
	}
}

// hasPermits wants s to have n free permits.
func hasPermits(t testing.TB, s *locks.Semaphore, n int) {
	t.Helper()
	if v := s.Value(); v != n {
		t.Errorf("value %d, want %d", v, n)
	}
}

func TestSemaphore(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		s := newSemaphore(t, 2, o)
		m, err := locks.OpenSemaphore(s.Segment(), "sem")
		proctest.Must(t, err)
		proctest.Must(t, s.Acquire(over())) // need not wait
		hasPermits(t, m, 1)
		if ok, err := m.TryAcquire(); !ok || err != nil {
			t.Errorf("TryAcquire of a permit: %v, %v", ok, err)
		}
		if ok, err := s.TryAcquire(); ok || err != nil {
			t.Errorf("TryAcquire of none: %v, %v", ok, err)
		}
		want(t, "Acquire with a context that is done", m.Acquire(over()), context.Canceled)
		soon, cancel := context.WithDeadline(t.Context(), time.Now().Add(20*time.Millisecond))
		defer cancel()
		if err := m.Acquire(soon); err != context.DeadlineExceeded {
			t.Errorf("Acquire until a deadline: %v, want DeadlineExceeded itself", err)
		}
		hasPermits(t, s, 0)
		proctest.Must(t, s.Release()) // any handle, any goroutine of the process
		proctest.Must(t, s.Release())
		hasPermits(t, m, 2)
		if o.Recover {
			want(t, "Release of what nobody has", s.Release(), locks.ErrNotOwner)
		} else {
			proctest.Must(t, s.Release())
			hasPermits(t, m, 3)
		}

		proctest.Must(t, m.Close())
		want(t, "closed handle", m.Acquire(t.Context()), os.ErrClosed)
		want(t, "closed handle", m.Release(), os.ErrClosed)
		_, err = m.TryAcquire()
		want(t, "closed handle", err, os.ErrClosed)

		e, err := locks.OpenOrNewSemaphore(s.Segment(), "sem", 7, locks.SemaphoreOptions{Recover: !o.Recover})
		proctest.Must(t, err)
		if e.Value() != s.Value() {
			t.Errorf("the existing one does not stand: value %d", e.Value())
		}
	})
}

func TestSemaphoreBounds(t *testing.T) {
	seg := proctest.Segment(t, 1)
	for _, n := range []int{-1, math.MinInt, math.MaxInt, math.MaxInt32} {
		_, err := locks.NewSemaphore(seg, "", n)
		if n == math.MaxInt32 {
			want(t, fmt.Sprint(n), err, nil)
		} else {
			want(t, fmt.Sprint(n), err, os.ErrInvalid)
		}
		_, err = locks.NewBoundedSemaphore(seg, "", n, locks.SemaphoreOptions{Recover: true})
		want(t, fmt.Sprint(n), err, os.ErrInvalid)
	}
	full, err := locks.NewSemaphore(seg, "", math.MaxInt32)
	proctest.Must(t, err)
	want(t, "Release above what there can be", full.Release(), locks.ErrOverReleased)
	proctest.Must(t, full.Acquire(t.Context()))
	proctest.Must(t, full.Release())
	hasPermits(t, full, math.MaxInt32)

	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		none, err := locks.NewBoundedSemaphore(seg, "", 0, o)
		proctest.Must(t, err)
		if ok, err := none.TryAcquire(); ok || err != nil {
			t.Errorf("a permit of none: %v, %v", ok, err)
		}
		if none.Release() == nil {
			t.Error("none rose")
		}
		hasPermits(t, &none.Semaphore, 0)
		many, err := locks.NewSemaphore(seg, "", 100, o)
		proctest.Must(t, err)
		for i := range 100 {
			hasPermits(t, many, 100-i)
			proctest.Must(t, many.Acquire(over()))
		}
		want(t, "Acquire of none", many.Acquire(over()), context.Canceled)
		for range 100 {
			proctest.Must(t, many.Release())
		}
		hasPermits(t, many, 100)
		proctest.Must(t, seg.Check())
	})

	b, err := locks.NewBoundedSemaphore(seg, "bounded", 1)
	proctest.Must(t, err)
	want(t, "Release above the first value", b.Release(), locks.ErrOverReleased)
	_, err = locks.OpenSemaphore(seg, "bounded")
	want(t, "a bounded one opened as the other", err, shm.ErrKind)
	want(t, "the same by handle", unmarshal(t, new(locks.Semaphore), b), shm.ErrKind)
	_, err = locks.NewSemaphore(seg, "other", 1)
	proctest.Must(t, err)
	_, err = locks.OpenOrNewBoundedSemaphore(seg, "other", 1)
	want(t, "the other opened as a bounded one", err, shm.ErrKind)
	want(t, "the same by handle", unmarshal(t, new(locks.BoundedSemaphore), full), shm.ErrKind)
	c, err := locks.OpenOrNewBoundedSemaphore(seg, "bounded", 5)
	proctest.Must(t, err)
	want(t, "Release of what stands", c.Release(), locks.ErrOverReleased)
	proctest.Must(t, unmarshal(t, new(locks.BoundedSemaphore), b))
}

// unmarshal makes to a handle of what from is one of.
func unmarshal(t testing.TB, to, from shm.Object) error {
	t.Helper()
	data, err := from.MarshalBinary()
	proctest.Must(t, err)
	return to.UnmarshalBinary(data)
}

// With gives the permit back also when f panics or ends its goroutine.
func TestSemaphoreWith(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		s := newSemaphore(t, 1, o)
		proctest.Must(t, locks.With(t.Context(), s, func() error { hasPermits(t, s, 0); return nil }))
		func() {
			defer func() {
				if recover() != "in f" {
					t.Error("the panic did not go on")
				}
			}()
			locks.With(t.Context(), s, func() error { panic("in f") })
		}()
		hasPermits(t, s, 1)
		done := make(chan struct{})
		go func() {
			defer close(done)
			locks.With(t.Context(), s, func() error { runtime.Goexit(); return nil })
		}()
		<-done
		hasPermits(t, s, 1)
	})
}

// Waiters go on when their context ends, when there is a permit, and when a handle or the segment is closed.
func TestSemaphoreWaiters(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		proctest.Watch(t)
		for i := range 100 {
			seg, err := shm.Anonymous(1)
			proctest.Must(t, err)
			s, err := locks.NewSemaphore(seg, "sem", 1, o)
			proctest.Must(t, err)
			m, err := locks.OpenSemaphore(seg, "sem")
			proctest.Must(t, err)
			proctest.Must(t, s.Acquire(t.Context()))
			ctx, cancel := context.WithCancel(t.Context())
			cancelled, closed, patient := make(chan error), make(chan error), make(chan error)
			go func() { cancelled <- s.Acquire(ctx) }()
			go func() { closed <- m.Acquire(context.Background()) }()
			go func() { patient <- s.Acquire(context.Background()) }()
			if i%10 == 0 {
				time.Sleep(10 * time.Millisecond) // so that they sleep; nothing depends on it
			}
			cancel()
			want(t, "cancelled", <-cancelled, context.Canceled)
			proctest.Must(t, m.Close())
			want(t, "closed", <-closed, os.ErrClosed)
			if i%2 == 0 {
				proctest.Must(t, s.Release())
				proctest.Must(t, <-patient)
			} else {
				proctest.Must(t, seg.Close())
				want(t, "closed segment", <-patient, os.ErrClosed)
				want(t, "closed segment", s.Release(), os.ErrClosed)
			}
			proctest.Must(t, seg.Close())
		}
	})
}

type semaphoreArgs struct {
	S *locks.Semaphore
	N int
}

// permit takes a permit, says so, and gives it back when it is told to.
var permit = proctest.NewRole("permit", func(ctx context.Context, c *proctest.Child, a semaphoreArgs) error {
	if err := a.S.Acquire(ctx); err != nil {
		return err
	}
	c.Say("held")
	c.Hear()
	return a.S.Release()
})

// Without Recover a permit dies with its holder, and no more than that one; with it it comes back, for who waits too.
func TestHolderKilled(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		s := newSemaphore(t, 2, o)
		p, q := permit.Start(t, semaphoreArgs{S: s}), permit.Start(t, semaphoreArgs{S: s})
		p.WaitLine("held")
		q.WaitLine("held")
		waiting := make(chan error, 1)
		if o.Recover {
			go func() { waiting <- s.Acquire(context.Background()) }()
		}
		p.Kill()
		p.Wait()
		if o.Recover {
			proctest.Must(t, <-waiting)
		}
		if ok, err := s.TryAcquire(); ok || err != nil {
			t.Errorf("TryAcquire: %v, %v", ok, err)
		}
		q.Tell("release")
		proctest.Must(t, q.Wait())
		hasPermits(t, s, 1)
		if o.Recover {
			proctest.Must(t, s.Release())
			hasPermits(t, s, 2)
		}
		proctest.Must(t, s.Segment().Check())
	})
}

// Who only ever tries gets the permit of the dead too, also without anybody who watches.
func TestTryAcquireOfTheDead(t *testing.T) {
	s := newSemaphore(t, 1, locks.SemaphoreOptions{Recover: true})
	p := permit.Start(t, semaphoreArgs{S: s})
	p.WaitLine("held")
	if ok, err := s.TryAcquire(); ok || err != nil {
		t.Fatalf("TryAcquire of none: %v, %v", ok, err)
	}
	p.Kill()
	p.Wait()
	for {
		if ok, err := s.TryAcquire(); ok {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	want(t, "Acquire of none", s.Acquire(over()), context.Canceled)
	proctest.Must(t, s.Release())
}

// leaver takes a permit and closes the segment.
var leaver = proctest.NewRole("leaver", func(ctx context.Context, c *proctest.Child, a semaphoreArgs) error {
	if err := a.S.Acquire(ctx); err != nil {
		return err
	}
	if err := a.S.Segment().Close(); err != nil {
		return err
	}
	c.Say("left")
	c.Hear()
	return nil
})

// Who leaves the segment gives its permits up as if it had died.
func TestHolderLeaves(t *testing.T) {
	s := newSemaphore(t, 1, locks.SemaphoreOptions{Recover: true})
	p := leaver.Start(t, semaphoreArgs{S: s})
	p.WaitLine("left")
	proctest.Must(t, s.Acquire(t.Context()))
	proctest.Must(t, s.Release())
	p.Tell("end")
	proctest.Must(t, p.Wait())
}

// memoryOf is the semaphore's payload, for when nobody changes it.
func memoryOf(t testing.TB, o shm.Object, kind string) []byte {
	t.Helper()
	r := new(shm.Ref)
	mem, err := shm.Kind{Name: kind}.OpenHandle(r, o.Handle())
	proctest.Must(t, err)
	t.Cleanup(func() { runtime.KeepAlive(r) })
	return mem
}

// waits reports whether the semaphore says that somebody waits, in which case its releases make system calls.
func waits(t testing.TB, s *locks.Semaphore) bool {
	mem := memoryOf(t, s, "sem")
	return binary.LittleEndian.Uint32(mem)>>31 != 0 || binary.LittleEndian.Uint32(mem[16:])&1 != 0
}

// The sweep frees the cells of the dead, whether or not anybody wants them: a slot that is used again would have them.
func TestSweepRecalls(t *testing.T) {
	s := newSemaphore(t, 3, locks.SemaphoreOptions{Recover: true})
	mem := memoryOf(t, s, "sem")
	proctest.Must(t, s.Acquire(t.Context()))
	for range 2 {
		p := permit.Start(t, semaphoreArgs{S: s})
		p.WaitLine("held")
		p.Kill()
		p.Wait()
	}
	if _, err := s.Segment().Repair(); err != nil {
		t.Fatal(err)
	}
	held := 0
	for i := range 3 {
		if id := binary.LittleEndian.Uint32(mem[128+4*i:]); id == s.Segment().Self() {
			held++
		} else if id != 0 {
			t.Errorf("cell %d still has %#x", i, id)
		}
	}
	if held != 1 {
		t.Errorf("this process has %d permits, want 1", held)
	}
	proctest.Must(t, s.Segment().Check())
}

// With Recover the cells alone say which permits there are, and a segment whose counting word says otherwise, or whose
// cells nobody can open, is found out.
func TestCellsAlone(t *testing.T) {
	for at, w := range map[int]uint32{0: 1, 8: 2, 12: 2} {
		s := newSemaphore(t, 1, locks.SemaphoreOptions{Recover: true})
		mem := memoryOf(t, s, "sem")
		proctest.Must(t, s.Acquire(over()))
		binary.LittleEndian.PutUint32(mem[at:], w)
		want(t, "Acquire of none", s.Acquire(over()), context.Canceled)
		want(t, "Check", s.Segment().Check(), shm.ErrCorrupt)
		proctest.Must(t, s.Release())
	}
}

// A process that has none cannot release with Recover, whoever has them.
func TestForeignPermit(t *testing.T) {
	s := newSemaphore(t, 2, locks.SemaphoreOptions{Recover: true})
	p := permit.Start(t, semaphoreArgs{S: s})
	p.WaitLine("held")
	want(t, "Release of another process's permit", s.Release(), locks.ErrNotOwner)
	hasPermits(t, s, 1)
	p.Tell("release")
	proctest.Must(t, p.Wait())
	hasPermits(t, s, 2)
}

// Waiters that are killed asleep cost one release a useless wake, and nobody a system call after that: nothing says that
// anybody waits. Nor do they cost a permit.
func TestSemaphoreWaitersKilled(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		s := newSemaphore(t, 1, o)
		proctest.Must(t, s.Acquire(t.Context()))
		for range 3 {
			p := permit.Start(t, semaphoreArgs{S: s})
			p.Asleep()
			p.Kill()
			p.Wait()
		}
		if !waits(t, s) {
			t.Fatal("they did not wait")
		}
		proctest.Must(t, s.Release())
		if waits(t, s) {
			t.Error("after a release that found nobody the semaphore says that somebody waits")
		}
		proctest.Must(t, s.Acquire(over()))
		proctest.Must(t, s.Release())
		hasPermits(t, s, 1)
	})
}

// A waiter that is stopped holds nobody up, and gets a permit when it goes on.
func TestSemaphoreWaiterStopped(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		s := newSemaphore(t, 1, o)
		proctest.Must(t, s.Acquire(t.Context()))
		stopped, other := permit.Start(t, semaphoreArgs{S: s}), permit.Start(t, semaphoreArgs{S: s})
		stopped.Asleep()
		other.Asleep()
		stopped.Stop()
		proctest.Must(t, s.Release())
		other.WaitLine("held")
		other.Tell("release")
		proctest.Must(t, other.Wait())
		for range 100 {
			proctest.Must(t, s.Acquire(t.Context()))
			proctest.Must(t, s.Release())
		}
		stopped.Continue()
		stopped.WaitLine("held")
		stopped.Tell("release")
		proctest.Must(t, stopped.Wait())
	})
}

// Cancellation against release: no permit is lost or doubled, and nobody who waits sleeps on.
func TestSemaphoreCancelAgainstRelease(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		n := 2_000
		if testing.Short() {
			n = 200
		}
		s := newSemaphore(t, 1, o)
		proctest.Watch(t)
		var taken atomic.Int32
		for i := range n {
			proctest.Must(t, s.Acquire(t.Context()))
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			for j := range 3 {
				ctx := ctx
				if j == 0 {
					ctx = t.Context() // who stays must not miss a wake that one who leaves got
				}
				wg.Go(func() {
					if err := s.Acquire(ctx); err == nil {
						taken.Add(1)
						if err := s.Release(); err != nil {
							t.Error(err)
						}
					} else if !errors.Is(err, context.Canceled) {
						t.Error(err)
					}
				})
			}
			if i%100 == 0 {
				time.Sleep(6 * time.Millisecond) // so that they are past the first part of a sleep; nothing depends on it
			}
			for range i % 50 {
				runtime.Gosched()
			}
			wg.Go(cancel)
			proctest.Must(t, s.Release())
			wg.Wait()
			if v := s.Value(); v != 1 {
				t.Fatalf("round %d: %d permits", i, v)
			}
		}
		proctest.Must(t, s.Acquire(over()))
		proctest.Must(t, s.Release())
		if waits(t, s) {
			t.Error("nobody waits, and the semaphore says that somebody does")
		}
		t.Logf("%d of %d acquired", taken.Load(), 3*n)
	})
}

// Many goroutines wait for few permits, and all get one.
func TestManyWaitForSemaphore(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		const n, permits = 10_000, 3
		s := newSemaphore(t, permits, o)
		for range permits {
			proctest.Must(t, s.Acquire(t.Context()))
		}
		var wg sync.WaitGroup
		var inside, most atomic.Int32
		for range n {
			wg.Go(func() {
				if err := s.Acquire(context.Background()); err != nil {
					t.Error(err)
					return
				}
				if k := inside.Add(1); k > most.Load() {
					most.Store(k)
				}
				inside.Add(-1)
				if err := s.Release(); err != nil {
					t.Error(err)
				}
			})
		}
		for range permits {
			proctest.Must(t, s.Release())
		}
		wg.Wait()
		hasPermits(t, s, permits)
		if most.Load() > permits {
			t.Errorf("%d had a permit", most.Load())
		}
	})
}

type overReleaseArgs struct {
	S *locks.BoundedSemaphore
	E *locks.Event
	N int
}

// overReleaser releases N times when the event is set, and says how often that was allowed.
var overReleaser = proctest.NewRole("over-releaser", func(ctx context.Context, c *proctest.Child, a overReleaseArgs) error {
	c.Say("ready")
	if err := a.E.Wait(ctx); err != nil {
		return err
	}
	done := 0
	for range a.N {
		switch err := a.S.Release(); {
		case err == nil:
			done++
		case !errors.Is(err, locks.ErrOverReleased):
			return err
		}
	}
	c.Say("%d", done)
	return nil
})

// Eight processes release a bounded semaphore at once, in all more often than it can be: exactly as often as it can it is.
func TestOverReleaseIsExact(t *testing.T) {
	const permits, each = 1000, 400
	seg := proctest.Segment(t, 1)
	s, err := locks.NewBoundedSemaphore(seg, "", permits)
	proctest.Must(t, err)
	for range 3 {
		e, err := locks.NewEvent(seg, "")
		proctest.Must(t, err)
		for range permits {
			proctest.Must(t, s.Acquire(over()))
		}
		var ps []*proctest.Proc
		for range 8 {
			p := overReleaser.Start(t, overReleaseArgs{s, e, each})
			p.WaitLine("ready")
			ps = append(ps, p)
		}
		proctest.Must(t, e.Set())
		total := 0
		for _, p := range ps {
			var n int
			fmt.Sscan(p.Line(), &n)
			total += n
			proctest.Must(t, p.Wait())
		}
		if total != permits || s.Value() != permits {
			t.Errorf("%d releases of %d were allowed, the value is %d", total, permits, s.Value())
		}
	}
}

type insideArgs struct {
	S     *locks.Semaphore
	Block *shm.Block // how many are inside, and the most there were
	N     int
	Room  uint32 // how many may be inside
}

// inside enters and leaves N times in each of two goroutines.
var inside = proctest.NewRole("inside", func(ctx context.Context, c *proctest.Child, a insideArgs) error {
	now, most := a.Block.Uint32(0), a.Block.Uint32(128)
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			errs <- func() error {
				for i := range a.N {
					if err := a.S.Acquire(ctx); err != nil {
						return err
					}
					for n := now.Add(1); ; {
						if m := most.Load(); n <= m || most.CompareAndSwap(m, n) {
							break
						}
					}
					if i%8 == 0 {
						runtime.Gosched()
					}
					for i == 0 && most.Load() < a.Room { // so that all places are taken once
						time.Sleep(100 * time.Microsecond)
					}
					now.Add(^uint32(0))
					if err := a.S.Release(); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	err := errors.Join(<-errs, <-errs)
	runtime.KeepAlive(a.Block)
	return err
})

// hammerSem lets so many processes enter, and returns the most that were inside.
func hammerSem(t *testing.T, s *locks.Semaphore, processes, n int) uint32 {
	t.Helper()
	room := uint32(s.Value())
	b, err := shm.NewBlock(s.Segment(), "", 256)
	proctest.Must(t, err)
	var ps []*proctest.Proc
	for range processes {
		ps = append(ps, inside.Start(t, insideArgs{s, b, n, room}))
	}
	for _, p := range ps {
		proctest.Must(t, p.Wait())
	}
	defer runtime.KeepAlive(b)
	if left := b.Uint32(0).Load(); left != 0 {
		t.Errorf("%d are inside at the end", left)
	}
	return b.Uint32(128).Load()
}

func TestSemaphoreHammer(t *testing.T) {
	withAndWithout(t, func(t *testing.T, o locks.SemaphoreOptions) {
		n := 10_000
		if testing.Short() {
			n = 1_000
		}
		s := newSemaphore(t, 2, o)
		if most := hammerSem(t, s, 4, n); most != 2 {
			t.Errorf("%d were inside", most)
		}
		hasPermits(t, s, 2)
		proctest.Must(t, s.Acquire(over()))
		proctest.Must(t, s.Release())
		if waits(t, s) {
			t.Error("nobody waits, and the semaphore says that somebody does")
		}
	})
}

// Semaphores and events say what they are.
func TestStrings(t *testing.T) {
	s := newSemaphore(t, 2, locks.SemaphoreOptions{})
	proctest.Must(t, s.Acquire(t.Context()))
	e, err := locks.NewEvent(s.Segment(), "event")
	proctest.Must(t, err)
	says(t, s, `semaphore "sem", 1 free`)
	says(t, e, `event "event", not set`)
	proctest.Must(t, e.Set())
	says(t, e, `event "event", set`)
	proctest.Must(t, s.Close())
	proctest.Must(t, e.Close())
	says(t, s, `semaphore "sem", closed`)
	says(t, e, `event "event", closed`)
	says(t, new(locks.Semaphore), "semaphore")
	says(t, new(locks.BoundedSemaphore), "semaphore")
	says(t, new(locks.Event), "event")
}
