package shm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"strings"
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
// are made. 0 means DefaultSize; what is too small for the tables is raised; what is negative or more than 8 TiB is
// os.ErrInvalid. Of the options, Mode, Foreign
// and Fresh say nothing about a segment without a name. The errors are ErrNoSpace, errors.ErrUnsupported on
// other systems than Linux, and those of the system, for instance when /proc is not mounted.
func Anonymous(size int, opts ...Options) (*Segment, error) {
	o := only(opts)
	s, err := whenCollected(func() (*Segment, error) { return anonymous(size, o) })
	if err != nil {
		return nil, fmt.Errorf("shm: anonymous segment: %w", err)
	}
	return s, nil
}

func anonymous(size int, o Options) (*Segment, error) {
	size, err := sizeOf(size, os.Getpagesize())
	if err != nil {
		return nil, err
	}
	f, err := sys.MemoryFile("shoal", int64(size))
	if err != nil {
		return nil, sizeError(err, size)
	}
	alive, err := sys.Reopen(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	r, uuid, err := create(f, alive, size, "")
	if err != nil {
		alive.Close()
		f.Close()
		return nil, err
	}
	if err := o.apply(r); err != nil {
		r.abandon()
		return nil, err
	}
	table.mu.Lock()
	defer table.mu.Unlock()
	s := enter(r, uuid, "")
	table.add(s, false)
	return s, nil
}

// whenCollected calls do again, if there are no descriptors left, when the segments that nobody uses any more have
// given theirs back: those that were not closed, and those whose handles were still in use.
func whenCollected(do func() (*Segment, error)) (*Segment, error) {
	s, err := do()
	if !errors.Is(err, syscall.EMFILE) {
		return s, err
	}
	runCleanups() // of handles, which keep their segments
	runCleanups()
	return do()
}

// supported is an error on systems and machines that have no segments, and in processes that were forked.
func supported() error {
	if !sys.Supported || binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		return errors.ErrUnsupported
	}
	return forked()
}

// sizeOf is the size of a segment, in whole pages, of which size bytes were asked.
func sizeOf(size, page int) (int, error) {
	if err := supported(); err != nil {
		return 0, err
	}
	switch {
	case size < 0 || size > math.MaxInt-max(page, 1<<20) || uint64(size) > maxSize:
		return 0, fmt.Errorf("size %d: %w", size, os.ErrInvalid)
	case size == 0:
		size = DefaultSize
	}
	return layout.Up(max(size, minSize), page), nil
}

// sizeError is err of giving a file its size.
func sizeError(err error, size int) error {
	if errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("%w: the limit on the size of files (ulimit -f) is below %d bytes: %w", ErrNoSpace, size, err)
	}
	return err
}

// create lays a segment out in the empty file f and joins it by the description alive. Both belong to what it
// returns, and to the caller after an error.
func create(f, alive *os.File, size int, name string) (*resources, inherit.UUID, error) {
	none := inherit.UUID{}
	if err := commit(f, 0, slotsAt+unit*slotsPerPage); err != nil {
		return nil, none, err
	}
	mem, err := mapFile(f, size, mmap.RDWR)
	if err != nil {
		return nil, none, err
	}
	h := memory(mem).header()
	if err := sys.Random(h.UUID[:]); err != nil { // crypto/rand would make every child's start 0.1 ms longer
		mem.Unmap()
		return nil, none, err
	}
	h.Magic, h.Version, h.HeapAt = magic, formatVersion, heapAt
	h.Size = uint64(size)
	h.Created = time.Now().UnixNano()
	h.CreatorPid = uint32(os.Getpid())
	if name != "" {
		h.Flags = flagNamed
		copy(h.Name[:], name)
	}
	h.Top.Store(heapAt)
	h.Committed.Store(heapAt)
	// The buckets and the first slots lie below heapAt and are reserved; the other slots are as they are
	// used.

	id, err := memory(mem).claim(f, alive)
	if err != nil {
		mem.Unmap()
		return nil, none, err
	}
	h.Creator = id
	memory(mem).introduce(id, os.Getpid(), sys.PidNamespace())
	return newResources(mem, f, alive, id, name != ""), h.UUID, nil
}

// mapFile maps size bytes of f.
func mapFile(f *os.File, size, prot int) (mem mmap.MMap, err error) {
	err = withRoom(func() error {
		mem, err = mapOnce(f, size, prot)
		return err
	})
	return mem, err
}

