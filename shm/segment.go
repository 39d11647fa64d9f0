package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"weak"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// DefaultSize is the size of a segment made with size 0: address space, not memory. Memory is
// reserved as objects are made.
const DefaultSize = 1 << (26 + 4*(^uint(0)>>63)) // 1 GiB; 64 MiB where int has 32 bits

// minSize leaves some room after the tables, of which only what is used is ever reserved.
const minSize = heapAt + 64<<10

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
	refs map[weak.Pointer[Ref]]struct{} // the open handles, for Close
}

// resources is what a Segment has to give back. It does not refer to the Segment, whose cleanup it is.
type resources struct {
	mem    mmap.MMap
	memory *os.File // what is mapped
	alive  *os.File // its description has the lock of id's byte, and is used for nothing else
	id     uint32
	left   sync.Once
}

// leave ends the participant and closes the descriptors.
func (r *resources) leave() (err error) {
	r.left.Do(func() {
		err = errors.Join(memory(r.mem).leave(r.id, r.alive), r.alive.Close(), r.memory.Close())
	})
	return err
}

// release gives everything back, when nobody can use it any more.
func (r *resources) release() {
	r.leave()
	r.mem.Unmap()
}

// Anonymous makes a segment without a name; children get it through the objects they are given. When the last
// process that has it ends, however it ends, it is gone. Nobody can shrink it under a user's feet.
//
// size is in bytes and a ceiling: it includes about half a MiB of tables, and memory is reserved as objects
// are made. 0 means DefaultSize; what is too small for the tables is raised. The errors are ErrNoSpace,
// errors.ErrUnsupported on other systems than Linux, and those of the system, for instance when /proc is not
// mounted.
func Anonymous(size int) (*Segment, error) {
	s, err := anonymous(size)
	if err != nil {
		return nil, fmt.Errorf("shm: anonymous segment: %w", err)
	}
	return s, nil
}

func anonymous(size int) (*Segment, error) {
	if !sys.Supported || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return nil, errors.ErrUnsupported
	}
	switch {
	case size < 0 || size > math.MaxInt-(1<<20):
		return nil, fmt.Errorf("size %d: %w", size, os.ErrInvalid)
	case size == 0:
		size = DefaultSize
	}
	size = layout.Up(max(size, minSize), os.Getpagesize())
	f, err := sys.MemoryFile("shoal", int64(size))
	if errors.Is(err, syscall.EFBIG) {
		err = fmt.Errorf("%w: the limit on the size of files (ulimit -f) is below %d bytes: %w", ErrNoSpace, size, err)
	}
	if err != nil {
		return nil, err
	}
	s, err := create(f, size)
	if err != nil {
		f.Close()
		return nil, err
	}
	table.mu.Lock()
	defer table.mu.Unlock()
	table.add(s, false)
	return s, nil
}

// create lays a segment out in the empty file f, which belongs to the segment from then on.
func create(f *os.File, size int) (*Segment, error) {
	if err := commit(f, 0, slotsAt+unit*slotsPerPage); err != nil {
		return nil, err
	}
	mem, err := mapFile(f, size)
	if err != nil {
		return nil, err
	}
	h := memory(mem).header()
	if err := sys.Random(h.UUID[:]); err != nil { // crypto/rand would make every child's start 0.1 ms longer
		mem.Unmap()
		return nil, err
	}
	h.Magic, h.Version, h.HeapAt = magic, formatVersion, heapAt
	h.Size = uint64(size)
	h.Created = time.Now().UnixNano()
	h.CreatorPid = uint32(os.Getpid())
	h.Top.Store(heapAt)
	h.Committed.Store(heapAt)
	// The buckets and the first slots lie below heapAt and are reserved; the other slots are as they are used.

	alive, err := sys.Reopen(f)
	if err != nil {
		mem.Unmap()
		return nil, err
	}
	id, err := memory(mem).claim(f, alive)
	if err != nil {
		alive.Close()
		mem.Unmap()
		return nil, err
	}
	h.Creator = id
	memory(mem).introduce(id, os.Getpid(), sys.PidNamespace())
	return enter(&resources{mem: mem, memory: f, alive: alive, id: id}, h.UUID), nil
}

