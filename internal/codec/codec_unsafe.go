package codec

import (
	"reflect"
	"unsafe"

	"github.com/shoal-ipc/shoal/shm"
)

// Size is how many bytes Append will append. It fails as Append does.
func (c *Codec[T]) Size(v *T) (int, error) { return c.plan.sizeOf(hide(unsafe.Pointer(v))) }

// Append appends the encoded v to dst; if that has room for it, in place. The error, with dst as it was, is that of
// Marshal.
func (c *Codec[T]) Append(dst []byte, v *T) ([]byte, error) {
	return c.plan.append(dst, hide(unsafe.Pointer(v)))
}

// Decode decodes data into v. What v held is overwritten as a whole, and zero after an error, which is that of
// Unmarshal. Nothing decoded refers to data. Another process may change data meanwhile; it gets either a value or an
// error by that.
func (c *Codec[T]) Decode(data []byte, v *T) error {
	if !c.Plain() { // which is overwritten from end to end
		*v = *new(T)
	}
	if err := c.plan.decode(data, hide(unsafe.Pointer(v))); err != nil {
		*v = *new(T)
		return err
	}
	return nil
}

// Objects returns the shared objects that v holds, as the function Objects does.
func (c *Codec[T]) Objects(v *T) ([]shm.Object, error) {
	return objectsAt(c.plan.shape, hide(unsafe.Pointer(v)))
}

// hide returns p without the compiler's noticing that it is the same, so that a variable whose address goes through
// here may stay on the stack. That is sound because nothing here keeps the address, nor hands it to a method of
// somebody's type (see own_unsafe.go). The compiler assumes the worst of calls by way of reflect.
//
//go:nosplit
//go:nocheckptr
func hide(p unsafe.Pointer) unsafe.Pointer {
	x := uintptr(p)
	return *(*unsafe.Pointer)(unsafe.Pointer(&x))
}

// append appends the value at p.
func (pl *plan) append(dst []byte, p unsafe.Pointer) ([]byte, error) {
	if pl.raw == nil {
		b, err := appendValue(dst, pl.shape, p, 0, len(dst))
		if err != nil {
			return dst, failed(err, pl.shape.typ)
		}
		return b, nil
	}
	if pl.indirect {
		if p = *(*unsafe.Pointer)(p); p == nil {
			return dst, nil
		}
	}
	begin := len(dst)
	dst = append(dst, unsafe.Slice((*byte)(p), pl.raw.size)...)
	pl.raw.padding.Clear(unsafe.Pointer(&dst[begin])) // plain data has a size
	return dst, nil
}

// sizeOf is how many bytes append appends.
func (pl *plan) sizeOf(p unsafe.Pointer) (int, error) {
	if pl.raw == nil {
		n, err := sizeOf(pl.shape, p, 0, 0)
		if err != nil {
			return 0, failed(err, pl.shape.typ)
		}
		return n, nil
	}
	if pl.indirect && *(*unsafe.Pointer)(p) == nil {
		return 0, nil
	}
	return int(pl.raw.size), nil
}

// decode decodes data into the variable at p, which is zero.
func (pl *plan) decode(data []byte, p unsafe.Pointer) error {
	if pl.raw == nil {
		d := decoder{data: data, spare: spareMemory(pl.shape, len(data))}
		err := d.value(pl.shape, p, 0)
		if err == nil && d.left() != 0 {
			err = errLong
		}
		if err != nil {
			return wrong(err, pl.shape.typ, d.pos, len(data))
		}
		return nil
	}
	if pl.indirect {
		if len(data) == 0 {
			return nil
		}
	}
	if len(data) != int(pl.raw.size) {
		return wrong(errCount, pl.shape.typ, 0, len(data))
	}
	if pl.indirect {
		q := reflect.New(pl.shape.elem.typ).UnsafePointer()
		*(*unsafe.Pointer)(p) = q
		p = q
	}
	copy(unsafe.Slice((*byte)(p), pl.raw.size), data)
	pl.raw.bools.Normalise(p)
	return nil
}

// marshal encodes v.
func (pl *plan) marshal(v reflect.Value) ([]byte, error) {
	p := addressOf(v)
	n, err := pl.sizeOf(p)
	if err != nil {
		return nil, err
	}
	return pl.append(make([]byte, 0, n), p)
}

// unmarshal decodes data into the variable v.
func (pl *plan) unmarshal(data []byte, v reflect.Value) error {
	return pl.decode(data, v.Addr().UnsafePointer())
}

// objects is the objects in v.
func (pl *plan) objects(v reflect.Value) ([]shm.Object, error) {
	return objectsAt(pl.shape, addressOf(v))
}

// addressOf is where v lies, or a copy of it.
func addressOf(v reflect.Value) unsafe.Pointer {
	if v.CanAddr() {
		return v.Addr().UnsafePointer()
	}
	x := reflect.New(v.Type())
	x.Elem().Set(v)
	return x.UnsafePointer()
}
