package queue

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/shm"
)

// JoinableQueue is a Queue that also counts the items that are not yet dealt with: each item that was got is, until somebody
// says TaskDone. Those that a consumer had got that died count as dealt with, and Join reports them.
//
// An item is in hand of the process that got it, from the moment at which it leaves the queue; one that is killed in Get either has not taken the
// item, and another gets it, or has it in hand.
type JoinableQueue[T any] struct{ Queue[T] }

// NewJoinable makes a queue as New does.
func NewJoinable[T any](seg *shm.Segment, name string, n int, opts ...Options) (*JoinableQueue[T], error) {
	q := new(JoinableQueue[T])
	if err := q.make(seg, name, n, queued.Counts, opts); err != nil {
		return nil, err
	}
	return q, nil
}

// OpenJoinable finds a queue that NewJoinable made. The error is shm.ErrKind if New made it; the others are those of Open.
func OpenJoinable[T any](seg *shm.Segment, name string) (*JoinableQueue[T], error) {
	q := new(JoinableQueue[T])
	if err := q.countsToo(q.open(seg, name)); err != nil {
		return nil, err
	}
	return q, nil
}

// OpenOrNewJoinable finds a queue (whose capacity stands) or makes one.
func OpenOrNewJoinable[T any](seg *shm.Segment, name string, n int, opts ...Options) (*JoinableQueue[T], error) {
	q := new(JoinableQueue[T])
	if err := q.countsToo(q.openOrMake(seg, name, n, queued.Counts, opts)); err != nil {
		return nil, err
	}
	return q, nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (q *JoinableQueue[T]) UnmarshalBinary(data []byte) error {
	return q.countsToo(q.Queue.UnmarshalBinary(data))
}

// countsToo makes it an error that the queue does not count.
func (q *JoinableQueue[T]) countsToo(err error) error {
	if err == nil && q.c.hands == nil {
		q.Close()
		err = fmt.Errorf("queue: open %q: %w: it is a Queue, not a JoinableQueue", q.Name(), shm.ErrKind)
	}
	return err
}

// TaskDone says that one item that was got is dealt with: one that this process got, or, if it has none in hand, one that another
// living process got. The errors are ErrTaskDone and os.ErrClosed.
func (q *JoinableQueue[T]) TaskDone() error {
	defer runtime.KeepAlive(q)
	if q.c.isShut() {
		return q.named(os.ErrClosed)
	}
	if err := q.c.hands.finish(); err != nil {
		return q.named(err)
	}
	q.c.joiners.Wake()
	return nil
}

// Join waits until every item that was put is dealt with, at one instant. It is a *LostError if consumers died between Get and
// TaskDone, and no other Join of this handle has reported that; the other errors are ctx's and os.ErrClosed.
func (q *JoinableQueue[T]) Join(ctx context.Context) error {
	defer runtime.KeepAlive(q)
	c := q.c
	if c.isShut() {
		return q.named(os.ErrClosed)
	}
	for !c.drained() {
		if err := c.joiners.Wait(ctx, c.mayEnd); err != nil {
			return q.named(err)
		}
		if c.isShut() {
			return q.named(os.ErrClosed)
		}
	}
	lost := int(c.pushed() - c.h.Done.Load()) // PAIRS WITH finish: add
	c.mu.Lock()
	defer c.mu.Unlock()
	news := lost - c.told
	if news <= 0 {
		return nil
	}
	c.told = lost
	return q.named(&LostError{Items: news})
}

// Unfinished is how many items are not yet dealt with: those in the queue, and those in the hands of living consumers.
func (q *JoinableQueue[T]) Unfinished() int {
	defer runtime.KeepAlive(q)
	q.mustBeOpen()
	return q.c.unfinished()
}

// unfinished looks at the items between two looks at what was taken. It repeats itself only because somebody took one.
func (c *core[T]) unfinished() (n int) {
	for range 1000 { // for ever, but for words that somebody changes in vain
		in, err := c.length()
		if err != nil {
			return 0
		}
		before := c.pushed() - uint64(in)
		n = in + c.hands.count(false)
		if in, err = c.length(); err != nil || c.pushed()-uint64(in) == before {
			break
		}
	}
	return n
}

// drained reports whether all is dealt with, at an instant during the call: nothing is in the queue, then nobody has anything in hand,
// and meanwhile nothing was put. What somebody who died had claimed and not taken away is taken away.
func (c *core[T]) drained() bool {
	for c.help() {
	}
	return c.seemsDrained()
}

func (c *core[T]) seemsDrained() bool {
	before := c.pushed()
	if n, err := c.length(); n != 0 || err != nil || !c.hands.idle() {
		return false
	}
	return c.pushed() == before
}

// mayBeDrained is drained for who waits, which looks only: it is true also where there is something to be done first.
func (c *core[T]) mayBeDrained() bool {
	c.mu.Lock()
	last := c.lanes[len(c.lanes)-1]
	c.mu.Unlock()
	return last.mark() == endMore || c.stale() || c.seemsDrained()
}

// pushed is how many items were ever put.
func (c *core[T]) pushed() (n uint64) {
	for i := 0; ; i++ {
		l, err := c.lane(i)
		if err != nil {
			return n
		}
		n += l.pushed()
		if l.mark() != endMore {
			return n
		}
	}
}
