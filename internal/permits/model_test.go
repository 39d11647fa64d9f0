package permits_test

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/race"
)

// The models of the counting word, of the cells with their sleep word, and of the flag: every interleaving of a few processes, each of
// whose steps is one access to a word or one call of the kernel, as the code makes them. A process may be killed before
// each of its steps; one that is stopped is one whose next step comes late, so each interleaving is also one with stops. Repeated
// failures of a compare-and-swap that loads afresh are one step.

// modelState is a state that can be shown.
type modelState interface {
	comparable
	fmt.Stringer
}

// explorer visits all states that can be reached.
type explorer[S modelState] struct {
	from map[S]S // by the state that follows: the one before it
	todo []S
	now  S
	bad  string
}

func (e *explorer[S]) fail(format string, args ...any) {
	if e.bad == "" {
		e.bad = fmt.Sprintf(format, args...)
	}
}

// next enters s.
func (e *explorer[S]) next(s S) {
	if _, ok := e.from[s]; !ok {
		e.from[s] = e.now
		e.todo = append(e.todo, s)
	}
}

// run explores what follows start, breadth first, so that the way to a fault is a short one. step enters the states that
// follow one and reports whether there was one by which somebody gets on; check looks at each state, and whether it is
// the end. It returns the number of states and what is wrong, with the way there.
func (e *explorer[S]) run(start S, step func(S) bool, check func(s S, end bool)) (int, string) {
	e.from, e.todo, e.now = make(map[S]S), nil, start
	e.next(start)
	for len(e.todo) > 0 {
		todo := e.todo
		e.todo = nil
		for _, s := range todo {
			e.now = s
			check(s, !step(s))
			if e.bad == "" {
				continue
			}
			way := []string{e.bad}
			for {
				way = slices.Insert(way, 1, s.String())
				if s == start {
					return len(e.from), strings.Join(way, "\n")
				}
				s = e.from[s]
			}
		}
	}
	return len(e.from), ""
}

// What a process does next. Not every model has all of them.
const (
	idle     = iota
	look     // takes a permit if there is one
	queue    // sets WAITERS
	again    // looks once more
	sleep    // the kernel compares
	asleep   // in the kernel's queue
	woken    // out of the kernel's queue, by a wake
	last     // the last look of one whose wait ended with an error
	held     // after Acquire
	free     // a cell becomes free
	tell     // looks at the sleep word
	wake     // wakes one, clears WAITERS if there is nobody
	clearing // clears WAITERS
	pass     // wakes one and ends
	wakeAll
	killed
)

var pcNames = strings.Fields("idle look queue again sleep asleep woken last held free tell wake clear pass wakeAll killed")

// actor is a process.
type actor struct {
	pc, ops    uint8 // ops: how many calls it will still make
	only       uint8 // acquires or releases, if it is to do only one of them
	low, count uint8 // what it sleeps on, or has noted, or left
	slept      bool
	cell       uint8
}

const (
	both = iota
	acquires
	releases
)

const actors = 3

// key orders actors.
func (a actor) key() uint64 {
	k := uint64(0)
	for _, b := range []uint8{a.pc, a.ops, a.only, a.low, a.count, a.cell} {
		k = k<<8 | uint64(b)
	}
	if a.slept {
		k |= 1 << 63
	}
	return k
}

func (a actor) String() string {
	if a.pc == idle && a.ops == 0 {
		return "-"
	}
	return fmt.Sprintf("%s(%d %d %x.%d %t %d)", pcNames[a.pc], a.ops, a.only, a.low, a.count, a.slept, a.cell)
}

// budget is what may still happen.
type budget struct {
	kills, leaves uint8
	excused       uint8 // kills where the cap must help
}

// excuses reports whether the kill of a where it is may leave somebody asleep beside a free permit until the cap.
func (a actor) excuses() bool {
	switch a.pc {
	case woken, tell, wake, pass, wakeAll:
		return true
	case look, queue, again, sleep, last:
		return a.slept
	}
	return false
}

// modelCase is one start of a model.
type modelCase[S any] struct {
	name  string
	start S
}

