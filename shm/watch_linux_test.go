//go:build !crashpoint

package shm_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

type idleArgs struct {
	B     *shm.Block
	Lock  *locks.Lock
	Ticks bool // else it learns of deaths by being told alone
}

// idle is a child that says who it is and does what it is told. While it hears nothing it does nothing.
var idle = proctest.NewRole("idle", func(ctx context.Context, c *proctest.Child, a idleArgs) error {
	if !a.Ticks {
		shm.ForceNoTicks()
	}
	seg := a.B.Segment()
	c.Say("%d", seg.Self())
	for {
		var word string
		var id uint32
		fmt.Sscan(c.Hear(), &word, &id)
		switch word {
		case "notice":
			until(func() bool { return seg.KnownDead(id) })
			c.Say("noticed")
		case "hold":
			if err := a.Lock.Acquire(ctx); err != nil {
				return err
			}
			c.Say("held")
		case "wait":
			go func() { c.Say("%v", errors.Is(a.Lock.Acquire(ctx), locks.ErrOwnerDied)) }()
		case "dead?":
			c.Say("%t", seg.Dead(id))
		case "how":
			ids, how := shm.Watched(seg)
			if i := slices.Index(ids, id); i >= 0 {
				c.Say("%s", how[i])
			} else {
				c.Say("not")
			}
		case "exec":
			return syscall.Exec("/bin/cat", []string{"cat"}, nil)
		case "end":
			return nil
		case "starve": // of descriptors
			var limit syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
				return err
			}
			limit.Cur = 0
			if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
				return err
			}
			c.Say("starved")
		case "descriptors":
			fds, err := os.ReadDir("/proc/self/fd")
			if err != nil {
				return err
			}
			c.Say("%d", len(fds)-1)
		case "leave":
			if err := seg.Close(); err != nil {
				return err
			}
			c.Say("left")
		case "go":
			return nil
		}
	}
})

func startIdle(t *testing.T, a idleArgs, opts ...process.Options) (*proctest.Proc, uint32) {
	t.Helper()
	p := idle.Start(t, a, opts...)
	id, err := strconv.ParseUint(p.Line(), 10, 32)
	proctest.Must(t, err)
	return p, uint32(id)
}

// until returns once done does. The watchdog ends what never does.
func until(done func() bool) {
	for !done() {
		time.Sleep(time.Millisecond / 4)
	}
}

func idleIn(t *testing.T, seg *shm.Segment) idleArgs {
	t.Helper()
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	return idleArgs{B: block(t, seg, "", 64), Lock: l}
}

// awaitWatched waits until this process watches these, by pidfd.
func awaitWatched(seg *shm.Segment, want ...uint32) {
	until(func() bool {
		ids, how := shm.Watched(seg)
		return slices.Equal(ids, want) && !slices.ContainsFunc(how, func(s string) bool { return s != "pidfd" })
	})
}

// A death is known in all processes without anybody asking, though two have seen it and the others do not even
// look at the slots from time to time.
func TestNoticed(t *testing.T) {
	defer shm.ForceNoTicks()()
	seg := proctest.Segment(t, 0)
	a := idleIn(t, seg)
	var ps []*proctest.Proc
	var ids []uint32
	for range 5 {
		p, id := startIdle(t, a)
		ps, ids = append(ps, p), append(ids, id)
	}
	awaitWatched(seg, ids[0], ids[1])
	for i := range ps {
		ps[i].Kill()
		for _, p := range ps[i+1:] {
			p.Tell(fmt.Sprint("notice ", ids[i]))
		}
		for _, p := range ps[i+1:] {
			p.WaitLine("noticed")
		}
		until(func() bool { return seg.KnownDead(ids[i]) })
		awaitWatched(seg, ids[min(i+1, 5):min(i+3, 5)]...)
	}
	until(func() bool { g, b := shm.WatchSize(); return g == 0 && b == 0 })
	runtime.KeepAlive(a)
}

