package shm

import (
	"errors"
	"iter"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"weak"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// A death is noticed without anybody asking, by those who watch the dead one, and through memory by all others.
//
// In each segment a process watches the next two living slots (cyclic), and so is watched by the two before it:
//
//   - By a pidfd in the netpoller, if the participant is in the same pid namespace. The descriptor is opened first and
//     the participant asked for then: if it lived after the descriptor was opened, the number was its own until then,
//     and the descriptor means it and not somebody who has the number now. A process whose pidfd says that it has ended
//     is dead, even if its byte is still locked: a child that it forked and that has not executed its program yet has
//     copies of all descriptors.
//     The kernel says so only when it has given back all the memory of the process. But before that it marks a word in
//     the participant's slot, its guard, and wakes a watcher (the participant's own thread that watches has a robust list,
//     which the kernel goes through when the thread ends). That is a hint: other threads may still run. Dead is who has
//     none that will ever run again, which /proc tells.
//   - Else by a thread that waits for the lock of its bytes, through a description opened for nothing else. Nothing but
//     the end of the participant ends such a wait. So there is one for an owner id at most, and if the same id is to be
//     watched again later, it is the same one.
//   - Else, while there are no descriptors to be had, and while a participant has not written down its process id, by
//     asking at each tick.
//
// Who sees a death buries the slot, which raises the death epoch and wakes those who sleep on it. In each process that is
// one thread for all segments (one for 31, to be exact), which sleeps on some words of each segment: the epoch, the
// doorbell of its own slot, and the guards of those whom it watches by pidfd. When the epoch has changed it lets the waits
// of this process in that segment look again, and finds out anew whom to watch. A joiner rings the doorbells of the two
// before it.
//
// At each tick, a second apart, it also asks for those whom it watches, for those who hold what this process waits for (as far
// as its table of waits says), and for one more, another one each time. So a death whose watchers are stopped is noticed, too,
// and at once where it matters; a slot whose death nobody swept is swept then. Where there is no futex_waitv the words are
// looked at every 50 ms.
//
// A process that is alone in a segment watches nothing there: it needs no thread and no descriptor. Its watch begins when
// it prepares a child, joins, or asks for somebody who lives (before a wait for it, say), and ends with its company; in
// a segment with a name, which anybody may join, it lasts.
// The watch does not keep a Segment that the program has forgotten.
//
// What that costs a process: for each segment with company two pidfds, and as many goroutines in the netpoller; for each
// two participants of a segment that are in other pid namespaces, two descriptors and threads (and one more of each for
// every participant that was among the next two and is not any more, until it ends); one thread for 31 segments. A death
// costs each participant one wake.
const (
	// watchedNext is how many participants are watched. If one of two watchers of a slot is stopped, the other sees to it.
	watchedNext = 2
	watchTick   = time.Second
	// watchPoll is the time between two looks where there is no futex_waitv.
	watchPoll = 50 * time.Millisecond
	// groupSize is how many segments one thread waits for.
	groupSize = (sys.FutexMost - 1) / (2 + watchedNext)
)

// watch is this process's part in noticing deaths. It is empty when no segment has company, but for threads that wait for
// participants of segments that were closed.
var watch watching

type watching struct {
	mu     sync.Mutex
	groups []*group
	// blocked has the threads that wait for a lock, and whom they tell when they have got it. An entry goes with the death
	// of whom the thread waits for.
	blocked map[blockedKey]*member

	noWaitv, noPidfd, noBlocking, noTicks, noEnds atomic.Bool // for tests
}

type blockedKey struct {
	segment inherit.UUID
	id      uint32
}

// group is what one thread waits for.
type group struct {
	own atomic.Uint32 // futex word: changes when members does

	// watching.mu guards what follows.
	members []*member
	list    sys.RobustList // of the thread, whose number is thread, 0 if it cannot have one
	thread  uint32
}

// member is the watch in one segment. It does not refer to the Segment, whose cleanup ends it.
type member struct {
	r     *resources
	seg   weak.Pointer[Segment]
	uuid  inherit.UUID
	group *group

	mu sync.Mutex // before watching.mu
	// gone says that the memory must not be touched any more.
	gone        bool
	looked      bool
	bell, epoch uint32 // as they were at the last look
	watched     []watched
	further     int    // whom to ask for at the next tick: how many living participants after this one
	unswept     uint32 // the first that was dead at the last tick, 0 if none was
}

// watched is a participant that is watched. If neither pidfd nor blocked is set it is asked for at each tick.
type watched struct {
	id      uint32
	pid     int
	pidfd   *os.File
	blocked bool
	dying   bool // the kernel has marked its guard
}

// accompany begins to watch the other participants of s, if this process does not yet.
func (s *Segment) accompany() {
	if crashpoint.Enabled { // steps are counted, and deaths noticed where a test asks
		return
	}
	watch.mu.Lock()
	defer watch.mu.Unlock()
	r := s.res.resources
	if r.member != nil || r.ended {
		return
	}
	i := slices.IndexFunc(watch.groups, func(g *group) bool { return len(g.members) < groupSize })
	if i < 0 {
		i = len(watch.groups)
		watch.groups = append(watch.groups, new(group))
		go watch.groups[i].run()
	}
	g := watch.groups[i]
	r.member = &member{r: r, seg: weak.Make(s), uuid: s.uuid, group: g}
	g.members = append(g.members, r.member)
	g.guard()
	g.poke()
}

// guard lets the kernel mark the guards of g's members, and no others, when g's thread ends; watching.mu is held.
func (g *group) guard() {
	nodes := make([]*atomic.Uint64, 0, groupSize)
	for _, m := range g.members {
		nodes = append(nodes, &memory(m.r.mem).slot(m.r.id&slotMask).Node)
	}
	if unlessCut(func() error { g.list.Link(nodes); return nil }) != nil {
		// The kernel would not get further than to what was cut off, either; before it there may be one that was dropped. When
		// its member is dropped, the others are guarded again.
		g.list.Link(nil)
	}
	for _, m := range g.members {
		unlessCut(func() error { return m.mark(g.thread) })
	}
}

// mark says in m's slot which thread watches, 0 if none does. What the kernel has marked stays: that thread has ended, and
// this one, which the same has killed, is about to.
func (m *member) mark(thread uint32) error {
	if thread != 0 {
		thread |= sys.RobustWaiters
	}
	g := &memory(m.r.mem).slot(m.r.id & slotMask).Guard
	for range 3 { // nobody else changes it but the kernel, once
		v := g.Load()
		if v&sys.RobustDied != 0 || g.CompareAndSwap(v, thread) { // PAIRS WITH knownAlive, look
			break
		}
	}
	return nil
}

// end ends the watch for r, for good. Nobody touches r's memory and descriptors for it any more.
func (w *watching) end(r *resources) {
	w.mu.Lock()
	m := r.member
	r.ended = true
	if m != nil {
		m.drop()
	}
	w.mu.Unlock()
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = true
	m.keep(nil)
}

// drop takes m out of its group; watching.mu is held.
func (m *member) drop() {
	m.r.member = nil
	g := m.group
	g.members = slices.DeleteFunc(slices.Clone(g.members), func(o *member) bool { return o == m })
	unlessCut(func() error { return m.mark(0) }) // first: what names a thread is among what the kernel looks at
	g.guard()
	g.poke()
}

func (g *group) poke() {
	g.own.Add(1)
	sys.FutexWake(&g.own, 1)
}

// run is the thread of g. It ends when g has no members.
func (g *group) run() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	watch.mu.Lock()
	thread, restore, err := g.list.Set()
	if err == nil {
		defer restore()
		g.thread = thread
		g.guard()
	}
	watch.mu.Unlock()
	var words []sys.FutexExpected
	tick := sys.Monotonic() + int64(watchTick)
	for {
		own := g.own.Load()
		watch.mu.Lock()
		members := g.members
		if len(members) == 0 {
			watch.groups = slices.DeleteFunc(watch.groups, func(o *group) bool { return o == g })
			watch.mu.Unlock()
			return
		}
		watch.mu.Unlock()

		now := sys.Monotonic()
		ticks := now >= tick
		if ticks {
			tick = now + int64(watchTick)
			ticks = !watch.noTicks.Load()
		}
		words = append(words[:0], sys.Expect(&g.own, own))
		for _, m := range members {
			words = m.look(ticks, words)
		}
		// Whatever ends the sleep: look again.
		if futex.Features().Waitv && !watch.noWaitv.Load() {
			sys.FutexWaitAny(words, tick)
		} else {
			sys.FutexWait(&g.own, own, min(tick, now+int64(watchPoll)))
		}
	}
}

