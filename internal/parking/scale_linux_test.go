package parking_test

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/parking"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

// mostThreads is what a process has at most, all of the Go runtime's included, however many wait.
const mostThreads = 128

func threads(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Skip("/proc does not tell: ", err)
	}
	return len(tasks)
}

// crowd has n goroutines wait, number i for word i%words to be other than 0, with a question to ask or without.
type crowd struct {
	words []*atomic.Uint32
	b     *shm.Block
	gone  atomic.Int32
	over  atomic.Bool
	wg    sync.WaitGroup
}

func newCrowd(t *testing.T, ctx context.Context, n, words int) *crowd {
	t.Helper()
	b, err := shm.NewBlock(proctest.Segment(t, 1<<20+8*words), "", 4*words)
	proctest.Must(t, err)
	c := &crowd{b: b}
	for i := range words {
		c.words = append(c.words, b.Uint32(4*i))
	}
	for i := range n {
		w := c.words[i%words]
		c.wg.Go(func() {
			defer c.gone.Add(1)
			for w.Load() == 0 && !c.over.Load() {
				if err := parking.Wait(ctx, w, 0, c.over.Load); err != nil {
					return
				}
			}
		})
	}
	asleep(n)
	return c
}

// Ten thousand goroutines on one word, and on as many, are within the bound of threads; a change of the words, a Kick
// and a cancellation end all of them, and leave nothing. With SHOAL_STRESS they are a hundred thousand, too.
func TestCrowd(t *testing.T) {
	sizes := []int{10_000}
	switch {
	case testing.Short():
		sizes = []int{1000}
	case os.Getenv("SHOAL_STRESS") != "":
		sizes = append(sizes, 100_000)
	}
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		defer parking.ForceNoCap()()
		for _, n := range sizes {
			for _, words := range []int{1, n} {
				for _, end := range []string{"wake", "cancel", "kick"} {
					crowded(t, n, words, end)
				}
			}
		}
	})
}

func crowded(t *testing.T, n, words int, end string) {
	ctx, cancel := context.WithCancel(t.Context())
	c := newCrowd(t, ctx, n, words)
	if threads := threads(t); threads > mostThreads {
		t.Errorf("%d words: %d threads, want %d at most", words, n, mostThreads)
	} else {
		t.Logf("%d goroutines on %d words: %d threads", n, words, threads)
	}
	switch end {
	case "wake":
		for _, w := range c.words {
			w.Store(1)
			futex.Wake(w, 1<<31-1)
		}
	case "kick":
		c.over.Store(true)
		futex.Kick(c.b.Bytes())
	case "cancel":
		cancel()
	}
	c.wg.Wait()
	cancel()
	nothingLeft(t)
	if s := parking.Stats(); s.Threads != 0 {
		t.Errorf("%d threads are in the kernel yet", s.Threads)
	}
}

// stays sleeps on the word in the kernel itself until it is woken, which is all that it tells.
func stays(w *atomic.Uint32) error {
	for {
		if err := sys.FutexWait(w, 0, sys.Monotonic()+1<<50); err != syscall.EINTR {
			return err
		}
	}
}

var stay = proctest.NewRole("stay", func(ctx context.Context, c *proctest.Child, a role) error {
	for c.Hear() == "again" {
		if err := stays(a.B.Uint32(0)); err != nil {
			return err
		}
		c.Say("woken")
	}
	return nil
})

// An entry that was left takes no wake away from one who stays: if the waiter that was cancelled did not go on as if
// woken, the one behind it is.
func TestWakeGoesOn(t *testing.T) {
	for _, e := range engines {
		if e.name == "wait" || e.name == "poll" {
			continue // there no wake reaches who leaves
		}
		t.Run(e.name, func(t *testing.T) {
			e.use(t)
			wakeGoesOn(t)
		})
	}
}