// Who sleeps on the lock of a process that is killed is told, and need not wait for the end of its sleep: that takes
// longer, as one sees when nobody is there to tell.
func TestWaiterTold(t *testing.T) {
	if !futex.Features().Waitv {
		t.Skip("the kernel has no futex_waitv, or a sandbox refuses it: a sleep has an end all the time")
	}
	rounds := 5
	if testing.Short() {
		rounds = 3
	}
	const early, late, untold = 0, 1, 2
	var took [3][]time.Duration
	for mode := range took {
		for range rounds {
			seg := proctest.Segment(t, 0)
			a := idleIn(t, seg)
			// The victim is watched by the two before it, and this process watches the three after it.
			waiter, _ := startIdle(t, a)
			one, _ := startIdle(t, a)
			two, _ := startIdle(t, a)
			victim, id := startIdle(t, a)
			two.Tell(fmt.Sprint("how ", id)) // not before it watches
			for two.Line() != "pidfd" {
				two.Tell(fmt.Sprint("how ", id))
			}
			victim.Tell("hold")
			victim.WaitLine("held")
			waiter.Tell("wait")
			// In the first milliseconds of its sleep it does not notice that it is told, and must see that it was.
			if mode == early && !waiter.Asleep() || mode != early && !waiter.FastAsleep() {
				t.Fatal("the waiter has ended")
			}
			if mode == untold {
				one.Stop()
				two.Stop()
			}
			start := time.Now()
			victim.Kill()
			waiter.WaitLine("true")
			took[mode] = append(took[mode], time.Since(start))
			for _, p := range []*proctest.Proc{waiter, one, two} {
				p.Kill()
				p.Wait()
			}
			runtime.KeepAlive(a)
		}
	}
	for _, times := range took {
		slices.Sort(times)
	}
	t.Logf("told after %v early in a sleep and %v late, untold after %v", took[early], took[late], took[untold])
	if took[early][rounds/2] >= took[untold][rounds/2] || took[late][rounds/2] >= took[untold][rounds/2] {
		t.Errorf("a waiter that is told of a death needs as long as one that is not")
	}
}

// A death whose two watchers are stopped is noticed by the others at their ticks.
func TestWatchersStopped(t *testing.T) {
	seg := proctest.Segment(t, 0)
	a := idleIn(t, seg)
	one, first := startIdle(t, a)
	two, second := startIdle(t, a)
	victim, id := startIdle(t, a)
	awaitWatched(seg, first, second)
	one.Stop()
	two.Stop()
	victim.Kill()
	until(func() bool { return seg.KnownDead(id) })
	if seg.Dead(first) || seg.Dead(second) {
		t.Error("a stopped process is dead")
	}
	runtime.KeepAlive(a)
}

// A stopped process is dead to nobody, however long that is.
func TestStoppedLives(t *testing.T) {
	seg := proctest.Segment(t, 0)
	a := idleIn(t, seg)
	a.Ticks = true
	p, id := startIdle(t, a)
	q, _ := startIdle(t, a)
	p.Stop()
	for end := time.Now().Add(proctest.Stress(2 * time.Second)); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		q.Tell(fmt.Sprint("dead? ", id))
		if q.Line() != "false" || seg.KnownDead(id) || seg.Dead(id) {
			t.Fatal("a stopped process is dead")
		}
	}
	p.Continue()
	p.Tell(fmt.Sprint("dead? ", seg.Self()))
	p.WaitLine("false")
	runtime.KeepAlive(a)
}

