package ring

import (
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/race"
)

// common is what both ends of one handle use and neither changes while it works, but for the error.
type common struct {
	header *spscHeader
	base   unsafe.Pointer // the first slot
	slots  uint64         // how many, a power of two; checked when the ring was opened, never read again
	size   uintptr        // of an item
	bools  *layout.Bools  // in an item
	peers  Peers
	err    atomic.Pointer[error]
}

// failure is why the handle cannot be used any more: corruption, or Close; else nil.
func (c *common) failure() error {
	if p := c.err.Load(); p != nil {
		return *p
	}
	return nil
}

// end is one end of a ring in this process. Distances, not values, are compared, so positions may wrap around:
// at <= limit <= seen, and seen-at <= slots.
type end struct {
	// What the fast paths use. Position p is at slots + (p&mask)*size.
	slots   unsafe.Pointer
	mask    uint64
	at      uint64       // this end's position: what is published, but this is the original
	limit   uint64       // the fast path goes up to here
	own     *atomics.Pos // where at is published
	publish *race.Word   // released before each publication

	seen    uint64 // how far this end may go by the last look at the other's position
	ahead   uint64 // seen - the other's position: slots for the producer, 0 for the consumer
	other   *atomics.Pos
	look    *race.Word // acquired after each look
	claim   *atomic.Uint32
	mine    uint32 // the owner id that this handle wrote into the claim; 0 if it does not have the end
	refused atomic.Pointer[error]
	ring    *common
	find    func() uint64 // if not nil: what to do instead of loading other; may move at
	keep    func() error  // if not nil: what to do instead of taking the end, which is not for taking
	staged  bool          // slots is a private copy of some items (a consumer of items with bools)

	lent   uint64 // how many slots Reserve or Peek gave out, less what was committed of them
	lentAt uint64 // at the position where they begin
	taken  uint64 // how many were given out when the end was found taken away, or the ring corrupt
}

// errNobody is why a process without an owner id cannot take an end, nor one that has given its id up.
var errNobody error = because{os.ErrClosed, "ring: this process is no participant: its segment was closed, or Peers.Self is 0"}

// because is an error with a text. It is there for errors that are made while the package is initialised, which
// every process does that is started: package fmt would take longer than all else.
type because struct {
	err  error
	text string
}

func (b because) Error() string { return b.err.Error() + ": " + b.text }
func (b because) Unwrap() error { return b.err }

// take claims the end for this handle, if it does not have it already.
func (e *end) take() error {
	r := e.ring
	if err := r.failure(); err != nil {
		return err
	}
	if e.keep != nil {
		return e.keep()
	}
	if e.mine != 0 && e.claim.Load() == e.mine {
		return nil
	}
	// Either the end was never this handle's, or another process has taken it over because this one has left
	// (its segment was closed), though it goes on to use the ring.
	e.mine = 0
	e.revoke()
	self := r.peers.Self()
	if self == 0 || r.peers.Dead(self) {
		return errNobody
	}
	owner := e.claim.Load() // PAIRS WITH take and release: CAS the claim
	if owner != 0 && (owner == self || !r.peers.Dead(owner)) {
		return ErrBusy
	}
	// PAIRS WITH take and release: CAS the claim. It fails only if somebody else has just taken the end.
	if !e.claim.CompareAndSwap(owner, self) {
		return ErrBusy
	}
	crashpoint.Hit("ring/take/taken")
	e.mine = self
	e.refused.Store(nil)
	e.publish.Acquire() // the order after the last owner, which may be another handle in this process
	// PAIRS WITH pass and the fast paths: publish, in the last owner.
	e.at = e.own.Load()
	e.stop()
	e.lent = 0
	return nil
}

// join takes the end and finds out whether the other's position can be true.
func (e *end) join() error {
	if err := e.take(); err != nil {
		return err
	}
	e.update()
	return e.ring.failure()
}

// release gives the claim back.
func (e *end) release() {
	if e.mine != 0 {
		e.publish.Release()
		crashpoint.Hit("ring/release/stopping")
		e.claim.CompareAndSwap(e.mine, 0) // PAIRS WITH take: load and CAS the claim
		e.mine = 0
	}
	e.stop()
	e.lent = 0
}

// stop makes the fast path end here.
func (e *end) stop() { e.limit, e.seen = e.at, e.at }

