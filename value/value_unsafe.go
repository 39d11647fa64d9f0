package value

import (
	"sync/atomic"
	"unsafe"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/layout"
)

const (
	countAt = 24
	cellsAt = 32
)

// cells is the value itself: two cells, of which the lowest bit of the count tells the one that counts.
type cells[T any] struct {
	count *atomic.Uint32
	cell  [2]*T
}

func cellSize[T any]() int {
	var x T
	return int(layout.Up(unsafe.Sizeof(x), 8))
}

func cellsOf[T any](mem []byte) cells[T] {
	mem = mem[:cellsAt+2*cellSize[T]()]
	return cells[T]{
		count: (*atomic.Uint32)(unsafe.Pointer(&mem[countAt])),
		cell:  [2]*T{(*T)(unsafe.Pointer(&mem[cellsAt])), (*T)(unsafe.Pointer(&mem[cellsAt+cellSize[T]()]))},
	}
}

func (c *cells[T]) load() T {
	return *c.cell[c.count.Load()&1] // PAIRS WITH store: the count is raised
}

func (c *cells[T]) store(x T) {
	n := c.count.Load()
	*c.cell[(n+1)&1] = x
	crashpoint.Hit("value/store/written")
	c.count.Store(n + 1) // PAIRS WITH load: the count is read
	crashpoint.Hit("value/store/counted")
}

func normalise[T any](b *layout.Bools, x *T) { b.Normalise(unsafe.Pointer(x)) }
