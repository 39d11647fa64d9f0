package locks_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

func inspect(t testing.TB, o shm.Object) locks.Info {
	t.Helper()
	info, err := locks.Inspect(o)
	proctest.Must(t, err)
	for _, p := range slices.Concat(info.Owners, info.Waiters) {
		if !p.Alive || p.Since.IsZero() {
			t.Errorf("it names %+v", p)
		}
	}
	if (len(info.Waiters) == 0) != info.Since.IsZero() {
		t.Errorf("%d wait since %v", len(info.Waiters), info.Since)
	}
	return info
}

func pids(ps []shm.Participant) (pids []int) {
	for _, p := range ps {
		pids = append(pids, p.Pid)
	}
	slices.Sort(pids)
	return pids
}

// wantWaiters looks until these processes wait for o.
func wantWaiters(t testing.TB, o shm.Object, want ...int) locks.Info {
	t.Helper()
	slices.Sort(want)
	for {
		info := inspect(t, o)
		if slices.Equal(pids(info.Waiters), want) {
			return info
		}
		time.Sleep(time.Millisecond)
	}
}

func wantOwners(t testing.TB, o shm.Object, want ...int) {
	t.Helper()
	if got := pids(inspect(t, o).Owners); !slices.Equal(got, want) {
		t.Errorf("held by %v, want %v", got, want)
	}
}

var waitFor = proctest.NewRole("wait-for", func(ctx context.Context, c *proctest.Child, a holdArgs) error {
	c.Say("ready")
	if err := a.Lock.Acquire(ctx); err != nil {
		return err
	}
	c.Say("held")
	c.Hear()
	if err := a.Lock.Release(); err != nil {
		return err
	}
	c.Say("free")
	c.Hear()
	return nil
})

// Inspect names who holds and who waits, since when, for as long as that lasts and they live.
func TestInspect(t *testing.T) {
	proctest.Watch(t)
	l := newLock(t)
	self := os.Getpid()
	wantOwners(t, l)
	wantWaiters(t, l)
	proctest.Must(t, l.Acquire(t.Context()))
	wantOwners(t, l, self)

	start := time.Now()
	a := waitFor.Start(t, holdArgs{l})
	a.WaitLine("ready")
	first := wantWaiters(t, l, a.Pid()).Since
	if first.Before(start) || first.After(time.Now()) {
		t.Errorf("waits since %v, began after %v", first, start)
	}
	b := waitFor.Start(t, holdArgs{l})
	b.WaitLine("ready")
	if since := wantWaiters(t, l, a.Pid(), b.Pid()).Since; !since.Equal(first) {
		t.Errorf("waits since %v, the first since %v", since, first)
	}
	wantOwners(t, l, self)

	// A waiter that is killed is not named, and does not tell since when others wait.
	a.Kill()
	a.Wait()
	if since := wantWaiters(t, l, b.Pid()).Since; !since.After(first) {
		t.Errorf("waits since %v, who was killed since %v", since, first)
	}
	proctest.Must(t, l.Release())
	b.WaitLine("held")
	wantWaiters(t, l)
	wantOwners(t, l, b.Pid())
	// Nor is an owner that is killed.
	b.Kill()
	b.Wait()
	wantOwners(t, l)

	proctest.Must(t, l.Recover(t.Context(), nil))
	c := waitFor.Start(t, holdArgs{l})
	wantWaiters(t, l, c.Pid())
	proctest.Must(t, l.Release())
	c.WaitLine("ready")
	c.WaitLine("held")
	c.Tell("go")
	c.WaitLine("free")
	wantOwners(t, l)
	wantWaiters(t, l)
	proctest.Must(t, l.Segment().Check())
}

