package layout

import "reflect"

// Padding says which bytes of a type mean nothing: those between the fields of structs and after the last,
// and those of fields named "_". It is immutable; nil means none.
//
// What lies in such bytes is left from whatever the memory held before. Who copies a value to where others
// can read it clears them in the copy, so that nothing is told that was not meant to be, and equal values
// are equal bytes.
type Padding struct {
	runs []padRun
}

// padRun is part of a type: n bytes that are padding (elem is nil), or n values at a distance of stride with
// the padding of elem in each.
type padRun struct {
	off    uintptr
	n      int
	stride uintptr
	elem   *Padding
}

// PaddingOf finds the padding in values of t, in its arrays and structs at any depth. It does not follow
// pointers. It returns nil when there is none. It computes afresh: call it once and keep the result.
func PaddingOf(t reflect.Type) *Padding {
	p := new(Padding)
	p.add(t, 0)
	if len(p.runs) == 0 {
		return nil
	}
	return p
}

// add appends the padding of a t that lies at off.
func (p *Padding) add(t reflect.Type, off uintptr) {
	switch t.Kind() {
	case reflect.Struct:
		end := uintptr(0) // of the last field that means something
		for i := range t.NumField() {
			f := t.Field(i)
			if f.Name == "_" || f.Type.Size() == 0 {
				continue
			}
			p.addBytes(off+end, f.Offset-end)
			p.add(f.Type, off+f.Offset)
			end = f.Offset + f.Type.Size()
		}
		p.addBytes(off+end, t.Size()-end)
	case reflect.Array:
		if elem := PaddingOf(t.Elem()); elem != nil && t.Len() > 0 {
			p.runs = append(p.runs, padRun{off: off, n: t.Len(), stride: t.Elem().Size(), elem: elem})
		}
	}
}

// addBytes appends n bytes at off.
func (p *Padding) addBytes(off, n uintptr) {
	if n > 0 {
		p.runs = append(p.runs, padRun{off: off, n: int(n)})
	}
}
