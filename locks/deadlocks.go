package locks

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/shoal-ipc/shoal/shm"
)

// Cycle is a circle of waits: what each Edge waits for is held by the Waiter of the next one, and in the last Edge by that of
// the first.
type Cycle struct {
	// Certain says that nobody in the circle goes on until the context of one of them ends, or the process of one does. Else
	// it is a possible deadlock: see Deadlocks.
	Certain bool
	Edges   []Edge
}

// Edge is one wait, and one of those who hold what it is for.
type Edge struct {
	Waiter shm.Participant
	Object shm.ObjectInfo // only the offset in its Handle is known of one that was freed
	Holder shm.Participant
	Since  time.Time // since when Waiter waits
}

// String says who waits for what, for people.
func (c Cycle) String() string {
	text := "possible deadlock: "
	if c.Certain {
		text = "deadlock: "
	}
	for i, e := range c.Edges {
		if i > 0 {
			text += "; "
		}
		text += e.String()
	}
	return text
}

// String says who waits for what, since when, and who holds that, for people.
func (e Edge) String() string {
	text := who(e.Waiter) + " has waited"
	if !e.Since.IsZero() {
		text += " " + time.Since(e.Since).Round(time.Millisecond).String()
	}
	text += " for " + cmp.Or(e.Object.Kind, "an object")
	if e.Object.Name != "" {
		text += fmt.Sprintf(" %q", e.Object.Name)
	}
	text += fmt.Sprintf(" @%d, ", e.Object.Handle.Offset)
	switch e.Object.Kind {
	case barrierKind.Name:
		text += "to which " + who(e.Holder) + " is to come"
	case rwlockKind.Name:
		text += "which " + who(e.Holder) + " has, or is to have first"
	default:
		text += "held by " + who(e.Holder)
	}
	return text
}

func who(p shm.Participant) string {
	if p.Pid == 0 {
		return "a process that has ended"
	}
	return fmt.Sprintf("process %d", p.Pid)
}

// Deadlocks finds cycles in seg in which each waits for what the next one holds, and the last for what the first one
// holds.
//
// First come all those that are certain: between Owners of RLocks that are known to act for one goroutine each (RLock.Owner
// takes the other one). In such a cycle nobody goes on until the context of one of them ends, or the process of one does. Each
// of its Edges is the wait of one goroutine, so a process may be in it more than once, and it may be within one process.
//
// All others are possible deadlocks, between two or more processes, each of which is in the cycle once. It is known which
// processes hold and wait, not which of their goroutines, so another goroutine may be about to release what is waited for. Of
// a semaphore with Recover one holder's release is enough, of an RWLock a writer waits for all readers. Who has come to a
// Barrier, and waits for nothing else, holds up nobody there. What is still there after a time in which nobody should hold
// anything that long is a deadlock. Not every one of these cycles is listed, but one through each participant that is in any.
//
// Found are waits for what is known to be held: a Lock, an RLock, an RWLock, the lock of a value, an array or a condition, permits
// of a semaphore with Recover, and a Barrier to which somebody is bound. Of an Event, of a semaphore without Recover and of
// the notification for which Condition.Wait waits nobody knows who they are to come from, so no cycle leads through them;
// none leads out of the segment either. (A Wait counts as one for the condition's own lock while another participant holds
// that, since it is not over before it has it.)
//
// Waits are known as Inspect says: when they have lasted for some milliseconds. A goroutine that waits behind others of its process
// for the same is not seen. Deadlocks looks twice, some milliseconds apart, and counts only what it finds both times. It
// blocks nobody, and nobody pays for it. The error is os.ErrClosed.
func Deadlocks(seg *shm.Segment) ([]Cycle, error) {
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
	var cycles []Cycle
	var found [][]uint32
	for i, links := range [][][]link{certain(waits), possible(waits)} {
		for _, c := range links {
			members := membersOf(c)
			known := slices.ContainsFunc(found, func(f []uint32) bool { return slices.Equal(f, members) })
			if i > 0 && known { // it may be the same as one that is certain
				continue
			}
			found = append(found, members)
			cycles = append(cycles, Cycle{Certain: i == 0, Edges: edges(seg, c)})
		}
	}
	return cycles, nil
}