// Who is watched follows who comes, leaves and dies; with the last company the watch ends.
func TestWatchShifts(t *testing.T) {
	ticks := shm.ForceNoTicks()
	defer func() { ticks() }()
	seg := proctest.Segment(t, 0)
	if ids, _ := shm.Watched(seg); ids != nil {
		t.Errorf("alone, and watches %#x", ids)
	}
	a := idleIn(t, seg)
	var ps []*proctest.Proc
	var ids []uint32
	join := func() {
		p, id := startIdle(t, a)
		ps, ids = append(ps, p), append(ids, id)
	}
	join()
	awaitWatched(seg, ids[0])
	join()
	awaitWatched(seg, ids[0], ids[1])
	join()
	join()
	awaitWatched(seg, ids[0], ids[1])
	ps[1].Tell("leave")
	ps[1].WaitLine("left")
	awaitWatched(seg, ids[0], ids[2])
	ps[2].Tell("go")
	awaitWatched(seg, ids[0], ids[3])
	// The last one is followed by this process, and that by the first.
	for _, want := range []string{fmt.Sprint("how ", seg.Self()), fmt.Sprint("how ", ids[0])} {
		until(func() bool { ps[3].Tell(want); return ps[3].Line() == "pidfd" })
	}
	ps[0].Kill()
	awaitWatched(seg, ids[3])
	join()
	awaitWatched(seg, ids[3], ids[4])
	ps[3].Kill()
	ps[4].Kill()
	ticks() // if one of the two was buried by the other, this process need not see when its bytes are unlocked
	until(func() bool { g, _ := shm.WatchSize(); return g == 0 })
	ticks = shm.ForceNoTicks()
	join()
	awaitWatched(seg, ids[5])
	proctest.Must(t, seg.Close())
	until(func() bool { g, _ := shm.WatchSize(); return g == 0 })
	runtime.KeepAlive(a)
}

// The dead are to be swept when nobody has swept them between two ticks.
func TestSweepAsked(t *testing.T) {
	defer shm.ForceNoTicks()() // but for those here
	seg := proctest.Segment(t, 0)
	company, err := seg.Prepare()
	proctest.Must(t, err)
	defer company.Abandon()
	dies, err := seg.Prepare()
	proctest.Must(t, err)
	if shm.Tick(seg) {
		t.Error("something is to be swept, and nobody is dead")
	}
	dies.Sent()
	shm.Tick(seg) // finds it, if the watch has not
	if !seg.KnownDead(dies.Owner) {
		t.Error("not found at a tick")
	}
	shm.Tick(seg)
	if !shm.Tick(seg) {
		t.Error("is dead for two ticks, and not to be swept")
	}
}

// Each way to do without what a kernel, a sandbox or a limit may refuse notices deaths, too.
func TestWatchFallbacks(t *testing.T) {
	for _, c := range []struct {
		name  string
		force []func() func()
		how   string
	}{
		{"no pidfd", []func() func(){shm.ForceNoPidfd, shm.ForceNoTicks}, "blocked"},
		{"no pidfd and no thread", []func() func(){shm.ForceNoPidfd, shm.ForceNoBlocking}, "asked"},
		{"no waitv", []func() func(){shm.ForceNoWaitv, shm.ForceNoTicks}, "pidfd"},
		{"nothing", []func() func(){shm.ForceNoWaitv, shm.ForceNoPidfd, shm.ForceNoBlocking}, "asked"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, f := range c.force {
				defer f()()
			}
			seg := proctest.Segment(t, 0)
			a := idleIn(t, seg)
			p, id := startIdle(t, a)
			until(func() bool { ids, how := shm.Watched(seg); return slices.Equal(ids, []uint32{id}) && how[0] == c.how })
			p.Kill()
			until(func() bool { return seg.KnownDead(id) })
			until(func() bool { g, b := shm.WatchSize(); return g == 0 && b == 0 })
			runtime.KeepAlive(a)
		})
	}
}

// A process without a descriptor to spare asks.
func TestWatchWithoutDescriptors(t *testing.T) {
	seg := proctest.Segment(t, 0)
	a := idleIn(t, seg)
	a.Ticks = true
	p, _ := startIdle(t, a)
	p.Tell("starve")
	p.WaitLine("starved")
	victim, id := startIdle(t, a)
	until(func() bool { p.Tell(fmt.Sprint("how ", id)); return p.Line() == "asked" })
	proctest.Must(t, seg.Close()) // it is for p alone to notice
	victim.Kill()
	p.Tell(fmt.Sprint("notice ", id))
	p.WaitLine("noticed")
	runtime.KeepAlive(a)
}

