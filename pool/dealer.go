package pool

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

const (
	// aheadFor is how long a worker shall have tasks for, as far as one can tell: so it does not wait for the
	// next, and others seldom wait for what it has not begun.
	aheadFor = time.Millisecond
	// stuck is how long a worker's task must take until what that worker has not begun is given to idle ones.
	stuck = 50 * time.Microsecond
)

// task is a task as the dealer has it, with what is written into a slot.
type task struct {
	c     *call // nil: nobody wants the result
	i     int   // which of the call's
	tries int
	given bool // it was accepted, and its argument counts
	told  bool // the worker was told that the context has ended
	img   slot
}

// call is what the tasks that were given together have in common. All fields belong to the dealer's lock.
type call struct {
	fn       *function
	to       receiver
	number   uint64
	deadline int64 // CLOCK_MONOTONIC, 0 for none
	only     bool  // it has one task
	chunk    int   // as many are dealt at once, as far as there is room

	queue   []task // given and not dealt, from head on
	head    int
	listed  bool // in dealer.calls
	left    int  // given, and without a result
	bytes   int  // of the arguments of those, in memory of the segment
	largest int  // of these arguments
	full    bool // no more tasks come
	over    error
	room    chan struct{} // a token, when the queue has become short or there are fewer bytes
	gone    chan struct{} // closed when over is set
}

// receiver gets the results of a call, each once, under the dealer's lock: it must not wait.
type receiver interface {
	receive(i int, o *outcome)
	// ended is called once, when there will be no more results.
	ended()
}

// outcome is how a task ended.
type outcome struct {
	err    error
	failed bool   // data is an error
	data   []byte // valid until receive returns, or until done if there was a loan
	loaned bool
	offset uint64 // of the loan
	seg    *shm.Segment
}

// failure is the error in data.
func (o *outcome) failure() error {
	e := new(process.RemoteError)
	if e.UnmarshalBinary(o.data) != nil {
		return errCorrupt
	}
	return e
}

// own makes o the receiver's, also after receive; done is to be called then.
func (o *outcome) own() *outcome {
	c := *o
	if !o.loaned {
		c.data = slices.Clone(o.data)
	}
	o.loaned = false
	return &c
}

// done gives back the memory that o is in.
func (o *outcome) done() {
	if o.loaned {
		o.loaned = false
		o.seg.Deallocate(o.offset)
	}
}

// hand is a worker as the dealer sees it. All fields belong to the dealer's lock, but for those of the desk.
type hand struct {
	desk  *desk
	slots *[slots]slot
	notes *ring.SPSC[note]
	tasks *wait.Word
	told  *wait.Word

	state   handState
	dealt   uint32        // so many have been, as in the turn
	taken   atomic.Uint32 // results; read without the lock
	held    [slots]task
	quota   uint32 // deal no more than so many; 0: any number
	busy    uint64 // as last seen
	since   int64  // Monotonic: when the last result was taken, or it was dealt something after it had nothing
	used    uint64 // when it was last dealt something, by count
	low     uint32
	posted  []note         // that did not fit
	waiting atomic.Bool    // there are some; read without the lock
	met     map[*call]bool // calls with several tasks of which it had one
	last    *call          // that was put into met
	corrupt bool           // what it says makes no sense
	lost    []task         // whose results were swept up, so that it must have died: these count as not done
	begun   atomic.Bool    // it was found ready; read without the lock

	pid     int
	process *process.Process
	block   *shm.Block    // the desk's
	ready   chan struct{} // closed when it is
	dead    chan struct{} // closed when its process has ended
	err     error         // why it was never ready
	more    func(h *hand) // called under the lock when a result was taken, and when it is ready
}

type handState byte

const (
	starting handState = iota
	spare              // ready, and waits for its turn
	working
	leaving // is dealt no more
	stopped // told to end
)

// dealer deals tasks and takes results. It is a state machine: nothing in it waits, or knows of processes, but
// for collect.
type dealer struct {
	mu      sync.Mutex
	seg     *shm.Segment
	size    int // of seg
	results *wait.Word
	hungry  *wait.Word
	retries int

	hands  []*hand // all that live
	seen   atomic.Pointer[[]*hand]
	calls  []*call      // that have something queued, in the order of their turns
	again  []task       // came back from workers; they are dealt first
	queued int          // of all calls, and again
	bytes  atomic.Int64 // of the arguments of all tasks, in memory of the segment
	open   map[*call]bool
	number uint64
	uses   uint64
	err    error         // no more calls: ErrClosed, or why
	idle   chan struct{} // closed when err is set and no call is open
	quit   atomic.Bool   // for collect

	counts struct{ done, failed, retried int }
}

