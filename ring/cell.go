package ring

import (
	"fmt"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

// maxMine is how many cells one handle takes at most.
const maxMine = 16

// noBlock in a note says that there is only one block.
const noBlock = 1<<32 - 1

// noteOf is a cell's note: the producer has block have, or, if a push with this note succeeded, block want.
func noteOf(have, want uint64) uint64 { return have<<32 | want }

// parts are the blocks of a note, and whether it is one that a producer may leave in a ring of so many blocks.
func parts(note, blocks uint64) (have, want uint64, ok bool) {
	have, want = note>>32, note&noBlock
	return have, want, have < blocks && (want < blocks && want != have || want == noBlock)
}

// take gets a cell of this process for one call of a method; who calls clears its busy. nil means that there is
// none to be had.
func (m *mpmc) take() *producer {
	if !m.usable() {
		return nil
	}
	if n := m.joined.Load(); n != 0 {
		c := m.mine[spread(n)]
		if c.busy.CompareAndSwap(0, 1) && m.has(c) {
			return c
		}
	}
	return m.takeAny()
}

// has reports whether c, which the caller has made busy, is still this process's. If not, this process has left: another
// has found it dead. Then c is not busy any more, or giveBack would wait for it.
func (m *mpmc) has(c *producer) bool {
	if c.cell.owner.Load() == m.self { // PAIRS WITH reclaim: CAS the owner
		return true
	}
	c.busy.Publish(0)
	return m.leave()
}

// done ends the use of a cell that take returned.
func (m *mpmc) done(c *producer) {
	if c.borrowed {
		c.free(m.self)
	}
	c.busy.Publish(0)
}

// leave ends the handle of a process that has left, and is false.
func (m *mpmc) leave() bool {
	err := errNobody
	m.err.CompareAndSwap(nil, &err)
	return false
}

// refuse notes why a push is not possible now, and is false.
func (m *mpmc) refuse(err error) bool {
	if p := m.refused.Load(); p == nil || *p != err { // else each refusal would allocate
		kept := err
		m.refused.Store(&kept)
	}
	return false
}

// takeAny gets any cell of this process that no goroutine uses just now, or one more. If all are in use and there
// is none to be had it lets those goroutines go on: they are in the middle of a push, which takes no time.
func (m *mpmc) takeAny() *producer {
	for {
		if m.failure() != nil {
			return nil
		}
		n := m.joined.Load()
		for _, c := range m.mine[:n] {
			if c.busy.Load() == 0 && c.busy.CompareAndSwap(0, 1) {
				if !m.has(c) {
					return nil
				}
				return c
			}
		}
		c, err := m.grow(n)
		if c != nil {
			return c
		}
		if n == 0 && err != nil {
			return nil
		}
		runtime.Gosched()
	}
}

// grow takes one more cell, if this handle has n; it is busy already.
func (m *mpmc) grow(n uint32) (*producer, error) {
	m.growing.Lock()
	defer m.growing.Unlock()
	if m.failure() != nil || m.joined.Load() != n || n == maxMine {
		return nil, nil
	}
	if m.peers.Dead(m.self) {
		m.leave()
		return nil, nil
	}
	// Half of the cells are for those who keep them. Who comes later has one of the others for as long as one call lasts, so
	// that any number of processes can push.
	const keep = mpmcCells / 2
	cell, block, err := m.claim(keep)
	if cell == nil && m.tries%1024 == 0 { // asking who is dead takes time
		m.reclaim()
		cell, block, err = m.claim(keep)
	}
	m.tries++
	c := &m.mine[n]
	if cell == nil && n == 0 {
		if c = m.idle(); c == nil {
			return nil, nil
		}
		if cell, block, err = m.claim(mpmcCells); cell == nil {
			m.reclaim()
			cell, block, err = m.claim(mpmcCells)
		}
	}
	if cell == nil {
		if n == 0 {
			m.refuse(err) // before another goroutine can grow: what is not refused clears it
		}
		return nil, err
	}
	if *c == nil {
		*c = &producer{borrowed: c != &m.mine[n]}
	}
	p := *c
	p.cell, p.block = cell, block
	p.busy.Publish(1)
	if !p.borrowed {
		m.joined.Store(n + 1)
	}
	m.refused.Store(nil)
	return p, nil
}

// idle is where one more producer with a borrowed cell is kept. There is none if this handle has as many already: goroutines of one
// process, which may be stopped, must not have all cells.
func (m *mpmc) idle() **producer {
	for i, p := range &m.lent {
		if p == nil || p.busy.Load() == 0 {
			return &m.lent[i]
		}
	}
	return nil
}

// claim takes a cell that nobody has, unless most or more have an owner. The process's id says where to begin, so
// that processes do not take neighbours.
func (m *mpmc) claim(most int) (*mpmcCell, uint64, error) {
	taken := 0
	for i := range m.cells {
		if m.cells[i].owner.Load() != 0 {
			taken++
		}
	}
	if taken >= most {
		return nil, 0, ErrBusy
	}
	err := ErrBusy
	for i := range uint32(mpmcCells) {
		c := &m.cells[(m.self*37+i*5)%mpmcCells]
		if c.owner.Load() != 0 {
			continue
		}
		if c.owner.CompareAndSwap(0, m.self) { // PAIRS WITH reclaim and giveBack: CAS the owner to nobody
			crashpoint.Hit("ring/mpmc/claim/claimed")
			note := c.note.Load() // PAIRS WITH reclaim and giveBack: publish the note
			if have, want, ok := parts(note, m.number); ok && want == noBlock {
				return c, have, nil
			}
			err = fmt.Errorf("%w: a free cell with note %#x", ErrCorrupt, note)
			c.owner.CompareAndSwap(m.self, 0)
		}
	}
	return nil, 0, err
}

// giveBack frees the cells of this handle, as soon as no push uses them, and lets pushes with borrowed ones, which free them
// themselves, end: when it returns no push of this handle is under way, so that the process can leave.
func (m *mpmc) giveBack() {
	m.growing.Lock()
	defer m.growing.Unlock()
	n := m.joined.Load()
	for _, c := range m.mine[:n] {
		for !c.busy.CompareAndSwap(0, 1) { // and it stays busy for ever
			runtime.Gosched()
		}
		c.free(m.self)
	}
	m.joined.Store(0)
	for _, c := range m.lent { // nobody borrows one more: err is set, and growing is locked
		for c != nil && c.busy.Load() != 0 {
			runtime.Gosched()
		}
	}
}

// free gives the cell back. Its note names two blocks; which of them is the producer's only it knows.
func (c *producer) free(self uint32) {
	note := c.cell.note.Load()
	if c.cell.owner.Load() != self { // PAIRS WITH reclaim: CAS the owner
		return
	}
	crashpoint.Hit("ring/mpmc/close/found")
	// PAIRS WITH claim: load the note. It fails if this process has left, and another has the cell by now.
	c.cell.note.CompareAndSwap(note, noteOf(c.block, noBlock))
	crashpoint.Hit("ring/mpmc/close/noted")
	c.cell.owner.CompareAndSwap(self, 0) // PAIRS WITH claim: load and CAS the owner
}

// sighting is what reclaim knows of a cell.
type sighting struct {
	owner      uint32
	dead       bool   // whoever owns it
	note       uint64 // as it was both times, or 0 if it was not
	resolved   bool
	have, want uint64 // resolved: have is the cell's
}

// reclaim frees the cells of dead processes, as far as it can find out which blocks are theirs (doc.go). What it
// cannot find out now it leaves as it is.
func (m *mpmc) reclaim() {
	var cells [mpmcCells]sighting
	deaths := 0
	for i := range cells {
		s := &cells[i]
		s.owner = m.cells[i].owner.Load() // PAIRS WITH claim and reclaim: CAS the owner
		if s.owner == 0 || s.owner == m.self {
			continue
		}
		if j := ownerBefore(cells[:i], s.owner); j >= 0 {
			s.dead = cells[j].dead
		} else {
			s.dead = m.peers.Dead(s.owner)
		}
		if s.dead {
			deaths++
		}
	}
	if deaths == 0 {
		return
	}
	// All that is read from here on is read after those deaths: so what belongs to somebody else is not theirs.
	for i := range cells {
		cells[i].note = m.cells[i].note.Load() // PAIRS WITH pushBlock: publish the note
	}
	elsewhere := make([]bool, m.number)
	for p := range m.mask + 1 {
		if b := m.slot(p).Load() & m.index; b < m.number { // PAIRS WITH push and pop: CAS the slot
			elsewhere[b] = true
		}
	}
	for i := range cells {
		s := &cells[i]
		var ok bool
		s.have, s.want, ok = parts(s.note, m.number)
		if !ok || m.cells[i].note.Load() != s.note { // PAIRS WITH pushBlock: publish the note
			s.have, s.want = noBlock, noBlock
		}
	}
	resolve(cells[:], elsewhere)
	for i := range cells {
		s, c := &cells[i], &m.cells[i]
		// PAIRS WITH reclaim: CAS the owner. A dead owner's id comes back only with another note.
		if !s.dead || !s.resolved || !c.owner.CompareAndSwap(s.owner, m.self) {
			continue
		}
		crashpoint.Hit("ring/mpmc/reclaim/claimed")
		// PAIRS WITH claim: load the note. It fails if the owner had only left, and goes on; or if that is true of this
		// process, and the cell is another's by now. Whoever it is that left, what is known of the cell is not so any more.
		if !c.note.CompareAndSwap(s.note, noteOf(s.have, noBlock)) {
			crashpoint.Hit("ring/mpmc/reclaim/late")
			c.owner.CompareAndSwap(m.self, s.owner) // PAIRS WITH reclaim: load and CAS the owner
			continue
		}
		crashpoint.Hit("ring/mpmc/reclaim/noted")
		c.owner.CompareAndSwap(m.self, 0) // PAIRS WITH claim: load and CAS the owner
		crashpoint.Hit("ring/mpmc/reclaim/freed")
	}
}

// ownerBefore finds a cell of the same owner.
func ownerBefore(cells []sighting, owner uint32) int {
	for i := range cells {
		if cells[i].owner == owner {
			return i
		}
	}
	return -1
}

// resolve finds out which of its two blocks each cell has: the one that is not elsewhere, if the other is. Then
// that one is elsewhere for all other cells; and so on, until nothing follows any more.
func resolve(cells []sighting, elsewhere []bool) {
	for again := true; again; {
		again = false
		for i := range cells {
			s := &cells[i]
			if s.resolved || s.have == noBlock {
				continue
			}
			switch {
			case s.want == noBlock:
			case elsewhere[s.have] && !elsewhere[s.want]:
				s.have = s.want
			case elsewhere[s.want] && !elsewhere[s.have]:
			default:
				continue // neither is seen elsewhere; or both, and so a push has succeeded meanwhile
			}
			s.resolved, again = true, true
			elsewhere[s.have] = true
		}
	}
}