// A process number that somebody else has by now is not taken for the participant's.
func TestPidReused(t *testing.T) {
	defer shm.ForceNoTicks()()
	seg := proctest.Segment(t, 0)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	id := gift.Owner
	until(func() bool { ids, _ := shm.Watched(seg); return slices.Equal(ids, []uint32{id}) })
	gift.Sent() // it is dead
	shm.Introduce(seg, id, os.Getpid(), sys.PidNamespace())
	shm.Ring(seg, id)
	until(func() bool { return seg.KnownDead(id) })
}

// copies gives a copy of what its life is bound to to another program, as a fork does.
var copies = proctest.NewRole("copies", func(ctx context.Context, c *proctest.Child, b twoBlocks) error {
	cat := exec.Command("cat")
	cat.Stdin, cat.ExtraFiles = os.NewFile(5, "stdin"), []*os.File{shm.Life(b.A.Segment())}
	if err := cat.Start(); err != nil {
		return err
	}
	c.Say("%d", b.A.Segment().Self())
	c.Hear()
	return nil
})

// A process that was killed is dead, though a child that it forked, and that has not executed its program yet, keeps its
// descriptors.
func TestForkedKeepsNobodyAlive(t *testing.T) {
	defer shm.ForceNoTicks()()
	seg := proctest.Segment(t, 0)
	stdin, tell, err := os.Pipe()
	proctest.Must(t, err)
	defer tell.Close() // ends cat
	p := copies.Start(t, twoIn(t, seg), process.Options{Files: []*os.File{stdin}})
	stdin.Close()
	n, err := strconv.ParseUint(p.Line(), 10, 32)
	proctest.Must(t, err)
	id := uint32(n)
	awaitWatched(seg, id)
	p.Kill()
	p.Wait()
	if locked, err := sys.BytesLocked(shm.File(seg), shm.LockAt(id), 2); !locked || err != nil {
		t.Fatalf("the copy does not keep the lock: %v", err)
	}
	until(func() bool { return seg.KnownDead(id) })
}

// A process that goes on without its life in the segment (it executes another program, say) is noticed at a tick.
func TestGivenUpNoticed(t *testing.T) {
	seg := proctest.Segment(t, 0)
	p := givesUp.Start(t, twoIn(t, seg))
	id, err := strconv.ParseUint(p.Line(), 10, 32)
	proctest.Must(t, err)
	awaitWatched(seg, uint32(id))
	p.Tell("close")
	p.WaitLine("closed")
	until(func() bool { return seg.KnownDead(uint32(id)) })
}

// startElsewhere starts a participant of seg in a pid namespace of its own.
func startElsewhere(t *testing.T, seg *shm.Segment) (kill func(), id uint32) {
	t.Helper()
	exe, err := os.Executable()
	proctest.Must(t, err)
	b := block(t, seg, "", 8)
	handle, err := b.Handle().MarshalText()
	proctest.Must(t, err)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%x %d %s", elsewhereVariable, gift.UUID, gift.Owner, handle))
	cmd.ExtraFiles = []*os.File{gift.Memory, gift.Alive}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	proctest.Must(t, err)
	stdout, err := cmd.StdoutPipe()
	proctest.Must(t, err)
	if err := cmd.Start(); errors.Is(err, syscall.EPERM) {
		gift.Abandon()
		t.Skip("a pid namespace needs CAP_SYS_ADMIN")
	} else if err != nil {
		t.Fatal(err)
	}
	proctest.Watch(t)
	gift.Sent()
	kill = func() {
		cmd.Process.Kill()
		cmd.Wait()
		stdin.Close()
	}
	t.Cleanup(kill)
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready 1\n" { // the first process of its namespace
		t.Fatalf("%q, %v", line, err)
	}
	return kill, gift.Owner
}

