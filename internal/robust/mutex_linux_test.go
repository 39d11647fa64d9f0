package robust_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/shm"
)

// peer is one of several processes that are made up: they live in one, so that a test can hold each where it
// wants.
type peer struct {
	id     uint32
	gone   func() bool // of all others: that they are known to be dead, which the kernel does not say; nil: they live
	closed func() bool // asked between any two steps of a waiter; nil: the handle is open
}

func (p peer) Self() uint32          { return p.id }
func (p peer) Dead(uint32) bool      { return false }
func (p peer) KnownDead(uint32) bool { return p.gone != nil && p.gone() }
func (p peer) Closed() bool          { return p.closed != nil && p.closed() }

// sharedWord is an owner word in shared memory.
type sharedWord struct{ *shm.Block }

func newWord(t *testing.T) sharedWord {
	t.Helper()
	proctest.Watch(t)
	b, err := shm.NewBlock(proctest.Segment(t, 1), "", 256)
	proctest.Must(t, err)
	return sharedWord{b}
}

func (w sharedWord) of(p peer) *robust.Mutex {
	m := robust.At(w.Bytes(), p, p)
	return &m
}

// get and set are for when nobody else changes the word.
func (w sharedWord) get() uint64  { return binary.LittleEndian.Uint64(w.Bytes()) }
func (w sharedWord) set(v uint64) { binary.LittleEndian.PutUint64(w.Bytes(), v) }

// low is the futex word.
func (w sharedWord) low() *atomic.Uint32 { return w.Uint32(0) }

// queue lets m wait for the word, which somebody holds, and free it once it has got it. It returns when m is
// about to sleep; that it does sleep makes the tests stronger, but none depends on it.
func (w sharedWord) queue(m *robust.Mutex) (done chan error) {
	done = make(chan error, 1)
	go func() {
		err := m.Lock(context.Background(), 0)
		if err == nil {
			err = m.Unlock()
		}
		done <- err
	}()
	for w.low().Load()&robust.Waiters == 0 {
		runtime.Gosched()
	}
	time.Sleep(20 * time.Millisecond)
	return done
}

// nobodySleeps wakes whoever still sleeps on the word, where a wake should have come from elsewhere.
func (w sharedWord) nobodySleeps(t *testing.T, after string) {
	t.Helper()
	if n := futex.Wake(w.low(), 100); n != 0 {
		t.Errorf("after %s %d sleep on", after, n)
	}
}

// isFree wants the word to be as if nobody had ever slept, after the next who takes and frees it.
func (w sharedWord) isFree(t *testing.T, m *robust.Mutex) {
	t.Helper()
	proctest.Must(t, m.Lock(t.Context(), 0))
	proctest.Must(t, m.Unlock())
	if v := w.get(); v != 0 {
		t.Errorf("the word is %#x after all that, want 0", v)
	}
}

// Who waits goes when it is told that the owner is known to be dead, and does not ask the kernel, which it asked a moment
// ago; so does who is told before it could notice.
func TestOwnerKnownDead(t *testing.T) {
	for _, early := range []bool{true, false} {
		w := newWord(t)
		var dead atomic.Bool
		var asked atomic.Int32
		m := w.of(peer{id: 1, gone: func() bool {
			asked.Add(1)
			return dead.Load()
		}})
		kicked := func() bool { // and asked then
			before := asked.Load()
			futex.Kick(w.Bytes())
			return asked.Load() != before
		}
		w.set(2*owner | robust.Locked)
		done := make(chan error, 1)
		go func() { done <- m.Lock(context.Background(), 0) }()
		for early && w.low().Load()&robust.Waiters == 0 || !early && !kicked() {
			runtime.Gosched()
		}
		dead.Store(true)
		futex.Kick(w.Bytes())
		if err := <-done; err != robust.ErrOwnerDied {
			t.Errorf("early %t: %v", early, err)
		}
		runtime.KeepAlive(w.Block)
	}
}

const owner = 1 << 32 // of a word: times the id

