package process

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/shoal-ipc/shoal/internal/inherit"
)

// A child is told by its environment which of its descriptors are what; everything else comes on the control
// socket. Fields are separated by one space: the version, the build, the number of the control socket, and
// for each segment its UUID, the numbers of memory and liveness descriptor, and the owner id, joined by
// colons:
//
//	SHOAL_CHILD=1 5f2c9a0d11e8b374-93a1c6d2e4b07f58 4 000102030405060708090a0b0c0d0e0f:5:6:4097
const (
	markerName    = "SHOAL_CHILD"
	markerVersion = 1
	firstFile     = 3 // descriptors from here to the control socket are Options.Files
)

// marker is SHOAL_CHILD taken apart.
type marker struct {
	build    string
	control  int
	segments []passed
}

// passed is one segment on its way through exec.
type passed struct {
	uuid          inherit.UUID
	memory, alive int
	owner         uint32
}

// String is one segment in SHOAL_CHILD.
func (s passed) String() string {
	b := hex.AppendEncode(make([]byte, 0, 80), s.uuid[:])
	b = strconv.AppendInt(append(b, ':'), int64(s.memory), 10)
	b = strconv.AppendInt(append(b, ':'), int64(s.alive), 10)
	b = strconv.AppendUint(append(b, ':'), uint64(s.owner), 10)
	return string(b)
}

// segment is s in the process that it was passed to.
func (s passed) segment() inherit.Segment {
	name := "segment:" + hex.EncodeToString(s.uuid[:])
	return inherit.Segment{
		UUID:   s.uuid,
		Owner:  s.owner,
		Memory: os.NewFile(uintptr(s.memory), name),
		Alive:  os.NewFile(uintptr(s.alive), name),
	}
}

// String is the value of SHOAL_CHILD.
func (m marker) String() string {
	fields := []string{strconv.Itoa(markerVersion), m.build, strconv.Itoa(m.control)}
	for _, s := range m.segments {
		fields = append(fields, s.String())
	}
	return strings.Join(fields, " ")
}

// parseMarker takes apart what String made, and nothing else: whoever sets the variable himself must not get far.
func parseMarker(text string) (m marker, err error) {
	fields := strings.Split(text, " ")
	if fields[0] != strconv.Itoa(markerVersion) {
		return marker{}, fmt.Errorf("version %q, want %d", fields[0], markerVersion)
	}
	if len(fields) < 3 {
		return marker{}, errors.New("too short")
	}
	m.build = fields[1]
	if m.control, err = parseDescriptor(fields[2]); err != nil {
		return marker{}, err
	}
	for i, field := range fields[3:] {
		s, err := parsePassed(field)
		if err != nil {
			return marker{}, err
		}
		// The numbers follow the control socket without a gap, so no two can be the same.
		if want := m.control + 1 + 2*i; s.memory != want || s.alive != want+1 {
			return marker{}, fmt.Errorf("segment %q: descriptors %d and %d, want %d and %d", field, s.memory, s.alive, want, want+1)
		}
		m.segments = append(m.segments, s)
	}
	if m.String() != text {
		return marker{}, errors.New("not in its normal form")
	}
	return m, nil
}

// parsePassed takes apart one segment.
func parsePassed(field string) (s passed, err error) {
	parts := strings.Split(field, ":")
	if len(parts) != 4 {
		return passed{}, fmt.Errorf("segment %q has %d parts, want 4", field, len(parts))
	}
	if n, err := hex.Decode(s.uuid[:], []byte(parts[0][:min(len(parts[0]), 2*len(s.uuid))])); err != nil || n != len(s.uuid) {
		return passed{}, fmt.Errorf("segment %q: not a UUID", field)
	}
	if s.memory, err = parseDescriptor(parts[1]); err != nil {
		return passed{}, err
	}
	if s.alive, err = parseDescriptor(parts[2]); err != nil {
		return passed{}, err
	}
	owner, err := strconv.ParseUint(parts[3], 10, 32)
	if err != nil {
		return passed{}, fmt.Errorf("segment %q: owner: %w", field, err)
	}
	s.owner = uint32(owner)
	return s, nil
}

// maxDescriptor is more than a process can have by the kernel's own limit (fs.nr_open), and far from overflow.
const maxDescriptor = 1 << 30

func parseDescriptor(s string) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0, fmt.Errorf("descriptor: %w", err)
	}
	if n < firstFile || n > maxDescriptor {
		return 0, fmt.Errorf("descriptor %d is out of range", n)
	}
	return n, nil
}
