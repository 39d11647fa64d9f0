package array

import "unsafe"

// elements is the array itself; the caller has checked that n of them fit.
func elements[T any](mem []byte, n int) []T {
	if n == 0 {
		return nil
	}
	return unsafe.Slice((*T)(unsafe.Pointer(&mem[elementsAt])), n)
}

// read copies one element out.
func (a *Array[T]) read(p *T) T {
	x := *p
	if a.bools != nil {
		a.bools.Normalise(unsafe.Pointer(&x))
	}
	return x
}

// copyOut copies elements out and returns how many.
func (a *Array[T]) copyOut(dst, src []T) int {
	n := copy(dst, src)
	if a.bools != nil && n > 0 {
		a.bools.NormaliseN(unsafe.Pointer(unsafe.SliceData(dst)), n, unsafe.Sizeof(dst[0]))
	}
	return n
}