// look takes in what has changed in the segment, or all there is when ticks, and adds to words what is to be slept on.
func (m *member) look(ticks bool, words []sys.FutexExpected) []sys.FutexExpected {
	sweep := false
	err := unlessCut(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.gone {
			return nil
		}
		mem := memory(m.r.mem)
		h, own := mem.header(), mem.slot(m.r.id&slotMask)
		bell, epoch := own.Doorbell.Load(), h.DeathEpoch.Load() // PAIRS WITH ring, bury
		deaths := !m.looked || epoch != m.epoch
		if deaths || ticks || bell != m.bell {
			m.looked, m.bell, m.epoch = true, bell, epoch
			if deaths {
				futex.Kick(mem)
			}
			sweep = m.choose(ticks)
		}
		if m.gone {
			return nil
		}
		words = append(words, sys.Expect(&own.Doorbell, bell), sys.Expect(&h.DeathEpoch, epoch))
		for i := range m.watched {
			w := &m.watched[i]
			if w.pidfd == nil || w.dying {
				continue
			}
			guard := &mem.slot(w.id & slotMask).Guard
			v := guard.Load()
			if v&sys.RobustDied != 0 {
				w.dying = true
				m.settle(w)
				go m.confirm(*w)
				continue
			}
			words = append(words, sys.Expect(guard, v))
		}
		return nil
	})
	if err != nil {
		go watch.end(m.r) // there is nothing more to see here
	}
	if sweep {
		m.sweep()
	}
	return words
}

