package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// job is one measurement: n operations of a row by an implementation.
type job struct {
	Row, Impl string
	N         int
	CPUs      []int
}

func (j job) String() string { return j.Row + "/" + j.Impl }

// part is what one process of a side written in Go is given.
type part struct {
	Job    job
	Side   int   // which of the processes
	Sides  int   // how many there are
	CPUs   []int // where it runs
	Shared objects
}

// objects are what the processes share. Each row uses some of it.
type objects struct {
	Words  *shm.Block // one word to a line: see word
	Lock   *locks.Lock
	RLock  *locks.RLock
	Plain  *array.Array[uint64] // one number that nothing protects
	Number *value.Atomic[int64]
	Six    *value.Value[six]
	Rings  [2]*shm.Block // there and back
	Big    [2]*shm.Block // the same, of rings that only their row has: see ringsOf
	Board  *array.Array[uint64]
	Permit *locks.Semaphore
	Turns  [2]*locks.Semaphore // there and back
	Events [2]*locks.Event     // there and back
	Queues queues
}

type six [6]int64

// The words that the processes meet at.
const (
	ready = iota // how many have begun
	ping
	pong
	first
	second
	third
	wordCount
)

const (
	line  = 128
	slots = 1024 // of a ring
)

func newObjects(seg *shm.Segment, row string) (o objects, err error) {
	var errs [16]error
	o.Words, errs[0] = shm.NewBlock(seg, "", wordCount*line)
	o.Lock, errs[1] = locks.NewLock(seg, "")
	o.Plain, errs[2] = array.New[uint64](seg, "", 1, array.Options{Unlocked: true})
	o.Number, errs[3] = value.NewAtomic[int64](seg, "", 0)
	o.Six, errs[4] = value.New(seg, "", six{})
	o.RLock, errs[12] = locks.NewRLock(seg, "")
	o.Board, errs[13] = array.New[uint64](seg, "", boardLines*line/8, array.Options{Unlocked: true})
	o.Big, errs[14] = bigRings(seg, row)
	o.Queues, errs[15] = newQueues(seg, row)
	o.Permit, errs[5] = locks.NewSemaphore(seg, "", 1)
	for i := range 2 {
		o.Rings[i], errs[6+i] = newRing(seg)
		o.Turns[i], errs[8+i] = locks.NewSemaphore(seg, "", 0)
		o.Events[i], errs[10+i] = locks.NewEvent(seg, "")
	}
	return o, errors.Join(errs[:]...)
}

func newRing(seg *shm.Segment) (*shm.Block, error) {
	b, err := shm.NewBlock(seg, "", ring.SPSCSize[uint64](slots))
	if err != nil {
		return nil, err
	}
	_, err = ring.NewSPSC[uint64](b.Bytes(), slots, seg)
	return b, err
}

func (o *objects) word(i int) *atomic.Uint32 { return o.Words.Uint32(i * line) }