// explore runs each case, which must be in order.
func explore[S modelState, F any](t *testing.T, cases []modelCase[S], run func(f F, start S) (int, string)) {
	if race.Enabled || strconv.IntSize == 32 || runtime.GOMAXPROCS(0) == 1 {
		cases = cases[:1] // it is one goroutine and finds the same everywhere, only slower
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var none F
			n, bad := run(none, c.start)
			t.Log(n, "states")
			if bad != "" {
				t.Error(bad)
			}
		})
	}
}

// finds runs a model with a fault, which it must find.
func finds[S modelState, F any](t *testing.T, f F, start S, run func(f F, start S) (int, string)) {
	t.Helper()
	n, bad := run(f, start)
	if bad == "" {
		t.Errorf("%+v: nothing found in %d states", f, n)
		return
	}
	t.Logf("%+v: %d states: %s", f, n, bad)
}

// countFaults are deliberate mistakes, to see that the model finds them.
type countFaults struct {
	closeKeepsWake    bool // who ends with os.ErrClosed passes no wake on
	cancelKeepsWake   bool // who is cancelled does not look again
	releaseDropsWaits bool
	releaseForgets    bool // no wake
	clearUnasked      bool // without comparing
	clearUncounted    bool // COUNT is not compared
	swapsLowOnly      bool // the value rises without a look at most
	queueForgets      bool // sleeps without WAITERS
}

// countState is a state of the counting word.
type countState struct {
	value, count uint8
	waits        bool
	most, lost   uint8 // the most permits; those of the dead
	total        uint8 // free, held and lost
	actors       [actors]actor
	budget
}

func (s countState) String() string {
	w := ""
	if s.waits {
		w = " WAITERS"
	}
	return fmt.Sprintf("{%d%s, %d} of %d, lost %d, %v %v", s.count, w, s.value, s.total, s.lost, s.actors, s.budget)
}

// same sorts the processes, which no word tells apart.
func (s countState) same() countState {
	slices.SortFunc(s.actors[:], func(a, b actor) int { return cmp.Compare(a.key(), b.key()) })
	return s
}

type countModel struct {
	countFaults
	explorer[countState]
}

func runCount(f countFaults, start countState) (int, string) {
	m := countModel{countFaults: f}
	return m.run(start, m.step, m.check)
}

func (m *countModel) check(s countState, end bool) {
	holders, sleepers := uint8(0), uint8(0)
	for _, a := range s.actors {
		switch a.pc {
		case held:
			holders++
		case asleep:
			sleepers++
		}
	}
	if s.value > s.most || s.value+holders+s.lost != s.total {
		m.fail("%d free, %d held, %d lost of %d, %d at most", s.value, holders, s.lost, s.total, s.most)
	}
	if sleepers > 0 && !s.waits {
		m.fail("somebody sleeps and the word does not say so")
	}
	if end && min(s.value, sleepers) > s.excused {
		m.fail("%d permits, and %d sleep on", s.value, sleepers)
	}
}

func (m *countModel) step(s countState) (moved bool) {
	for i := range s.actors {
		a := s.actors[i]
		if a.pc != killed && s.kills > 0 && (a.pc != idle || a.ops > 0) {
			n := s
			n.kills--
			n.actors[i] = actor{pc: killed}
			if a.pc == held {
				n.lost++
			}
			if a.excuses() {
				n.excused++
			}
			m.next(n.same())
		}
		moved = m.act(s, i) || moved
	}
	return moved
}

