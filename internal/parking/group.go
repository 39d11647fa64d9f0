package parking

import (
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
)

const (
	// mostGroups bounds the threads. With those that sleep directly and the runtime's own a process stays below 128.
	mostGroups = 80
	// groupSize is how many entries a thread waits for, beside its own word.
	groupSize = sys.FutexMost - 1
	// pollLeast is how long the goroutine that polls sleeps between two looks at least. While nothing happens it doubles
	// that at each look, pollSlower times.
	pollLeast  = time.Millisecond
	pollSlower = 4
)

// groups look after entries.
var groups grouping

type grouping struct {
	mu   sync.Mutex
	ring *ring    // nil while it is not needed, or not to be had
	all  []*group // with a thread each
	poll *group   // without; nil while it is not needed
}

// keeper looks after entries.
type keeper interface {
	added(e *entry)   // is called after e was added, and its shard unlocked
	emptied(e *entry) // is called when e has ended, but by the keeper itself
}

// group is one goroutine that looks after entries, in the kernel if it can.
type group struct {
	own     atomic.Uint32 // futex word: 1 when the kernel is to let the thread look again
	polls   bool
	entries []*entry // groups.mu guards it; only the group's goroutine takes some out
}

// add gives e to the ring, or else to the first group that has room. So groups that were left by most of theirs become
// empty in time, for all come back within seconds, and end.
func (gs *grouping) add(e *entry) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if hasRing() && !forced.noRing.Load() {
		if gs.ring == nil {
			gs.ring = newRing()
		}
		if r := gs.ring; r != nil && r.members < mostRung && !r.failed.Load() {
			r.members++
			e.keeper = r
			return
		}
	}
	g := gs.room()
	g.entries = append(g.entries, e)
	e.keeper = g
	if !g.polls {
		e.out = make(chan struct{})
	}
}

// done says that the ring is done with n entries.
func (gs *grouping) done(r *ring, n int) {
	gs.mu.Lock()
	r.members -= n
	gs.mu.Unlock()
}

// unrung ends the ring if it has no entries.
func (gs *grouping) unrung(r *ring) bool {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	if r.members == 0 {
		gs.ring = nil
	}
	return gs.ring == nil
}

func (gs *grouping) room() *group {
	if waitv() {
		for _, g := range gs.all {
			if len(g.entries) < groupSize {
				return g
			}
		}
		if len(gs.all) < mostGroups {
			g := new(group)
			gs.all = append(gs.all, g)
			go g.run()
			return g
		}
	}
	if gs.poll == nil {
		gs.poll = &group{polls: true}
		go gs.poll.run()
	}
	return gs.poll
}

// interrupt makes the thread look at its entries again.
func (g *group) interrupt() {
	if !g.polls && g.own.Swap(1) == 0 { // PAIRS WITH run: before the entries are read
		sys.FutexWakeOwn(&g.own)
	}
}

func (g *group) added(*entry)   { g.interrupt() }
func (g *group) emptied(*entry) { g.interrupt() }

// current drops the entries that have ended and returns those that are left; if there are none g has ended. What ended
// since g looked was not in the kernel since then, and has used up no wake.
func (gs *grouping) current(g *group) []*entry {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g.entries = slices.DeleteFunc(g.entries, func(e *entry) bool {
		ended := e.ended.Load() // PAIRS WITH end
		if ended && e.out != nil {
			close(e.out)
		}
		return ended
	})
	if len(g.entries) == 0 {
		if g.polls {
			gs.poll = nil
		} else {
			gs.all = slices.DeleteFunc(gs.all, func(o *group) bool { return o == g })
		}
	}
	return g.entries
}

func (g *group) run() {
	asks := nextAsk(sys.Monotonic(), sleepCap())
	sleep := g.sleeper()
	quiet, before := 0, 0 // sleeps since something changed
	for {
		g.own.Store(0) // PAIRS WITH interrupt: what it announces is seen now, or ends the sleep
		entries := groups.current(g)
		if len(entries) == 0 {
			return
		}
		if quiet++; len(entries) != before {
			quiet = 0
		}
		before = len(entries)
		woken := sleep(entries, asks, quiet)
		now := sys.Monotonic()
		ask := now >= asks
		if ask {
			asks = nextAsk(now, sleepCap())
		}
		for i, e := range entries {
			switch e.look(woken == i || woken == all, ask, now) {
			case stale: // its part of the sleep may have used up a wake
				if quiet = 0; !g.polls {
					e.expected.Wake()
				}
			case ends:
				quiet = 0
			}
		}
	}
}

// nextAsk is when groups look at their words and ask those who wait whether they still want to: all at the same time, which
// costs less than one after the other, for an idle processor is woken once.
func nextAsk(now int64, each time.Duration) int64 {
	return now - now%int64(each) + int64(each)
}

// What a group's sleep returns if it is not the number of an entry that was woken.
const (
	none = -1
	all  = -2 // all may have been
)

// sleeper returns what g does until one of its entries may have to go on, or until a time.
func (g *group) sleeper() func(entries []*entry, until int64, quiet int) (woken int) {
	if g.polls {
		return poller()
	}
	words := make([]sys.FutexExpected, 0, sys.FutexMost)
	return func(entries []*entry, until int64, _ int) int {
		words = append(words[:0], sys.ExpectOwn(&g.own, 0))
		for _, e := range entries {
			words = append(words, e.expected)
		}
		switch woken, err := sys.FutexWaitAny(words, until); err {
		case nil:
			return woken - 1 // none, if it was own
		case syscall.EAGAIN, syscall.EINTR, syscall.ETIMEDOUT:
			return none
		default:
			return all // ENOMEM, or EFAULT when memory went with somebody in Wait: let them find out
		}
	}
}

// poller returns a sleep that leaves what is done between two of them 1% of one CPU at most.
func poller() func(entries []*entry, until int64, quiet int) (woken int) {
	began := sys.Monotonic()
	return func(entries []*entry, until int64, quiet int) int {
		busy := time.Duration(sys.Monotonic() - began)
		time.Sleep(min(max(pollLeast<<min(quiet, pollSlower), 100*busy), waitCap))
		began = sys.Monotonic()
		return none
	}
}
