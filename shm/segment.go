package shm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/futex"
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
	res    *resources
	closed atomic.Bool

	mu   sync.Mutex
	refs map[*uint32]struct{} // what tells the open handles that they are closed
	pins map[uint64]int       // how often the object at an offset is open here (open.go)
	busy int                  // calls that are making objects

	tidying atomic.Bool // a sweep is about to begin
	sweeper sync.Mutex  // held by it
}

// resources is what a Segment has to give back. It does not refer to the Segment, whose cleanup it is.
type resources struct {
	mem    mmap.MMap
	memory *os.File // what is mapped
	alive  *os.File // its description has the lock of id's byte, and is used for nothing else
	id     uint32
	spare  *spare
	// lasting says that others may come who cannot be seen now: the segment has a name.
	lasting bool
	once    sync.Once
	// member is this process's watch over the participants, nil while there is none; ended says that there will be none.
	// The mutex of watch guards both.
	member *member
	ended  bool
}

// last reports whether nobody else will ever use the segment.
func (r *resources) last() bool { return !r.lasting && memory(r.mem).alone(r.id) }

// part begins to leave: what this process holds counts as held by a dead one. Its memory stays its own until leave,
// which follows at once if idle says that no call can be using it, or nobody else has the segment.
func (r *resources) part(idle bool) error {
	watch.end(r)
	m := memory(r.mem)
	m.bury(m.slot(r.id&slotMask), r.id&^slotMask|slotLive)
	if idle || r.last() {
		return r.leave()
	}
	return r.memory.Close()
}

// leave ends the participant, gives back the memory that it has, and closes the descriptors. The participant is not a
// forked process's to end: that has its descriptors from its parent, and nothing mapped.
func (r *resources) leave() (err error) {
	r.once.Do(func() {
		if sys.Forked() {
			r.alive.Close()
			r.memory.Close()
			return
		}
		watch.end(r)
		m := memory(r.mem)
		s := m.slot(r.id & slotMask)
		w := r.id&^slotMask | slotDead
		m.bury(s, r.id&^slotMask|slotLive)
		if r.last() {
			m.free(s, w)
		} else {
			h := heap{memory: m, file: r.alive, self: r.id, spare: r.spare}
			h.giveAll()
			own := sweep{heap: h, dead: map[uint32]uint32{r.id: w}}
			err = own.run()
		}
		err = errors.Join(err, sys.UnlockBytes(r.alive, lockAt(r.id), lockBytes), r.alive.Close())
		if e := r.memory.Close(); !errors.Is(e, os.ErrClosed) {
			err = errors.Join(err, e)
		}
	})
	return err
}

// release gives everything back, when nobody can use it any more.
func (r *resources) release() {
	if r.leave(); !sys.Forked() { // else something else may be there
		r.mem.Unmap()
	}
}

// enter makes the Segment of what was mapped and joined.
func enter(r *resources, uuid inherit.UUID) *Segment {
	r.spare = newSpare(len(r.mem))
	s := &Segment{
		heap: heap{memory: memory(r.mem), file: r.memory, self: r.id, spare: r.spare},
		uuid: uuid,
		res:  r,
		refs: make(map[*uint32]struct{}),
		pins: make(map[uint64]int),
	}
	runtime.AddCleanup(s, (*resources).release, r)
	return s
}

// begin counts a call that makes an object, which end ends.
func (s *Segment) begin() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.usable(); err != nil {
		return err
	}
	s.busy++
	return nil
}

func (s *Segment) end() {
	s.mu.Lock()
	s.busy--
	s.mu.Unlock()
}

// Close detaches this process: waiting calls return os.ErrClosed, so do later ones, of all handles in the
// segment. What this process still holds there (locks, ends of rings) counts as held by a dead process from
// now on. The memory of objects that it had open is reused by others once its handles are unreachable, since calls that
// Close overtakes may still be at work there. It may be called again.
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
	idle := len(s.pins) == 0 && s.busy == 0
	s.mu.Unlock()
	futex.Kick(s.memory)
	s.expose()
	err := s.res.part(idle)
	runtime.KeepAlive(s)
	return err
}

// expose makes sure that what this process holds now, and may still be writing when others take it for dead,
// is not passed over as whole. Who takes an owner word with WHOLE looks at its handle again, which was closed
// before.
func (s *Segment) expose() {
	s.blocks(func(off uint64, o *object, room uint64) bool {
		if o.Owners == robustWord && room >= robust.Size {
			robust.Expose(s.memory[off+objectHead:], s.self)
		}
		return true
	})
}

// usable is the error of what makes, opens or prepares something in s, nil if there is none.
func (s *Segment) usable() error {
	if err := forked(); err != nil {
		return err
	}
	if s.closed.Load() {
		return os.ErrClosed
	}
	return nil
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
		s.leave(id, alive)
		alive.Close()
		runtime.KeepAlive(s)
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

// Name is "" for an anonymous segment.
func (s *Segment) Name() string { return "" }

// Self is this process's owner id in the segment: locks name their holder and rings their ends by it. Never 0.
func (s *Segment) Self() uint32 { return s.self }

// Dead reports whether participant id is dead: its process ended, however that happened, or left the segment.
// It asks the kernel (some tenths of a microsecond) unless the death was noticed before. Nobody (0) and ids
// that were never given out are dead. A stopped process is not dead. After Close only the deaths that others
// noticed are known.
func (s *Segment) Dead(id uint32) bool {
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

// KnownDead is what Dead says without asking the kernel: true if the death was noticed by anybody.
func (s *Segment) KnownDead(id uint32) bool {
	d := s.knownDead(id)
	runtime.KeepAlive(s)
	return d
}
