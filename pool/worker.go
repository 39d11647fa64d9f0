package pool

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/lifetime"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// workerArgs are what a worker is started with.
type workerArgs struct {
	Desk        *shm.Block
	Board       *shm.Block
	Initializer process.Call
	Memory      bool // is wanted to be known
}

// Objects are those that the initializer needs (process.Call).
func (a workerArgs) Objects() ([]shm.Object, error) { return a.Initializer.Objects() }

// workerFunc is what a worker runs.
var workerFunc = process.Register("pool worker", func(ctx context.Context, a workerArgs) error {
	// Of a Ctrl-C, which reaches the workers too, the parent makes what it likes. (Programs that tasks start
	// see it.)
	if !signal.Ignored(os.Interrupt) {
		signal.Reset(os.Interrupt)
		signal.Notify(make(chan os.Signal, 1), os.Interrupt)
	}
	if err := a.Initializer.Run(ctx); err != nil {
		return err
	}
	w, err := newWorker(a.Desk.Segment(), a.Desk.Bytes(), a.Board.Bytes())
	if err != nil {
		return err
	}
	w.measure = a.Memory
	w.desk.state.Store(ready) // PAIRS WITH hand.collect: load the state
	w.results.Wake()
	go w.listen()
	go w.work()
	select {
	case <-w.over:
	case <-ctx.Done(): // the parent's program has finished
		w.desk.state.Store(finished) // PAIRS WITH crew.leave: load the state
	}
	return nil
})

// The states of a desk, after 0.
const (
	ready    = 1 // its worker takes tasks
	finished = 2 // its worker was ended with the program of its parent
)

// worker is the worker's side of a desk.
type worker struct {
	seg   *shm.Segment
	desk  *desk
	slots *[slots]slot
	notes *ring.SPSC[note]

	tasks, told     *wait.Word // its own: there are tasks, notes
	results, hungry *wait.Word // its parent's: there are results, few tasks are left

	base    context.Context
	over    chan struct{}
	spin    robust.Spin
	free    func() bool // there is a task, or will be none
	measure bool
	alone   bool        // this process has one processor
	arrived func() bool // there is a note

	now, looked int64 // Monotonic: when the last task ended; when memory was looked at
	busy        uint64

	last *life // that of the last task, if its call has more

	mu    sync.Mutex
	lives map[uint64]*life
}

// life is the context of a call in this worker.
type life struct {
	call  uint64
	ctx   *lifetime.Context // nil: the note of its end came before the first task
	err   error             // of the note
	cause error
}

func newWorker(seg *shm.Segment, mem, board []byte) (w *worker, err error) {
	w = &worker{seg: seg, base: context.Background(), over: make(chan struct{}), lives: make(map[uint64]*life)}
	if len(mem) < deskSize() || len(board) < boardSize {
		return nil, errCorrupt
	}
	d, ringMem, s := deskOf(mem)
	w.desk, w.slots = d, s
	if w.notes, err = ring.OpenSPSC[note](ringMem, seg); err != nil {
		return nil, err
	}
	for _, word := range []struct {
		to  **wait.Word
		mem []byte
	}{{&w.tasks, d.tasks[:]}, {&w.told, d.notes[:]}, {&w.results, board}, {&w.hungry, board[wait.Size:]}} {
		if *word.to, err = wait.New(word.mem); err != nil {
			return nil, err
		}
	}
	w.alone = runtime.GOMAXPROCS(0) == 1
	w.arrived = func() bool { return w.notes.Len() > 0 }
	w.free = func() bool {
		turn := w.desk.turn.Load()
		return dealtOf(turn) != begunOf(turn) || w.desk.stop.Load() != 0
	}
	return w, nil
}

func begunOf(turn uint64) uint32 { return uint32(turn) }
func dealtOf(turn uint64) uint32 { return uint32(turn >> 32) }

