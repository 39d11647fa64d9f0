package wait_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/shm"
)

// TestLayout pins the table in the package documentation.
func TestLayout(t *testing.T) {
	s := reflect.TypeFor[wait.Shared]()
	if err := layout.CheckShared(s); err != nil {
		t.Error(err)
	}
	if f, ok := s.FieldByName("state"); !ok || f.Offset != 0 || f.Type.Size() != 4 {
		t.Errorf("state: %+v", f)
	}
	if wait.Size != 128 || s.Size() != 128 {
		t.Errorf("a word takes %d bytes, %d", wait.Size, s.Size())
	}
	got := []uint32{wait.Sleepers, wait.One, wait.Several, wait.Waking, wait.Fenced, wait.Sure, wait.Bare, wait.Turns, wait.Turn, wait.Wakes}
	want := []uint32{0x3, 0x1, 0x2, 0x4, 0x8, 0x10, 0x20, 0xfc0, 0x40, 0x1000}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("bits %d are %#x, want %#x", i, got[i], want[i])
		}
	}
	block := newBlock(t)
	for _, mem := range [][]byte{nil, block.Bytes()[:127], block.Bytes()[64:]} {
		if _, err := wait.New(mem); err == nil {
			t.Errorf("a word in %d bytes, or in the middle of a line", len(mem))
		}
	}
	runtime.KeepAlive(block)
}

// pot is a number of items in shared memory: a Word at 0, the items at 128.
type pot struct {
	block *shm.Block
	word  *wait.Word
	items *atomic.Uint32
	any   func() bool
}