// A participant in another pid namespace, whose number means somebody else here, is watched by a thread, and by one
// however often that begins.
func TestOtherNamespace(t *testing.T) {
	defer shm.ForceNoTicks()()
	seg := proctest.Segment(t, 0)
	kill, id := startElsewhere(t, seg)
	watched := func() {
		until(func() bool {
			ids, how := shm.Watched(seg)
			return slices.Equal(ids, []uint32{id}) && how[0] == "blocked"
		})
	}
	for range 3 {
		watched()
		shm.Rewatch(seg)
	}
	watched()
	if _, blocked := shm.WatchSize(); blocked != 1 {
		t.Errorf("%d threads wait for one participant", blocked)
	}
	if seg.Dead(id) {
		t.Error("dead in another namespace, while it runs")
	}
	kill()
	until(func() bool { return seg.KnownDead(id) })
	until(func() bool { g, b := shm.WatchSize(); return g == 0 && b == 0 })
}

// The kernel tells of the end of a thread long before that of a process with much memory. Here nobody looks at anything
// else; what goes on as another program has left, too.
func TestGuard(t *testing.T) {
	defer shm.ForceNoTicks()()
	defer shm.ForceNoEnds()()
	for _, how := range []string{"killed", "another program", "told to end"} {
		t.Run(how, func(t *testing.T) {
			seg := proctest.Segment(t, 0)
			a := idleIn(t, seg)
			p, id := startIdle(t, a)
			awaitWatched(seg, id)
			until(func() bool { return shm.Guarded(seg, id) }) // the child's own thread
			shm.MarkGuard(seg, id)                             // for nothing: it lives
			if seg.Dead(id) || sys.Dying(p.Pid()) {
				t.Error("dead, though it lives")
			}
			shm.Rewatch(seg)
			awaitWatched(seg, id)
			switch how {
			case "killed":
				p.Kill()
			case "another program":
				p.Tell("exec")
			default:
				p.Tell("end")
			}
			until(func() bool { return seg.KnownDead(id) })
			runtime.KeepAlive(a)
		})
	}
}

// Memory tells that a process has not ended, but never of one of whose end the system has told.
func TestKnownAlive(t *testing.T) {
	defer shm.ForceNoTicks()()
	defer shm.ForceNoEnds()()
	seg := proctest.Segment(t, 0)
	a := idleIn(t, seg)
	if seg.KnownAlive(0) || seg.KnownAlive(1<<12|77) {
		t.Error("nobody is alive")
	}
	for range 10 {
		p, id := startIdle(t, a)
		p.Tell(fmt.Sprintf("dead? %d", seg.Self())) // which has it watch
		if line := p.Line(); line != "false" {
			t.Fatal(line)
		}
		until(func() bool { return shm.Guarded(seg, id) })
		if !seg.KnownAlive(id) {
			t.Error("a process that watches others is not known to be alive")
		}
		if seg.KnownAlive(id + 1<<12) {
			t.Error("the next that will have the slot is known to be alive")
		}
		p.Kill()
		p.Wait()
		if seg.KnownAlive(id) {
			t.Error("known to be alive after its end")
		}
	}
	runtime.KeepAlive(a)
}

// A thread that is killed a moment later than the one that watches does not take away what the kernel has said of that.
func TestGuardStays(t *testing.T) {
	seg := proctest.Segment(t, 0)
	a := idleIn(t, seg)
	_, id := startIdle(t, a)
	awaitWatched(seg, id)
	until(func() bool { return shm.Guarded(seg, seg.Self()) })
	if !shm.Ended(seg) {
		t.Error("the thread that watches is said to go on after its end")
	}
	runtime.KeepAlive(a)
}

// The kernel does not look at memory of a segment that is watched no more, though that of the next one was cut off.
func TestGuardLeft(t *testing.T) {
	seg := proctest.Segment(t, 0)
	other, name := named(t, 0)
	var thread uint32
	var marked func() bool
	ended := make(chan struct{})
	var end func()
	end = func() {
		runtime.LockOSThread()               // and does not unlock it, so the thread ends, too
		if syscall.Gettid() == os.Getpid() { // the first thread, which Go keeps
			defer runtime.UnlockOSThread()
			go end()
			<-ended
			return
		}
		defer close(ended)
		thread, marked = shm.LeaveCut(seg, other, func() { proctest.Must(t, os.Truncate(fileOf(name), 0)) })
	}
	go end()
	<-ended
	until(func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", thread))
		return err != nil
	})
	if marked() {
		t.Error("the kernel looked at memory that may be gone")
	}
}

