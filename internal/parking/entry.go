package parking

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// entry is a word and the value with which its goroutines came, for whom somebody else looks after it: a group. The
// shard's mutex guards it.
//
//	live   word and first are set, the shard's table has it
//	ended  they are nil, the table may have another one like it; what looks after it forgets it
//
//	join   nothing -> live    a goroutine comes, and nobody is there with the same word and value
//	release live -> ended     the word was woken or differs: all go on
//	remove  live -> ended     the last goroutine is taken out, because its wait is over or cancelled
//
// An entry that has ended does not touch the word, whose memory may be gone: what is kept is its address, and that not as
// a pointer.
type entry struct {
	shard    *shard
	keeper   keeper
	word     *atomic.Uint32
	old      uint32
	expected sys.FutexExpected // of word and old, for the kernel; never changes
	first    *waiter
	ended    atomic.Bool
	out      chan struct{} // closed when its group is done with the word's memory; nil if no group has it
	id       uint64        // of its wait, until it is cancelled; the ring's mutex guards it
}

type entryKey struct {
	word *atomic.Uint32
	old  uint32
}

// park waits without a thread of its own: the goroutine sleeps on a channel.
func park(ctx context.Context, w *atomic.Uint32, old uint32, over func() bool) error {
	wt := pool.Get().(*waiter)
	limit := sleepCap()
	if over != nil && !crashpoint.Enabled {
		limit *= patience
	}
	wt.over, wt.until = over, sys.Monotonic()+int64(limit)
	wt.join(w, old)
	var expired <-chan time.Time
	if d, ok := ctx.Deadline(); ok {
		timer := time.NewTimer(time.Until(d))
		defer timer.Stop()
		expired = timer.C
	}
	var err error
	// The kernel compared the word when the first of the entry went to sleep. If it has changed since then, the wake may have
	// been another process's.
	if w.Load() == old && (over == nil || !over()) { // PAIRS WITH Kick
		select {
		case <-wt.gone:
			wt.went()
			return nil
		case <-ctx.Done():
			err = ctx.Err()
		case <-expired:
			err = context.DeadlineExceeded
		}
	}
	if wt.leave() {
		wt.put()
	} else {
		<-wt.gone
		wt.went()
		err = nil // what let it go may have been a wake
	}
	if w.Load() != old {
		return nil
	}
	return err
}

// went is for who was let go.
func (wt *waiter) went() {
	if wt.early {
		wt.entry.quit()
	}
	wt.put()
}

// put is for who waits no more, and nobody else knows of.
func (wt *waiter) put() {
	wt.shared, wt.over, wt.entry, wt.early = nil, nil, nil, false
	pool.Put(wt)
}

// join makes wt one of those who wait for w to be other than old.
func (wt *waiter) join(w *atomic.Uint32, old uint32) {
	s := shardOf(w)
	s.mu.Lock()
	e := s.entries[entryKey{w, old}]
	fresh := e == nil
	if fresh {
		e = &entry{shard: s, word: w, old: old, expected: sys.Expect(w, old)}
		if s.entries == nil {
			s.entries = make(map[entryKey]*entry)
		}
		s.entries[entryKey{w, old}] = e
		groups.add(e)
	}
	wt.entry, wt.waits = e, true
	link(&e.first, wt)
	s.mu.Unlock()
	if fresh {
		e.keeper.added(e)
	}
}

// leave takes wt out, unless it has been let go already.
func (wt *waiter) leave() bool {
	e := wt.entry
	e.shard.mu.Lock()
	waited := wt.waits
	if waited {
		e.remove(wt)
	}
	e.shard.mu.Unlock()
	if waited {
		e.quit()
	}
	return waited
}

// quit is for who leaves e, or was let go while the kernel may have e's wait. If nobody stays, that wait is over when it
// returns: on the ring it is cancelled, or was woken for a change that the caller is about to see; a group has passed on
// the wake that it may have used up. From then on the memory may go, by whose address that is done.
func (e *entry) quit() {
	if !e.ended.Load() {
		return
	}
	e.keeper.emptied(e)
	if e.out != nil {
		<-e.out
	}
}

// remove takes wt, which waits, out.
func (e *entry) remove(wt *waiter) {
	unlink(&e.first, wt)
	wt.waits = false
	if e.first == nil {
		e.end()
	}
}

// letGo takes wt, which waits, out and tells it.
func (e *entry) letGo(wt *waiter) {
	e.remove(wt)
	wt.gone <- struct{}{}
}

// release lets all go on.
func (e *entry) release() {
	for e.first != nil {
		e.letGo(e.first)
	}
}

func (e *entry) end() {
	delete(e.shard.entries, entryKey{e.word, e.old})
	e.word = nil
	e.ended.Store(true) // PAIRS WITH current
}

// expire lets those go on whose time has come or whose wait is over.
func (e *entry) expire(now int64) {
	for wt := e.first; wt != nil; {
		next := wt.next
		if wt.until <= now || wt.over != nil && wt.over() {
			wt.early = true
			e.letGo(wt)
		}
		wt = next
	}
}

// What look finds.
type found int

const (
	lives found = iota
	ends        // it ended now
	stale       // it had ended before: if it was woken that was meant for somebody who stays
)

// look lets those go on whom e concerns: all if it was woken or the word differs, else, when ask, those who have waited for
// long enough or whose wait is over.
func (e *entry) look(woken, ask bool, now int64) found {
	e.shard.mu.Lock()
	defer e.shard.mu.Unlock()
	switch {
	case e.ended.Load():
		return stale
	case woken || e.word.Load() != e.old:
		e.release()
	case ask:
		e.expire(now + int64(sleepCap())/2) // so that waits are as long as they should be on average
	}
	if e.ended.Load() {
		return ends
	}
	return lives
}

// kickEntries lets those go on who wait for a word in the given memory and whose wait is over. The shard is locked.
func (s *shard) kickEntries(in func(w *atomic.Uint32) bool) (n int) {
	for key, e := range s.entries {
		if !in(key.word) {
			continue
		}
		for wt := e.first; wt != nil; {
			next := wt.next
			if wt.over == nil || wt.over() {
				wt.early = true
				e.letGo(wt)
				n++
			}
			wt = next
		}
	}
	return n
}