func (m *countModel) act(s countState, i int) bool {
	a := &s.actors[i]
	enter := func(pc uint8) { a.pc = pc; m.next(s.same()) }
	end := func(pc uint8) { *a = actor{pc: pc, ops: a.ops, only: a.only}; m.next(s.same()) }
	leave := func(pc uint8) { // ctx is done, or the handle closed
		if s.leaves > 0 {
			n := s
			n.leaves--
			n.actors[i].pc = pc
			if pc == idle {
				n.actors[i] = actor{ops: a.ops, only: a.only}
			}
			m.next(n.same())
		}
	}
	take := func(no uint8) {
		if s.value == 0 {
			enter(no)
			return
		}
		s.value--
		if a.only == acquires {
			s.total-- // it keeps it
			end(idle)
		} else {
			end(held)
		}
	}
	release := func() {
		if s.value >= s.most && !m.swapsLowOnly {
			end(idle) // ErrOverReleased
			return
		}
		if a.pc == idle {
			s.total++
		}
		s.value++
		if !s.waits {
			end(idle)
			return
		}
		s.count++
		a.low, a.count = s.value, s.count
		if m.releaseDropsWaits {
			s.waits = false
		}
		if m.releaseForgets {
			end(idle)
		} else {
			enter(wake)
		}
	}
	cancelled := uint8(last)
	if m.cancelKeepsWake {
		cancelled = idle
	}
	switch a.pc {
	case idle:
		if a.ops == 0 {
			return false
		}
		a.ops--
		if a.only == releases {
			release()
		} else {
			enter(look)
		}
	case look:
		if a.slept && !m.closeKeepsWake {
			leave(pass)
		} else {
			leave(idle)
		}
		take(queue)
	case queue:
		if s.value == 0 && !m.queueForgets {
			s.waits = true
		}
		enter(again)
	case again:
		take(sleep)
	case sleep:
		a.slept = true
		if s.value != 0 || !s.waits && !m.queueForgets {
			enter(look)
		} else {
			leave(cancelled)
			enter(asleep)
		}
	case asleep: // only wakes, the cap, which is not here, and cancellations end it
		leave(cancelled)
		return false
	case woken:
		leave(cancelled)
		enter(look)
	case last:
		take(idle)
	case held:
		release()
	case wake, pass:
		found := false
		for j := range s.actors {
			if s.actors[j].pc == asleep {
				found = true
				n := s
				n.actors[j].pc = woken
				n.actors[i] = actor{ops: a.ops, only: a.only}
				m.next(n.same())
			}
		}
		switch {
		case found:
		case a.pc == wake:
			enter(clearing)
		default:
			end(idle)
		}
	case clearing:
		if s.waits && s.value == a.low && (s.count == a.count || m.clearUncounted) || m.clearUnasked {
			s.waits = false
		}
		end(idle)
	case killed:
		return false
	}
	return true
}

// beginCount is the state in which there are n permits and each actor will do so much.
func beginCount(n, most, kills, leaves uint8, does ...actor) countState {
	s := countState{value: n, most: most, total: n, budget: budget{kills: kills, leaves: leaves}}
	copy(s.actors[:], does)
	return s
}

// does is an actor that makes n calls.
func does(n uint8, only uint8) actor { return actor{ops: n, only: only} }

func TestModelCount(t *testing.T) {
	explore(t, []modelCase[countState]{
		{"two", beginCount(1, 2, 1, 2, does(2, both), does(2, both))},
		{"three", beginCount(1, 1, 0, 0, does(2, both), does(2, both), does(2, both))},
		{"three for two", beginCount(2, 2, 1, 1, does(2, both), does(2, both), does(2, both))},
		{"killed and leaving", beginCount(1, 1, 2, 2, does(2, both), does(1, both), does(2, both))},
		{"one who gives", beginCount(0, 2, 1, 1, does(3, releases), does(2, acquires), does(2, acquires))},
		{"two who give", beginCount(0, 2, 1, 1, does(3, releases), does(3, releases), does(2, acquires))},
	}, runCount)
}

func TestModelCountFindsFaults(t *testing.T) {
	three := func(kills, leaves uint8) countState {
		return beginCount(1, 1, kills, leaves, does(2, both), does(2, both), does(2, both))
	}
	give := beginCount(0, 2, 0, 1, does(2, releases), does(2, acquires), does(2, acquires))
	for _, c := range []struct {
		countFaults
		start countState
	}{
		{countFaults{closeKeepsWake: true}, give},
		{countFaults{cancelKeepsWake: true}, give},
		{countFaults{releaseDropsWaits: true}, three(0, 0)},
		{countFaults{releaseForgets: true}, three(0, 0)},
		{countFaults{clearUnasked: true}, three(0, 0)},
		{countFaults{clearUncounted: true}, beginCount(0, 2, 0, 0, does(2, releases), does(2, releases), does(3, acquires))},
		{countFaults{swapsLowOnly: true}, beginCount(0, 1, 0, 0, does(1, releases), does(1, releases))},
		{countFaults{queueForgets: true}, three(0, 0)},
	} {
		finds(t, c.countFaults, c.start, runCount)
	}
}
