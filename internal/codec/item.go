package codec

import "encoding/binary"

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

// The tags that the codec writes.
const (
	tagBigPositive = 2 // RFC 8949, section 3.4.3
	tagBigNegative = 3

	// Typed arrays have tags 64 to 87 (RFC 8746, section 2.1): 0b010_f_s_e_ll, where f says floating point, s
	// signed, e little-endian, and the element has 1 << (f+ll) bytes.
	tagTyped       = 0b010_0_0_0_00
	tagTypedFloat  = 0b000_1_0_0_00
	tagTypedSigned = 0b000_0_1_0_00
	tagTypedLittle = 0b000_0_0_1_00

	// tagImage marks a byte string of a hash (layout.Hash) and values with that structure as they lie in memory.
	// It is one of those that anybody may use; its bytes read "Shoa".
	tagImage = 0x53686f61

	// tagNothing is tag 55799, encoded, which says of what follows that it is CBOR and nothing else (RFC 8949,
	// section 3.4.6). Runs of at least alignedSize bytes have some before them, so that they begin at a multiple of
	// alignment in the item: copies of large memory take half as long again if the distance of the one from the other is
	// not a multiple of what the processor copies at once.
	tagNothing  = "\xd9\xd9\xf7"
	alignedSize = 1 << 16
	alignment   = 32
)

// badData is the cause of an error that is the data's fault.
type badData string

// Error implements error.
func (e badData) Error() string { return string(e) }

const (
	errShort  = badData("data ends too early")
	errLong   = badData("data goes on after the value")
	errHead   = badData("not a valid item")
	errWrong  = badData("item of the wrong type")
	errCount  = badData("wrong number of items")
	errRange  = badData("number too big for its variable")
	errLayout = badData("values of another structure")
	errTwice  = badData("field or key occurs twice")
	errSparse = badData("too little data for so much memory")
	errDeep   = badData("nested too deeply")
)

// headSize is how many bytes appendHead appends.
func headSize(n uint64) int {
	switch {
	case n < 24:
		return 1
	case n <= 0xff:
		return 2
	case n <= 0xffff:
		return 3
	case n <= 0xffffffff:
		return 5
	}
	return 9
}

// appendHead appends the head of a CBOR item in its shortest form.
func appendHead(b []byte, major byte, n uint64) []byte {
	if n < 24 {
		return append(b, major<<5|byte(n))
	}
	return appendLongHead(b, major<<5, n)
}

// appendLongHead appends a head whose number does not fit into the first byte.
func appendLongHead(b []byte, major byte, n uint64) []byte {
	switch {
	case n <= 0xff:
		return append(b, major|24, byte(n))
	case n <= 0xffff:
		return append(b, major|25, byte(n>>8), byte(n))
	case n <= 0xffffffff:
		return append(b, major|26, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(b, major|27), n)
}

// decoder reads data from pos on, each byte once: somebody may change it meanwhile. The position after an error
// is where it was noticed.
type decoder struct {
	data  []byte
	pos   int
	spare int64 // bytes of memory that may still be used for fields that the data leaves out
}

// left is how many bytes there are to be read.
func (d *decoder) left() int { return len(d.data) - d.pos }

// head reads the head of an item, of a kind with a length or a value. It refuses indefinite lengths.
func (d *decoder) head() (major byte, n uint64, err error) {
	if d.pos >= len(d.data) {
		return 0, 0, errShort
	}
	b := d.data[d.pos]
	rest := d.data[d.pos+1:]
	major, info := b>>5, b&0x1f
	switch {
	case info < 24:
		d.pos++
		return major, uint64(info), nil
	case info > 27:
		return 0, 0, errHead
	case len(rest) < 1<<(info-24):
		return 0, 0, errShort
	}
	switch info {
	case 24:
		d.pos += 2
		return major, uint64(rest[0]), nil
	case 25:
		d.pos += 3
		return major, uint64(binary.BigEndian.Uint16(rest)), nil
	case 26:
		d.pos += 5
		return major, uint64(binary.BigEndian.Uint32(rest)), nil
	}
	d.pos += 9
	return major, binary.BigEndian.Uint64(rest), nil
}

// want reads the head of an item of the given major type.
func (d *decoder) want(major byte) (uint64, error) {
	m, n, err := d.head()
	if err == nil && m != major {
		err = errWrong
	}
	return n, err
}

// take passes over n bytes, and returns them.
func (d *decoder) take(n uint64) ([]byte, error) {
	if n > uint64(d.left()) {
		return nil, errShort
	}
	b := d.data[d.pos : d.pos+int(n)]
	d.pos += int(n)
	return b, nil
}

// string passes over a string and returns its bytes.
func (d *decoder) string(major byte) ([]byte, error) {
	n, err := d.want(major)
	if err != nil {
		return nil, err
	}
	return d.take(n)
}

// count reads the head of an array or map. Each item takes a byte at least, so a count that exceeds
// what is left is refused before anybody makes room for so many.
func (d *decoder) count(major byte) (int, error) {
	n, err := d.want(major)
	if err == nil && n > uint64(d.left()) {
		err = errShort
	}
	return int(n), err
}

// item passes over b if it comes next.
func (d *decoder) item(b byte) bool {
	if d.pos < len(d.data) && d.data[d.pos] == b {
		d.pos++
		return true
	}
	return false
}

// skip passes over one item of any type, which lies in depth containers.
func (d *decoder) skip(depth int) error {
	m, n, err := d.head()
	if err != nil {
		return err
	}
	switch m {
	case majorBytes, majorText:
		_, err = d.take(n)
		return err
	case majorTag:
		n = 1
	case majorArray, majorMap:
		if n > uint64(d.left()) {
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
		if err := d.skip(depth); err != nil {
			return err
		}
	}
	return nil
}