func mapOnce(f *os.File, size, prot int) (mmap.MMap, error) {
	mem, err := mmap.MapRegion(f, size, prot, 0, 0)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	sys.MarkProcess()
	if err := sys.DontFork(mem); err != nil {
		mem.Unmap()
		return nil, err
	}
	return mem, nil
}

// withRoom calls do, which maps something, and calls it again if there is no address space left: mappings of closed
// segments go when the garbage collector finds that nobody uses them, and it is asked to look now. The cleanups take
// table.mu.
func withRoom(do func() error) error {
	for pause := time.Millisecond; ; pause *= 2 {
		err := do()
		if !errors.Is(err, syscall.ENOMEM) || pause > 100*time.Millisecond {
			return err
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
	size, h, err := readHeader(in.Memory)
	if err != nil {
		return nil, err
	}
	sealed, named := sys.Sealed(in.Memory), h.Flags == flagNamed
	if sealed == named || named && !sys.InMemory(in.Memory) || h.UUID != in.UUID {
		return nil, fmt.Errorf("%w: it is sealed: %t, has a name: %t, UUID %x", ErrCorrupt, sealed, named, h.UUID)
	}
	mem, err := mapFile(in.Memory, size, mmap.RDWR)
	if err != nil {
		return nil, err
	}
	if memory(mem).knownDead(in.Owner) {
		mem.Unmap()
		return nil, fmt.Errorf("%w: participant %#x is not alive", ErrCorrupt, in.Owner)
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
	return enter(newResources(mem, in.Memory, alive, in.Owner, named), in.UUID, segmentName(h)), nil
}

// readHeader checks the header of the segment in f before anything of it is mapped, and returns it with the
// size of the file.
func readHeader(f *os.File) (size int, h *header, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, nil, err
	}
	page := make(memory, dirAt)
	if n, err := f.ReadAt(page, 0); errors.Is(err, io.EOF) {
		return 0, nil, fmt.Errorf("%w: a file of %d bytes is no segment, or was cut off", ErrCorrupt, n)
	} else if err != nil {
		return 0, nil, err
	}
	h = page.header()
	if err := h.check(uint64(info.Size())); err != nil {
		return 0, nil, err
	}
	if info.Size() > math.MaxInt || uint64(info.Size()) > maxSize {
		return 0, nil, fmt.Errorf("%w: %d bytes do not fit into this process", ErrNoSpace, info.Size())
	}
	return int(info.Size()), h, nil
}

// check says what is wrong with the header of a file of size bytes.
func (h *header) check(size uint64) error {
	wrong := func(format string, args ...any) error {
		return fmt.Errorf("%w: header: %s", ErrCorrupt, fmt.Sprintf(format, args...))
	}
	used, top, committed := h.SlotsUsed.Load(), h.Top.Load(), h.Committed.Load()
	switch {
	case h.Magic != magic:
		return fmt.Errorf("%w: no segment", ErrCorrupt)
	case h.Version != formatVersion:
		return fmt.Errorf("%w: it has %d, this program %d", ErrVersion, h.Version, formatVersion)
	case h.Size != size:
		return fmt.Errorf("%w: the file has %d bytes, the segment in it %d: it was cut off, or is a part of a copy",
			ErrCorrupt, size, h.Size)
	case size < minSize:
		return wrong("a segment of %d bytes", size)
	case h.Flags&^flagNamed != 0:
		return wrong("flags %#x", h.Flags)
	case h.Flags == flagNamed && segmentName(h) == "":
		return wrong("no name that can be")
	case h.UUID == inherit.UUID{}:
		return wrong("no UUID")
	case h.HeapAt != heapAt:
		return wrong("heap at %d", h.HeapAt)
	case used < 1 || used > slotCount:
		return wrong("%d participant slots used of %d", used, slotCount)
	case top < heapAt || top > size || top%unit != 0:
		return wrong("heap ends at %d", top)
	case committed < top || committed > size:
		return wrong("%d bytes committed", committed)
	}
	return nil
}

// segmentName is the name in a header, "" if there is none or none that can be.
func segmentName(h *header) string {
	name := strings.TrimRight(string(h.Name[:]), "\x00")
	if h.Flags != flagNamed || checkSegmentName(name) != nil {
		return ""
	}
	return name
}
