package ring_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// link is what a process is given that pushes to a chain of rings of messages, or pops: it goes on to the next ring when one is
// ended, and empty. Numbers are producer<<32 | how many it has pushed before.
type link struct {
	// Chain is a word in a line of its own, so many rings are to be ended, and behind it the rings.
	Chain *shm.Block
	Log   *shm.Block // an SPSC ring to the test: of what was popped, or how many are pushed
	ID    uint64
	Pops  bool
}

const (
	chainRoom  = 6
	chainRings = 48
)

// ringOf is the memory of ring i of a chain.
func ringOf(chain []byte, i int) []byte {
	n := (ring.MessagesSize(chainRoom, letterSize) + 127) &^ 127
	return chain[128+i*n:][:n:n]
}

var along = proctest.NewRole("messages/along", func(_ context.Context, c *proctest.Child, l link) error {
	defer runtime.KeepAlive(l)
	log, err := ring.OpenSPSC[uint64](l.Log.Bytes(), l.Log.Segment())
	if err != nil {
		return err
	}
	if err := log.Produce(); err != nil {
		return err
	}
	goal := &wordsOf(l.Chain.Bytes())[0]
	c.Say("on")
	next := l.ID << 32
	for at := range chainRings {
		messages, err := ring.OpenMessages(ringOf(l.Chain.Bytes(), at), l.Chain.Segment())
		if err != nil {
			return err
		}
		r := &letters{Messages: messages}
		for r.Err() == nil {
			over := r.Mark() != 0 // and so an empty ring stays empty
			x, ok := next, false
			if l.Pops {
				x, ok = r.pop()
			} else if ok = r.push(next); ok {
				next++
				x = next
			}
			switch {
			case !ok && over:
			case !ok:
				sys.Yield()
				continue
			default:
				for !log.TryPush(x) {
					sys.Yield()
				}
				if uint64(at) < goal.Load() {
					r.End(1 + int(l.ID%3))
				}
				continue
			}
			break
		}
		if r.Err() != nil {
			return r.Err()
		}
		r.Close()
	}
	return fmt.Errorf("the last ring was ended")
})

