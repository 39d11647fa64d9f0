package layout

import (
	"fmt"
	"reflect"
)

// Plain returns nil if values of t have a fixed size and may be copied as raw bytes from one process to
// another: bools, integers (int and uint too), floating-point and complex numbers, arrays and structs
// of these, with exported or unexported fields. Otherwise the error names the first offending part,
// such as "Job.Tags[]: slice", for the caller to wrap.
//
// Refused are whatever contains a pointer; uintptr, which is an address or a handle of one process; the
// types of sync and sync/atomic, which must not be copied; and a type of size zero, of which nothing
// could be kept. (Parts of size zero are of no consequence: structs.HostLayout, [0]func().)
func Plain(t reflect.Type) error {
	if t == nil {
		return fmt.Errorf("nil: interface")
	}
	if err := plain(t, rootName(t)); err != nil {
		return err
	}
	if t.Size() == 0 {
		return fmt.Errorf("%s: has no size", rootName(t))
	}
	return nil
}

func plain(t reflect.Type, path string) error {
	switch p := t.PkgPath(); {
	case t.Size() == 0:
		return nil
	case p == "sync" || p == "sync/atomic":
		return fmt.Errorf("%s: %s must not be copied", path, t)
	case isScalar(t.Kind()):
		return nil
	case t.Kind() == reflect.Array:
		return plain(t.Elem(), path+"[]")
	case t.Kind() == reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if err := plain(f.Type, path+"."+f.Name); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("%s: %s", path, kindName(t.Kind()))
}

// isScalar reports whether values of kind k are single things of fixed size that mean the same in
// every process.
func isScalar(k reflect.Kind) bool {
	return reflect.Bool <= k && k <= reflect.Complex128 && k != reflect.Uintptr
}

// rootName is how paths begin: the type's name without its package, or the whole type if it has none.
func rootName(t reflect.Type) string {
	if t.Name() != "" {
		return t.Name()
	}
	return t.String()
}

// kindName is k in the words of a Go programmer.
func kindName(k reflect.Kind) string {
	switch k {
	case reflect.Ptr:
		return "pointer"
	case reflect.Chan:
		return "channel"
	case reflect.UnsafePointer:
		return "unsafe.Pointer"
	}
	return k.String()
}
