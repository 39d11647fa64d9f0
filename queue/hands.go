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
}

func handsOf(seg *shm.Segment, mem []byte) *hands {
	self := seg.Self()
	h := &hands{seg: seg, self: self, h: queued.At(mem), all: queued.Hands(mem)}
	at := queued.HandOf(self % queued.MostHands)
	h.mine = &h.all[at]
	for {
		used := h.h.Used.Load()
		if used > at || h.h.Used.CompareAndSwap(used, at+1) { // PAIRS WITH idle: load
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
func (h *hands) add(w word, n int64) error {
	for {
		v := w.Load()
		count := int64(uint32(v))
		if uint32(v>>32) != h.self {
			count = 0
		}
		if count += n; count > math.MaxUint32 {
			return fmt.Errorf("%w: %d items in hand", os.ErrInvalid, count)
		}
		count = max(count, 0)
		if w.CompareAndSwap(v, uint64(h.self)<<32|uint64(count)) { // PAIRS WITH idle: load
			return nil
		}
	}
}

// grab says that this process is about to take so many items, so that each is in the queue or in a hand at any time.
func (h *hands) grab(n int) error { return h.add(&h.mine.Items, int64(n)) }

// drop says that it took so many fewer.
func (h *hands) drop(n int) { h.add(&h.mine.Items, int64(-n)) }

// finish says that one item is dealt with: one that this process has in hand, or else another that lives.
func (h *hands) finish() error {
	h.add(&h.mine.Ending, 1)
	defer h.add(&h.mine.Ending, -1)
	crashpoint.Hit("queue/done/ending")
	if !h.let(h.mine) && !h.letOther() {
		return ErrTaskDone
	}
	crashpoint.Hit("queue/done/let")
	h.h.Done.Add(1) // PAIRS WITH drained: load
	crashpoint.Hit("queue/done/counted")
	return nil
}

// let takes one item out of a hand, if there is one and its owner lives.
func (h *hands) let(hand *queued.Hand) bool {
	for {
		v := hand.Items.Load()
		owner := uint32(v >> 32)
		if uint32(v) == 0 || owner != h.self && h.seg.Dead(owner) {
			return false
		}
		if hand.Items.CompareAndSwap(v, v-1) { // PAIRS WITH idle: load
			return true
		}
	}
}

func (h *hands) letOther() bool {
	for i := range min(h.h.Used.Load(), queued.MostHands) {
		if h.let(&h.all[i]) {
			return true
		}
	}
	return false
}

// idle reports whether nobody who lives has anything in hand.
func (h *hands) idle() bool { return h.count(true) == 0 }

// count is how many items those who live have in hand; with ending, and how many of their goroutines are about to be done with one.
func (h *hands) count(ending bool) (n int) {
	alive := func(v uint64) int {
		if uint32(v) == 0 || uint32(v>>32) != h.self && h.seg.Dead(uint32(v>>32)) {
			return 0
		}
		return int(uint32(v))
	}
	for i := range min(h.h.Used.Load(), queued.MostHands) {
		n += alive(h.all[i].Items.Load()) // PAIRS WITH add, let: CAS the word
		if ending {
			n += alive(h.all[i].Ending.Load())
		}
	}
	runtime.KeepAlive(h.seg)
	return n
}
