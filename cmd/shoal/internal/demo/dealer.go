package demo

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// What a worker may have been dealt and not reported done: enough that it need not wait for the next range,
// little enough that all workers end at about the same time. The ring for them has a place more, for the deal
// that ends the work, so that it is never full.
const (
	rangesAhead = 63
	bytesAhead  = 4 * rangeMost
)

// text is a piece of a file in shared memory.
type text struct {
	file  *words.File
	at    int64      // where in the file it begins
	block *shm.Block // of its own, nil in the window
	deal  deal       // where it is, and how long
	users int        // ranges not done, and one for who deals them
}

// dealer is the parent's side of the job: it reads texts into shared memory, deals their ranges, and learns
// which are done. Its Get, Put, begin, visit and finish are used by one goroutine, the rest by any.
type dealer struct {
	ctx     context.Context
	seg     *shm.Segment
	block   *shm.Block // the window's memory
	longest int        // range in bytes

	file *words.File // the one that is being dealt
	at   int64       // its next piece

	mu       sync.Mutex
	changed  sync.Cond // a range is done or lost, a worker has finished or was replaced, or ctx is done
	window   window
	hands    []*hand           // one for each seat
	lost     []span            // whose words died with a worker
	progress func(bytes int64) // called under mu
	blocks   uint64            // made for texts outside of the window
	spare    []*text           // such texts that nobody uses any more; their blocks are used again
	current  *text             // between Get and visit or Put
	strike   *strike           // what is still to happen, if anything
}

// hand is what the worker in one seat holds. When the worker dies another one gets the seat and the hand.
type hand struct {
	deals    *link[deal]
	process  *process.Process // nil until the first worker was started
	open     []open           // dealt and not reported done, the oldest first
	past     []span           // reported done by the worker that lives: their words are in its memory alone
	counted  uint64           // ranges that are known to be in the accounts, of all workers that had the seat
	bytes    int              // of open
	given    uint64           // bytes of texts that it has seen, in all
	ended    bool             // told that there is no more
	finished bool             // its worker has sent its table
}

type open struct {
	text *text
	deal deal
}

func (o *open) bytes() int { return int(o.deal.To - o.deal.From) }

// span is a range by where it is in its file, to find it when it is no longer in memory.
type span struct {
	file     *words.File
	at       int64 // of the piece
	size     int   // of the piece
	from, to int   // within the piece
}

// strike is the killing of a worker.
type strike struct {
	rand *rand.Rand // chooses whom
	left int64      // bytes to be dealt with before
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
		d.current = &text{block: d.spare[i].block, deal: deal{Block: d.spare[i].deal.Block}}
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

// begin says which file the next texts are pieces of.
func (d *dealer) begin(f *words.File) { d.file, d.at = f, 0 }

// visit deals the ranges of what was read to the memory last got.
func (d *dealer) visit(piece []byte) error {
	t := d.current
	t.file, t.at, t.deal.Len = d.file, d.at, uint64(len(piece))
	d.at += int64(len(piece))
	defer d.Put()
	for from, to := range words.Cut(len(piece), d.longest) {
		if err := d.deal(t, from, to, 0); err != nil {
			return err
		}
	}
	return nil
}

// deal gives a range to the worker with the least to do, waiting until one has little enough.
func (d *dealer) deal(t *text, from, to int, counted uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if d.ctx.Err() != nil {
			return context.Cause(d.ctx)
		}
		var best *hand
		for _, h := range d.hands {
			if !h.ended && len(h.open) < rangesAhead && h.bytes < bytesAhead && (best == nil || h.bytes < best.bytes) {
				best = h
			}
		}
		if best != nil {
			o := open{t, t.deal}
			o.deal.From, o.deal.To, o.deal.Counted = uint64(from), uint64(to), counted
			t.users++
			best.open = append(best.open, o)
			best.bytes += o.bytes()
			best.given += t.deal.Len
			return best.deals.Push(d.ctx, o.deal) // does not wait
		}
		d.changed.Wait()
	}
}

// finish deals again what is lost with workers that die, until all have sent their tables.
func (d *dealer) finish() error {
	for {
		lost, err := d.settle()
		if err != nil || len(lost) == 0 {
			return err
		}
		if err := d.again(lost); err != nil {
			return err
		}
	}
}

