package permits_test

import (
	"fmt"
	"testing"
)

// cellsFaults are deliberate mistakes, to see that the model finds them.
type cellsFaults struct {
	closeKeepsWake  bool // who ends with os.ErrClosed passes no wake on
	cancelKeepsWake bool // who is cancelled does not look again
	queueKeepsFreed bool // as if there were no FREED
	tellUncounted   bool // as if there were no COUNT
	looksOnce       bool // not again after it has set WAITERS
	tellsFirst      bool // looks at the sleep word, and frees the cell then
	tellForgets     bool // no wake
	recallForgets   bool // the sweep tells nobody
	clearUnasked    bool // without comparing
	stealsLiving    bool // takes a cell as soon as it names somebody else
}

const modelCells = 2

// cellsState is a state of cells and their sleep word.
type cellsState struct {
	cells        [modelCells]uint8 // the actor plus one
	waits, freed bool
	count        uint8
	n            uint8 // cells
	actors       [actors]actor
	budget
}

func (s cellsState) String() string {
	w := ""
	if s.waits {
		w += " WAITERS"
	}
	if s.freed {
		w += " FREED"
	}
	return fmt.Sprintf("%v {%d%s} %v %v", s.cells[:s.n], s.count, w, s.actors, s.budget)
}

// low is what the kernel compares.
func (s cellsState) low() (low uint8) {
	if s.waits {
		low |= 1
	}
	if s.freed {
		low |= 2
	}
	return low
}

type cellsModel struct {
	cellsFaults
	explorer[cellsState]
}

func runCells(f cellsFaults, start cellsState) (int, string) {
	m := cellsModel{cellsFaults: f}
	return m.run(start, m.step, m.check)
}

// recalls is an actor that sweeps.
const recalls = 3

// dead reports whether cell c names somebody who is dead.
func (s *cellsState) dead(c uint8) bool {
	return s.cells[c] != 0 && s.actors[s.cells[c]-1].pc == killed
}

func (m *cellsModel) check(s cellsState, end bool) {
	there, sleepers := uint8(0), uint8(0)
	for c := range s.n {
		if s.cells[c] == 0 {
			there++
		}
	}
	for i, a := range s.actors {
		switch a.pc {
		case held:
			if s.cells[a.cell] != uint8(i+1) {
				m.fail("%d holds cell %d, which does not say so", i+1, a.cell)
			}
		case asleep:
			sleepers++
		}
	}
	if sleepers > 0 && !s.waits {
		m.fail("somebody sleeps and the word does not say so")
	}
	if end && min(there, sleepers) > s.excused {
		m.fail("%d permits, and %d sleep on", there, sleepers)
	}
}

func (m *cellsModel) step(s cellsState) (moved bool) {
	for i := range s.actors {
		a := s.actors[i]
		if a.pc != killed && s.kills > 0 && (a.pc != idle || a.ops > 0) {
			n := s
			n.kills--
			n.actors[i] = actor{pc: killed}
			if a.excuses() {
				n.excused++
			}
			m.next(n)
		}
		moved = m.act(s, i) || moved
	}
	return moved
}

