package barrier

import (
	"fmt"
	"structs"
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/internal/robust"
)

const (
	partiesAt = 8
	// CellsAt is where the arrivals begin.
	CellsAt = 128
	// Stride is from one cell to the next; there are two for each party.
	Stride = 8
	// Least is the size of the payload of a barrier for one party.
	Least = CellsAt + 2*Stride
	// Most is the largest number of parties: who comes may look at all cells.
	Most = 1 << 16
)

// payload is the beginning of a barrier's payload.
type payload struct {
	_       structs.HostLayout
	word    atomic.Uint64
	parties uint32
	_       uint32
}

var _ [partiesAt]struct{} = [unsafe.Offsetof(payload{}.parties)]struct{}{}

// Size is how many bytes the payload of a barrier for n parties has.
func Size(n int) int { return CellsAt + 2*Stride*n }

// Init makes mem, which is zeroed, a barrier for n parties.
func Init(mem []byte, n int) { payloadOf(mem).parties = uint32(n) }

func payloadOf(mem []byte) *payload {
	return (*payload)(unsafe.Pointer(unsafe.SliceData(mem[:CellsAt])))
}

// in is the words of the barrier whose whole payload is mem, of any content.
func in(mem []byte) words {
	p := payloadOf(mem)
	n := (len(mem) - CellsAt) / (2 * Stride)
	cells := unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(unsafe.SliceData(mem[CellsAt:Size(n)]))), 2*n)
	return words{
		word: &p.word,
		// The low half of a little-endian word is at its address; segments exist on little-endian machines only.
		low:      (*atomic.Uint32)(unsafe.Pointer(p)),
		arrivals: cells[:n:n],
		members:  cells[n:],
	}
}

// At returns the use of the barrier whose whole payload is mem, 8-aligned memory of handle's object. It stays mapped for as
// long as the caller keeps handle reachable. The error says what is wrong with mem.
func At(mem []byte, peers robust.Peers, handle robust.Handle) (*Barrier, error) {
	n := payloadOf(mem).parties
	if n < 1 || n > Most || len(mem) != Size(int(n)) {
		return nil, fmt.Errorf("barrier for %d parties in %d bytes", n, len(mem))
	}
	observer, _ := peers.(robust.Observer)
	return &Barrier{
		words:    in(mem),
		observer: observer,
		peers:    peers,
		self:     peers.Self(),
		handle:   handle,
		race:     race.At(unsafe.Pointer(payloadOf(mem))),
	}, nil
}