// refuse notes why the end could not be used.
func (e *end) refuse(err error) {
	if p := e.refused.Load(); p == nil || *p != err {
		kept := err // so that only this allocates, not each refusal
		e.refused.Store(&kept)
	}
}

// update looks where the other end is, after having taken this one. If it could not, Err says why.
func (e *end) update() {
	if err := e.take(); err != nil {
		e.stop()
		e.revoke()
		e.refuse(err)
		return
	}
	var other uint64
	if e.find != nil {
		other = e.find()
	} else {
		other = e.other.Load() // PAIRS WITH pass and the fast paths: publish, at the other end
	}
	e.look.Acquire()
	seen := other + e.ahead
	if seen-e.at > e.ring.slots {
		e.stop()
		e.revoke()
		if e.keep != nil && e.ring.peers.Dead(e.mine) {
			// A reader of a process that has left was evicted, and has written its place again since.
			e.refuse(errNobody)
			return
		}
		err := fmt.Errorf("%w: positions %#x here and %#x at the other end, %d slots",
			ErrCorrupt, e.at, other, e.ring.slots)
		e.ring.err.CompareAndSwap(nil, &err)
		return
	}
	e.seen, e.limit = seen, seen
	if e.staged {
		e.limit = e.at
	}
}

// upTo returns how many positions the end may go on, at most n, and looks at the other end if fewer are known.
func (e *end) upTo(n int) int {
	if n <= 0 {
		return 0
	}
	if e.seen-e.at < uint64(n) {
		e.update()
	}
	return int(min(e.seen-e.at, uint64(n)))
}

// more is the slow path of a push or pop: it moves the limit and reports whether there is a position to go on.
func (e *end) more() bool {
	if e.seen == e.at {
		e.update()
	}
	if e.staged {
		e.stage()
	}
	return e.limit != e.at
}

// stage copies the next items out of the ring and makes their bools valid. The fast path pops the copies, because
// the other processes could spoil the originals again between the check and the use.
func (e *end) stage() {
	r := e.ring
	n := min(e.seen-e.at, e.mask+1)
	for p := e.at; p != e.at+n; p++ {
		dst := unsafe.Add(e.slots, uintptr(p&e.mask)*r.size)
		src := unsafe.Add(r.base, uintptr(p&(r.slots-1))*r.size)
		copy(unsafe.Slice((*byte)(dst), r.size), unsafe.Slice((*byte)(src), r.size))
		r.bools.Normalise(dst)
	}
	e.limit = e.at + n
}

// pass publishes that n positions more are done, n being at most what upTo returned.
func (e *end) pass(n int) {
	if e.limit-e.at < uint64(n) { // staged items were passed over
		e.limit = e.at + uint64(n)
	}
	e.at += uint64(n)
	e.publish.Release()
	crashpoint.Hit("ring/pass/done")
	e.own.Publish(e.at) // PAIRS WITH update: load the other position; take: load its own
	crashpoint.Hit("ring/pass/published")
}

// index is the slot at e's position.
func (e *end) index() int { return int(e.at & (e.ring.slots - 1)) }

// lend notes that n slots are given out from here on.
func (e *end) lend(n int) {
	e.lent, e.lentAt = uint64(n), e.at
	if n != 0 {
		e.taken = 0
	}
}

// revoke takes back what was given out: the end is another's, or this handle cannot know any more where it is.
func (e *end) revoke() { e.lent, e.taken = 0, e.taken+e.lent }

// giveBack notes that the next n of the slots given out are about to be passed, and reports whether they may
// be, which they may not if they were taken back. It panics if they were not given out: nothing another process
// does leads to that.
func (e *end) giveBack(n int, verb, from string) bool {
	if n > 0 && uint64(n) <= e.taken && e.lent == 0 {
		e.taken -= uint64(n)
		return false
	}
	if n < 0 || uint64(n) > e.lent || e.lentAt != e.at && n != 0 {
		panic(fmt.Sprintf("ring: %s(%d) of what %s did not give, or a push or pop has used since", verb, n, from))
	}
	e.lent -= uint64(n)
	e.lentAt += uint64(n)
	return n != 0
}

// spill calls f(e). The compiler reckons a call of a parameter cheaper than the call of a function that it
// becomes, so that TryPush and TryPop, which call their slow path through this, are inlined where they are
// used. Without the detour they cost 106 and 108 of the 80 nodes that the compiler allows, and a call for every
// item. TestPublishOrder of package internal/atomics sees to it.
func spill(f func(*end) bool, e *end) bool { return f(e) }