// choose watches the next living participants, and nobody else; if there are none it ends the watch. It reports whether
// there is something to sweep: somebody was found dead, or was dead at the last tick already.
func (m *member) choose(ticks bool) (sweep bool) {
	mem := memory(m.r.mem)
	var next []watched
	living, dead := 0, uint32(0) // the first that is dead
	for id, state := range mem.others(m.r.id) {
		switch {
		case state == slotDead && dead == 0:
			dead = id
		case state != slotLive:
		case len(next) < watchedNext:
			if w, ok := m.observe(id, ticks); ok {
				next = append(next, w)
			} else {
				sweep = true
			}
		case !ticks:
			m.keep(next)
			return sweep
		default:
			if living == m.further {
				_, noticed := mem.dead(id, m.r.memory)
				sweep = sweep || noticed
			}
			living++
		}
	}
	m.keep(next)
	if ticks {
		h := heap{memory: mem, file: m.r.memory, self: m.r.id}
		for _, id := range h.awaited() {
			_, noticed := mem.dead(id, m.r.memory)
			sweep = sweep || noticed
		}
		sweep = sweep || dead != 0 && dead == m.unswept
		m.unswept = dead
		m.further++
		if m.further >= living {
			m.further = 0
		}
	}
	if len(next) == 0 {
		m.retire()
		sweep = sweep || dead != 0
	}
	return sweep
}

// others iterates over the other slots that were ever used, in the order in which they are watched: what their owner id
// is or was, and their state.
func (m memory) others(id uint32) iter.Seq2[uint32, uint32] {
	return func(yield func(id, state uint32) bool) {
		used := min(m.header().SlotsUsed.Load(), slotCount)
		for i := uint32(1); i < used; i++ {
			at := (id&slotMask + i) % used
			w := m.slot(at).Word.Load()
			if !yield(ownerID(at, w), slotState(w)) {
				return
			}
		}
	}
}

// observe watches id, if it is not watched yet, and asks for it first, or again when ticks. It reports whether id lives.
func (m *member) observe(id uint32, ticks bool) (w watched, lives bool) {
	if i := slices.IndexFunc(m.watched, func(w watched) bool { return w.id == id }); i >= 0 {
		w = m.watched[i]
	}
	begun := w.pidfd != nil || w.blocked
	if begun && !ticks {
		return w, true
	}
	mem := memory(m.r.mem)
	s := mem.slot(id & slotMask)
	who, space := s.Who.Load(), s.PidSpace.Load() // PAIRS WITH introduce
	pid := int(uint32(who))
	known := uint32(who>>32) == id && pid != 0
	short := false
	if known && !begun && space != 0 && space == sys.PidNamespace() && !watch.noPidfd.Load() {
		var err error
		w.pidfd, err = sys.OpenProcess(pid)
		short = errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
	}
	if dead, _ := mem.dead(id, m.r.memory); dead {
		if !begun && w.pidfd != nil {
			w.pidfd.Close()
		}
		return watched{}, false
	}
	w.id, w.pid = id, pid
	switch {
	case begun || !known || short: // a thread's descriptor would be kept until the participant ends: better luck at the next tick
	case w.pidfd != nil:
		go m.await(w)
	default:
		w.blocked = watch.block(m, id)
	}
	return w, true
}