// ours has the sides written in Go, by the names of row and implementation; each works in one process, or in two
// that know by their Side who they are.
var ours = map[string]func(ctx context.Context, p *part, m *meter) error{
	"cacheline.pingpong/shoal":      cacheline,
	"futex.pingpong/shoal":          futexTurns,
	"futex.pingpong/os-pipe":        fileTurns,
	"futex.pingpong/unix-socket":    fileTurns,
	"lock.uncontended/shoal":        lockPairs,
	"lock.uncontended/go-mutex":     mutexPairs,
	"lock.contended/shoal":          lockContended,
	"lock.contended/go-mutex":       mutexContended,
	"lock.contended.8/shoal":        lockContended,
	"lock.handoff/shoal":            lockHandoff,
	"lock.handoff.8/shoal":          lockHandoff,
	"lock.try/shoal":                lockTry,
	"lock.recover/shoal":            lockRecover,
	"rlock.pair/shoal":              rlockPairs,
	"sem.uncontended/shoal":         semPairs,
	"sem.contended/shoal":           semContended,
	"sem.pingpong/shoal":            semTurns,
	"event.wake/shoal":              eventTurns,
	"cond.pingpong/shoal":           condTurns,
	"cond.broadcast/shoal":          condBroadcast,
	"barrier.pass/shoal":            barrierPasses,
	"rwlock.read/shoal":             readPairs,
	"rwlock.write/shoal":            writePairs,
	"rwlock.mixed/shoal":            rwMixed,
	"rwlock.mixed/lock":             lockMixed,
	"wait.threads/shoal":            waitThreads,
	"wait.threads.many/shoal":       waitThreads,
	"wait.cancel/shoal":             waitCancel,
	"wait.cancel.many/shoal":        waitCancel,
	"wait.grouped/shoal":            waitGrouped,
	"wait.grouped/direct":           waitDirect,
	"wait.idle/shoal":               waitIdle,
	"spsc.stream/shoal":             spscStream,
	"spsc.stream/go-chan":           chanStream,
	"spsc.stream/os-pipe":           fileStream,
	"spsc.stream/unix-socket":       fileStream,
	"spsc.batch/shoal":              spscBatch,
	"spsc.pingpong/shoal":           spscTurns,
	"spsc.pingpong/go-chan":         chanTurns,
	"spsc.pingpong/os-pipe":         fileTurns,
	"spsc.pingpong/unix-socket":     fileTurns,
	"spsc.sleepwake/shoal":          spscSleepTurns,
	"mpmc.stream/shoal":             mpmcStream,
	"mpmc.stream/go-chan":           chanStream,
	"mpmc.stream.4/shoal":           mpmcStream,
	"mpmc.stream.64B/shoal":         mpmcLines,
	"mpmc.batch/shoal":              mpmcBatch,
	"mpmc.batch.4/shoal":            mpmcBatch,
	"bytes.stream.64B/shoal":        bytesStream,
	"bytes.stream.1K/shoal":         bytesStream,
	"bytes.stream.64K/shoal":        bytesStream,
	"broadcast.stream/shoal":        broadcastStream,
	"zerocopy.pingpong/shoal":       zerocopyTurns,
	"zerocopy.pingpong/os-pipe":     recordTurns,
	"zerocopy.pingpong/unix-socket": recordTurns,
	"zerocopy.loan/shoal":           loanTurns,
	"zerocopy.loan/os-pipe":         recordTurns,
	"zerocopy.loan/unix-socket":     recordTurns,
	"queue.stream/shoal":            queueStream,
	"queue.stream/ring":             mpmcStream,
	"queue.stream.struct/shoal":     queueFields,
	"queue.stream.struct/go-chan":   chanFields,
	"queue.putget/shoal":            queuePutGet,
	"queue.putget/go-chan":          chanStream,
	"queue.batch/shoal":             queueBatch,
	"queue.pingpong/shoal":          queueSpinTurns,
	"queue.sleepwake/shoal":         queueTurns,
	"queue.big/shoal":               queueFloats,
	"codec.struct/shoal":            codecFields,
	"codec.floats/shoal":            codecFloats,
	"value.add/shoal":               valueAdd,
	"value.update/shoal":            valueUpdate,
	"process.startjoin/shoal":       startJoin,
	"pool.start/shoal":              poolStart,
	"pool.apply/shoal":              poolApply,
	"pool.apply/go-chan":            chanApply,
	"pool.map1/shoal":               mapping(incrementFunc, someNumbers, rightNumber, pool.MapOptions{ChunkSize: 1}),
	"pool.map1/go-chan":             chanMapping(increment, someNumbers, rightNumber),
	"pool.map1.struct/shoal":        mapping(incrementFirstFunc, someFields, rightFields, pool.MapOptions{ChunkSize: 1}),
	"pool.map1.struct/go-chan":      chanMapping(incrementFirst, someFields, rightFields),
	"pool.imapunordered/shoal":      poolUnordered,
	"pool.imapunordered/go-chan":    chanUnordered,
	"pool.mapbig/shoal":             mapping(addUpFunc, someArrays, rightSum, pool.MapOptions{}),
	"pool.mapbig/go-chan":           chanMapping(addUp, someArrays, rightSum),
	"pool.mapbig.back/shoal":        mapping(scaleFunc, someArrays, rightArray, pool.MapOptions{}),
	"pool.mapbig.back/go-chan":      chanMapping(scale, someArrays, rightArray),
	"pool.idle/shoal":               poolIdle,
	"death.notice/shoal":            deathNotice,
	"death.notice/pidfd":            deathPidfd,
	"death.notice.0/shoal":          deathNotice,
	"death.notice.0/pidfd":          deathPidfd,
	"death.notice.256M/shoal":       deathNotice,
	"death.notice.256M/pidfd":       deathPidfd,
	"death.notice.1G/shoal":         deathNotice,
	"death.notice.1G/pidfd":         deathPidfd,
	"death.notice.4G/shoal":         deathNotice,
	"death.notice.4G/pidfd":         deathPidfd,
	"shm.create/shoal":              create,
	"alloc.pair/shoal":              allocPairs,
	"object.pair/shoal":             objectPairs,
}