func turnOf(begun, dealt uint32) uint64 { return uint64(dealt)<<32 | uint64(begun) }

// work does tasks until there will be no more. A task that ends its goroutine ends this one; another goes on.
func (w *worker) work() {
	w.now = sys.Monotonic()
	for {
		turn := w.desk.turn.Load() // PAIRS WITH hand.deal: CAS the turn
		if begunOf(turn) == dealtOf(turn) {
			if w.desk.stop.Load() != 0 { // it is set when all that was dealt has its result
				close(w.over)
				return
			}
			w.rest()
			continue
		}
		if !w.desk.turn.CompareAndSwap(turn, turn+1&(1<<32-1)|turn>>32<<32) { // PAIRS WITH hand.recall: CAS the turn
			continue
		}
		crashpoint.Hit("pool/worker/begun")
		if !w.task(begunOf(turn)) {
			return
		}
	}
}

// rest waits for a task.
func (w *worker) rest() {
	spins := w.spin.Begin()
	there := false
	for ; spins.Left > 0; spins.Left-- {
		if there = w.free(); there {
			break
		}
		atomics.Pause(robust.SpinPause)
	}
	spins.End(there)
	if !there {
		w.tasks.Wait(w.base, w.free)
	}
	w.now = sys.Monotonic()
}

// task does the task at pos, and publishes its result. It is false if the task has ended the goroutine, or is
// about to.
func (w *worker) task(pos uint32) bool {
	s := &w.slots[pos%slots]
	l := w.begin(s.call, s.time, s.kind&once != 0)
	ended := false
	defer func() {
		if ended {
			return
		}
		if v := recover(); v != nil {
			w.fail(s, process.AsRemotePanic(v, debug.Stack()))
			w.publish(pos, s, l)
			go w.work()
			return
		}
		w.fail(s, process.AsRemote(errGoexit))
		w.publish(pos, s, l)
		go w.work()
	}()
	if f := lookup(s.fn); f != nil {
		f.run(l.ctx, w, s)
	} else {
		w.fail(s, process.AsRemote(fmt.Errorf("pool: no task has the number %d", s.fn)))
	}
	ended = true
	w.publish(pos, s, l)
	return true
}

var errGoexit = errors.New("pool: the task called runtime.Goexit")

// publish says that the task at pos has its result in s.
func (w *worker) publish(pos uint32, s *slot, l *life) {
	now := sys.Monotonic()
	s.time = now - w.now
	w.busy += uint64(now - w.now)
	w.now = now
	w.end(l)
	if w.measure && now-w.looked > int64(10*time.Millisecond) {
		w.looked = now
		w.desk.memory.Publish(resident())
	}
	w.desk.busy.Publish(w.busy)
	crashpoint.Hit("pool/worker/written")
	w.desk.done.Publish(uint64(pos + 1)) // PAIRS WITH hand.collect: load done
	crashpoint.Hit("pool/worker/published")
	w.results.Wake()
	turn := w.desk.turn.Load()
	if dealtOf(turn)-begunOf(turn) <= w.desk.low.Load() {
		w.hungry.Wake()
	}
}

// resident is the memory that this process has, 0 if the system does not tell.
func resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text))
	if len(fields) < 2 {
		return 0
	}
	pages, _ := strconv.ParseUint(fields[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}

// argument is that of the task in s, as bytes in shared memory.
func (w *worker) argument(s *slot) ([]byte, error) {
	size := s.size
	if s.kind&inBlock == 0 {
		return s.data[:min(size, slotData)], nil
	}
	offset, _ := placed(s.data[:])
	return w.seg.Memory(offset, int(min(size, math.MaxInt)))
}

// patience is how long a worker tries to get memory for a result: what others hold is given back when their
// results are taken.
const patience = 2 * time.Second

// allocate takes memory for a result.
func (w *worker) allocate(n int) (offset uint64, mem []byte, err error) {
	for start, pause := time.Now(), time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		offset, mem, err = w.seg.Allocate(n)
		if !errors.Is(err, shm.ErrNoSpace) || time.Since(start) > patience {
			return offset, mem, err
		}
		w.results.Wake()
		time.Sleep(pause)
	}
}