// await waits for the end of w's process, or of its watch.
func (m *member) await(w watched) {
	if sys.AwaitEnd(w.pidfd) == nil && !watch.noEnds.Load() {
		m.died(w.id)
	}
}

// settle is the first attempt of confirm, by the thread that the kernel has just woken: it has a CPU, and for another
// thread to get one takes longer than all else. The caller has locked m.mu.
func (m *member) settle(w *watched) {
	mem := memory(m.r.mem)
	for range 3 { // each takes as long as some threads need to begin to end
		if sys.Dying(w.pid) {
			mem.bury(mem.slot(w.id&slotMask), w.id&^slotMask|slotLive)
			return
		}
	}
}

// confirm finds out whether w's process is about to end, a thread of which has. If it goes on, with another program, it
// does not have the segment any more. What it has is swept up when its bytes are unlocked, somewhat later; if that takes
// long, at a tick.
func (m *member) confirm(w watched) {
	dead := false
	pause := 50 * time.Microsecond
	for tries := 1; pause < watchTick; tries++ {
		if tries > 50 { // the threads of one who was killed end within milliseconds
			pause *= 2
		}
		dead = dead || sys.Dying(w.pid)
		gone := false
		unlessCut(func() error {
			m.mu.Lock()
			defer m.mu.Unlock()
			if gone = m.gone; !gone && !dead {
				dead = memory(m.r.mem).ended(w.id, m.r.memory)
			}
			return nil
		})
		if gone { // what is left there is for others to find
			return
		}
		if dead && m.died(w.id) {
			return
		}
		time.Sleep(pause)
	}
}

// block waits for id with a thread. It is false if that is not possible.
func (w *watching) block(m *member, id uint32) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	key := blockedKey{m.uuid, id}
	if _, ok := w.blocked[key]; ok {
		w.blocked[key] = m
		return true
	}
	if w.noBlocking.Load() {
		return false
	}
	f, err := sys.Reopen(m.r.memory)
	if err != nil {
		return false
	}
	if w.blocked == nil {
		w.blocked = make(map[blockedKey]*member)
	}
	w.blocked[key] = m
	go func() {
		err := sys.AwaitUnlocked(f, lockAt(id), lockBytes)
		f.Close()
		w.mu.Lock()
		m := w.blocked[key]
		delete(w.blocked, key)
		w.mu.Unlock()
		if err == nil {
			m.died(id)
		}
	}()
	return true
}

// died buries id, whose end was seen, and lets this process's waits look again at once. It reports whether nothing is left
// to be swept.
func (m *member) died(id uint32) (swept bool) {
	swept = true
	unlessCut(func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !m.gone {
			mem := memory(m.r.mem)
			s := mem.slot(id & slotMask)
			mem.bury(s, id&^slotMask|slotLive)
			swept = s.Word.Load() != id&^slotMask|slotDead
			m.looked = false // also if who buried it has yet to count it
		}
		return nil
	})
	m.look(false, nil) // which ends the watch if memory was cut off
	if !swept {
		m.sweep()
	}
	return swept
}

// keep goes on with those of next, and ends the watch for the others. (A thread that is blocked stays: see watch.)
func (m *member) keep(next []watched) {
	for _, w := range m.watched {
		if w.pidfd != nil && !slices.ContainsFunc(next, func(n watched) bool { return n.id == w.id }) {
			w.pidfd.Close()
		}
	}
	m.watched = next
}

// retire ends the watch, unless somebody has come meanwhile (who prepares a child calls accompany after that lives), or
// somebody who is dead is about to end: then there will be something to sweep up. (Who only left may keep its memory as
// long as it likes, and gives it back itself.)
func (m *member) retire() {
	watch.mu.Lock()
	defer watch.mu.Unlock()
	if m.r.member != m || !m.r.last() { // somebody has come, or may come, who rings
		return
	}
	mem := memory(m.r.mem)
	for id, state := range mem.others(m.r.id) {
		if state != slotDead || !mem.lives(id, m.r.memory) {
			continue
		}
		if pid, here := mem.process(id); here && sys.Dying(pid) {
			return
		}
	}
	m.gone = true
	m.drop()
}

// sweep lets the segment be swept, unless the program has forgotten it.
func (m *member) sweep() {
	s := m.seg.Value()
	if s == nil || s.closed.Load() { // but it may have another of the segment
		table.mu.Lock()
		s = table.find(m.uuid)
		table.mu.Unlock()
	}
	if s != nil {
		s.tidySoon()
	}
}
