package shm

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

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
	name   string // "" if it is anonymous
	res    *share
	closed atomic.Bool

	mu   sync.Mutex
	refs map[weak.Pointer[Ref]]struct{} // the open handles, for Close
}

// resources is what a Segment has to give back. It does not refer to the Segment, whose cleanup it is.
type resources struct {
	mem    mmap.MMap
	memory *os.File // what is mapped
	alive  *os.File // its description has the lock of id's byte, and is used for nothing else; nil: only looked at
	id     uint32   // 0 if this process looks only
	left   sync.Once

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
		h.leave()
	}
	table.mu.Lock()
	h.users--
	last := h.users == 0
	table.mu.Unlock()
	if last {
		h.mem.Unmap()
	}
}

// leave ends the participant and closes the descriptors.
func (r *resources) leave() (err error) {
	r.left.Do(func() {
		if r.alive != nil {
			err = errors.Join(memory(r.mem).leave(r.id, r.alive), r.alive.Close())
		}
		err = errors.Join(err, r.memory.Close())
	})
	return err
}

// abandon gives back what no Segment has.
func (r *resources) abandon() {
	r.leave()
	r.mem.Unmap()
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
		heap: heap{memory: memory(r.mem), file: r.memory, self: r.id},
		uuid: uuid,
		name: name,
		res:  &share{resources: r},
		refs: make(map[weak.Pointer[Ref]]struct{}),
	}
}

// usable says why no object can be made or opened.
func (s *Segment) usable() error {
	if s.closed.Load() {
		return os.ErrClosed
	}
	if s.self == 0 {
		return fmt.Errorf("%w: the segment was opened for reading only", fs.ErrPermission)
	}
	return nil
}

// Close detaches this process: waiting calls return os.ErrClosed, so do later ones, of all handles in the
// segment. What this process still holds there (locks, ends of rings) counts as held by a dead process from
// now on. It may be called again.
//
// A process that has opened a name more than once takes part in the segment until it has closed each of those
// Segments: the first to be closed takes its own handles with it, and nothing else.
func (s *Segment) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	table.remove(s)
	s.mu.Lock()
	for p := range s.refs {
		if r := p.Value(); r != nil {
			atomic.StoreUint32(&r.shut, shut)
		}
	}
	clear(s.refs)
	s.mu.Unlock()
	futex.Kick(s.memory)
	var err error
	if s.res.close() {
		s.expose()
		err = s.res.leave()
	}
	runtime.KeepAlive(s)
	return err
}

// expose makes sure that what this process holds now, and may still be writing when others take it for dead,
// is not passed over as whole. Who takes an owner word with WHOLE looks at its handle again, which was closed
// before.
func (s *Segment) expose() {
	if s.self == 0 {
		return
	}
	s.blocks(func(off uint64, o *object, room uint64) bool {
		if o.Owners == robustWord && room >= robust.Size {
			robust.Expose(s.memory[off+objectHead:], s.self)
		}
		return true
	})
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
	var d bool
	if s.self == 0 { // who only looks marks nobody
		d = s.ended(id, s.file)
	} else {
		d = s.dead(id, s.file)
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
