package codec

import (
	"encoding/binary"
	"unsafe"
)

// sliceHeader is what a variable of a slice type holds.
type sliceHeader struct {
	data     unsafe.Pointer // nil only of a slice that is nil
	len, cap int
}

// loadSigned and loadUnsigned read an integer of so many bytes.
func loadSigned(p unsafe.Pointer, size uintptr) int64 {
	switch size {
	case 8:
		return *(*int64)(p)
	case 4:
		return int64(*(*int32)(p))
	case 2:
		return int64(*(*int16)(p))
	}
	return int64(*(*int8)(p))
}

func loadUnsigned(p unsafe.Pointer, size uintptr) uint64 {
	switch size {
	case 8:
		return *(*uint64)(p)
	case 4:
		return uint64(*(*uint32)(p))
	case 2:
		return uint64(*(*uint16)(p))
	}
	return uint64(*(*uint8)(p))
}

// split is the major type and the number by which x is written.
func split(x int64) (major byte, n uint64) {
	sign := x >> 63 // -1 if x is negative; then the number is -1-x, which is ^x
	return byte(sign & majorNegInt), uint64(x ^ sign)
}

// appendValue appends the value of shape s at p, which lies in depth containers of an item that begins at b[base].
func appendValue(b []byte, s *shape, p unsafe.Pointer, depth, base int) ([]byte, error) {
	switch s.class {
	case boolean:
		if *(*byte)(p) != 0 {
			return append(b, itemTrue), nil
		}
		return append(b, itemFalse), nil
	case signed:
		major, n := split(loadSigned(p, s.size))
		return appendHead(b, major, n), nil
	case unsigned:
		return appendHead(b, majorUint, loadUnsigned(p, s.size)), nil
	case single:
		return binary.BigEndian.AppendUint32(append(b, itemFloat32), *(*uint32)(p)), nil
	case double:
		return binary.BigEndian.AppendUint64(append(b, itemFloat64), *(*uint64)(p)), nil
	case text:
		x := *(*string)(p)
		return append(appendHead(b, majorText, uint64(len(x))), x...), nil
	case run:
		if s.length >= 0 {
			return s.run.append(b, p, s.length, base), nil
		}
		h := (*sliceHeader)(p)
		if h.data == nil {
			return append(b, itemNull), nil
		}
		return s.run.append(b, h.data, h.len, base), nil
	case pointer:
		q, err := s.target(p)
		if err != nil {
			return b, err
		}
		if q == nil {
			return append(b, itemNull), nil
		}
		return appendValue(b, s.elem, q, depth, base)
	case object, selfBinary, selfCBOR, timestamp, bigInt:
		return appendOwn(b, s, p, depth)
	}

	if depth++; depth > MaxDepth {
		return b, ErrDepth
	}
	switch s.class {
	case sequence:
		h := (*sliceHeader)(p)
		if h.data == nil {
			return append(b, itemNull), nil
		}
		return appendElems(appendHead(b, majorArray, uint64(h.len)), s.elem, h.data, h.len, depth, base)
	case array:
		return appendElems(appendHead(b, majorArray, uint64(s.length)), s.elem, p, s.length, depth, base)
	case mapping:
		m, none := s.mapAt(p)
		if none {
			return append(b, itemNull), nil
		}
		b = appendHead(b, majorMap, uint64(m.Len()))
		err := s.eachPair(m, func(key, elem unsafe.Pointer) (err error) {
			if b, err = appendValue(b, s.key, key, depth, base); err == nil {
				b, err = appendValue(b, s.elem, elem, depth, base)
			}
			return err
		})
		return b, err
	}
	return appendRecord(b, s, p, depth, base)
}

