package layout

import (
	"encoding/binary"
	"unsafe"
)

// Normalise makes every bool byte of the value at p 0 or 1: 0 stays 0, anything else becomes 1. It
// changes no other byte and touches none that is in order already. The value must be the caller's
// alone: a copy, not the shared bytes, which their writers could spoil again.
func (b *Bools) Normalise(p unsafe.Pointer) {
	if b == nil {
		return
	}
	for i := range b.runs {
		r := &b.runs[i]
		at := unsafe.Add(p, r.off)
		switch {
		case r.elem != nil:
			r.elem.NormaliseN(at, r.n, r.stride)
		case r.n > 1:
			normaliseBytes(unsafe.Slice((*byte)(at), r.n))
		case *(*byte)(at) > 1: // the usual single bool, without the call
			*(*byte)(at) = 1
		}
	}
}

// NormaliseN does the same for n values, the first at p, each stride bytes after the one before.
func (b *Bools) NormaliseN(p unsafe.Pointer, n int, stride uintptr) {
	if b == nil || n <= 0 {
		return
	}
	if b.only(stride) {
		normaliseBytes(unsafe.Slice((*byte)(p), n*int(stride)))
		return
	}
	// No pointer past the last value is ever made: it could point to another object.
	for b.Normalise(p); n > 1; n-- {
		p = unsafe.Add(p, stride)
		b.Normalise(p)
	}
}

// normaliseBytes treats bytes as bools, eight at a time.
func normaliseBytes(s []byte) {
	const ones, low7 = 0x0101010101010101, 0x7f7f7f7f7f7f7f7f
	for ; len(s) >= 8; s = s[8:] {
		if x := binary.LittleEndian.Uint64(s); x&^ones != 0 {
			// Adding 0x7f to the low seven bits of a byte sets its top bit unless all seven are 0.
			binary.LittleEndian.PutUint64(s, (x&low7+low7|x)>>7&ones)
		}
	}
	for i, c := range s {
		if c > 1 {
			s[i] = 1
		}
	}
}