func newDealer(seg *shm.Segment, board []byte) (d *dealer, err error) {
	d = &dealer{seg: seg, size: seg.Info().Size, open: make(map[*call]bool), idle: make(chan struct{})}
	if d.results, err = wait.New(board); err != nil {
		return nil, err
	}
	if d.hungry, err = wait.New(board[wait.Size:]); err != nil {
		return nil, err
	}
	d.seen.Store(new([]*hand))
	return d, nil
}

// newHand lays a desk out in mem, which nobody else uses.
func (d *dealer) newHand(mem []byte) (h *hand, err error) {
	clear(mem[:slotsAt()])
	h = &hand{met: make(map[*call]bool), ready: make(chan struct{})}
	var ringMem []byte
	h.desk, ringMem, h.slots = deskOf(mem)
	if h.notes, err = ring.NewSPSC[note](ringMem, notes, d.seg); err != nil {
		return nil, err
	}
	if h.tasks, err = wait.New(h.desk.tasks[:]); err != nil {
		return nil, err
	}
	h.told, err = wait.New(h.desk.notes[:])
	return h, err
}

// enter adds a hand.
func (d *dealer) enter(h *hand) {
	d.hands = append(d.hands, h)
	d.publishHands()
}

func (d *dealer) publishHands() {
	hands := slices.Clone(d.hands)
	d.seen.Store(&hands)
}

// begin opens a call. The error says why the pool takes none.
func (d *dealer) begin(c *call) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	if c.over != nil { // cancelled meanwhile
		return c.over
	}
	d.number++
	c.number = d.number
	d.open[c] = true
	return nil
}

// give adds tasks to a call, whose number and deadline they get. The error says why the call is over; the
// caller keeps them then. more reports whether the call may be given more at once.
func (d *dealer) give(c *call, tasks []task) (more bool, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.over != nil {
		return false, c.over
	}
	for k := range tasks {
		t := &tasks[k]
		t.c, t.given = c, true
		t.img.call, t.img.time = c.number, c.deadline
		if c.only {
			t.img.kind |= once
		}
		if t.img.kind&inBlock != 0 {
			c.bytes += int(t.img.size)
			d.bytes.Add(int64(t.img.size))
			c.largest = max(c.largest, int(t.img.size))
		}
	}
	if c.head > 0 && len(c.queue)+len(tasks) > cap(c.queue) {
		n := copy(c.queue, c.queue[c.head:])
		clear(c.queue[n:])
		c.queue, c.head = c.queue[:n], 0
	}
	c.queue = append(c.queue, tasks...)
	c.left += len(tasks)
	d.queued += len(tasks)
	if !c.listed {
		c.listed = true
		d.calls = append(d.calls, c)
	}
	d.deal()
	return d.accepts(c), nil
}

// queueMost is how many tasks of a call wait to be dealt, at most.
const queueMost = 1024

// accepts reports whether c may be given more tasks: else its room gets a token when it may.
func (d *dealer) accepts(c *call) bool {
	most := max(d.size/16, min(d.size/4, (len(d.hands)+1)*c.largest))
	return len(c.queue)-c.head < queueMost && c.bytes < most
}

// fill says that c gets no more tasks.
func (d *dealer) fill(c *call) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c.full = true
	d.settle(c)
}

// settle ends c if it has no more to do.
func (d *dealer) settle(c *call) {
	if !c.full || c.left > 0 || !d.open[c] {
		return
	}
	delete(d.open, c)
	if !c.only {
		for _, h := range d.hands {
			if h.met[c] {
				h.forget(c)
			}
		}
	}
	c.to.ended()
	if d.err != nil && len(d.open) == 0 {
		d.rest()
	}
}

// rest notes that there is nothing more to do, ever.
func (d *dealer) rest() {
	select {
	case <-d.idle:
	default:
		close(d.idle)
	}
}

