package locks_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/rw"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

func newRWLock(t testing.TB) *locks.RWLock {
	t.Helper()
	l, err := locks.NewRWLock(proctest.Segment(t, 1), "rwlock")
	proctest.Must(t, err)
	return l
}

// tries wants that a try to take l for writing, and one for reading, end so; what it took it releases.
func tries(t testing.TB, l *locks.RWLock, write, read bool) {
	t.Helper()
	if ok, err := l.TryAcquire(); ok != write || err != nil {
		t.Errorf("TryAcquire: %v, %v, want %v", ok, err, write)
	} else if ok {
		proctest.Must(t, l.Release())
	}
	if ok, err := l.TryRAcquire(); ok != read || err != nil {
		t.Errorf("TryRAcquire: %v, %v, want %v", ok, err, read)
	} else if ok {
		proctest.Must(t, l.RRelease())
	}
}

func TestRWLock(t *testing.T) {
	l := newRWLock(t)
	m, err := locks.OpenRWLock(l.Segment(), "rwlock")
	proctest.Must(t, err)
	tries(t, l, true, true)
	want(t, "Release of what nobody has", l.Release(), locks.ErrNotLocked)
	want(t, "RRelease of what nobody has", l.RRelease(), locks.ErrNotLocked)

	proctest.Must(t, l.RAcquire(over())) // need not wait
	proctest.Must(t, m.RAcquire(over()))
	proctest.Must(t, m.RAcquire(over()))
	tries(t, m, false, true)
	want(t, "Acquire of what others read", l.Acquire(over()), context.Canceled)
	tries(t, m, false, true) // nothing is left of that
	want(t, "Release of what is read", l.Release(), locks.ErrNotLocked)
	for range 3 {
		proctest.Must(t, l.RRelease()) // any handle, any goroutine of the process
	}
	want(t, "RRelease once more", l.RRelease(), locks.ErrNotLocked)

	proctest.Must(t, m.Acquire(over()))
	tries(t, l, false, false)
	want(t, "RRelease of what is written", l.RRelease(), locks.ErrNotLocked)
	soon, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := l.RAcquire(soon); err != context.DeadlineExceeded {
		t.Errorf("RAcquire until a deadline: %v, want DeadlineExceeded itself", err)
	}
	want(t, "Acquire with a context that is done", l.Acquire(over()), context.Canceled)
	proctest.Must(t, l.Release())
	tries(t, l, true, true)
	proctest.Must(t, l.Recover(over(), func() error { t.Error("there is nothing to repair"); return nil }))
	tries(t, m, false, false)
	proctest.Must(t, l.Release())

	proctest.Must(t, m.RAcquire(over()))
	proctest.Must(t, m.Close())
	for what, f := range map[string]func() error{
		"Acquire":     func() error { return m.Acquire(context.Background()) },
		"Release":     m.Release,
		"RAcquire":    func() error { return m.RAcquire(context.Background()) },
		"RRelease":    m.RRelease,
		"Recover":     func() error { return m.Recover(context.Background(), nil) },
		"TryAcquire":  func() error { _, err := m.TryAcquire(); return err },
		"TryRAcquire": func() error { _, err := m.TryRAcquire(); return err },
	} {
		want(t, what+" of a closed handle", f(), os.ErrClosed)
	}
	tries(t, l, false, true)
	proctest.Must(t, l.RRelease())
	proctest.Must(t, l.Segment().Check())

	_, err = locks.OpenLock(l.Segment(), "rwlock")
	want(t, "opened as a lock", err, shm.ErrKind)
	o, err := locks.OpenOrNewRWLock(l.Segment(), "rwlock")
	proctest.Must(t, err)
	proctest.Must(t, unmarshal(t, new(locks.RWLock), o))
	if o.Handle() != l.Handle() {
		t.Error("OpenOrNewRWLock made another one")
	}
}