func openPot(t testing.TB, b *shm.Block) *pot {
	t.Helper()
	p, err := potOf(b)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func potOf(b *shm.Block) (*pot, error) {
	w, err := wait.New(b.Bytes())
	if err != nil {
		return nil, err
	}
	p := &pot{block: b, word: w, items: b.Uint32(128)}
	p.any = func() bool { return p.items.Load() > 0 }
	return p, nil
}

func (p *pot) put() {
	p.items.Add(1)
	p.word.Wake()
}

func (p *pot) try() bool {
	for {
		n := p.items.Load()
		if n == 0 || p.items.CompareAndSwap(n, n-1) {
			return n > 0
		}
	}
}

func (p *pot) get(ctx context.Context) error {
	s := p.word.Sleeper()
	defer s.End()
	for !p.try() {
		if err := s.Wait(ctx, p.any); err != nil {
			return err
		}
	}
	return nil
}

// asleep waits until as many sleep on the pot, or are about to: one, or several.
func (p *pot) asleep(level uint32) {
	for p.word.State().Load()&wait.Sleepers != level {
		runtime.Gosched()
	}
}

func TestWait(t *testing.T) {
	p := openPot(t, newBlock(t))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.word.Wait(over, p.any); err != context.Canceled {
		t.Errorf("the context is done: %v", err)
	}
	if v := p.word.State().Load(); v&wait.Sleepers != 0 {
		t.Errorf("the state is %#x: whoever left did not take his flag with him", v)
	}
	p.put()
	if err := p.word.Wait(over, p.any); err != nil {
		t.Errorf("ready, and the context is done: %v", err)
	}
	if err := p.get(over); err != nil {
		t.Error(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := p.get(short); err != context.DeadlineExceeded {
		t.Errorf("nothing came: %v", err)
	}
	n := 0
	if err := p.word.Wait(t.Context(), func() bool { n++; return n >= 3 }); err != nil {
		t.Error(err)
	}
	if v := p.word.State().Load(); v&wait.Sleepers != 0 {
		t.Errorf("the state is %#x: whoever found something after his flag did not take that with him", v)
	}
	p.put()
	proctest.Must(t, p.get(t.Context()))
	if c := p.word.Counts(); c.Wakes != 0 {
		t.Errorf("%d wakes, and nobody slept when something came", c.Wakes)
	}

	done := make(chan error)
	go func() { done <- p.get(t.Context()) }()
	p.asleep(wait.One)
	p.put()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if v := p.word.State().Load(); v&wait.Sleepers != 0 {
		t.Errorf("the state is %#x after a wake", v)
	}

	// Who stands in line leaves it when his context ends.
	first, stop := context.WithCancel(t.Context())
	go func() { done <- p.get(first) }()
	p.asleep(wait.One)
	if err := p.get(over); err != context.Canceled {
		t.Error(err)
	}
	stop()
	if err := <-done; err != context.Canceled {
		t.Error(err)
	}
	runtime.KeepAlive(p.block)
}

// The sleeper makes all publishers fence, with one barrier; a publisher that fences for nobody ends that; then the sleeper
// does without for some time.
func TestFenced(t *testing.T) {
	if !wait.Registered() {
		t.Skip("this processor, or the race detector, fences always, or the kernel has no barriers")
	}
	p := openPot(t, newBlock(t))
	p.word.Wake() // so that it is known to do without
	turn := func() {
		done := make(chan error)
		go func() { done <- p.get(t.Context()) }()
		p.asleep(wait.One)
		p.put()
		proctest.Must(t, <-done)
	}
	mode := func() uint32 { return p.word.State().Load() & (wait.Bare | wait.Fenced | wait.Sure) }
	for range 3 {
		turn()
		if mode() != wait.Bare|wait.Fenced|wait.Sure {
			t.Errorf("the state is %#x after a turn", p.word.State().Load())
		}
	}
	if n := p.word.Counts().Barriers; n != 1 {
		t.Errorf("%d barriers, want 1", n)
	}
	for i := 1; mode()&wait.Fenced != 0; i++ {
		if p.word.Wake(); i > wait.Enough {
			t.Fatalf("the state is %#x after %d publications for nobody", p.word.State().Load(), i)
		}
	}
	turn()
	if mode() != wait.Bare {
		t.Errorf("the state is %#x: asked for in vain, and asked for again", p.word.State().Load())
	}
	if n := p.word.Counts().Barriers; n != 2 {
		t.Errorf("%d barriers, want 2", n)
	}
	turn()
	if mode() != wait.Bare|wait.Fenced|wait.Sure {
		t.Errorf("the state is %#x after another turn", p.word.State().Load())
	}

	// Somebody asked and did no more: a sleeper makes it sure.
	p.word.State().Store(wait.Bare | wait.Fenced | 6*wait.Turn)
	turn()
	if mode() != wait.Bare|wait.Fenced|wait.Sure {
		t.Errorf("the state is %#x after another's question", p.word.State().Load())
	}
	if n := p.word.Counts().Barriers; n != 4 {
		t.Errorf("%d barriers, want 4", n)
	}

	// Or the first publisher that sees it twice.
	p.word.State().Store(wait.Bare | wait.Fenced | 7*wait.Turn)
	p.word.Wake()
	if mode()&wait.Sure != 0 {
		t.Error("sure at first sight")
	}
	p.word.Wake()
	if mode() != wait.Bare|wait.Fenced|wait.Sure {
		t.Errorf("the state is %#x", p.word.State().Load())
	}
	runtime.KeepAlive(p.block)
}

// A process that is refused barriers, beside publishers who do without a fence, asks them to fence, looks
// again after a moment, and leaves it to them to be sure.
func TestRefused(t *testing.T) {
	p := openPot(t, newBlock(t))
	p.word.State().Store(wait.Bare)
	wait.Force("refused", "unregistered")
	defer wait.Force()
	done := make(chan error)
	go func() { done <- p.get(t.Context()) }()
	p.asleep(wait.One)
	if v := p.word.State().Load(); v != wait.Bare|wait.Fenced|wait.One {
		t.Errorf("the state is %#x", v)
	}
	p.items.Add(1) // the wake is lost; if that were for good the watchdog would see it
	proctest.Must(t, <-done)
	runtime.KeepAlive(p.block)
}

// sleepsOn waits for items until it is killed.
var sleepsOn = proctest.NewRole("sleeps-on", func(ctx context.Context, c *proctest.Child, b *shm.Block) error {
	p, err := potOf(b)
	if err != nil {
		return err
	}
	return p.get(ctx)
})

// Sleepers who were killed cost one useless call of the kernel, however many they were.
func TestSleepersKilled(t *testing.T) {
	for _, level := range []uint32{wait.One, wait.Several} {
		p := openPot(t, newBlock(t))
		var killed []*proctest.Proc
		for range level {
			killed = append(killed, sleepsOn.Start(t, p.block))
		}
		p.asleep(level)
		for _, k := range killed {
			k.Kill()
			k.Wait()
		}
		for range 100 {
			p.put()
		}
		if n := p.word.Counts().Wakes; n != 1 {
			t.Errorf("%d wakes after %d sleepers were killed", n, level)
		}
		if v := p.word.State().Load(); v&wait.Sleepers != 0 {
			t.Errorf("the state is %#x: the next wake is useless again", v)
		}
		runtime.KeepAlive(p.block)
	}
}

// Who publishes and is stopped before it wakes, wherever, keeps nobody asleep for longer than a sleep lasts.
func TestPublisherStopped(t *testing.T) {
	var wg sync.WaitGroup
	for _, change := range []func(v uint32) uint32{
		func(v uint32) uint32 { return v },
		func(v uint32) uint32 { return v&^wait.Sleepers + wait.Wakes },
	} {
		p := openPot(t, newBlock(t))
		wg.Go(func() {
			done := make(chan error)
			go func() { done <- p.get(t.Context()) }()
			p.asleep(wait.One)
			time.Sleep(20 * time.Millisecond) // so that it sleeps; nothing depends on it
			p.items.Add(1)
			v := p.word.State().Load()
			p.word.State().CompareAndSwap(v, change(v))
			if err := <-done; err != nil {
				t.Error(err)
			}
			runtime.KeepAlive(p.block)
		})
	}
	wg.Wait()
}

// Of a thousand goroutines that wait for an item each a wake lets one look, not all.
func TestNoHerd(t *testing.T) {
	const n = 1_000
	p := openPot(t, newBlock(t))
	var looks atomic.Uint64
	any := p.any
	p.any = func() bool { looks.Add(1); return any() }
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := p.get(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	p.asleep(wait.One)
	for range n {
		p.put()
		runtime.Gosched()
	}
	wg.Wait()
	if l := looks.Load(); l > 20*n {
		t.Errorf("%d goroutines looked %d times", n, l)
	}
	runtime.KeepAlive(p.block)
}

// Of several who sleep one is woken, the others stay in the state, and who was woken wakes the next if there is more.
func TestOneOfSeveral(t *testing.T) {
	if !sys.HasWaitv() {
		t.Skip("needs futex_waitv to see who sleeps for long")
	}
	p := openPot(t, newBlock(t))
	count := func() uint32 { return p.word.State().Load() / wait.Wakes }
	one := sleepsOn.Start(t, p.block)
	one.FastAsleep()
	v := p.word.State().Load()
	p.word.State().Store(v&^wait.Sleepers | wait.Several) // as if there were somebody else
	p.items.Add(2)
	p.word.Wake()
	proctest.Must(t, one.Wait())
	if n := count(); n != 2 {
		t.Errorf("%d wakes when the first left an item, want its own, too", n)
	}
	// That one found nobody.
	if v := p.word.State().Load(); v&wait.Sleepers != 0 {
		t.Errorf("the state is %#x", v)
	}
	proctest.Must(t, p.get(t.Context()))

	var two []*proctest.Proc
	for range 2 {
		two = append(two, sleepsOn.Start(t, p.block))
		two[len(two)-1].FastAsleep()
	}
	p.put()
	if v := p.word.State().Load(); v&wait.Sleepers != wait.Several {
		t.Errorf("the state is %#x after one of two was woken", v)
	}
	p.put()
	for _, q := range two {
		proctest.Must(t, q.Wait())
	}
	runtime.KeepAlive(p.block)
}

// WakeAll is for all, in line or not.
func TestWakeAll(t *testing.T) {
	b := newBlock(t)
	p, q := openPot(t, b), openPot(t, b) // two handles: two who sleep
	over := b.Uint32(256)
	ready := func() bool { return over.Load() != 0 }
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			if err := []*pot{p, q}[i%2].word.Wait(t.Context(), ready); err != nil {
				t.Error(err)
			}
		})
	}
	p.asleep(wait.Several)
	over.Store(1)
	p.word.WakeAll()
	wg.Wait()
	p.word.WakeAll()
	if n := p.word.Counts().Wakes; n > 1 {
		t.Errorf("%d wakes", n)
	}
	runtime.KeepAlive(b)
}

// Closing the block lets a waiter go that is told so by ready.
func TestWordClosed(t *testing.T) {
	b := newBlock(t)
	p := openPot(t, b)
	done := make(chan error)
	go func() { done <- p.word.Wait(t.Context(), b.Closed) }()
	p.asleep(wait.One)
	b.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(b)
}

// A wait allocates nothing. (One that lasts for more than some milliseconds does, if its context can end.)
func TestWaitAllocates(t *testing.T) {
	b := newBlock(t)
	p, q := openPot(t, b), openPot(t, b)
	turn := b.Uint32(256)
	mine, theirs := func() bool { return turn.Load() == 0 }, func() bool { return turn.Load() != 0 }
	done := make(chan error)
	go func() {
		var err error
		for err = p.word.Wait(context.Background(), theirs); err == nil && turn.Load() != 2; err = p.word.Wait(context.Background(), theirs) {
			turn.Store(0)
			p.word.Wake()
		}
		done <- err
	}()
	n := 1.0
	for i := 0; i < 20 && n >= 1; i++ { // all allocations of the process are counted, also those of who watches for deaths
		n = testing.AllocsPerRun(100, func() {
			turn.Store(1)
			q.word.Wake()
			if err := q.word.Wait(context.Background(), mine); err != nil {
				t.Error(err)
			}
		})
	}
	turn.Store(2)
	q.word.WakeAll()
	proctest.Must(t, <-done)
	if n >= 1 && !race.Enabled { // the pools of package sync forget things under the race detector
		t.Errorf("%v allocations in a turn", n)
	}
	runtime.KeepAlive(b)
}

type crowdArgs struct {
	B    *shm.Block
	Each int
	Seed uint64
}

// takers takes items with several goroutines, whose contexts end now and then.
var takers = proctest.NewRole("takers", func(ctx context.Context, c *proctest.Child, a crowdArgs) error {
	p, err := potOf(a.B)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			seed := rand.New(rand.NewPCG(a.Seed, g))
			for n := 0; n < a.Each; {
				short, cancel := context.WithTimeout(ctx, time.Duration(seed.IntN(400))*time.Microsecond)
				switch err := p.get(short); {
				case err == nil:
					n++
				case ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded):
					panic(err)
				}
				cancel()
				if err := p.get(ctx); err != nil {
					panic(err)
				}
				n++
			}
		})
	}
	wg.Wait()
	runtime.KeepAlive(a)
	return nil
})

// Several processes take what two publish, cancelled again and again: nobody who waits for an item that is there stays
// asleep, which the watchdog would see if sleeps did not end by themselves, and the end of a test that takes long if they do.
func TestCrowd(t *testing.T) {
	seed := proctest.Rand(t)
	each := 200
	if testing.Short() {
		each = 50
	}
	p := openPot(t, newBlock(t))
	var procs []*proctest.Proc
	for range 3 {
		procs = append(procs, takers.Start(t, crowdArgs{p.block, each, seed.Uint64()}))
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if p.items.Load() < 8 {
					p.put()
				} else {
					atomics.Pause(100)
					runtime.Gosched()
				}
			}
		})
	}
	for _, q := range procs {
		if err := q.Wait(); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	runtime.KeepAlive(p.block)
}
