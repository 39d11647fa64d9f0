package pool

import (
	"encoding/binary"
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/internal/layout"
	"github.com/shoal-ipc/shoal/internal/wait"
	"github.com/shoal-ipc/shoal/ring"
)

const (
	slots    = 512 // of a desk, a power of two
	slotData = 96
	notes    = 8
)

// slot carries a task to a worker, and its result back.
type slot struct {
	_    structs.HostLayout
	call uint64         // of which the task is one
	time int64          // the task's deadline (CLOCK_MONOTONIC, 0 for none); then how long it took
	fn   uint32         // the function's number
	kind uint32         // see below
	size uint64         // of the argument, or result
	data [slotData]byte // itself, or where it is
}

// The kinds of a slot.
const (
	inBlock = 1 << 0 // data says where it is: offset, and the stamp of a result
	once    = 1 << 1 // a task: the only one of its call
	failed  = 1 << 2 // a result: an error

	kinds = inBlock | once | failed
)

// desk is what the parent and one worker share (doc.go, Layout).
type desk struct {
	_     structs.HostLayout
	tasks [wait.Size]byte // where the worker sleeps when it has none
	notes [wait.Size]byte // where it waits for notes

	turn atomic.Uint64 // low half: begun; high half: dealt
	_    [layout.CacheLine - 8]byte

	done   atomics.Pos   // results
	busy   atomics.Pos   // nanoseconds that the tasks with results took
	memory atomics.Pos   // bytes, as seen last
	state  atomic.Uint32 // ready, once the worker is
	_      [layout.CacheLine - 28]byte

	low  atomic.Uint32 // when so few tasks are not begun the worker wakes who sleeps on hungry
	stop atomic.Uint32 // 1: there will be no more tasks
	_    [layout.CacheLine - 8]byte
}

const (
	deskHead  = 5 * layout.CacheLine
	slotSize  = layout.CacheLine
	boardSize = 2 * wait.Size // of the words that all workers share: results, hungry
)

var (
	_ [0]struct{}        = [unsafe.Offsetof(desk{}.tasks)]struct{}{}
	_ [128]struct{}      = [unsafe.Offsetof(desk{}.notes)]struct{}{}
	_ [256]struct{}      = [unsafe.Offsetof(desk{}.turn)]struct{}{}
	_ [384]struct{}      = [unsafe.Offsetof(desk{}.done)]struct{}{}
	_ [392]struct{}      = [unsafe.Offsetof(desk{}.busy)]struct{}{}
	_ [400]struct{}      = [unsafe.Offsetof(desk{}.memory)]struct{}{}
	_ [408]struct{}      = [unsafe.Offsetof(desk{}.state)]struct{}{}
	_ [512]struct{}      = [unsafe.Offsetof(desk{}.low)]struct{}{}
	_ [516]struct{}      = [unsafe.Offsetof(desk{}.stop)]struct{}{}
	_ [deskHead]struct{} = [unsafe.Sizeof(desk{})]struct{}{}

	_ [0]struct{}        = [unsafe.Offsetof(slot{}.call)]struct{}{}
	_ [8]struct{}        = [unsafe.Offsetof(slot{}.time)]struct{}{}
	_ [16]struct{}       = [unsafe.Offsetof(slot{}.fn)]struct{}{}
	_ [20]struct{}       = [unsafe.Offsetof(slot{}.kind)]struct{}{}
	_ [24]struct{}       = [unsafe.Offsetof(slot{}.size)]struct{}{}
	_ [32]struct{}       = [unsafe.Offsetof(slot{}.data)]struct{}{}
	_ [slotSize]struct{} = [unsafe.Sizeof(slot{})]struct{}{}
)

// note tells a worker something of a call, while it does a task perhaps.
type note struct {
	kind uint32
	size uint32 // of data, or of what is elsewhere
	call uint64
	data [112]byte
}

// The kinds of a note.
const (
	noteCancel = 1      // the context of the call ends; the cause is in data, or in a block (offset and stamp)
	noteEnd    = 2      // the call has ended, with the worker's part of it
	noteBlock  = 1 << 8 // the cause is elsewhere
	noteLate   = 1 << 9 // the context ended at its deadline
)

// slotsAt is where the slots of a desk begin.
func slotsAt() int { return deskHead + layout.Up(ring.SPSCSize[note](notes), layout.CacheLine) }

// deskSize is how many bytes a desk takes.
func deskSize() int { return slotsAt() + slots*slotSize }

// deskOf is the desk in mem, of at least deskSize bytes.
func deskOf(mem []byte) (d *desk, ringMem []byte, s *[slots]slot) {
	mem = mem[:deskSize()]
	at := slotsAt()
	return (*desk)(unsafe.Pointer(unsafe.SliceData(mem))), mem[deskHead:at:at], (*[slots]slot)(unsafe.Pointer(&mem[at]))
}

// place says in data where a payload is.
func place(data []byte, offset uint64, stamp uint32) {
	binary.LittleEndian.PutUint64(data, offset)
	binary.LittleEndian.PutUint32(data[8:], stamp)
}

// placed is what place said.
func placed(data []byte) (offset uint64, stamp uint32) {
	return binary.LittleEndian.Uint64(data), binary.LittleEndian.Uint32(data[8:])
}
