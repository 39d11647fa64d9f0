package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/edsrzf/mmap-go"

	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// DefaultSize is the size of a segment made with size 0: address space, not memory. Memory is
// reserved as objects are made.
const DefaultSize = 1 << (26 + 4*(^uint(0)>>63)) // 1 GiB; 64 MiB where int has 32 bits

// minSize leaves some room after the tables, of which only what is used is ever reserved.
const minSize = heapAt + 64<<10

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
	if err := forked(); err != nil {
		return nil, err
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
			sys.MarkProcess()
			if err := sys.DontFork(mem); err != nil {
				mem.Unmap()
				return nil, err
			}
			return mem, nil
		}
		if !errors.Is(err, syscall.ENOMEM) || pause > 100*time.Millisecond {
			return nil, os.NewSyscallError("mmap", err)
		}
		runtime.GC()
		time.Sleep(pause) // the cleanups run in a goroutine of their own
	}
}

// adopt maps a segment that the parent handed over, or that others gave when asked.
func adopt(in inherit.Segment) (*Segment, error) {
	s, err := adoptMapped(in)
	if err != nil {
		in.Memory.Close()
		in.Alive.Close()
		return nil, fmt.Errorf("shm: inherited segment: %w", err)
	}
	s.ring(s.self)
	s.accompany()
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
	// Another description than the one with the lock asks, so this is true of what the protocol allows.
	locked, err := sys.BytesLocked(in.Memory, lockAt(in.Owner), lockBytes)
	if err == nil && !locked {
		err = fmt.Errorf("%w: the life of participant %#x is not in the description that came with it", ErrCorrupt, in.Owner)
	}
	if err != nil {
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
