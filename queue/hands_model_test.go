package queue_test

import "testing"

// A model of what JoinableQueue counts: all interleavings of one who gets an item and is done with it, one who says TaskDone for what the
// other has in hand, one who finds nothing, a death of any of them at any step, and one who looks whether all is dealt with. A step is
// one change, or one load, of shared memory.

// handsState is shared memory, and where each process is.
type handsState struct {
	queue, pushed, done int8
	hand, busy          [2]int8
	dead                [2]bool
	at                  [2]int8 // step of the goroutines, one in each process
	got                 [2]int8
	// Of the look.
	look, i, lost int8
}

// The mistakes that the model is to find.
const (
	noMistake  = iota
	oneLook    // at who is busy, and not again after all hands
	handFirst  // Items before Busy
	countFirst // Done before all hands
)

// TestHandsModel goes through all of them.
func TestHandsModel(t *testing.T) {
	for mistake, want := range []bool{noMistake: true, oneLook: false, handFirst: false, countFirst: false} {
		ok, n := explore(mistake)
		if ok != want {
			t.Errorf("mistake %d: sound is %t, want %t, in %d states", mistake, ok, want, n)
		}
		if n < 1000 {
			t.Errorf("mistake %d: only %d states", mistake, n)
		}
	}
}

func explore(mistake int) (ok bool, states int) {
	seen := make(map[handsState]bool)
	ok = true
	var visit func(s handsState)
	visit = func(s handsState) {
		if seen[s] {
			return
		}
		seen[s] = true
		for p := range 2 {
			if s.dead[p] {
				continue
			}
			for _, n := range step(s, p) {
				visit(n)
			}
			n := s
			n.dead[p] = true
			visit(n)
		}
		if n, over := looked(s, mistake); n.look == 9 {
			ok = ok && sound(n)
		} else if !over {
			visit(n)
		}
	}
	visit(handsState{queue: 1, pushed: 1})
	return ok, len(seen)
}

// step is what process p may do next: process 0 gets and is done, process 1 gets (and may find nothing), and may then be done with
// what it has, or the other.
func step(s handsState, p int) (next []handsState) {
	n := s
	n.at[p]++
	switch s.at[p] {
	case 0: // get
		n.busy[p]++
	case 1:
		if n.queue > 0 {
			n.queue--
			n.got[p] = 1
		}
	case 2:
		n.hand[p] += n.got[p]
	case 3:
		n.busy[p]--
	case 4: // TaskDone, of process 1 in any case: for what it has or the other. Process 0 leaves it to that, or not.
		n.busy[p]++
		if p == 0 {
			stay := s
			stay.at[p] = 9
			next = append(next, stay)
		}
	case 5:
		switch {
		case n.hand[p] > 0:
			n.hand[p]--
			n.got[p] = 2
		case n.hand[1-p] > 0 && !s.dead[1-p]:
			n.hand[1-p]--
			n.got[p] = 2
		default:
			n.got[p] = 0
		}
	case 6:
		if n.got[p] == 2 {
			n.done++
		}
	case 7:
		n.busy[p]--
	case 8: // once more: the other may have something by now
		if p == 1 && s.done == 0 {
			n.at[p] = 4
		}
	default:
		return next
	}
	return append(next, n)
}

// looked is the next step of drained; over says that it has ended, in step 9 if it found all dealt with.
func looked(s handsState, mistake int) (n handsState, over bool) {
	n = s
	alive := func(p int8, v int8) int8 {
		if s.dead[p] {
			return 0
		}
		return v
	}
	fail := func(bad bool, next int8) (handsState, bool) {
		if bad {
			n.look = -1
			return n, true
		}
		n.look = next
		return n, false
	}
	switch s.look {
	case 0:
		if mistake == countFirst { // done is noted before anything else
			n.lost = s.pushed - s.done
		}
		return fail(s.queue != 0, 1)
	case 1, 2:
		first := s.look == 1
		if mistake == handFirst {
			first = !first
		}
		v := alive(s.i, s.hand[s.i])
		if first {
			v = alive(s.i, s.busy[s.i])
		}
		next := s.look + 1
		if s.look == 2 {
			n.i++
			next = 1
			if n.i == 2 {
				n.i, next = 0, 3
				if mistake == oneLook {
					next = 4
				}
			}
		}
		return fail(v != 0, next)
	case 3:
		n.i++
		next := int8(3)
		if n.i == 2 {
			next = 4
		}
		return fail(alive(s.i, s.busy[s.i]) != 0, next)
	case 4:
		if mistake != countFirst {
			n.lost = s.pushed - s.done
		}
		n.look = 9
		return n, false
	}
	return n, true
}

// sound reports whether it is right that all is dealt with, and whether something was lost.
func sound(s handsState) bool {
	if s.lost == 0 {
		return s.done == s.pushed
	}
	return s.done < s.pushed && (s.dead[0] || s.dead[1]) && neverDone(s)
}

// neverDone reports whether nobody who lives will be done with the item.
func neverDone(s handsState) bool {
	for p := range 2 {
		if !s.dead[p] && (s.hand[p] != 0 || s.at[p] == 2 && s.got[p] == 1 || s.at[p] == 6 && s.got[p] == 2) {
			return false
		}
	}
	return s.queue == 0
}