// close lets no more calls begin.
func (d *dealer) close(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.err = err
	}
	if len(d.open) == 0 {
		d.rest()
	}
}

// cancel ends a call: what was not begun does not begin, what was goes on without anybody who wants its result.
// cause is told to the workers.
func (d *dealer) cancel(c *call, err, cause error) {
	told := causeOf(err, cause) // not under the lock: the methods of errors are the user's
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cancelLocked(c, err, told)
	d.deal()
}

func (d *dealer) cancelLocked(c *call, err error, cause []byte) {
	if c.over == nil && c.number == 0 {
		c.over = err // it does not begin
		return
	}
	if c.over != nil || !d.open[c] {
		return
	}
	c.over = err
	if c.gone != nil {
		close(c.gone)
	}
	c.full = true
	for c.head < len(c.queue) {
		t := c.pop()
		d.queued--
		d.drop(&t, err)
	}
	if c.listed {
		c.listed = false
		d.calls = slices.DeleteFunc(d.calls, func(e *call) bool { return e == c })
	}
	d.again = slices.DeleteFunc(d.again, func(t task) bool {
		if t.c != c {
			return false
		}
		d.queued--
		d.drop(&t, err)
		return true
	})
	for _, h := range d.hands {
		d.withdraw(h, c, err, cause)
	}
	d.settle(c)
}

// withdraw takes the tasks of c from h.
func (d *dealer) withdraw(h *hand, c *call, err error, cause []byte) {
	for i := range h.lost {
		if t := &h.lost[i]; t.c == c {
			t.c = nil
			d.deliver(c, t.i, &outcome{err: err})
		}
	}
	taken := h.taken.Load()
	first, found := taken, false
	for pos := taken; pos != h.dealt; pos++ {
		if h.held[pos%slots].c == c {
			first, found = pos, true
			break
		}
	}
	if !found {
		if h.met[c] {
			h.forget(c)
		}
		return
	}
	for _, t := range d.recall(h, first) {
		if t.c == c {
			d.drop(&t, err)
			continue
		}
		d.again = append(d.again, t)
		d.queued++
	}
	h.unmeet(c)
	told := false
	for pos := taken; pos != h.dealt; pos++ {
		t := &h.held[pos%slots]
		if t.c != c {
			continue
		}
		if !told {
			h.push(cancelNote(d.seg, c.number, err, cause))
		}
		told = true
		t.c, t.told = nil, true
		d.deliver(c, t.i, &outcome{err: err})
	}
	if !told {
		h.forget(c) // nothing of it is under way there
	}
}

// recall takes back what h has not begun, from position first on, in order.
func (d *dealer) recall(h *hand, first uint32) []task {
	for {
		turn := h.desk.turn.Load()
		begun := begunOf(turn)
		if !h.plausible(begun) {
			return nil
		}
		from := first
		if begun-h.taken.Load() > first-h.taken.Load() {
			from = begun
		}
		if from == h.dealt {
			return nil
		}
		if !h.desk.turn.CompareAndSwap(turn, turnOf(begun, from)) { // PAIRS WITH worker.work: CAS the turn
			continue
		}
		crashpoint.Hit("pool/recall/recalled")
		var ts []task
		for pos := from; pos != h.dealt; pos++ {
			if h.held[pos%slots].c == nil { // it was begun once
				h.condemn()
				d.free(&h.held[pos%slots])
			} else {
				ts = append(ts, h.held[pos%slots])
			}
			h.held[pos%slots] = task{}
		}
		h.dealt = from
		return ts
	}
}

// plausible reports whether so many tasks can have been begun.
func (h *hand) plausible(begun uint32) bool {
	taken := h.taken.Load()
	if begun-taken > h.dealt-taken {
		h.condemn()
		return false
	}
	return true
}

// condemn notes that what the worker says makes no sense: it is killed.
func (h *hand) condemn() {
	if !h.corrupt {
		h.corrupt = true
		if h.more != nil {
			h.more(h)
		}
	}
}

// drop completes a task that no worker has.
func (d *dealer) drop(t *task, err error) {
	d.free(t)
	d.deliver(t.c, t.i, &outcome{err: err})
}

