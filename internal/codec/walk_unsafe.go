package codec

import (
	"reflect"
	"unsafe"

	"github.com/shoal-ipc/shoal/shm"
)

// objectsAt is the objects in the value of shape s at p.
func objectsAt(s *shape, p unsafe.Pointer) ([]shm.Object, error) {
	if !s.objects {
		return nil, nil
	}
	w := walker{seen: make(map[place]struct{})}
	if err := w.walk(s, p, 0); err != nil {
		return nil, err
	}
	return w.objects, nil
}

// walker collects objects.
type walker struct {
	objects []shm.Object
	seen    map[place]struct{}
}

// place is where a walk has been: a variable by its address and type.
type place struct {
	typ  reflect.Type
	addr uintptr
}

func (w *walker) walk(s *shape, p unsafe.Pointer, depth int) error {
	if !s.objects {
		return nil
	}
	switch s.class {
	case object:
		if q := *(*unsafe.Pointer)(p); q != nil && w.first(s, q) {
			w.objects = append(w.objects, reflect.NewAt(s.typ, p).Elem().Interface().(shm.Object))
		}
		return nil
	case pointer:
		if q := *(*unsafe.Pointer)(p); q != nil && w.first(s, q) { // what is shared need not be looked at twice
			return w.walk(s.elem, q, depth)
		}
		return nil
	}
	if depth++; depth > MaxDepth {
		return ErrDepth
	}
	switch s.class {
	case sequence:
		h := (*sliceHeader)(p)
		return w.walkElems(s.elem, h.data, h.len, depth)
	case array:
		return w.walkElems(s.elem, p, s.length, depth)
	case mapping:
		m, none := s.mapAt(p)
		if none {
			return nil
		}
		return s.eachPair(m, func(_, elem unsafe.Pointer) error { return w.walk(s.elem, elem, depth) })
	case record:
		for i := range s.fields {
			f := &s.fields[i]
			if err := w.walk(f.shape, unsafe.Add(p, f.offset), depth); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) walkElems(s *shape, p unsafe.Pointer, n, depth int) error {
	for i := range n {
		if err := w.walk(s, unsafe.Add(p, uintptr(i)*s.size), depth); err != nil {
			return err
		}
	}
	return nil
}

// first reports whether the walk meets the pointer q of shape s for the first time.
func (w *walker) first(s *shape, q unsafe.Pointer) bool {
	at := place{s.typ, uintptr(q)}
	if _, ok := w.seen[at]; ok {
		return false
	}
	w.seen[at] = struct{}{}
	return true
}
