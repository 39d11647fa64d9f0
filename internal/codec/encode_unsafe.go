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

// appendValue appends the value of shape s at p, which lies in depth containers.
func appendValue(b []byte, s *shape, p unsafe.Pointer, depth int) ([]byte, error) {
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
			return s.run.append(b, p, s.length), nil
		}
		h := (*sliceHeader)(p)
		if h.data == nil {
			return append(b, itemNull), nil
		}
		return s.run.append(b, h.data, h.len), nil
	case pointer:
		q, err := s.target(p)
		if err != nil {
			return b, err
		}
		if q == nil {
			return append(b, itemNull), nil
		}
		return appendValue(b, s.elem, q, depth)
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
		return appendElems(appendHead(b, majorArray, uint64(h.len)), s.elem, h.data, h.len, depth)
	case array:
		return appendElems(appendHead(b, majorArray, uint64(s.length)), s.elem, p, s.length, depth)
	case mapping:
		m, none := s.mapAt(p)
		if none {
			return append(b, itemNull), nil
		}
		b = appendHead(b, majorMap, uint64(m.Len()))
		err := s.eachPair(m, func(key, elem unsafe.Pointer) (err error) {
			if b, err = appendValue(b, s.key, key, depth); err == nil {
				b, err = appendValue(b, s.elem, elem, depth)
			}
			return err
		})
		return b, err
	}
	return appendRecord(b, s, p, depth)
}

// appendElems appends n values that lie one after the other.
func appendElems(b []byte, s *shape, p unsafe.Pointer, n, depth int) ([]byte, error) {
	var err error
	for i := range n {
		if b, err = appendValue(b, s, unsafe.Add(p, uintptr(i)*s.size), depth); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendRecord(b []byte, s *shape, p unsafe.Pointer, depth int) ([]byte, error) {
	n := len(s.fields)
	if s.optional {
		for i := range s.fields {
			if f := &s.fields[i]; f.optional && isZero(f.shape, unsafe.Add(p, f.offset)) {
				n--
			}
		}
	}
	b = appendHead(b, majorMap, uint64(n))
	for i := range s.fields {
		f := &s.fields[i]
		at := unsafe.Add(p, f.offset)
		if f.optional && isZero(f.shape, at) {
			continue
		}
		b = append(b, f.key...)
		var err error
		if b, err = appendValue(b, f.shape, at, depth); err != nil {
			return b, err
		}
	}
	return b, nil
}

// sizeOf is how many bytes appendValue appends; it fails as that does.
func sizeOf(s *shape, p unsafe.Pointer, depth int) (int, error) {
	switch s.class {
	case boolean:
		return 1, nil
	case signed:
		_, n := split(loadSigned(p, s.size))
		return headSize(n), nil
	case unsigned:
		return headSize(loadUnsigned(p, s.size)), nil
	case single:
		return 5, nil
	case double:
		return 9, nil
	case text:
		n := len(*(*string)(p))
		return headSize(uint64(n)) + n, nil
	case run:
		if s.length >= 0 {
			return s.run.encodedSize(s.length), nil
		}
		h := (*sliceHeader)(p)
		if h.data == nil {
			return 1, nil
		}
		return s.run.encodedSize(h.len), nil
	case pointer:
		q, err := s.target(p)
		if err != nil || q == nil {
			return 1, err
		}
		return sizeOf(s.elem, q, depth)
	case object, selfBinary, selfCBOR, timestamp, bigInt:
		return sizeOfOwn(s, p, depth)
	}

	if depth++; depth > MaxDepth {
		return 0, ErrDepth
	}
	switch s.class {
	case sequence:
		h := (*sliceHeader)(p)
		if h.data == nil {
			return 1, nil
		}
		n, err := sizeOfElems(s.elem, h.data, h.len, depth)
		return headSize(uint64(h.len)) + n, err
	case array:
		n, err := sizeOfElems(s.elem, p, s.length, depth)
		return headSize(uint64(s.length)) + n, err
	case mapping:
		m, none := s.mapAt(p)
		if none {
			return 1, nil
		}
		size := headSize(uint64(m.Len()))
		err := s.eachPair(m, func(key, elem unsafe.Pointer) error {
			k, err := sizeOf(s.key, key, depth)
			if err != nil {
				return err
			}
			e, err := sizeOf(s.elem, elem, depth)
			size += k + e
			return err
		})
		return size, err
	}
	return sizeOfRecord(s, p, depth)
}

// sizeOfElems is the size of n values that lie one after the other.
func sizeOfElems(s *shape, p unsafe.Pointer, n, depth int) (size int, err error) {
	for i := range n {
		one, err := sizeOf(s, unsafe.Add(p, uintptr(i)*s.size), depth)
		if err != nil {
			return 0, err
		}
		size += one
	}
	return size, nil
}

func sizeOfRecord(s *shape, p unsafe.Pointer, depth int) (int, error) {
	size, left := s.heads, 0
	for i := range s.fields {
		f := &s.fields[i]
		at := unsafe.Add(p, f.offset)
		if f.optional && isZero(f.shape, at) {
			size -= len(f.key)
			left++
			continue
		}
		n, err := sizeOf(f.shape, at, depth)
		if err != nil {
			return 0, err
		}
		size += n
	}
	if left > 0 {
		size += headSize(uint64(len(s.fields)-left)) - headSize(uint64(len(s.fields)))
	}
	return size, nil
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

// encodedSize is how many bytes a run of n values takes.
func (r *runForm) encodedSize(n int) int {
	size := len(r.hash) + n*int(r.width())
	return len(r.tagHead) + headSize(uint64(size)) + size
}

// width is how many bytes of data an element has.
func (r *runForm) width() uintptr {
	if r.wide {
		return 8
	}
	return r.size
}

// append appends the run of n values at p.
func (r *runForm) append(b []byte, p unsafe.Pointer, n int) []byte {
	b = append(b, r.tagHead...)
	b = appendHead(b, majorBytes, uint64(len(r.hash)+n*int(r.width())))
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
