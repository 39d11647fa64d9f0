package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/barrier"
	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// Segment is one mapped segment. All methods may be called from any goroutine.
//
// A segment has room for 4,096 participants (processes) at a time; one more is ErrNoSpace. Children get a
// segment by getting an object that lies in it, whose Segment method gives the segment there.
//
// The memory stays mapped until the Segment and all handles of objects in it are unreachable, so that a call
// that Close overtakes finds what it works on.
type Segment struct {
	heap
	uuid   inherit.UUID
	name   string // "" if it is anonymous
	res    *share
	closed atomic.Bool

	mu   sync.Mutex
	refs map[*uint32]struct{} // what tells the open handles that they are closed

	tidying atomic.Bool // a sweep is about to begin
	sweeper sync.Mutex  // held by it
}

// resources is what a Segment has to give back. It does not refer to the Segment, whose cleanup it is.
type resources struct {
	mem    mmap.MMap
	memory *os.File // what is mapped
	alive  *os.File // its description has the lock of id's byte, and is used for nothing else; nil: only looked at
	id     uint32   // 0 if this process looks only
	spare  *spare
	// lasting says that others may come who cannot be seen now: the segment has a name.
	lasting bool
	once    sync.Once

	mu   sync.Mutex
	pins map[uint64]int // how often the object at an offset is open here (open.go)

	busy atomic.Int64 // calls that may have blocks in their hands

	waits waits

	// member is this process's watch over the participants, nil while there is none; ended says that there will be none.
	// The mutex of watch guards both.
	member *member
	ended  bool

	// How many Segments share this, and how many of them are not closed: a name can be opened more than once,
	// and the process takes part once. They belong to table.mu.
	users, open int
}

// share is what one Segment has of resources.
type share struct {
	*resources
	closed bool // belongs to table.mu
}

// close ends a share and reports whether that was the last that was open.
func (h *share) close() bool {
	table.mu.Lock()
	defer table.mu.Unlock()
	if h.closed {
		return false
	}
	h.closed = true
	h.open--
	return h.open == 0
}

// release gives everything back, when nobody can use it any more.
func (h *share) release() {
	if h.close() {
		h.part()
	}
	table.mu.Lock()
	h.users--
	last := h.users == 0
	table.mu.Unlock()
	if last {
		h.abandon()
	}
}

// newResources is what a process has that mapped the segment in memory and became the participant id by alive; lasting
// says that the segment has a name.
func newResources(mem mmap.MMap, memory, alive *os.File, id uint32, lasting bool) *resources {
	return &resources{mem: mem, memory: memory, alive: alive, id: id, lasting: lasting,
		spare: newSpare(len(mem)), pins: make(map[uint64]int)}
}

// last reports whether nobody else will ever use the segment.
func (r *resources) last() bool { return !r.lasting && memory(r.mem).alone(r.id) }

// part begins to leave: what this process holds counts as held by a dead one. Its memory stays its own until leave,
// which follows at once if no call can be using it, or nobody else has the segment.
func (r *resources) part() error {
	if r.id == 0 {
		return r.leave()
	}
	watch.end(r)
	exposed := unlessCut(r.expose)
	r.mu.Lock()
	idle := len(r.pins) == 0 && r.busy.Load() == 0 // PAIRS WITH begin and unpin
	r.mu.Unlock()
	err := unlessCut(func() error {
		m := memory(r.mem)
		m.bury(m.slot(r.id&slotMask), r.id&^slotMask|slotLive)
		idle = idle || r.last()
		return nil
	})
	if idle || err != nil {
		return errors.Join(exposed, err, r.leave())
	}
	return errors.Join(exposed, r.memory.Close())
}

// expose makes sure that what this process holds now, and may still be writing when others take it for dead,
// is not passed over as whole. Who takes an owner word with WHOLE looks at its handle again, which was closed
// before, or is unreachable.
func (r *resources) expose() error {
	h := heap{memory: memory(r.mem), file: r.memory, self: r.id}
	h.blocks(func(off uint64, o *object, room uint64) bool {
		// An object, freed or not: plain memory keeps the rest of the header of what was there before.
		st := o.State.Load() & stateMask
		if (st == stateLive || st == stateLimbo) && o.Owners == robustWord && room >= robust.Size {
			robust.Expose(h.memory[off+objectHead:], h.self)
		}
		return true
	})
	return nil
}