// The locks of values and arrays have records too; a wait for a given lock is one for that, whoever gave it.
func TestInspectGuards(t *testing.T) {
	proctest.Watch(t)
	ctx := t.Context()
	seg := proctest.Segment(t, 0)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	own, err := value.New(seg, "", 1)
	proctest.Must(t, err)
	row, err := array.New[int](seg, "", 1)
	proctest.Must(t, err)
	given, err := value.New(seg, "", 1, value.Options{Lock: l})
	proctest.Must(t, err)
	self := os.Getpid()
	for _, c := range []struct {
		m    locks.Mutex
		o    shm.Object
		wait func() error
	}{
		{own.Mutex(), own, func() error { return own.Set(ctx, 2) }},
		{row.Mutex(), row, func() error { return row.Set(ctx, 0, 2) }},
		{l, l, func() error { return given.Set(ctx, 2) }},
	} {
		proctest.Must(t, c.m.Acquire(ctx))
		done := make(chan error)
		for range 3 { // of one process, which is named once
			go func() { done <- c.wait() }()
		}
		wantWaiters(t, c.o, self)
		wantOwners(t, c.o, self)
		wantWaiters(t, given)
		proctest.Must(t, c.m.Release())
		for range 3 {
			proctest.Must(t, <-done)
		}
		wantWaiters(t, c.o)
	}

	freed, err := value.New(seg, "freed", 1)
	proctest.Must(t, err)
	proctest.Must(t, seg.Remove("freed"))
	proctest.Must(t, freed.Mutex().Acquire(ctx)) // what was open goes on
	wantOwners(t, freed, self)
	if _, err := locks.Inspect(new(locks.Lock)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a zero handle: %v", err)
	}
	proctest.Must(t, seg.Close())
	if _, err := locks.Inspect(l); !errors.Is(err, os.ErrClosed) {
		t.Errorf("after the segment's Close: %v", err)
	}
}

// What has no room in the table, or no memory for one, is not recorded, and waits like everything else.
func TestInspectFull(t *testing.T) {
	proctest.Watch(t)
	ctx := t.Context()
	for _, full := range []bool{false, true} {
		seg := proctest.Segment(t, 1)
		ls := make([]*locks.Lock, 70)
		for i := range ls {
			l, err := locks.NewLock(seg, "")
			proctest.Must(t, err)
			proctest.Must(t, l.Acquire(ctx))
			ls[i] = l
		}
		most := 64
		if full {
			for size := 1 << 20; size > 0; size /= 2 {
				for {
					if _, _, err := seg.Allocate(size); err != nil {
						break
					}
				}
			}
			most = 0
		}
		for round := range 2 { // what was taken out makes room
			var wg sync.WaitGroup
			for _, l := range ls {
				wg.Go(func() {
					if err := l.Acquire(ctx); err != nil {
						t.Error(err)
					} else if err := l.Release(); err != nil {
						t.Error(err)
					}
				})
			}
			recorded := func() (n int) {
				for _, l := range ls {
					n += len(inspect(t, l).Waiters)
				}
				return n
			}
			for recorded() < most {
				runtime.Gosched()
			}
			time.Sleep(20 * time.Millisecond) // so that the others would be recorded; nothing else depends on it
			if n := recorded(); n != most {
				t.Errorf("%d of 70 waits are recorded, want %d", n, most)
			}
			for _, l := range ls {
				proctest.Must(t, l.Release())
			}
			wg.Wait()
			if n := recorded(); n != 0 {
				t.Errorf("%d waits that are over are recorded", n)
			}
			for _, l := range ls {
				if round == 0 {
					proctest.Must(t, l.Acquire(ctx))
				}
			}
		}
		proctest.Must(t, seg.Check())
	}
}

// A wait that ends with its context leaves no record.
func TestInspectCancelled(t *testing.T) {
	proctest.Watch(t)
	l := newLock(t)
	proctest.Must(t, l.Acquire(t.Context()))
	for i := range 20 {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.Acquire(ctx) }()
		if i%2 == 0 {
			wantWaiters(t, l, os.Getpid())
		}
		cancel()
		if err := <-done; err != context.Canceled {
			t.Fatal(err)
		}
		wantWaiters(t, l)
	}
}

// A goroutine that waits in line behind others of its process is recorded when its turn to sleep comes, with
// the time when it began.
func TestInspectTurns(t *testing.T) {
	proctest.Watch(t)
	l := newLock(t)
	proctest.Must(t, l.Acquire(t.Context()))
	start := time.Now()
	first, cancel := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { left <- l.Acquire(first) }()
	wantWaiters(t, l, os.Getpid())
	second := make(chan error)
	go func() { second <- l.Acquire(t.Context()) }()
	time.Sleep(20 * time.Millisecond) // so that it is in line; else the test is weaker
	began := time.Now()
	cancel()
	if err := <-left; err != context.Canceled {
		t.Error(err)
	}
	if since := wantWaiters(t, l, os.Getpid()).Since; since.Before(start) || since.After(began) {
		t.Errorf("waits since %v, it began between %v and %v", since, start, began)
	}
	proctest.Must(t, l.Release())
	proctest.Must(t, <-second)
	wantOwners(t, l, os.Getpid())
	wantWaiters(t, l)
}
