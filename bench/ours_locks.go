package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
)

func lockOnce(ctx context.Context, l *locks.Lock) error {
	if err := l.Acquire(ctx); err != nil {
		return err
	}
	return l.Release()
}

// lockPairs takes and releases a lock that the parent has open, too.
func lockPairs(ctx context.Context, p *part, m *meter) error {
	l := p.Shared.Lock
	return m.loop(func(n int) error {
		for range n {
			if err := l.Acquire(ctx); err != nil {
				return err
			}
			if err := l.Release(); err != nil {
				return err
			}
		}
		return nil
	})
}

// rlockPairs takes a recursive lock twice, and gives it back as often.
func rlockPairs(ctx context.Context, p *part, m *meter) error {
	o := p.Shared.RLock.Owner()
	err := m.loop(func(n int) error {
		for range n {
			if err := o.Acquire(ctx); err != nil {
				return err
			}
			if err := o.Acquire(ctx); err != nil {
				return err
			}
			if err := o.Release(); err != nil {
				return err
			}
			if err := o.Release(); err != nil {
				return err
			}
		}
		return nil
	})
	if err == nil && (o.Depth() != 0 || o.Locked()) {
		err = fmt.Errorf("a lock that was released as often as acquired is held %d times", o.Depth())
	}
	return err
}

func mutexPairs(ctx context.Context, p *part, m *meter) error {
	var mu sync.Mutex
	return m.loop(func(n int) error {
		for range n {
			mu.Lock()
			//lint:ignore SA2001 an empty critical section is what is measured
			mu.Unlock()
		}
		return nil
	})
}

// lockContended adds to one number with the other sides until it is n.
func lockContended(ctx context.Context, p *part, m *meter) error {
	l := p.Shared.Lock
	return p.contended(m, func(x *uint64, n uint64) (mine int, err error) {
		for more := true; more; {
			if err := l.Acquire(ctx); err != nil {
				return 0, err
			}
			if more = *x < n; more {
				*x++
				mine++
			}
			if err := l.Release(); err != nil {
				return 0, err
			}
		}
		return mine, nil
	})
}

// contended measures add, which adds to a number until it is n and says how often this side did.
func (p *part) contended(m *meter, add func(x *uint64, n uint64) (mine int, err error)) error {
	return p.Shared.Plain.View(func(plain []uint64) error {
		p.meet()
		start := time.Now()
		mine, err := add(&plain[0], uint64(p.Job.N))
		m.share(time.Since(start), mine)
		return err
	})
}

// share says that a process did mine of the n operations in that time.
func (m *meter) share(took time.Duration, mine int) {
	m.s.NS = float64(took) / float64(m.n)
	m.s.Shares = append(m.s.Shares, float64(mine)/float64(m.n))
}

// hold is how long who is handed a lock holds it.
const hold = 10 * time.Microsecond

// lockHandoff hands the lock over.
func lockHandoff(ctx context.Context, p *part, m *meter) error {
	return p.handOver(ctx, m, p.Shared.Lock)
}

// handOver takes l until it has been taken n times. Each time it holds it for so long that who wants it is asleep
// when it is free, and when it has given it back it does not come again before another side has had it: it looks at the
// number of turns, and gives its CPU up meanwhile, which the peers do by the same system call.
func (p *part) handOver(ctx context.Context, m *meter, l locks.Acquirer) error {
	turns := p.Shared.word(ping)
	return p.Shared.Plain.View(func(plain []uint64) error {
		x, n := &plain[0], uint32(p.Job.N)
		p.meet()
		start := time.Now()
		for mine := 0; ; mine++ {
			if err := l.Acquire(ctx); err != nil {
				return err
			}
			turn := turns.Add(1)
			if turn > n {
				m.share(time.Since(start), mine)
				if *x != uint64(n) {
					return fmt.Errorf("the number is %d, want %d", *x, n)
				}
				return l.Release()
			}
			before, from := *x, time.Now()
			for time.Since(from) < hold {
			}
			*x = before + 1
			if err := l.Release(); err != nil {
				return err
			}
			for turn < n && turns.Load() == turn {
				sys.Yield()
			}
		}
	})
}

// triedLocks is how many locks there are to try, and tryStep how far the next one is: no prefetcher guesses it.
const triedLocks, tryStep = 200, 77

// lockTry tries, in side 0, locks that side 1 has just taken. A try is counted by a locked instruction, as the visits of
// limit are: it waits for the answer of the one before, so that no two lines are on their way at once.
func lockTry(ctx context.Context, p *part, m *meter) error {
	ls, err := p.held(ctx, triedLocks)
	if err != nil {
		return err
	}
	there, back := p.Shared.word(ping), p.Shared.word(pong)
	await := func(w *atomic.Uint32, round int) {
		for w.Load() != uint32(round)+1 {
		}
	}
	first := warm(p.Job.N)/triedLocks + 1
	rounds := (p.Job.N + triedLocks - 1) / triedLocks
	var tried atomic.Uint64
	took := time.Duration(0)
	for round := range first + rounds {
		if p.Side == 1 {
			there.Store(uint32(round) + 1)
			await(back, round)
			for _, l := range ls {
				if err := errors.Join(l.Release(), l.Acquire(ctx)); err != nil {
					return err
				}
			}
			continue
		}
		await(there, round)
		start := time.Now()
		for i, at := 0, 0; i < triedLocks; i, at = i+1, (at+tryStep)%triedLocks {
			ok, err := ls[at].TryAcquire()
			if err != nil {
				return err
			}
			if ok {
				return errors.New("a lock that another process holds was acquired")
			}
			tried.Add(1)
		}
		if round >= first {
			took += time.Since(start)
		}
		back.Store(uint32(round) + 1)
	}
	if p.Side == 0 {
		m.s.NS = float64(took) / float64(tried.Load()-uint64(first*triedLocks))
	}
	return nil
}