// pass makes the memory at offset, which this worker has, part of the result in s.
func (w *worker) pass(s *slot, offset uint64) error {
	stamp, err := w.seg.Pass(offset, nil)
	if err != nil {
		return err
	}
	crashpoint.Hit("pool/worker/passed")
	place(s.data[:], offset, stamp)
	s.kind |= inBlock
	return nil
}

// fail makes an error the result in s.
func (w *worker) fail(s *slot, e *process.RemoteError) {
	data, _ := e.MarshalBinary() // returns none
	s.kind = failed
	if len(data) > slotData {
		offset, mem, err := w.allocate(len(data))
		if err == nil {
			copy(mem, data)
			s.size = uint64(len(data))
			if err = w.pass(s, offset); err == nil {
				return
			}
		}
		short := &process.RemoteError{Type: "error", Text: "(no room for its text)"}
		data, _ = short.MarshalBinary()
	}
	s.size = uint64(copy(s.data[:], data))
}

// begin is the life of a call, a task of which begins.
func (w *worker) begin(call uint64, deadline int64, only bool) *life {
	if l := w.last; l != nil && l.call == call {
		return l
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lives[call]
	if l == nil {
		l = &life{call: call}
		w.lives[call] = l
	}
	if l.ctx == nil {
		var at time.Time
		if deadline != 0 {
			at = time.Now().Add(time.Duration(deadline - sys.Monotonic()))
		}
		l.ctx = lifetime.New(at)
		if w.alone {
			l.ctx.Look(w.arrived)
		}
		if l.err != nil {
			l.ctx.End(l.err, l.cause)
		}
	}
	w.last = nil
	if !only {
		w.last = l
	}
	return l
}

// end ends the life of a call with one task. That of others ends with a note.
func (w *worker) end(l *life) {
	if w.last == l {
		return
	}
	w.mu.Lock()
	delete(w.lives, l.call)
	w.mu.Unlock()
	l.ctx.End(context.Canceled, nil)
}

// listen does what the notes say.
func (w *worker) listen() {
	for {
		n, ok := w.notes.TryPop()
		if ok {
			w.results.Wake() // the parent may have more than there was room for
			w.hear(&n)
			continue
		}
		if w.notes.Err() != nil || w.told.Wait(w.base, w.arrived) != nil {
			return
		}
	}
}

func (w *worker) hear(n *note) {
	w.mu.Lock()
	defer w.mu.Unlock()
	l := w.lives[n.call]
	switch n.kind &^ (noteBlock | noteLate) {
	case noteCancel:
		if l == nil {
			l = &life{call: n.call}
			w.lives[n.call] = l
		}
		l.err, l.cause = context.Canceled, w.cause(n)
		if n.kind&noteLate != 0 {
			l.err = context.DeadlineExceeded
		}
		if l.ctx != nil {
			l.ctx.End(l.err, l.cause)
		}
	case noteEnd:
		if l == nil {
			return
		}
		delete(w.lives, n.call)
		if l.ctx != nil {
			l.ctx.End(context.Canceled, nil)
		}
	}
}

// cause is the error in a note.
func (w *worker) cause(n *note) error {
	if n.size == 0 {
		return nil
	}
	data := n.data[:min(int(n.size), len(n.data))]
	if n.kind&noteBlock != 0 {
		offset, stamp := placed(n.data[:])
		mem, err := w.seg.Claim(offset, stamp, int(n.size))
		if err != nil {
			return nil
		}
		defer w.seg.Deallocate(offset)
		data = mem
	}
	e := new(process.RemoteError)
	if e.UnmarshalBinary(data) != nil {
		return nil
	}
	return e
}
