package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// segmentSize bounds what is in flight, a word of a file that is one long word among it. It is address space,
// which 32-bit processes have enough of too for so much.
const segmentSize = max(shm.DefaultSize, 512<<20)

const (
	windowMost  = shm.DefaultSize / 4
	windowLeast = 2 << 20   // bytes: judging a large file takes 1 MiB
	rangeMost   = 256 << 10 // bytes: about a millisecond or two of counting
	rangeLeast  = 16 << 10

	// The bytes on the way from the workers: few large portions cost less than many small ones, above all
	// when there are more processes than CPUs and each portion is a change of process.
	backAll   = shm.DefaultSize / 64
	backMost  = 1 << 20 // of one worker
	backLeast = 64 << 10

	// grace is how long a worker may take to notice that the job has failed before it is killed. Only one that is
	// stopped takes that long.
	grace = 2 * time.Second
)

// job is one count by several processes.
type job struct {
	ctx    context.Context // ends at the first failure
	cancel context.CancelCauseFunc
	shared sharedArgs
	dealer *dealer
	crew   []*member
	wait   sync.WaitGroup // for all goroutines but the one that deals

	mu       sync.Mutex
	failures []error // in the order in which they were noticed
}

// member is a worker as its parent sees it.
type member struct {
	hand    *hand
	back    *link[byte]
	process *process.Process
	ended   context.Context // done when the process has ended, or ctx is
	table   words.Table
	summary summary
}

// countTogether counts files with so many workers. Whatever happens, all of them have ended when it returns.
func countTogether(ctx context.Context, files []words.File, workers int, progress func(int64)) (*answer, []Process, error) {
	seg, err := shm.Anonymous(segmentSize)
	if err != nil {
		return nil, nil, err
	}
	defer seg.Close()
	j := new(job)
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	defer j.cancel(nil)
	var bytes int64
	for _, f := range files {
		bytes += f.Size
	}
	if err := j.layOut(seg, bytes, workers, progress); err != nil {
		return nil, nil, err
	}
	defer context.AfterFunc(j.ctx, j.dealer.wake)()

	a := new(answer)
	err = j.start()
	if err == nil {
		err = j.deal(a, files)
	}
	if err != nil {
		j.fail(err)
	}
	j.wait.Wait()
	if ctx.Err() != nil {
		return nil, nil, context.Cause(ctx)
	}
	if err := j.failure(); err != nil {
		return nil, nil, err
	}
	if err := j.collect(a); err != nil {
		return nil, nil, err
	}
	return a, j.processes(), nil
}

// layOut makes everything that is shared.
func (j *job) layOut(seg *shm.Segment, bytes int64, workers int, progress func(int64)) (err error) {
	// Room for every text at once if that is little, else for what the workers are dealt and two large pieces.
	enough := int64(2*words.PieceSize + workers*bytesAhead)
	size := int(max(windowLeast, min(2*bytes, enough, windowMost)))
	if j.shared.Window, err = shm.NewBlock(seg, "", size); err != nil {
		return fmt.Errorf("%d bytes of shared memory for texts: %w", size, err)
	}
	if j.shared.Lock, err = locks.NewLock(seg, ""); err != nil {
		return err
	}
	if j.shared.Totals, err = value.New(seg, "", Totals{}, value.Options{Lock: j.shared.Lock}); err != nil {
		return err
	}
	j.shared.Lengths, err = array.New[uint64](seg, "", words.LongLength+1, array.Options{Lock: j.shared.Lock})
	if err != nil {
		return err
	}
	// Ranges short enough that each worker has a few, but not so short that dealing them is all the work.
	longest := int(min(max(bytes/int64(8*workers), rangeLeast), rangeMost))
	j.dealer = newDealer(j.ctx, j.shared.Window, longest, progress)
	backSize := min(max(backAll/workers, backLeast), backMost)
	for range workers {
		deals, err := newLink[deal](seg, rangesAhead)
		if err != nil {
			return fmt.Errorf("a ring for worker %d: %w", len(j.crew)+1, err)
		}
		back, err := newLink[byte](seg, backSize)
		if err != nil {
			return fmt.Errorf("a ring for worker %d: %w", len(j.crew)+1, err)
		}
		h := &hand{deals: deals}
		j.dealer.hands = append(j.dealer.hands, h)
		j.crew = append(j.crew, &member{hand: h, back: back})
	}
	return nil
}

