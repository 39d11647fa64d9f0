package codec

import (
	"reflect"
	"unsafe"
)

// pair is a key and a value of a map, outside of it: variables that are zero while nobody uses them.
type pair struct {
	key, elem reflect.Value
	iter      reflect.MapIter
}

func (w *pair) clear() {
	w.key.SetZero()
	w.elem.SetZero()
}

// pair is one for maps of shape s.
func (s *shape) pair() *pair {
	if w, ok := s.spare.Get().(*pair); ok {
		return w
	}
	return &pair{key: reflect.New(s.typ.Key()).Elem(), elem: reflect.New(s.typ.Elem()).Elem()}
}

// release keeps w for the next one.
func (s *shape) release(w *pair) {
	w.clear()
	w.iter.Reset(reflect.Value{})
	s.spare.Put(w)
}

// mapAt is the map in the variable at p, and whether it is nil. The value has the map, not the variable, which must
// not be referred to from the heap.
func (s *shape) mapAt(p unsafe.Pointer) (m reflect.Value, none bool) {
	if *(*unsafe.Pointer)(p) == nil {
		return m, true
	}
	return reflect.ValueOf(reflect.NewAt(s.typ, p).Elem().Interface()), false
}

// eachPair calls f for copies of each key and value of m, until one call fails.
func (s *shape) eachPair(m reflect.Value, f func(key, elem unsafe.Pointer) error) error {
	w := s.pair()
	defer s.release(w)
	key, elem := w.key.Addr().UnsafePointer(), w.elem.Addr().UnsafePointer()
	w.iter.Reset(m)
	for w.iter.Next() {
		w.key.SetIterKey(&w.iter)
		w.elem.SetIterValue(&w.iter)
		if err := f(key, elem); err != nil {
			return err
		}
	}
	return nil
}