func wakeGoesOn(t *testing.T) {
	defer parking.ForceNoBrief()()
	defer parking.ForceNoCap()()
	n := 300
	if testing.Short() {
		n = 30
	}
	b := sharedBlock(t)
	w := b.Uint32(0)
	p := stay.Start(t, role{B: b})
	left := 0
	never := func() bool { return false } // nor does the Kick end a wait that follows when a process joins
	for i := range n {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- parking.Wait(ctx, w, 0, never) }()
		asleep(1)
		p.Tell("again")
		p.Asleep() // behind this process's
		if i%2 == 0 {
			futex.Wake(w, 1)
		}
		cancel()
		for range i % 20 {
			runtime.Gosched()
		}
		if i%2 == 1 {
			futex.Wake(w, 1)
		}
		if err := <-done; err == nil {
			futex.Wake(w, 1) // unless it is awake already
		} else {
			left++
		}
		p.WaitLine("woken")
		nothingLeft(t) // nor wakes that are passed on late
	}
	p.Tell("enough")
	proctest.Must(t, p.Wait())
	t.Logf("%d of %d left with an error", left, n)
}

// Goroutines hand a word round, each changing it and waking one, while others are cancelled all the time. No wake is lost,
// for no sleep ends by itself here. SHOAL_STRESS=30s makes about a million cancellations of each kind.
func TestCancelsAgainstWakes(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		defer parking.ForceNoCap()()
		stop := time.Now().Add(proctest.Stress(time.Second) / time.Duration(len(engines)))
		b := sharedBlock(t)
		w, tokens := b.Uint32(0), b.Uint32(128)
		var cancelled, taken atomic.Int64
		var done atomic.Bool
		ready := done.Load
		// take waits until there is a token. The word counts what was given, so it never comes back.
		take := func(ctx context.Context) error {
			for !done.Load() {
				v := w.Load()
				if n := tokens.Load(); n > 0 {
					if tokens.CompareAndSwap(n, n-1) {
						taken.Add(1)
						return nil
					}
					continue
				}
				if err := parking.Wait(ctx, w, v, ready); err != nil {
					if futex.Wake(w, 1); tokens.Load() == 0 {
						return err
					}
				}
			}
			return nil
		}
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() {
				for !done.Load() {
					ctx, cancel := context.WithCancel(t.Context())
					if i%4 != 0 {
						go cancel()
					}
					if take(ctx) != nil {
						cancelled.Add(1)
					}
					cancel()
				}
			})
		}
		given := int64(0)
		for time.Now().Before(stop) {
			tokens.Add(1)
			w.Add(1)
			futex.Wake(w, 1)
			for given++; taken.Load() < given; {
				runtime.Gosched()
			}
		}
		done.Store(true)
		w.Add(1)
		futex.Wake(w, 1<<31-1)
		futex.Kick(b.Bytes())
		wg.Wait()
		t.Logf("%d cancellations, %d wakes", cancelled.Load(), given)
	})
}

// Who expects another value than those who wait for the same word does not go on with them.
func TestValuesDiffer(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		defer parking.ForceNoCap()()
		b := sharedBlock(t)
		w := b.Uint32(0)
		before := parking.Stats()
		for v := uint32(0); v < 10; v += 2 {
			var wg sync.WaitGroup
			wait := func(v uint32) {
				wg.Go(func() {
					for w.Load() == v {
						if err := futex.Wait(t.Context(), w, v); err != nil {
							t.Error(err)
						}
					}
				})
				asleep(1)
			}
			wait(v)
			w.Store(v + 1) // of which nobody is told
			wait(v + 1)
			time.Sleep(20 * time.Millisecond) // in which those who look find that the first has nothing to wait for
			w.Store(v + 2)
			futex.Wake(w, 100)
			wg.Wait()
		}
		blind := strings.HasSuffix(t.Name(), "/wait") // each of its sleeps ends by itself
		if s := parking.Stats(); !blind && s.Spurious != before.Spurious {
			t.Errorf("%d went on without reason", s.Spurious-before.Spurious)
		}
		runtime.KeepAlive(b)
	})
}

// Who comes while others sleep is noticed as they are, though no sleep ends by itself.
func TestOneByOne(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		defer parking.ForceNoCap()()
		b := sharedBlock(t)
		var done [10]chan error
		for i := range done {
			done[i] = make(chan error)
			go func() { done[i] <- waitFor(t.Context(), b.Uint32(4*i)) }()
			asleep(i + 1)
			time.Sleep(time.Millisecond) // so that the kernel has it, as a rule
		}
		for i := range done {
			w := b.Uint32(4 * (len(done) - 1 - i))
			w.Store(1)
			futex.Wake(w, 1)
			proctest.Must(t, <-done[len(done)-1-i])
		}
		runtime.KeepAlive(b)
	})
}