func TestRWLockString(t *testing.T) {
	l := newRWLock(t)
	says := func(s string) {
		t.Helper()
		if got := l.String(); got != s {
			t.Errorf("%q, want %q", got, s)
		}
	}
	says(`rwlock "rwlock", free`)
	proctest.Must(t, l.RAcquire(t.Context()))
	proctest.Must(t, l.RAcquire(t.Context()))
	says(`rwlock "rwlock", 2 read, this process among them`)
	proctest.Must(t, l.RRelease())
	proctest.Must(t, l.RRelease())
	proctest.Must(t, l.Acquire(t.Context()))
	says(`rwlock "rwlock", held for writing by this process`)
	proctest.Must(t, l.Release())
	p := writerRole.Start(t, rwArgs{L: l})
	p.WaitLine("in")
	says(fmt.Sprintf(`rwlock "rwlock", held for writing by process %d`, p.Pid()))
	p.Kill()
	p.Wait()
	want(t, "RAcquire", l.RAcquire(t.Context()), locks.ErrOwnerDied)
	says(`rwlock "rwlock", to be recovered: its writer died`)
	proctest.Must(t, l.Close())
	says(`rwlock "rwlock", closed`)
	if s := new(locks.RWLock).String(); s != "rwlock" {
		t.Errorf("a zero handle: %q", s)
	}
}

type rwArgs struct {
	L      *locks.RWLock
	Shared *shm.Block
	N      int
}

// readerRole reads until it is told to end, writerRole writes.
var (
	readerRole = proctest.NewRole("rw-reader", func(ctx context.Context, c *proctest.Child, a rwArgs) error {
		if err := a.L.RAcquire(ctx); err != nil {
			return err
		}
		c.Say("in")
		c.Hear()
		return a.L.RRelease()
	})
	writerRole = proctest.NewRole("rw-writer", func(ctx context.Context, c *proctest.Child, a rwArgs) error {
		if err := a.L.Acquire(ctx); err != nil {
			return err
		}
		c.Say("in")
		c.Hear()
		return a.L.Release()
	})
)

// With leaves a writer's lock as its death would if f panics.
func TestRWLockWith(t *testing.T) {
	l := newRWLock(t)
	proctest.Must(t, locks.With(t.Context(), l, func() error { tries(t, l, false, false); return nil }))
	tries(t, l, true, true)
	func() {
		defer func() { recover() }()
		locks.With(t.Context(), l, func() error { panic("in f") })
	}()
	want(t, "RAcquire", l.RAcquire(t.Context()), locks.ErrOwnerDied)
	proctest.Must(t, l.Recover(t.Context(), nil))
	proctest.Must(t, l.Release())
	tries(t, l, true, true)
}

// Processes exclude each other as goroutines do.
func TestRWLockProcesses(t *testing.T) {
	l := newRWLock(t)
	r := readerRole.Start(t, rwArgs{L: l})
	r.WaitLine("in")
	tries(t, l, false, true)
	want(t, "RRelease of what another reads", l.RRelease(), locks.ErrNotLocked)
	w := writerRole.Start(t, rwArgs{L: l})
	w.Asleep() // it waits for the reader
	tries(t, l, false, false)
	want(t, "Release of what another waits to write", l.Release(), locks.ErrNotLocked)
	q := readerRole.Start(t, rwArgs{L: l})
	q.Asleep() // behind the writer
	r.Tell("leave")
	proctest.Must(t, r.Wait())
	w.WaitLine("in")
	tries(t, l, false, false)
	want(t, "Release of what another writes", l.Release(), locks.ErrNotOwner)
	w.Tell("leave")
	proctest.Must(t, w.Wait())
	q.WaitLine("in")
	tries(t, l, false, true)
	q.Tell("leave")
	proctest.Must(t, q.Wait())
	tries(t, l, true, true)
}

