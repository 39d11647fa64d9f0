package rw_test

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/race"
)

// The model of the cells beside the owner word: every interleaving of a few readers and writers, each of whose steps is
// one access to a cell, one change of the owner word, or one call of the kernel, as the code makes them. To take the owner word,
// with all that is waiting for that, is one step: package robust's model has these. A process may be killed before each step of
// its goroutines; one that is stopped is one whose next step comes late, so each interleaving is also one with stops.

// What a goroutine does next.
const (
	idle    = iota
	counted // a reader looks at the owner word
	backs   // leaves again
	queue   // takes the owner word
	claim   // has it, and counts itself
	pass    // frees it
	reading
	wake   // wakes who sleeps on the cell
	drain  // looks at a cell
	mark   // sets WAITERS
	sleep  // the kernel compares
	asleep // in the kernel's queue
	alone  // there are no readers
	writing
	killed
	late // counts itself when it has looked: a fault
)

var pcNames = strings.Fields("idle counted backs queue claim pass reading wake drain mark sleep asleep alone writing killed late")

// actor is a goroutine.
type actor struct {
	pc, ops, proc uint8
	writes        bool
	cell          uint8 // at which it is
	seen          uint8 // what was in its low half
	then          uint8 // what comes after wake
}

const (
	actors = 4
	cells  = 2
	wait   = 1 << 4 // WAITERS, in seen
)

// modelCell is a cell: the process plus one, and the low half.
type modelCell struct {
	proc, count uint8
	waits       bool
}

func (c modelCell) low() uint8 {
	if c.waits {
		return c.count | wait
	}
	return c.count
}

type state struct {
	owner       uint8 // the actor plus one that has the owner word
	whole, died bool
	cells       [cells]modelCell
	n           uint8 // cells
	actors      [actors]actor
	kills       uint8
	cancels     uint8
	excused     uint8 // kills between a leave and its wake: there the cap must help
	lost        bool  // a writer was killed that was in
}

func (s state) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{%d whole=%v died=%v} %v", s.owner, s.whole, s.died, s.cells[:s.n])
	for _, a := range s.actors {
		kind := "r"
		if a.writes {
			kind = "w"
		}
		fmt.Fprintf(&b, " %s%d:%s(%d cell %d seen %x)", kind, a.proc, pcNames[a.pc], a.ops, a.cell, a.seen)
	}
	return b.String()
}

// faults are deliberate mistakes, to see that the model finds them.
type faults struct {
	readerLooksFirst bool // at the owner word, and counts itself then
	writerLooksFirst bool // at the cells, and takes the owner word then
	looksOnce        bool // at the first cell only
	leaveForgets     bool // no wake by who leaves
	backsForgets     bool // no wake by who entered in vain
	markForgets      bool // sleeps without WAITERS
	sleepUnasked     bool // the kernel does not compare
	takesBare        bool // without WHOLE
	keepsWhole       bool // while it writes
	claimsReaders    bool // a cell that has readers
	passesFirst      bool // frees the owner word, and counts itself then
	cancelKeepsWord  bool
	buriesNobody     bool // readers that died stay
}

type model struct {
	faults
	from map[state]state // by the state that follows: the one before it
	todo []state
	now  state
	bad  string
}

func (m *model) fail(format string, args ...any) {
	if m.bad == "" {
		m.bad = fmt.Sprintf(format, args...)
	}
}

func (m *model) next(s state) {
	if _, ok := m.from[s]; !ok {
		m.from[s] = m.now
		m.todo = append(m.todo, s)
	}
}

// run explores what follows start, breadth first. It returns the number of states and what is wrong, with the way there.
func run(f faults, start state) (int, string) {
	m := &model{faults: f, from: make(map[state]state), now: start}
	m.next(start)
	for len(m.todo) > 0 {
		todo := m.todo
		m.todo = nil
		for _, s := range todo {
			m.now = s
			m.check(s, !m.step(s))
			if m.bad == "" {
				continue
			}
			way := []string{m.bad}
			for {
				way = slices.Insert(way, 1, s.String())
				if s == start {
					return len(m.from), strings.Join(way, "\n")
				}
				s = m.from[s]
			}
		}
	}
	return len(m.from), ""
}

// dead reports whether the process, plus one, is.
func (s *state) dead(proc uint8) bool {
	return slices.ContainsFunc(s.actors[:], func(a actor) bool { return a.pc == killed && a.proc+1 == proc })
}