// start starts the workers.
func (j *job) start() error {
	for i, m := range j.crew {
		args := workerArgs{Shared: j.shared, Deals: m.hand.deals.block, Back: m.back.block}
		name := fmt.Sprintf("worker-%d", i+1)
		p, err := process.Start(j.ctx, workerFunc, args, process.Options{Name: name, Grace: grace})
		if err != nil {
			if j.ctx.Err() != nil {
				return context.Cause(j.ctx)
			}
			return fmt.Errorf("%w (%d of %d workers run)", err, i, len(j.crew))
		}
		m.process = p
		ended, cancel := context.WithCancelCause(j.ctx)
		m.ended = ended
		j.wait.Go(func() {
			err := p.Join(context.Background())
			if err != nil {
				j.fail(err)
			}
			cancel(fmt.Errorf("process %s (pid %d): ended before it was done", p.Name(), p.Pid()))
		})
		j.wait.Go(func() {
			if err := j.listen(m); err != nil {
				j.fail(err)
			}
		})
	}
	return nil
}

// listen takes in what a worker sends back. What it sent before it ended is still there afterwards.
func (j *job) listen(m *member) (err error) {
	r := bufio.NewReaderSize(linkReader{m.ended, m.back}, backLeast)
	m.summary, err = readRecords(r, &m.table,
		func() error { return j.dealer.done(m.hand) },
		func() uint64 { return j.dealer.longestWord(m.hand) })
	if errors.Is(err, errRecord) {
		err = fmt.Errorf("process %s (pid %d): %w", m.process.Name(), m.process.Pid(), err)
	}
	return err
}

// deal reads files into the window and deals what is text.
func (j *job) deal(a *answer, files []words.File) error {
	for _, f := range files {
		if j.ctx.Err() != nil {
			return context.Cause(j.ctx)
		}
		text, err := f.Text(j.ctx, j.dealer, j.dealer.visit)
		if err != nil {
			return err
		}
		if text {
			a.Files++
		} else {
			a.Skipped++
			j.dealer.skipped(f.Size)
		}
	}
	return j.dealer.finish()
}

// fail notes a failure and ends the job.
func (j *job) fail(err error) {
	j.mu.Lock()
	j.failures = append(j.failures, err)
	j.mu.Unlock()
	j.cancel(err)
}

// failure returns the first failure that does not follow from another one: when one process is killed with
// the lock in its hands, the others may be quicker to say so than the kernel.
func (j *job) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, err := range j.failures {
		if !errors.Is(err, locks.ErrOwnerDied) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	if len(j.failures) > 0 {
		return j.failures[0]
	}
	return nil
}

// ErrOwnerDied is told apart from a worker's other errors.
var _ = process.RegisterError("locks: owner died", locks.ErrOwnerDied)

// collect adds up what is shared and what came back, after all workers have ended well.
func (j *job) collect(a *answer) error {
	t, err := j.shared.Totals.Get(j.ctx)
	if err != nil {
		return fmt.Errorf("read the totals: %w", err)
	}
	a.Tally, a.Ranges = t.Tally, t.Ranges
	j.shared.Lengths.ReadAt(a.Lengths[:], 0)
	a.Table = new(words.Table)
	for _, m := range j.crew {
		if a.Table.Len() < m.table.Len() {
			*a.Table, m.table = m.table, *a.Table
		}
		a.Table.Merge(&m.table)
	}
	return nil
}

// processes describes the workers.
func (j *job) processes() []Process {
	var ps []Process
	for _, m := range j.crew {
		ps = append(ps, Process{
			Pid:     m.process.Pid(),
			Ranges:  m.summary.ranges,
			Words:   m.summary.words,
			Working: m.summary.working.Seconds(),
			Waiting: m.summary.waiting.Seconds(),
		})
	}
	return ps
}