// The memory of a word may go as soon as nobody waits for it, whatever the kernel still has of it, and something else may
// come to lie there.
func TestMemoryGoes(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		b := sharedBlock(t)
		others := make(chan error)
		over, end := context.WithCancel(t.Context())
		for i := range 10 { // so that groups do not end
			go func() {
				var err error
				for err == nil {
					err = futex.Wait(over, b.Uint32(4*i), 0)
				}
				others <- err
			}()
		}
		for range 300 {
			mem, err := mmap.MapRegion(nil, 4096, mmap.RDWR, mmap.ANON, 0)
			proctest.Must(t, err)
			w := wordOf(mem)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			for range 4 {
				go func() {
					var err error
					for err == nil {
						err = futex.Wait(ctx, w, 0)
					}
					done <- err
				}()
			}
			asleep(4)
			cancel()
			for range 4 {
				if err := <-done; err != context.Canceled {
					t.Error(err)
				}
			}
			proctest.Must(t, mem.Unmap())
		}
		end()
		for range 10 {
			<-others
		}
	})
}

// mapWord maps the file.
func mapWord(name string) (mmap.MMap, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mmap.Map(f, mmap.RDWR, 0)
}

// stayMapped is stay on a file's first word, which is other than 0 when it is woken.
var stayMapped = proctest.NewRole("stayMapped", func(ctx context.Context, c *proctest.Child, a role) error {
	mem, err := mapWord(a.File)
	if err != nil {
		return err
	}
	for c.Hear() == "again" {
		err := syscall.EINTR
		for err == syscall.EINTR {
			err, _ = sys.FutexWait(wordOf(mem), 0, sys.Monotonic()+int64(10*time.Second)).(syscall.Errno)
		}
		if err == syscall.ETIMEDOUT {
			return err
		}
		c.Say("woken")
	}
	return mem.Unmap()
})

// Who leaves may take the memory away at once, and a wake that comes in between is not lost for another process: what the
// kernel yet has of the one who left does not use it up, as it could not be passed on any more.
func TestMemoryGoesBeforeWake(t *testing.T) {
	n := 20
	if testing.Short() {
		n = 4
	}
	eachWay(t, func(t *testing.T) {
		proctest.Watch(t)
		defer parking.ForceNoCap()()
		name := filepath.Join(t.TempDir(), "word")
		proctest.Must(t, os.WriteFile(name, make([]byte, 4096), 0o600))
		stays, err := mapWord(name)
		proctest.Must(t, err)
		w := wordOf(stays)
		p := stayMapped.Start(t, role{File: name})
		for i := range n {
			w.Store(0)
			goes, err := mapWord(name)
			proctest.Must(t, err)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			var leaves atomic.Bool
			go func() {
				for err := error(nil); err == nil && !leaves.Load(); {
					err = futex.Wait(ctx, wordOf(goes), 0)
				}
				w.Store(1)
				futex.Wake(w, 1)
				done <- goes.Unmap()
			}()
			asleep(1)
			p.Tell("again")
			p.Asleep() // behind this process's
			if leaves.Store(i%2 == 0); leaves.Load() {
				futex.Kick(goes)
			} else {
				cancel()
			}
			proctest.Must(t, <-done)
			p.WaitLine("woken")
			cancel()
		}
		p.Tell("enough")
		proctest.Must(t, p.Wait())
		proctest.Must(t, stays.Unmap())
	})
}

type role struct {
	B      *shm.Block
	File   string
	Engine int
}

// store changes the word and is told when to wake.
var store = proctest.NewRole("store", func(ctx context.Context, c *proctest.Child, a role) error {
	a.B.Uint32(0).Store(1)
	c.Say("stored")
	c.Hear()
	futex.Wake(a.B.Uint32(0), 1)
	return nil
})

// A process that is stopped between its store and its wake holds nobody up for longer than the cap.
func TestStoppedBeforeWake(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		b := sharedBlock(t)
		w := b.Uint32(0)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				over := func() bool { return false }
				if i%2 == 0 {
					over = nil
				}
				for w.Load() == 0 {
					if err := parking.Wait(t.Context(), w, 0, over); err != nil {
						t.Error(err)
					}
				}
			})
		}
		asleep(4)
		p := store.Start(t, role{B: b})
		p.WaitLine("stored")
		p.Stop()
		wg.Wait()
		p.Continue()
		p.Tell("wake")
		proctest.Must(t, p.Wait())
	})
}

