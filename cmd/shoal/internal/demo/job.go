package demo

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall"
	"time"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
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

	// stopFor is how long a worker that has stopped at a point stays so: nobody else can tell it from a slow one.
	stopFor = time.Second

	// As many workers as there are, and this many more, may be killed: what kills more does not do so by chance.
	replacements = 3
)

// job is one count by several processes.
type job struct {
	ctx      context.Context // ends at the first failure
	cancel   context.CancelCauseFunc
	at       Point // for the first worker
	window   *shm.Block
	accounts accounts
	dealer   *dealer
	backSize int
	crew     []*member      // by seat, those that were replaced left out
	wait     sync.WaitGroup // for all goroutines but the one that deals

	mu       sync.Mutex
	failures []error // in the order in which they were noticed
	fates    fates
}

// fates are what has befallen the workers.
type fates struct {
	killed  []Killed
	stopped []int // pids
	reached bool  // the first worker has come to the point
}

// member is a worker as its parent sees it.
type member struct {
	seat    int
	before  uint64 // ranges in the accounts by those who had the seat before
	hand    *hand
	back    *link[byte]
	process *process.Process
	ended   context.Context // done when the process has ended, or ctx is
	at      Point
	table   words.Table
	summary summary
}

// countTogether counts files with o.Workers workers. Whatever happens, all of them have ended when it returns.
func countTogether(ctx context.Context, files []words.File, o Options, progress func(int64)) (*answer, *job, error) {
	seg, err := shm.Anonymous(segmentSize)
	if err != nil {
		return nil, nil, err
	}
	defer seg.Close()
	j := &job{at: o.At}
	j.ctx, j.cancel = context.WithCancelCause(ctx)
	defer j.cancel(nil)
	var bytes int64
	for _, f := range files {
		bytes += f.Size
	}
	if err := j.layOut(seg, bytes, o.Workers, progress); err != nil {
		return nil, nil, err
	}
	if o.KillOne != nil {
		j.dealer.strike = &strike{rand: o.KillOne, left: o.KillOne.Int64N(bytes + 1)}
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
	return a, j, nil
}

// layOut makes everything that all workers share.
func (j *job) layOut(seg *shm.Segment, bytes int64, workers int, progress func(int64)) (err error) {
	// Room for every text at once if that is little, else for what the workers are dealt and two large pieces.
	enough := int64(2*words.PieceSize + workers*bytesAhead)
	size := int(max(windowLeast, min(2*bytes, enough, windowMost)))
	if j.window, err = shm.NewBlock(seg, "", size); err != nil {
		return fmt.Errorf("%d bytes of shared memory for texts: %w", size, err)
	}
	if j.accounts, err = newAccounts(seg, workers); err != nil {
		return err
	}
	// Ranges short enough that each worker has a few, but not so short that dealing them is all the work.
	longest := int(min(max(bytes/int64(8*workers), rangeLeast), rangeMost))
	j.dealer = newDealer(j.ctx, j.window, longest, progress)
	j.backSize = min(max(backAll/workers, backLeast), backMost)
	for range workers {
		j.dealer.hands = append(j.dealer.hands, new(hand))
	}
	j.crew = make([]*member, workers)
	return nil
}

// start starts the workers.
func (j *job) start() error {
	for seat := range j.crew {
		if err := j.hire(seat, 0); err != nil {
			return fmt.Errorf("%w (%d of %d workers run)", err, seat, len(j.crew))
		}
	}
	return nil
}

// hire starts a worker for a seat, of which so many ranges are in the accounts. Its rings are new: those of one
// that died hold what has been dealt anew, and half of a table.
func (j *job) hire(seat int, counted uint64) error {
	deals, err := newLink[deal](j.window.Segment(), rangesAhead+1)
	if err != nil {
		return fmt.Errorf("a ring for worker %d: %w", seat+1, err)
	}
	back, err := newLink[byte](j.window.Segment(), j.backSize)
	if err != nil {
		return fmt.Errorf("a ring for worker %d: %w", seat+1, err)
	}
	m := &member{seat: seat, before: counted, hand: j.dealer.hands[seat], back: back}
	if j.crew[seat] == nil && seat == 0 {
		m.at = j.at
	}
	if err := j.dealer.take(m.hand, deals, counted); err != nil {
		return err
	}
	args := workerArgs{
		Seat: seat, Window: j.window, Accounts: j.accounts,
		Deals: deals.block, Back: back.block, At: m.at,
	}
	name := fmt.Sprintf("worker-%d", seat+1)
	if m.process, err = process.Start(j.ctx, workerFunc, args, process.Options{Name: name, Grace: grace}); err != nil {
		if j.ctx.Err() != nil {
			return context.Cause(j.ctx)
		}
		return err
	}
	j.crew[seat] = m
	j.dealer.started(m.hand, m.process)
	var end context.CancelCauseFunc
	m.ended, end = context.WithCancelCause(j.ctx)
	j.wait.Go(func() {
		<-m.process.Done()
		end(fmt.Errorf("process %s (pid %d): ended before it was done", name, m.process.Pid()))
	})
	j.wait.Go(func() {
		if err := j.attend(m); err != nil {
			j.fail(err)
		}
	})
	j.watch(m)
	return nil
}

// attend takes in what a worker sends back until it has ended, and replaces it if it was killed before it had
// sent everything.
func (j *job) attend(m *member) error {
	heard := j.listen(m)
	switch {
	case heard == nil:
		j.dealer.finished(m.hand)
	case heard != context.Cause(m.ended): // the process may still run
		j.fail(heard)
	}
	err := m.process.Join(context.Background())
	var exit *process.ExitError
	if errors.As(err, &exit) && exit.Signal == syscall.SIGKILL && j.ctx.Err() == nil {
		return j.bury(m, exit, heard == nil)
	}
	if err != nil {
		return err
	}
	return heard
}

// bury notes that a worker was killed, and replaces it unless it had finished.
func (j *job) bury(m *member, exit *process.ExitError, finished bool) error {
	var counted uint64
	err := j.accounts.hold(j.ctx, func() error {
		counted = j.accounts.Done.Load(m.seat)
		return nil
	})
	if err != nil {
		return err
	}
	j.mu.Lock()
	j.fates.killed = append(j.fates.killed, Killed{Worker: m.seat + 1, Pid: exit.Pid, Ranges: counted - m.before})
	j.fates.reached = j.fates.reached || m.at.Kill != ""
	killed := len(j.fates.killed)
	j.mu.Unlock()
	if finished {
		return nil
	}
	if killed > len(j.crew)+replacements {
		return fmt.Errorf("%w; %d others were killed before it", exit, killed-1)
	}
	return j.hire(m.seat, counted)
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
	for i := range files {
		f := &files[i]
		if j.ctx.Err() != nil {
			return context.Cause(j.ctx)
		}
		j.dealer.begin(f)
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

// failure returns the first failure that does not follow from another one.
func (j *job) failure() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, err := range j.failures {
		if !errors.Is(err, context.Canceled) {
			return err
		}
	}
	if len(j.failures) > 0 {
		return j.failures[0]
	}
	return nil
}

// collect adds up what is shared and what came back, after all workers have ended well.
func (j *job) collect(a *answer) error {
	err := j.accounts.hold(j.ctx, func() error {
		t := j.accounts.Totals.Load()
		a.Tally, a.Ranges = t.Tally, t.Ranges
		j.accounts.Lengths.ReadAt(a.Lengths[:], 0)
		return nil
	})
	if err != nil {
		return err
	}
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