// free gives the memory of a task's argument back.
func (d *dealer) free(t *task) {
	if t.img.kind&inBlock == 0 {
		return
	}
	offset, _ := placed(t.img.data[:])
	d.seg.Deallocate(offset)
	if !t.given {
		return
	}
	d.bytes.Add(-int64(t.img.size))
	if c := t.c; c != nil {
		c.bytes -= int(t.img.size)
		c.signal()
	}
}

// signal tells who gives c its tasks to look again.
func (c *call) signal() {
	if c.room == nil {
		return
	}
	select {
	case c.room <- struct{}{}:
	default:
	}
}

// deliver hands a result over.
func (d *dealer) deliver(c *call, i int, o *outcome) {
	if o.err == nil && !o.failed {
		d.counts.done++
	} else {
		d.counts.failed++
	}
	c.left--
	c.to.receive(i, o)
	o.done()
	if c.over == nil { // else who cancels settles it
		d.settle(c)
	}
}

// pop takes the first of the queue.
func (c *call) pop() task {
	t := c.queue[c.head]
	c.queue[c.head].c = nil
	c.head++
	if c.head == len(c.queue) {
		c.queue, c.head = c.queue[:0], 0
	}
	return t
}

// ahead is how many tasks like the next one a worker may have that it has not finished.
func (d *dealer) ahead() uint32 {
	var fn *function
	if len(d.again) > 0 {
		fn = d.again[0].c.fn
	} else {
		fn = d.calls[0].fn
	}
	each := fn.each.Load()
	if each == 0 {
		return 2
	}
	return uint32(min(1+int64(aheadFor)/each, slots))
}

// outstanding is how many tasks h has.
func (h *hand) outstanding() uint32 { return h.dealt - h.taken.Load() }

// room is how many tasks h may be dealt if it shall not have more than most.
func (h *hand) room(most uint32) int {
	if h.state != working || h.corrupt {
		return 0
	}
	n := h.outstanding()
	if n >= most {
		return 0
	}
	r := int(most - n)
	if h.quota != 0 {
		r = min(r, int(h.quota-h.dealt))
	}
	return r
}

// deal deals what is queued to those who have room, the idle first.
func (d *dealer) deal() {
	for d.queued > 0 {
		most := d.ahead()
		var best *hand
		n, room := 0, 0
		for _, h := range d.hands {
			r := h.room(most)
			if r == 0 {
				continue
			}
			n++
			if best == nil || h.before(best) {
				best, room = h, r
			}
		}
		if best == nil {
			return
		}
		share := (d.queued + n - 1) / n
		if len(d.again) == 0 && d.calls[0].chunk > 1 {
			chunk := d.calls[0].chunk
			share = (share + chunk - 1) / chunk * chunk
			room = best.room(slots)
		}
		if d.dealTo(best, min(share, room)) == 0 {
			return
		}
	}
}

// before reports whether to deal to h rather than to g: the one with less to do, and then who was the last to have
// something, and may still be looking for more.
func (h *hand) before(g *hand) bool {
	if a, b := h.outstanding(), g.outstanding(); a != b {
		return a < b
	}
	return h.used > g.used
}

// dealTo deals up to n tasks to h, of one chunk, and returns how many.
func (d *dealer) dealTo(h *hand, n int) int {
	pos, before := h.dealt, h.outstanding()
	dealt := 0
	for ; dealt < n && len(d.again) > 0; dealt++ {
		h.put(pos, &d.again[0])
		d.again[0].c = nil
		pos++
		d.again = d.again[1:]
		d.queued--
	}
	if len(d.again) == 0 {
		d.again = nil
	}
	if dealt == 0 && len(d.calls) > 0 {
		c := d.calls[0]
		for ; dealt < n && c.head < len(c.queue); dealt++ {
			t := &c.queue[c.head]
			h.put(pos, t)
			t.c = nil
			pos++
			c.head++
		}
		d.queued -= dealt
		if len(d.calls) > 1 || c.head == len(c.queue) { // the next call's turn
			d.calls = slices.Delete(d.calls, 0, 1)
			if c.head < len(c.queue) {
				d.calls = append(d.calls, c)
			}
		}
		if c.head == len(c.queue) {
			c.queue, c.head, c.listed = c.queue[:0], 0, false
		}
		if len(c.queue)-c.head < queueMost/2 {
			c.signal()
		}
	}
	if dealt == 0 {
		return 0
	}
	d.uses++
	h.used = d.uses
	if before == 0 {
		h.since = sys.Monotonic()
	}
	h.dealt = pos
	if low := (h.outstanding() - 1) / 4; low != h.low {
		h.low = low
		h.desk.low.Store(low)
	}
	crashpoint.Hit("pool/deal/written")
	for {
		turn := h.desk.turn.Load()
		if h.desk.turn.CompareAndSwap(turn, turnOf(begunOf(turn), pos)) { // PAIRS WITH worker.work: load the turn
			break
		}
	}
	crashpoint.Hit("pool/deal/dealt")
	h.tasks.Wake()
	return dealt
}

