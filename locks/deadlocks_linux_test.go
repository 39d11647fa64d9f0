package locks_test

import (
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// deadlocked looks until Deadlocks finds n cycles, and returns them and their processes.
func deadlocked(t testing.TB, seg *shm.Segment, n int) (cycles []locks.Cycle, pids [][]int) {
	t.Helper()
	proctest.Watch(t)
	for {
		cycles, err := locks.Deadlocks(seg)
		proctest.Must(t, err)
		if len(cycles) == n {
			for _, c := range cycles {
				pids = append(pids, waitersOf(t, c))
			}
			return cycles, pids
		}
		time.Sleep(time.Millisecond)
	}
}

// waitersOf checks that c is a cycle, and returns its processes in their order.
func waitersOf(t testing.TB, c locks.Cycle) (pids []int) {
	t.Helper()
	for i, e := range c.Edges {
		if next := c.Edges[(i+1)%len(c.Edges)].Waiter; e.Holder.Pid != next.Pid {
			t.Errorf("process %d holds what %d waits for, and %d waits: %v", e.Holder.Pid, e.Waiter.Pid, next.Pid, c)
		}
		if e.Since.IsZero() || e.Object.Kind == "" || e.Object.Handle.Generation == 0 {
			t.Errorf("it tells of a wait %+v", e)
		}
		pids = append(pids, e.Waiter.Pid)
	}
	return pids
}

// turned reports whether a is b, if one begins with another member.
func turned(a, b []int) bool {
	for range len(b) {
		if slices.Equal(a, b) {
			return true
		}
		b = append(slices.Clone(b[1:]), b[0])
	}
	return false
}

type crossArgs struct {
	A, B *locks.Lock
}

// takesBoth takes a lock, and another one when it is told to.
var takesBoth = proctest.NewRole("takes-both", func(ctx context.Context, c *proctest.Child, a crossArgs) error {
	if err := a.A.Acquire(ctx); err != nil {
		return err
	}
	c.Say("first")
	c.Hear()
	if err := a.B.Acquire(ctx); err != nil && !errors.Is(err, locks.ErrOwnerDied) {
		return err
	}
	c.Say("second")
	c.Hear()
	return nil
})

// Three processes wait for each other in turn: that is found, in their order, and is gone when one is killed.
func TestDeadlocks(t *testing.T) {
	seg := proctest.Segment(t, 0)
	var ls []*locks.Lock
	for _, name := range []string{"a", "b", ""} {
		l, err := locks.NewLock(seg, name)
		proctest.Must(t, err)
		ls = append(ls, l)
	}
	var ps []*proctest.Proc
	var order []int
	for i := range ls {
		p := takesBoth.Start(t, crossArgs{ls[i], ls[(i+1)%3]})
		p.WaitLine("first")
		ps = append(ps, p)
		order = append(order, p.Pid())
	}
	for _, p := range ps[:2] {
		p.Tell("second")
	}
	wantWaiters(t, ls[1], order[0])
	wantWaiters(t, ls[2], order[1])
	deadlocked(t, seg, 0) // a chain is no cycle
	ps[2].Tell("second")
	cycles, got := deadlocked(t, seg, 1)
	if !turned(got[0], order) || cycles[0].Certain {
		t.Errorf("%v, want a possible one of %v", cycles[0], order)
	}
	for _, e := range cycles[0].Edges {
		if want := ls[(slices.Index(order, e.Waiter.Pid)+1)%3]; e.Object.Handle != want.Handle() || e.Object.Name != want.Name() {
			t.Errorf("%v, want that %d waits for %q @%d", e, e.Waiter.Pid, want.Name(), want.Handle().Offset)
		}
	}
	ps[1].Kill()
	ps[1].Wait()
	ps[0].WaitLine("second") // of the dead, to be recovered
	deadlocked(t, seg, 0)
	proctest.Must(t, seg.Check())
	proctest.Must(t, seg.Close())
	_, err := locks.Deadlocks(seg)
	want(t, "closed segment", err, os.ErrClosed)
}

// A reader that writes, and one that waits for what the first holds: readers hold up writers, and writers new readers.
func TestDeadlocksOfReaders(t *testing.T) {
	seg := proctest.Segment(t, 0)
	rw, err := locks.NewRWLock(seg, "")
	proctest.Must(t, err)
	proctest.Must(t, rw.RAcquire(t.Context()))
	w := writerRole.Start(t, rwArgs{L: rw})
	wantWaiters(t, rw, w.Pid()) // for this process's reader
	if got := pids(inspect(t, rw).Owners); !slices.Contains(got, os.Getpid()) {
		t.Errorf("held by %v", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- rw.RAcquire(ctx) }() // once more, behind the writer
	want := []int{os.Getpid(), w.Pid()}
	if _, got := deadlocked(t, seg, 1); !turned(got[0], want) {
		t.Errorf("the cycle of %v, want %v", got[0], want)
	}
	cancel()
	<-done
	deadlocked(t, seg, 0)
	proctest.Must(t, rw.RRelease())
	w.WaitLine("in")
}

// Within a process cycles are told only if Owners say which goroutines hold and wait; between processes these come first.
func TestDeadlocksOfOwners(t *testing.T) {
	seg := proctest.Segment(t, 0)
	cross := func(known bool) (cancel func()) {
		ctx, cancelled := context.WithCancel(t.Context())
		a, err := locks.NewRLock(seg, "")
		proctest.Must(t, err)
		b, err := locks.NewRLock(seg, "")
		proctest.Must(t, err)
		done := make(chan error, 2)
		firsts := []*locks.Owner{a.Owner(), b.Owner()}
		for _, o := range firsts {
			proctest.Must(t, o.Acquire(ctx))
		}
		for i, first := range firsts {
			other := []*locks.RLock{b, a}[i]
			second := other.Owner()
			if known {
				second = other.Owner(first)
			}
			go func() {
				err := second.Acquire(ctx)
				first.Release()
				done <- err
			}()
		}
		wantWaiters(t, a, os.Getpid())
		wantWaiters(t, b, os.Getpid())
		return func() {
			cancelled()
			for range 2 {
				<-done
			}
		}
	}
	unknown := cross(false)
	deadlocked(t, seg, 0)
	known := cross(true)
	self := []int{os.Getpid(), os.Getpid()} // two goroutines of it
	cycles, got := deadlocked(t, seg, 1)
	if !slices.Equal(got[0], self) || !cycles[0].Certain || cycles[0].Edges[0].Object.Handle == cycles[0].Edges[1].Object.Handle {
		t.Errorf("%v, want two goroutines of this process", cycles[0])
	}
	knownToo := cross(true) // of the same process, and another one
	_, got = deadlocked(t, seg, 2)
	if !slices.Equal(got[0], self) || !slices.Equal(got[1], self) {
		t.Errorf("cycles of %v, want two of this process", got)
	}
	knownToo()

	// A possible one between two processes comes after that.
	l, m := newLockIn(t, seg), newLockIn(t, seg)
	proctest.Must(t, l.Acquire(t.Context()))
	p := takesBoth.Start(t, crossArgs{m, l})
	p.WaitLine("first")
	p.Tell("second")
	waiting, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- m.Acquire(waiting) }()
	cycles, got = deadlocked(t, seg, 2)
	if !slices.Equal(got[0], self) || !turned(got[1], []int{os.Getpid(), p.Pid()}) || !cycles[0].Certain || cycles[1].Certain {
		t.Errorf("%v", cycles)
	}
	cancel()
	<-done
	known()
	unknown()
	deadlocked(t, seg, 0)
}

func newLockIn(t testing.TB, seg *shm.Segment) *locks.Lock {
	t.Helper()
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	return l
}

type crossOwnersArgs struct {
	A, B *locks.RLock
}

// ownsBoth is takesBoth, with Owners of one goroutine.
var ownsBoth = proctest.NewRole("owns-both", func(ctx context.Context, c *proctest.Child, a crossOwnersArgs) error {
	first := a.A.Owner()
	if err := first.Acquire(ctx); err != nil {
		return err
	}
	c.Say("first")
	c.Hear()
	return a.B.Owner(first).Acquire(ctx)
})

// A cycle that is certain and one that is possible have the same members: it is told once. A certain one of two comes before
// a possible one, whoever is in it.
func TestDeadlocksCertainFirst(t *testing.T) {
	seg := proctest.Segment(t, 0)
	l, m := newLockIn(t, seg), newLockIn(t, seg)
	p, q := takesBoth.Start(t, crossArgs{l, m}), takesBoth.Start(t, crossArgs{m, l})
	a, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	b, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	r, s := ownsBoth.Start(t, crossOwnersArgs{a, b}), ownsBoth.Start(t, crossOwnersArgs{b, a})
	for _, x := range []*proctest.Proc{p, q, r, s} {
		x.WaitLine("first")
	}
	for _, x := range []*proctest.Proc{p, q, r, s} {
		x.Tell("second")
	}
	_, got := deadlocked(t, seg, 2) // p and q, who have the lower ids, come second
	if !turned(got[0], []int{r.Pid(), s.Pid()}) || !turned(got[1], []int{p.Pid(), q.Pid()}) {
		t.Errorf("cycles of %v, want %v and then %v", got, []int{r.Pid(), s.Pid()}, []int{p.Pid(), q.Pid()})
	}
}

type meetArgs struct {
	B *locks.Barrier
	L *locks.Lock // nil, or what one goroutine wants while another one waits at the barrier
}

var meets = proctest.NewRole("meets", func(ctx context.Context, c *proctest.Child, a meetArgs) error {
	if a.L != nil {
		go a.L.Acquire(ctx)
	}
	_, err := a.B.Wait(ctx)
	return err
})

// Those who have come to a barrier do not hold up each other, but who has come with one goroutine may be to come with another.
func TestDeadlocksAtBarrier(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b, err := locks.NewBarrier(seg, "", 3)
	proctest.Must(t, err)
	p, q := meets.Start(t, meetArgs{B: b}), meets.Start(t, meetArgs{B: b})
	wantWaiters(t, b, p.Pid(), q.Pid())
	if cycles, err := locks.Deadlocks(seg); len(cycles) != 0 || err != nil {
		t.Errorf("two wait for a third at a barrier: %v, %v", cycles, err)
	}
	_, err = b.Wait(t.Context())
	proctest.Must(t, errors.Join(err, p.Wait(), q.Wait()))

	b, err = locks.NewBarrier(seg, "", 3)
	proctest.Must(t, err)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	proctest.Must(t, l.Acquire(t.Context()))
	p = meets.Start(t, meetArgs{b, l})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := b.Wait(ctx)
		done <- err
	}()
	if _, got := deadlocked(t, seg, 1); !turned(got[0], []int{os.Getpid(), p.Pid()}) {
		t.Errorf("the cycle of %v, want this process and %d", got[0], p.Pid())
	}
	cancel()
	want(t, "Wait", <-done, locks.ErrBroken)
	p.Kill()
	p.Wait()
}

