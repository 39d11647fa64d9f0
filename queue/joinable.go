package queue

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/shm"
)

// JoinableQueue is a Queue that also counts the items that are not yet dealt with: each item that was got is, until somebody
// says TaskDone. Those that a consumer had got that died count as dealt with, and Join reports them.
//
// An item is in hand of the process that got it, from the moment at which it leaves the queue; one that is killed in Get either has not taken the
// item, and another gets it, or has it in hand. No way of getting says TaskDone by itself, nor does All:
//
//	for job, err := range jobs.All(ctx) {
//		...
//		err = jobs.TaskDone()
//	}
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
// TaskDone, and no other Join of this handle has reported that; the other errors are ctx's, os.ErrClosed and shm.ErrCorrupt.
//
// A process that is stopped in Get or TaskDone holds Join up, as one does that has an item in hand.
func (q *JoinableQueue[T]) Join(ctx context.Context) error {
	defer runtime.KeepAlive(q)
	c := q.c
	if c.isShut() {
		return q.named(os.ErrClosed)
	}
	for {
		lost, ok, err := c.drained()
		if err != nil {
			return q.named(err)
		}
		if ok {
			return q.named(c.report(lost))
		}
		if err := c.awaitDrained(ctx); err != nil {
			return q.named(err)
		}
		if c.isShut() {
			return q.named(os.ErrClosed)
		}
	}
}

// report is the error of Join when so many items were lost, if there is news.
func (c *core[T]) report(lost uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	news := int64(lost - c.told)
	if news <= 0 {
		return nil
	}
	c.told = lost
	return &LostError{Items: int(news)}
}

// askAgain is how often Join asks the kernel whether those live who have something in hand: it is told of deaths, if all goes well.
const askAgain = time.Second

// awaitDrained waits until all may be dealt with, or it is time to look again.
func (c *core[T]) awaitDrained(ctx context.Context) error {
	short, cancel := context.WithTimeout(ctx, askAgain)
	defer cancel()
	err := c.joiners.Wait(short, c.mayEnd)
	if d, ok := ctx.Deadline(); errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && (!ok || time.Now().Before(d)) {
		return nil
	}
	return err
}

// Unfinished is how many items are not yet dealt with: those in the queue, and those in the hands of living consumers. If some consumers
// have died with items in hand, those that are in a call of Get may count as having one.
func (q *JoinableQueue[T]) Unfinished() int {
	defer runtime.KeepAlive(q)
	q.mustBeOpen()
	return q.c.unfinished()
}

// unfinished looks at the items between two looks at what was taken. It repeats itself only because somebody took one.
func (c *core[T]) unfinished() (n int) {
	for range 1000 { // for ever, but for words that somebody changes in vain
		in, before, err := c.left()
		if err != nil {
			return 0
		}
		// Some of those who are busy may have found nothing; but there are no more unfinished items than were put.
		most := before + uint64(in) - c.h.Done.Load() // PAIRS WITH finish: add
		n = int(min(uint64(in)+c.hands.count(), most))
		if _, after, err := c.left(); err != nil || after == before {
			break
		}
	}
	return n
}

// left is how many items there are, and how many were ever taken.
func (c *core[T]) left() (in int, taken uint64, err error) {
	if in, err = c.length(); err != nil {
		return 0, 0, err
	}
	pushed, err := c.pushed()
	return in, pushed - uint64(in), err
}

// drained reports whether all is dealt with, at an instant during the call, and how many items were lost by then: nothing is in the
// queue, then nobody has anything in hand, and meanwhile nothing was put. What somebody who died had claimed and not taken away is taken
// away.
func (c *core[T]) drained() (lost uint64, ok bool, err error) {
	for c.help() {
	}
	before, err := c.pushed()
	if err != nil {
		return 0, false, err
	}
	n, err := c.length()
	if err == nil {
		err = c.get.Load().broken()
	}
	if err != nil || n != 0 || !c.hands.idle(c.hands.dead) {
		return 0, false, err
	}
	lost = before - c.h.Done.Load() // PAIRS WITH finish: add
	after, err := c.pushed()
	return lost, err == nil && after == before, err
}

// mayBeDrained is drained for who waits, which looks at memory only: it is true also where there is something to be done first.
func (c *core[T]) mayBeDrained() bool {
	get := c.get.Load()
	lanes := *c.opened.Load() // get is among them
	if lanes[len(lanes)-1].mark() == endMore || get.broken() != nil || c.stale() {
		return true
	}
	for _, l := range lanes[get.index:] {
		if l.length() != 0 {
			return false
		}
	}
	return c.hands.idle(c.hands.knownDead)
}

// pushed is how many items were ever put.
func (c *core[T]) pushed() (n uint64, err error) {
	for i := 0; ; i++ {
		l, err := c.lane(i)
		if err != nil {
			return 0, err
		}
		n += l.pushed()
		if l.mark() != endMore {
			return n, nil
		}
	}
}