// Who does not hold the word changes no bit of it, whatever it says: a release that comes too late, from a
// process that was taken for dead meanwhile, ends neither the next owner's hold nor the mark that something
// is half changed.
func TestForeignRelease(t *testing.T) {
	w := newWord(t)
	m := w.of(peer{id: 1})
	const l, wt, d, wh = robust.Locked, robust.Waiters, robust.Died, robust.Whole
	for _, c := range []struct {
		word uint64
		want error
	}{
		{0, robust.ErrNotLocked},
		{2*owner | wt, robust.ErrNotLocked},
		{1*owner | wt, robust.ErrNotLocked},
		{d | wt, robust.ErrNotLocked},
		{2*owner | l, robust.ErrNotOwner},
		{2*owner | l | wt, robust.ErrNotOwner},
		{2*owner | l | wh, robust.ErrNotOwner},
		{2*owner | l | d, robust.ErrNotOwner},
		{2*owner | l | d | wt, robust.ErrNotOwner},
		{(1<<12+1)*owner | l, robust.ErrNotOwner}, // the slot's next generation
	} {
		w.set(c.word)
		if err := m.Unlock(); err != c.want {
			t.Errorf("Unlock of %#x: %v, want %v", c.word, err, c.want)
		}
		if err := m.Abandon(); err != c.want {
			t.Errorf("Abandon of %#x: %v, want %v", c.word, err, c.want)
		}
		if m.Free(0) || m.Free(robust.Whole) {
			t.Errorf("Free of %#x", c.word)
		}
		robust.Expose(w.Bytes(), 1)
		if v := w.get(); v != c.word {
			t.Errorf("%#x became %#x", c.word, v)
		}
	}

	w.set(1*owner | l | d) // its own repair, which ends by itself
	if err := m.Unlock(); err != robust.ErrNotLocked || m.Free(0) || w.get() != 1*owner|l|d {
		t.Errorf("Unlock in a repair: %v, the word is %#x", err, w.get())
	}
}

// The word is changed by compare-and-swap alone: any other change of it may undo what another process did
// since the word was looked at. No test can count on falling into that moment.
func TestOnlyCompareAndSwap(t *testing.T) {
	files, err := filepath.Glob("*.go")
	proctest.Must(t, err)
	change := regexp.MustCompile(`\bword\.(\w+)\(`)
	swaps := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		src, err := os.ReadFile(name)
		proctest.Must(t, err)
		for _, m := range change.FindAllSubmatch(src, -1) {
			switch string(m[1]) {
			case "CompareAndSwap":
				swaps++
			case "Load":
			default:
				t.Errorf("%s: %s)", name, m[0])
			}
		}
	}
	if swaps < 10 {
		t.Errorf("%d compare-and-swaps found: is the word called otherwise now?", swaps)
	}
}

// A waiter that is stopped between being woken and taking the word has used up a wake. The next release wakes
// another all the same, and the one that was stopped gets the word when it goes on.
func TestWokenAndStopped(t *testing.T) {
	w := newWord(t)
	holder := w.of(peer{id: 1})
	var armed atomic.Bool
	stopped, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	first := w.of(peer{id: 2, closed: func() bool {
		if armed.Load() {
			once.Do(func() { close(stopped) })
			<-goOn
		}
		return false
	}})
	proctest.Must(t, holder.Lock(t.Context(), 0))
	firstDone := w.queue(first)
	secondDone := w.queue(w.of(peer{id: 3}))
	armed.Store(true)
	proctest.Must(t, holder.Unlock())
	<-stopped
	if v := w.get(); v != 0 && v&robust.Locked == 0 && v>>32 == 0 {
		t.Errorf("the free word is %#x: with WAITERS it names its releaser, who alone may clear that", v)
	}
	proctest.Must(t, holder.Lock(t.Context(), 0))
	proctest.Must(t, holder.Unlock())
	w.nobodySleeps(t, "two releases, the first of which woke one that is stopped,")
	proctest.Must(t, <-secondDone)
	close(goOn)
	proctest.Must(t, <-firstDone)
	w.isFree(t, holder)
}

// A releaser that is stopped, or killed, between freeing the word and waking keeps nobody asleep: whoever
// sleeps on a free word looks again within the cap of a sleep.
func TestReleaserStopped(t *testing.T) {
	w := newWord(t)
	holder := w.of(peer{id: 1})
	proctest.Must(t, holder.Lock(t.Context(), 0))
	done := w.queue(w.of(peer{id: 2}))
	w.low().Store(robust.Waiters) // what Unlock does first: the owner stays as the releaser's mark
	proctest.Must(t, <-done)
	w.isFree(t, holder)
}