// act enters the states that follow s by a step of actor i. A look is one step for each cell, from any cell on.
func (m *cellsModel) act(s cellsState, i int) bool {
	me := uint8(i + 1)
	a := &s.actors[i]
	enter := func(pc uint8) { a.pc = pc; m.next(s) }
	end := func(pc, cell uint8) { *a = actor{pc: pc, ops: a.ops, only: a.only, cell: cell}; m.next(s) }
	leave := func(pc uint8) { // ctx is done, or the handle closed
		if s.leaves > 0 {
			n := s
			n.leaves--
			n.actors[i].pc = pc
			if pc == idle {
				n.actors[i] = actor{ops: a.ops, only: a.only}
			}
			m.next(n)
		}
	}
	// scan looks at one cell. a.cell is where it began and how many it has looked at, times 4.
	scan := func(no uint8) {
		c := (a.cell%4 + a.cell/4) % s.n
		switch {
		case s.cells[c] == 0, s.dead(c), m.stealsLiving && s.cells[c] != me:
			s.cells[c] = me
			end(held, c)
		case a.cell/4+1 < s.n:
			a.cell += 4
			m.next(s)
		case no == idle:
			end(idle, 0)
		default:
			a.cell = 0
			enter(no)
		}
	}
	// begin enters a look at every cell it can begin with.
	begin := func(pc uint8) {
		for c := range s.n {
			n := s
			n.actors[i].pc, n.actors[i].cell = pc, c
			m.next(n)
		}
	}
	cancelled := func() {
		if m.cancelKeepsWake {
			leave(idle)
		} else if s.leaves > 0 {
			n := s
			n.leaves--
			n.actors[i].pc, n.actors[i].cell = last, 0
			m.next(n)
		}
	}
	told := func() { // the look at the sleep word, and the change of it
		if !s.waits {
			if m.tellsFirst {
				enter(free)
			} else {
				end(idle, 0)
			}
			return
		}
		if !m.tellUncounted {
			s.count++
		}
		s.freed = true
		a.low, a.count = s.low(), s.count
		switch {
		case m.tellForgets, m.recallForgets && a.only == recalls:
			end(idle, 0)
		default:
			enter(wake)
		}
	}
	release := func() {
		s.cells[a.cell] = 0
		enter(tell)
	}
	switch a.pc {
	case idle:
		if a.ops == 0 {
			return false
		}
		a.ops--
		if a.only != recalls {
			begin(look)
			break
		}
		for c := range s.n { // any cell of the dead
			if s.dead(c) {
				n := s
				n.actors[i].pc, n.actors[i].cell = free, c
				m.next(n)
			}
		}
		end(idle, 0)
	case look:
		if a.cell < 4 {
			if a.slept && !m.closeKeepsWake {
				leave(pass)
			} else {
				leave(idle)
			}
		}
		scan(queue)
	case queue:
		s.waits = true
		if !m.queueKeepsFreed {
			s.freed = false
		}
		a.low, a.count = s.low(), s.count
		if m.looksOnce {
			enter(sleep)
		} else {
			begin(again)
		}
	case again:
		scan(sleep)
	case sleep:
		a.slept = true
		if s.low() != a.low || s.count != a.count {
			begin(look)
		} else {
			cancelled()
			enter(asleep)
		}
	case asleep: // only wakes, news of a death, the cap, which is not here, and cancellations end it
		cancelled()
		for c := range s.n {
			if s.dead(c) {
				begin(look)
				return true
			}
		}
		return false
	case woken:
		cancelled()
		begin(look)
	case last:
		scan(idle)
	case held:
		if m.tellsFirst {
			told()
		} else {
			release()
		}
	case free: // by the sweep
		if a.only == recalls && !s.dead(a.cell) {
			end(idle, 0)
		} else if s.cells[a.cell] = 0; m.tellsFirst {
			end(idle, 0)
		} else {
			enter(tell)
		}
	case tell:
		told()
	case wake, pass:
		found := false
		for j := range s.actors {
			if s.actors[j].pc == asleep {
				found = true
				n := s
				n.actors[j].pc = woken
				n.actors[i] = actor{ops: a.ops, only: a.only}
				m.next(n)
			}
		}
		switch {
		case found:
		case a.pc == wake:
			enter(clearing)
		default:
			end(idle, 0)
		}
	case clearing:
		if s.low() == a.low && s.count == a.count || m.clearUnasked {
			s.waits, s.freed = false, false
		}
		end(idle, 0)
	case killed:
		return false
	}
	return true
}

func beginCells(n, kills, leaves uint8, does ...actor) cellsState {
	s := cellsState{n: n, budget: budget{kills: kills, leaves: leaves}}
	copy(s.actors[:], does)
	return s
}

func TestModelCells(t *testing.T) {
	explore(t, []modelCase[cellsState]{
		{"two for one", beginCells(1, 1, 1, does(2, both), does(2, both))},
		{"three for one", beginCells(1, 0, 1, does(2, both), does(2, both), does(1, both))},
		{"three for two", beginCells(2, 0, 1, does(2, both), does(1, both), does(1, both))},
		{"killed", beginCells(1, 2, 0, does(2, both), does(1, both), does(1, both))},
		{"killed and leaving", beginCells(1, 1, 1, does(2, both), does(2, both), does(1, both))},
		{"three for two, killed and leaving", beginCells(2, 1, 1, does(2, both), does(1, both), does(1, both))},
		{"swept", beginCells(1, 1, 0, does(2, both), does(2, both), does(2, recalls))},
		{"two swept", beginCells(2, 1, 0, does(2, both), does(1, both), does(2, recalls))},
	}, runCells)
}

func TestModelCellsFindsFaults(t *testing.T) {
	three := func(leaves uint8) cellsState {
		return beginCells(1, 0, leaves, does(2, both), does(2, both), does(1, both))
	}
	swept := beginCells(1, 1, 0, does(2, both), does(1, both), does(2, recalls))
	for _, c := range []struct {
		cellsFaults
		start cellsState
	}{
		{cellsFaults{closeKeepsWake: true}, three(1)},
		{cellsFaults{cancelKeepsWake: true}, three(1)},
		{cellsFaults{queueKeepsFreed: true}, three(0)},
		{cellsFaults{tellUncounted: true}, three(0)},
		{cellsFaults{looksOnce: true}, three(0)},
		{cellsFaults{tellsFirst: true}, three(0)},
		{cellsFaults{tellForgets: true}, three(0)},
		{cellsFaults{recallForgets: true}, swept},
		{cellsFaults{clearUnasked: true}, three(0)},
		{cellsFaults{stealsLiving: true}, three(0)},
	} {
		finds(t, c.cellsFaults, c.start, runCells)
	}
}
