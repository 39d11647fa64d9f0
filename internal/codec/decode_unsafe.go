package codec

import (
	"encoding/binary"
	"reflect"
	"unsafe"
)

// value decodes a value of shape s, which lies in depth containers, into the variable at p, which is zero.
func (d *decoder) value(s *shape, p unsafe.Pointer, depth int) error {
	switch s.class {
	case boolean:
		switch {
		case d.item(itemTrue):
			*(*bool)(p) = true
		case !d.item(itemFalse):
			return errWrong
		}
		return nil
	case signed:
		m, n, err := d.head()
		if err != nil {
			return err
		}
		if m > majorNegInt {
			return errWrong
		}
		if n>>(s.size*8-1) != 0 {
			return errRange
		}
		storeInt(p, s.size, n^-uint64(m))
		return nil
	case unsigned:
		n, err := d.want(majorUint)
		if err != nil {
			return err
		}
		if n>>(s.size*8-1)>>1 != 0 {
			return errRange
		}
		storeInt(p, s.size, n)
		return nil
	case single:
		b, err := d.float(itemFloat32, 4)
		if err == nil {
			*(*uint32)(p) = binary.BigEndian.Uint32(b)
		}
		return err
	case double:
		b, err := d.float(itemFloat64, 8)
		if err == nil {
			*(*uint64)(p) = binary.BigEndian.Uint64(b)
		}
		return err
	case text:
		b, err := d.string(majorText)
		if err == nil {
			*(*string)(p) = string(b)
		}
		return err
	case run:
		return d.run(s, p)
	case pointer:
		if d.item(itemNull) {
			return nil
		}
		q := reflect.New(s.elem.typ).UnsafePointer()
		*(*unsafe.Pointer)(p) = q
		return d.value(s.elem, q, depth)
	case object, selfBinary, selfCBOR, timestamp, bigInt:
		return d.own(s, p, depth)
	}

	if depth++; depth > MaxDepth {
		return errDeep
	}
	switch s.class {
	case sequence:
		return d.sequence(s, p, depth)
	case array:
		n, err := d.count(majorArray)
		if err != nil {
			return err
		}
		if n != s.length {
			return errCount
		}
		for i := range n {
			if err := d.value(s.elem, unsafe.Add(p, uintptr(i)*s.elem.size), depth); err != nil {
				return err
			}
		}
		return nil
	case mapping:
		return d.mapping(s, p, depth)
	}
	return d.record(s, p, depth)
}

// storeInt stores an integer of so many bytes.
func storeInt(p unsafe.Pointer, size uintptr, n uint64) {
	switch size {
	case 8:
		*(*uint64)(p) = n
	case 4:
		*(*uint32)(p) = uint32(n)
	case 2:
		*(*uint16)(p) = uint16(n)
	default:
		*(*uint8)(p) = uint8(n)
	}
}

// float passes over a floating-point number of so many bytes.
func (d *decoder) float(mark byte, size uint64) ([]byte, error) {
	if !d.item(mark) {
		return nil, errWrong
	}
	return d.take(size)
}

// run decodes plain data. What is made for a slice is a copy of the data, which is never cleared before.
func (d *decoder) run(s *shape, p unsafe.Pointer) error {
	if s.length < 0 && d.item(itemNull) {
		return nil
	}
	r := &s.run
	for d.key(tagNothing) {
	}
	if r.tag != 0 {
		if tag, err := d.want(majorTag); err != nil {
			return err
		} else if tag != r.tag {
			return errWrong
		}
	}
	b, err := d.string(majorBytes)
	if err != nil {
		return err
	}
	if r.hash != "" {
		if len(b) < len(r.hash) || string(b[:len(r.hash)]) != r.hash {
			return errLayout
		}
		b = b[len(r.hash):]
	}
	n := len(b) / int(r.width())
	if len(b) != n*int(r.width()) || s.length >= 0 && n != s.length {
		return errCount
	}
	switch {
	case s.length >= 0:
		if r.wide {
			return narrow(p, b, r)
		}
		copy(unsafe.Slice((*byte)(p), len(b)), b)
	case n == 0:
		*(*[]struct{})(p) = []struct{}{}
		return nil
	case r.wide:
		mem := make([]uint32, n)
		*(*[]uint32)(p) = mem
		return narrow(unsafe.Pointer(unsafe.SliceData(mem)), b, r)
	default:
		// Memory for so many bytes is aligned for any number that their count is a multiple of.
		mem := unsafe.SliceData(append([]byte(nil), b...))
		*(*[]byte)(p) = unsafe.Slice(mem, n)
		p = unsafe.Pointer(mem)
	}
	r.bools.NormaliseN(p, n, r.size)
	return nil
}

// narrow stores numbers of 8 bytes in 4 bytes each.
func narrow(p unsafe.Pointer, b []byte, r *runForm) error {
	for ; len(b) > 0; b = b[8:] {
		x := binary.NativeEndian.Uint64(b)
		y := uint64(uint32(x))
		if r.tag&tagTypedSigned != 0 {
			y = uint64(int32(x))
		}
		if x != y {
			return errRange
		}
		*(*uint32)(p) = uint32(x)
		if len(b) > 8 {
			p = unsafe.Add(p, 4)
		}
	}
	return nil
}

