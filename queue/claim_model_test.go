package queue_test

import "testing"

// A model of items that are passed: all interleavings of a producer and two consumers, of which the first may be killed at any step. The
// ring has two slots, with a message each; the producer puts four items into blocks as it finds them free, and a step is one change, or one
// load, of shared memory.

const passedItems = 4

// passBlocks is the block of each item.
var passBlocks = [passedItems]int8{0, 1, 2, 0}

type passState struct {
	// A block is free (0), passed (1), or had by a consumer (2 and 3); content is the item.
	block, stamp, content [3]int8
	offsetOf, stampOf     [2]int8 // the messages
	next                  [2]int8 // a slot: 2 * lap, and 1 if it is filled
	put, putAt            int8    // the producer's item, and step
	at, pos, off, st, got [2]int8 // of each consumer
	claimed               int8    // so many items were claimed, in order
	dead                  bool
}

// The mistakes that the model is to find.
const (
	passSound = iota
	passTorn  // what was copied is not known to be whole
	passTake  // the message is taken before the item is claimed
)

// TestClaimModel goes through all of them.
func TestClaimModel(t *testing.T) {
	for mistake, want := range []string{passSound: "", passTorn: "out of order", passTake: "leaked"} {
		got, n := explorePassed(mistake)
		if got != want {
			t.Errorf("mistake %d: %q, want %q, in %d states", mistake, got, want, n)
		}
		if mistake == passSound && n < 1000 {
			t.Errorf("only %d states", n)
		}
	}
}

func explorePassed(mistake int) (wrong string, states int) {
	seen := make(map[passState]bool)
	var visit func(s passState)
	visit = func(s passState) {
		if seen[s] || wrong != "" {
			return
		}
		seen[s] = true
		moved := false
		if n, ok := s.produce(); ok {
			moved = true
			visit(n)
		}
		for c := range 2 {
			if c == 0 && s.dead {
				continue
			}
			n, ok, why := s.consume(c, mistake)
			if why != "" {
				wrong = why
				return
			}
			if ok {
				moved = true
				visit(n)
			}
		}
		if !s.dead {
			n := s
			n.dead = true
			for b := range n.block { // what it had is swept up
				if n.block[b] == 2 {
					n.block[b] = 0
				}
			}
			visit(n)
		}
		if !moved {
			switch {
			case s.block != [3]int8{}:
				wrong = "leaked"
			case s.put != passedItems:
				wrong = "stuck"
			case s.claimed != passedItems && mistake != passTake:
				wrong = "lost"
			}
		}
	}
	visit(passState{})
	return wrong, len(seen)
}

// produce is the producer's next step.
func (s passState) produce() (passState, bool) {
	if s.put == passedItems {
		return s, false
	}
	i, b := s.put%2, passBlocks[s.put]
	switch s.putAt {
	case 0:
		if s.block[b] != 0 || s.next[i] != s.put/2*2 {
			return s, false // it waits for room
		}
		s.block[b], s.content[b] = 1, s.put
		s.stamp[b]++
		if s.put == 2 {
			s.stamp[b]++ // this block was used once more: its stamp is the one that the fourth item's will have
		}
	case 1:
		s.offsetOf[i] = b
	case 2:
		s.stampOf[i] = s.stamp[b]
	case 3:
		s.next[i]++
		s.put++
		s.putAt = -1
	}
	s.putAt++
	return s, true
}

// consume is the next step of consumer c.
func (s passState) consume(c int, mistake int) (_ passState, ok bool, wrong string) {
	filled := func(p int8) bool { return s.next[p%2] == p/2*2+1 }
	i := s.pos[c] % 2
	claim := func() {
		s.got[c] = -1
		if b := s.off[c]; s.block[b] == 1 && s.stamp[b] == s.st[c] {
			s.block[b], s.got[c] = 2+int8(c), s.content[b]
			if mistake != passTake && s.content[b] != s.claimed {
				wrong = "out of order"
			}
			s.claimed++
		}
	}
	take := func() bool {
		if filled(s.pos[c]) {
			s.next[i]++
			return true
		}
		return false
	}
	switch s.at[c] {
	case 0:
		p := int8(0)
		for p < passedItems && s.next[p%2] > p/2*2+1 {
			p++
		}
		if p == passedItems || !filled(p) {
			return s, false, ""
		}
		s.pos[c] = p
	case 1:
		s.off[c] = s.offsetOf[i]
	case 2:
		s.st[c] = s.stampOf[i]
	case 3:
		if mistake != passTorn && !filled(s.pos[c]) {
			s.at[c] = -1
		}
	case 4:
		if mistake != passTake {
			claim()
		} else if !take() {
			s.at[c] = -1
		}
	case 5:
		if mistake != passTake {
			take()
		} else {
			claim()
		}
	case 6:
		if s.got[c] >= 0 {
			s.block[s.off[c]] = 0
		}
		s.at[c] = -1
	}
	if s.at[c] == -1 { // what it knows counts for nothing any more
		s.pos[c], s.off[c], s.st[c], s.got[c] = 0, 0, 0, 0
	}
	s.at[c]++
	return s, true, wrong
}
