package pool

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// Options are the rarer wishes of a pool.
type Options struct {
	// Initializer is run once in each worker before its first task. Its failure is New's.
	Initializer process.Call
	// TasksPerWorker is after how many tasks a worker is replaced; 0 means never. The next one is started before.
	TasksPerWorker int
	// WorkerMemory is how many bytes a worker may have (its resident memory) before it is replaced, after the
	// task that it does; 0 means any number. The next one is started before. The system must tell (/proc).
	WorkerMemory int
	// Retries is how often a task is run again whose worker died while it did the task.
	Retries int
	// Memory is the size of the segment for tasks and results; 0 means shm.DefaultSize.
	Memory int
	// Process is how workers are started. Name "" means "pool-worker", and a number follows.
	Process process.Options
}

// Pool is a number of worker processes. All methods, and the functions that take a Pool, may be called from any
// goroutine. A pool belongs to the process that made it.
type Pool struct{ c *crew }

// crew is a pool without its handle, so that the handle can be garbage.
type crew struct {
	*dealer
	size  int
	opts  Options
	block *shm.Block // of the words that all workers share

	wait     sync.WaitGroup // for the goroutines
	decoding sync.WaitGroup
	ctx      context.Context // ends when the pool is terminated
	kill     context.CancelFunc
	ended    chan struct{} // closed when all is over
	finish   sync.Once

	// Under the dealer's lock.
	seats    []*seat
	spares   []*shm.Block // desks that nobody uses
	started  int
	replaced int
	failures int  // of starts, in a row
	ending   bool // there will be no more tasks
	killed   bool

	hired func() // nil but in tests; called when a worker was started for one that has ended, or was not
}

// seat is a place for a worker.
type seat struct {
	now, next *hand
	hiring    bool
}

// New starts n workers (0: one for each CPU) and returns when all are ready. When ctx is done the pool is
// terminated. The errors are those of starting processes (process.ErrInit in a program that calls neither
// process.Main nor process.Init) and of making the segment, a *process.ExitError if a worker or its initializer
// failed, and os.ErrInvalid.
func New(ctx context.Context, n int, opts ...Options) (*Pool, error) {
	var o Options
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		panic(errors.New("pool: more than one Options"))
	}
	if n == 0 {
		n = runtime.NumCPU()
	}
	if n < 0 || o.TasksPerWorker < 0 || o.WorkerMemory < 0 || o.Retries < 0 || o.TasksPerWorker > math.MaxInt32 {
		return nil, fmt.Errorf("pool: new: %d workers, or an option that is less than 0: %w", n, os.ErrInvalid)
	}
	c, err := newCrew(ctx, n, o)
	if err != nil {
		return nil, fmt.Errorf("pool: new: %w", err)
	}
	p := &Pool{c}
	runtime.AddCleanup(p, func(c *crew) { go c.terminate(ErrTerminated) }, c)
	return p, nil
}