// leave ends the participant, gives back the memory that it has, and closes the descriptors. The participant is not a
// forked process's to end: that has its descriptors from its parent, and nothing mapped.
func (r *resources) leave() (err error) {
	r.once.Do(func() {
		if r.id == 0 {
			err = r.memory.Close()
			return
		}
		if sys.Forked() {
			r.alive.Close()
			r.memory.Close()
			return
		}
		watch.end(r)
		err = unlessCut(r.giveBack)
		err = errors.Join(err, sys.UnlockBytes(r.alive, lockAt(r.id), lockBytes), r.alive.Close())
		if e := r.memory.Close(); !errors.Is(e, os.ErrClosed) {
			err = errors.Join(err, e)
		}
	})
	return err
}

// giveBack ends the participant in memory, and gives what it has to others, if there are any.
func (r *resources) giveBack() error {
	m := memory(r.mem)
	s := m.slot(r.id & slotMask)
	w := r.id&^slotMask | slotDead
	m.bury(s, r.id&^slotMask|slotLive)
	if r.last() {
		m.free(s, w)
		return nil
	}
	h := heap{memory: m, file: r.alive, self: r.id, spare: r.spare}
	h.giveAll()
	own := sweep{heap: h, dead: map[uint32]uint32{r.id: w}}
	return own.run()
}

// abandon gives back what no Segment has.
func (r *resources) abandon() {
	if r.leave(); !sys.Forked() { // else something else may be there
		r.mem.Unmap()
	}
}

// enter makes a Segment of what was mapped and joined; table.mu is held, or nobody else has r.
func enter(r *resources, uuid inherit.UUID, name string) *Segment {
	r.users++
	r.open++
	s := r.segment(uuid, name)
	runtime.AddCleanup(s, (*share).release, s.res)
	return s
}

func (r *resources) segment(uuid inherit.UUID, name string) *Segment {
	return &Segment{
		heap: heap{memory: memory(r.mem), file: r.memory, self: r.id, spare: r.spare},
		uuid: uuid,
		name: name,
		res:  &share{resources: r},
		refs: make(map[*uint32]struct{}),
	}
}

// usable is the error of what makes, opens or prepares something in s, nil if there is none.
func (s *Segment) usable() error {
	if err := forked(); err != nil {
		return err
	}
	if s.closed.Load() {
		return os.ErrClosed
	}
	if s.self == 0 {
		return fmt.Errorf("%w: the segment was opened for reading only", fs.ErrPermission)
	}
	return nil
}

// begin counts a call that may have blocks in its hands, in state NEW, which must not be swept up before end ends it.
func (s *Segment) begin() error {
	s.res.busy.Add(1) // PAIRS WITH part: closed, then busy
	if err := s.usable(); err != nil {
		s.end()
		return err
	}
	return nil
}

func (s *Segment) end() { s.res.busy.Add(-1) }

// Close detaches this process: waiting calls return os.ErrClosed, so do later ones, of all handles in the
// segment. What this process still holds there (locks, ends of rings) counts as held by a dead process from
// now on. The memory of objects that it had open is reused by others once its handles are unreachable, since calls
// that Close overtakes may still be at work there. It may be called again.
//
// A process that has opened a name more than once takes part in the segment until it has closed each of those
// Segments: the first to be closed takes its own handles with it, and nothing else.
func (s *Segment) Close() error {
	if err := forked(); err != nil {
		return err
	}
	if s.closed.Swap(true) {
		return nil
	}
	table.remove(s)
	s.mu.Lock()
	for flag := range s.refs {
		atomic.StoreUint32(flag, shut)
	}
	clear(s.refs)
	s.mu.Unlock()
	futex.Kick(s.memory)
	var err error
	if s.res.close() {
		err = s.res.part()
	}
	runtime.KeepAlive(s)
	return err
}

