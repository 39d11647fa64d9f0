package ring_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// cast is a Broadcast that processes are given. Numbers in it are their positions.
type cast struct {
	B     *shm.Block
	Items uint64 // in all
	Way   int    // of popping
}

func (c cast) open() (*ring.Broadcast[uint64], error) {
	return ring.OpenBroadcast[uint64](c.B.Bytes(), c.B.Segment())
}

// newCast makes a ring of n numbers in a segment of its own.
func newCast(t testing.TB, n int, o options) (cast, *ring.Broadcast[uint64]) {
	t.Helper()
	seg := proctest.Segment(t, 0)
	block, err := shm.NewBlock(seg, "", ring.BroadcastSize[uint64](n, o))
	proctest.Must(t, err)
	b, err := ring.NewBroadcast[uint64](block.Bytes(), n, seg, o)
	proctest.Must(t, err)
	return cast{B: block}, b
}

// listen joins, reads up to the last number, and checks them.
var listen = proctest.NewRole("listen", func(_ context.Context, c *proctest.Child, a cast) error {
	defer runtime.KeepAlive(a.B)
	b, err := a.open()
	if err != nil {
		return err
	}
	r, err := b.Reader()
	if err != nil {
		return err
	}
	c.Say("joined")
	next, err := follow(r, a.Way, 0, a.Items, func(uint64) bool { return false })
	if err != nil {
		return err
	}
	c.Say("read %d", next)
	return r.Close()
})

// speak pushes numbers for ever, from where the last one stopped.
var speak = proctest.NewRole("speak", func(_ context.Context, c *proctest.Child, a cast) error {
	defer runtime.KeepAlive(a.B)
	b, err := a.open()
	if err != nil {
		return err
	}
	if err := b.Produce(); err != nil {
		return err
	}
	c.Say("on")
	for at := ring.Tail(a.B.Bytes()); b.Err() == nil; {
		if b.TryPush(at) {
			at++
		} else {
			runtime.Gosched()
		}
	}
	return b.Err()
})

// TestBroadcastProcesses: readers in several processes each see every number once and in order, or are told how many
// they lost. One of them is killed: the producer goes on. Another is stopped for a while.
func TestBroadcastProcesses(t *testing.T) {
	items := uint64(50_000)
	if testing.Short() || race.Enabled {
		items = 5_000
	}
	for _, o := range kinds {
		t.Run(kindName(o), func(t *testing.T) {
			c, b := newCast(t, 1024, o) // large, as more processes look for items here than there may be processors
			c.Items = items
			start := func(way int) *proctest.Proc {
				c.Way = way
				p := listen.Start(t, c)
				p.WaitLine("joined")
				return p
			}
			readers := []*proctest.Proc{start(0), start(1), start(0)}
			if !o.Lossy {
				readers[2] = start(2)
			}
			victim := start(1)
			for at := uint64(0); at < items; {
				if !b.TryPush(at) {
					runtime.Gosched()
					continue
				}
				at++
				switch at {
				case items / 4:
					victim.Kill()
				case items / 2:
					readers[0].Stop()
					for !o.Lossy && b.TryPush(at) { // it holds the producer back
						at++
					}
					readers[0].Continue()
				}
			}
			victim.Wait()
			for _, p := range readers {
				p.WaitLine(fmt.Sprintf("read %d", items))
				p.Wait()
			}
			if b.Err() != nil {
				t.Error(b.Err())
			}
			runtime.KeepAlive(c.B)
		})
	}
}

// TestBroadcastProducerKilled: what a killed producer had published is there, and nothing else; the next one goes on,
// and readers notice nothing.
func TestBroadcastProducerKilled(t *testing.T) {
	for _, o := range kinds {
		t.Run(kindName(o), func(t *testing.T) {
			c, b := newCast(t, 1024, o)
			r := join(t, b)
			next := uint64(0)
			n, until := rounds(t)
			for range n {
				p := speak.Start(t, c)
				p.WaitLine("on")
				for stop := next + uint64(until()); next < stop; {
					v, lost, ok := r.TryPop()
					if !ok {
						proctest.Must(t, r.Err())
						runtime.Gosched()
						continue
					}
					if next += lost; v != next {
						t.Fatalf("item %d is %d, %d lost", next, v, lost)
					}
					next++
				}
				p.Kill()
				p.Wait()
			}
			runtime.KeepAlive(c.B)
		})
	}
}
