package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The major types of CBOR (RFC 8949, section 3.1), and the items without a length.
const (
	majorUint   = 0
	majorNegInt = 1
	majorBytes  = 2
	majorText   = 3
	majorArray  = 4
	majorMap    = 5
	majorTag    = 6
	majorSimple = 7

	itemFalse   = 0xf4
	itemTrue    = 0xf5
	itemNull    = 0xf6
	itemFloat32 = 0xfa
	itemFloat64 = 0xfb
)

// scan returns nil if data is one value of shape s as Marshal writes it, and otherwise an error. It
// allocates nothing in proportion to any number in data. Left to the decoder are the ranges of
// integers and the uniqueness of map keys.
func scan(s *shape, data []byte) error {
	sc := scanner{data: data}
	if err := sc.value(s, 0); err != nil {
		return fmt.Errorf("at byte %d of %d: %w", sc.pos, len(data), err)
	}
	if sc.pos != len(data) {
		return fmt.Errorf("%d bytes too many", len(data)-sc.pos)
	}
	return nil
}

var (
	errShort = errors.New("data ends too early")
	errHead  = errors.New("not a valid item")
	errWrong = errors.New("item of the wrong type")
	errCount = errors.New("wrong number of items")
	errField = errors.New("field missing or unknown")
	errDeep  = errors.New("nested too deeply")
)

// scanner reads data from pos on. The position after an error is where it was noticed.
type scanner struct {
	data []byte
	pos  int
}

// head reads the head of an item, of a kind with a length or a value. It refuses indefinite lengths.
func (sc *scanner) head() (major byte, n uint64, err error) {
	if sc.pos >= len(sc.data) {
		return 0, 0, errShort
	}
	b := sc.data[sc.pos]
	major, info := b>>5, b&0x1f
	if info < 24 {
		sc.pos++
		return major, uint64(info), nil
	}
	if info > 27 {
		return 0, 0, errHead
	}
	size := 1 << (info - 24)
	rest := sc.data[sc.pos+1:]
	if len(rest) < size {
		return 0, 0, errShort
	}
	var wide [8]byte
	copy(wide[8-size:], rest[:size])
	sc.pos += 1 + size
	return major, binary.BigEndian.Uint64(wide[:]), nil
}

// want reads the head of an item of the given major type.
func (sc *scanner) want(major byte) (uint64, error) {
	m, n, err := sc.head()
	if err == nil && m != major {
		err = errWrong
	}
	return n, err
}

// run passes over the n bytes of a string, and returns them.
func (sc *scanner) run(n uint64) ([]byte, error) {
	if n > uint64(len(sc.data)-sc.pos) {
		return nil, errShort
	}
	b := sc.data[sc.pos : sc.pos+int(n)]
	sc.pos += int(n)
	return b, nil
}

// count reads the head of an array or map. Each item takes a byte at least, so a count that exceeds
// what is left is refused before anybody makes room for so many.
func (sc *scanner) count(major byte) (int, error) {
	n, err := sc.want(major)
	if err == nil && n > uint64(len(sc.data)-sc.pos) {
		err = errShort
	}
	return int(n), err
}

// item passes over b if it comes next.
func (sc *scanner) item(b byte) bool {
	if sc.pos < len(sc.data) && sc.data[sc.pos] == b {
		sc.pos++
		return true
	}
	return false
}

