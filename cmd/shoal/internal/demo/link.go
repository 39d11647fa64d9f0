package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// Where a link's parts are in its block: the two bells on lines of their own, then the ring.
const (
	notEmptyAt = 0
	notFullAt  = notEmptyAt + layout.CacheLine
	ringAt     = notFullAt + layout.CacheLine
)

// link is a ring in a block of its own, with one process that pushes and one that pops, each of which waits
// for the other. Each end is used by one goroutine at a time.
//
// Who pops waits for a single item; who finds the ring full waits until half of it is free, and is not told
// before. Otherwise each portion that one side takes out would be a change of process.
type link[T any] struct {
	block    *shm.Block
	ring     *ring.SPSC[T]
	notEmpty wait.Bell
	notFull  wait.Bell

	canPush, canPop func() bool
	waited          time.Duration // by this end
}

// newLink makes a link for n items.
func newLink[T any](seg *shm.Segment, n int) (*link[T], error) {
	block, err := shm.NewBlock(seg, "", ringAt+ring.SPSCSize[T](n))
	if err != nil {
		return nil, err
	}
	r, err := ring.NewSPSC[T](block.Bytes()[ringAt:], n, seg)
	if err != nil {
		return nil, err
	}
	return linkOf(block, r), nil
}

// openLink opens the link that another process made in block.
func openLink[T any](block *shm.Block) (*link[T], error) {
	mem := block.Bytes()
	if len(mem) < ringAt {
		return nil, fmt.Errorf("a link in %d bytes: %w", len(mem), shm.ErrCorrupt)
	}
	r, err := ring.OpenSPSC[T](mem[ringAt:], block.Segment())
	if err != nil {
		return nil, err
	}
	return linkOf(block, r), nil
}

func linkOf[T any](block *shm.Block, r *ring.SPSC[T]) *link[T] {
	return &link[T]{
		block:    block,
		ring:     r,
		notEmpty: wait.Bell{W: block.Uint32(notEmptyAt)},
		notFull:  wait.Bell{W: block.Uint32(notFullAt)},
		canPush:  func() bool { return r.Len() <= r.Cap()/2 || r.Err() != nil },
		canPop:   func() bool { return r.Len() > 0 || r.Err() != nil },
	}
}

// Push appends v, waiting for room until ctx is done.
func (l *link[T]) Push(ctx context.Context, v T) error {
	for !l.ring.TryPush(v) {
		if err := l.wait(ctx, l.notFull, l.canPush); err != nil {
			return err
		}
	}
	crashpoint.Hit("demo/link/pushed")
	l.notEmpty.Ring()
	return nil
}

// PushAll appends all of vs, waiting for room until ctx is done; after an error some may have been appended.
func (l *link[T]) PushAll(ctx context.Context, vs []T) error {
	for len(vs) > 0 {
		n := l.ring.TryPushMany(vs)
		if n == 0 {
			if err := l.wait(ctx, l.notFull, l.canPush); err != nil {
				return err
			}
			continue
		}
		crashpoint.Hit("demo/link/pushed")
		l.notEmpty.Ring()
		vs = vs[n:]
	}
	return nil
}

// Empty reports whether Pop would wait.
func (l *link[T]) Empty() bool { return l.ring.Len() == 0 }

// Pop takes the oldest item, waiting for one until ctx is done.
func (l *link[T]) Pop(ctx context.Context) (v T, err error) {
	v, ok := l.ring.TryPop()
	for !ok {
		if err := l.wait(ctx, l.notEmpty, l.canPop); err != nil {
			return v, err
		}
		v, ok = l.ring.TryPop()
	}
	crashpoint.Hit("demo/link/popped")
	l.popped()
	return v, nil
}

// PopSome takes as many items as there are and dst holds, at least one, waiting for it until ctx is done.
func (l *link[T]) PopSome(ctx context.Context, dst []T) (int, error) {
	n := l.ring.TryPopMany(dst)
	for n == 0 && len(dst) > 0 {
		if err := l.wait(ctx, l.notEmpty, l.canPop); err != nil {
			return 0, err
		}
		n = l.ring.TryPopMany(dst)
	}
	crashpoint.Hit("demo/link/popped")
	l.popped()
	return n, nil
}

// popped tells who waits for room once there is enough: Len is exact or too small on this side, so never too
// late.
func (l *link[T]) popped() {
	if l.canPush() {
		l.notFull.Ring()
	}
}

// wait waits for the other end. What is already there is taken also when ctx is done.
func (l *link[T]) wait(ctx context.Context, bell wait.Bell, ready func() bool) error {
	begin := time.Now()
	err := bell.Wait(ctx, ready)
	l.waited += time.Since(begin)
	if err != nil {
		return context.Cause(ctx)
	}
	return l.ring.Err()
}