func (m *model) check(s state, end bool) {
	readers, writers := 0, 0
	for i, a := range s.actors {
		switch a.pc {
		case reading:
			readers++
			if c := s.cells[a.cell]; c.proc != a.proc+1 || c.count == 0 {
				m.fail("%d reads, and its cell does not say so", i)
			}
			if s.lost {
				m.fail("%d reads what a dead writer left", i)
			}
		case writing:
			writers++
			if s.lost {
				m.fail("%d writes what a dead writer left", i)
			}
		}
		if end && a.pc != killed && (a.pc != idle || a.ops != 0) && s.excused == 0 {
			m.fail("%d does not get on", i)
		}
	}
	if writers > 1 || writers == 1 && readers > 0 {
		m.fail("%d write and %d read", writers, readers)
	}
	if s.died && !s.lost {
		m.fail("nobody died who wrote, and it is to be repaired")
	}
}

// step enters the states that follow s and reports whether there is one by which somebody gets on.
func (m *model) step(s state) (moved bool) {
	for i := range s.actors {
		a := s.actors[i]
		if s.kills > 0 && a.pc != killed && (a.pc != idle || a.ops > 0) {
			n := s
			n.kills--
			for j := range n.actors {
				b := &n.actors[j]
				if b.proc != a.proc {
					continue
				}
				switch b.pc {
				case writing:
					n.lost = true
				case wake:
					n.excused++
				}
				*b = actor{pc: killed, proc: b.proc}
			}
			m.next(n)
		}
		moved = m.act(s, i) || moved
	}
	return moved
}

// act enters the states that follow s by a step of actor i.
func (m *model) act(s state, i int) bool {
	a := &s.actors[i]
	c := &s.cells[a.cell]
	me := a.proc + 1
	enter := func(pc uint8) { a.pc = pc; m.next(s) }
	end := func() {
		*a = actor{ops: a.ops, proc: a.proc, writes: a.writes}
		m.next(s)
	}
	cancel := func() {
		if s.cancels > 0 {
			n := s
			n.cancels--
			if n.owner == uint8(i+1) && !m.cancelKeepsWord {
				n.owner, n.whole = 0, false
			}
			n.actors[i] = actor{ops: a.ops, proc: a.proc, writes: a.writes}
			m.next(n)
		}
	}
	// leave takes a reader out of c.
	leave := func(then uint8, forgets bool) {
		if c.proc != me || c.count == 0 {
			m.fail("%d leaves where it is not", i)
			return
		}
		c.count--
		if c.count == 0 && c.waits {
			c.waits = false
			if !forgets {
				a.then = then
				enter(wake)
				return
			}
		}
		enter(then)
	}
	counts := func(j uint8) {
		s.cells[j] = modelCell{me, s.cells[j].count + 1, s.cells[j].waits}
		a.cell = j
	}
	own := func() (uint8, bool) {
		for j := range s.n {
			if s.cells[j].proc == me {
				return j, true
			}
		}
		return 0, false
	}
	switch a.pc {
	case idle:
		if a.ops == 0 {
			return false
		}
		a.ops--
		a.then = 0
		j, has := own()
		switch {
		case a.writes && m.writerLooksFirst:
			enter(drain)
		case a.writes, !has || s.cells[j].waits:
			enter(queue)
		case m.readerLooksFirst:
			a.cell = j
			enter(counted)
		default:
			counts(j)
			enter(counted)
		}
	case counted:
		if s.owner != 0 || s.died {
			if m.readerLooksFirst {
				enter(queue)
			} else {
				enter(backs)
			}
			break
		}
		if m.readerLooksFirst {
			enter(late)
			break
		}
		enter(reading)
	case late:
		counts(a.cell)
		enter(reading)
	case backs:
		leave(queue, m.backsForgets)
	case queue:
		a.cell, a.seen = 0, 0
		switch {
		case s.died && s.owner == 0:
			end() // ErrOwnerDied
		case s.owner == 0:
			s.owner, s.whole = uint8(i+1), !m.takesBare
			switch {
			case a.writes && m.writerLooksFirst:
				enter(alone)
			case a.writes:
				enter(drain)
			case m.passesFirst:
				enter(pass)
			default:
				enter(claim)
			}
		case s.actors[s.owner-1].pc == killed:
			s.died = s.died || !s.whole
			s.owner, s.whole = 0, false
			m.next(s)
		default:
			cancel()
			return false
		}
	case claim:
		j, ok := own()
		for k := uint8(0); !ok && k < s.n; k++ {
			if x := s.cells[k]; x.count == 0 || s.dead(x.proc) || m.claimsReaders {
				s.cells[k] = modelCell{}
				j, ok = k, true
			}
		}
		switch {
		case !ok:
			a.cell = a.proc % s.n
			enter(drain) // until there is one
		case m.passesFirst:
			counts(j)
			enter(reading)
		default:
			counts(j)
			enter(pass)
		}
	case pass:
		s.owner, s.whole = 0, false
		if m.passesFirst {
			enter(claim)
		} else {
			enter(reading)
		}
	case reading:
		leave(idle, m.leaveForgets)
	case wake:
		for j := range s.actors {
			if b := &s.actors[j]; b.pc == asleep && b.cell == a.cell {
				b.pc = drain
			}
		}
		enter(a.then)
	case drain:
		if c.count == 0 || s.dead(c.proc) && !m.buriesNobody {
			if c.count != 0 {
				*c = modelCell{}
			}
			a.seen = 0
			if !a.writes {
				enter(claim)
			} else if a.cell++; a.cell < s.n && !m.looksOnce {
				m.next(s)
			} else if a.cell = 0; m.writerLooksFirst {
				enter(queue)
			} else {
				enter(alone)
			}
			break
		}
		a.seen = c.low()
		enter(mark)
	case mark:
		switch {
		case c.low() != a.seen:
			enter(drain)
		case m.markForgets:
			enter(sleep)
		default:
			c.waits = true
			a.seen = c.low()
			enter(sleep)
		}
	case sleep:
		cancel()
		if c.low() != a.seen && !m.sleepUnasked {
			enter(drain)
		} else {
			enter(asleep)
		}
	case asleep:
		if s.dead(c.proc) && c.count > 0 && !m.buriesNobody {
			enter(drain)
			break
		}
		cancel()
		return false
	case alone:
		s.whole = m.keepsWhole
		enter(writing)
	case writing:
		s.owner, s.whole = 0, false
		end()
	case killed:
		return false
	}
	return true
}