// A waiter whose handle is closed when it is woken passes the wake on: it was meant for one who stays.
func TestClosedPassesWakeOn(t *testing.T) {
	w := newWord(t)
	holder := w.of(peer{id: 1})
	var armed atomic.Bool
	proctest.Must(t, holder.Lock(t.Context(), 0))
	leaverDone := w.queue(w.of(peer{id: 2, closed: armed.Load}))
	stayerDone := w.queue(w.of(peer{id: 3}))
	armed.Store(true)
	proctest.Must(t, holder.Unlock())
	if err := <-leaverDone; !errors.Is(err, os.ErrClosed) {
		t.Errorf("a waiter whose handle is closed: %v", err)
	}
	w.nobodySleeps(t, "a release that woke one who left")
	proctest.Must(t, <-stayerDone)
	w.isFree(t, holder)
}

// ending is a context that ends when it is asked whether it has, and does something before.
type ending struct {
	context.Context
	before func()
}

func (c ending) Err() error {
	c.before()
	return context.Canceled
}

// A waiter whose context ends looks at the word once more, and takes it if it came free meanwhile: without
// that it might leave with the wake that said so.
func TestCancelledTakesFreeWord(t *testing.T) {
	w := newWord(t)
	holder, m := w.of(peer{id: 1}), w.of(peer{id: 2})
	proctest.Must(t, holder.Lock(t.Context(), 0))
	var once sync.Once
	err := m.Lock(ending{t.Context(), func() { once.Do(func() { proctest.Must(t, holder.Unlock()) }) }}, 0)
	if err != nil {
		t.Errorf("Lock of a word that came free when the context ended: %v", err)
	}
	if err := holder.Lock(ending{t.Context(), func() {}}, 0); err != context.Canceled {
		t.Errorf("Lock of a word that is held when the context ends: %v", err)
	}
	proctest.Must(t, m.Unlock())
	w.isFree(t, holder)
}

// A waiter that was killed asleep leaves a flag, which costs the next release a wake for nobody and is gone
// then: there is no system call on anybody's way after that.
func TestKilledWaiterIsForgotten(t *testing.T) {
	w := newWord(t)
	m := w.of(peer{id: 1})
	proctest.Must(t, m.Lock(t.Context(), 0))
	w.low().Store(robust.Locked | robust.Waiters)
	proctest.Must(t, m.Unlock())
	if v := w.get(); v != 0 {
		t.Errorf("the word is %#x after the release, want 0", v)
	}
	if !m.Take(0) || !m.Free(0) {
		t.Error("the fast paths do not work any more")
	}
}

// Two releases by one process that find WAITERS leave different words, through whatever handles, so that the clear of
// the first, however late, is none of the second's.
func TestReleasesDiffer(t *testing.T) {
	w := newWord(t)
	first, second := w.of(peer{id: 1}), w.of(peer{id: 1})
	var armed atomic.Bool
	goOn := make(chan struct{})
	stops := func() bool {
		if armed.Load() {
			<-goOn
		}
		return false
	}
	proctest.Must(t, first.Lock(t.Context(), 0))
	done := []chan error{w.queue(w.of(peer{id: 2, closed: stops})), w.queue(w.of(peer{id: 3, closed: stops}))}
	armed.Store(true)
	proctest.Must(t, first.Unlock())
	one := w.get()
	proctest.Must(t, second.Lock(t.Context(), 0))
	proctest.Must(t, second.Unlock())
	two := w.get()
	// Either word is 0 if the wake came before its waiter slept: a busy machine then tests less.
	if one == two && one != 0 {
		t.Errorf("both releases leave %#x", one)
	}
	if !robust.Valid(one) || !robust.Valid(two) {
		t.Errorf("the releases leave %#x and %#x", one, two)
	}
	close(goOn)
	for _, d := range done {
		proctest.Must(t, <-d)
	}
	w.isFree(t, first)
}

// mortal is a peer among others that may be dead, which only asking tells.
type mortal struct {
	peer
	dead  func(id uint32) bool
	asked *atomic.Int32
}

func (m mortal) Dead(id uint32) bool {
	m.asked.Add(1)
	return m.dead(id)
}

