package barrier_test

import (
	"encoding/binary"
	"testing"

	"github.com/shoal-ipc/shoal/internal/barrier"
)

// Who has read the word and is slow takes no cell of the next pass, and none for a pass that is over.
func TestArriveLate(t *testing.T) {
	mem := make([]byte, barrier.Size(2))
	barrier.Init(mem, 2)
	const p, other, self = 7, 1, 2
	binary.LittleEndian.PutUint32(mem, (p+1)<<2)
	taken := uint64(other)<<32 | (p + 1)
	binary.LittleEndian.PutUint64(mem[barrier.CellsAt:], taken)
	if i, ok := barrier.Arrive(mem, p, self); ok {
		t.Errorf("who comes late took cell %d", i)
	}
	if c := binary.LittleEndian.Uint64(mem[barrier.CellsAt:]); c != taken {
		t.Errorf("the cell of who came in the next pass is %#x", c)
	}
	if i, ok := barrier.Arrive(mem, p+1, self); i != 1 || !ok {
		t.Errorf("cell %d, %t, want the second", i, ok)
	}
	if i, ok := barrier.Arrive(mem, p+1, self); ok {
		t.Errorf("one too many took cell %d", i)
	}
}
