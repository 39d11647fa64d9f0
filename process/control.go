package process

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// Messages on the control socket. A packet is the message's kind, a byte that is 1 while more packets of the
// message follow, and a part of its body. Packets of another message may come between.
const (
	kindCall   = 'c' // parent to child, once: what to run (type call)
	kindCancel = 'x' // parent to child: the context has ended; no body
	kindReady  = 'r' // child to parent: signals are handled; no body
	kindError  = 'e' // child to parent, once: how the function failed (RemoteError)
)

const (
	packetHead = 2
	packetSize = 32 << 10 // well below the socket's buffer, which bounds a packet
)

// errProtocol says that the bytes on a control socket make no sense.
var errProtocol = errors.New("process: unreadable control message")

// packets cuts a message; the yielded slice is valid until the next one.
func packets(kind byte, body []byte) iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		buf := make([]byte, 0, min(packetHead+len(body), packetSize))
		for more := byte(1); more == 1; {
			part := body[:min(len(body), packetSize-packetHead)]
			body = body[len(part):]
			if len(body) == 0 {
				more = 0
			}
			if !yield(append(append(buf[:0], kind, more), part...)) {
				return
			}
		}
	}
}

// send writes a message whole.
func send(w io.Writer, kind byte, body []byte) error {
	for packet := range packets(kind, body) {
		if _, err := w.Write(packet); err != nil {
			return err
		}
	}
	return nil
}

// receiver puts messages together again.
type receiver struct {
	from   io.Reader
	limit  int // of a message
	buf    []byte
	parts  map[byte]*bytes.Buffer
	resets int
}

func newReceiver(from io.Reader, limit int) *receiver {
	return &receiver{from: from, limit: limit, buf: make([]byte, packetSize+1), parts: make(map[byte]*bytes.Buffer)}
}

// next returns the next message, in the order of their ends. The error is io.EOF at the end of the file, and
// errProtocol if the packets make no sense or a message is larger than the limit.
func (r *receiver) next() (kind byte, body []byte, err error) {
	for {
		n, err := r.from.Read(r.buf)
		switch {
		case errors.Is(err, syscall.ECONNRESET) && r.resets == 0:
			// The other end was closed with something unread in it. The kernel says so before it hands out
			// what that end had written.
			r.resets++
			continue
		case errors.Is(err, io.EOF):
			return 0, nil, io.EOF
		case err != nil:
			return 0, nil, err
		case n < packetHead || n > packetSize || r.buf[1] > 1:
			return 0, nil, errProtocol
		}
		kind, more, part := r.buf[0], r.buf[1] == 1, r.buf[packetHead:n]
		switch kind {
		case kindCall, kindCancel, kindReady, kindError:
		default:
			return 0, nil, fmt.Errorf("%w of kind %d", errProtocol, kind)
		}
		whole := r.parts[kind]
		if whole == nil {
			whole = new(bytes.Buffer)
			r.parts[kind] = whole
		}
		if len(part) > r.limit-whole.Len() {
			return 0, nil, fmt.Errorf("%w: larger than %d bytes", errProtocol, r.limit)
		}
		whole.Write(part)
		if !more {
			delete(r.parts, kind)
			return kind, whole.Bytes(), nil
		}
	}
}

// receive calls handle with each message that comes from r. It returns nil at the end of the file, and otherwise
// the error of next or what handle returned.
func receive(r io.Reader, limit int, handle func(kind byte, body []byte) error) error {
	for m := newReceiver(r, limit); ; {
		kind, body, err := m.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = handle(kind, body)
		}
		if err != nil {
			return err
		}
	}
}

// tail reads a pipe or socket to its end or, once finish was called, to the end of what it held then. So
// nothing that the child wrote is lost, and nobody waits for a descendant that keeps the other end open.
type tail struct {
	file     *os.File
	finished bool
	left     int
}

// finish may be called from any goroutine, after the writer has ended.
func (t *tail) finish() { t.file.SetReadDeadline(time.Unix(1, 0)) }

func (t *tail) Read(p []byte) (int, error) {
	if !t.finished {
		n, err := t.file.Read(p)
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if t.left, err = sys.Unread(t.file); err != nil {
			return 0, err
		}
		if err := t.file.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
		t.finished = true
	}
	if t.left <= 0 {
		return 0, io.EOF
	}
	n, err := t.file.Read(p)
	t.left -= n
	return n, err
}

// call is the message that tells a child what to run.
type call struct {
	function string
	name     string // of the child
	parent   string // its parent's name
	pid      int    // its parent's
	argument []byte
}

func (c call) encode() []byte {
	b := make([]byte, 0, len(c.function)+len(c.name)+len(c.parent)+4*binary.MaxVarintLen64+len(c.argument))
	b = appendString(b, c.function)
	b = appendString(b, c.name)
	b = appendString(b, c.parent)
	b = binary.AppendUvarint(b, uint64(c.pid))
	return append(b, c.argument...)
}

func decodeCall(b []byte) (call, error) {
	r := reader{b: b}
	c := call{function: r.string(), name: r.string(), parent: r.string()}
	pid := r.uvarint()
	if r.bad || pid > math.MaxInt32 {
		return call{}, errProtocol
	}
	c.pid, c.argument = int(pid), r.b
	return c, nil
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes a message apart. After it has run out of bytes it is bad and everything it returns is zero.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 || r.bad {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) string() string {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return ""
	}
	s := string(r.b[:n])
	r.b = r.b[n:]
	return s
}