// Prepare readies a participant of s for a child that is about to be started: see package inherit. It is for
// package process.
func (s *Segment) Prepare() (*inherit.Gift, error) {
	defer runtime.KeepAlive(s)
	if err := s.usable(); err != nil {
		return nil, err
	}
	alive, err := sys.Reopen(s.file)
	if err != nil {
		return nil, fmt.Errorf("shm: preparing a child: %w", err)
	}
	id, err := s.claim(s.file, alive)
	if err != nil {
		alive.Close()
		return nil, fmt.Errorf("shm: preparing a child: %w", err)
	}
	s.introduce(id, 0, 0)
	s.accompany()
	abandon := func() {
		unlessCut(func() error { return s.leave(id, alive) })
		alive.Close()
		runtime.KeepAlive(s)
	}
	if s.closed.Load() { // PAIRS WITH Close, which may not have seen that somebody else has the segment
		abandon()
		return nil, os.ErrClosed
	}
	// A descriptor of the child's own: s may be closed while the child is started.
	mem, err := sys.Reopen(s.file)
	if err != nil {
		abandon()
		return nil, fmt.Errorf("shm: preparing a child: %w", err)
	}
	in := inherit.Segment{UUID: s.uuid, Owner: id, Memory: mem, Alive: alive}
	return inherit.NewGift(in, func() {
		abandon()
		mem.Close()
	}), nil
}

// Bind binds the participant that g is for, a child that is about to be started with o in its argument, to what a kind with
// Members has there. It is for package process.
func Bind(o Object, g *inherit.Gift) {
	defer runtime.KeepAlive(o)
	s, at := o.Segment(), o.Handle().Offset
	b, room, err := s.block(at)
	if err != nil {
		return
	}
	size, _, _, err := s.texts(at, b, room)
	if err != nil || !hasMembers(b.Owners, size) {
		return
	}
	mem := s.memory[at+objectHead:][:size]
	barrier.Enlist(mem, g.Owner)
	g.Before(func() {
		barrier.Dismiss(mem, g.Owner)
		runtime.KeepAlive(o)
	})
}

// Name is the name under which the segment was opened, "" for an anonymous one.
func (s *Segment) Name() string { return s.name }

// Self is this process's owner id in the segment: locks name their holder and rings their ends by it. It is 0
// only if the segment was opened for reading only.
func (s *Segment) Self() uint32 { return s.self }

// Dead reports whether participant id is dead: its process ended, however that happened, or left the segment.
// It asks the kernel (some tenths of a microsecond) unless the death was noticed before. Nobody (0) and ids
// that were never given out are dead. A stopped process is not dead. After Close only the deaths that others
// noticed are known.
func (s *Segment) Dead(id uint32) bool {
	if s.self == 0 { // who only looks marks nobody
		d := s.ended(id, s.file)
		runtime.KeepAlive(s)
		return d
	}
	d, noticed := s.dead(id, s.file)
	if noticed {
		s.tidySoon()
	}
	if !d && id != s.self {
		s.accompany()
	}
	runtime.KeepAlive(s)
	return d
}

// Gone reports whether participant id is dead, and what it had may become another's: who only closed the segment is dead at once, and
// may be at work there as long as it has handles of objects that it can reach.
func (s *Segment) Gone(id uint32) bool {
	gone := s.knownGone(id) || s.Dead(id) && !s.lives(id, s.file)
	runtime.KeepAlive(s)
	return gone
}

// KnownAlive reports from memory, at a time during the call, that participant id has not ended. An answer of false says nothing.
// Nor is one of true certain if memory was corrupted, so do not wait until it is false: ask Dead now and then.
func (s *Segment) KnownAlive(id uint32) bool {
	a := s.knownAlive(id)
	runtime.KeepAlive(s)
	return a
}

// KnownDead is what Dead says without asking the kernel: true if the death was noticed by anybody.
func (s *Segment) KnownDead(id uint32) bool {
	d := s.knownDead(id)
	runtime.KeepAlive(s)
	return d
}