// A death is noticed before the bytes are unlocked, and until then nothing may be swept up. Then it is, also by one who is
// alone by now.
func TestSweptLater(t *testing.T) {
	seg := proctest.Segment(t, 0)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	cat := exec.Command("cat") // whose participant that is
	proctest.Must(t, cat.Start())
	defer cat.Wait()
	shm.Introduce(seg, gift.Owner, cat.Process.Pid, sys.PidNamespace())
	proctest.Must(t, cat.Process.Kill())
	until(func() bool { return sys.Dying(cat.Process.Pid) })
	shm.Died(seg, gift.Owner)
	if !seg.KnownDead(gift.Owner) {
		t.Error("not buried")
	}
	if n, err := shm.Tidy(seg); err != nil || seg.Info().Dead != 1 {
		t.Errorf("swept up %d blocks of one whose bytes are locked: %v", n, err)
	}
	for range 10 { // the sweep that the death asked for has come to nothing then
		shm.TidySoon(seg)
	}
	gift.Sent() // which unlocks them
	until(func() bool { return seg.Info().Dead == 0 })
	until(func() bool { g, _ := shm.WatchSize(); return g == 0 })
}

// Who is waited for is asked for at each tick, wherever its slot is.
func TestAwaitedAsked(t *testing.T) {
	for _, force := range []func() func(){shm.ForceNoTicks, shm.ForceNoPidfd, shm.ForceNoBlocking} {
		defer force()()
	}
	seg := proctest.Segment(t, 0)
	a := idleIn(t, seg)
	var others []*proctest.Proc
	for range 4 { // the first two are watched, and the third is the one more that the first tick asks for
		p, _ := startIdle(t, a)
		others = append(others, p)
	}
	p, id := startIdle(t, a)
	p.Tell("hold")
	p.WaitLine("held")
	got := make(chan error)
	go func() { got <- a.Lock.Acquire(t.Context()) }()
	until(func() bool {
		info, err := locks.Inspect(a.Lock)
		proctest.Must(t, err)
		return len(info.Waiters) == 1
	})
	for _, o := range others { // they watch, too
		o.Stop()
	}
	p.Kill()
	p.Wait()
	if shm.Tick(seg); !seg.KnownDead(id) {
		t.Error("the death of who holds a lock that is waited for was not noticed")
	}
	if err := <-got; err != locks.ErrOwnerDied {
		t.Error(err)
	}
}

// More segments than one thread can wait for.
func TestWatchManySegments(t *testing.T) {
	defer shm.ForceNoTicks()()
	const n = 70
	var segs []*shm.Segment
	for range n {
		seg := proctest.Segment(t, 1)
		gift, err := seg.Prepare()
		proctest.Must(t, err)
		defer gift.Abandon()
		segs = append(segs, seg)
	}
	if g, _ := shm.WatchSize(); g != (n+shm.GroupSize-1)/shm.GroupSize {
		t.Errorf("%d groups for %d segments", g, n)
	}
	for _, i := range []int{0, n / 2, n - 1} {
		p, id := startVisit(t, twoIn(t, segs[i]))
		until(func() bool { ids, how := shm.Watched(segs[i]); return len(ids) == 2 && how[1] == "pidfd" })
		p.Kill()
		until(func() bool { return segs[i].KnownDead(id) })
	}
	for _, seg := range segs {
		proctest.Must(t, seg.Close())
	}
	until(func() bool { g, _ := shm.WatchSize(); return g == 0 })
}