// link is an Edge by numbers.
type link struct {
	wait   shm.Wait
	holder uint32
}

// membersOf are the participants in a cycle, sorted.
func membersOf(links []link) (ids []uint32) {
	for _, l := range links {
		ids = append(ids, l.wait.Waiter)
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

func edges(seg *shm.Segment, links []link) (edges []Edge) {
	objects := make(map[uint64]shm.ObjectInfo)
	for o := range seg.Objects() {
		if slices.ContainsFunc(links, func(l link) bool { return l.wait.Object == o.Handle.Offset }) {
			objects[o.Handle.Offset] = o
		}
	}
	for _, l := range links {
		o := objects[l.wait.Object]
		o.Handle.Offset = l.wait.Object
		edges = append(edges, Edge{
			Waiter: seg.Participant(l.wait.Waiter),
			Object: o,
			Holder: seg.Participant(l.holder),
			Since:  time.Unix(0, l.wait.Since),
		})
	}
	return edges
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
func certain(waits []shm.Wait) (cycles [][]link) {
	type goroutine struct {
		id  uint32
		tag uint64
	}
	waiter := func(w shm.Wait) goroutine { return goroutine{w.Waiter, w.Tag} }
	holder := func(w shm.Wait) goroutine { return goroutine{w.Holders[0], w.HeldBy} }
	next := make(map[goroutine]shm.Wait)
	for _, w := range waits {
		// Who has just got what it waited for has not taken its record away yet.
		if w.HeldBy != 0 && len(w.Holders) == 1 && waiter(w) != holder(w) {
			next[waiter(w)] = w
		}
	}
	less := func(a, b goroutine) int { return cmp.Or(cmp.Compare(a.id, b.id), cmp.Compare(a.tag, b.tag)) }
	in := make(map[goroutine]bool) // a cycle that was found: no other one then
	for _, start := range slices.SortedFunc(maps.Keys(next), less) {
		if in[start] {
			continue
		}
		var links []link
		for w, ok := next[start]; ok && len(links) < len(next); w, ok = next[holder(w)] {
			links = append(links, link{w, w.Holders[0]})
			if holder(w) == start {
				for _, l := range links {
					in[waiter(l.wait)] = true
				}
				cycles = append(cycles, links)
				break
			}
		}
	}
	return cycles
}

// possible are cycles of processes: for each that is in one a shortest one. Of several waits between two the longest counts.
func possible(waits []shm.Wait) (cycles [][]link) {
	next := make(map[uint32][]link)
	for _, w := range slices.SortedStableFunc(slices.Values(waits), func(a, b shm.Wait) int { return cmp.Compare(a.Since, b.Since) }) {
		for _, id := range w.Holders {
			if id != w.Waiter && !slices.ContainsFunc(next[w.Waiter], func(l link) bool { return l.holder == id }) {
				next[w.Waiter] = append(next[w.Waiter], link{w, id})
			}
		}
	}
	for _, start := range slices.Sorted(maps.Keys(next)) {
		to := make(map[uint32]link) // by which each was found
		todo := []uint32{start}
		for len(todo) > 0 && to[start].holder == 0 {
			id := todo[0]
			todo = todo[1:]
			for _, l := range next[id] {
				if to[l.holder].holder == 0 {
					to[l.holder] = l
					todo = append(todo, l.holder)
				}
			}
		}
		if to[start].holder == 0 {
			continue
		}
		links := []link{to[start]}
		for links[0].wait.Waiter != start {
			links = slices.Insert(links, 0, to[links[0].wait.Waiter])
		}
		cycles = append(cycles, links)
	}
	return cycles
}
