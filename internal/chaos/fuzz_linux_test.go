package chaos_test

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// Places of the format (docs/LAYOUT.md) that a vandal knows.
const (
	sizeAt      = 16
	slotsUsedAt = 128
	bucketsAt   = 4096
	hintsAt     = bucketsAt + 8*1024
	slotsAt     = hintsAt + 8*8*256
	heapAt      = slotsAt + 128*4096
	blockHead   = 128
	stateAt     = 8
	nameLenAt   = 48
	moreAt      = 72
	openAt      = 96
	live, more  = 1, 5 // states
)

// flagged is an item with bools, which are made valid when they are read.
type flagged struct {
	A bool
	N uint32
	B [3]bool
}

// target is a segment with one of everything, and what the vandal knows of it. Handles are nil where Open failed.
type target struct {
	seg   *shm.Segment
	file  *os.File // rewrites the segment by system calls, which no call of this process sees coming
	size  int64
	gifts []*inherit.Gift // participants that live, or died without anybody's notice
	kept  uint64          // memory that was allocated
	fake  shm.Handle      // an object that this process does not have open, but eight others do

	places []int64  // offsets of words that mean something
	words  []uint64 // what such words may contain

	block  *shm.Block
	lock   *locks.Lock
	values []*value.Value[flagged] // with a lock of its own, a given one, and none
	atomic *value.Atomic[int]
	coded  *value.Coded
	arrays []*array.Array[flagged] // with a lock of its own, a given one, and none
	plain  *array.Array[int64]
	ring   *ring.SPSC[flagged]
	sems   []*locks.Semaphore // with permits that are counted, and that come back
	event  *locks.Event
	conds  []*locks.Condition // on a lock of its own, a given one, and an RLock
	meet   *locks.Barrier
	rw     *locks.RWLock
	items  *queue.Queue[flagged]
	texts  *queue.JoinableQueue[string]
	freed  []shm.Object // but open
	refs   []shm.Object // all of them
}

var arrangement = []struct {
	name     string
	given    bool
	unlocked bool
}{{name: "own"}, {"given", true, false}, {"none", false, true}}

var semaphores = []struct {
	name string
	o    locks.SemaphoreOptions
}{{name: "counted"}, {"cells", locks.SemaphoreOptions{Recover: true}}}

var conditions = []string{"cond own", "cond given", "cond rlock"}

