package codec

import (
	"fmt"
	"reflect"
	"time"

	"github.com/shoal-ipc/shoal/shm"
)

// measure looks for what cannot be encoded although the type can: what is too deep, and certain
// times. depth is the number of containers that v lies in.
func measure(s *shape, v reflect.Value, depth int) error {
	if s.height != endless && !s.times {
		if depth+s.height > MaxDepth {
			return ErrDepth
		}
		return nil
	}
	switch {
	case s.class == timestamp:
		return checkTime(v.Interface().(time.Time))
	case s.class == pointer && s.elem.class == timestamp && !v.IsNil() && v.Elem().Interface().(time.Time).IsZero():
		return fmt.Errorf("codec: %w: pointer to the zero time: it would arrive as nil: use nil", shm.ErrType)
	case s.container():
		if depth++; depth > MaxDepth {
			return ErrDepth
		}
	}
	return s.each(v, func(p *shape, pv reflect.Value) error { return measure(p, pv, depth) })
}

// checkTime refuses the offsets that RFC 3339 cannot express and that package time would round, which
// would move the instant. (The encoder refuses the others.)
func checkTime(t time.Time) error {
	if _, offset := t.Zone(); offset%60 != 0 {
		return fmt.Errorf("codec: %w: time %v: its offset from UTC has seconds: use t.UTC()", shm.ErrType, t)
	}
	return nil
}

// Objects returns the shared objects that v holds: every non-nil one that is reachable through exported
// fields, pointers, slices, arrays and maps, each distinct pointer once, in the order in which they
// are met (that of a map is random). It costs next to nothing if the type of v has no room for any. The
// error is that of Check, or ErrDepth.
func Objects(v any) ([]shm.Object, error) {
	s, rv, err := shapeOfValue(v)
	if err != nil || !s.objects {
		return nil, err
	}
	w := walker{seen: make(map[place]struct{})}
	err = w.walk(s, rv, 0)
	if err != nil {
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

func (w *walker) walk(s *shape, v reflect.Value, depth int) error {
	if !s.objects {
		return nil
	}
	switch s.class {
	case object:
		if !v.IsNil() && w.first(v) {
			w.objects = append(w.objects, v.Interface().(shm.Object))
		}
		return nil
	case pointer:
		if v.IsNil() || !w.first(v) { // what is shared need not be looked at twice
			return nil
		}
	default:
		if depth++; depth > MaxDepth {
			return ErrDepth
		}
	}
	return s.each(v, func(p *shape, pv reflect.Value) error { return w.walk(p, pv, depth) })
}

// first reports whether the walk meets the pointer v for the first time.
func (w *walker) first(v reflect.Value) bool {
	p := place{v.Type(), v.Pointer()}
	if _, ok := w.seen[p]; ok {
		return false
	}
	w.seen[p] = struct{}{}
	return true
}
