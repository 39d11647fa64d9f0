package locks_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

func newCondition(t testing.TB) *locks.Condition {
	t.Helper()
	c, err := locks.NewCondition(proctest.Segment(t, 0), "cond", nil)
	proctest.Must(t, err)
	return c
}

type condArgs struct {
	C *locks.Condition
}

// condWaiter waits, each time that it is told to, for as long as it is told, and says how that ended.
var condWaiter = proctest.NewRole("cond-waiter", func(ctx context.Context, c *proctest.Child, a condArgs) error {
	for {
		line := c.Hear()
		if line == "end" {
			return nil
		}
		if err := waitOnce(a.C, line, func() { c.Say("waits") }, func(err error) { c.Say("%v", err) }); err != nil {
			return err
		}
	}
})

// waitOnce waits for at most that long, "" is for ever; waits is called with the lock held, woke as soon as Wait returned.
func waitOnce(c *locks.Condition, long string, waits func(), woke func(error)) error {
	ctx := context.Background()
	if long != "" {
		d, err := time.ParseDuration(long)
		if err != nil {
			return err
		}
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	if err := c.Acquire(context.Background()); err != nil {
		return err
	}
	waits()
	woke(c.Wait(ctx))
	return c.Release()
}

// condWait is somebody who waits: a process, or a goroutine of this one.
type condWait struct {
	p    *proctest.Proc
	woke chan string
}

// startWait starts one and returns when it waits: whoever gets the lock then finds its wait begun.
func startWait(t testing.TB, c *locks.Condition, process bool, long string) *condWait {
	t.Helper()
	if process {
		p := condWaiter.Start(t, condArgs{c})
		p.Tell(long)
		p.WaitLine("waits")
		begun(t, c)
		return &condWait{p: p}
	}
	w := &condWait{woke: make(chan string, 1)}
	h := reopened(t, c)
	waits := make(chan struct{})
	go func() {
		err := waitOnce(h, long, func() { close(waits) }, func(err error) { w.woke <- fmt.Sprint(err) })
		if err != nil {
			t.Error(err)
		}
	}()
	<-waits
	begun(t, c)
	return w
}

// begun waits until those who have said that they wait do.
func begun(t testing.TB, c *locks.Condition) {
	proctest.Must(t, c.Acquire(t.Context()))
	proctest.Must(t, c.Release())
}

func reopened(t testing.TB, c *locks.Condition) *locks.Condition {
	t.Helper()
	h, err := locks.OpenCondition(c.Segment(), c.Name())
	proctest.Must(t, err)
	return h
}

// ended waits until it was woken, and checks with which error.
func (w *condWait) ended(t testing.TB, want string) {
	t.Helper()
	var got string
	if w.p != nil {
		got = w.p.Line()
		w.p.Tell("end")
		proctest.Must(t, w.p.Wait())
	} else {
		got = <-w.woke
	}
	if got != want {
		t.Errorf("Wait returned %s, want %s", got, want)
	}
}

const notified = "<nil>"

// asked notifies, holding the lock.
func asked(t testing.TB, c *locks.Condition, notify func() error) {
	t.Helper()
	proctest.Must(t, c.Acquire(t.Context()))
	proctest.Must(t, notify())
	proctest.Must(t, c.Release())
}

// nobodyWaits checks that no wait is left over.
func nobodyWaits(t testing.TB, c *locks.Condition) {
	t.Helper()
	c.Segment().Repair() // from now on all know who is dead
	asked(t, c, func() error { return c.Notify(0) })
	if got, want := fmt.Sprint(c), fmt.Sprintf("condition %q, free, 0 wait", c.Name()); got != want {
		t.Errorf("it says %s, want %s", got, want)
	}
	r := new(shm.Ref) // not for longer: some tests look when the condition has gone
	mem, err := shm.Kind{Name: "cond"}.OpenIn(r, c.Segment(), c.Handle())
	proctest.Must(t, err)
	for at := 128; at < len(mem); at += 32 { // not even of the dead
		if w := binary.LittleEndian.Uint64(mem[at+8:]); w&^(15<<28) != 0 {
			t.Errorf("the record at %d has waits %#x", at, w)
		}
	}
	runtime.KeepAlive(r)
}

// bothWays runs f with waiters that are processes, and that are goroutines of this one.
func bothWays(t *testing.T, f func(t *testing.T, process bool)) {
	for _, process := range []bool{false, true} {
		t.Run(fmt.Sprintf("process=%t", process), func(t *testing.T) { f(t, process) })
	}
}

func TestCondition(t *testing.T) {
	c := newCondition(t)
	want(t, "Wait without the lock", c.Wait(t.Context()), locks.ErrNotLocked)
	want(t, "Notify without the lock", c.Notify(1), locks.ErrNotLocked)
	want(t, "NotifyAll without the lock", c.NotifyAll(), locks.ErrNotLocked)
	want(t, "WaitFor without the lock", c.WaitFor(t.Context(), func() bool { return true }), locks.ErrNotLocked)
	l, err := locks.OpenLock(c.Segment(), "cond")
	proctest.Must(t, err)
	proctest.Must(t, l.Acquire(t.Context()))
	if ok, err := c.TryAcquire(); ok || err != nil {
		t.Errorf("TryAcquire of a held lock: %v, %v", ok, err)
	}
	proctest.Must(t, c.WaitFor(over(), func() bool { return true }))
	for _, n := range []int{0, -1, 1, 1000} {
		proctest.Must(t, c.Notify(n)) // remembered by nobody
	}
	want(t, "Wait with a context that is done", c.Wait(over()), context.Canceled)
	proctest.Must(t, c.Mutex().Release())
	p := hold.Start(t, holdArgs{l})
	p.WaitLine("held")
	want(t, "Notify while another process has the lock", c.Notify(1), locks.ErrNotOwner)
	want(t, "Wait while another process has the lock", c.Wait(t.Context()), locks.ErrNotOwner)
	p.Tell("release")
	proctest.Must(t, p.Wait())
	nobodyWaits(t, c)

	proctest.Must(t, c.Close())
	want(t, "closed", c.Wait(t.Context()), os.ErrClosed)
	want(t, "closed", c.Notify(1), os.ErrClosed)
	want(t, "closed", c.Acquire(t.Context()), os.ErrClosed)
	want(t, "closed", c.Release(), os.ErrClosed)
	says(t, new(locks.Condition), "condition")
}

// A condition on a given lock: its Wait frees that.
func TestConditionGiven(t *testing.T) {
	seg := proctest.Segment(t, 0)
	l, err := locks.NewLock(seg, "lock")
	proctest.Must(t, err)
	c, err := locks.NewCondition(seg, "cond", l)
	proctest.Must(t, err)
	if c.Mutex() != locks.Mutex(l) {
		t.Error("the Mutex is not the given lock")
	}
	_, err = locks.OpenLock(seg, "cond")
	want(t, "OpenLock of a condition on another lock", err, shm.ErrKind)
	if !strings.Contains(err.Error(), "it is cond, which has no lock of its own") {
		t.Errorf("OpenLock of a condition on another lock: %v", err)
	}
	_, err = locks.NewCondition(proctest.Segment(t, 0), "", l)
	want(t, "a lock elsewhere", err, os.ErrInvalid)
	bothWays(t, func(t *testing.T, process bool) {
		w := startWait(t, c, process, "")
		proctest.Must(t, l.Acquire(t.Context()))
		proctest.Must(t, c.Notify(1))
		proctest.Must(t, l.Release())
		w.ended(t, notified)
	})
}

// On an RLock, Wait frees it at whatever depth, and restores that.
func TestConditionOwner(t *testing.T) {
	seg := proctest.Segment(t, 0)
	r, err := locks.NewRLock(seg, "rlock")
	proctest.Must(t, err)
	o := r.Owner()
	c, err := locks.NewCondition(seg, "cond", o)
	proctest.Must(t, err)
	bothWays(t, func(t *testing.T, process bool) {
		w := startWait(t, c, process, "")
		asked(t, c, func() error { return c.Notify(1) })
		w.ended(t, notified)
	})
	for range 3 {
		proctest.Must(t, o.Acquire(t.Context()))
	}
	other := c.As(r.Owner())
	want(t, "Notify by another Owner", other.Notify(1), locks.ErrNotOwner)
	woken := make(chan error)
	go func() {
		err := other.Acquire(context.Background())
		if err == nil {
			err = errors.Join(other.NotifyAll(), other.Release())
		}
		woken <- err
	}()
	proctest.Must(t, c.Wait(t.Context()))
	proctest.Must(t, <-woken)
	if o.Depth() != 3 {
		t.Errorf("depth %d after Wait, want 3", o.Depth())
	}
	want(t, "Wait that is cancelled", c.Wait(over()), context.Canceled)
	if o.Depth() != 3 {
		t.Errorf("depth %d after Wait, want 3", o.Depth())
	}
	for range 3 {
		proctest.Must(t, c.Release())
	}
	want(t, "Release of what is free", o.Release(), locks.ErrNotLocked)
	nobodyWaits(t, c)
	defer func() {
		if recover() == nil {
			t.Error("As of a condition on a Lock does not panic")
		}
	}()
	newCondition(t).As(o)
}

// Notify picks processes in order of their oldest waiter, in turn, and in each the oldest.
func TestConditionOrder(t *testing.T) {
	c := newCondition(t)
	var order []string
	var mu sync.Mutex
	woke := make(chan struct{}, 10)
	enter := func(name string, h *locks.Condition) {
		waits := make(chan struct{})
		go func() {
			err := waitOnce(h, "", func() { close(waits) }, func(err error) {
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
			})
			if err != nil {
				t.Error(err)
			}
			woke <- struct{}{}
		}()
		<-waits
		begun(t, c)
	}
	p := condWaiter.Start(t, condArgs{c})
	enter("a1", c)
	enter("a2", reopened(t, c)) // in line behind a1, through another handle
	p.Tell("")
	p.WaitLine("waits")
	enter("a3", c)
	next := func(want string) {
		t.Helper()
		asked(t, c, func() error { return c.Notify(1) })
		if want == "p" {
			if got := p.Line(); got != notified {
				t.Errorf("the process says %s", got)
			}
			return
		}
		<-woke
		mu.Lock()
		defer mu.Unlock()
		if got := order[len(order)-1]; got != want {
			t.Errorf("%s was notified, want %s", got, want)
		}
	}
	for _, name := range []string{"a1", "p", "a2", "a3"} {
		next(name)
	}
	p.Tell("end")
	proctest.Must(t, p.Wait())
	nobodyWaits(t, c)
}

// Closing a handle ends its Waits, also while the lock is held, and what they had been notified of goes to others.
func TestConditionClosed(t *testing.T) {
	c := newCondition(t)
	h := reopened(t, c)
	closed := make(chan error)
	waits := make(chan struct{})
	go func() {
		proctest.Must(t, h.Acquire(context.Background()))
		close(waits)
		closed <- h.Wait(context.Background())
	}()
	<-waits
	begun(t, c)
	w := startWait(t, c, true, "")
	proctest.Must(t, c.Acquire(t.Context()))
	proctest.Must(t, c.Notify(1)) // h, which cannot have the lock
	proctest.Must(t, h.Close())
	want(t, "Wait of a closed handle", <-closed, os.ErrClosed)
	want(t, "Release of a closed handle", h.Release(), os.ErrClosed)
	proctest.Must(t, c.Release())
	w.ended(t, notified)
	nobodyWaits(t, c)

	proctest.Must(t, c.Acquire(t.Context()))
	h = reopened(t, c)
	proctest.Must(t, c.Release())
	waits = make(chan struct{})
	go func() {
		proctest.Must(t, h.Acquire(context.Background()))
		close(waits)
		closed <- h.Wait(context.Background())
	}()
	<-waits
	begun(t, c)
	proctest.Must(t, h.Close())
	want(t, "Wait of a closed handle", <-closed, os.ErrClosed)
	nobodyWaits(t, c)
}

// A waiter that is killed asleep costs no notification.
func TestConditionWaiterKilled(t *testing.T) {
	bothWays(t, func(t *testing.T, process bool) {
		c := newCondition(t)
		first := startWait(t, c, true, "")
		second := startWait(t, c, process, "")
		first.p.Kill()
		first.p.Wait()
		says(t, c, `condition "cond", free, 1 wait`)
		asked(t, c, func() error { return c.Notify(1) })
		second.ended(t, notified)
		nobodyWaits(t, c)
	})
}

// A waiter that was notified, and is killed before it has the lock again, passes that on, though nobody else notifies.
func TestConditionReceiverKilled(t *testing.T) {
	bothWays(t, func(t *testing.T, process bool) {
		c := newCondition(t)
		first := startWait(t, c, true, "")
		second := startWait(t, c, process, "")
		third := startWait(t, c, process, "")
		proctest.Must(t, c.Acquire(t.Context()))
		proctest.Must(t, c.Notify(1)) // first, which cannot have the lock
		first.p.Kill()
		first.p.Wait()
		proctest.Must(t, c.Release())
		second.ended(t, notified)
		asked(t, c, func() error {
			if s := fmt.Sprint(c); !strings.HasSuffix(s, ", 1 wait") {
				t.Errorf("it says %s, want 1 that waits", s)
			}
			return c.Notify(1)
		})
		third.ended(t, notified)
		nobodyWaits(t, c)
	})
}

// holdCond takes the lock, says so, and does what it is told.
var holdCond = proctest.NewRole("hold-cond", func(ctx context.Context, c *proctest.Child, a condArgs) error {
	if err := a.C.Acquire(ctx); err != nil {
		return err
	}
	c.Say("held")
	c.Hear()
	return a.C.Release()
})

// When the lock's owner dies every Wait ends with ErrOwnerDied, holding the lock with its mark, until it is recovered.
func TestConditionOwnerDied(t *testing.T) {
	bothWays(t, func(t *testing.T, process bool) {
		c := newCondition(t)
		var ws []*condWait
		for range 3 {
			ws = append(ws, startWait(t, c, process, ""))
		}
		p := holdCond.Start(t, condArgs{c})
		p.WaitLine("held")
		p.Kill()
		p.Wait()
		for _, w := range ws {
			w.ended(t, locks.ErrOwnerDied.Error())
		}
		want(t, "Acquire", c.Acquire(t.Context()), locks.ErrOwnerDied)
		repaired := false
		proctest.Must(t, c.Mutex().Recover(t.Context(), func() error {
			repaired = true
			want(t, "Wait in a repair", c.Wait(t.Context()), locks.ErrNotLocked)
			return nil
		}))
		if !repaired {
			t.Error("Wait took the mark away")
		}
		proctest.Must(t, c.Release())
		nobodyWaits(t, c)
		w := startWait(t, c, process, "")
		asked(t, c, c.NotifyAll)
		w.ended(t, notified)
	})
}

// With leaves the condition's lock as a death would, and those who wait learn of it.
func TestConditionWithPanics(t *testing.T) {
	c := newCondition(t)
	w := startWait(t, c, true, "")
	func() {
		defer func() { recover() }()
		locks.With(t.Context(), c, func() error { panic("half changed") })
	}()
	w.ended(t, locks.ErrOwnerDied.Error())
	want(t, "Acquire", c.Acquire(t.Context()), locks.ErrOwnerDied)
	proctest.Must(t, c.Mutex().Recover(t.Context(), nil))
	proctest.Must(t, c.Release())
}

// More than eight processes that wait have records in an object of their own, which goes when the condition is gone.
func TestConditionManyProcesses(t *testing.T) {
	seg := proctest.Segment(t, 0)
	c, err := locks.NewCondition(seg, "cond", nil)
	proctest.Must(t, err)
	var ws []*condWait
	for range 11 {
		ws = append(ws, startWait(t, c, true, ""))
	}
	local := startWait(t, c, false, "")
	further := func() (n int) {
		for o := range seg.Objects() {
			if o.Kind == "waiters" {
				n++
			}
		}
		return n
	}
	if n := further(); n != 1 {
		t.Errorf("%d objects of further records, want 1", n)
	}
	// The ninth to be notified has such a record, and passes it on.
	proctest.Must(t, c.Acquire(t.Context()))
	proctest.Must(t, c.Notify(9))
	ws[8].p.Kill()
	ws[8].p.Wait()
	proctest.Must(t, c.Release())
	for i, w := range ws[:10] {
		if i != 8 {
			w.ended(t, notified)
		}
	}
	if len(local.woke) != 0 {
		t.Error("more were woken than were notified")
	}
	asked(t, c, c.NotifyAll)
	ws[10].ended(t, notified)
	local.ended(t, notified)
	nobodyWaits(t, c)

	proctest.Must(t, seg.Remove("cond"))
	seg.Repair()
	if n := further(); n != 1 {
		t.Errorf("%d objects of further records of a condition that is open, want 1", n)
	}
	runtime.KeepAlive(c)
	c, local = nil, nil
	for further() != 0 { // when its handles are collected
		runtime.GC()
		seg.Repair()
	}
}

// Where there is no memory for more records, Wait says so, holding the lock.
func TestConditionNoSpace(t *testing.T) {
	seg := proctest.Segment(t, 1)
	c, err := locks.NewCondition(seg, "cond", nil)
	proctest.Must(t, err)
	var ws []*condWait
	for range 8 {
		ws = append(ws, startWait(t, c, true, ""))
	}
	for size := 1 << 20; size > 0; size /= 2 {
		for err = nil; err == nil; {
			_, err = shm.NewBlock(seg, "", size)
		}
		want(t, "NewBlock", err, shm.ErrNoSpace)
	}
	proctest.Must(t, c.Acquire(t.Context()))
	want(t, "Wait of a ninth process", c.Wait(t.Context()), shm.ErrNoSpace)
	proctest.Must(t, c.NotifyAll())
	proctest.Must(t, c.Release())
	for _, w := range ws {
		w.ended(t, notified)
	}
	nobodyWaits(t, c)
}

// Who gives up and was notified before it could leave has been notified, if nobody else of its process is there for that.
func TestConditionNotifiedAndCancelled(t *testing.T) {
	c := newCondition(t)
	h := reopened(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	woke, waits := make(chan error), make(chan struct{})
	go func() {
		err := h.Acquire(context.Background())
		close(waits)
		woke <- errors.Join(err, h.Wait(ctx), h.Release())
	}()
	<-waits
	begun(t, c)
	proctest.Must(t, c.Acquire(t.Context()))
	cancel()
	time.Sleep(20 * time.Millisecond) // so that it gives up, and wants the lock; nothing depends on it
	proctest.Must(t, c.Notify(1))
	proctest.Must(t, c.Release())
	proctest.Must(t, <-woke)
	nobodyWaits(t, c)
}

// Goroutines are notified in the order in which they had the lock, however close together they began to wait.
func TestConditionLine(t *testing.T) {
	c := newCondition(t)
	const many = 8
	for range 50 {
		var entered, left []int // the lock guards them
		done := make(chan error)
		for i := range many {
			go func() {
				err := c.Acquire(context.Background())
				entered = append(entered, i)
				err = errors.Join(err, c.Wait(context.Background()))
				left = append(left, i)
				done <- errors.Join(err, c.Release())
			}()
		}
		for n := 0; n < many; {
			proctest.Must(t, c.Acquire(t.Context()))
			n = len(entered)
			proctest.Must(t, c.Release())
		}
		for range many {
			asked(t, c, func() error { return c.Notify(1) })
			proctest.Must(t, <-done)
		}
		if !slices.Equal(entered, left) {
			t.Fatalf("they came as %v, and were notified as %v", entered, left)
		}
	}
}

// Who knows that it was notified, and waits for the lock when its handle is closed, passes the notification on.
func TestConditionClosedAfterNotified(t *testing.T) {
	c := newCondition(t)
	h := reopened(t, c)
	closed := make(chan error)
	waits := make(chan struct{})
	go func() {
		proctest.Must(t, h.Acquire(context.Background()))
		close(waits)
		closed <- h.Wait(context.Background())
	}()
	<-waits
	begun(t, c)
	w := startWait(t, c, true, "")
	proctest.Must(t, c.Acquire(t.Context()))
	proctest.Must(t, c.Notify(1)) // h, which cannot have the lock
	var r shm.Ref
	mem, err := shm.Again(&r, &c.Ref)
	proctest.Must(t, err)
	for shm.Word32(mem, 128+12).Load()>>14&(1<<14-1) == 0 { // TAKEN of the first record
		time.Sleep(100 * time.Microsecond)
	}
	proctest.Must(t, h.Close())
	want(t, "Wait of a closed handle", <-closed, os.ErrClosed)
	proctest.Must(t, c.Release())
	w.ended(t, notified)
	nobodyWaits(t, c)
	runtime.KeepAlive(c)
}

// Who does not return from Wait as one that was notified, because an owner died, passes the notification on to one that has not
// learned of that death.
func TestConditionNotifiedAndOwnerDied(t *testing.T) {
	seg := proctest.Segment(t, 0)
	l, err := locks.NewLock(seg, "lock")
	proctest.Must(t, err)
	c, err := locks.NewCondition(seg, "cond", l)
	proctest.Must(t, err)
	wantsLock := func(w *condWait) {
		for {
			i, err := locks.Inspect(l)
			proctest.Must(t, err)
			if slices.ContainsFunc(i.Waiters, func(p shm.Participant) bool { return p.Pid == w.p.Pid() }) {
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	dies := func(f func()) {
		defer func() { recover() }()
		locks.With(t.Context(), c, func() error { f(); panic("half changed") })
	}

	for _, s := range []struct {
		name string
		f    func(first *condWait)
	}{
		{"death first", func(first *condWait) {
			dies(func() {})
			proctest.Must(t, l.Recover(t.Context(), func() error {
				first.p.Continue()
				wantsLock(first) // since it has seen the mark
				return nil
			}))
			proctest.Must(t, c.Notify(1))
			proctest.Must(t, l.Release())
			first.ended(t, notified)
			asked(t, c, func() error { return c.Notify(1) })
		}},
		{"notification first", func(first *condWait) {
			asked(t, c, func() error { return c.Notify(1) })
			dies(func() {
				first.p.Continue()
				wantsLock(first) // since it was notified
			})
			first.ended(t, locks.ErrOwnerDied.Error())
			proctest.Must(t, l.Recover(t.Context(), nil))
			proctest.Must(t, l.Release())
		}},
	} {
		t.Run(s.name, func(t *testing.T) {
			first, second := startWait(t, c, true, ""), startWait(t, c, true, "")
			first.p.Stop()
			second.p.Stop()
			s.f(first)
			second.p.Continue()
			second.ended(t, notified)
			nobodyWaits(t, c)
		})
	}
}

// Wait gives the lock up when it returns os.ErrClosed, also if the handle was closed before.
func TestConditionWaitAfterClose(t *testing.T) {
	seg := proctest.Segment(t, 0)
	r, err := locks.NewRLock(seg, "")
	proctest.Must(t, err)
	for _, on := range []locks.Mutex{nil, r.Owner()} {
		c, err := locks.NewCondition(seg, "", on)
		proctest.Must(t, err)
		for name, wait := range map[string]func(c *locks.Condition) error{
			"Wait":    func(c *locks.Condition) error { return c.Wait(t.Context()) },
			"WaitFor": func(c *locks.Condition) error { return c.WaitFor(t.Context(), func() bool { return true }) },
		} {
			h := new(locks.Condition)
			data, err := c.MarshalBinary()
			proctest.Must(t, errors.Join(err, h.UnmarshalBinary(data)))
			if o, ok := h.Mutex().(*locks.Owner); ok {
				proctest.Must(t, o.Acquire(t.Context())) // so that it is held twice
			}
			proctest.Must(t, h.Acquire(t.Context()))
			proctest.Must(t, h.Close())
			want(t, name, wait(h), os.ErrClosed)
			want(t, "Release", h.Release(), os.ErrClosed)
			if c.Mutex().Locked() {
				t.Fatalf("after %s of a closed handle: %v", name, c)
			}
		}
	}
}

// A panic in With, after a Wait that has given the lock up because the handle was closed, does not concern who has the lock now.
func TestConditionPanicsWithoutLock(t *testing.T) {
	c := newCondition(t)
	h := reopened(t, c)
	waits, panicked := make(chan struct{}), make(chan error)
	go func() {
		var err error
		defer func() {
			recover()
			panicked <- err
		}()
		locks.With(context.Background(), h, func() error {
			close(waits)
			err = h.Wait(context.Background())
			panic(err)
		})
	}()
	<-waits
	proctest.Must(t, c.Acquire(t.Context()))
	proctest.Must(t, h.Close())
	want(t, "Wait of a closed handle", <-panicked, os.ErrClosed)
	proctest.Must(t, c.Release())
	proctest.Must(t, c.Acquire(t.Context()))

	// Who has it leaves it as a death would, also if the handle is closed.
	proctest.Must(t, c.Release())
	func() {
		defer func() { recover() }()
		h := reopened(t, c)
		locks.With(t.Context(), h, func() error { panic(h.Close()) })
	}()
	want(t, "Acquire after a panic with the lock", c.Acquire(t.Context()), locks.ErrOwnerDied)
}

// An Owner that holds its lock with the mark of a death does not acquire it once more, as if all were well.
func TestConditionOwnerDiedNested(t *testing.T) {
	seg := proctest.Segment(t, 0)
	r, err := locks.NewRLock(seg, "rlock")
	proctest.Must(t, err)
	o := r.Owner()
	c, err := locks.NewCondition(seg, "cond", o)
	proctest.Must(t, err)
	p := holdCond.Start(t, condArgs{c})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	proctest.Must(t, o.Acquire(t.Context()))
	proctest.Must(t, o.Acquire(t.Context()))
	go func() {
		p.WaitLine("held") // now this one waits
		p.Kill()
	}()
	want(t, "Wait", c.Wait(ctx), locks.ErrOwnerDied)
	p.Wait()
	want(t, "Acquire", o.Acquire(t.Context()), locks.ErrOwnerDied)
	want(t, "Acquire of the condition", c.Acquire(t.Context()), locks.ErrOwnerDied)
	_, err = o.TryAcquire()
	want(t, "TryAcquire", err, locks.ErrOwnerDied)
	want(t, "Recover", o.Recover(t.Context(), func() error {
		t.Error("a repair by one who was to release the lock first")
		return nil
	}), locks.ErrOwnerDied)
	if o.Depth() != 2 {
		t.Errorf("held %d times, want 2", o.Depth())
	}
	proctest.Must(t, c.Release())
	proctest.Must(t, o.Release())
	want(t, "Acquire after that", r.Owner().Acquire(t.Context()), locks.ErrOwnerDied)
	repaired := false
	proctest.Must(t, o.Recover(t.Context(), func() error {
		repaired = true
		return errors.Join(o.Acquire(t.Context()), o.Release())
	}))
	if !repaired {
		t.Error("the mark is gone")
	}
	proctest.Must(t, errors.Join(o.Acquire(t.Context()), o.Release(), o.Release()))
	nobodyWaits(t, c)
}