// A process whose slot was its owner's before does not take the word for its own, and finds the owner dead.
func TestSlotReused(t *testing.T) {
	w := newWord(t)
	const before, now = 1<<12 | 7, 2<<12 | 7 // slot 7, two generations
	p := mortal{peer{id: now}, func(id uint32) bool { return id == before }, new(atomic.Int32)}
	m := robust.At(w.Bytes(), p, p)
	w.set(before*owner | robust.Locked)
	if err := m.Unlock(); err != robust.ErrNotOwner {
		t.Errorf("Unlock: %v", err)
	}
	if err := m.Lock(t.Context(), 0); err != robust.ErrOwnerDied {
		t.Errorf("Lock: %v", err)
	}
	proctest.Must(t, m.Recover(t.Context(), nil))
	if v := w.get() &^ robust.Waiters; v != now*owner|robust.Locked { // it slept before it asked
		t.Errorf("the word is %#x", v)
	}
	proctest.Must(t, m.Unlock())
}

// Who only ever tries asks for the owner by itself: at once, and then again and again, but mostly not.
func TestTryLockAsks(t *testing.T) {
	w := newWord(t)
	var dead atomic.Bool
	p := mortal{peer{id: 1}, func(uint32) bool { return dead.Load() }, new(atomic.Int32)}
	m := robust.At(w.Bytes(), p, p)
	w.set(2*owner | robust.Locked)
	try := func() error {
		ok, err := m.TryLock(0)
		if ok {
			t.Fatal("TryLock took a word that is held")
		}
		return err
	}
	proctest.Must(t, try())
	if n := p.asked.Load(); n != 1 {
		t.Errorf("asked %d times at first", n)
	}
	tries := int32(0)
	for ; p.asked.Load() < 2; tries++ {
		proctest.Must(t, try())
	}
	if tries < 2 {
		t.Errorf("asked at each of %d tries", tries)
	}
	dead.Store(true)
	for {
		if err := try(); err == robust.ErrOwnerDied {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// With one processor those who sleep do not keep those from running who are to wake them.
func TestOneProcessor(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	w := newWord(t)
	n := 500
	if testing.Short() {
		n = 100
	}
	var wg sync.WaitGroup
	for id := range uint32(4) {
		m := w.of(peer{id: id%2 + 1}) // two of each process
		wg.Go(func() {
			for range n {
				err := m.Lock(context.Background(), 0)
				runtime.Gosched() // so that the others find it held
				if err = errors.Join(err, m.Unlock()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	w.isFree(t, w.of(peer{id: 1}))
}

// Who stands in line behind one who waits to recover learns of a death all the same, however long another's repair takes.
func TestInLineBehindRecover(t *testing.T) {
	w := newWord(t)
	m := w.of(peer{id: 1})
	w.set(2*owner | robust.Locked)
	ctx, cancel := context.WithCancel(t.Context())
	recovered, locked := make(chan error), make(chan error)
	go func() { recovered <- m.Recover(ctx, nil) }()
	for w.get()&robust.Waiters == 0 {
		time.Sleep(time.Millisecond)
	}
	go func() { locked <- m.Lock(context.Background(), 0) }()
	time.Sleep(10 * time.Millisecond)                             // so that it is in line; nothing depends on it
	w.set(3*owner | robust.Locked | robust.Waiters | robust.Died) // buried, and taken by one who repairs
	futex.Wake(w.low(), 1<<31-1)
	if err := <-locked; err != robust.ErrOwnerDied {
		t.Errorf("Lock during a repair: %v", err)
	}
	cancel()
	if err := <-recovered; err != context.Canceled {
		t.Errorf("Recover during a repair: %v", err)
	}
	runtime.KeepAlive(w.Block)
}

// Who retakes the word when it has been recovered meanwhile, and leaves the segment just then, so that others pass over his
// death, looks at his handle again.
func TestRetakeLeaving(t *testing.T) {
	w := newWord(t)
	const self = 0x1001
	w.set(robust.Died)
	looks := 0
	m := w.of(peer{id: self, closed: func() bool {
		if looks++; looks == 2 { // he has found the mark, and looks whether he may take it with that
			w.set(0) // it was recovered, and freed
		}
		return w.get()>>32 == self
	}})
	if err := m.Retake(); err != os.ErrClosed {
		t.Errorf("Retake: %v", err)
	}
	if got := w.get(); got != 0 {
		t.Errorf("the word is %#x, want that it is free", got)
	}
}
