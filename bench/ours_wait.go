package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/metrics"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/parking"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// What is counted in the rows of many goroutines that wait.
const (
	threads        = "threads"              // of the process while they wait
	goroutinesLeft = "goroutines left"      // when nobody waits any more
	threadsLeft    = "threads left"         // in the kernel for waits
	waitersLeft    = "WAITERS left"         // locks that still say that somebody sleeps when they have been released
	busy           = "millionths of a core" // that the process takes while they wait
)

// held makes n locks, which the sides from 1 on take, each its part of them, and side 0 finds.
func (p *part) held(ctx context.Context, n int) (ls []*locks.Lock, err error) {
	seg := p.Shared.Words.Segment()
	if p.Side == 0 {
		p.meet()
		for i := range n {
			l, err := locks.OpenLock(seg, heldName(i))
			if err != nil {
				return nil, err
			}
			ls = append(ls, l)
		}
		return ls, nil
	}
	for i := p.Side - 1; i < n; i += p.Sides - 1 {
		l, err := locks.NewLock(seg, heldName(i))
		if err == nil {
			err = l.Acquire(ctx)
		}
		if err != nil {
			return nil, err
		}
		ls = append(ls, l)
	}
	p.meet()
	return ls, nil
}

// say sets a word that another side sleeps on in until.
func say(w *atomic.Uint32) {
	w.Store(1)
	futex.Wake(w, 1<<31-1)
}

func until(ctx context.Context, w *atomic.Uint32) error {
	for w.Load() == 0 {
		if err := futex.Wait(ctx, w, 0); err != nil {
			return err
		}
	}
	return nil
}

// crowd is the goroutines that wait for locks that other processes hold. Those release them when ping has been said.
type crowd struct {
	ls    []*locks.Lock
	size  int
	ended chan error // of each
}

// gather starts them, and returns when all are asleep.
func (p *part) gather(ctx context.Context, ls []*locks.Lock, size int) *crowd {
	c := &crowd{ls, size, make(chan error, size)}
	for i := range size {
		go func() { c.ended <- p.waitFor(ctx, ls[i%len(ls)]) }()
	}
	settle()
	return c
}

// waitFor takes a lock when it is free, and not before, and gives it back.
func (p *part) waitFor(ctx context.Context, l *locks.Lock) error {
	if err := l.Acquire(ctx); err != nil {
		return err
	}
	if p.Shared.word(ping).Load() == 0 {
		return errors.New("a lock that another process holds was acquired")
	}
	return l.Release()
}

// settle returns when no other goroutine has had anything to do for some time.
func settle() {
	ready := []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}
	for quiet := time.Duration(0); quiet < 2*asleep; quiet += time.Millisecond {
		time.Sleep(time.Millisecond)
		if metrics.Read(ready); ready[0].Value.Uint64() != 0 {
			quiet = 0
		}
	}
}

// wait returns when all have ended, each with want.
func (c *crowd) wait(want error) error {
	for range c.size {
		if err := <-c.ended; err != want {
			return fmt.Errorf("a wait ended with %v, want %v", err, want)
		}
	}
	return nil
}

// lockCount is how many locks n goroutines of a row wait for.
func (p *part) lockCount() int {
	if strings.HasSuffix(p.Job.Row, ".many") {
		return p.Job.N
	}
	return 1
}

// release is what who holds the locks does: it releases them when it is asked to.
func (p *part) release(ctx context.Context, ls []*locks.Lock) error {
	if err := until(ctx, p.Shared.word(ping)); err != nil {
		return err
	}
	for _, l := range ls {
		if err := l.Release(); err != nil {
			return err
		}
	}
	say(p.Shared.word(pong))
	return nil
}

// countThreads counts those of this process.
func (m *meter) countThreads() error {
	tasks, err := os.ReadDir("/proc/self/task")
	m.count(threads, float64(len(tasks)))
	return err
}

// waitThreads has many goroutines wait until the lock of each is released, and measures from then on.
func waitThreads(ctx context.Context, p *part, m *meter) error {
	ls, err := p.held(ctx, p.lockCount())
	if err != nil {
		return err
	}
	if p.Side != 0 {
		return p.release(ctx, ls)
	}
	c := p.gather(ctx, ls, m.n)
	if err := m.countThreads(); err != nil {
		return err
	}
	start := time.Now()
	say(p.Shared.word(ping))
	if err := c.wait(nil); err != nil {
		return err
	}
	m.s.NS = float64(time.Since(start)) / float64(m.n)
	return until(ctx, p.Shared.word(pong)) // a process that has ended would be one more thing to look after
}

