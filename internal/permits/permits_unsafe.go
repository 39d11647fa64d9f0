package permits

import (
	"fmt"
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

const (
	// Size is how many bytes the payload of a semaphore has at least.
	Size    = 24
	mostAt  = 8
	modeAt  = 12
	sleepAt = 16
	// CellsAt is where the cells begin.
	CellsAt = 128
	// FlagSize is the size of an event's payload.
	FlagSize = 4
	// Most is the largest number of permits.
	Most = 1<<31 - 1
	// MostCells is the largest number of cells: who wants one, or has none to release, looks at them all.
	MostCells = 1 << 20

	modeCount = 0
	modeCells = 1
)

// payload is the beginning of a semaphore's payload.
type payload struct {
	_     structs.HostLayout
	word  atomic.Uint64
	most  uint32
	mode  uint32
	sleep atomic.Uint32
	_     uint32
}

var (
	_ [Size]struct{}    = [unsafe.Sizeof(payload{})]struct{}{}
	_ [mostAt]struct{}  = [unsafe.Offsetof(payload{}.most)]struct{}{}
	_ [modeAt]struct{}  = [unsafe.Offsetof(payload{}.mode)]struct{}{}
	_ [sleepAt]struct{} = [unsafe.Offsetof(payload{}.sleep)]struct{}{}
)

func payloadOf(mem []byte) *payload {
	return (*payload)(unsafe.Pointer(unsafe.SliceData(mem[:Size])))
}

// cellsOf is the n cells in mem, which has room for them.
func cellsOf(mem []byte, n int) []atomic.Uint32 {
	if n == 0 {
		return nil
	}
	mem = mem[CellsAt : CellsAt+4*n]
	return unsafe.Slice((*atomic.Uint32)(unsafe.Pointer(unsafe.SliceData(mem))), n)
}

// SizeCells is how many bytes the payload of a semaphore with n cells has.
func SizeCells(n int) int { return CellsAt + 4*n }

// InitCount makes mem, which is zeroed, a semaphore of n counted permits that can have so many at most.
func InitCount(mem []byte, n, most uint32) {
	p := payloadOf(mem)
	p.word.Store(uint64(n))
	p.most = most
}

// InitCells makes mem, which is zeroed, a semaphore of n cells.
func InitCells(mem []byte, n uint32) {
	p := payloadOf(mem)
	p.most, p.mode = n, modeCells
}

// At returns the use of the semaphore that is the payload mem of handle's object, 8-aligned and at least Size bytes long. It
// stays mapped for as long as the caller keeps handle reachable. The error says what is wrong with mem.
func At(mem []byte, peers robust.Peers, handle robust.Handle) (Permits, error) {
	p := payloadOf(mem)
	at := unsafe.Pointer(p)
	most, mode := p.most, p.mode
	switch {
	case most > Most:
	case mode == modeCount:
		return &Count{
			word: &p.word,
			// The low half of a little-endian word is at its address; segments exist on little-endian machines only.
			low:    (*atomic.Uint32)(at),
			most:   most,
			peers:  peers,
			handle: handle,
			race:   race.At(at),
		}, nil
	case mode == modeCells && most <= MostCells && len(mem) >= SizeCells(int(most)):
		c := &Cells{
			cells:  cellsOf(mem, int(most)),
			word:   &p.sleep,
			object: (*atomic.Uint32)(at),
			peers:  peers,
			self:   peers.Self(),
			handle: handle,
			race:   race.At(at),
		}
		if most != 0 { // processes begin to look at different places
			c.hint.Store(c.self % most)
		}
		return c, nil
	}
	return nil, fmt.Errorf("semaphore of mode %d and %d permits in %d bytes", mode, most, len(mem))
}

// Fast is part of Permits.
func (c *Count) Fast() (word *uint64, most uint32) { return (*uint64)(unsafe.Pointer(c.word)), c.most }

// Fast is part of Permits: a word of which there is nothing to take, and to which nothing can be given. It is not the
// counting word, in which another process may write permits that no cell has.
func (c *Cells) Fast() (word *uint64, most uint32) { return new(uint64), 0 }

// cellsIn is the cells and the sleep word of a semaphore's whole payload, of any content.
func cellsIn(mem []byte) ([]atomic.Uint32, *atomic.Uint32) {
	return cellsOf(mem, (len(mem)-CellsAt)/4), &payloadOf(mem).sleep
}

// FlagAt returns the use of the flag at the beginning of mem, which is part of handle's object and 4-aligned. It stays mapped for as long as the caller keeps handle reachable.
func FlagAt(mem []byte, peers robust.Peers, handle robust.Handle) Flag {
	p := unsafe.Pointer(unsafe.SliceData(mem[:FlagSize]))
	return Flag{word: (*atomic.Uint32)(p), peers: peers, handle: handle, race: race.At(p)}
}
