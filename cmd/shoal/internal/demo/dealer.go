package demo

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/shm"
)

// What a worker may have been dealt and not reported done: enough that it need not wait for the next range,
// little enough that all workers end at about the same time.
const (
	rangesAhead = 64
	bytesAhead  = 4 * rangeMost
)

// text is a piece of a file in shared memory.
type text struct {
	block *shm.Block // of its own, nil in the window
	deal  deal       // where it is, and how long
	users int        // ranges not done, and one for who deals them
}

// dealer is the parent's side of the job: it reads texts into shared memory, deals their ranges, and learns
// which are done. Its Get, Put and visit are used by one goroutine, done by any.
type dealer struct {
	ctx     context.Context
	seg     *shm.Segment
	block   *shm.Block // the window's memory
	longest int        // range in bytes

	mu       sync.Mutex
	changed  sync.Cond // a range is done, or ctx is
	window   window
	hands    []*hand
	progress func(bytes int64) // called under mu
	blocks   uint64            // made for texts outside of the window
	spare    []*text           // such texts that nobody uses any more; their blocks are used again
	current  *text             // between Get and visit or Put
}

// hand is what one worker holds.
type hand struct {
	deals *link[deal]
	open  []open // dealt and not done, the oldest first
	bytes int    // of those
	given uint64 // bytes of texts that it has seen, in all
}

type open struct {
	text  *text
	bytes int
}

func newDealer(ctx context.Context, block *shm.Block, longest int, progress func(int64)) *dealer {
	d := &dealer{ctx: ctx, seg: block.Segment(), block: block, longest: longest, progress: progress}
	d.changed.L = &d.mu
	d.window.size = len(block.Bytes())
	return d
}

// Get implements words.Memory: memory that all workers see, for one text.
func (d *dealer) Get(n int) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n > d.window.size {
		return d.getBlock(n)
	}
	for {
		if d.ctx.Err() != nil {
			return nil, context.Cause(d.ctx)
		}
		if off, ok := d.window.take(n); ok {
			d.current = &text{deal: deal{Off: uint64(off), Len: uint64(n)}, users: 1}
			return d.block.Bytes()[off : off+n : off+n], nil
		}
		d.changed.Wait()
	}
}

// getBlock gets memory for a text that is larger than the window, because a word of it is.
func (d *dealer) getBlock(n int) ([]byte, error) {
	i := slices.IndexFunc(d.spare, func(t *text) bool { return len(t.block.Bytes()) >= n })
	if i >= 0 {
		d.current = d.spare[i]
		d.spare = slices.Delete(d.spare, i, i+1)
	} else {
		d.blocks++
		block, err := shm.NewBlock(d.seg, textName(d.blocks), n+n/4)
		if err != nil {
			return nil, fmt.Errorf("%d bytes of shared memory for a long word: %w", n, err)
		}
		d.current = &text{block: block, deal: deal{Block: d.blocks}}
	}
	d.current.users = 1
	return d.current.block.Bytes()[:n:n], nil
}

// Put implements words.Memory.
func (d *dealer) Put() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.release(d.current)
	d.current = nil
}

// visit deals the ranges of what was read to the memory last got.
func (d *dealer) visit(piece []byte) error {
	t := d.current
	t.deal.Len = uint64(len(piece))
	defer d.Put()
	for from, to := range words.Cut(len(piece), d.longest) {
		if err := d.deal(t, from, to); err != nil {
			return err
		}
	}
	return nil
}

// deal gives a range to the worker with the least to do, waiting until one has little enough.
func (d *dealer) deal(t *text, from, to int) error {
	h, err := d.book(t, to-from)
	if err != nil {
		return err
	}
	deal := t.deal
	deal.From, deal.To = uint64(from), uint64(to)
	return h.deals.Push(d.ctx, deal)
}

// book finds the worker, and notes that it has the range.
func (d *dealer) book(t *text, bytes int) (*hand, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if d.ctx.Err() != nil {
			return nil, context.Cause(d.ctx)
		}
		var best *hand
		for _, h := range d.hands {
			if len(h.open) < rangesAhead && h.bytes < bytesAhead && (best == nil || h.bytes < best.bytes) {
				best = h
			}
		}
		if best != nil {
			t.users++
			best.open = append(best.open, open{t, bytes})
			best.bytes += bytes
			best.given += t.deal.Len
			return best, nil
		}
		d.changed.Wait()
	}
}

// finish tells all workers that there is no more.
func (d *dealer) finish() error {
	for _, h := range d.hands {
		if err := h.deals.Push(d.ctx, deal{}); err != nil {
			return err
		}
	}
	return nil
}

// done notes that h's worker has done its oldest range.
func (d *dealer) done(h *hand) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(h.open) == 0 {
		return fmt.Errorf("%w: it has done a range that it was not dealt", errRecord)
	}
	o := h.open[0]
	h.open = append(h.open[:0], h.open[1:]...)
	h.bytes -= o.bytes
	d.release(o.text)
	d.progress(int64(o.bytes))
	return nil
}

// skipped notes bytes that need no counting.
func (d *dealer) skipped(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.progress(bytes)
}

// release takes one user from t and reuses its memory after the last.
func (d *dealer) release(t *text) {
	if t.users--; t.users == 0 {
		if t.block == nil {
			d.window.give(int(t.deal.Off))
		} else {
			d.spare = append(d.spare, t)
		}
	}
	d.changed.Signal() // only who reads and deals waits
}

// longestWord is what bounds a word of h's worker, in bytes: lower case may be longer than what it is made of, by
// half (Ⱥ, ⱥ).
func (d *dealer) longestWord(h *hand) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return h.given + h.given/2
}

// wake makes the one who waits look at ctx.
func (d *dealer) wake() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.changed.Signal()
}