// giveUp has so many goroutines wait, and measures from when they are to give up until they have.
func (p *part) giveUp(ctx context.Context, ls []*locks.Lock, size int) (took time.Duration, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := p.gather(ctx, ls, size)
	start := time.Now()
	cancel()
	err = c.wait(context.Canceled)
	return time.Since(start), err
}

// waitCancel has them all give up, and looks for what they leave.
func waitCancel(ctx context.Context, p *part, m *meter) error {
	ls, err := p.held(ctx, p.lockCount())
	if err != nil {
		return err
	}
	if p.Side != 0 {
		return p.release(ctx, ls)
	}
	// The first wait starts what looks for the deaths of other processes, which stays.
	if _, err := p.giveUp(ctx, ls, 1); err != nil {
		return err
	}
	before := runtime.NumGoroutine()
	took, err := p.giveUp(ctx, ls, m.n)
	if err != nil {
		return err
	}
	m.s.NS = float64(took) / float64(m.n)
	if err := m.countThreads(); err != nil { // the runtime keeps those that there were
		return err
	}

	// What looks after waits may end a moment later.
	goroutines, blocked := 0, uint64(0)
	for range 1000 {
		goroutines, blocked = runtime.NumGoroutine()-before, parking.Stats().Threads
		if goroutines <= 0 && blocked == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	m.count(goroutinesLeft, float64(max(0, goroutines)))
	m.count(threadsLeft, float64(blocked))
	say(p.Shared.word(ping))
	if err := until(ctx, p.Shared.word(pong)); err != nil {
		return err
	}
	left := 0
	for _, l := range ls {
		var r shm.Ref
		mem, err := shm.Again(&r, &l.Ref)
		if err != nil {
			return err
		}
		if shm.Word32(mem, 0).Load()&robust.Waiters != 0 {
			left++
		}
	}
	m.count(waitersLeft, float64(left))
	runtime.KeepAlive(ls)
	return nil
}

// crowded is how many goroutines wait in the rows that look at something else than their number.
const crowded = 1000

// waitGrouped measures, in side 1, how long a goroutine of side 0 takes to answer a wake, when many others of its process
// wait. It is given so much time to fall asleep that it has no thread of its own any more.
func waitGrouped(ctx context.Context, p *part, m *meter) error {
	return p.answered(ctx, m, crowded)
}

// waitDirect is the same when no other waits.
func waitDirect(ctx context.Context, p *part, m *meter) error { return p.answered(ctx, m, 0) }

func (p *part) answered(ctx context.Context, m *meter, others int) error {
	asked, answer := p.Shared.word(ping), p.Shared.word(pong)
	rounds := uint32(m.n) + 1 // the first does not count
	if p.Side == 1 {
		p.meet()
		h := newHistogram()
		total := time.Duration(0)
		for i := range rounds {
			time.Sleep(asleep)
			start := time.Now()
			asked.Store(i + 1)
			futex.Wake(asked, 1)
			for answer.Load() != i+1 {
			}
			if i == 0 {
				continue
			}
			took := time.Since(start)
			total += took
			if err := h.RecordValue(int64(took)); err != nil {
				return err
			}
		}
		m.s.NS = float64(total) / float64(m.n)
		m.latency(h)
		return nil
	}
	b, err := shm.NewBlock(p.Shared.Words.Segment(), "", max(1, others)*line)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	for i := range others {
		wg.Go(func() { until(waiting, b.Uint32(i*line)) }) // which nobody says
	}
	settle()
	p.meet()
	for i := range rounds {
		for asked.Load() == i {
			if err := futex.Wait(ctx, asked, i); err != nil {
				return err
			}
		}
		answer.Store(i + 1)
	}
	cancel()
	wg.Wait()
	runtime.KeepAlive(b)
	return nil
}

// waitIdle counts what it costs that many goroutines wait while nothing happens: an operation is a second.
func waitIdle(ctx context.Context, p *part, m *meter) error {
	ls, err := p.held(ctx, crowded)
	if err != nil {
		return err
	}
	if p.Side != 0 {
		return p.release(ctx, ls)
	}
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	c := p.gather(waiting, ls, crowded)
	before, err := sys.CPUTime()
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(m.n) * time.Second)
	after, err := sys.CPUTime()
	if err != nil {
		return err
	}
	m.s.NS = float64(after-before) / float64(m.n)
	m.count(busy, m.s.NS/1000)
	cancel()
	err = c.wait(context.Canceled)
	say(p.Shared.word(ping))
	return err
}