func newCrew(ctx context.Context, n int, o Options) (_ *crew, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	seg, err := shm.Anonymous(o.Memory)
	if err != nil {
		return nil, err
	}
	c := &crew{size: n, opts: o, ended: make(chan struct{})}
	c.ctx, c.kill = context.WithCancel(context.Background())
	if c.block, err = shm.NewBlock(seg, "", boardSize); err != nil {
		seg.Close()
		return nil, err
	}
	if c.dealer, err = newDealer(seg, c.block.Bytes()); err != nil {
		seg.Close()
		return nil, err
	}
	c.retries = o.Retries
	c.wait.Go(c.attend)
	go c.watchIdle()
	first := make([]*hand, n)
	for i := range n {
		s := new(seat)
		c.mu.Lock()
		c.seats = append(c.seats, s)
		c.mu.Unlock()
		if first[i], err = c.hire(s); err != nil {
			break
		}
	}
	for i := 0; i < n && err == nil; i++ {
		select {
		case <-first[i].ready:
		case <-first[i].dead:
			err = first[i].err
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	if err != nil {
		c.terminate(err)
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.terminate(ErrTerminated) })
	context.AfterFunc(c.ctx, func() { stop() })
	return c, nil
}

// hire starts a worker for a seat.
func (c *crew) hire(s *seat) (_ *hand, err error) {
	c.mu.Lock()
	if c.killed || c.ending {
		c.mu.Unlock()
		return nil, ErrTerminated
	}
	var desk *shm.Block
	if k := len(c.spares); k > 0 {
		desk, c.spares = c.spares[k-1], c.spares[:k-1]
	}
	c.started++
	number := c.started
	c.mu.Unlock()
	if desk == nil {
		if desk, err = shm.NewBlock(c.seg, "", deskSize()); err != nil {
			return nil, err
		}
	}
	defer func() {
		if err != nil { // nobody has it
			c.mu.Lock()
			c.spares = append(c.spares, desk)
			c.mu.Unlock()
		}
	}()
	h, err := c.newHand(desk.Bytes())
	if err != nil {
		return nil, err
	}
	h.quota = uint32(c.opts.TasksPerWorker)
	h.block, h.dead = desk, make(chan struct{})
	h.more = func(h *hand) { c.look(s, h) }
	o := c.opts.Process
	if o.Name == "" {
		o.Name = "pool-worker"
	}
	o.Name = fmt.Sprintf("%s-%d", o.Name, number)
	args := workerArgs{Desk: desk, Board: c.block, Initializer: c.opts.Initializer, Memory: c.opts.WorkerMemory > 0}
	o.Daemon = true
	p, err := process.Start(context.Background(), workerFunc, args, o)
	if err != nil {
		return nil, err
	}
	h.process, h.pid = p, p.Pid()
	c.mu.Lock()
	if s.now == nil {
		s.now = h
	} else {
		s.next = h
	}
	c.enter(h)
	if c.ending {
		c.stop(h)
	}
	killed := c.killed
	c.mu.Unlock()
	if killed {
		p.Kill()
	}
	c.wait.Go(func() {
		<-p.Done()
		c.leave(s, h)
	})
	return h, nil
}

// look is called when h is ready, and when results of its were taken.
func (c *crew) look(s *seat, h *hand) {
	if h.corrupt {
		h.process.Kill()
		return
	}
	if h.state == spare {
		c.failures = 0
	}
	c.arrange(s)
}

// arrange decides who works in a seat: the next one once the one before has no tasks.
func (c *crew) arrange(s *seat) {
	h := s.now
	if h != nil {
		if h.state == spare {
			h.state = working
		}
		late := h.quota != 0 && h.dealt >= h.quota/2
		if h.quota != 0 && h.dealt == h.quota && h.outstanding() == 0 {
			h.state = max(h.state, leaving)
		}
		if c.opts.WorkerMemory > 0 && h.desk.memory.Load() > uint64(c.opts.WorkerMemory) {
			late = true
			if s.next != nil && s.next.state == spare {
				h.state = max(h.state, leaving)
			}
		}
		if late && s.next == nil && c.err == nil {
			c.hireSoon(s)
		}
		if h.state == leaving {
			if back := c.recall(h, h.taken.Load()); len(back) > 0 {
				c.again = append(c.again, back...)
				c.queued += len(back)
			}
			if h.outstanding() == 0 {
				c.replaced++
				c.stop(h)
				s.now, s.next = s.next, nil
			}
		}
	}
	if h := s.now; h != nil && h.state == spare {
		h.state = working
	}
	c.deal()
}

// hireSoon starts a worker for a seat, in a goroutine of its own.
func (c *crew) hireSoon(s *seat) {
	if s.hiring || c.killed || c.ending {
		return
	}
	s.hiring = true
	pause := pauseAfter(c.failures)
	c.wait.Go(func() {
		select {
		case <-time.After(pause):
		case <-c.ctx.Done():
		}
		_, err := c.hire(s)
		if c.hired != nil {
			c.hired()
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		s.hiring = false
		if err != nil {
			c.failed(s, err)
			return
		}
		c.refill(s) // it may have ended already
		c.arrange(s)
	})
}

// refill starts a worker for a seat that has none, if one is needed.
func (c *crew) refill(s *seat) {
	if s.now == nil && (c.err == nil || len(c.open) > 0) {
		c.hireSoon(s)
	}
}

// pauseAfter is how long to wait before the next start after so many failures in a row.
func pauseAfter(failures int) time.Duration {
	if failures == 0 {
		return 0
	}
	return min(time.Millisecond<<min(failures/4, 10), time.Second)
}

// A worker that fails before it is ready fails for a reason that the next will have too; one that is killed may
// have had bad luck. When so many have done so in a row, by these weights, and no other is left, the pool gives
// up.
const (
	weightFailed = 10
	weightKilled = 1
	enough       = 30
)

// failed is for a worker that could not be started, or ended before it was ready.
func (c *crew) failed(s *seat, err error) {
	weight := weightFailed
	if exit, ok := err.(*process.ExitError); ok && exit.Signal != 0 {
		weight = weightKilled
	}
	if c.failures += weight; c.failures >= enough && len(c.hands) == 0 && c.err == nil {
		err = fmt.Errorf("pool: no worker can be started: %w", err)
		go c.terminate(err)
		return
	}
	c.refill(s)
}

// stop tells a worker that has no tasks to end.
func (c *crew) stop(h *hand) {
	h.state = stopped
	h.desk.stop.Store(1)
	h.tasks.Wake()
}

// leave is called when a worker has ended.
func (c *crew) leave(s *seat, h *hand) {
	err := h.process.Join(context.Background())
	died := WorkerDiedError{Pid: h.pid}
	var exit *process.ExitError
	if errors.As(err, &exit) {
		died.Signal, died.ExitCode = exit.Signal, exit.Code
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	state := h.desk.state.Load() // PAIRS WITH workerFunc: store ready, finished
	ready := h.begun.Load() || state != 0
	told := h.state == stopped
	if !ready {
		h.err = err
		if err == nil {
			h.err = errors.New("a worker ended before it was ready")
		}
	}
	close(h.dead)
	h.state = stopped
	if s.now == h {
		s.now, s.next = s.next, nil
	} else if s.next == h {
		s.next = nil
	}
	c.bury(h, func(task string) error {
		e := died
		e.Task = task
		return &e
	})
	c.spares = append(c.spares, h.block)
	h.held = [slots]task{}
	if c.killed {
		return
	}
	if state == finished {
		go c.terminate(ErrTerminated)
		return
	}
	if !ready {
		c.failed(s, h.err)
		return
	}
	if !told {
		c.replaced++
	}
	c.refill(s)
	c.arrange(s)
}

// attend takes results until the pool has ended.
func (c *crew) attend() {
	var spin robust.Spin
	for !c.quit.Load() {
		c.mu.Lock()
		n := c.collect()
		if n > 0 {
			c.deal()
			c.steal(false)
		}
		short := false
		if n == 0 {
			for _, h := range c.hands {
				short = short || h.outstanding() > 1
			}
		}
		c.mu.Unlock()
		if n > 0 {
			runtime.Gosched() // first to those whose results these are
			continue
		}
		spins := spin.Begin()
		there := false
		for ; spins.Left > 0; spins.Left-- {
			if there = c.news(); there {
				break
			}
			atomics.Pause(robust.SpinPause)
		}
		spins.End(there)
		if there {
			continue
		}
		if short {
			ctx, cancel := context.WithTimeout(c.ctx, napTime)
			c.hungry.Wait(ctx, c.few)
			cancel()
			if c.news() {
				continue
			}
			c.mu.Lock()
			c.steal(true)
			c.mu.Unlock()
		}
		c.results.Wait(context.Background(), c.news)
	}
}

// napTime is how long the dealer waits for short tasks together.
const napTime = 100 * time.Microsecond

// few reports whether some worker has few tasks left to begin, and there are results of its.
func (c *crew) few() bool {
	if c.quit.Load() {
		return true
	}
	for _, h := range *c.seen.Load() {
		if uint32(h.desk.done.Load()) == h.taken.Load() {
			continue
		}
		turn := h.desk.turn.Load()
		if dealtOf(turn)-begunOf(turn) <= h.desk.low.Load() {
			return true
		}
	}
	return false
}

// Close takes no more tasks; what was given is finished. Join then waits for it and for the workers' end. Close
// may be called again.
func (p *Pool) Close() error {
	p.c.close(ErrClosed)
	runtime.KeepAlive(p)
	return nil
}

// watchIdle ends the workers when there is nothing more to do.
func (c *crew) watchIdle() {
	select {
	case <-c.idle:
	case <-c.ctx.Done():
		return
	}
	c.mu.Lock()
	c.ending = true
	for _, h := range c.hands {
		if h.state < stopped {
			c.stop(h)
		}
	}
	c.mu.Unlock()
	c.over()
}

// over waits for the workers' ends, and gives all back.
func (c *crew) over() {
	c.finish.Do(func() {
		for {
			c.mu.Lock()
			var dead chan struct{}
			if len(c.hands) > 0 {
				dead = c.hands[0].dead
			}
			hiring := false
			for _, s := range c.seats {
				hiring = hiring || s.hiring
			}
			c.mu.Unlock()
			if dead != nil {
				<-dead
				runtime.Gosched()
				continue
			}
			if !hiring {
				break
			}
			time.Sleep(time.Millisecond)
		}
		c.quit.Store(true)
		c.results.WakeAll()
		c.hungry.WakeAll()
		c.wait.Wait()
		decoded := make(chan struct{})
		go func() {
			c.decoding.Wait()
			close(decoded)
		}()
		select {
		case <-decoded:
		case <-c.ctx.Done(): // terminated: who decodes may take his time, with code of the user's
		}
		c.kill()
		c.seg.Close()
		close(c.ended)
	})
	<-c.ended
}

// Join waits until all that was given has its result and the workers have ended. It is ErrRunning before Close
// or Terminate, and ctx's error if that ends first.
func (p *Pool) Join(ctx context.Context) error {
	defer runtime.KeepAlive(p)
	p.c.mu.Lock()
	running := p.c.err == nil
	p.c.mu.Unlock()
	if running {
		return ErrRunning
	}
	select {
	case <-p.c.ended:
		return nil
	default:
	}
	select {
	case <-p.c.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Terminate kills the workers, completes what was unfinished with ErrTerminated, and returns when all that is
// done. After Close and Join it does nothing, so it suits a defer. It also runs when a Pool is garbage
// collected.
func (p *Pool) Terminate() error {
	p.c.terminate(ErrTerminated)
	runtime.KeepAlive(p)
	return nil
}

func (c *crew) terminate(why error) {
	c.mu.Lock()
	if !c.killed {
		c.killed = true
		if c.err == nil {
			c.err = ErrClosed
			if why != ErrTerminated {
				c.err = why
			}
		}
		for call := range c.open {
			c.cancelLocked(call, why, nil)
		}
		c.rest()
		c.seg.Close() // nobody needs to watch the workers die
		for _, h := range c.hands {
			h.process.Kill()
		}
	}
	c.mu.Unlock()
	c.kill()
	c.over()
}

// Stats are a pool's counters.
type Stats struct {
	Queued   int // tasks that no worker has begun
	Running  int
	Done     int // tasks that ended without an error
	Failed   int // tasks that ended with one
	Retried  int // runs of tasks whose worker had died
	Replaced int // workers
	Workers  []Worker
}

// Worker is one worker's part of Stats.
type Worker struct {
	Pid, Done int
	Task      string        // "" when idle
	Busy      time.Duration // in tasks that it has done
}

// Stats counts what happened so far.
func (p *Pool) Stats() Stats {
	defer runtime.KeepAlive(p)
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Stats{
		Queued: c.queued, Done: c.counts.done, Failed: c.counts.failed, Retried: c.counts.retried, Replaced: c.replaced,
	}
	for _, h := range c.hands {
		w := Worker{Pid: h.pid, Done: int(h.taken.Load()), Busy: time.Duration(h.desk.busy.Load())}
		begun := begunOf(h.desk.turn.Load())
		if h.plausible(begun) {
			s.Queued += int(h.dealt - begun)
			if uint32(h.desk.done.Load()) != begun {
				s.Running++
				w.Task = h.held[(begun-1)%slots].name()
			}
		}
		s.Workers = append(s.Workers, w)
	}
	return s
}

// name is that of the task's function.
func (t *task) name() string {
	if f := lookup(t.img.fn); f != nil {
		return f.name
	}
	return ""
}