// put writes a task into the slot of a position.
func (h *hand) put(pos uint32, t *task) {
	h.held[pos%slots] = *t
	if c := t.c; !c.only && h.last != c {
		h.last = c
		h.met[c] = true
	}
	s, img := &h.slots[pos%slots], &t.img
	s.call, s.time, s.fn, s.kind, s.size = img.call, img.time, img.fn, img.kind, img.size
	n := img.size
	if img.kind&inBlock != 0 {
		n = 12
	}
	copy(s.data[:n], img.data[:n])
}

// collect takes the results that there are, and returns how many things were new.
func (d *dealer) collect() (n int) {
	for _, h := range d.hands {
		n += d.collectFrom(h)
		if before := len(h.posted); before > 0 {
			h.flush()
			n += before - len(h.posted)
		}
	}
	return n
}

func (d *dealer) collectFrom(h *hand) (n int) {
	if !h.begun.Load() && h.desk.state.Load() == ready { // PAIRS WITH workerFunc: store ready
		h.begun.Store(true)
		close(h.ready)
		if h.state == starting {
			h.state = spare
		}
		if h.more != nil {
			h.more(h)
		}
		n++
	}
	done := uint32(h.desk.done.Load()) // PAIRS WITH worker.publish: publish done
	taken := h.taken.Load()
	k := done - taken
	if k == 0 {
		return n
	}
	if k > h.dealt-taken {
		h.condemn()
		return n
	}
	var fn *function
	for pos := taken; pos != done; pos++ {
		t := &h.held[pos%slots]
		if t.c != nil {
			fn = t.c.fn
		}
		d.finish(h, t, &h.slots[pos%slots])
		t.c, t.told = nil, false
	}
	h.taken.Store(done)
	busy := h.desk.busy.Load()
	if fn != nil {
		learn(fn, int64(busy-h.busy)/int64(k))
	}
	h.busy = busy
	h.since = sys.Monotonic()
	if h.more != nil {
		h.more(h)
	}
	return n + int(k)
}

// learn notes that tasks of fn took that long each.
func learn(fn *function, each int64) {
	each = min(max(each, 1), int64(time.Hour))
	if old := fn.each.Load(); old != 0 {
		each = (3*old + each) / 4
	}
	fn.each.Store(max(each, 1))
}

// finish delivers the result of a task.
func (d *dealer) finish(h *hand, t *task, s *slot) {
	kind, size := s.kind, s.size
	o := outcome{seg: d.seg}
	switch {
	case kind&^kinds != 0:
		o.err = errCorrupt
	case kind&inBlock == 0 && size <= slotData:
		o.data = s.data[:size:size]
	case kind&inBlock == 0 || size > uint64(d.size):
		o.err = errCorrupt
	default:
		offset, stamp := placed(s.data[:])
		mem, err := d.seg.Claim(offset, stamp, int(size))
		if err != nil {
			h.lost = append(h.lost, *t)
			h.condemn()
			return
		}
		o.data, o.loaned, o.offset = mem, true, offset
	}
	d.free(t)
	if t.c == nil {
		o.done()
		if t.told {
			h.push(note{kind: noteEnd, call: t.img.call})
		}
		return
	}
	if kind&failed != 0 && o.err == nil {
		o.failed = true // it is decoded without the lock: what it consists of may be the user's
	}
	d.deliver(t.c, t.i, &o)
}

