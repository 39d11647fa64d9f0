package robust_test

import (
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// The model of the owner word: every interleaving of a few goroutines of a few processes, each of whose steps is one
// access to the word or one call of the kernel, as mutex.go makes them. A process may be killed before each of its
// steps; one that is stopped is one whose next step comes late, so each interleaving is also one with stops. Of the
// goroutines of one process only one goes on from finding the word held; the others are in line.
// What it checks, in every state that can be reached:
//
//   - at most one goroutine of the living processes holds the word, and the word names its process;
//   - the word is Valid;
//   - nobody but a repair takes what a death left half changed, and the word says DIED only then;
//   - nobody is asleep for good, were it not for the cap of a sleep, on a word that is free, held by somebody alive, or waits
//     for a recovery; but for a kill between a change of the word and its wake, or between being woken and taking, and
//     then only until the next release.
//
// The fast paths Take and Free are look+take and free from particular words. Repeated failures of a
// compare-and-swap that loads afresh are one step.

// faults are deliberate mistakes, to see that the model finds them.
type faults struct {
	closeKeepsWake  bool // who ends with os.ErrClosed passes no wake on
	takeDropsWaits  bool // take clears WAITERS
	clearUnasked    bool // WAITERS is cleared without comparing
	buryForgets     bool // a dead holder leaves no DIED
	unlockForgets   bool // a failed repair leaves no DIED
	freeWakesNobody bool
	clearsAnyones   bool // WAITERS is cleared also after a release by another process
	uncounted       bool // WAITERS is cleared also after a later release by this process
	diedWakesOne    bool
}

// What a process does next.
const (
	idle   = iota
	look   // the top of lock's loop
	inLine // until no other goroutine of the process has the place
	take   // CAS of the word seen to held
	bury   // CAS of the word seen, whose owner is dead
	queue  // CAS of the word seen to have WAITERS
	sleep  // the kernel compares
	asleep // in the kernel's queue
	woken  // out of the kernel's queue, by a wake
	last   // the last look of one whose wait ended with an error
	lastTake
	lastBury
	held   // after Lock
	repair // in Recover, the word has DIED
	wake1  // wakes one, clears WAITERS if there is nobody
	clear1
	pass // wakes one and ends
	wakeAll
	wakeAllLook // the same by one who buried, and goes on with look, or last
	wakeAllLast
	killed
)

var pcNames = strings.Fields("idle look inLine take bury queue sleep asleep woken last lastTake lastBury held repair wake1 clear pass wakeAll wakeAllLook wakeAllLast killed")

const (
	locked  = 1
	waiters = 2
	died    = 4
	whole   = 8
)

// word is an owner word; owner is the process plus one.
type word struct{ low, owner, count uint8 }

// actor is a goroutine.
type actor struct {
	proc    uint8 // whose
	pc      uint8
	ops     uint8 // how many calls it will still make
	flags   uint8 // whole or 0
	try     bool  // TryLock
	recover bool
	queued  bool
	placed  bool // in line, and the first
	seen    word
}

const actors = 4

type state struct {
	word    word
	actors  [actors]actor
	kills   uint8 // that may still happen
	leaves  uint8 // cancellations and closed handles that may still happen
	broken  bool  // what the word guards is half changed
	excused bool  // a kill fell where the cap must help, and nobody has released since
}

// model explores.
type model struct {
	faults
	from map[state]state
	todo []state
	now  state
	bad  string
}

// next enters s.
func (m *model) next(s state) {
	s.normalise()
	if _, ok := m.from[s]; !ok {
		m.from[s] = m.now
		m.todo = append(m.todo, s)
	}
}

// normalise gives states that differ in nothing but which process or goroutine is which, or in what is never looked
// at again, the same form: it forgets what was seen where the next step looks afresh, and sorts.
func (s *state) normalise() {
	for i := range s.actors {
		switch a := &s.actors[i]; a.pc {
		case look, inLine, last, held, repair, wakeAllLook, wakeAllLast:
			a.seen = word{}
		case sleep, asleep, woken: // the kernel has the low half
			a.seen.owner = 0
		}
	}
	var procs, place [actors + 1]procKey
	for i := range s.actors {
		procs[s.actors[i].proc].add(s.key(i))
	}
	place = procs
	sorted := place[:actors]
	slices.SortFunc(sorted, func(a, b procKey) int { return slices.Compare(b.keys[:], a.keys[:]) })
	var name [actors + 1]uint8 // of an owner
	taken := [actors]bool{}
	for p := range actors {
		for q := range actors {
			if !taken[q] && procs[p] == sorted[q] {
				taken[q], name[p+1] = true, uint8(q+1)
				break
			}
		}
	}
	s.word.owner = name[s.word.owner]
	for i := range s.actors {
		a := &s.actors[i]
		a.proc, a.seen.owner = name[a.proc+1]-1, name[a.seen.owner]
	}
	for i := range s.actors { // there are four
		for j := i; j > 0 && s.before(j, j-1); j-- {
			s.actors[j], s.actors[j-1] = s.actors[j-1], s.actors[j]
		}
	}
}

// procKey has the keys of a process's goroutines, in descending order.
type procKey struct{ keys [actors]uint64 }

func (p *procKey) add(key uint64) {
	for i := range p.keys {
		if key > p.keys[i] {
			key, p.keys[i] = p.keys[i], key
		}
	}
}

func (s *state) before(i, j int) bool {
	if p, q := s.actors[i].proc, s.actors[j].proc; p != q {
		return p < q
	}
	return s.key(i) < s.key(j)
}

// key orders goroutines. It is not 0.
func (s *state) key(i int) uint64 {
	a := &s.actors[i]
	k := 1<<40 | uint64(a.pc)<<32 | uint64(a.ops)<<30 | uint64(a.flags)<<24 | uint64(a.seen.low)<<16 | uint64(a.seen.count)<<8
	for bit, is := range []bool{a.try, a.recover, a.queued, a.placed, s.word.owner == a.proc+1, a.seen.owner == a.proc+1} {
		if is {
			k |= 1 << bit
		}
	}
	return k
}

func (m *model) fail(format string, args ...any) {
	if m.bad == "" {
		m.bad = fmt.Sprintf(format, args...)
	}
}

// check says what is wrong with s.
func (m *model) check(s *state) {
	holders := 0
	for i := range s.actors {
		switch a := &s.actors[i]; a.pc {
		case held, repair:
			holders++
			if s.word.low&locked == 0 || s.word.owner != a.proc+1 {
				m.fail("%d holds what the word says it does not", i)
			}
			if a.pc == held && s.broken {
				m.fail("%d got what is half changed", i)
			}
		}
	}
	if !robust.Valid(uint64(s.word.owner)<<32 | uint64(s.word.count)<<4 | uint64(s.word.low)) {
		m.fail("{%d} %#x is no word of the protocol", s.word.owner, s.word.low)
	}
	if holders > 1 {
		m.fail("%d holders", holders)
	}
	if s.word.low&died != 0 && !s.broken {
		m.fail("DIED for nothing")
	}
	if s.broken && s.word.low&died == 0 && !s.dead(s.word) {
		m.fail("DIED is lost")
	}
}

// dead reports whether w names a dead process.
func (s *state) dead(w word) bool {
	for i := range s.actors {
		if a := &s.actors[i]; a.proc+1 == w.owner {
			return w.low&locked != 0 && a.pc == killed // so are the others of that process
		}
	}
	return false
}

// kill is what follows s when a process is killed.
func (s state) kill(proc uint8) state {
	s.kills--
	for i := range s.actors {
		a := &s.actors[i]
		if a.proc != proc {
			continue
		}
		switch a.pc {
		case held:
			s.broken = s.broken || a.flags&whole == 0
		case woken, wake1, pass, wakeAll, wakeAllLook, wakeAllLast:
			s.excused = true
		case look, take, bury, queue, sleep, last, lastTake, lastBury:
			s.excused = s.excused || a.queued
		}
		*a = actor{proc: proc, pc: killed}
	}
	return s
}

// step enters every state that follows s and reports whether there was one by which somebody gets on.
func (m *model) step(s state) (moved bool) {
	busy := false // the process of actor i
	for i := range s.actors {
		a := s.actors[i]
		if a.pc == killed {
			continue
		}
		busy = busy || a.pc != idle || a.ops > 0
		if last := i == actors-1 || s.actors[i+1].proc != a.proc; last {
			if s.kills > 0 && busy {
				m.next(s.kill(a.proc))
			}
			busy = false
		}
		moved = m.act(s, i) || moved
	}
	return moved
}

// act enters the states that follow s by a step of actor i.
func (m *model) act(s state, i int) bool {
	a := &s.actors[i]
	me := a.proc + 1
	alone, first := true, true // in its process; no other of it has the place
	for j := range s.actors {
		if b := &s.actors[j]; j != i && b.proc == a.proc {
			alone, first = false, first && !b.placed
		}
	}
	goTo := func(pc uint8) { a.pc = pc; m.next(s) }
	end := func(pc uint8) { // of a call
		*a = actor{proc: a.proc, pc: pc, ops: a.ops}
		m.next(s)
	}
	leave := func(pc uint8) { // ctx is done, or the handle closed
		if s.leaves > 0 {
			n := s
			n.leaves--
			n.actors[i].pc = pc
			if pc == idle {
				n.actors[i] = actor{proc: a.proc, ops: a.ops}
			}
			m.next(n)
		}
	}
	closed := func() {
		if m.closeKeepsWake || !a.queued {
			leave(idle)
		} else {
			leave(pass)
		}
	}
	swap := func(to word) bool {
		if s.word != a.seen {
			return false
		}
		s.word = to
		return true
	}
	got := func(w word) {
		a.queued, a.placed, a.seen = false, false, word{}
		if w.low&died != 0 {
			goTo(repair)
		} else {
			goTo(held)
		}
	}
	taken := func(and uint8) word {
		low := locked | a.flags | a.seen.low&(waiters|died) | and
		if m.takeDropsWaits {
			low &^= waiters
		}
		return word{low: low, owner: me}
	}
	buried := func() word {
		if a.seen.low&(whole|died) == whole {
			return word{low: a.seen.low & waiters}
		}
		if m.buryForgets {
			return word{low: a.seen.low & waiters}
		}
		return word{low: died | a.seen.low&waiters}
	}
	free := func(low uint8) {
		s.excused = false
		s.word = word{low: low}
		if low == waiters && !m.clearsAnyones {
			s.word.owner = me
			if !m.uncounted {
				s.word.count = s.fresh(me)
			}
		}
		switch {
		case low&waiters == 0:
			end(idle)
		case low&died != 0 && !m.diedWakesOne:
			end(wakeAll)
		case !m.freeWakesNobody:
			*a = actor{proc: a.proc, pc: wake1, ops: a.ops, seen: s.word}
			m.next(s)
		default:
			end(idle)
		}
	}

	switch a.pc {
	case idle:
		if a.ops == 0 {
			return false
		}
		a.ops--
		for _, how := range []actor{{}, {try: true}, {flags: whole}, {recover: true}} {
			n := s
			how.proc, how.pc, how.ops = a.proc, look, a.ops
			n.actors[i] = how
			m.next(n)
		}
	case look:
		closed()
		a.seen = s.word
		switch {
		case s.word.low&died != 0 && !a.recover:
			end(idle)
		case s.word.low&locked == 0:
			goTo(take)
		case s.dead(s.word):
			goTo(bury)
		case a.try:
			end(idle)
		case !alone && !a.placed:
			goTo(inLine)
		case s.word.low&waiters == 0:
			goTo(queue)
		default:
			a.queued = true
			goTo(sleep)
		}
	case inLine:
		leave(idle)
		if !first {
			return false
		}
		a.placed = true
		goTo(look)
	case take:
		q := uint8(0)
		if a.queued {
			q = waiters
		}
		if w := taken(q); swap(w) {
			got(w)
		} else {
			goTo(look)
		}
	case bury:
		if w := buried(); !swap(w) || w.low&waiters == 0 {
			goTo(look)
		} else {
			goTo(wakeAllLook)
		}
	case queue:
		w := a.seen
		if w.low |= waiters; swap(w) {
			a.seen, a.queued = w, true
			goTo(sleep)
		} else {
			goTo(look)
		}
	case sleep:
		if s.word.low != a.seen.low {
			goTo(look)
		} else {
			leave(last)
			goTo(asleep)
		}
	case asleep: // only wakes, the cap, which is not here, and cancellations end it
		if s.word.low == a.seen.low {
			leave(last)
		} else {
			leave(look)
		}
		return false
	case woken:
		if s.word.low == a.seen.low {
			leave(last)
		}
		goTo(look)
	case last:
		leave(pass) // closed, too
		a.seen = s.word
		switch {
		case s.word.low&died != 0 && !a.recover:
			end(idle)
		case s.word.low&locked == 0:
			goTo(lastTake)
		case s.dead(s.word): // if that is known already
			n := s
			n.actors[i].pc = lastBury
			m.next(n)
			fallthrough
		default:
			end(idle)
		}
	case lastTake:
		if w := taken(waiters); swap(w) {
			got(w)
		} else {
			goTo(last)
		}
	case lastBury:
		if w := buried(); !swap(w) || w.low&waiters == 0 {
			goTo(last)
		} else {
			goTo(wakeAllLast)
		}
	case held:
		if a.flags == 0 { // abandon
			was := s
			s.broken = true
			free(died | s.word.low&waiters)
			s = was
		}
		free(s.word.low & waiters)
	case repair:
		n := s // repaired
		n.word.low &^= died
		n.broken = false
		n.actors[i].pc = held
		m.next(n)
		if m.unlockForgets { // failed
			free(s.word.low & waiters)
		} else {
			free(died | s.word.low&waiters)
		}
	case wake1, pass:
		found := false
		for j := range s.actors {
			if s.actors[j].pc == asleep {
				found = true
				n := s
				n.actors[j].pc = woken
				n.actors[i] = actor{proc: a.proc, ops: a.ops}
				m.next(n)
			}
		}
		if found {
			break
		}
		if a.pc == wake1 {
			goTo(clear1)
		} else {
			end(idle)
		}
	case clear1:
		if s.word == a.seen || m.clearUnasked {
			s.word = word{}
		}
		end(idle)
	case wakeAll, wakeAllLook, wakeAllLast:
		for j := range s.actors {
			if s.actors[j].pc == asleep {
				s.actors[j].pc = woken
			}
		}
		switch a.pc {
		case wakeAll:
			end(idle)
		case wakeAllLook:
			goTo(look)
		case wakeAllLast:
			goTo(last)
		}
	}
	return true
}

// fresh is a count that a release by owner can put into the word: it counts on, and does not come to the same number
// again while anybody remembers it.
func (s *state) fresh(owner uint8) uint8 {
	for n := uint8(0); ; n++ {
		used := false
		for i := range s.actors {
			used = used || s.actors[i].seen.owner == owner && s.actors[i].seen.count == n
		}
		if !used {
			return n
		}
	}
}

// run explores what follows start, and returns the number of states and what is wrong, with the way there.
func (m *model) run(start state) (int, string) {
	start.normalise()
	m.from = map[state]state{start: start}
	m.todo = []state{start}
	for len(m.todo) > 0 && m.bad == "" { // breadth first, so that the way to a fault is a short one
		todo := m.todo
		m.todo = nil
		for _, s := range todo {
			m.now = s
			if m.check(&s); m.bad != "" {
				break
			}
			if !m.step(s) && !s.excused && !s.dead(s.word) {
				for i := range s.actors {
					if s.actors[i].pc == asleep {
						m.fail("%d is asleep and nobody will wake it", i)
					}
				}
			}
			if m.bad != "" {
				break
			}
		}
	}
	if m.bad == "" {
		return len(m.from), ""
	}
	var way []string
	for s := m.now; ; s = m.from[s] {
		way = append([]string{s.String()}, way...)
		if s == m.from[s] {
			break
		}
	}
	return len(m.from), m.bad + "\n" + strings.Join(way, "\n")
}

func (s state) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{%d #%d", s.word.owner, s.word.count)
	for i, f := range []string{" LOCKED", " WAITERS", " DIED", " WHOLE"} {
		if s.word.low>>i&1 != 0 {
			b.WriteString(f)
		}
	}
	b.WriteString("}")
	for i := range s.actors {
		if a := &s.actors[i]; a.pc != idle || a.ops > 0 {
			fmt.Fprintf(&b, " %d:%s", a.proc+1, pcNames[a.pc])
		}
	}
	return b.String()
}

// begin is the state in which each actor, of a process of its own, will make so many calls.
func begin(kills, leaves uint8, ops ...uint8) (s state) {
	for i := range s.actors {
		s.actors[i].proc = uint8(i)
	}
	for i, n := range ops {
		s.actors[i].ops = n
	}
	s.kills, s.leaves = kills, leaves
	return s
}

// pair makes the first two actors goroutines of one process.
func pair(s state) state {
	s.actors[1].proc = 0
	return s
}

// elsewhere reports whether the model is explored in another build or with other settings, too: it is one goroutine and
// finds the same everywhere, only slower.
func elsewhere() bool {
	return race.Enabled || strconv.IntSize == 32 || runtime.GOMAXPROCS(0) == 1
}

func TestModel(t *testing.T) {
	cases := []struct {
		name  string
		start state
	}{
		{"two", begin(1, 2, 2, 2)},
		{"three", begin(0, 0, 2, 2, 1)},
		{"leaving", begin(0, 2, 2, 1, 1)},
		{"killed", begin(2, 0, 2, 1, 1)},
		{"killed then released", begin(1, 0, 2, 2, 1)},
		{"killed and leaving", begin(1, 1, 2, 1, 1)},
		{"four", begin(0, 1, 1, 1, 1, 1)},
		{"in line", pair(begin(0, 1, 2, 1, 1))},
		{"in line and killed", pair(begin(1, 0, 2, 1, 1))},
		{"two in line", func() state { s := pair(begin(0, 1, 1, 1, 1, 1)); s.actors[3].proc = s.actors[2].proc; return s }()},
		{"released again", pair(begin(1, 0, 1, 1, 1, 1))},
	}
	if elsewhere() {
		cases = cases[:1]
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			n, bad := new(model).run(c.start)
			t.Log(n, "states")
			if bad != "" {
				t.Error(bad)
			}
		})
	}
}