// sleep waits for a word for ever.
var sleep = proctest.NewRole("sleep", func(ctx context.Context, c *proctest.Child, a role) error {
	defer parking.ForceNoBrief()()
	for _, force := range engines[a.Engine].force {
		defer force()()
	}
	go func() {
		asleep(1)
		c.Say("sleeps")
	}()
	for {
		if err := futex.Wait(ctx, a.B.Uint32(0), 0); err != nil {
			return err
		}
	}
})

// A waiter that is killed takes no wake with it: the next wake is for who is left.
func TestKilledWaiter(t *testing.T) {
	for i, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			if !e.has() {
				t.Skip("the kernel has no futex_waitv or io_uring with futexes, or a sandbox refuses it")
			}
			b := sharedBlock(t)
			w := b.Uint32(0)
			p := sleep.Start(t, role{B: b, Engine: i})
			p.WaitLine("sleeps")
			woken := make(chan error, 1)
			go func() { woken <- stays(w) }()
			p.Kill()
			p.Wait() // else the wake may be for a thread of it that does not know yet
			for futex.Wake(w, 1) == 0 {
				runtime.Gosched()
			}
			proctest.Must(t, <-woken)
			if n := futex.Wake(w, 1); n != 0 {
				t.Errorf("%d sleep on", n)
			}
		})
	}
}

// The counters add up.
func TestStats(t *testing.T) {
	eachWay(t, func(t *testing.T) {
		b := sharedBlock(t)
		w := b.Uint32(0)
		before := parking.Stats()
		proctest.Must(t, futex.Wait(t.Context(), w, 1)) // no sleep
		done := make(chan error)
		go func() {
			var err error
			for err == nil && w.Load() == 0 {
				err = futex.Wait(t.Context(), w, 0)
			}
			done <- err
		}()
		asleep(1)
		for {
			futex.Kick(b.Bytes()) // spurious
			if parking.Stats().Spurious > before.Spurious {
				break
			}
			runtime.Gosched()
		}
		asleep(1)
		w.Store(1)
		futex.Wake(w, 1)
		proctest.Must(t, <-done)
		s := parking.Stats()
		if s.Waits-before.Waits != s.Wakes-before.Wakes+s.Spurious-before.Spurious || s.Waits-before.Waits < 2 {
			t.Errorf("from %+v to %+v", before, s)
		}
	})
}

// Who naps or sleeps for a word that is another by then is not counted.
func TestStatsWithoutSleep(t *testing.T) {
	w := new(atomic.Uint32)
	before := parking.Stats()
	if !parking.Nap(t.Context(), w, 1) {
		t.Error("a nap though the word is another")
	}
	proctest.Must(t, parking.Sleep(t.Context(), w, 1, nil))
	if s := parking.Stats(); s.Waits != before.Waits || s.Wakes != before.Wakes || s.Spurious != before.Spurious {
		t.Errorf("from %+v to %+v", before, s)
	}
}

// Whoever stands in a line for a lock leaves it at once, from anywhere in it, and the line goes on.
func TestLine(t *testing.T) {
	proctest.Watch(t)
	b := sharedBlock(t)
	w := b.Uint32(0)
	never := func() bool { return false }
	ctx, cancel := context.WithCancel(t.Context())
	for range 100 {
		first, err := parking.Enter(ctx, w, 1, never)
		proctest.Must(t, err)
		var in, out atomic.Int32
		var wg sync.WaitGroup
		cancelled, cancelSome := context.WithCancel(t.Context())
		for i := range 100 {
			wg.Go(func() {
				c := ctx
				if i%3 == 0 {
					c = cancelled
				}
				p, err := parking.Enter(c, w, 1, never)
				if err != nil {
					out.Add(1)
					return
				}
				in.Add(1)
				p.Leave()
			})
		}
		other, err := parking.Enter(ctx, w, 2, never) // in another line
		proctest.Must(t, err)
		other.Leave()
		go cancelSome()
		first.Leave()
		wg.Wait()
		if in.Load()+out.Load() != 100 || in.Load() < 66 {
			t.Fatalf("%d had their turn and %d left", in.Load(), out.Load())
		}
		cancelSome()
	}
	cancel()
	nothingLeft(t)
	runtime.KeepAlive(b)
}
