package ring_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// stream is what a process at one end of a ring is given. Numbers in a ring are its positions: 0, 1, 2, …
type stream struct {
	Ring, Log *shm.Block // Log is a second ring, from the consumer to the test
	From      uint64
	Peek      bool // say what was popped before it is freed, instead of after
}

// produce pushes numbers from From on, for ever.
var produce = proctest.NewRole("produce", func(_ context.Context, c *proctest.Child, s stream) error {
	defer runtime.KeepAlive(s.Ring)
	r, err := ring.OpenSPSC[uint64](s.Ring.Bytes(), s.Ring.Segment())
	if err != nil {
		return err
	}
	if err := r.Produce(); err != nil {
		return err
	}
	c.Say("on")
	for at := s.From; r.Err() == nil; {
		if r.TryPush(at) {
			at++
		} else {
			runtime.Gosched()
		}
	}
	return r.Err()
})

// consume pops numbers for ever and logs each.
var consume = proctest.NewRole("consume", func(_ context.Context, c *proctest.Child, s stream) error {
	defer runtime.KeepAlive(s)
	r, err1 := ring.OpenSPSC[uint64](s.Ring.Bytes(), s.Ring.Segment())
	log, err2 := ring.OpenSPSC[uint64](s.Log.Bytes(), s.Log.Segment())
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if err := errors.Join(r.Consume(), log.Produce()); err != nil {
		return err
	}
	c.Say("on")
	say := func(v uint64) {
		for !log.TryPush(v) {
			runtime.Gosched()
		}
	}
	for r.Err() == nil && log.Err() == nil {
		if s.Peek {
			if items := r.Peek(1); len(items) != 0 {
				say(items[0])
				r.Advance(1)
				continue
			}
		} else if v, ok := r.TryPop(); ok {
			say(v)
			continue
		}
		runtime.Gosched()
	}
	return errors.Join(r.Err(), log.Err())
})

// sharedRing is a ring of n numbers in a segment of its own.
func sharedRing(t *testing.T, n int) (*shm.Block, *ring.SPSC[uint64]) {
	t.Helper()
	seg, err := shm.Anonymous(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { seg.Close() })
	b, err := shm.NewBlock(seg, "", ring.SPSCSize[uint64](n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b, newSPSC[uint64](t, b.Bytes(), n, seg)
}

// rounds is how many processes a test kills, and until when each is left alone: a number of items.
func rounds(t *testing.T) (n int, until func() int) {
	rnd := proctest.Rand(t)
	n = 20
	if testing.Short() {
		n = 4
	}
	return n, func() int { return rnd.IntN(20_000) }
}

// popAll pops what there is and checks that it goes on from next.
func popAll(t *testing.T, r *ring.SPSC[uint64], next *uint64) {
	t.Helper()
	for v, ok := r.TryPop(); ok; v, ok = r.TryPop() {
		if v != *next {
			t.Fatalf("item %d is %d", *next, v)
		}
		*next++
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
}

// TestSPSCProducerKilled: what a killed producer had published is there, and nothing else; the next one goes on.
func TestSPSCProducerKilled(t *testing.T) {
	b, r := sharedRing(t, 64)
	next := uint64(0)
	n, until := rounds(t)
	for range n {
		p := produce.Start(t, stream{Ring: b, From: next})
		p.WaitLine("on")
		if err := r.Produce(); !errors.Is(err, ring.ErrBusy) {
			t.Fatalf("Produce beside a living producer: %v", err)
		}
		for stop := next + uint64(until()); next < stop; runtime.Gosched() {
			popAll(t, r, &next)
		}
		p.Kill()
		p.Wait()
		popAll(t, r, &next)
		if r.Len() != 0 {
			t.Fatalf("Len %d of an empty ring", r.Len())
		}
	}
}

// TestSPSCProducerStopped: while the producer is stopped the consumer finds the ring empty and the end taken;
// then it goes on.
func TestSPSCProducerStopped(t *testing.T) {
	b, r := sharedRing(t, 64)
	next := uint64(0)
	p := produce.Start(t, stream{Ring: b})
	p.WaitLine("on")
	n, until := rounds(t)
	for range n {
		for stop := next + uint64(until()); next < stop; runtime.Gosched() {
			popAll(t, r, &next)
		}
		p.Stop()
		popAll(t, r, &next)
		if _, ok := r.TryPop(); ok {
			t.Fatal("a stopped producer produces")
		}
		if err := r.Produce(); !errors.Is(err, ring.ErrBusy) {
			t.Fatalf("Produce beside a stopped producer: %v", err)
		}
		p.Continue()
	}
}

// TestSPSCConsumerKilled: after a consumer was killed the next one gets the items from the first one on that
// was not freed. What the dead one had popped but not yet logged is lost with it: one item. With Peek none is,
// and one may come twice.
func TestSPSCConsumerKilled(t *testing.T) {
	for _, peek := range []bool{false, true} {
		t.Run(fmt.Sprintf("peek=%v", peek), func(t *testing.T) {
			b, r := sharedRing(t, 64)
			logBlock, log := sharedRing(t, 64)
			next, logged := uint64(0), uint64(0) // to be pushed; to be logged
			fill := func() {
				for r.TryPush(next) {
					next++
				}
			}
			n, until := rounds(t)
			for range n {
				p := consume.Start(t, stream{Ring: b, Log: logBlock, Peek: peek})
				p.WaitLine("on")
				for stop := logged + uint64(until()); logged < stop; runtime.Gosched() {
					fill()
					popAll(t, log, &logged)
				}
				p.Kill()
				p.Wait()
				popAll(t, log, &logged)
				fill()

				if err := r.Consume(); err != nil {
					t.Fatalf("Consume after a consumer was killed: %v", err)
				}
				first, ok := r.TryPop()
				if !ok || first != logged && (peek && first+1 != logged || !peek && first != logged+1) {
					t.Fatalf("the first item after %d was logged is %d, %v", logged-1, first, ok)
				}
				logged = first + 1
				popAll(t, r, &logged)
				if logged != next {
					t.Fatalf("popped up to %d, pushed up to %d", logged, next)
				}
				r.Close() // the next consumer shall have its end
				if r = openSPSC[uint64](t, b.Bytes(), b.Segment()); !r.TryPush(next) {
					t.Fatal(r.Err())
				}
				next++
			}
		})
	}
}