// A reader's death frees what it had, for a writer that waits and for one that comes; nothing is to be recovered.
func TestReaderKilled(t *testing.T) {
	l := newRWLock(t)
	r, s := readerRole.Start(t, rwArgs{L: l}), readerRole.Start(t, rwArgs{L: l})
	r.WaitLine("in")
	s.WaitLine("in")
	waiting := make(chan error, 1)
	go func() { waiting <- l.Acquire(context.Background()) }()
	until(t, func() bool { return !canRead(t, l) }) // the writer waits
	r.Kill()
	r.Wait()
	s.Kill()
	s.Wait()
	proctest.Must(t, <-waiting)
	proctest.Must(t, l.Release())

	r = readerRole.Start(t, rwArgs{L: l})
	r.WaitLine("in")
	r.Kill()
	r.Wait()
	proctest.Must(t, l.Acquire(over()))
	proctest.Must(t, l.Release())
	r = readerRole.Start(t, rwArgs{L: l})
	r.WaitLine("in")
	r.Kill()
	r.Wait()
	for {
		if ok, err := l.TryAcquire(); err != nil {
			t.Fatal(err)
		} else if ok {
			break
		}
	}
	proctest.Must(t, l.Release())
	proctest.Must(t, l.Segment().Check())
}

// until waits for cond.
func until(t testing.TB, cond func() bool) {
	t.Helper()
	proctest.Watch(t)
	for !cond() {
		time.Sleep(100 * time.Microsecond)
	}
}

func canRead(t testing.TB, l *locks.RWLock) bool {
	ok, err := l.TryRAcquire()
	proctest.Must(t, err)
	if ok {
		proctest.Must(t, l.RRelease())
	}
	return ok
}

// A writer's death is told to readers and writers until a repair has succeeded, one that only waited is nothing.
func TestWriterKilled(t *testing.T) {
	l := newRWLock(t)
	proctest.Must(t, l.RAcquire(t.Context()))
	w := writerRole.Start(t, rwArgs{L: l})
	w.Asleep()
	tries(t, l, false, false)
	w.Kill()
	w.Wait()
	proctest.Must(t, l.RAcquire(t.Context()))
	proctest.Must(t, l.RRelease())
	proctest.Must(t, l.RRelease())
	proctest.Must(t, l.Acquire(t.Context()))
	proctest.Must(t, l.Release())

	w = writerRole.Start(t, rwArgs{L: l})
	w.WaitLine("in")
	reads, writes := make(chan error), make(chan error)
	go func() { reads <- l.RAcquire(context.Background()) }()
	go func() { writes <- l.Acquire(context.Background()) }()
	w.Kill()
	w.Wait()
	want(t, "RAcquire that waited", <-reads, locks.ErrOwnerDied)
	want(t, "Acquire that waited", <-writes, locks.ErrOwnerDied)
	_, err := l.TryAcquire()
	want(t, "TryAcquire", err, locks.ErrOwnerDied)
	_, err = l.TryRAcquire()
	want(t, "TryRAcquire", err, locks.ErrOwnerDied)
	want(t, "Recover that fails", l.Recover(t.Context(), func() error { return os.ErrInvalid }), os.ErrInvalid)
	want(t, "RAcquire", l.RAcquire(t.Context()), locks.ErrOwnerDied)
	proctest.Must(t, l.Recover(t.Context(), func() error {
		want(t, "RAcquire while it is repaired", l.RAcquire(over()), locks.ErrOwnerDied)
		want(t, "Release while it is repaired", l.Release(), locks.ErrNotLocked)
		return nil
	}))
	tries(t, l, false, false)
	proctest.Must(t, l.Release())
	tries(t, l, true, true)
}

// rwLeaver reads, and closes the segment; N says to write.
var rwLeaver = proctest.NewRole("rw-leaver", func(ctx context.Context, c *proctest.Child, a rwArgs) error {
	take := a.L.RAcquire
	if a.N != 0 {
		take = a.L.Acquire
	}
	if err := take(ctx); err != nil {
		return err
	}
	if err := a.L.Segment().Close(); err != nil {
		return err
	}
	c.Say("left")
	c.Hear()
	return nil
})