// TestMessagesChaos kills and stops producers and consumers at random that go along a chain of rings, which they end one after the
// other. Whatever a producer knows that it pushed is popped once, and whole, but for what a killed consumer was about to tell;
// what a killed producer was pushing is there or not. Each consumer gets the messages of a producer in order, also from ring to ring.
func TestMessagesChaos(t *testing.T) {
	const each = 2 // producers, and consumers
	rnd := proctest.Rand(t)
	least := 600 * time.Millisecond
	if testing.Short() {
		least = 300 * time.Millisecond
	}
	end := time.Now().Add(proctest.Stress(least))
	seg := proctest.Segment(t, 0)
	chain, err := shm.NewBlock(seg, "", 128+chainRings*((ring.MessagesSize(chainRoom, letterSize)+127)&^127))
	proctest.Must(t, err)
	defer chain.Close()
	var rings []*letters
	for i := range chainRings {
		r := newMessages(t, ringOf(chain.Bytes(), i), chainRoom, letterSize, seg)
		r.SetPosition(mpmcStarts(r)[rnd.IntN(5)])
		rings = append(rings, &letters{Messages: r})
	}
	goal := &wordsOf(chain.Bytes())[0]

	type hand struct {
		p     *proctest.Proc
		l     link
		log   *ring.SPSC[uint64]
		block *shm.Block
		last  map[uint64]uint64 // of each producer, the last that it has popped
	}
	var hands [2 * each]*hand
	ids, lost := uint64(0), 0
	committed := make(map[uint64]uint64) // by producer: how many it knows that it pushed
	got := make(map[uint64][]uint64)     // by producer: what of it was popped
	hear := func(h *hand) {
		for x, ok := h.log.TryPop(); ok; x, ok = h.log.TryPop() {
			if !h.l.Pops {
				committed[h.l.ID] = x & math.MaxUint32
				continue
			}
			if last, ok := h.last[x>>32]; ok && x <= last {
				t.Errorf("consumer %d got %#x after %#x", h.l.ID, x, last)
			}
			h.last[x>>32] = x
			got[x>>32] = append(got[x>>32], x&math.MaxUint32)
		}
	}
	start := func(i int) {
		ids++
		block, err := shm.NewBlock(seg, "", ring.SPSCSize[uint64](256))
		proctest.Must(t, err)
		h := &hand{l: link{chain, block, ids, i%2 == 1}, block: block, last: make(map[uint64]uint64)}
		h.log = newSPSC[uint64](t, block.Bytes(), 256, seg)
		proctest.Must(t, h.log.Consume())
		h.p = along.Start(t, h.l)
		h.p.WaitLine("on")
		hands[i] = h
	}
	kill := func(i int) {
		h := hands[i]
		h.p.Kill()
		if err := h.p.Wait(); h.p.ExitCode() != -9 {
			t.Fatal(err)
		}
		hear(h)
		if h.l.Pops {
			lost++
		}
		proctest.Must(t, shm.Free(h.block))
		h.block.Close()
	}
	for i := range hands {
		start(i)
	}
	for time.Now().Before(end) {
		goal.Store(min(goal.Load()+1, chainRings-1)) // of the last one the end is not said
		for until := time.Now().Add(time.Duration(rnd.IntN(6000)) * time.Microsecond); time.Now().Before(until); sys.Yield() {
			for _, h := range hands {
				hear(h)
			}
		}
		i := rnd.IntN(len(hands))
		if rnd.IntN(3) > 0 {
			kill(i)
			start(i)
			continue
		}
		// While one is stopped others of its kind go on.
		hands[i].p.Stop()
		hear(hands[i])
		for heard := 0; heard < 20; sys.Yield() {
			for j, other := range hands {
				if j%2 == i%2 && j != i {
					heard += other.log.Len()
				}
				hear(other)
			}
		}
		hands[i].p.Continue()
	}
	for _, i := range []int{0, 2, 1, 3} {
		kill(i)
	}
	ended := 0
	for i, r := range rings {
		here := 0
		if err := ring.EachMessage(ringOf(chain.Bytes(), i), func(kind uint32, b []byte) {
			if _, whole := numberOf(kind, b); whole {
				here++
			}
		}); err != nil {
			t.Error(err)
		}
		if r.Mark() != 0 {
			if ended++; ended != i+1 {
				t.Errorf("ring %d is ended, and one before it is not", i)
			}
		}
		if r.Len() != here || here != 0 && i > ended {
			t.Errorf("ring %d has %d messages and %d can be read; %d rings are ended", i, r.Len(), here, ended)
		}
		for x, ok := r.pop(); ok; x, ok = r.pop() {
			got[x>>32] = append(got[x>>32], x&math.MaxUint32)
		}
		proctest.Must(t, r.Err())
		r.Close()
		r.Reclaim()
		account(t, r)
	}
	total, missing := 0, 0
	for id, items := range got {
		slices.Sort(items)
		if len(slices.Compact(slices.Clone(items))) != len(items) {
			t.Errorf("messages of producer %d were popped twice", id)
		}
		if last := items[len(items)-1]; last > committed[id] { // one can be there and not told
			t.Errorf("message %d of producer %d, which knows of %d", last, id, committed[id])
		}
	}
	for id, n := range committed {
		total += int(n)
		missing += int(n) - len(slices.DeleteFunc(got[id], func(x uint64) bool { return x >= n }))
	}
	if missing > lost {
		t.Errorf("%d messages are missing, killed consumers can have had %d", missing, lost)
	}
	t.Logf("%d messages of %d producers through %d rings, %d missing, which killed consumers had", total, len(committed), ended+1, missing)
	if total == 0 || ended == 0 {
		t.Error("nothing was pushed, or no ring ended")
	}
}