// alone are the implementations within one process, whatever the row.
func alone(impl string) bool { return impl == goChan || impl == goLock }

// processes is how many of an implementation are bound to CPUs and say where they ran.
func (r *row) processes(impl string, mode Mode) int {
	switch {
	case alone(impl):
		return 1
	case r.bound != 0:
		return r.bound
	case mode == SameCPU, mode == TwoCPUs:
		return 2
	}
	return 1
}

// runOurs measures a side written in Go once, in so many fresh processes.
func runOurs(ctx context.Context, j job, mode Mode, sides int) (s sample, err error) {
	seg, err := shm.Anonymous(0)
	if err != nil {
		return s, err
	}
	defer seg.Close()
	o, err := newObjects(seg, j.Row)
	if err != nil {
		return s, err
	}
	if err := lockOnce(ctx, o.Lock); err != nil {
		return s, err
	}
	files, err := connect(j)
	if err != nil {
		return s, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // one side without the other would wait for ever
	var ps []*process.Process
	out := make([]bytes.Buffer, sides)
	for i := range sides {
		a := part{j, i, sides, j.CPUs, o}
		if sides == 2 && mode != AnyCPU {
			a.CPUs = j.CPUs[i : i+1]
		}
		var p *process.Process
		p, err = process.Start(ctx, partFunc, a, process.Options{Stdout: &out[i], Files: files[i%2], Grace: -1})
		if err != nil {
			break
		}
		ps = append(ps, p)
		go func() {
			if p.Join(ctx) != nil {
				cancel()
			}
		}()
	}
	for _, f := range append(files[0], files[1]...) {
		f.Close()
	}
	if err != nil {
		cancel()
	}
	err = errors.Join(err, process.JoinAll(context.Background(), ps...))
	if err != nil {
		return s, err
	}
	for i := range out {
		t, err := parseSample(out[i].Bytes())
		if err != nil {
			return s, err
		}
		s.join(t)
	}
	return s, s.checkShares(j.N)
}

// connect makes what an implementation talks through instead of shared memory: for each side what it writes to, and what it
// reads from. Side 0 speaks first.
func connect(j job) (files [2][]*os.File, err error) {
	switch j.Impl {
	case osPipe:
		var r, w [2]*os.File
		for i := range r {
			if r[i], w[i], err = os.Pipe(); err != nil {
				return files, err
			}
		}
		return [2][]*os.File{{w[0], r[1]}, {w[1], r[0]}}, nil
	case socket:
		pair := sys.ControlPair
		if strings.HasPrefix(j.Row, "zerocopy.") {
			pair = streamPair
		}
		a, b, err := pair()
		return [2][]*os.File{{a}, {b}}, err
	}
	return files, nil
}

// partFunc is a process of a side written in Go.
var partFunc = process.Register("bench", func(ctx context.Context, p part) error {
	m, err := newMeter(p.Job.N, p.CPUs...)
	if err != nil {
		return err
	}
	as := p.Job
	if as.Impl == shoalP1 {
		as.Impl = shoal
		runtime.GOMAXPROCS(1)
		if err := os.Setenv("GOMAXPROCS", "1"); err != nil { // for its children, if it has any
			return err
		}
	}
	f, ok := ours[as.String()]
	if !ok {
		return fmt.Errorf("bench: nobody measures %v", p.Job)
	}
	if err := f(ctx, &p, m); err != nil {
		return fmt.Errorf("bench: %v, process %d: %w", p.Job, p.Side, err)
	}
	runtime.KeepAlive(p)
	return m.print()
})

// meet waits until all sides are here, two goroutines if there is one process. It looks for a moment, so that sides that come
// at the same time also leave at the same time, and then sleeps, so that it disturbs nobody who has yet to come.
func (p *part) meet() {
	wait.Settle()
	w, all := p.Shared.word(ready), uint32(max(2, p.Sides))
	if w.Add(1) == all {
		futex.Wake(w, int(all))
	}
	for looks := 0; ; looks++ {
		here := w.Load()
		if here == all {
			return
		}
		if looks < 1000 {
			runtime.Gosched()
			continue
		}
		futex.Wait(context.Background(), w, here) // without an error, for nothing ends it but a wake or time
	}
}

// turns is what the rows that go there and back have in common: side 0 measures trips, side 1 answers. Both
// are told the number of the trip.
func (p *part) turns(m *meter, trip, answer func(i int) error) error {
	p.meet()
	if p.Side == 0 {
		return m.trips(trip)
	}
	for i := range all(p.Job.N) {
		if err := answer(i); err != nil {
			return err
		}
	}
	return nil
}
