package queue

import (
	"fmt"
	"math"
	"os"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/queued"
	"github.com/shoal-ipc/shoal/shm"
)

// hands is this process's view of what each participant has in hand; see the package documentation.
type hands struct {
	seg  *shm.Segment
	self uint32
	h    *queued.Header
	all  *[queued.MostHands]queued.Hand
	mine *queued.Hand

	dead, knownDead func(id uint32) bool // of seg, made once so that nobody allocates
}

func handsOf(seg *shm.Segment, mem []byte) *hands {
	self := seg.Self()
	h := &hands{seg: seg, self: self, h: queued.At(mem), all: queued.Hands(mem),
		dead: seg.Dead, knownDead: seg.KnownDead}
	at := queued.HandOf(self % queued.MostHands)
	h.mine = &h.all[at]
	for {
		used := h.h.Used.Load()
		if used > at || h.h.Used.CompareAndSwap(used, at+1) { // PAIRS WITH used: load
			return h
		}
	}
}

// word is one of a hand: whose it is, and a number.
type word interface {
	Load() uint64
	CompareAndSwap(old, new uint64) bool
}

// add adds to a word of this process's hand. What a dead process left there is gone with it.
func (h *hands) add(w word, n int) {
	for {
		v := w.Load()
		count := int64(uint32(v))
		if uint32(v>>32) != h.self {
			count = 0
		}
		count = min(max(count+int64(n), 0), math.MaxUint32)
		if w.CompareAndSwap(v, uint64(h.self)<<32|uint64(count)) { // PAIRS WITH idle, count: load
			return
		}
	}
}

// mostInHand is how many items a process may have in hand, about half of what its word counts.
const mostInHand = math.MaxUint32 / 2

// grab says that this process is about to take up to n items; settle is to follow. So each is in the queue, in a hand, or what somebody
// is busy with, at any time.
func (h *hands) grab(n int) error {
	if v := h.mine.Items.Load(); uint32(v>>32) == h.self && uint64(uint32(v))+uint64(n) > mostInHand {
		return fmt.Errorf("%w: %d items in hand", os.ErrInvalid, uint32(v))
	}
	h.add(&h.mine.Busy, n)
	return nil
}

// settle says that of the n items that this process was about to take it has got so many in hand.
func (h *hands) settle(n, got int) {
	if got != 0 {
		h.add(&h.mine.Items, got)
		crashpoint.Hit("queue/get/counted")
	}
	h.add(&h.mine.Busy, -n)
}

// finish says that one item is dealt with: one that this process has in hand, or else another that lives.
func (h *hands) finish() error {
	h.add(&h.mine.Busy, 1)
	defer h.add(&h.mine.Busy, -1)
	crashpoint.Hit("queue/done/busy")
	if !h.let(h.mine) && !h.letOther() {
		return ErrTaskDone
	}
	crashpoint.Hit("queue/done/let")
	h.done()
	crashpoint.Hit("queue/done/counted")
	return nil
}

// done counts an item that is dealt with.
func (h *hands) done() { h.h.Done.Add(1) } // PAIRS WITH drained: load

// let takes one item out of a hand, if there is one and its owner lives.
func (h *hands) let(hand *queued.Hand) bool {
	for {
		v := hand.Items.Load()
		owner := uint32(v >> 32)
		if uint32(v) == 0 || owner != h.self && h.dead(owner) {
			return false
		}
		if hand.Items.CompareAndSwap(v, v-1) { // PAIRS WITH idle, count: load
			return true
		}
	}
}

func (h *hands) letOther() bool {
	used := h.used()
	for i := range used {
		if h.let(&used[i]) {
			return true
		}
	}
	return false
}

// used are the hands that were ever used.
func (h *hands) used() []queued.Hand {
	return h.all[:min(h.h.Used.Load(), queued.MostHands)] // PAIRS WITH handsOf: CAS the number
}

// alive is the number in a word of a hand, if its owner lives, and else 0.
func (h *hands) alive(v uint64, dead func(id uint32) bool) uint64 {
	if owner := uint32(v >> 32); uint32(v) == 0 || owner != h.self && dead(owner) {
		return 0
	}
	return uint64(uint32(v))
}

// idle reports whether nobody who lives has had anything in hand, or was about to be done with it, at an instant during the call. It is
// for when nothing has been in the queue for the whole of it.
//
// Who takes adds to Items before it subtracts from Busy; so who finds nothing in Busy, and then nothing in Items, misses nothing that was
// taken. Who is done subtracts from Items, of any hand, before it subtracts from the Busy of its own; so Busy is looked at once more, in
// all hands, after all of Items.
func (h *hands) idle(dead func(id uint32) bool) bool {
	defer runtime.KeepAlive(h.seg)
	used := h.used()
	for i := range used {
		if h.alive(used[i].Busy.Load(), dead) != 0 || h.alive(used[i].Items.Load(), dead) != 0 { // PAIRS WITH add, let: CAS the word
			return false
		}
	}
	for i := range used {
		if h.alive(used[i].Busy.Load(), dead) != 0 { // PAIRS WITH add: CAS the word
			return false
		}
	}
	return true
}

// count is how many items those who live have in hand, or may have.
func (h *hands) count() (n uint64) {
	used := h.used()
	for i := range used { // in this order, as idle
		n += h.alive(used[i].Busy.Load(), h.dead)
		n += h.alive(used[i].Items.Load(), h.dead)
	}
	runtime.KeepAlive(h.seg)
	return n
}
