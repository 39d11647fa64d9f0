package bench

import (
	"context"
	"fmt"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/locks"
)

// rwlock is the one of the row.
func (p *part) rwlock() (*locks.RWLock, error) {
	return locks.OpenOrNewRWLock(p.Shared.Words.Segment(), "rwlock")
}

// readPairs takes a reader-writer lock to read, and gives it back.
func readPairs(ctx context.Context, p *part, m *meter) error {
	l, err := p.rwlock()
	if err != nil {
		return err
	}
	return m.loop(func(n int) error {
		for range n {
			if err := l.RAcquire(ctx); err != nil {
				return err
			}
			if err := l.RRelease(); err != nil {
				return err
			}
		}
		return nil
	})
}

// writePairs takes it to write.
func writePairs(ctx context.Context, p *part, m *meter) error {
	l, err := p.rwlock()
	if err != nil {
		return err
	}
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

// numbers are what the lock of rwlock.mixed guards, and one of so many operations writes them.
const numbers, writes = 64, 20

// rwMixed adds up all numbers, which are the same, or adds 1 to all, under a reader-writer lock.
func rwMixed(ctx context.Context, p *part, m *meter) error {
	l, err := p.rwlock()
	if err != nil {
		return err
	}
	return p.mixed(m, func(f func() error) error {
		if err := l.RAcquire(ctx); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
		return l.RRelease()
	}, func(f func()) error { return holding(ctx, l, f) })
}

// lockMixed does the same under a Lock.
func lockMixed(ctx context.Context, p *part, m *meter) error {
	l := p.Shared.Lock
	return p.mixed(m, func(f func() error) error {
		if err := l.Acquire(ctx); err != nil {
			return err
		}
		if err := f(); err != nil {
			return err
		}
		return l.Release()
	}, func(f func()) error { return holding(ctx, l, f) })
}

func holding(ctx context.Context, l locks.Acquirer, f func()) error {
	if err := l.Acquire(ctx); err != nil {
		return err
	}
	f()
	return l.Release()
}

func (p *part) mixed(m *meter, read func(f func() error) error, write func(f func()) error) error {
	all, err := array.OpenOrNew[uint64](p.Shared.Words.Segment(), "numbers", numbers, array.Options{Unlocked: true})
	if err != nil {
		return err
	}
	return all.View(func(xs []uint64) error {
		add := func() error {
			sum := uint64(0)
			for _, x := range xs {
				sum += x
			}
			if sum != numbers*xs[0] {
				return fmt.Errorf("a reader sees half of a write: %d", sum)
			}
			return nil
		}
		increase := func() {
			for i := range xs {
				xs[i]++
			}
		}
		p.meet()
		i := 0
		return m.loop(func(n int) error {
			for range n {
				if i++; i%writes == 0 {
					err = write(increase)
				} else {
					err = read(add)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	})
}
