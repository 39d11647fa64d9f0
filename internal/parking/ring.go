package parking

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// mostRung is how many entries the ring has room for: the kernel has some hundred bytes for each.
const mostRung = 16384

// ring looks after entries by waits on an io_uring, each ended by the kernel alone, without a thread. It takes the place of
// groups where it is allowed, and is there while it has entries, and up to a second longer.
type ring struct {
	members int // entries that were added and are not done with; groups.mu guards it

	mu     sync.Mutex // after the shards'; not held together with groups.mu
	kernel *sys.FutexRing
	failed atomic.Bool // the kernel refused a wait: no more are added
	last   uint64
	flying map[uint64]*entry // those that the kernel has
}

func newRing() *ring {
	kernel, err := sys.NewFutexRing(mostRung)
	if err != nil {
		return nil
	}
	r := &ring{kernel: kernel, flying: make(map[uint64]*entry)}
	go r.run()
	return r
}

// added gives the kernel e's wait.
func (r *ring) added(e *entry) {
	r.mu.Lock()
	if e.ended.Load() { // before its wait began
		r.mu.Unlock()
		groups.done(r, 1)
		return
	}
	r.last++
	e.id = r.last
	err := r.kernel.Wait(e.expected, e.id)
	if err == nil {
		r.flying[e.id] = e
	} else {
		r.failed.Store(true)
	}
	r.mu.Unlock()
	if err != nil {
		groups.done(r, 1)
		e.shard.mu.Lock()
		if !e.ended.Load() {
			e.release() // they come back, and do without the ring
		}
		e.shard.mu.Unlock()
	}
}

// emptied cancels e's wait. If that fails the wait goes on, and passes a wake on when it gets one.
func (r *ring) emptied(e *entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.flying[e.id] == e {
		r.kernel.Cancel(e.id)
		e.id = 0 // once, though many may leave at a time
	}
}

func (r *ring) run() {
	type completion struct {
		e     *entry
		woken bool
	}
	var done []completion
	var asked []*entry
	for asks := nextAsk(sys.Monotonic(), waitCap); ; {
		r.kernel.Sleep(time.Now().Add(time.Duration(asks - sys.Monotonic())))
		done, asked = done[:0], asked[:0]
		now := sys.Monotonic()
		ask := now >= asks
		r.mu.Lock()
		r.kernel.Completed(func(id uint64, err error) {
			done = append(done, completion{r.flying[id], err == nil})
			delete(r.flying, id)
		})
		if ask {
			asks = nextAsk(now, waitCap)
			if !forced.noCap.Load() {
				asked = slices.AppendSeq(asked, maps.Values(r.flying))
			}
		}
		r.mu.Unlock()

		for _, c := range done {
			// Without a wake: cancelled, or the word is another, or the thread that began the wait has ended.
			if c.e.look(true, false, now) == stale && c.woken {
				c.e.expected.Wake()
			}
		}
		for _, e := range asked {
			if e.look(false, true, now) == ends {
				r.emptied(e)
			}
		}
		if groups.done(r, len(done)); ask && groups.unrung(r) {
			r.kernel.Close()
			return
		}
		clear(done)
		clear(asked)
	}
}