// Who is alone watches nobody, and makes segments without an end.
func TestAloneWatchesNobody(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 1000 {
		seg, err := shm.Anonymous(1)
		proctest.Must(t, err)
		if seg.Dead(seg.Self()) || !seg.Dead(seg.Self()+1) {
			t.Error("this process is dead, or the next lives")
		}
		if ids, _ := shm.Watched(seg); ids != nil {
			t.Fatalf("alone, and watches %#x", ids)
		}
		proctest.Must(t, seg.Close())
	}
	if g, b := shm.WatchSize(); g != 0 || b != 0 {
		t.Errorf("%d groups, %d blocked threads", g, b)
	}
	if n := runtime.NumGoroutine(); n > before+2 { // cleanups have one
		t.Errorf("%d goroutines, %d before", n, before)
	}
}

// The watch over a segment that the program forgets ends with it.
func TestForgottenWatch(t *testing.T) {
	defer shm.ForceNoTicks()()
	p, parent := func() (*proctest.Proc, uint32) {
		seg, err := shm.Anonymous(0)
		proctest.Must(t, err)
		a := idleIn(t, seg)
		p, id := startIdle(t, a)
		awaitWatched(seg, id)
		return p, seg.Self()
	}()
	until(func() bool { runtime.GC(); g, _ := shm.WatchSize(); return g == 0 })
	p.Tell(fmt.Sprint("notice ", parent))
	p.WaitLine("noticed")
}

// The watch may look while the name is opened once more; the race detector sees it if they do not agree.
func TestOpenedWhileWatched(t *testing.T) {
	seg, name := named(t, 1)
	var looks sync.WaitGroup
	looks.Go(func() {
		for range 100 {
			shm.Tick(seg)
		}
	})
	for range 10 {
		again, err := shm.Open(name)
		proctest.Must(t, err)
		proctest.Must(t, again.Close())
	}
	looks.Wait()
}

// The watch over a segment whose file is cut off ends, and not the program with it, also if a death is what it sees next.
func TestWatchCutOff(t *testing.T) {
	defer shm.ForceNoTicks()()
	seg, name := named(t, 0)
	a := idleIn(t, seg)
	p, id := startIdle(t, a)
	awaitWatched(seg, id)
	proctest.Must(t, os.Truncate(fileOf(name), 0))
	p.Kill()
	until(func() bool { g, _ := shm.WatchSize(); return g == 0 })
	for range 10 {
		shm.TidySoon(seg)
	}
	if err := seg.Close(); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("Close of what was cut off: %v, want ErrCorrupt", err)
	}
	runtime.KeepAlive(a)
}

// Many participants of one segment: each has a few descriptors for it, and all learn of a death.
func TestWatchMany(t *testing.T) {
	n := 64
	if os.Getenv("SHOAL_STRESS") != "" {
		n = 1000
	}
	if testing.Short() {
		n = 8
	}
	seg := proctest.Segment(t, 0)
	a := idleIn(t, seg)
	var ps []*proctest.Proc
	var last uint32
	for range n {
		p, id := startIdle(t, a, process.Options{Env: []string{"GOMAXPROCS=1"}})
		ps, last = append(ps, p), id
	}
	ps[n-2].Tell(fmt.Sprint("how ", last))
	for ps[n-2].Line() != "pidfd" {
		ps[n-2].Tell(fmt.Sprint("how ", last))
	}
	most := 0
	for _, p := range ps {
		p.Tell("descriptors")
		fds, err := strconv.Atoi(p.Line())
		proctest.Must(t, err)
		most = max(most, fds)
	}
	if most > 25 {
		t.Errorf("%d descriptors of a process among %d", most, n)
	}
	victim := ps[n-1]
	victim.Tell("hold")
	victim.WaitLine("held")
	for _, p := range ps[:n-1] {
		p.Tell("wait")
	}
	start := time.Now()
	victim.Kill()
	until(func() bool { return seg.KnownDead(last) })
	first := time.Since(start)
	for _, p := range ps[:n-1] {
		p.WaitLine("true")
	}
	t.Logf("%d participants: %d descriptors in a process at most; a death was known after %v, and all who waited had been told after %v",
		n, most, first, time.Since(start))
	runtime.KeepAlive(a)
}