// TestModelFindsFaults checks that the model sees mistakes.
func TestModelFindsFaults(t *testing.T) {
	cases := []struct {
		faults
		start state
	}{
		{faults{closeKeepsWake: true}, begin(0, 1, 1, 1, 1)},
		{faults{takeDropsWaits: true}, begin(0, 0, 2, 1, 1)},
		{faults{clearUnasked: true}, begin(0, 0, 1, 1, 1)},
		{faults{clearsAnyones: true}, begin(1, 0, 2, 2, 1)},
		{faults{uncounted: true}, pair(begin(1, 0, 1, 1, 1, 1))},
		{faults{buryForgets: true}, begin(1, 0, 1, 1)},
		{faults{unlockForgets: true}, begin(0, 0, 1, 1)},
		{faults{freeWakesNobody: true}, begin(0, 0, 1, 1)},
		{faults{diedWakesOne: true}, begin(0, 0, 1, 1, 1)},
	}
	if elsewhere() {
		cases = cases[:3]
	}
	for _, c := range cases {
		m := &model{faults: c.faults}
		n, bad := m.run(c.start)
		if bad == "" {
			t.Errorf("%+v: nothing found in %d states", c.faults, n)
		} else {
			t.Logf("%+v: %d states: %s", c.faults, n, bad)
		}
	}
}

// Words that no step leads to are not Valid.
func TestValid(t *testing.T) {
	const owner = 7 << 32
	for _, w := range []uint64{
		robust.Locked, robust.Whole, robust.Waiters | robust.Whole, robust.Shut, 1 << 31, robust.Waiters | 1<<4, owner | 1<<4,
		owner, owner | robust.Died, owner | robust.Died | robust.Waiters, owner | robust.Whole,
		owner | robust.Locked | 1<<20,
	} {
		if robust.Valid(w) {
			t.Errorf("%#x is valid", w)
		}
	}
	for _, w := range []uint64{0, owner | robust.Waiters, owner | robust.Waiters | 1<<4, owner | robust.Waiters | 1<<32 - 1<<4} {
		if !robust.Valid(w) {
			t.Errorf("%#x is not valid", w)
		}
	}
}
