package demo

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// workerArgs is what a worker is given.
type workerArgs struct {
	Seat     int
	Window   *shm.Block
	Accounts accounts
	Deals    *shm.Block // a link of deals
	Back     *shm.Block // a link of bytes: records
	At       Point
}

// deal is a range for a worker: the words that begin in bytes From to To of a text.
type deal struct {
	Block    uint64 // where the text is: 0 is the window, else the block called textName(Block)
	Off, Len uint64 // of the text in it
	From, To uint64 // within the text; From == To ends the work
	Counted  uint64 // if not 0 the accounts have the range already, by a worker that died: only its words are wanted
}

// textName is the name of the block that holds a text for which the window is too small.
func textName(block uint64) string { return fmt.Sprintf("text-%d", block) }

var workerFunc = process.Register("shoal demo worker", func(ctx context.Context, a workerArgs) error {
	// Ctrl-C reaches all processes of the terminal; the parent's decides.
	signal.Ignore(os.Interrupt)
	defer a.At.arm()()
	w := worker{workerArgs: a}
	return w.work(ctx)
})

// worker is the working side of the job. It runs in a process of its own.
type worker struct {
	workerArgs
	counter words.Counter
	ranges  uint64
	words   uint64
	locking time.Duration // waited for the lock
}

// work counts ranges until there are no more, and sends back the table.
func (w *worker) work(ctx context.Context) error {
	begin := time.Now()
	deals, err := openLink[deal](w.Deals)
	if err != nil {
		return fmt.Errorf("open the ring of deals: %w", err)
	}
	defer w.Deals.Close()
	back, err := openLink[byte](w.Back)
	if err != nil {
		return fmt.Errorf("open the ring back: %w", err)
	}
	defer w.Back.Close()
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
		if d.Counted == 0 {
			if err := w.share(ctx); err != nil {
				return err
			}
		}
		w.counter.Tally = words.Tally{}
		clear(w.counter.Lengths[:])
		if err := records.done(); err != nil {
			return err
		}
		ranges, bytes = ranges+1, bytes+d.To-d.From
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	crashpoint.Hit("demo/worker/ended")
	if err := records.table(&w.counter.Table); err != nil {
		return err
	}
	crashpoint.Hit("demo/worker/table")
	waiting := deals.waited + back.waited + w.locking
	err = records.summary(summary{
		ranges:  w.ranges,
		words:   w.words,
		working: time.Since(begin) - waiting,
		waiting: waiting,
		entries: uint64(w.counter.Table.Len()),
	})
	crashpoint.Hit("demo/worker/summary")
	return err
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

// share adds what was counted of a range to what all have counted.
func (w *worker) share(ctx context.Context) error {
	asked := time.Now()
	err := w.Accounts.hold(ctx, func() error {
		w.locking += time.Since(asked)
		return w.Accounts.add(w.Seat, &w.counter)
	})
	crashpoint.Hit("demo/share/released")
	w.ranges++
	w.words += w.counter.Tally.Words
	return err
}