// value passes over a value of shape s that lies in depth containers.
func (sc *scanner) value(s *shape, depth int) error {
	if s.container() {
		if depth++; depth > MaxDepth {
			return errDeep
		}
	}
	switch s.class {
	case boolean:
		if !sc.item(itemFalse) && !sc.item(itemTrue) {
			return errWrong
		}
	case signed, unsigned:
		m, _, err := sc.head()
		if err == nil && m != majorUint && (m != majorNegInt || s.class == unsigned) {
			err = errWrong
		}
		return err
	case single, double:
		mark, size := byte(itemFloat32), uint64(4)
		if s.class == double {
			mark, size = itemFloat64, 8
		}
		if !sc.item(mark) {
			return errWrong
		}
		_, err := sc.run(size)
		return err
	case text:
		_, err := sc.string(majorText)
		return err
	case byteRun:
		if s.length < 0 && sc.item(itemNull) {
			return nil
		}
		b, err := sc.string(majorBytes)
		if err == nil && s.length >= 0 && len(b) != s.length {
			err = errCount
		}
		return err
	case selfBinary:
		_, err := sc.string(majorBytes)
		return err
	case object:
		if sc.item(itemNull) {
			return nil
		}
		_, err := sc.string(majorBytes)
		return err
	case pointer:
		if sc.item(itemNull) {
			return nil
		}
		return sc.value(s.elem, depth)
	case sequence:
		if sc.item(itemNull) {
			return nil
		}
		n, err := sc.count(majorArray)
		if err != nil {
			return err
		}
		return sc.values(s.elem, n, depth)
	case array:
		n, err := sc.count(majorArray)
		if err != nil {
			return err
		}
		if n != s.length {
			return errCount
		}
		return sc.values(s.elem, n, depth)
	case mapping:
		return sc.mapping(s, depth)
	case record:
		return sc.record(s, depth)
	case timestamp:
		return sc.time()
	case bigInt:
		return sc.bigInt()
	case selfCBOR:
		return sc.any(depth)
	}
	return nil
}

// values passes over n values of shape s.
func (sc *scanner) values(s *shape, n, depth int) error {
	for range n {
		if err := sc.value(s, depth); err != nil {
			return err
		}
	}
	return nil
}

// string passes over a string and returns its bytes.
func (sc *scanner) string(major byte) ([]byte, error) {
	n, err := sc.want(major)
	if err != nil {
		return nil, err
	}
	return sc.run(n)
}

func (sc *scanner) mapping(s *shape, depth int) error {
	if sc.item(itemNull) {
		return nil
	}
	n, err := sc.count(majorMap)
	if err != nil {
		return err
	}
	for range n {
		if err := sc.value(s.key, depth); err != nil {
			return err
		}
		if err := sc.value(s.elem, depth); err != nil {
			return err
		}
	}
	return nil
}

// record passes over a struct: all fields in their order, but for those that may be left out.
func (sc *scanner) record(s *shape, depth int) error {
	n, err := sc.count(majorMap)
	if err != nil {
		return err
	}
	for i := range s.fields {
		f := &s.fields[i]
		end := sc.pos + len(f.key)
		if n == 0 || end > len(sc.data) || string(sc.data[sc.pos:end]) != f.key {
			if !f.optional {
				return errField
			}
			continue
		}
		sc.pos = end
		n--
		if err := sc.value(f.shape, depth); err != nil {
			return err
		}
	}
	if n != 0 {
		return errField
	}
	return nil
}

func (sc *scanner) time() error {
	if sc.item(itemNull) {
		return nil
	}
	b, err := sc.string(majorText)
	if err != nil {
		return err
	}
	const longest = len("2006-01-02T15:04:05.999999999-07:00")
	if len(b) > longest {
		return errCount
	}
	_, err = time.Parse(time.RFC3339Nano, string(b))
	return err
}

func (sc *scanner) bigInt() error {
	m, n, err := sc.head()
	switch {
	case err != nil || m == majorUint || m == majorNegInt:
		return err
	case m == majorTag && (n == 2 || n == 3): // RFC 8949, section 3.4.3
		_, err = sc.string(majorBytes)
		return err
	}
	return errWrong
}

// any passes over one item of any type, for a type that will look at it itself.
func (sc *scanner) any(depth int) error {
	m, n, err := sc.head()
	if err != nil {
		return err
	}
	switch m {
	case majorBytes, majorText:
		_, err = sc.run(n)
		return err
	case majorTag:
		n = 1
	case majorArray, majorMap:
		if n > uint64(len(sc.data)-sc.pos) {
			return errShort
		}
		if m == majorMap {
			n *= 2
		}
	default: // numbers and simple values have nothing after the head
		return nil
	}
	if depth++; depth > MaxDepth {
		return errDeep
	}
	for range n {
		if err := sc.any(depth); err != nil {
			return err
		}
	}
	return nil
}
