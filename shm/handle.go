package shm

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
)

// Handle names an object for the whole machine: segment identity, offset, generation. Its text form suits
// environments and command lines of programs in other languages; Go programs pass the objects themselves.
//
// It is plain data: a Value or an Array may hold handles, as links to objects. Who has one opens its object by giving
// what MarshalBinary returns to UnmarshalBinary of a new Block, Lock, or whatever the object is, in a process that
// has the segment or can ask others for it: a Handle does not say the name of the segment.
type Handle struct {
	Segment    [16]byte
	Offset     uint64
	Generation uint32
}

// MarshalText implements encoding.TextMarshaler: the UUID, the offset and the generation in hexadecimal, with
// "-" between them.
func (h Handle) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "%x-%x-%x", h.Segment, h.Offset, h.Generation), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Handle) UnmarshalText(text []byte) error {
	bad := func() error { return fmt.Errorf("shm: %q is no handle", text) }
	parts := strings.Split(string(text), "-")
	if len(parts) != 3 || len(parts[0]) != hex.EncodedLen(len(h.Segment)) {
		return bad()
	}
	var n Handle
	if _, err := hex.Decode(n.Segment[:], []byte(parts[0])); err != nil {
		return bad()
	}
	off, err := strconv.ParseUint(parts[1], 16, 64)
	if err != nil {
		return bad()
	}
	gen, err := strconv.ParseUint(parts[2], 16, 32)
	if err != nil {
		return bad()
	}
	n.Offset, n.Generation = off, uint32(gen)
	*h = n
	return nil
}

// The binary form, little-endian. The name of the segment follows, which an anonymous one does not have.
//
//	0   1   format, 1
//	1   16  UUID
//	17  8   offset
//	25  4   generation
const (
	handleFormat = 1
	handleSize   = 29
)

// MarshalBinary implements encoding.BinaryMarshaler. That of an object says the name of its segment too.
func (h Handle) MarshalBinary() ([]byte, error) {
	b := append(make([]byte, 0, handleSize), handleFormat)
	b = append(b, h.Segment[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.Offset)
	return binary.LittleEndian.AppendUint32(b, h.Generation), nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler. A name that follows is checked and left out.
func (h *Handle) UnmarshalBinary(b []byte) error {
	n, _, err := parseHandle(b)
	if err == nil {
		*h = n
	}
	return err
}

// parseHandle takes the binary form apart.
func parseHandle(b []byte) (h Handle, name string, err error) {
	if len(b) < handleSize || b[0] != handleFormat {
		return h, "", fmt.Errorf("%w: handle of %d bytes", ErrCorrupt, len(b))
	}
	h = Handle{
		Segment:    [16]byte(b[1:17]),
		Offset:     binary.LittleEndian.Uint64(b[17:]),
		Generation: binary.LittleEndian.Uint32(b[25:]),
	}
	if name = string(b[handleSize:]); name != "" {
		if err := checkSegmentName(name); err != nil {
			return h, "", fmt.Errorf("%w: handle with the name of a segment: %w", ErrCorrupt, err)
		}
	}
	return h, name, nil
}
