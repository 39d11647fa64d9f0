package process

import (
	"errors"
	"io"
	"os"
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
	Send        = send
	DecodeError = decodeError
	OnSpawner   = onSpawner
	EncodeError = encodeError
)

// Receive calls handle with each message, whose packets r reads.
func Receive(r io.Reader, limit int, handle func(kind byte, body []byte) error) error {
	read := func(p []byte) (n int, files []*os.File, cut bool, err error) {
		n, err = r.Read(p)
		return n, nil, false, err
	}
	return receive(newReceiver(read, limit), func(m message) error { return handle(m.kind, m.body) })
}

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

// DecodeQuestion and DecodeAnswer return the bytes that encode what they decoded.
func DecodeQuestion(b []byte) ([]byte, error) {
	q, err := decodeQuestion(b)
	return q.encode(), err
}

func DecodeAnswer(b []byte) ([]byte, error) {
	a, err := decodeAnswer(b)
	return a.encode(), err
}

// DecodeCancellation returns the bytes that encode what it decoded.
func DecodeCancellation(b []byte) ([]byte, error) {
	c, err := decodeCancellation(b)
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