func TestCycleString(t *testing.T) {
	for _, x := range []struct {
		c    locks.Cycle
		want string
	}{
		{locks.Cycle{}, "possible deadlock: "},
		{locks.Cycle{Certain: true, Edges: []locks.Edge{
			{
				Waiter: shm.Participant{Pid: 1},
				Object: shm.ObjectInfo{Kind: "rlock", Name: "a", Handle: shm.Handle{Offset: 64}},
				Holder: shm.Participant{Pid: 2},
				Since:  time.Now().Add(-time.Hour - 100*time.Microsecond),
			},
			{Waiter: shm.Participant{Pid: 2}, Object: shm.ObjectInfo{Handle: shm.Handle{Offset: 128}}},
		}}, `^deadlock: process 1 has waited 1h0m0(\.\d+)?s for rlock "a" @64, held by process 2; ` +
			`process 2 has waited for an object @128, held by a process that has ended$`},
		{locks.Cycle{Edges: []locks.Edge{{Object: shm.ObjectInfo{Kind: "barrier"}}}}, "to which a process that has ended is to come$"},
		{locks.Cycle{Edges: []locks.Edge{{Object: shm.ObjectInfo{Kind: "rwlock"}}}}, "which a process that has ended has, or is to have first$"},
	} {
		if got := x.c.String(); !regexp.MustCompile(x.want).MatchString(got) {
			t.Errorf("it says %s, want %s", got, x.want)
		}
	}
}