func mutexContended(ctx context.Context, p *part, m *meter) error {
	// As everywhere else, the lock is on a line of its own; small variables could share one.
	var s struct {
		mu sync.Mutex
		_  [line]byte
		x  uint64
		_  [line]byte
	}
	n := uint64(p.Job.N)
	start := time.Now()
	var counts [2]int
	err := goroutines(func(side int) error {
		mine := 0
		for more := true; more; {
			s.mu.Lock()
			if more = s.x < n; more {
				s.x++
				mine++
			}
			s.mu.Unlock()
		}
		counts[side] = mine
		return nil
	})
	took := time.Since(start)
	if s.x != n {
		return fmt.Errorf("the number is %d, want %d", s.x, n)
	}
	for _, mine := range counts {
		m.share(took, mine)
	}
	return err
}

// heldLocks is how many locks an owner holds when it is killed.
const heldLocks = 1000

// heldName is the name of the i-th.
func heldName(i int) string { return fmt.Sprintf("held-%d", i) }

// ownerFunc takes them all and waits for its end.
var ownerFunc = process.Register("bench owner", func(ctx context.Context, p part) error {
	for i := range heldLocks {
		l, err := locks.OpenLock(p.Shared.Words.Segment(), heldName(i))
		if err != nil {
			return err
		}
		if err := l.Acquire(ctx); err != nil {
			return err
		}
	}
	p.Shared.word(ready).Add(1)
	<-ctx.Done()
	return nil
})

// lockRecover takes locks whose owners were killed.
func lockRecover(ctx context.Context, p *part, m *meter) error {
	held := make([]*locks.Lock, heldLocks)
	for i := range held {
		var err error
		if held[i], err = locks.NewLock(p.Shared.Words.Segment(), heldName(i)); err != nil {
			return err
		}
	}
	round := uint32(0)
	// orphaned has the locks taken by a process that is killed, and calls f with those of which there are n.
	orphaned := func(n int, f func(ls []*locks.Lock) error) error {
		round++
		owner, err := process.Start(ctx, ownerFunc, *p)
		if err != nil {
			return err
		}
		for p.Shared.word(ready).Load() != round {
			select {
			case <-owner.Done():
				return fmt.Errorf("the owner of the locks ended: %w", owner.Join(ctx))
			case <-time.After(100 * time.Microsecond):
			}
		}
		owner.Kill()
		owner.Join(context.Background())
		owner.Close()
		if err := f(held[:n]); err != nil {
			return err
		}
		for _, l := range held { // those that are left
			if err := errors.Join(l.Recover(ctx, nil), l.Release()); err != nil {
				return err
			}
		}
		return nil
	}
	inherit := func(l *locks.Lock) error {
		if err := l.Acquire(ctx); !errors.Is(err, locks.ErrOwnerDied) {
			return fmt.Errorf("a lock whose owner was killed: %v", err)
		}
		return errors.Join(l.Recover(ctx, nil), l.Release())
	}
	total := time.Duration(0)
	together := func(ls []*locks.Lock) error {
		start := time.Now()
		for _, l := range ls {
			if err := inherit(l); err != nil {
				return err
			}
		}
		total += time.Since(start)
		return nil
	}
	if err := orphaned(min(heldLocks, warm(m.n)), together); err != nil {
		return err
	}
	total = 0
	for done := 0; done < m.n; done += heldLocks {
		if err := orphaned(min(heldLocks, m.n-done), together); err != nil {
			return err
		}
	}
	m.s.NS = float64(total) / float64(m.n)
	return orphaned(min(heldLocks, timed(m.n)), func(ls []*locks.Lock) error {
		i := 0
		return m.singly(len(ls), func() error {
			i++
			return inherit(ls[i-1])
		})
	})
}

func valueAdd(ctx context.Context, p *part, m *meter) error {
	v := p.Shared.Number
	err := m.loop(func(n int) error {
		for range n {
			v.Add(1)
		}
		return nil
	})
	if got, want := v.Load(), int64(warm(m.n)+m.n); got != want {
		return fmt.Errorf("the number is %d, want %d: %w", got, want, os.ErrInvalid)
	}
	return err
}

func valueUpdate(ctx context.Context, p *part, m *meter) error {
	v := p.Shared.Six
	err := m.loop(func(n int) error {
		for range n {
			err := v.Update(ctx, func(x *six) error {
				for i := range x {
					x[i]++
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	want := int64(warm(m.n) + m.n)
	if got := v.Load(); got != (six{want, want, want, want, want, want}) {
		return fmt.Errorf("the numbers are %d, want %d", got, want)
	}
	return err
}