// sequence decodes a slice of anything but plain data.
func (d *decoder) sequence(s *shape, p unsafe.Pointer, depth int) error {
	if d.item(itemNull) {
		return nil
	}
	n, err := d.count(majorArray)
	if err != nil {
		return err
	}
	h := (*sliceHeader)(p)
	room := d.room(n, s.elem.size)
	switch {
	case n == 0:
		*(*[]struct{})(p) = []struct{}{}
		return nil
	case s.elem.class == text:
		*(*[]string)(p) = make([]string, room)
	case s.elem.class == pointer || s.elem.class == mapping || s.elem.class == object:
		*(*[]unsafe.Pointer)(p) = make([]unsafe.Pointer, room)
	default:
		grow(s, p, 0, room)
	}
	for i := range n {
		if i == room {
			room = grow(s, p, i, 1)
		}
		if err := d.value(s.elem, unsafe.Add(h.data, uintptr(i)*s.elem.size), depth); err != nil {
			return err
		}
	}
	h.len, h.cap = n, n
	return nil
}

// grow makes room for more values, zero, after the n that the slice at p holds, and returns for how many there is now.
func grow(s *shape, p unsafe.Pointer, n, more int) int {
	(*sliceHeader)(p).len = n
	v := reflect.NewAt(s.typ, p).Elem()
	v.Grow(more)
	return v.Cap()
}

// room is how many of n values of a size to make room for at once. Each has a byte of data at least, but may need
// much more memory; if the data is what it seems it has about as much data, too. If not, the slice will grow.
func (d *decoder) room(n int, size uintptr) int {
	const values, ratio = 16, 64
	if size <= ratio || n <= values {
		return n
	}
	return int(min(int64(n), values+ratio*int64(d.left())/int64(size)))
}

func (d *decoder) mapping(s *shape, p unsafe.Pointer, depth int) error {
	if d.item(itemNull) {
		return nil
	}
	n, err := d.count(majorMap)
	if err != nil {
		return err
	}
	m := reflect.MakeMapWithSize(s.typ, d.room(n, s.key.size+s.elem.size))
	*(*unsafe.Pointer)(p) = m.UnsafePointer()
	if n == 0 {
		return nil
	}
	w := s.pair()
	defer s.release(w)
	key, elem := w.key.Addr().UnsafePointer(), w.elem.Addr().UnsafePointer()
	for i := range n {
		if err := d.value(s.key, key, depth); err != nil {
			return err
		}
		if err := d.value(s.elem, elem, depth); err != nil {
			return err
		}
		if m.SetMapIndex(w.key, w.elem); m.Len() != i+1 {
			return errTwice
		}
		w.clear()
	}
	return nil
}

// record decodes a struct. Fields that the data lacks stay zero, and those that the struct lacks are passed over.
func (d *decoder) record(s *shape, p unsafe.Pointer, depth int) error {
	n, err := d.count(majorMap)
	if err != nil {
		return err
	}
	var few [2]uint64
	seen := few[:] // a bit for each field
	if need := (len(s.fields) + 63) / 64; need > len(few) {
		seen = make([]uint64, need)
	}
	next, found := 0, 0
	for range n {
		i := next
		if i >= len(s.fields) || !d.key(s.fields[i].key) {
			if i, err = d.find(s, depth); err != nil {
				return err
			}
			if i < 0 {
				if err := d.skip(depth); err != nil {
					return err
				}
				continue
			}
		}
		if bit := uint64(1) << (i % 64); seen[i/64]&bit != 0 {
			return errTwice
		} else {
			seen[i/64] |= bit
		}
		next = i + 1
		found++
		f := &s.fields[i]
		if err := d.value(f.shape, unsafe.Add(p, f.offset), depth); err != nil {
			return err
		}
	}
	if found == len(s.fields) {
		return nil
	}
	for i := range s.fields {
		if seen[i/64]>>(i%64)&1 == 0 {
			if d.spare -= int64(s.fields[i].shape.size); d.spare < 0 {
				return errSparse
			}
		}
	}
	return nil
}

// key passes over a field's key, or another sequence of bytes, if it comes next.
func (d *decoder) key(key string) bool {
	rest := d.data[d.pos:]
	if len(rest) < len(key) || string(rest[:len(key)]) != key {
		return false
	}
	d.pos += len(key)
	return true
}

// find passes over a key, in any form, and returns the index of the field that has it, -1 if there is none.
func (d *decoder) find(s *shape, depth int) (int, error) {
	from := d.pos
	m, n, err := d.head()
	if err != nil {
		return 0, err
	}
	i, ok := -1, false
	switch m {
	case majorText:
		b, err := d.take(n)
		if err != nil {
			return 0, err
		}
		i, ok = s.names[string(b)]
	case majorUint, majorNegInt:
		var buf [9]byte
		i, ok = s.numbers[string(appendHead(buf[:0], m, n))]
	default:
		d.pos = from
		err = d.skip(depth)
	}
	if !ok {
		i = -1
	}
	return i, err
}

// spareMemory is how much memory data of so many bytes may leave to fields that it does not have, beside the variable
// itself. A message of an older program, whose structs had fewer fields, needs some; a hostile one wants millions
// of big structs, each for the byte that says that it has no fields.
func spareMemory(s *shape, size int) int64 { return 1<<20 + int64(s.size) + 256*int64(size) }
