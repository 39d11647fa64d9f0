package array

import (
	"fmt"
	"unsafe"
)

// codedElements are n elements of size 1, 2, 4 or 8 at the beginning of mem, which is aligned to that and
// long enough. An element is read and written by one instruction where the processor has one for its size.
type codedElements struct {
	mem     []byte
	n, size int
}

// check panics if there is no element i.
func (e codedElements) check(i int) {
	if uint(i) >= uint(e.n) {
		panic(fmt.Sprintf("array: index %d out of range with length %d", i, e.n))
	}
}

func (e codedElements) at(i int) unsafe.Pointer {
	e.check(i)
	return unsafe.Pointer(&e.mem[i*e.size])
}

// load is the bytes of element i, zeros above them.
func (e codedElements) load(i int) uint64 {
	p := e.at(i)
	switch e.size {
	case 1:
		return uint64(*(*uint8)(p))
	case 2:
		return uint64(*(*uint16)(p))
	case 4:
		return uint64(*(*uint32)(p))
	}
	return *(*uint64)(p)
}

func (e codedElements) store(i int, bits uint64) {
	p := e.at(i)
	switch e.size {
	case 1:
		*(*uint8)(p) = uint8(bits)
	case 2:
		*(*uint16)(p) = uint16(bits)
	case 4:
		*(*uint32)(p) = uint32(bits)
	default:
		*(*uint64)(p) = bits
	}
}