// mapFile maps size bytes of f. Mappings of closed segments go when the garbage collector finds that nobody
// uses them; if there is no address space left it is asked to look now.
func mapFile(f *os.File, size int) (mmap.MMap, error) {
	for pause := time.Millisecond; ; pause *= 2 {
		mem, err := mmap.MapRegion(f, size, mmap.RDWR, 0, 0)
		if err == nil {
			return mem, nil
		}
		if !errors.Is(err, syscall.ENOMEM) || pause > 100*time.Millisecond {
			return nil, os.NewSyscallError("mmap", err)
		}
		runtime.GC()
		time.Sleep(pause) // the cleanups run in a goroutine of their own
	}
}

// adopt maps a segment that the parent handed over.
func adopt(in inherit.Segment) (*Segment, error) {
	s, err := adoptMapped(in)
	if err != nil {
		in.Memory.Close()
		in.Alive.Close()
		return nil, fmt.Errorf("shm: inherited segment: %w", err)
	}
	return s, nil
}

func adoptMapped(in inherit.Segment) (*Segment, error) {
	st, err := in.Memory.Stat()
	if err != nil {
		return nil, err
	}
	size := st.Size()
	if size < minSize || !sys.Sealed(in.Memory) {
		return nil, fmt.Errorf("%w: %d bytes, or not sealed", ErrCorrupt, size)
	}
	if size > math.MaxInt {
		return nil, fmt.Errorf("%w: %d bytes do not fit into this process", ErrNoSpace, size)
	}
	mem, err := mapFile(in.Memory, int(size))
	if err != nil {
		return nil, err
	}
	if err := checkHeader(memory(mem), in); err != nil {
		mem.Unmap()
		return nil, err
	}
	alive, err := takeOver(in.Owner, in.Memory, in.Alive)
	if err != nil {
		mem.Unmap()
		return nil, err
	}
	memory(mem).introduce(in.Owner, os.Getpid(), sys.PidNamespace())
	return enter(&resources{mem: mem, memory: in.Memory, alive: alive, id: in.Owner}, in.UUID), nil
}

func checkHeader(mem memory, in inherit.Segment) error {
	h := mem.header()
	switch {
	case h.Magic != magic:
		return fmt.Errorf("%w: no segment", ErrCorrupt)
	case h.Version != formatVersion:
		return fmt.Errorf("%w: %d", ErrVersion, h.Version)
	case h.Size != uint64(len(mem)) || h.HeapAt != heapAt || h.UUID != in.UUID:
		return fmt.Errorf("%w: header", ErrCorrupt)
	case mem.knownDead(in.Owner):
		return fmt.Errorf("%w: participant %#x is not alive", ErrCorrupt, in.Owner)
	}
	return nil
}

// enter makes the Segment of what was mapped and joined.
func enter(r *resources, uuid inherit.UUID) *Segment {
	s := &Segment{
		heap: heap{memory: memory(r.mem), file: r.memory, self: r.id},
		uuid: uuid,
		res:  r,
		refs: make(map[weak.Pointer[Ref]]struct{}),
	}
	runtime.AddCleanup(s, (*resources).release, r)
	return s
}

// Close detaches this process: waiting calls return os.ErrClosed, so do later ones, of all handles in the
// segment. What this process still holds there (locks, ends of rings) counts as held by a dead process from
// now on. It may be called again.
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
	s.expose()
	err := s.res.leave()
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

