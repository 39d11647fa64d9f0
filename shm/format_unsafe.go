package shm

import (
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/layout"
)

// The format of a segment; docs/LAYOUT.md describes it for other languages, doc.go names who writes what.
const (
	formatVersion = 1

	dirBuckets = 1024
	slotCount  = 4096
	classCount = 256 // of sizes of blocks
	hintCount  = 8   // for each of them

	dirAt   = 4096
	hintsAt = dirAt + 8*dirBuckets
	slotsAt = hintsAt + 8*hintCount*classCount
	heapAt  = slotsAt + slotCount*128

	// unit is the alignment and the unit of size of blocks.
	unit      = layout.CacheLine
	waitCount = 64 // entries of a table of waits
	waitBytes = waitCount * 24

	// openCount is how many processes that have an object open are listed in its header.
	openCount = 8
	// objectHead is the size of an object's header; the payload follows it.
	objectHead = 128
)

// magic starts every segment. The line ends and the byte above 127 show a copy in text mode.
var magic = [8]byte{'S', 'H', 'O', 'A', 'L', 0xff, '\r', '\n'}

// header is the first page of a segment. What is not atomic is written before the segment is visible to
// anybody and never again.
type header struct {
	_          structs.HostLayout
	Magic      [8]byte
	Version    uint32
	Flags      uint32 // flagNamed, or 0
	Size       uint64
	UUID       [16]byte
	Created    int64  // nanoseconds since 1970
	Creator    uint32 // owner id
	CreatorPid uint32
	HeapAt     uint64
	_          [unit - 64]byte

	SlotsUsed atomic.Uint32 // slots [0, SlotsUsed) were claimed at least once
	_         uint32
	Freed     atomic.Uint64 // how many slots were given back so far: the stamps of the slots
	_         [unit - 16]byte

	DeathEpoch atomic.Uint32 // futex word: one more for every death that was noticed
	_          [unit - 4]byte

	Top atomic.Uint64 // offset of the next block to be laid
	_   [unit - 8]byte

	Committed atomic.Uint64 // memory [0, Committed) is reserved and may be touched
	_         [unit - 8]byte

	_ [dirAt - 5*unit - 256]byte

	Name [256]byte // of a named segment, padded with zeros
}

// flagNamed says that the segment was made with a name: its file lies in a directory, and is not sealed.
const flagNamed = 1

// slot is one participant.
type slot struct {
	_ structs.HostLayout
	// Word is generation<<12 | state.
	Word     atomic.Uint32
	Doorbell atomic.Uint32 // futex word: one more for every joiner that the holder is to watch
	// Who is owner id<<32 | process id: whom the rest describes. It is written last.
	Who      atomic.Uint64
	PidSpace atomic.Uint64 // inode of the namespace of the process id, 0 if unknown
	Since    atomic.Int64  // nanoseconds since 1970
	Freed    atomic.Uint64 // the stamp of when the slot was given back
	Waits    atomic.Uint64 // offset of the table of what the holder waits for (waits.go), 0 if there is none
	// Guard is what the kernel marks when the thread ends that watches for the holder (sys.RobustList), 0 if none does;
	// Node is that thread's.
	Guard atomic.Uint32
	_     uint32
	Node  atomic.Uint64
	_     [unit - 64]byte
}

// object is the header of a block; the payload follows it, then the name and the type's name.
type object struct {
	_ structs.HostLayout
	// Claim is owner<<32 | units: who laid the block, or split it off, and how long it is. 0 where no block was laid
	// yet; then never 0 again, and changed only by who splits the block, which makes it shorter.
	Claim atomic.Uint64
	// State is owner<<32 | generation<<4 | state.
	State atomic.Uint64
	// Next is the offset of the next object in the same bucket of the directory, 0 at its end.
	Next       atomic.Uint64
	Hash       uint64 // layout.Hash of the type, 0 if the kind has none
	Kind       [8]byte
	Size       uint64 // of the payload, in bytes
	NameLen    uint16
	TypeLen    uint16
	Code       uint8 // Python's type code, or 0
	_          [3]byte
	Created    int64
	Creator    uint32 // owner id
	CreatorPid uint32
	// More is the offset of a block with more of Open, 0 if there is none.
	More atomic.Uint64

	// Where the payload has words that name owners, for whoever sweeps up after a dead process: Count words,
	// the first at payload offset At, Stride bytes apart; Class tells their protocol (1: package robust, 2: cells of package permits,
	// 3: those of package rw, 4: those of package barrier, 5: what the object is part of, 6: a queue, package queued).
	Owners ownerWords
	// Open has the owner ids of processes that have the object open.
	Open [openCount]atomic.Uint32
}