// furtherWaiters makes the first condition have further records: all others are taken by others.
func (v *target) furtherWaiters(ctx context.Context) error {
	c := v.conds[0]
	at := int64(c.Handle().Offset) + blockHead + 128
	for i := range int64(8) {
		v.put(at+32*i, uint64(v.gifts[i%2].Owner))
		v.put(at+32*i+8, 1<<32) // one waits
	}
	if err := c.Acquire(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Wait(ctx); err != context.Canceled {
		return fmt.Errorf("Wait: %v", err)
	}
	return c.Release()
}

// build makes one of everything in a new segment.
func build(t *testing.T, name string, size int) *target {
	v := new(target)
	var err error
	if name == "" {
		v.seg, err = shm.Anonymous(size)
	} else {
		v.seg, err = shm.Create(name, size)
	}
	proctest.Must(t, err)
	for i := range 3 {
		g, err := v.seg.Prepare()
		proctest.Must(t, err)
		v.gifts = append(v.gifts, g)
		if i == 2 {
			g.Alive.Close()
		}
	}
	v.file = v.gifts[0].Memory
	info, err := v.file.Stat()
	proctest.Must(t, err)
	v.size = info.Size()

	var errs [10]error
	v.block, errs[0] = shm.NewBlock(v.seg, "block", 300)
	v.lock, errs[1] = locks.NewLock(v.seg, "lock")
	for _, a := range arrangement {
		o := value.Options{Unlocked: a.unlocked}
		if a.given {
			o.Lock = v.lock
		}
		x, err := value.New(v.seg, "value "+a.name, flagged{A: true}, o)
		proctest.Must(t, err)
		v.values = append(v.values, x)
		y, err := array.From(v.seg, "array "+a.name, make([]flagged, 20), array.Options(o))
		proctest.Must(t, err)
		v.arrays = append(v.arrays, y)
	}
	v.atomic, errs[2] = value.NewAtomic(v.seg, "atomic", 1)
	v.plain, errs[3] = array.New[int64](v.seg, "plain", 9)
	v.coded, errs[9] = value.NewCode(v.seg, "coded", 'u', 'x')
	b, err := shm.NewBlock(v.seg, "ring", ring.SPSCSize[flagged](8))
	proctest.Must(t, err)
	v.ring, errs[4] = ring.NewSPSC[flagged](b.Bytes(), 8, v.seg)
	for _, x := range semaphores {
		s, err := locks.NewSemaphore(v.seg, x.name, 5, x.o)
		proctest.Must(t, err)
		proctest.Must(t, s.Acquire(t.Context()))
		v.sems = append(v.sems, s)
	}
	v.event, err = locks.NewEvent(v.seg, "event")
	proctest.Must(t, err)
	r, err := locks.NewRLock(v.seg, "rlock")
	proctest.Must(t, err)
	for i, on := range []locks.Mutex{nil, v.lock, r.Owner()} {
		c, err := locks.NewCondition(v.seg, conditions[i], on)
		proctest.Must(t, err)
		v.conds = append(v.conds, c)
		v.refs = append(v.refs, c)
	}
	proctest.Must(t, v.furtherWaiters(t.Context()))
	v.meet, err = locks.NewBarrier(v.seg, "barrier", 2)
	proctest.Must(t, err)
	proctest.Must(t, v.meet.Join())
	v.rw, err = locks.NewRWLock(v.seg, "rwlock")
	proctest.Must(t, err)
	proctest.Must(t, v.rw.RAcquire(t.Context())) // now there is a cell
	proctest.Must(t, v.rw.RRelease())
	v.refs = append(v.refs, v.meet, v.rw)
	v.items, err = queue.New[flagged](v.seg, "queue", 3)
	proctest.Must(t, err)
	proctest.Must(t, v.items.TryPut(flagged{A: true}))
	v.texts, err = queue.NewJoinable[string](v.seg, "texts", 0)
	proctest.Must(t, err)
	for range 3 {
		proctest.Must(t, errors.Join(v.texts.TryPut("text"), v.texts.TryPut(strings.Repeat("text", 100)))) // is passed
	}
	_, err = v.texts.TryGet()
	proctest.Must(t, err)
	v.refs = append(v.refs, v.items, v.texts)
	free, err := shm.NewBlock(v.seg, "", 100)
	proctest.Must(t, err)
	errs[5] = shm.Free(free)
	removed, err := value.New(v.seg, "removed", 1)
	proctest.Must(t, err)
	errs[6] = v.seg.Remove("removed")
	v.freed = []shm.Object{free, removed}
	v.seg.Waiting(v.block.Uint32(0), time.Now(), 1)
	v.kept, _, errs[7] = v.seg.Allocate(500)
	large, _, err := v.seg.Allocate(70_000) // too large to keep: a free block, and a hint
	proctest.Must(t, err)
	errs[8] = v.seg.Deallocate(large)
	proctest.Must(t, errors.Join(errs[:]...))
	v.crowd(t)

	v.refs = append(v.refs, v.block, v.lock, v.atomic, v.plain, v.coded, b, free, removed, v.sems[0], v.sems[1], v.event)
	for i := range v.values {
		v.refs = append(v.refs, v.values[i], v.arrays[i])
	}
	v.survey()
	return v
}

// crowd makes an object that others have open, as many as its header lists, and gives the block a list of more.
func (v *target) crowd(t *testing.T) {
	at, _, err := v.seg.Allocate(64)
	proctest.Must(t, err)
	head := make([]byte, blockHead)
	v.file.ReadAt(head, int64(v.block.Handle().Offset))
	v.fake = v.block.Handle()
	v.fake.Offset, v.fake.Generation = at-blockHead, 5
	binary.LittleEndian.PutUint64(head[stateAt:], 5<<4|live)
	binary.LittleEndian.PutUint64(head[nameLenAt-8:], 64)
	binary.LittleEndian.PutUint32(head[nameLenAt:], 0)
	for i := range 8 {
		binary.LittleEndian.PutUint32(head[openAt+4*i:], v.gifts[i%2].Owner)
	}
	v.file.WriteAt(head[8:], int64(v.fake.Offset)+8)

	at, mem, err := v.seg.Allocate(128)
	proctest.Must(t, err)
	clear(mem)
	v.put(int64(at)+8, v.block.Handle().Offset)
	v.put(int64(at)-blockHead+stateAt, uint64(v.seg.Self())<<32|more)
	v.put(int64(v.block.Handle().Offset)+moreAt, at-blockHead)
}

func (v *target) get(at int64) uint64 {
	var b [8]byte
	v.file.ReadAt(b[:], at)
	return binary.LittleEndian.Uint64(b[:])
}

func (v *target) put(at int64, x uint64) {
	v.file.WriteAt(binary.LittleEndian.AppendUint64(nil, x), at)
}

// giveUp ends the other participants.
func (v *target) giveUp() {
	for _, g := range v.gifts {
		g.Abandon()
	}
	v.gifts = nil
}

// survey finds out what a vandal may want to know.
func (v *target) survey() {
	span := func(from int64, words int) {
		for i := range words {
			v.places = append(v.places, from+8*int64(i))
		}
	}
	span(0, 8)
	for i := range 4 {
		span(128*int64(i+1), 2)
	}
	span(3840, 2)
	tables := make([]byte, slotsAt)
	v.file.ReadAt(tables, 0)
	for at := bucketsAt; at < slotsAt; at += 8 {
		if binary.LittleEndian.Uint64(tables[at:]) != 0 {
			span(int64(at), 1)
		}
	}
	span(hintsAt, 30)
	span(slotsAt, 6)
	ids := []uint64{uint64(v.seg.Self()), 0, 1<<32 - 1}
	for _, g := range v.gifts {
		ids = append(ids, uint64(g.Owner))
		span(slotsAt+128*int64(g.Owner&0xfff), 6)
	}
	top := int64(v.get(384))
	v.words = append(ids, 1, 2, 127, 128, 1<<12, 1<<31, 1<<63, uint64(top), uint64(v.size), uint64(v.size)-128, heapAt)
	for at := int64(heapAt); at < top; at += 128 * int64(uint32(v.get(at))) {
		span(at, 20)
		v.words = append(v.words, uint64(at), uint64(at)/128, uint64(at)+blockHead)
	}
	r := int64(v.ringHandle().Offset) + blockHead
	span(r+128, 2)
	span(r+256, 2)
	span(top, 2)
}

func (v *target) ringHandle() (h shm.Handle) {
	for o := range v.seg.Objects() {
		if o.Name == "ring" {
			h = o.Handle
		}
	}
	return h
}

// editSize is how many bytes say what a vandal does once: 4 of place, 1 of kind, 1 of size, 1 of when, 8 of content.
const editSize = 15

// vandalise does all that data says for one of three times.
func (v *target) vandalise(data []byte, when byte) {
	for ; len(data) >= editSize; data = data[editSize:] {
		if data[6]%3 != when {
			continue
		}
		place := func(x uint32) (at int64) {
			if x&1 == 0 {
				return v.places[int(x>>1)%len(v.places)]
			}
			if at = int64(x>>3) % max(v.size, 1); x&2 == 0 {
				at &^= 7
			}
			if x&4 == 0 { // what is used is at the beginning
				at = slotsAt/2 + at%(256<<10)
			}
			return at
		}
		at := place(binary.LittleEndian.Uint32(data))
		c := binary.LittleEndian.Uint64(data[7:])
		word := func(x uint64) uint64 { return v.words[x&0xff%uint64(len(v.words))] }
		b := make([]byte, 128)
		n := 1 << (data[5] & 3)
		x := c
		switch data[4] % 8 {
		case 1: // what may stand there
			x = word(c)
		case 2: // the word of an owner, or a length
			x = word(c)<<32 | c>>8&0xff
		case 3: // the state of a block
			x = word(c)<<32*(c>>16&1) | c>>8&0xff<<4 | c>>20&7
		case 4: // a link
			x = word(c)/128 | c>>8&1<<36 | c>>16&3<<37
		case 5:
			x = v.get(at) ^ 1<<(c&63)
		case 6: // what stands elsewhere, up to a whole header
			n = 8 << (data[5] % 5)
			v.file.ReadAt(b, place(uint32(c)))
			x = binary.LittleEndian.Uint64(b)
		}
		binary.LittleEndian.PutUint64(b, x)
		if at >= 0 && at < v.size { // a write beyond the end would make the file longer
			v.file.WriteAt(b[:min(int64(n), v.size-at)], at)
		}
	}
}

// closed calls f, which may panic with os.ErrClosed if o is closed.
func closed(o interface{ Closed() bool }, f func()) {
	defer func() {
		if e := recover(); e != nil && !(e == os.ErrClosed && o.Closed()) {
			panic(fmt.Sprintf("%v\n\n%s", e, debug.Stack()))
		}
	}()
	f()
}

// over is the error of a call that says that memory is not there, though nobody took it away.
func over(errs ...error) {
	if err := errors.Join(errs...); err != nil && strings.Contains(err.Error(), "cut off") {
		panic(err)
	}
}

// open finds or makes all that has a name.
func (v *target) open() {
	v.block, _ = shm.OpenBlock(v.seg, "block")
	v.lock, _ = locks.OpenLock(v.seg, "lock")
	v.values, v.arrays, v.refs, v.sems = nil, nil, nil, nil
	for _, x := range semaphores {
		if s, err := locks.OpenOrNewSemaphore(v.seg, x.name, 3, x.o); err == nil {
			v.sems = append(v.sems, s)
			v.refs = append(v.refs, s)
		}
	}
	v.event, _ = locks.OpenEvent(v.seg, "event")
	v.conds = nil
	for _, name := range conditions {
		if c, err := locks.OpenOrNewCondition(v.seg, name); err == nil {
			v.conds = append(v.conds, c)
			v.refs = append(v.refs, c)
		}
	}
	v.meet, _ = locks.OpenOrNewBarrier(v.seg, "barrier", 2)
	v.rw, _ = locks.OpenOrNewRWLock(v.seg, "rwlock")
	v.items, _ = queue.OpenOrNew[flagged](v.seg, "queue", 3)
	v.texts, _ = queue.OpenOrNewJoinable[string](v.seg, "texts", 0)
	for _, a := range arrangement {
		o := value.Options{Unlocked: a.unlocked}
		if a.given && v.lock != nil {
			o.Lock = v.lock
		}
		locks.OpenLock(v.seg, "value "+a.name)
		if x, err := value.Open[flagged](v.seg, "value "+a.name); err == nil {
			v.values = append(v.values, x)
		}
		if x, err := value.OpenOrNew(v.seg, "value "+a.name, flagged{}, o); err == nil {
			v.values = append(v.values, x)
			v.refs = append(v.refs, x)
		}
		if x, err := array.Open[flagged](v.seg, "array "+a.name); err == nil {
			v.arrays = append(v.arrays, x)
		}
		if x, err := array.OpenOrNew[flagged](v.seg, "array "+a.name, 5, array.Options(o)); err == nil {
			v.arrays = append(v.arrays, x)
			v.refs = append(v.refs, x)
		}
	}
	v.atomic, _ = value.OpenAtomic[int](v.seg, "atomic")
	v.plain, _ = array.Open[int64](v.seg, "plain")
	v.coded, _ = value.OpenCode(v.seg, "coded")
	v.ring = nil
	if b, err := shm.OpenBlock(v.seg, "ring"); err == nil {
		v.ring, _ = ring.OpenSPSC[flagged](b.Bytes(), v.seg)
		v.refs = append(v.refs, b)
	}
}

// useMutex calls every method of a lock.
func useMutex(m locks.Mutex, ctx context.Context) {
	m.Locked()
	m.Release()
	if m.Acquire(ctx) == nil {
		m.TryAcquire()
		m.Release()
	}
	if ok, _ := m.TryAcquire(); ok {
		m.Release()
	}
	locks.With(ctx, m, func() error { return nil })
	if m.Recover(ctx, func() error { return errors.New("not yet") }) == nil || m.Recover(ctx, nil) == nil {
		m.Release()
	}
}

// useSemaphore calls every method of a semaphore.
func useSemaphore(s *locks.Semaphore, ctx context.Context) {
	s.Value()
	s.Release()
	if s.Acquire(ctx) == nil {
		s.TryAcquire()
		s.Release()
	}
	locks.With(ctx, s, func() error { return nil })
}

// useEvent calls every method of an event.
func useEvent(e *locks.Event, ctx context.Context) {
	e.Wait(ctx)
	e.Clear()
	e.Wait(ctx)
	e.Set()
	e.IsSet()
}

// useCondition calls every method of a condition.
func useCondition(c *locks.Condition, ctx context.Context) {
	_ = c.String()
	c.Notify(1)
	c.Wait(ctx)
	c.Release()
	locks.With(ctx, c, func() error {
		c.Wait(ctx)
		c.Notify(2)
		c.WaitFor(ctx, func() bool { return false })
		return c.NotifyAll()
	})
	if ok, _ := c.TryAcquire(); ok {
		c.Release()
	}
	useMutex(c.Mutex(), ctx)
}

// useBarrier calls every method of a barrier.
func useBarrier(b *locks.Barrier, ctx context.Context) {
	_ = b.String()
	b.Join()
	b.Wait(ctx)
	b.Reset()
	b.Wait(ctx)
	b.Abort()
	b.Reset()
	b.Parties()
}

// useRWLock calls every method of a reader-writer lock.
func useQueue[T any](q *queue.Queue[T], ctx context.Context, v T) {
	var dst [3]T
	q.TryPut(v)
	q.Put(ctx, v)
	q.PutMany(ctx, []T{v, v})
	q.TryGet()
	q.Get(ctx)
	q.GetMany(ctx, dst[:])
	closed(q, func() { q.Len() })
	closed(q, func() { q.Cap() })
	q.Shutdown()
}

func useRWLock(l *locks.RWLock, ctx context.Context) {
	_ = l.String()
	l.RRelease()
	l.Release()
	if l.RAcquire(ctx) == nil {
		l.TryRAcquire()
		l.TryAcquire()
		l.RRelease()
	}
	if ok, _ := l.TryRAcquire(); ok {
		l.RRelease()
	}
	if l.Acquire(ctx) == nil {
		l.TryRAcquire()
		l.Release()
	}
	if ok, _ := l.TryAcquire(); ok {
		l.Release()
	}
	locks.With(ctx, l, func() error { return nil })
	if l.Recover(ctx, func() error { return errors.New("not yet") }) == nil || l.Recover(ctx, nil) == nil {
		l.Release()
	}
}

// useValue calls every method of a value.
func useValue(x *value.Value[flagged], ctx context.Context) {
	x.Get(ctx)
	x.Set(ctx, flagged{B: [3]bool{true}})
	x.Update(ctx, func(f *flagged) error { f.N++; f.A = !f.A; return nil })
	closed(x, func() { x.Store(x.Load()) })
	closed(x, func() {
		if m := x.Mutex(); m != nil {
			useMutex(m, ctx)
		}
	})
}

// useArray calls every method of an array.
func useArray[T any](x *array.Array[T], ctx context.Context) {
	n := x.Len()
	change := func(xs []T) error {
		copy(xs, xs[len(xs)/2:])
		return nil
	}
	x.Update(ctx, change)
	x.View(change)
	if n > 0 {
		e, _ := x.Get(ctx, n-1)
		x.Set(ctx, 0, e)
		closed(x, func() { x.Store(n-1, x.Load(0)) })
		closed(x, func() {
			dst := make([]T, min(n, 50))
			x.WriteAt(dst[:x.ReadAt(dst, n/2)], n/3)
		})
		closed(x, func() {
			for range x.All() {
			}
		})
	}
	closed(x, func() {
		if m := x.Mutex(); m != nil {
			useMutex(m, ctx)
		}
	})
}

// useCodes calls every method of what has a type code.
func useCodes(x *value.Coded, y *array.Coded, ctx context.Context) {
	if x != nil {
		n, _ := x.Get(ctx)
		x.Set(ctx, n)
		if of, err := value.Of[int32](x); err == nil {
			closed(of, func() { of.Store(of.Load()) })
		}
		x.Code()
	}
	if y != nil && y.Len() > 0 {
		n, _ := y.Get(ctx, y.Len()-1)
		y.Set(ctx, 0, n)
		if of, err := array.Of[int64](y); err == nil {
			closed(of, func() { of.Store(0, of.Load(of.Len()-1)) })
		}
		y.Code()
	}
}

// useRing calls every method of a ring.
func useRing(q *ring.SPSC[flagged]) {
	var some [5]flagged
	q.Produce()
	q.Consume()
	for range 3 {
		q.TryPush(flagged{A: true})
		q.TryPushMany(some[:])
		q.Commit(len(q.Reserve(3)))
		q.TryPop()
		q.Advance(len(q.Peek(3)))
		q.TryPopMany(some[:])
		q.Len()
		q.Cap()
		q.Err()
	}
}

// use calls every method of all that is open.
func (v *target) use(ctx context.Context) {
	if v.block != nil {
		b := v.block.Bytes()
		for i := 0; i+4 <= min(len(b), 512); i += 4 {
			v.block.Uint32(i).Add(1)
		}
	}
	if v.lock != nil {
		useMutex(v.lock, ctx)
	}
	for _, x := range v.sems {
		useSemaphore(x, ctx)
	}
	if v.event != nil {
		useEvent(v.event, ctx)
	}
	for _, c := range v.conds {
		useCondition(c, ctx)
	}
	if v.meet != nil {
		useBarrier(v.meet, ctx)
	}
	if v.rw != nil {
		useRWLock(v.rw, ctx)
	}
	if v.items != nil {
		useQueue(v.items, ctx, flagged{A: true})
	}
	if v.texts != nil {
		useQueue(&v.texts.Queue, ctx, strings.Repeat("long", 100))
		v.texts.TaskDone()
		v.texts.Join(ctx)
		closed(v.texts, func() { v.texts.Unfinished() })
	}
	for _, x := range v.values {
		useValue(x, ctx)
	}
	for _, x := range v.arrays {
		useArray(x, ctx)
	}
	if v.plain != nil {
		useArray(v.plain, ctx)
	}
	useCodes(v.coded, nil, ctx)
	if a := v.atomic; a != nil {
		closed(a, func() { a.Store(a.Swap(a.Add(2))) })
		closed(a, func() { a.CompareAndSwap(a.Load(), 3) })
	}
	if v.ring != nil {
		useRing(v.ring)
	}
	for _, o := range append(v.refs, v.freed...) {
		o.Segment()
		o.Name()
		data, err := o.MarshalBinary()
		_, inspected := locks.Inspect(o)
		over(err, inspected)
		var (
			b shm.Block
			l locks.Lock
			x value.Value[flagged]
			y array.Array[flagged]
			z value.Atomic[int]
			c value.Coded
			d array.Coded
			s locks.Semaphore
			u locks.BoundedSemaphore
			e locks.Event
			w locks.Condition
			m locks.Barrier
			p locks.RWLock
		)
		if w.UnmarshalBinary(data) == nil {
			useCondition(&w, ctx)
			w.Close()
		}
		if m.UnmarshalBinary(data) == nil {
			useBarrier(&m, ctx)
			m.Close()
		}
		if p.UnmarshalBinary(data) == nil {
			useRWLock(&p, ctx)
			p.Close()
		}
		if s.UnmarshalBinary(data) == nil {
			useSemaphore(&s, ctx)
			s.Close()
		}
		over(u.UnmarshalBinary(data))
		if e.UnmarshalBinary(data) == nil {
			useEvent(&e, ctx)
		}
		if l.UnmarshalBinary(data) == nil {
			useMutex(&l, ctx)
		}
		if x.UnmarshalBinary(data) == nil {
			useValue(&x, ctx)
			x.Close()
		}
		if y.UnmarshalBinary(data) == nil {
			useArray(&y, ctx)
			y.Close()
		}
		if c.UnmarshalBinary(data) == nil {
			useCodes(&c, nil, ctx)
			c.Close()
		}
		if d.UnmarshalBinary(data) == nil {
			useCodes(nil, &d, ctx)
			d.Close()
		}
		over(b.UnmarshalBinary(data), z.UnmarshalBinary(data))
	}
}

// look calls the methods of a segment that change nothing.
func (v *target) look() {
	s := v.seg
	over(s.Check())
	s.Info()
	s.Name()
	n := 0
	for o := range s.Objects() {
		var b shm.Block
		if n++; n > 30 {
			break
		}
		if data, err := o.Handle.MarshalBinary(); err == nil && s.Self() != 0 {
			over(b.UnmarshalBinary(data))
		}
	}
	ids := []uint32{0, 1, s.Self() + 1, s.Self() + 1<<12, 1<<32 - 1}
	for _, g := range v.gifts {
		ids = append(ids, g.Owner)
	}
	for _, id := range append(ids, s.Self()) {
		s.KnownDead(id)
		s.Dead(id)
	}
	s.Participants()
	s.Memory(v.kept, 500)
	s.Memory(heapAt, 1<<19)
	shm.Stat(s.Name())
}

// work calls the others.
func (v *target) work() {
	s := v.seg
	for _, n := range []int{0, 100, 130, 1000, 70_000, 1 << 21} {
		if at, mem, err := s.Allocate(n); err == nil {
			clear(mem)
			s.Memory(at, n)
			over(s.Deallocate(at))
		} else {
			over(err)
		}
		if b, err := shm.NewBlock(s, "", n); err == nil {
			clear(b.Bytes())
			over(shm.Free(b))
			b.Close()
		} else {
			over(err)
		}
	}
	over(s.Deallocate(v.kept))
	var fake shm.Block
	for v.fake.Generation = range uint32(7) {
		_, err := shm.Kind{Name: "block"}.OpenHandle(&fake.Ref, v.fake)
		over(err)
	}
	if g, err := s.Prepare(); err == nil {
		g.Abandon()
	} else {
		over(err)
	}
	_, err := s.Repair()
	over(err)
	for _, name := range []string{"block", "new", "removed", "value own", "array given"} {
		if b, err := shm.NewBlock(s, name, 300); err == nil {
			clear(b.Bytes())
		}
		if l, err := locks.OpenOrNewLock(s, name); err == nil {
			l.Locked()
		}
		if a, err := value.OpenOrNewAtomic(s, name, 1); err == nil {
			a.Add(1)
		}
		over(s.Remove(name))
	}
	_, err = s.Repair()
	over(err)
	locks.Deadlocks(s)
}

// fuzzNames begins the names of the segments of one run. A worker that is fuzzing may be ended at any time: it names them
// after the process that started it, which removes what is left.
func fuzzNames() string {
	pid := os.Getpid()
	if f := flag.Lookup("test.fuzzworker"); f != nil && f.Value.String() == "true" {
		pid = os.Getppid()
	}
	return fmt.Sprintf("fuzz-%d-", pid)
}

// attack is one execution. What calls answer does not matter, that they return does.
func attack(t *testing.T, data []byte) {
	if len(data) < 4 {
		return
	}
	how, cut, edits := data[0], int64(binary.LittleEndian.Uint16(data[1:3])), data[4:]
	if len(edits) > 40*editSize {
		edits = edits[:40*editSize]
	}
	name, size := "", 1<<20
	if how&3 != 0 {
		name = fmt.Sprint(fuzzNames(), time.Now().UnixNano())
		defer shm.Remove(name)
	}
	if how&4 != 0 {
		size = 1 << 30
	}
	v := build(t, name, size)
	defer v.giveUp()
	defer func() { v.seg.Close() }()
	if name != "" {
		err := v.seg.Close()
		proctest.Must(t, err)
		if how&3 == 2 {
			v.size = cut * v.size / 0xff00 // or longer
			if how&8 == 0 {
				v.size &^= 0xfff
			}
			// Who has the file mapped when it is cut off may fault: nobody has.
			v.giveUp()
			v.file, err = os.OpenFile("/dev/shm/shoal."+name, os.O_RDWR, 0)
			proctest.Must(t, err)
			defer v.file.Close()
			proctest.Must(t, v.file.Truncate(v.size))
			if how&16 != 0 && v.size >= 8+sizeAt {
				v.put(sizeAt, uint64(v.size))
			}
		}
		v.vandalise(edits, 0)
		shm.Stat(name)
		open := func() (*shm.Segment, error) { return shm.Open(name) }
		if how&3 == 3 {
			open = func() (*shm.Segment, error) { return shm.OpenReadOnly(name) }
		}
		s, err := open()
		if err != nil {
			return
		}
		v.seg = s
		if how&3 != 3 {
			v.open()
		}
	}
	done, cancel := context.WithCancel(t.Context())
	cancel()
	soon, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
	defer cancel()
	contexts := []context.Context{done, soon, done}
	for i := range byte(3) {
		if name == "" || i != 0 {
			v.vandalise(edits, i)
		}
		if i == 2 {
			v.open()
		}
		v.look()
		v.use(contexts[i])
		v.work()
	}
	for i, o := range append(v.refs, v.freed...) {
		if i&1 == 0 {
			o.Close()
		}
	}
	if v.ring != nil {
		v.ring.Close()
	}
	if v.meet != nil {
		v.meet.Close()
	}
	if v.items != nil {
		v.items.Close()
	}
	v.use(done)
	v.seg.Close()
	v.seg.Close()
	v.use(done)
	v.open()
	v.look()
	v.work()
	runtime.GC() // what is unreachable gives back what it had
}

// watched runs attack, and fails with the stacks if it panics, faults, or does not come back.
func watched(t *testing.T, data []byte) {
	end := make(chan string, 1)
	go func() {
		debug.SetPanicOnFault(true)
		failed := "it ended its goroutine"
		defer func() {
			if e := recover(); e != nil {
				failed = fmt.Sprintf("%v\n\n%s", e, debug.Stack())
			}
			end <- failed
		}()
		attack(t, data)
		failed = ""
	}()
	select {
	case failed := <-end:
		if failed != "" {
			t.Fatal(failed)
		}
	case <-time.After(10 * time.Second):
		buf := make([]byte, 1<<20)
		t.Fatalf("it does not come back:\n\n%s", buf[:runtime.Stack(buf, true)])
	}
}

// randomEdits is a random input of n edits.
func randomEdits(r *rand.Rand, how byte, n int) []byte {
	data := make([]byte, 4+n*editSize)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	data[0] = how
	return data
}

// FuzzLive rewrites a live segment that has one of everything, or the file of one before it is opened, and calls every
// method of all kinds. Nobody may panic, touch what is not his, or fail to come back.
func FuzzLive(f *testing.F) {
	r := rand.New(rand.NewPCG(1, 2))
	for how := range byte(32) {
		f.Add(randomEdits(r, how, 1+int(how)))
	}
	f.Cleanup(func() {
		left, _ := filepath.Glob("/dev/shm/shoal." + fuzzNames() + "*")
		for _, path := range left {
			os.Remove(path)
		}
	})
	f.Fuzz(watched)
}