// Who leaves the segment gives up what it has.
func TestRWLockLeft(t *testing.T) {
	l := newRWLock(t)
	for n := range 2 {
		p := rwLeaver.Start(t, rwArgs{L: l, N: n})
		p.WaitLine("left")
		if n == 1 {
			want(t, "RAcquire", l.RAcquire(t.Context()), locks.ErrOwnerDied)
			proctest.Must(t, l.Recover(t.Context(), nil))
		} else {
			proctest.Must(t, l.Acquire(t.Context()))
		}
		proctest.Must(t, l.Release())
		p.Tell("end")
		proctest.Must(t, p.Wait())
	}
}

// A writer that waits for readers, and goroutines that queue behind it, go on when their context ends, their handle or
// the segment is closed, or the reader leaves; none of that costs the others anything.
func TestRWLockWaiters(t *testing.T) {
	proctest.Watch(t)
	for i := range 60 {
		seg, err := shm.Anonymous(1)
		proctest.Must(t, err)
		l, err := locks.NewRWLock(seg, "rwlock")
		proctest.Must(t, err)
		m, err := locks.OpenRWLock(seg, "rwlock")
		proctest.Must(t, err)
		proctest.Must(t, l.RAcquire(t.Context()))
		ctx, cancel := context.WithCancel(t.Context())
		cancelled, closed, reads, writes := make(chan error, 2), make(chan error, 2), make(chan error), make(chan error)
		go func() { cancelled <- l.Acquire(ctx) }()
		go func() { closed <- m.Acquire(context.Background()) }()
		if i%3 == 0 {
			until(t, func() bool { return !canRead(t, l) }) // a writer waits
		}
		go func() { reads <- l.RAcquire(context.Background()) }()
		go func() { writes <- l.Acquire(context.Background()) }()
		if i%10 == 0 {
			time.Sleep(10 * time.Millisecond) // so that they sleep; nothing depends on it
		}
		cancel()
		want(t, "cancelled", <-cancelled, context.Canceled)
		proctest.Must(t, m.Close())
		want(t, "closed", <-closed, os.ErrClosed)
		if i%2 == 0 {
			proctest.Must(t, l.RRelease())
			second := reads
			select { // in either order
			case err = <-reads:
				proctest.Must(t, l.RRelease())
				second = writes
			case err = <-writes:
				proctest.Must(t, l.Release())
			}
			proctest.Must(t, err)
			proctest.Must(t, <-second)
		} else {
			proctest.Must(t, seg.Close())
			if err := <-reads; err != nil { // it may have been before the writers
				want(t, "closed segment", err, os.ErrClosed)
			}
			want(t, "closed segment", <-writes, os.ErrClosed)
			want(t, "closed segment", l.RRelease(), os.ErrClosed)
		}
		proctest.Must(t, seg.Close())
	}
}

