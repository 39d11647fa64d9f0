package process

import (
	"errors"
	"io"
)

const (
	KindCall   = kindCall
	KindCancel = kindCancel
	KindError  = kindError
	MaxError   = maxError
	MaxText    = maxText
	ExitOrphan = exitOrphan
)

var (
	ErrProtocol = errProtocol
	Packets     = packets
	Receive     = receive
	Send        = send
	DecodeError = decodeError
	EncodeError = encodeError
)

// ParseMarker returns the normal form of what it parsed.
func ParseMarker(text string) (string, error) {
	m, err := parseMarker(text)
	return m.String(), err
}

// DecodeCall returns the bytes that encode what it decoded.
func DecodeCall(b []byte) ([]byte, error) {
	c, err := decodeCall(b)
	return c.encode(), err
}

// BuildID is this program's.
func BuildID() string { return buildID() }

// NewPrefixer returns a prefixer and its flush.
func NewPrefixer(w io.Writer, prefix string) (io.Writer, func()) {
	p := &prefixer{to: w, prefix: prefix}
	return p, p.flush
}

// WithoutPidfd makes parents wait for children as on kernels without pidfds, until the returned function is
// called.
func WithoutPidfd() (restore func()) {
	old := awaitExit
	awaitExit = func(int) error { return errors.ErrUnsupported }
	return func() { awaitExit = old }
}