// begin is the state in which there are n cells, and each actor will do so much.
func begin(n, kills, cancels uint8, does ...actor) state {
	s := state{n: n, kills: kills, cancels: cancels}
	for i := range s.actors {
		s.actors[i].proc = actors + uint8(i) // who does nothing
	}
	copy(s.actors[:], does)
	return s
}

func reads(proc, n uint8) actor  { return actor{proc: proc, ops: n} }
func writes(proc, n uint8) actor { return actor{proc: proc, ops: n, writes: true} }

func TestModel(t *testing.T) {
	cases := []struct {
		name  string
		start state
	}{
		{"reader and writer", begin(1, 1, 1, reads(0, 3), writes(1, 2))},
		{"two readers", begin(2, 1, 1, reads(0, 2), reads(1, 2), writes(2, 2))},
		{"two writers", begin(2, 1, 1, reads(0, 2), writes(1, 2), writes(2, 2))},
		{"one process", begin(1, 1, 1, reads(0, 2), reads(0, 2), writes(0, 2))},
		{"readers of one process", begin(2, 1, 1, reads(0, 2), reads(0, 2), writes(1, 2))},
		{"too few cells", begin(1, 1, 1, reads(0, 2), reads(1, 2), writes(2, 1))},
		{"too few cells for four", begin(1, 1, 0, reads(0, 2), reads(0, 1), reads(1, 2), writes(2, 1))},
		{"two kills", begin(2, 2, 0, reads(0, 2), reads(1, 1), writes(2, 1), writes(3, 1))},
	}
	if race.Enabled || strconv.IntSize == 32 || runtime.GOMAXPROCS(0) == 1 {
		cases = cases[:2] // it is one goroutine and finds the same everywhere, only slower
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n, bad := run(faults{}, c.start)
			t.Log(n, "states")
			if bad != "" {
				t.Error(bad)
			}
		})
	}
}

func TestModelFindsFaults(t *testing.T) {
	two := begin(2, 0, 1, reads(0, 2), reads(1, 2), writes(2, 2))
	kill := begin(2, 1, 0, reads(0, 2), reads(1, 1), writes(2, 1))
	few := begin(1, 0, 0, reads(0, 2), reads(1, 2), writes(2, 1))
	for _, c := range []struct {
		faults
		start state
	}{
		{faults{readerLooksFirst: true}, two},
		{faults{writerLooksFirst: true}, two},
		{faults{looksOnce: true}, two},
		{faults{leaveForgets: true}, two},
		{faults{backsForgets: true}, two},
		{faults{markForgets: true}, two},
		{faults{sleepUnasked: true}, two},
		{faults{takesBare: true}, kill},
		{faults{keepsWhole: true}, kill},
		{faults{claimsReaders: true}, few},
		{faults{passesFirst: true}, two},
		{faults{cancelKeepsWord: true}, two},
		{faults{buriesNobody: true}, kill},
	} {
		n, bad := run(c.faults, c.start)
		if bad == "" {
			t.Errorf("%+v: nothing found in %d states", c.faults, n)
			continue
		}
		t.Logf("%+v: %d states: %s", c.faults, n, bad[:strings.IndexByte(bad, '\n')])
	}
}