// keepsArgs is something of each kind, and a lock.
type keepsArgs struct {
	Do   string
	Lock *locks.Lock
	L    *locks.Lock
	R    *locks.RLock
	W    *locks.RWLock
	S    *locks.Semaphore // with Recover
	P    *locks.Semaphore
	B    *locks.BoundedSemaphore // with Recover
	E    *locks.Event
	Bar  *locks.Barrier
	C    *locks.Condition
	V    *value.Value[int]
	A    *array.Array[int]
}

// keeps takes something, and then wants the lock.
var keeps = proctest.NewRole("keeps", func(ctx context.Context, c *proctest.Child, a keepsArgs) error {
	take := map[string]func(context.Context) error{
		"lock":             a.L.Acquire,
		"rlock":            a.R.Owner().Acquire,
		"reader":           a.W.RAcquire,
		"writer":           a.W.Acquire,
		"semaphore":        a.S.Acquire,
		"plain semaphore":  a.P.Acquire,
		"bounded":          a.B.Acquire,
		"condition's lock": a.C.Acquire,
		"value's lock":     a.V.Mutex().Acquire,
		"array's lock":     a.A.Mutex().Acquire,
	}[a.Do]
	if take != nil {
		if err := take(ctx); err != nil {
			return err
		}
	}
	if a.Do != "barrier" { // to that it is to come
		a.Bar.Close()
	}
	c.Say("has it")
	return a.Lock.Acquire(ctx)
})

