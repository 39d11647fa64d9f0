package bench

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/locks"
)

// condition is the one of the row.
func (p *part) condition() (*locks.Condition, error) {
	return locks.OpenOrNewCondition(p.Shared.Words.Segment(), "condition")
}

// condTurns goes there and back by one condition, on which nobody but the other side waits.
func condTurns(ctx context.Context, p *part, m *meter) error {
	c, err := p.condition()
	if err != nil {
		return err
	}
	turn := p.Shared.word(ping)
	goOn := func() error {
		turn.Add(1)
		return c.Notify(1)
	}
	await := func(at uint32) error {
		for turn.Load() < at {
			if err := c.Wait(ctx); err != nil {
				return err
			}
		}
		return nil
	}
	locked := func(f, g func() error) error {
		if err := c.Acquire(ctx); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
		if err := g(); err != nil {
			return err
		}
		return c.Release()
	}
	return p.turns(m, func(i int) error {
		return locked(goOn, func() error { return await(2*uint32(i) + 2) })
	}, func(i int) error {
		return locked(func() error { return await(2*uint32(i) + 1) }, goOn)
	})
}

// waiters is how many goroutines of each side wait in cond.broadcast; the threads of the peer are as many.
const waiters = 25

// condBroadcast measures, in side 0, from a notification of all until the last of them has run.
func condBroadcast(ctx context.Context, p *part, m *meter) error {
	c, err := p.condition()
	if err != nil {
		return err
	}
	all, rounds := uint32(waiters*p.Sides), uint32(warm(m.n)+m.n)
	turn, waiting := p.Shared.word(ping), p.Shared.word(pong) // the lock guards them
	gathered, ran, passed := p.Shared.word(first), p.Shared.word(second), p.Shared.word(third)
	tell := func(w *atomic.Uint32) {
		w.Add(1)
		futex.Wake(w, 1)
	}
	await := func(w *atomic.Uint32, want uint32) error {
		for now := w.Load(); now != want; now = w.Load() {
			if err := futex.Wait(ctx, w, now); err != nil {
				return err
			}
		}
		return nil
	}
	wait := func(round uint32) error {
		if err := c.Acquire(ctx); err != nil {
			return err
		}
		if waiting.Add(1) == all {
			waiting.Store(0)
			tell(gathered)
		}
		for turn.Load() <= round {
			if err := c.Wait(ctx); err != nil {
				return err
			}
		}
		if err := c.Release(); err != nil {
			return err
		}
		if ran.Add(1)%all == 0 {
			tell(passed)
		}
		return nil
	}
	p.meet()
	ended := make(chan error, waiters)
	for range waiters {
		go func() {
			for round := range rounds {
				if err := wait(round); err != nil {
					ended <- err
					return
				}
			}
			ended <- nil
		}()
	}
	if p.Side == 0 {
		err = m.rounds(rounds, func(round uint32) (time.Duration, error) {
			if err := await(gathered, round+1); err != nil {
				return 0, err
			}
			start := time.Now()
			if err := c.Acquire(ctx); err != nil {
				return 0, err
			}
			turn.Add(1)
			if err := c.NotifyAll(); err != nil {
				return 0, err
			}
			if err := c.Release(); err != nil {
				return 0, err
			}
			err := await(passed, round+1)
			return time.Since(start), err
		})
	}
	for range waiters {
		if e := <-ended; err == nil {
			err = e
		}
	}
	if err == nil && ran.Load() > all*rounds {
		err = fmt.Errorf("%d waits ended, of %d", ran.Load(), all*rounds)
	}
	return err
}

// rounds measures what f says that each round took, but for the first that warm up.
func (m *meter) rounds(n uint32, f func(round uint32) (time.Duration, error)) error {
	h := newHistogram()
	total := time.Duration(0)
	for round := range n {
		took, err := f(round)
		if err != nil {
			return err
		}
		if round < n-uint32(m.n) {
			continue
		}
		total += took
		if err := h.RecordValue(int64(took)); err != nil {
			return err
		}
	}
	m.s.NS = float64(total) / float64(m.n)
	m.latency(h)
	return nil
}

// barrierPasses passes a barrier of two.
func barrierPasses(ctx context.Context, p *part, m *meter) error {
	b, err := locks.OpenOrNewBarrier(p.Shared.Words.Segment(), "barrier", 2)
	if err != nil {
		return err
	}
	mine, other := p.Shared.word(ping+p.Side), p.Shared.word(pong-p.Side)
	pass := func(i int) error {
		mine.Store(uint32(i) + 1)
		if _, err := b.Wait(ctx); err != nil {
			return err
		}
		if at := other.Load(); at != uint32(i)+1 && at != uint32(i)+2 {
			return fmt.Errorf("pass %d: the other side is at %d", i+1, at)
		}
		return nil
	}
	return p.turns(m, pass, pass)
}
