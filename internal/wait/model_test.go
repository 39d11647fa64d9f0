//go:build !race

// Without the race detector: there is one goroutine, and it would only be slow.

package wait_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// The model of a Word: every interleaving of a few publishers and sleepers on processors with store buffers (total store
// order, as amd64 has it), each of whose steps is one access to memory or one call of the kernel, as the code makes
// them. What a publisher has published is seen by others when it leaves the publisher's store buffer, which it does at any
// time, and at the latest with the next locked instruction or barrier. A process may be killed before each of its
// steps; one that is stopped is one whose next step comes late, so each interleaving is also one with stops. When FENCED is
// asked for and taken away is left to chance. Failures of a compare-and-swap that loads afresh are one step.

// modelFaults are deliberate mistakes, to see that the model finds them.
type modelFaults struct {
	noBarrier       bool // sleepers have none
	noFence         bool // publishers who are asked to fence do not
	noFenceAlways   bool // nor do those who are not registered
	noBare          bool // who is registered does not say so
	bareEarly       bool // says so, and publishes without a fence, before it is registered
	fencedIsSure    bool // who finds FENCED takes it for SURE
	turnsIgnored    bool // makes SURE what was asked for later
	wakesUncounted  bool
	wakesOne        bool // of several, and forgets them
	wakingStays     bool // who comes does not take WAKING away
	clearsAlways    bool // takes several out of the state, whatever was done since
	flagsLate       bool // no look after the flag
	noPass          bool // who was woken does not look whether there is more
	unflagsSeveral  bool // who leaves takes all out
	unfencedUnasked bool // FENCED is taken away without a new turn
}

// mWord is the state of the Word.
type mWord struct {
	level                      uint8
	waking, fenced, sure, bare bool
	turn, count                uint8
}

// What a process does next.
const (
	mIdle    = iota
	mLook    // a publisher loads the state for the first time
	mSlow    // a locked instruction
	mJoin    // sets BARE
	mLoad    // loads the state again
	mRouse   // takes somebody out of it
	mWakeAll // wakes
	mWake    // wakes one
	mClear   // found nobody
	mVouch   // may make sure
	mBarrier // one processor after the other has a barrier
	mConfirm
	mTry // a sleeper takes an item, if there is one
	mFlag
	mAgain // looks again
	mUnflag
	mSleep // the kernel compares
	mAsleep
	mPass // leaves the line
	mGone
)

var mNames = strings.Fields("idle look slow join load rouse wakeAll wake clear vouch barrier confirm try flag again unflag sleep asleep pass gone")

// mProc is a process: a publisher, who publishes batch items at a time, or a sleeper.
type mProc struct {
	pc, ops, batch uint8
	publishes      bool
	published      uint8 // visible
	buffered       uint8
	eager          bool  // fences always
	registers      bool  // it will be registered, if it is not yet
	registered     bool  // barriers reach it
	refused        bool  // it cannot call for barriers
	at             uint8 // who has the barrier next
	v, asked       mWord // what it loaded
	asks           bool  // v is to be made SURE
	slept, unsure  bool
	leaves         bool // its wait was cancelled
	killed         bool
}

type mState struct {
	word    mWord
	procs   [4]mProc
	taken   uint8
	kills   uint8
	cancels uint8
	excused bool // somebody was killed who was about to wake, or had been woken
}

func (s mState) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%+v taken %d", s.word, s.taken)
	for _, p := range s.procs {
		if p.publishes || p.ops != 0 || p.pc != mIdle {
			fmt.Fprintf(&b, "\n    %s %+v", mNames[p.pc], p)
		}
	}
	return b.String()
}

func (s *mState) left() (n uint8) {
	for _, p := range s.procs {
		n += p.published
	}
	return n - s.taken
}

type model struct {
	modelFaults
	from map[mState]mState
	todo []mState
	now  mState
	bad  string
}

func (m *model) next(s mState) {
	if _, ok := m.from[s]; !ok {
		m.from[s] = m.now
		m.todo = append(m.todo, s)
	}
}

