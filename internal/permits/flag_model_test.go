package permits_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
)

// flagFaults are deliberate mistakes, to see that the model finds them.
type flagFaults struct {
	setUncounted  bool // the flag has no COUNT
	setForgets    bool // no wake
	setWakesOne   bool
	setKeepsSleep bool // SLEEPS is taken away after the wake, without comparing
	sleepUnasked  bool // SLEEPS is set whatever the flag is, and that is slept on
	sleepForgets  bool // sleeps without SLEEPS
}

// flagState is a state of the flag.
type flagState struct {
	set, sleeps bool
	count       uint8
	actors      [actors]actor // those that only release set the flag and clear it; the others wait for it
	budget
}

func (s flagState) String() string {
	w := ""
	if s.set {
		w += " SET"
	}
	if s.sleeps {
		w += " SLEEPS"
	}
	return fmt.Sprintf("{%d%s} %v %v", s.count, w, s.actors, s.budget)
}

// same sorts the processes, which no word tells apart.
func (s flagState) same() flagState {
	slices.SortFunc(s.actors[:], func(a, b actor) int { return cmp.Compare(a.key(), b.key()) })
	return s
}

// low is what the kernel compares, but for the count.
func (s flagState) low() (low uint8) {
	if s.set {
		low |= 1
	}
	if s.sleeps {
		low |= 2
	}
	return low
}

// goes reports whether a, who waits, may go on.
func (s flagState) goes(a actor) bool { return s.set || s.count != a.count }

type flagModel struct {
	flagFaults
	explorer[flagState]
}

func runFlag(f flagFaults, start flagState) (int, string) {
	m := flagModel{flagFaults: f}
	return m.run(start, m.step, m.check)
}

func (m *flagModel) check(s flagState, end bool) {
	if s.set && s.sleeps {
		m.fail("SET and SLEEPS")
	}
	for _, a := range s.actors { // in whom cell is 1, for this alone, if the flag was set since he noted its count
		if a.pc != asleep {
			continue
		}
		if a.cell == 0 && !s.sleeps {
			m.fail("somebody sleeps and the flag does not say so")
		}
		if end && a.cell != 0 && s.excused == 0 {
			m.fail("the flag was set, and somebody sleeps on")
		}
	}
}

func (m *flagModel) step(s flagState) (moved bool) {
	for i := range s.actors {
		a := s.actors[i]
		if a.pc != killed && s.kills > 0 && (a.pc != idle || a.ops > 0) {
			n := s
			n.kills--
			n.actors[i] = actor{pc: killed}
			if a.pc == wakeAll {
				n.excused++
			}
			m.next(n.same())
		}
		moved = m.act(s, i) || moved
	}
	return moved
}

func (m *flagModel) act(s flagState, i int) bool {
	a := &s.actors[i]
	enter := func(pc uint8) { a.pc = pc; m.next(s.same()) }
	end := func() { *a = actor{ops: a.ops, only: a.only}; m.next(s.same()) }
	leave := func() { // ctx is done, or the handle closed
		if s.leaves > 0 {
			n := s
			n.leaves--
			n.actors[i] = actor{ops: a.ops, only: a.only}
			m.next(n.same())
		}
	}
	switch a.pc {
	case idle:
		if a.ops == 0 {
			return false
		}
		a.ops--
		switch {
		case a.only != releases && s.set:
			end()
		case a.only != releases:
			a.count = s.count
			enter(look)
		case s.set:
			s.set = false
			end()
		default:
			slept := s.sleeps
			if s.set = true; !m.setKeepsSleep {
				s.sleeps = false
			}
			if !m.setUncounted {
				s.count++
			}
			for j := range s.actors {
				if b := &s.actors[j]; b.only != releases && (b.pc == look || b.pc == sleep || b.pc == asleep || b.pc == woken) {
					b.cell = 1
				}
			}
			if slept && !m.setForgets {
				enter(wakeAll)
			} else {
				end()
			}
		}
	case look:
		switch leave(); {
		case s.goes(*a):
			end()
		case m.sleepForgets:
			enter(sleep)
		default:
			enter(queue)
		}
	case queue:
		if !s.goes(*a) || m.sleepUnasked {
			s.sleeps = true
		}
		a.low = 2
		if m.sleepUnasked {
			a.low = s.low()
		}
		enter(sleep)
	case sleep:
		if s.low() != a.low || s.count != a.count {
			enter(look)
		} else {
			leave()
			enter(asleep)
		}
	case asleep: // only wakes, the cap, which is not here, and cancellations end it
		leave()
		return false
	case woken:
		enter(look)
	case wakeAll:
		for j := range s.actors {
			if s.actors[j].pc == asleep {
				s.actors[j].pc = woken
				if m.setWakesOne {
					break
				}
			}
		}
		if m.setKeepsSleep {
			s.sleeps = false
		}
		end()
	case killed:
		return false
	}
	return true
}

func beginFlag(kills, leaves uint8, does ...actor) flagState {
	s := flagState{budget: budget{kills: kills, leaves: leaves}}
	copy(s.actors[:], does)
	return s
}

func TestModelFlag(t *testing.T) {
	explore(t, []modelCase[flagState]{
		{"one of each", beginFlag(1, 1, does(4, releases), does(3, acquires))},
		{"two who wait", beginFlag(1, 1, does(5, releases), does(2, acquires), does(2, acquires))},
		{"two who set", beginFlag(1, 1, does(4, releases), does(3, releases), does(3, acquires))},
	}, runFlag)
}

func TestModelFlagFindsFaults(t *testing.T) {
	wait := beginFlag(0, 0, does(2, releases), does(1, acquires), does(1, acquires))
	for _, c := range []struct {
		flagFaults
		start flagState
	}{
		{flagFaults{setUncounted: true}, wait},
		{flagFaults{setForgets: true}, wait},
		{flagFaults{setWakesOne: true}, wait},
		{flagFaults{setKeepsSleep: true}, wait},
		{flagFaults{sleepUnasked: true}, wait},
		{flagFaults{sleepForgets: true}, wait},
	} {
		finds(t, c.flagFaults, c.start, runFlag)
	}
}
