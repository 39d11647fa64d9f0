package locks_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

func newBarrier(t testing.TB, n int, opts ...locks.BarrierOptions) *locks.Barrier {
	t.Helper()
	b, err := locks.NewBarrier(proctest.Segment(t, 1<<20), "barrier", n, opts...)
	proctest.Must(t, err)
	return b
}

// waiter waits for b in a goroutine; the channel has room for the error.
func waiter(ctx context.Context, b *locks.Barrier) chan error {
	done := make(chan error, 1)
	go func() {
		_, err := b.Wait(ctx)
		done <- err
	}()
	return done
}

// waiting looks until n parties wait.
func waiting(b *locks.Barrier, n int) {
	for b.Waiting() != n {
		time.Sleep(100 * time.Microsecond)
	}
}

// passesBarrier has as many goroutines as there are parties come.
func passesBarrier(t testing.TB, b *locks.Barrier) {
	t.Helper()
	var wg sync.WaitGroup
	for range b.Parties() {
		wg.Go(func() {
			if _, err := b.Wait(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestBarrier(t *testing.T) {
	seg := proctest.Segment(t, 0)
	for _, n := range []int{-1, 0, 1<<16 + 1} {
		_, err := locks.NewBarrier(seg, "", n)
		want(t, "NewBarrier", err, os.ErrInvalid)
		_, err = locks.OpenOrNewBarrier(seg, "", n)
		want(t, "OpenOrNewBarrier", err, os.ErrInvalid)
	}
	b, err := locks.NewBarrier(seg, "barrier", 2)
	proctest.Must(t, err)
	c, err := locks.OpenOrNewBarrier(seg, "barrier", 7)
	proctest.Must(t, err)
	if b.Parties() != 2 || c.Parties() != 2 {
		t.Errorf("for %d and %d parties, want 2", b.Parties(), c.Parties())
	}
	_, err = locks.OpenEvent(seg, "barrier")
	want(t, "a barrier opened as an event", err, shm.ErrKind)
	most, err := locks.NewBarrier(seg, "", 1<<16)
	proctest.Must(t, err)
	proctest.Must(t, most.Close())

	done := waiter(t.Context(), b)
	waiting(c, 1)
	says(t, c, `barrier "barrier", 1 of 2 parties wait`)
	index, err := c.Wait(over()) // the last need not wait
	if proctest.Must(t, err); index != 1 {
		t.Errorf("index %d, want 1", index)
	}
	proctest.Must(t, <-done)

	// A context that ends breaks it for all, and so it stays.
	ctx, cancel := context.WithCancel(t.Context())
	done = waiter(ctx, b)
	waiting(b, 1)
	cancel()
	if err := <-done; !errors.Is(err, locks.ErrBroken) || !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want that it is broken, and why", err)
	}
	if _, err := c.Wait(t.Context()); err != locks.ErrBroken || !c.Broken() || c.Waiting() != 0 {
		t.Errorf("Wait: %v, broken %t, %d wait", err, c.Broken(), c.Waiting())
	}
	says(t, c, `barrier "barrier", broken`)
	proctest.Must(t, c.Reset())
	passesBarrier(t, b)

	// Who waits when it is aborted or reset gets ErrBroken.
	for _, end := range []func() error{c.Abort, c.Reset} {
		done = waiter(t.Context(), b)
		waiting(b, 1)
		proctest.Must(t, end())
		want(t, "aborted or reset", <-done, locks.ErrBroken)
		proctest.Must(t, c.Reset())
		passesBarrier(t, b)
	}

	// A closed handle: a Wait that it ends has arrived.
	done = waiter(t.Context(), b)
	waiting(c, 1)
	proctest.Must(t, b.Close())
	proctest.Must(t, b.Close())
	want(t, "closed while it waits", <-done, os.ErrClosed)
	if index, err := c.Wait(t.Context()); index != 1 || err != nil {
		t.Errorf("%d, %v, want to be the last", index, err)
	}
	_, err = b.Wait(t.Context())
	for _, err := range []error{err, b.Join(), b.Abort(), b.Reset()} {
		want(t, "closed", err, os.ErrClosed)
	}
	says(t, b, `barrier "barrier", closed`)
	says(t, new(locks.Barrier), "barrier")
	proctest.Must(t, new(locks.Barrier).Close())
}

// What goes wrong in the action is for who ran it; the others find the barrier broken.
func TestBarrierAction(t *testing.T) {
	mine := errors.New("mine")
	for what, action := range map[string]func() error{
		"error":  func() error { return mine },
		"panic":  func() error { panic(mine) },
		"goexit": func() error { runtime.Goexit(); return nil },
	} {
		b := newBarrier(t, 2)
		c, err := locks.OpenBarrier(b.Segment(), "barrier", locks.BarrierOptions{Action: action})
		proctest.Must(t, err)
		other := waiter(t.Context(), b)
		waiting(b, 1)
		got := make(chan any)
		go func() {
			v := any("goexit")
			defer func() {
				if r := recover(); r != nil {
					v = r
				}
				got <- v
			}()
			_, v = c.Wait(t.Context())
		}()
		if v := <-got; v != any(mine) && what != "goexit" || what == "goexit" && v != any("goexit") {
			t.Errorf("%s: the party gets %v", what, v)
		}
		want(t, what, <-other, locks.ErrBroken)
	}
}

type actsArgs struct {
	B    *locks.Barrier
	Acts *value.Atomic[int]
}

// acts sets an action, and comes as often as it is told to.
var acts = proctest.NewRole("acts", func(ctx context.Context, c *proctest.Child, a actsArgs) error {
	a.B.SetAction(func() error { a.Acts.Add(1); return nil })
	for c.Say("ready"); c.Hear() == "come"; c.Say("ready") {
		if _, err := a.B.Wait(ctx); err != nil {
			return err
		}
	}
	return a.B.Close()
})

// The action is that of the handle by which the last party comes, also if that arrived in an argument.
func TestBarrierSetAction(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b, err := locks.NewBarrier(seg, "", 2)
	proctest.Must(t, err)
	n, err := value.NewAtomic(seg, "", 0)
	proctest.Must(t, err)
	p := acts.Start(t, actsArgs{b, n})
	p.WaitLine("ready")
	pass := func(childLast bool, want int) {
		t.Helper()
		var done chan error
		if childLast {
			done = waiter(t.Context(), b)
			waiting(b, 1)
			p.Tell("come")
		} else {
			p.Tell("come")
			waiting(b, 1)
			done = waiter(t.Context(), b)
		}
		proctest.Must(t, <-done)
		if got := n.Load(); got != want { // before the others go on
			t.Errorf("%d actions, want %d", got, want)
		}
		p.WaitLine("ready")
	}
	pass(true, 1)
	pass(false, 1) // this handle has none
	b.SetAction(func() error { n.Add(10); return nil })
	pass(false, 11)
	pass(true, 12)
	b.SetAction(nil)
	pass(false, 12)
	p.Tell("go")
	proctest.Must(t, p.Wait())
}

// Who comes while the action of a pass is run waits for the next pass.
func TestBarrierComesEarly(t *testing.T) {
	b := newBarrier(t, 2)
	acting, goOn := make(chan struct{}), make(chan struct{})
	c, err := locks.OpenBarrier(b.Segment(), "barrier", locks.BarrierOptions{Action: func() error {
		acting <- struct{}{}
		<-goOn
		return nil
	}})
	proctest.Must(t, err)
	first := waiter(t.Context(), b)
	waiting(b, 1)
	last := waiter(t.Context(), c)
	<-acting
	early := waiter(t.Context(), b)
	time.Sleep(10 * time.Millisecond) // so that it sleeps; nothing depends on it
	goOn <- struct{}{}
	proctest.Must(t, errors.Join(<-first, <-last))
	waiting(b, 1)
	proctest.Must(t, waiterErr(b))
	proctest.Must(t, <-early)
}

func waiterErr(b *locks.Barrier) error {
	_, err := b.Wait(context.Background())
	return err
}

type barrierArgs struct {
	B  *locks.Barrier
	Do string
}

// bound does something with the barrier, and then what it is told.
var bound = proctest.NewRole("bound", func(ctx context.Context, c *proctest.Child, a barrierArgs) error {
	switch a.Do {
	case "join":
		if err := a.B.Join(); err != nil {
			return err
		}
	case "close":
		if err := a.B.Close(); err != nil {
			return err
		}
	case "wait":
		c.Say("ready")
		_, err := a.B.Wait(ctx)
		c.Say("%v", err)
		c.Hear()
		return nil
	case "pass":
		if _, err := a.B.Wait(ctx); err != nil {
			return err
		}
	}
	c.Say("ready")
	c.Hear()
	return nil
})

// A process that dies breaks the barrier for those who sleep, and for those who come later: when it has arrived, when
// it has joined, when it was started with the barrier and has done nothing with it, and when it was in earlier passes.
func TestPartyKilled(t *testing.T) {
	for _, do := range []string{"nothing", "join", "wait", "pass"} {
		t.Run(do, func(t *testing.T) {
			b := newBarrier(t, 3)
			for _, asleep := range []bool{true, false} {
				p := bound.Start(t, barrierArgs{b, do})
				if do == "pass" {
					waiting(b, 1)
					one, other := waiter(t.Context(), b), waiter(t.Context(), b)
					proctest.Must(t, errors.Join(<-one, <-other))
				}
				p.WaitLine("ready")
				if do == "wait" {
					p.Asleep()
				}
				there := b.Waiting()
				var done chan error
				if asleep {
					done = waiter(t.Context(), b)
					waiting(b, there+1)
					time.Sleep(10 * time.Millisecond) // so that it sleeps; nothing depends on it
				}
				p.Kill()
				p.Wait()
				if !asleep {
					done = waiter(t.Context(), b)
				}
				want(t, "Wait", <-done, locks.ErrBroken)
				if _, err := b.Wait(t.Context()); err != locks.ErrBroken {
					t.Errorf("later: %v", err)
				}
				proctest.Must(t, b.Reset())
				passesBarrier(t, b)
			}
		})
	}
}

// Who arrives last notices a death at once, before the pass is completed.
func TestPartyKilledBeforeTheLast(t *testing.T) {
	for range 20 {
		b := newBarrier(t, 2)
		p := bound.Start(t, barrierArgs{b, "wait"})
		waiting(b, 1)
		p.Kill()
		p.Wait()
		if _, err := b.Wait(over()); err != locks.ErrBroken {
			t.Fatalf("the last gets %v, though the first died", err)
		}
		b.Segment().Close()
	}
}

// A process that has closed its handle, or could not be started, is not waited for; one whose function just ended is.
func TestPartyLeaves(t *testing.T) {
	b := newBarrier(t, 1)
	p := bound.Start(t, barrierArgs{b, "close"})
	p.WaitLine("ready")
	p.Kill()
	p.Wait()
	passesBarrier(t, b)
	if _, err := process.Start(t.Context(), nothingWith, barrierArgs{B: b}, process.Options{Dir: "/nonexistent"}); err == nil {
		t.Fatal("started")
	}
	passesBarrier(t, b)
	proctest.Must(t, b.Join()) // the only place is free again
	proctest.Must(t, b.Close())
	b, err := locks.OpenBarrier(b.Segment(), "barrier")
	proctest.Must(t, err)
	q, err := process.Start(t.Context(), nothingWith, barrierArgs{B: b})
	proctest.Must(t, err)
	proctest.Must(t, q.Join(t.Context()))
	if _, err := b.Wait(t.Context()); err != locks.ErrBroken {
		t.Errorf("after a party ended without Close: %v", err)
	}
}

// nothingWith does nothing with its barrier.
var nothingWith = process.Register("nothing-with", func(ctx context.Context, a barrierArgs) error { return nil })

// There are as many places as parties. Who has none is bound while he waits; handles of one process share a place,
// which is free when the last is closed.
func TestBarrierPlaces(t *testing.T) {
	b := newBarrier(t, 2)
	var ps []*proctest.Proc
	for range 2 {
		p := bound.Start(t, barrierArgs{b, "join"})
		p.WaitLine("ready")
		ps = append(ps, p)
	}
	wantOwners(t, b, sorted(ps[0].Pid(), ps[1].Pid())...)
	want(t, "Join", b.Join(), shm.ErrNoSpace)
	passesBarrier(t, b)
	p := bound.Start(t, barrierArgs{b, "wait"})
	p.WaitLine("ready")
	waiting(b, 1)
	wantOwners(t, b, sorted(ps[0].Pid(), ps[1].Pid(), p.Pid())...)
	p.Kill()
	p.Wait()
	if _, err := b.Wait(t.Context()); err != locks.ErrBroken {
		t.Errorf("after one without a place died waiting: %v", err)
	}
	for _, p := range ps {
		p.Kill()
		p.Wait()
	}
	proctest.Must(t, b.Reset())
	var hs []*locks.Barrier
	for range 3 {
		h, err := locks.OpenBarrier(b.Segment(), "barrier")
		proctest.Must(t, err)
		proctest.Must(t, errors.Join(h.Join(), h.Join()))
		hs = append(hs, h)
	}
	for i, h := range hs {
		wantOwners(t, b, os.Getpid())
		proctest.Must(t, h.Close())
		if members := members(t, b); slices.Max(members)&0xffff != uint64(2-i) {
			t.Errorf("members %x with %d handles bound", members, 2-i)
		}
	}
	wantOwners(t, b)
}

func sorted(pids ...int) []int {
	slices.Sort(pids)
	return pids
}

// members is the member cells.
func members(t testing.TB, b *locks.Barrier) (cells []uint64) {
	mem := memoryOf(t, b, "barrier")
	for i := range b.Parties() {
		cells = append(cells, binary.LittleEndian.Uint64(mem[128+8*(b.Parties()+i):]))
	}
	return cells
}

// Inspect names who is bound and who waits.
func TestInspectBarrier(t *testing.T) {
	b := newBarrier(t, 2)
	p := bound.Start(t, barrierArgs{b, "wait"})
	wantWaiters(t, b, p.Pid())
	wantOwners(t, b, p.Pid())
	if _, err := b.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	p.WaitLine("ready")
	p.WaitLine("<nil>")
	p.Tell("end")
	p.Wait()
}

// The sweep breaks the barrier of the dead and forgets them: a slot that is used again would be a member.
func TestSweepBreaks(t *testing.T) {
	b := newBarrier(t, 2)
	p := bound.Start(t, barrierArgs{b, "join"})
	p.WaitLine("ready")
	p.Kill()
	p.Wait()
	_, err := b.Segment().Repair()
	proctest.Must(t, err)
	if m := members(t, b); !b.Broken() || slices.Max(m) != 0 {
		t.Errorf("broken %t, members %x", b.Broken(), m)
	}
	proctest.Must(t, b.Segment().Check())
}

// A waiter that is stopped for up to 32 passes learns how its own ended.
func TestBarrierHistory(t *testing.T) {
	for _, c := range []struct {
		reset bool
		more  int
		told  string
	}{{false, 0, "<nil>"}, {true, 0, "broken"}, {false, 31, "<nil>"}, {true, 31, "broken"}, {false, 32, "broken"}} {
		b := newBarrier(t, 2)
		p := bound.Start(t, barrierArgs{b, "wait"})
		p.WaitLine("ready")
		p.Asleep()
		p.Stop()
		if c.reset {
			proctest.Must(t, b.Reset())
		} else {
			proctest.Must(t, waiterErr(b))
		}
		for range c.more {
			if c.reset {
				passesBarrier(t, b)
			} else {
				proctest.Must(t, b.Reset())
			}
		}
		p.Continue()
		if line := p.Line(); !strings.Contains(line, c.told) {
			t.Errorf("%+v: it is told %q", c, line)
		}
		p.Kill()
		p.Wait()
		b.Segment().Close()
	}
}

// The number of passes comes round.
func TestBarrierWraps(t *testing.T) {
	b := newBarrier(t, 2)
	binary.LittleEndian.PutUint32(memoryOf(t, b, "barrier"), 1<<32-2*4)
	for range 2 {
		passesBarrier(t, b)
		done := waiter(t.Context(), b)
		waiting(b, 1)
		proctest.Must(t, b.Reset())
		want(t, "reset", <-done, locks.ErrBroken)
	}
	if w := binary.LittleEndian.Uint64(memoryOf(t, b, "barrier")); w&(1<<36-1) != 5<<32|2<<2 { // 2, and reset every other time
		t.Errorf("the word is %#x", w)
	}
	proctest.Must(t, b.Segment().Check())
}

// A thousand parties are goroutines of one process.
func TestManyParties(t *testing.T) {
	n := 1000
	b := newBarrier(t, n)
	var wg sync.WaitGroup
	seen := make([][]int, 5)
	for i := range seen {
		seen[i] = make([]int, n)
	}
	for range n {
		wg.Go(func() {
			for i := range seen {
				index, err := b.Wait(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				seen[i][index]++
			}
		})
	}
	wg.Wait()
	for i, s := range seen {
		if slices.Min(s) != 1 || slices.Max(s) != 1 {
			t.Errorf("pass %d: indices were given %d to %d times", i, slices.Min(s), slices.Max(s))
		}
	}
}

// However the end of a context, an abort, a reset and the last arrival meet, all parties of a pass are told the same.
func TestBarrierEndsMeet(t *testing.T) {
	b := newBarrier(t, 2)
	r := proctest.Rand(t)
	rounds := 1500
	if testing.Short() {
		rounds = 300
	}
	passed := 0
	for i := range rounds {
		ctx, cancel := context.WithCancel(t.Context())
		first := waiter(ctx, b)
		waiting(b, 1)
		second := make(chan error, 1)
		delay, pause := time.Duration(r.IntN(200))*time.Microsecond, time.Duration(r.IntN(200))*time.Microsecond
		go func() {
			time.Sleep(delay)
			_, err := b.Wait(t.Context())
			second <- err
		}()
		time.Sleep(pause)
		switch i % 3 {
		case 0:
			cancel()
		case 1:
			b.Abort()
		case 2:
			b.Reset() // the other may come before or after it
			if err := <-first; err == nil {
				passed++
				if err := <-second; err != nil {
					t.Fatal(err)
				}
				cancel()
				continue
			}
			b.Abort() // or it would wait
			want(t, "after the reset", <-second, locks.ErrBroken)
			proctest.Must(t, b.Reset())
			cancel()
			continue
		}
		err1, err2 := <-first, <-second
		cancel()
		if (err1 == nil) != (err2 == nil) || err1 != nil && !(errors.Is(err1, locks.ErrBroken) && errors.Is(err2, locks.ErrBroken)) {
			t.Fatalf("one was told %v, the other %v", err1, err2)
		}
		if err1 == nil {
			passed++
		}
		proctest.Must(t, b.Reset())
	}
	t.Logf("%d of %d rounds passed", passed, rounds)
}

// What other processes may have written is no barrier.
func TestBarrierCorrupt(t *testing.T) {
	b := newBarrier(t, 2)
	mem := memoryOf(t, b, "barrier")
	for at, w := range map[int]uint32{0: 3, 8: 3, 128: 1, 144: 1} {
		old := binary.LittleEndian.Uint32(mem[at:])
		binary.LittleEndian.PutUint32(mem[at:], w)
		if err := b.Segment().Check(); !errors.Is(err, shm.ErrCorrupt) {
			t.Errorf("Check with %d at %d: %v", w, at, err)
		}
		_, err := locks.OpenBarrier(b.Segment(), "barrier")
		if at == 8 {
			want(t, "OpenBarrier", err, shm.ErrCorrupt)
		}
		binary.LittleEndian.PutUint32(mem[at:], old)
	}
	proctest.Must(t, b.Segment().Check())
}

type twoBarriers struct{ A, B *locks.Barrier }

// boundTwice closes one handle after the other, each when it is told to.
var boundTwice = proctest.NewRole("bound-twice", func(ctx context.Context, c *proctest.Child, a twoBarriers) error {
	for _, b := range []*locks.Barrier{a.A, a.B} {
		c.Say("ready")
		c.Hear()
		if err := b.Close(); err != nil {
			return err
		}
	}
	c.Say("ready")
	c.Hear()
	return nil
})

// A process that was started with two handles of the barrier is bound until it has closed both.
func TestPartyWithTwoHandles(t *testing.T) {
	for closed, want := range []error{locks.ErrBroken, locks.ErrBroken, nil} {
		b := newBarrier(t, 1)
		p := boundTwice.Start(t, twoBarriers{b, b})
		p.WaitLine("ready")
		for range closed {
			p.Tell("close")
			p.WaitLine("ready")
		}
		p.Kill()
		p.Wait()
		if _, err := b.Wait(t.Context()); err != want {
			t.Errorf("Wait after the death of who has closed %d of 2 handles: %v, want %v", closed, err, want)
		}
		b.Segment().Close()
	}
}