// run explores what follows start, breadth first, and returns the number of states and what is wrong, with the way there.
func (m *model) run(start mState) (int, string) {
	m.from = map[mState]mState{}
	m.next(start)
	for len(m.todo) > 0 {
		todo := m.todo
		m.todo = nil
		for _, s := range todo {
			m.now = s
			if !m.step(s) && s.left() > 0 && !s.excused {
				for _, p := range s.procs {
					if p.pc == mAsleep && !p.unsure {
						m.bad = "something was published, and somebody sleeps on"
					}
				}
			}
			if m.bad == "" {
				continue
			}
			way := []string{s.String()}
			for s != start {
				s = m.from[s]
				way = slices.Insert(way, 0, s.String())
			}
			return len(m.from), m.bad + "\n" + strings.Join(way, "\n")
		}
	}
	return len(m.from), ""
}

// step enters the states that follow s, and reports whether there was one by which somebody gets on.
func (m *model) step(s mState) (moved bool) {
	for i := range s.procs {
		p := s.procs[i]
		if p.buffered > 0 {
			n := s
			n.drain(i)
			m.next(n)
			moved = true
		}
		if s.kills > 0 && !p.killed && p.pc != mGone && (p.pc != mIdle || p.ops > 0) {
			n := s
			n.kills--
			q := &n.procs[i]
			n.excused = p.publishes && p.pc != mIdle || p.slept || p.pc >= mRouse && p.pc <= mClear
			*q = mProc{pc: mGone, killed: true, publishes: p.publishes, published: p.published, buffered: p.buffered, registered: p.registered}
			m.next(n)
		}
		moved = m.act(s, i) || moved
	}
	return moved
}

// drain makes visible what process i has published.
func (s *mState) drain(i int) {
	s.procs[i].published += s.procs[i].buffered
	s.procs[i].buffered = 0
}

