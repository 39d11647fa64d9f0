package layout

import "reflect"

// Bools says which bytes of a type are bools. It is immutable; nil means none.
//
// The compiler relies on a bool being 0 or 1: from any other byte it computes indexes that the bounds
// check, removed as needless, no longer stops. Bytes that another process wrote may be anything; so
// whoever copies a value out of shared memory normalises the copy before a Go program sees it.
type Bools struct {
	runs []boolRun
}

// boolRun is part of a type: n bytes that are bools (elem is nil), or n values at a distance of stride
// with the bools of elem in each. Arrays stay loops, so that the description of a type is never
// bigger than the type's source.
type boolRun struct {
	off    uintptr
	n      int
	stride uintptr
	elem   *Bools
}

// BoolsOf finds the bools in values of t, in its arrays and structs at any depth, in fields of any name.
// It does not follow pointers. It returns nil when there are none. It computes afresh: call it once and
// keep the result.
func BoolsOf(t reflect.Type) *Bools {
	b := new(Bools)
	b.add(t, 0)
	if len(b.runs) == 0 {
		return nil
	}
	return b
}

// add appends the bools of a t that lies at off.
func (b *Bools) add(t reflect.Type, off uintptr) {
	switch t.Kind() {
	case reflect.Bool:
		b.addBytes(off, 1)
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			b.add(f.Type, off+f.Offset)
		}
	case reflect.Array:
		if t.Len() == 0 {
			return
		}
		elem := BoolsOf(t.Elem())
		if elem == nil {
			return
		}
		if size := t.Elem().Size(); elem.only(size) {
			b.addBytes(off, t.Len()*int(size))
		} else {
			b.runs = append(b.runs, boolRun{off: off, n: t.Len(), stride: size, elem: elem})
		}
	}
}

// addBytes appends n bools at off, joined to those just before.
func (b *Bools) addBytes(off uintptr, n int) {
	if k := len(b.runs) - 1; k >= 0 {
		if last := &b.runs[k]; last.elem == nil && last.off+uintptr(last.n) == off {
			last.n += n
			return
		}
	}
	b.runs = append(b.runs, boolRun{off: off, n: n})
}

// only reports whether values of so many bytes are bools from end to end.
func (b *Bools) only(size uintptr) bool {
	return len(b.runs) == 1 && b.runs[0].elem == nil && b.runs[0].off == 0 && uintptr(b.runs[0].n) == size
}
