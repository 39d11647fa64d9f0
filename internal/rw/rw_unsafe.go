package rw

import (
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

const (
	// Size is the size of the payload of a reader-writer lock.
	Size = 128 + Cells*Stride
	// Cells is how many processes can have readers at a time.
	Cells = 64
	// CellsAt is where the cells begin.
	CellsAt = 128
	// Stride is how far they are apart: two lines, because processors fetch lines in pairs.
	Stride = 128
	usedAt = 8
)

// payload is the payload of a reader-writer lock.
type payload struct {
	_     structs.HostLayout
	word  atomic.Uint64
	used  atomic.Uint32
	_     [CellsAt - 12]byte
	cells [Cells]cell
}

type cell struct {
	_ structs.HostLayout
	w atomic.Uint64
	_ [Stride - 8]byte
}

var (
	_ [Size]struct{}    = [unsafe.Sizeof(payload{})]struct{}{}
	_ [usedAt]struct{}  = [unsafe.Offsetof(payload{}.used)]struct{}{}
	_ [CellsAt]struct{} = [unsafe.Offsetof(payload{}.cells)]struct{}{}
	_ [Stride]struct{}  = [unsafe.Sizeof(cell{})]struct{}{}
)

func payloadOf(mem []byte) *payload {
	return (*payload)(unsafe.Pointer(unsafe.SliceData(mem[:Size])))
}

// low is the futex word of c. The low half of a little-endian word is at its address; segments exist on little-endian
// machines only.
func (c *cell) low() *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&c.w)) }

// Use makes l the use of the reader-writer lock that is the payload mem of handle's object, 8-aligned and Size bytes long. It stays
// mapped for as long as the caller keeps handle reachable. *shut is not 0 once handle is closed.
func (l *Lock) Use(mem []byte, peers robust.Peers, handle robust.Handle, shut *uint32) {
	p := payloadOf(mem)
	l.m = robust.At(mem, peers, handle)
	l.m.Patient = true // else readers, or writers, that come again at once would keep the others out
	l.p = p
	l.object = (*atomic.Uint32)(unsafe.Pointer(p))
	l.peers, l.self = peers, peers.Self()
	l.handle, l.shut = handle, shut
	l.writers, l.readers = race.At(unsafe.Pointer(p)), race.At(unsafe.Pointer(&p.cells))
	l.near.Store(&p.cells[0])
}