// hammerRW lets goroutines read and write two words of shared memory, which writers keep equal, for n times each.
func hammerRW(ctx context.Context, l *locks.RWLock, b *shm.Block, readers, writers, n int) error {
	words := [2]*atomic.Uint32{b.Uint32(0), b.Uint32(4)}
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	fail := func(err error) {
		if err != nil {
			failed.CompareAndSwap(nil, &err)
		}
	}
	for range readers {
		wg.Go(func() {
			for i := range n {
				if err := l.RAcquire(ctx); err != nil {
					fail(err)
					return
				}
				x := words[0].Load()
				if i%16 == 0 {
					runtime.Gosched()
				}
				if y := words[1].Load(); x != y {
					fail(fmt.Errorf("a reader saw %d and %d", x, y))
				}
				fail(l.RRelease())
			}
		})
	}
	for range writers {
		wg.Go(func() {
			for i := range n {
				if err := l.Acquire(ctx); err != nil {
					fail(err)
					return
				}
				x := words[0].Load()
				words[0].Store(x + 1)
				if i%16 == 0 {
					runtime.Gosched()
				}
				words[1].Store(x + 1)
				fail(l.Release())
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

var rwHammer = proctest.NewRole("rw-hammer", func(ctx context.Context, c *proctest.Child, a rwArgs) error {
	return hammerRW(ctx, a.L, a.Shared, 3, 2, a.N)
})

// Readers and writers of several processes exclude each other, and none of them is left behind.
func TestRWLockHammer(t *testing.T) {
	l := newRWLock(t)
	b, err := shm.NewBlock(l.Segment(), "", 16)
	proctest.Must(t, err)
	n := 20000
	if testing.Short() {
		n = 300
	}
	const children = 3
	var ps []*proctest.Proc
	for range children {
		ps = append(ps, rwHammer.Start(t, rwArgs{l, b, n}))
	}
	proctest.Must(t, hammerRW(t.Context(), l, b, 3, 2, n))
	for _, p := range ps {
		proctest.Must(t, p.Wait())
	}
	if x := b.Uint32(0).Load(); x != uint32((children+1)*2*n) {
		t.Errorf("%d writes counted, want %d", x, (children+1)*2*n)
	}
	proctest.Must(t, l.Acquire(over()))
	proctest.Must(t, l.Release())
	tries(t, l, true, true)
	proctest.Must(t, l.Segment().Check())
}

// Neither who reads nor who writes waits without end while others do nothing else.
func TestRWLockStarvesNobody(t *testing.T) {
	l := newRWLock(t)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	loop := func(take func(context.Context) error, free func() error) *atomic.Int64 {
		count := new(atomic.Int64)
		wg.Go(func() {
			for ctx.Err() == nil {
				if take(ctx) == nil {
					count.Add(1)
					runtime.Gosched()
					if err := free(); err != nil {
						t.Error(err)
					}
				}
			}
		})
		return count
	}
	var counts []*atomic.Int64
	for range 4 {
		counts = append(counts, loop(l.RAcquire, l.RRelease))
	}
	for range 2 {
		counts = append(counts, loop(l.Acquire, l.Release))
	}
	// As many more, which always overlap, in another process: there is never a moment without a reader.
	p := rwOverlap.Start(t, rwArgs{L: l})
	p.WaitLine("reading")
	for _, c := range counts {
		until(t, func() bool { return c.Load() > 20 }) // everybody gets on
	}
	cancel()
	wg.Wait()
	p.Tell("end")
	proctest.Must(t, p.Wait())
}

// rwOverlap reads with goroutines of which each waits until another one reads before it leaves, as long as none queues.
var rwOverlap = proctest.NewRole("rw-overlap", func(ctx context.Context, c *proctest.Child, a rwArgs) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var in atomic.Int64
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				if a.L.RAcquire(ctx) != nil {
					return
				}
				in.Add(1)
				for began := time.Now(); in.Load() < 2 && time.Since(began) < 100*time.Microsecond; {
					runtime.Gosched()
				}
				in.Add(-1)
				a.L.RRelease()
			}
		})
	}
	c.Say("reading")
	c.Hear()
	cancel()
	wg.Wait()
	return nil
})

// More processes read than there are cells: the next waits until one has left, and so do writers.
func TestRWLockManyProcesses(t *testing.T) {
	seg := proctest.Segment(t, 1)
	l, err := locks.NewRWLock(seg, "rwlock")
	proctest.Must(t, err)
	tries(t, l, true, true) // this process has the first cell, and now another's who needs it
	var ps []*proctest.Proc
	for range rw.Cells {
		ps = append(ps, readerRole.Start(t, rwArgs{L: l}))
	}
	for _, p := range ps {
		p.WaitLine("in")
	}
	tries(t, l, false, false)
	want(t, "RAcquire where there is no cell", l.RAcquire(over()), context.Canceled)
	more := readerRole.Start(t, rwArgs{L: l})
	more.Asleep()
	const i = 7
	for j, p := range ps { // all but one: it waits for one of them
		if j != i {
			p.Tell("leave")
		}
	}
	for j, p := range ps {
		if j != i {
			proctest.Must(t, p.Wait())
		}
	}
	ps[i].Kill()
	ps[i].Wait()
	more.WaitLine("in")
	tries(t, l, false, true) // in a cell of the dead
	more.Tell("leave")
	proctest.Must(t, more.Wait())
	tries(t, l, true, true)
	proctest.Must(t, seg.Check())
}