// settle tells all workers that there is no more, and waits until they have sent their tables, or until there is
// more: ranges that were lost, which it returns.
func (d *dealer) settle() ([]span, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		if d.ctx.Err() != nil {
			return nil, context.Cause(d.ctx)
		}
		if lost := d.lost; len(lost) > 0 {
			d.lost = nil
			return lost, nil
		}
		working, finished := 0, 0
		for _, h := range d.hands {
			working += len(h.open)
			if h.finished {
				finished++
			}
		}
		if finished == len(d.hands) {
			return nil, nil
		}
		if d.strike != nil && working == 0 {
			d.kill()
		}
		if d.strike == nil { // who may still be killed must not end
			for _, h := range d.hands {
				if !h.ended {
					h.ended = true
					if err := h.deals.Push(d.ctx, deal{}); err != nil {
						return nil, err
					}
				}
			}
		}
		d.changed.Wait()
	}
}

// again reads ranges once more and deals them for their words alone.
func (d *dealer) again(lost []span) error {
	for len(lost) > 0 {
		s := lost[0]
		if _, err := s.file.Again(d, s.at, s.size); err != nil {
			return err
		}
		t := d.current
		t.file, t.at, t.deal.Len = s.file, s.at, uint64(s.size)
		for len(lost) > 0 && lost[0].file == s.file && lost[0].at == s.at {
			if err := d.deal(t, lost[0].from, lost[0].to, 1); err != nil {
				return err
			}
			lost = lost[1:]
		}
		d.Put()
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
	h.bytes -= o.bytes()
	h.past = append(h.past, span{o.text.file, o.text.at, int(o.deal.Len), int(o.deal.From), int(o.deal.To)})
	d.release(o.text)
	if o.deal.Counted == 0 {
		h.counted++
		d.dealtWith(int64(o.bytes()))
	}
	return nil
}

// take gives h to a new worker, which has its deals from a ring of its own. Of the ranges of h, counted many are
// in the accounts. Those that the dead worker did not report are dealt again, whole or for their words alone;
// those that it did report are lost until they are read again.
func (d *dealer) take(h *hand, deals *link[deal], counted uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	h.deals, h.ended = deals, false
	d.lost = append(d.lost, h.past...)
	h.past = nil
	for i := range h.open {
		o := &h.open[i]
		if o.deal.Counted == 0 && h.counted < counted {
			o.deal.Counted = 1
			h.counted++
			d.dealtWith(int64(o.bytes()))
		}
		if err := deals.Push(d.ctx, o.deal); err != nil {
			return err
		}
	}
	if h.counted != counted {
		return fmt.Errorf("%d ranges of a worker are in the accounts, not %d: %w", counted, h.counted, shm.ErrCorrupt)
	}
	d.changed.Signal()
	return nil
}

// started notes h's process.
func (d *dealer) started(h *hand, p *process.Process) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h.process = p
	d.changed.Signal()
}

// finished notes that h's worker has sent its table.
func (d *dealer) finished(h *hand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h.finished = true
	d.changed.Signal()
}

// dealtWith notes bytes that will not be counted again, and kills a worker if it is time to.
func (d *dealer) dealtWith(bytes int64) {
	d.progress(bytes)
	if d.strike == nil {
		return
	}
	if d.strike.left -= bytes; d.strike.left <= 0 {
		d.kill()
	}
}

// kill kills one of the workers, one with ranges if there is one. None has been told to end, so one without has
// its table still to send.
func (d *dealer) kill() {
	var living, working []*hand
	for _, h := range d.hands {
		if !h.process.Alive() {
			continue
		}
		living = append(living, h)
		if len(h.open) > 0 {
			working = append(working, h)
		}
	}
	if len(working) > 0 {
		living = working
	}
	if len(living) > 0 { // else the next occasion will do
		living[d.strike.rand.IntN(len(living))].process.Kill()
		d.strike = nil
	}
}

// skipped notes bytes that need no counting.
func (d *dealer) skipped(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dealtWith(bytes)
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
