package layout

import (
	"fmt"
	"reflect"
	"structs"
)

// CheckShared returns nil if t may describe shared memory, as the headers and slots of this module do;
// the error names the first part that may not. It is for the tests of the packages that own such
// structs. It demands that
//
//   - t is a struct with structs.HostLayout as its first field, and so is every struct in it, except
//     those of sync/atomic and those with only one field that has a size, which leave nothing to arrange;
//   - there are only integers and floating-point numbers of fixed width, the types of sync/atomic that
//     hold such (and atomic.Bool), and arrays and structs of these: no pointer, no int, uint or
//     uintptr, and no bool (see Bools: write uint8 or a bit of a word);
//   - all offsets and sizes are the same where the compiler aligns 64-bit numbers to 8 bytes and where
//     to 4 (386, arm). So 32- and 64-bit processes agree, and every 64-bit number lies at a multiple of
//     8 bytes, as atomic instructions want it.
func CheckShared(t reflect.Type) error {
	if t == nil || t.Kind() != reflect.Struct {
		return fmt.Errorf("%v: not a struct", t)
	}
	if t.Size() == 0 {
		return fmt.Errorf("%s: has no size", rootName(t))
	}
	if f := t.Field(0); f.Type != reflect.TypeFor[structs.HostLayout]() {
		return fmt.Errorf("%s: its first field must be _ structs.HostLayout", rootName(t))
	}
	return shared(t, rootName(t))
}

// shared checks the part of type t.
func shared(t reflect.Type, path string) error {
	if t.Size() == 0 {
		return nil
	}
	switch t.PkgPath() {
	case "sync":
		return fmt.Errorf("%s: %s works within one process only", path, t)
	case "sync/atomic":
		v := atomicValue(t)
		if v == nil {
			return fmt.Errorf("%s: %s does not hold a number of fixed width", path, t)
		}
		t = v
	}
	switch k := t.Kind(); {
	case reflect.Int8 <= k && k <= reflect.Int64, reflect.Uint8 <= k && k <= reflect.Uint64,
		k == reflect.Float32, k == reflect.Float64:
		return nil
	case k == reflect.Array:
		return shared(t.Elem(), path+"[]")
	case k == reflect.Struct:
		return sharedStruct(t, path)
	}
	return fmt.Errorf("%s: %s", path, kindName(t.Kind()))
}

func sharedStruct(t reflect.Type, path string) error {
	sized := 0
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Size() != 0 {
			sized++
		}
		if err := shared(f.Type, path+"."+f.Name); err != nil {
			return err
		}
	}
	if sized > 1 && t.Field(0).Type != reflect.TypeFor[structs.HostLayout]() {
		return fmt.Errorf("%s: its first field must be _ structs.HostLayout", path)
	}
	for _, align64 := range []uintptr{4, 8} {
		m := model{align64}
		off := uintptr(0)
		for i := range t.NumField() {
			f := t.Field(i)
			size, align := m.sizes(f.Type)
			if off = Up(off, align); off != f.Offset {
				return fmt.Errorf("%s.%s: at offset %d here, at %d where 64-bit numbers are aligned to %d bytes",
					path, f.Name, f.Offset, off, align64)
			}
			off += size
		}
		if size, _ := m.sizes(t); size != t.Size() {
			return fmt.Errorf("%s: %d bytes here, %d where 64-bit numbers are aligned to %d bytes",
				path, t.Size(), size, align64)
		}
	}
	return nil
}

// model is how the Go compiler lays out memory on an architecture that aligns 64-bit numbers to so
// many bytes. It knows the types that CheckShared accepts.
type model struct{ align64 uintptr }

// sizes is the size and alignment of a t.
func (m model) sizes(t reflect.Type) (size, align uintptr) {
	switch t.Kind() {
	case reflect.Array:
		size, align = m.sizes(t.Elem())
		return size * uintptr(t.Len()), align
	case reflect.Struct:
		align = 1
		if t.Name() == "align64" && t.PkgPath() == "sync/atomic" {
			align = 8 // the mark by which atomic.Int64 and Uint64 are aligned to 8 bytes everywhere
		}
		last := uintptr(1)
		for i := range t.NumField() {
			fs, fa := m.sizes(t.Field(i).Type)
			size = Up(size, fa) + fs
			align = max(align, fa)
			last = fs
		}
		if last == 0 && size != 0 {
			size++ // so that the address of an empty last field is not that of the next object
		}
		return Up(size, align), align
	}
	size = t.Size()
	return size, min(size, m.align64)
}
