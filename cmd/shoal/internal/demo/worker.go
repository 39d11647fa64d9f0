package demo

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// workerArgs is what a worker is given.
type workerArgs struct {
	Shared sharedArgs
	Deals  *shm.Block // a link of deals
	Back   *shm.Block // a link of bytes: records
}

// sharedArgs is the part that all workers share.
type sharedArgs struct {
	Window  *shm.Block
	Lock    *locks.Lock // guards Totals and Lengths, together
	Totals  *value.Value[Totals]
	Lengths *array.Array[uint64]
}

// Totals is what all workers have counted so far.
type Totals struct {
	Tally  words.Tally
	Ranges uint64
}

// deal is a range for a worker: the words that begin in bytes From to To of a text.
type deal struct {
	Block    uint64 // where the text is: 0 is the window, else the block called textName(Block)
	Off, Len uint64 // of the text in it
	From, To uint64 // within the text; From == To ends the work
}

// textName is the name of the block that holds a text for which the window is too small.
func textName(block uint64) string { return fmt.Sprintf("text-%d", block) }

var workerFunc = process.Register("shoal demo worker", func(ctx context.Context, a workerArgs) error {
	// Ctrl-C reaches all processes of the terminal; the parent's decides.
	signal.Ignore(os.Interrupt)
	w := worker{sharedArgs: a.Shared}
	return w.work(ctx, a.Deals, a.Back)
})

// worker is the working side of the job. It runs in a process of its own.
type worker struct {
	sharedArgs
	counter words.Counter
	ranges  uint64
	words   uint64
	locking time.Duration // waited for the lock
}

// work counts ranges until there are no more, and sends back the table.
func (w *worker) work(ctx context.Context, dealsBlock, backBlock *shm.Block) error {
	begin := time.Now()
	deals, err := openLink[deal](dealsBlock)
	if err != nil {
		return fmt.Errorf("open the ring of deals: %w", err)
	}
	defer dealsBlock.Close()
	back, err := openLink[byte](backBlock)
	if err != nil {
		return fmt.Errorf("open the ring back: %w", err)
	}
	defer backBlock.Close()
	records := newRecordWriter(ctx, back)

	// Telling the parent what is done wakes it, which costs both processes time: not after each small file,
	// but before waiting for more work, and before the parent might run out of ranges that it may deal.
	ranges, bytes := 0, uint64(0)
	for ctx.Err() == nil {
		if deals.Empty() || ranges >= rangesAhead/4 || bytes >= bytesAhead/4 {
			if err := records.flush(); err != nil {
				return err
			}
			ranges, bytes = 0, 0
		}
		d, err := deals.Pop(ctx)
		if err != nil {
			return err
		}
		if d.From == d.To {
			break
		}
		if err := w.count(d); err != nil {
			return err
		}
		if err := w.share(ctx); err != nil {
			return err
		}
		if err := records.done(); err != nil {
			return err
		}
		ranges, bytes = ranges+1, bytes+d.To-d.From
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := records.table(&w.counter.Table); err != nil {
		return err
	}
	waiting := deals.waited + back.waited + w.locking
	return records.summary(summary{
		ranges:  w.ranges,
		words:   w.words,
		working: time.Since(begin) - waiting,
		waiting: waiting,
		entries: uint64(w.counter.Table.Len()),
	})
}

// count counts one range.
func (w *worker) count(d deal) error {
	block := w.Window
	if d.Block != 0 {
		var err error
		if block, err = shm.OpenBlock(block.Segment(), textName(d.Block)); err != nil {
			return fmt.Errorf("open a long text: %w", err)
		}
		defer block.Close()
	}
	mem := block.Bytes()
	size := uint64(len(mem))
	if d.Off > size || d.Len > size-d.Off || d.To > d.Len || d.From > d.To {
		return fmt.Errorf("a deal outside of the text: %w", shm.ErrCorrupt)
	}
	w.counter.Count(mem[d.Off:d.Off+d.Len], int(d.From), int(d.To))
	return nil
}

// share adds what was counted since the last call to what all have counted, under one hold of the lock.
func (w *worker) share(ctx context.Context) error {
	asked := time.Now()
	err := locks.With(ctx, w.Lock, func() error {
		w.locking += time.Since(asked)
		t := w.Totals.Load()
		t.Tally.Add(w.counter.Tally)
		t.Ranges++
		w.Totals.Store(t)
		return w.Lengths.View(func(shared []uint64) error {
			for n, words := range &w.counter.Lengths {
				if words != 0 {
					shared[n] += words
				}
			}
			return nil
		})
	})
	if err != nil {
		return fmt.Errorf("add to the totals: %w", err)
	}
	w.ranges++
	w.words += w.counter.Tally.Words
	w.counter.Tally = words.Tally{}
	clear(w.counter.Lengths[:])
	return nil
}