// act does the next step of process i, in each way there is.
func (m *model) act(s mState, i int) bool {
	p, w := &s.procs[i], &s.word
	to := func(pc uint8) {
		p.pc = pc
		if pc == mIdle || pc == mTry { // what was loaded means nothing any more
			p.v, p.asked, p.asks, p.at = mWord{}, mWord{}, false, 0
		}
		if p.pc == mIdle && p.ops == 0 {
			p.pc = mGone
		}
		m.next(s)
	}
	or := func(change func(n *mState, p *mProc)) { // another way
		n := s
		change(&n, &n.procs[i])
		m.next(n)
	}
	cancel := func() {
		if s.cancels > 0 {
			or(func(n *mState, p *mProc) { n.cancels--; p.leaves = true; p.pc = mUnflag })
		}
	}
	after := uint8(mVouch)
	if !p.publishes {
		after = mPass
	}
	switch p.pc {
	case mIdle:
		if p.ops == 0 {
			return false
		}
		if !p.publishes {
			to(mTry)
			break
		}
		p.ops--
		p.buffered += p.batch
		to(mLook)
	case mLook:
		if p.eager || w.level > 0 || w.fenced {
			to(mSlow)
		} else {
			to(mIdle)
		}
	case mSlow:
		if !(p.eager && m.noFenceAlways || !p.eager && m.noFence) {
			s.drain(i)
		}
		if p.eager && p.registers {
			or(func(n *mState, p *mProc) { p.registered = !m.bareEarly; p.registers = false; p.pc = mJoin })
		}
		to(mLoad)
	case mJoin:
		s.drain(i)
		w.bare = w.bare || !m.noBare
		p.eager = false
		to(mLoad)
	case mLoad:
		p.v, p.asked = *w, *w
		if w.level > 0 {
			to(mRouse)
			break
		}
		if w.fenced && !p.eager {
			or(func(n *mState, p *mProc) {
				n.drain(i)
				n.word.fenced, n.word.sure = false, false
				if !m.unfencedUnasked {
					n.word.turn++
				}
				p.v, p.asked, p.pc = mWord{}, mWord{}, mIdle
				if p.ops == 0 {
					p.pc = mGone
				}
			})
		}
		to(mVouch)
	case mRouse:
		s.drain(i)
		if *w != p.v {
			if p.v = *w; w.level == 0 {
				to(after)
			} else {
				m.next(s)
			}
			break
		}
		if !m.wakesUncounted {
			w.count++
		}
		if w.level > 1 && !m.wakesOne {
			w.waking = true
			p.v = *w
			to(mWake)
			break
		}
		one := w.level > 1
		w.level, w.waking = 0, false
		if p.v = *w; one {
			to(mWake)
		} else {
			to(mWakeAll)
		}
	case mWakeAll:
		for j := range s.procs {
			s.procs[j].wake()
		}
		to(after)
	case mWake:
		found := false
		for j := range s.procs {
			if s.procs[j].pc == mAsleep {
				found = true
				or(func(n *mState, p *mProc) { n.procs[j].wake(); p.pc = after })
			}
		}
		if !found {
			to(mClear)
		}
	case mClear:
		s.drain(i)
		if *w == p.v || m.clearsAlways {
			w.level, w.waking = 0, false
		}
		to(after)
	case mVouch:
		if p.asked.fenced && !p.asked.sure && !p.refused {
			or(func(n *mState, p *mProc) { p.pc, p.v, p.asks, p.at = mBarrier, p.asked, true, 0 })
		}
		to(mIdle)
	case mBarrier:
		if p.at < uint8(len(s.procs)) {
			if s.procs[p.at].registered && !m.noBarrier {
				s.drain(int(p.at))
			}
			p.at++
			m.next(s)
			break
		}
		p.at = 0
		if p.asks {
			to(mConfirm)
		} else {
			to(mAgain)
		}
	case mConfirm:
		s.drain(i)
		if w.fenced && (w.turn == p.v.turn || m.turnsIgnored) {
			w.sure = true
		}
		if p.publishes {
			to(mIdle)
			break
		}
		p.v.sure, p.asks = true, false
		to(mAgain)

	case mTry:
		if s.left() == 0 {
			if p.leaves {
				to(mPass)
			} else {
				to(mFlag)
			}
			break
		}
		s.taken++
		p.ops--
		to(mPass)
	case mFlag:
		n := *w
		n.waking = n.waking && m.wakingStays
		n.level = min(n.level+1, 2)
		p.unsure = false
		if all := w.fenced && (w.sure || m.fencedIsSure); !w.bare || all {
			*w, p.v = n, n
			to(mAgain)
			break
		}
		ways := []bool{n.fenced}
		if !n.fenced {
			ways = []bool{p.refused, true}
		}
		for _, f := range ways {
			or(func(s *mState, p *mProc) {
				n.fenced = f
				s.word, p.v = n, n
				if p.refused {
					p.unsure, p.pc = true, mAgain
				} else {
					p.asks, p.at, p.pc = f, 0, mBarrier
				}
			})
		}
	case mAgain:
		cancel()
		if s.left() > 0 && !m.flagsLate {
			to(mUnflag)
		} else {
			to(mSleep)
		}
	case mUnflag:
		if *w == p.v && (w.level == 1 || m.unflagsSeveral) {
			w.level = 0
		}
		to(mTry)
	case mSleep:
		p.slept = true
		if *w != p.v {
			to(mTry)
		} else {
			to(mAsleep)
		}
	case mAsleep:
		cancel()
		return false
	case mPass:
		slept := p.slept
		p.slept = false
		if slept && !m.noPass && w.level > 0 && s.left() > 0 {
			p.v = *w
			to(mRouse)
			break
		}
		if p.leaves {
			p.ops = 0
		}
		to(mIdle)
	case mGone:
		return false
	}
	return true
}

// wake is what the kernel does to those in its queue.
func (p *mProc) wake() {
	if p.pc == mAsleep {
		p.pc, p.v = mTry, mWord{}
	}
}

func publisher(ops, batch uint8, registered bool) mProc {
	return mProc{publishes: true, ops: ops, batch: batch, registered: registered, eager: !registered}
}

func late(ops uint8) mProc {
	return mProc{publishes: true, ops: ops, batch: 1, eager: true, registers: true}
}

func sleeper(ops uint8) mProc { return mProc{ops: ops} }

func unable(p mProc) mProc {
	p.refused = true
	return p
}

func scene(kills, cancels uint8, procs ...mProc) mState {
	s := mState{kills: kills, cancels: cancels}
	copy(s.procs[:], procs)
	for _, p := range procs {
		s.word.bare = s.word.bare || p.publishes && !p.eager
	}
	return s
}

// sureLate begins with a sleeper who has had his barrier and is about to say that all fence, when there was a wake already.
var sureLate = func() mState {
	s := scene(1, 0, publisher(2, 1, true), sleeper(2), sleeper(1))
	s.word.fenced, s.word.count = true, 1
	s.procs[1].pc, s.procs[1].asks, s.procs[1].v = mConfirm, true, mWord{level: 1, fenced: true, bare: true}
	return s
}()

