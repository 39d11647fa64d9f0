package layout

import "unsafe"

// Clear makes every byte of padding in the value at p zero, and changes no other. The value must be the
// caller's alone.
func (p *Padding) Clear(at unsafe.Pointer) {
	if p == nil {
		return
	}
	for i := range p.runs {
		r := &p.runs[i]
		if r.elem != nil {
			r.elem.ClearN(unsafe.Add(at, r.off), r.n, r.stride)
		} else {
			clear(unsafe.Slice((*byte)(unsafe.Add(at, r.off)), r.n))
		}
	}
}

// ClearN does the same for n values, the first at at, each stride bytes after the one before.
func (p *Padding) ClearN(at unsafe.Pointer, n int, stride uintptr) {
	if p == nil || n <= 0 {
		return
	}
	// No pointer past the last value is ever made: it could point to another object.
	for p.Clear(at); n > 1; n-- {
		at = unsafe.Add(at, stride)
		p.Clear(at)
	}
}