// Prepare readies a participant of s for a child that is about to be started: see package inherit. It is for
// package process.
func (s *Segment) Prepare() (*inherit.Gift, error) {
	defer runtime.KeepAlive(s)
	if s.closed.Load() {
		return nil, os.ErrClosed
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

// Name is "" for an anonymous segment.
func (s *Segment) Name() string { return "" }

// Self is this process's owner id in the segment: locks name their holder and rings their ends by it. Never 0.
func (s *Segment) Self() uint32 { return s.self }

// Dead reports whether participant id is dead: its process ended, however that happened, or left the segment.
// It asks the kernel (some tenths of a microsecond) unless the death was noticed before. Nobody (0) and ids
// that were never given out are dead. A stopped process is not dead. After Close only the deaths that others
// noticed are known.
func (s *Segment) Dead(id uint32) bool {
	d := s.dead(id, s.file)
	runtime.KeepAlive(s)
	return d
}

// KnownDead is what Dead says without asking the kernel: true if the death was noticed by anybody.
func (s *Segment) KnownDead(id uint32) bool {
	d := s.knownDead(id)
	runtime.KeepAlive(s)
	return d
}

// Info describes a segment.
type Info struct {
	Name         string
	Size, Used   int // bytes; Used counts tables and blocks
	Objects      int
	Living, Dead int // participants; Dead ones are those that nobody has tidied up
	Creator      Participant
	Created      time.Time
}

// Participant is a process that has, or had, a segment mapped.
type Participant struct {
	Pid   int // as it sees itself; 0 (and no Since) for one that has not begun to run
	Since time.Time
	Alive bool
}

// ObjectInfo describes an object.
type ObjectInfo struct {
	Name, Kind, Type string // "jobs", "queue", "main.Job"; the name may be ""
	Size             int
	Creator          Participant
	Handle           Handle
}

// Info describes the segment.
func (s *Segment) Info() Info {
	defer runtime.KeepAlive(s)
	h := s.header()
	in := Info{
		Size:    len(s.memory),
		Created: time.Unix(0, h.Created),
		Creator: Participant{Pid: int(h.CreatorPid), Since: time.Unix(0, h.Created), Alive: !s.Dead(h.Creator)},
	}
	if top, err := s.top(); err == nil {
		in.Used = int(top)
	}
	for range s.Objects() {
		in.Objects++
	}
	for _, p := range s.Participants() {
		if p.Alive {
			in.Living++
		} else {
			in.Dead++
		}
	}
	return in
}

// Participants lists the processes that have the segment mapped, the dead ones that nobody has tidied up
// included.
func (s *Segment) Participants() []Participant {
	defer runtime.KeepAlive(s)
	var ps []Participant
	for i := range min(s.header().SlotsUsed.Load(), slotCount) {
		sl := s.slot(i)
		w := sl.Word.Load()
		if st := slotState(w); st != slotLive && st != slotDead {
			continue
		}
		id := ownerID(i, w)
		p := Participant{Alive: !s.Dead(id)}
		if since, who := sl.Since.Load(), sl.Who.Load(); uint32(who>>32) == id {
			p.Pid, p.Since = int(uint32(who)), time.Unix(0, since)
		}
		ps = append(ps, p)
	}
	return ps
}

// Objects iterates over the objects, in the order of their memory. It ends early at the first inconsistency.
func (s *Segment) Objects() iter.Seq[ObjectInfo] {
	return func(yield func(ObjectInfo) bool) {
		defer runtime.KeepAlive(s)
		s.blocks(func(off uint64, o *object, room uint64) bool {
			st := o.State.Load()
			if st&stateMask != stateLive {
				return true
			}
			size, name, typ, err := s.texts(off, o, room)
			return err == nil && yield(ObjectInfo{
				Name: string(name), Kind: kindName(o.Kind), Type: string(typ), Size: int(size),
				Creator: Participant{Pid: int(o.CreatorPid), Since: time.Unix(0, o.Created), Alive: !s.Dead(o.Creator)},
				Handle:  Handle{s.uuid, off, generationOf(st)},
			})
		})
	}
}
