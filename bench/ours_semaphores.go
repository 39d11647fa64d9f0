package bench

import (
	"context"
	"fmt"

	"github.com/shoal-ipc/shoal/locks"
)

// semPairs takes the permit of a semaphore and gives it back.
func semPairs(ctx context.Context, p *part, m *meter) error {
	s := p.Shared.Permit
	return m.loop(func(n int) error {
		for range n {
			if err := s.Acquire(ctx); err != nil {
				return err
			}
			if err := s.Release(); err != nil {
				return err
			}
		}
		return nil
	})
}

// semContended is lockContended with a semaphore.
func semContended(ctx context.Context, p *part, m *meter) error {
	s := p.Shared.Permit
	return p.contended(m, func(x *uint64, n uint64) (mine int, err error) {
		for more := true; more; {
			if err := s.Acquire(ctx); err != nil {
				return 0, err
			}
			if more = *x < n; more {
				*x++
				mine++
			}
			if err := s.Release(); err != nil {
				return 0, err
			}
		}
		return mine, nil
	})
}

// numbered is turns in which each side, before it lets the other go on, writes down which turn that is, and looks for it when it
// goes on itself.
func (p *part) numbered(m *meter, there, back func() error, await, answer func() error) error {
	ask, reply := p.Shared.word(ping), p.Shared.word(pong)
	return p.turns(m, func(i int) error {
		ask.Store(uint32(i) + 1)
		if err := there(); err != nil {
			return err
		}
		if err := await(); err != nil {
			return err
		}
		return expect(uint64(reply.Load()), i+1)
	}, func(i int) error {
		if err := answer(); err != nil {
			return err
		}
		if err := expect(uint64(ask.Load()), i+1); err != nil {
			return err
		}
		reply.Store(uint32(i) + 1)
		return back()
	})
}

// semTurns goes there and back by a semaphore each.
func semTurns(ctx context.Context, p *part, m *meter) error {
	there, back := p.Shared.Turns[0], p.Shared.Turns[1]
	take := func(s *locks.Semaphore) func() error { return func() error { return s.Acquire(ctx) } }
	return p.numbered(m, there.Release, back.Release, take(back), take(there))
}

// eventTurns goes there and back by an event each, which who waited for it clears.
func eventTurns(ctx context.Context, p *part, m *meter) error {
	there, back := p.Shared.Events[0], p.Shared.Events[1]
	take := func(e *locks.Event) func() error {
		return func() error {
			if err := e.Wait(ctx); err != nil {
				return err
			}
			return e.Clear()
		}
	}
	err := p.numbered(m, there.Set, back.Set, take(back), take(there))
	if err == nil && p.Side == 0 && (there.IsSet() || back.IsSet()) {
		err = fmt.Errorf("events that were cleared are set: %v, %v", there.IsSet(), back.IsSet())
	}
	return err
}
