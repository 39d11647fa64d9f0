package locks

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shoal-ipc/shoal/shm"
)

// Deadlocks finds cycles in seg in which each waits for what the next one holds, and the last for what the first one
// holds. A participant is in a cycle once, however many of its goroutines are.
//
// First come those that are certain: between Owners of RLocks that are known to act for one goroutine each (RLock.Owner
// takes the other one), no one of which gets on before the context of one of them ends, or its process does. They can
// be within one process, too, and then the cycle has that one participant; there are no others of one participant.
//
// All others are possible deadlocks: it is known which processes hold and wait, not which of their goroutines, so
// another goroutine may be about to release what is waited for. Of a semaphore with Recover one holder's release is enough, of
// an RWLock a writer waits for all readers. Who has come to a Barrier, and waits for nothing else, holds up nobody there. What
// is still there after a time in which nobody should hold anything that long is one. Not every cycle is listed, but one through
// each participant that is in any.
//
// Waits are known as Inspect says: when they have lasted for some milliseconds. A goroutine that waits behind others of its process
// for the same is not seen. Deadlocks looks twice, some milliseconds apart, and counts only what it finds both times. It
// blocks nobody, and nobody pays for it. The error is os.ErrClosed.
func Deadlocks(seg *shm.Segment) ([][]shm.Participant, error) {
	waits, err := shm.Waits(seg)
	if len(waits) > 0 && err == nil {
		time.Sleep(lookAgain)
		var again []shm.Wait
		again, err = shm.Waits(seg)
		waits = both(waits, again)
	}
	if err != nil {
		return nil, fmt.Errorf("locks: deadlocks: %w", err)
	}
	var cycles [][]shm.Participant
	var found [][]uint32
	for _, ids := range append(certain(waits), possible(waits)...) {
		members := slices.Sorted(slices.Values(ids))
		if slices.ContainsFunc(found, func(f []uint32) bool { return slices.Equal(f, members) }) {
			continue
		}
		found = append(found, members)
		var cycle []shm.Participant
		for _, id := range ids {
			cycle = append(cycle, seg.Participant(id))
		}
		cycles = append(cycles, cycle)
	}
	return cycles, nil
}

// lookAgain is how long after the first look the second one is: in that time most waits end that end at all.
const lookAgain = 10 * time.Millisecond

// both are the waits that are in a and b, with those who held what they are for both times.
func both(a, b []shm.Wait) (both []shm.Wait) {
	for _, w := range a {
		i := slices.IndexFunc(b, func(v shm.Wait) bool {
			return v.Waiter == w.Waiter && v.Tag == w.Tag && v.Object == w.Object && v.Since == w.Since
		})
		if i < 0 {
			continue
		}
		w.Holders = slices.DeleteFunc(w.Holders, func(id uint32) bool { return !slices.Contains(b[i].Holders, id) })
		if w.HeldBy != b[i].HeldBy {
			w.HeldBy = 0
		}
		both = append(both, w)
	}
	return both
}

// certain are the cycles in which each is known to be one goroutine. Such a goroutine waits for one thing, which one holds.
func certain(waits []shm.Wait) (cycles [][]uint32) {
	type goroutine struct {
		id  uint32
		tag uint64
	}
	next := make(map[goroutine]goroutine)
	for _, w := range waits {
		self := goroutine{w.Waiter, w.Tag}
		// Who has just got what it waited for has not taken its record away yet.
		if w.HeldBy != 0 && len(w.Holders) == 1 && self != (goroutine{w.Holders[0], w.HeldBy}) {
			next[self] = goroutine{w.Holders[0], w.HeldBy}
		}
	}
	less := func(a, b goroutine) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.tag, b.tag)) }
	for _, start := range slices.SortedFunc(maps.Keys(next), less) {
		ids := []uint32{start.id}
		g, ok := next[start]
		for steps := 0; ok && g != start && steps < len(next); steps++ {
			if !slices.Contains(ids, g.id) {
				ids = append(ids, g.id)
			}
			g, ok = next[g]
		}
		if ok && g == start {
			cycles = append(cycles, ids)
		}
	}
	return cycles
}

// possible are cycles of processes: for each that is in one a shortest one.
func possible(waits []shm.Wait) (cycles [][]uint32) {
	next := make(map[uint32][]uint32)
	for _, w := range waits {
		for _, id := range w.Holders {
			if id != w.Waiter && !slices.Contains(next[w.Waiter], id) {
				next[w.Waiter] = append(next[w.Waiter], id)
			}
		}
	}
	for _, start := range slices.Sorted(maps.Keys(next)) {
		from := make(map[uint32]uint32) // who waits for it
		todo := []uint32{start}
		for len(todo) > 0 && from[start] == 0 {
			id := todo[0]
			todo = todo[1:]
			for _, n := range next[id] {
				if from[n] == 0 {
					from[n] = id
					todo = append(todo, n)
				}
			}
		}
		if from[start] == 0 {
			continue
		}
		var ids []uint32
		for id := from[start]; id != start; id = from[id] {
			ids = append(ids, id)
		}
		ids = append(ids, start)
		slices.Reverse(ids)
		cycles = append(cycles, ids)
	}
	return cycles
}