// openersMore is the payload of a block in state MORE.
type openersMore struct {
	_    structs.HostLayout
	Next atomic.Uint64 // the block with more of them, 0 if there is none
	Of   uint64        // the object's offset
	Open [moreCount]atomic.Uint32
}

// waitTable is what the goroutines of a participant wait for.
type waitTable [waitCount]waitEntry

// waitEntry is one wait.
type waitEntry struct {
	_      structs.HostLayout
	Object atomic.Uint64 // offset of the object's block, 0 if the entry is not used
	Since  atomic.Int64  // nanoseconds since 1970
	Tag    atomic.Uint64 // tells owners within the participant apart, 0: there are none
}

type ownerWords struct {
	_                        structs.HostLayout
	At, Count, Stride, Class uint32
}

// The format in numbers; a mistake does not compile.
var (
	_ [dirAt]struct{}      = [unsafe.Sizeof(header{})]struct{}{}
	_ [unit]struct{}       = [unsafe.Sizeof(slot{})]struct{}{}
	_ [objectHead]struct{} = [unsafe.Sizeof(object{})]struct{}{}
	_ [unit]struct{}       = [unsafe.Sizeof(openersMore{})]struct{}{}
	_ [waitBytes]struct{}  = [unsafe.Sizeof(waitTable{})]struct{}{}
	_ [128]struct{}        = [unsafe.Offsetof(header{}.SlotsUsed)]struct{}{}
	_ [256]struct{}        = [unsafe.Offsetof(header{}.DeathEpoch)]struct{}{}
	_ [384]struct{}        = [unsafe.Offsetof(header{}.Top)]struct{}{}
	_ [512]struct{}        = [unsafe.Offsetof(header{}.Committed)]struct{}{}
	_ [3840]struct{}       = [unsafe.Offsetof(header{}.Name)]struct{}{}
	_ [16]struct{}         = [unsafe.Offsetof(object{}.Next)]struct{}{}
	_ [72]struct{}         = [unsafe.Offsetof(object{}.More)]struct{}{}
	_ [80]struct{}         = [unsafe.Offsetof(object{}.Owners)]struct{}{}
	_ [96]struct{}         = [unsafe.Offsetof(object{}.Open)]struct{}{}
)

// memory is a mapped segment. Offsets given to its methods were checked by the caller.
type memory []byte

func (m memory) header() *header { return (*header)(unsafe.Pointer(unsafe.SliceData(m))) }

func (m memory) bucket(i uint32) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&m[dirAt+8*i]))
}

// hintWord is hint i of class c: the offset of a block that was free.
func (m memory) hintWord(c, i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&m[hintsAt+8*(hintCount*c+i)]))
}

func (m memory) slot(i uint32) *slot { return (*slot)(unsafe.Pointer(&m[slotsAt+unit*i])) }

func (m memory) object(off uint64) *object { return (*object)(unsafe.Pointer(&m[off])) }

func (m memory) openersMore(off uint64) *openersMore { return (*openersMore)(unsafe.Pointer(&m[off])) }

// waitTable is the table at off, a payload's offset.
func (m memory) waitTable(off uint64) *waitTable { return (*waitTable)(unsafe.Pointer(&m[off])) }

// word is the 64-bit word at off, which is 8-aligned.
func (m memory) word(off uint64) *atomic.Uint64 { return (*atomic.Uint64)(unsafe.Pointer(&m[off])) }

// offsetOf is where in m the field is that p points to.
func offsetOf[T any](m memory, p *T) uint64 {
	return uint64(uintptr(unsafe.Pointer(p)) - uintptr(unsafe.Pointer(unsafe.SliceData(m))))
}