// appendElems appends n values that lie one after the other.
func appendElems(b []byte, s *shape, p unsafe.Pointer, n, depth, base int) ([]byte, error) {
	var err error
	for i := range n {
		if b, err = appendValue(b, s, unsafe.Add(p, uintptr(i)*s.size), depth, base); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendRecord(b []byte, s *shape, p unsafe.Pointer, depth, base int) ([]byte, error) {
	b = appendHead(b, majorMap, uint64(s.present(p)))
	for i := range s.fields {
		f := &s.fields[i]
		at := unsafe.Add(p, f.offset)
		if f.optional && isZero(f.shape, at) {
			continue
		}
		b = append(b, f.key...)
		var err error
		if b, err = appendValue(b, f.shape, at, depth, base); err != nil {
			return b, err
		}
	}
	return b, nil
}

// sizeOf is where the value of shape s at p ends, in an item in which it begins at pos, if appendValue appends it; it
// fails as that does.
func sizeOf(s *shape, p unsafe.Pointer, depth, pos int) (end int, err error) {
	switch s.class {
	case boolean:
		return pos + 1, nil
	case signed:
		_, n := split(loadSigned(p, s.size))
		return pos + headSize(n), nil
	case unsigned:
		return pos + headSize(loadUnsigned(p, s.size)), nil
	case single:
		return pos + 5, nil
	case double:
		return pos + 9, nil
	case text:
		n := len(*(*string)(p))
		return pos + headSize(uint64(n)) + n, nil
	case run:
		if s.length >= 0 {
			return s.run.end(s.length, pos), nil
		}
		h := (*sliceHeader)(p)
		if h.data == nil {
			return pos + 1, nil
		}
		return s.run.end(h.len, pos), nil
	case pointer:
		q, err := s.target(p)
		if err != nil || q == nil {
			return pos + 1, err
		}
		return sizeOf(s.elem, q, depth, pos)
	case object, selfBinary, selfCBOR, timestamp, bigInt:
		n, err := sizeOfOwn(s, p, depth)
		return pos + n, err
	}

	if depth++; depth > MaxDepth {
		return 0, ErrDepth
	}
	switch s.class {
	case sequence:
		h := (*sliceHeader)(p)
		if h.data == nil {
			return pos + 1, nil
		}
		return sizeOfElems(s.elem, h.data, h.len, depth, pos+headSize(uint64(h.len)))
	case array:
		return sizeOfElems(s.elem, p, s.length, depth, pos+headSize(uint64(s.length)))
	case mapping:
		m, none := s.mapAt(p)
		if none {
			return pos + 1, nil
		}
		pos += headSize(uint64(m.Len()))
		err := s.eachPair(m, func(key, elem unsafe.Pointer) (err error) {
			if pos, err = sizeOf(s.key, key, depth, pos); err == nil {
				pos, err = sizeOf(s.elem, elem, depth, pos)
			}
			return err
		})
		return pos, err
	}
	return sizeOfRecord(s, p, depth, pos)
}

// sizeOfElems is where n values end that lie one after the other.
func sizeOfElems(s *shape, p unsafe.Pointer, n, depth, pos int) (end int, err error) {
	for i := range n {
		if pos, err = sizeOf(s, unsafe.Add(p, uintptr(i)*s.size), depth, pos); err != nil {
			return 0, err
		}
	}
	return pos, nil
}

func sizeOfRecord(s *shape, p unsafe.Pointer, depth, pos int) (end int, err error) {
	pos += headSize(uint64(s.present(p)))
	for i := range s.fields {
		f := &s.fields[i]
		at := unsafe.Add(p, f.offset)
		if f.optional && isZero(f.shape, at) {
			continue
		}
		if pos, err = sizeOf(f.shape, at, depth, pos+len(f.key)); err != nil {
			return 0, err
		}
	}
	return pos, nil
}

// present is how many fields of the record at p are not left out.
func (s *shape) present(p unsafe.Pointer) int {
	n := len(s.fields)
	if s.optional {
		for i := range s.fields {
			if f := &s.fields[i]; f.optional && isZero(f.shape, unsafe.Add(p, f.offset)) {
				n--
			}
		}
	}
	return n
}

// isZero reports whether the value at p is what its variable holds if the data says nothing of it.
func isZero(s *shape, p unsafe.Pointer) bool {
	switch s.class {
	case boolean, signed, unsigned, single, double, run, bigInt:
		if s.class == run && s.length < 0 {
			return (*sliceHeader)(p).data == nil
		}
		if s.class == bigInt {
			return bigAt(p).Sign() == 0
		}
		for _, c := range unsafe.Slice((*byte)(p), s.size) {
			if c != 0 {
				return false
			}
		}
		return true
	case text:
		return len(*(*string)(p)) == 0
	case sequence:
		return (*sliceHeader)(p).data == nil
	case mapping, pointer, object:
		return *(*unsafe.Pointer)(p) == nil
	case timestamp:
		return timeAt(p).IsZero()
	case array:
		for i := range s.length {
			if !isZero(s.elem, unsafe.Add(p, uintptr(i)*s.elem.size)) {
				return false
			}
		}
		return true
	case record:
		for i := range s.fields {
			if f := &s.fields[i]; !isZero(f.shape, unsafe.Add(p, f.offset)) {
				return false
			}
		}
		return true
	}
	return false // what encodes itself is left out never
}

// end is where a run of n values ends that begins at pos of an item.
func (r *runForm) end(n, pos int) int {
	nothings, size := r.frame(n, pos)
	return pos + nothings*len(tagNothing) + len(r.tagHead) + headSize(uint64(size)) + size
}

// frame is how many times tagNothing is before a run of n values that begins at pos of an item, and the size of its
// byte string.
func (r *runForm) frame(n, pos int) (nothings, size int) {
	size = len(r.hash) + n*int(r.width())
	if size >= alignedSize {
		nothings = alignTags(pos + len(r.tagHead) + headSize(uint64(size)) + len(r.hash))
	}
	return nothings, size
}

// alignTags is how many times tagNothing moves at to a multiple of alignment: that many are as long, modulo alignment,
// as what is missing, since 3*11 is 1.
func alignTags(at int) int { return -at * 11 & (alignment - 1) }

// width is how many bytes of data an element has.
func (r *runForm) width() uintptr {
	if r.wide {
		return 8
	}
	return r.size
}

// append appends the run of n values at p to an item that begins at b[base].
func (r *runForm) append(b []byte, p unsafe.Pointer, n, base int) []byte {
	nothings, size := r.frame(n, len(b)-base)
	for range nothings {
		b = append(b, tagNothing...)
	}
	b = append(b, r.tagHead...)
	b = appendHead(b, majorBytes, uint64(size))
	if r.wide {
		for i := range n {
			at := unsafe.Add(p, uintptr(i)*4)
			if r.tag&tagTypedSigned != 0 {
				b = binary.NativeEndian.AppendUint64(b, uint64(*(*int32)(at)))
			} else {
				b = binary.NativeEndian.AppendUint64(b, uint64(*(*uint32)(at)))
			}
		}
		return b
	}
	b = append(b, r.hash...)
	begin := len(b)
	b = append(b, unsafe.Slice((*byte)(p), n*int(r.size))...)
	if n > 0 && r.padding != nil {
		r.padding.ClearN(unsafe.Pointer(&b[begin]), n, r.size)
	}
	return b
}

// target is what the pointer at p points to, or nil.
func (s *shape) target(p unsafe.Pointer) (unsafe.Pointer, error) {
	q := *(*unsafe.Pointer)(p)
	if q != nil && s.elem.class == timestamp && timeAt(q).IsZero() {
		return nil, errZeroTime
	}
	return q, nil
}