func TestModel(t *testing.T) {
	for _, c := range []struct {
		name  string
		start mState
		large bool
	}{
		{"one of each", scene(1, 1, publisher(3, 1, true), sleeper(2)), false},
		{"unregistered", scene(1, 1, publisher(3, 1, false), sleeper(2)), false},
		{"both", scene(0, 0, publisher(2, 1, true), publisher(1, 1, false), sleeper(2)), true},
		{"late", scene(1, 0, late(3), sleeper(2)), false},
		{"two sleepers", scene(0, 0, publisher(2, 1, true), sleeper(1), sleeper(1)), true},
		{"two sleepers, one is killed", scene(1, 0, publisher(2, 1, false), sleeper(1), sleeper(1)), false},
		{"two sleepers, one leaves", scene(0, 1, publisher(2, 1, false), sleeper(1), sleeper(1)), false},
		{"batch", scene(0, 0, publisher(1, 2, false), sleeper(1), sleeper(1)), false},
		{"refused", scene(0, 0, publisher(3, 1, true), unable(sleeper(2))), false},
		{"refused beside one who is not", scene(0, 0, publisher(1, 1, true), unable(sleeper(1)), sleeper(1)), false},
		{"no barriers at all", scene(0, 0, unable(publisher(2, 1, false)), unable(publisher(1, 1, false)), unable(sleeper(2))), false},
		{"one makes sure late", func() mState { s := sureLate; s.kills = 0; return s }(), true},
	} {
		if testing.Short() && c.large {
			continue
		}
		m := model{}
		n, bad := m.run(c.start)
		t.Logf("%s: %d states", c.name, n)
		if bad != "" {
			t.Errorf("%s: %s", c.name, bad)
		}
	}
}

// fault names what is true in f.
func fault(f modelFaults) (names string) {
	v := reflect.ValueOf(f)
	for i := range v.NumField() {
		if v.Field(i).Bool() {
			names += v.Type().Field(i).Name
		}
	}
	return names
}

func TestModelFindsFaults(t *testing.T) {
	simple := scene(0, 0, publisher(3, 1, true), sleeper(2))
	two := scene(0, 0, publisher(2, 1, false), sleeper(1), sleeper(1))
	for _, c := range []struct {
		f     modelFaults
		start mState
	}{
		{modelFaults{noBarrier: true}, simple},
		{modelFaults{noFence: true}, simple},
		{modelFaults{noFenceAlways: true}, scene(0, 0, publisher(1, 1, false), sleeper(1))},
		{modelFaults{noBare: true}, scene(0, 0, late(2), sleeper(2))},
		{modelFaults{bareEarly: true}, scene(0, 0, late(2), sleeper(2))},
		{modelFaults{fencedIsSure: true}, scene(0, 0, publisher(2, 1, true), sleeper(1), sleeper(1))},
		{modelFaults{turnsIgnored: true}, sureLate},
		{modelFaults{unfencedUnasked: true}, sureLate},
		{modelFaults{wakesUncounted: true}, scene(0, 0, publisher(1, 2, false), sleeper(1), sleeper(1))},
		{modelFaults{wakesOne: true}, two},
		{modelFaults{wakingStays: true}, scene(0, 0, publisher(2, 1, false), sleeper(1), sleeper(2))},
		{modelFaults{clearsAlways: true}, scene(0, 0, publisher(2, 1, false), sleeper(1), sleeper(2))},
		{modelFaults{flagsLate: true}, simple},
		{modelFaults{noPass: true}, scene(0, 0, publisher(1, 2, false), sleeper(1), sleeper(1))},
		{modelFaults{unflagsSeveral: true}, scene(0, 1, publisher(1, 1, false), sleeper(1), sleeper(1))},
	} {
		m := model{modelFaults: c.f}
		n, bad := m.run(c.start)
		if bad == "" {
			t.Errorf("%s: nothing found in %d states", fault(c.f), n)
			continue
		}
		line, _, _ := strings.Cut(bad, "\n")
		t.Logf("%s: %d states: %s", fault(c.f), n, line)
	}
}