// bury takes a dead worker's tasks back: what it had begun and not finished fails with died, or is run again.
func (d *dealer) bury(h *hand, died func(task string) error) {
	d.collectFrom(h)
	taken := h.taken.Load()
	begun := begunOf(h.desk.turn.Load())
	if !h.plausible(begun) {
		begun = h.dealt
	}
	var back []task
	take := func(t task, begun bool) {
		switch {
		case t.c == nil:
			d.free(&t)
			return
		case !begun:
		case t.tries >= d.retries:
			d.drop(&t, died(t.c.fn.name))
			return
		default:
			t.tries++
			d.counts.retried++
		}
		back = append(back, t)
	}
	for _, t := range h.lost {
		take(t, true)
	}
	h.lost = nil
	for pos := taken; pos != h.dealt; pos++ {
		take(h.held[pos%slots], pos-taken < begun-taken)
	}
	d.again = append(back, d.again...)
	d.queued += len(back)
	h.dealt = taken
	h.notes.Close()
	d.hands = slices.DeleteFunc(d.hands, func(g *hand) bool { return g == h })
	d.publishHands()
	d.deal()
}

// steal gives to idle workers what others have not begun, if those seem to be stuck, or in any case.
func (d *dealer) steal(force bool) {
	if d.queued > 0 {
		return
	}
	var now int64
	for _, idle := range d.hands {
		if idle.outstanding() > 0 || idle.room(1) == 0 {
			continue
		}
		var victim *hand
		most := uint32(0)
		for _, h := range d.hands {
			if h.outstanding() < 2 {
				continue
			}
			begun := begunOf(h.desk.turn.Load())
			if n := h.dealt - begun; h.plausible(begun) && n > most {
				victim, most = h, n
			}
		}
		if victim == nil {
			return
		}
		if now == 0 {
			now = sys.Monotonic()
		}
		if !force && now-victim.since < int64(stuck) {
			return
		}
		n := int(most+1) / 2
		if idle.quota != 0 {
			n = min(n, int(idle.quota-idle.dealt))
		}
		ts := d.recall(victim, victim.dealt-uint32(n))
		d.again = append(d.again, ts...)
		d.queued += len(ts)
		d.dealTo(idle, len(ts))
	}
}

// news reports whether there is something to collect. It needs no lock.
func (d *dealer) news() bool {
	if d.quit.Load() {
		return true
	}
	for _, h := range *d.seen.Load() {
		if uint32(h.desk.done.Load()) != h.taken.Load() || !h.begun.Load() && h.desk.state.Load() == ready {
			return true
		}
		if h.waiting.Load() && h.notes.Len() < notes {
			return true
		}
	}
	return false
}

// forget tells h's worker that c has ended.
func (h *hand) forget(c *call) {
	h.unmeet(c)
	h.push(note{kind: noteEnd, call: c.number})
}

func (h *hand) unmeet(c *call) {
	delete(h.met, c)
	if h.last == c {
		h.last = nil
	}
}

// push sends a note, or keeps it until there is room.
func (h *hand) push(n note) {
	h.posted = append(h.posted, n)
	h.flush()
}

func (h *hand) flush() {
	for len(h.posted) > 0 && h.notes.TryPush(h.posted[0]) {
		h.posted = h.posted[1:]
		h.told.Wake()
	}
	h.waiting.Store(len(h.posted) > 0)
	if len(h.posted) == 0 {
		h.posted = nil
	} else if h.notes.Err() != nil {
		h.condemn()
	}
}

// causeOf is what a note tells of the cause of a context that ended with err: nothing if that is the cause.
func causeOf(err, cause error) []byte {
	if cause == nil || cause == err {
		return nil
	}
	data, _ := process.AsRemote(cause).MarshalBinary() // returns none
	return data
}

// cancelNote tells of a call's end by its context.
func cancelNote(seg *shm.Segment, number uint64, err error, data []byte) note {
	n := note{kind: noteCancel, call: number}
	if err == context.DeadlineExceeded {
		n.kind |= noteLate
	}
	if len(data) > len(n.data) {
		offset, mem, err := seg.Allocate(len(data))
		if err != nil {
			return n
		}
		copy(mem, data)
		stamp, err := seg.Pass(offset, nil)
		if err != nil {
			return n
		}
		n.kind |= noteBlock
		place(n.data[:], offset, stamp)
	} else {
		copy(n.data[:], data)
	}
	n.size = uint32(len(data))
	return n
}