// Which kinds of waits are found, and which are not since nobody knows who would end them.
func TestDeadlocksKinds(t *testing.T) {
	seg := proctest.Segment(t, 0)
	a, errs := keepsArgs{Lock: newLockIn(t, seg), L: newLockIn(t, seg)}, [9]error{}
	a.R, errs[0] = locks.NewRLock(seg, "")
	a.W, errs[1] = locks.NewRWLock(seg, "")
	a.S, errs[2] = locks.NewSemaphore(seg, "", 1, locks.SemaphoreOptions{Recover: true})
	a.P, errs[3] = locks.NewSemaphore(seg, "", 1)
	a.B, errs[4] = locks.NewBoundedSemaphore(seg, "", 1, locks.SemaphoreOptions{Recover: true})
	a.E, errs[5] = locks.NewEvent(seg, "")
	a.C, errs[6] = locks.NewCondition(seg, "", nil)
	a.V, errs[7] = value.New(seg, "", 0)
	a.A, errs[8] = array.New[int](seg, "", 1)
	proctest.Must(t, errors.Join(errs[:]...))
	proctest.Must(t, a.Lock.Acquire(t.Context()))

	waits := func(ctx context.Context) error {
		err := a.C.Acquire(ctx)
		if err == nil {
			defer a.C.Release()
			err = a.C.Wait(ctx)
		}
		return err
	}
	for _, k := range []struct {
		do    string
		found bool
		o     func() shm.Object
		wait  func(context.Context) error
	}{
		{"lock", true, func() shm.Object { return a.L }, a.L.Acquire},
		{"rlock", true, func() shm.Object { return a.R }, a.R.Owner().Acquire},
		{"reader", true, func() shm.Object { return a.W }, a.W.Acquire},
		{"writer", true, func() shm.Object { return a.W }, a.W.RAcquire},
		{"semaphore", true, func() shm.Object { return a.S }, a.S.Acquire},
		{"plain semaphore", false, func() shm.Object { return a.P }, a.P.Acquire},
		{"bounded", true, func() shm.Object { return a.B }, a.B.Acquire},
		{"event", false, func() shm.Object { return a.E }, a.E.Wait},
		{"barrier", true, func() shm.Object { return a.Bar }, func(ctx context.Context) error { _, err := a.Bar.Wait(ctx); return err }},
		{"notification", false, func() shm.Object { return a.C }, waits},
		{"condition's lock", true, func() shm.Object { return a.C }, a.C.Acquire},
		{"value's lock", true, func() shm.Object { return a.V }, func(ctx context.Context) error { return a.V.Set(ctx, 1) }},
		{"array's lock", true, func() shm.Object { return a.A }, func(ctx context.Context) error { return a.A.Set(ctx, 0, 1) }},
	} {
		t.Run(k.do, func(t *testing.T) {
			var err error
			a.Bar, err = locks.NewBarrier(seg, "", 2)
			proctest.Must(t, err)
			a.Do = k.do
			p := keeps.Start(t, a)
			p.WaitLine("has it")
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- k.wait(ctx) }()
			wantWaiters(t, k.o(), os.Getpid())
			wantWaiters(t, a.Lock, p.Pid())
			if !k.found {
				deadlocked(t, seg, 0)
			} else if cycles, got := deadlocked(t, seg, 1); !turned(got[0], []int{os.Getpid(), p.Pid()}) {
				t.Errorf("%v, want this process and %d", cycles[0], p.Pid())
			}
			cancel()
			if err := <-done; !errors.Is(err, context.Canceled) {
				t.Errorf("the wait ended with %v", err)
			}
			p.Kill()
			p.Wait()
		})
	}

	// Who waits for a notification needs the lock then, too.
	t.Run("condition's lock", func(t *testing.T) {
		proctest.Must(t, a.C.Mutex().Recover(t.Context(), nil))
		proctest.Must(t, a.C.Release())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- waits(ctx) }()
		wantWaiters(t, a.C, os.Getpid())
		a.Do = "condition's lock"
		p := keeps.Start(t, a)
		p.WaitLine("has it")
		deadlocked(t, seg, 1)
		cancel()
		p.Kill()
		p.Wait()
		<-done
	})
}
