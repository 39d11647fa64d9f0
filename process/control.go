package process

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"os"
	"syscall"
	"time"

	"github.com/shoal-ipc/shoal/internal/lifetime"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// Messages on the control socket. A packet is the message's kind, a byte that is 1 while more packets of the
// message follow, and a part of its body. Packets of another message may come between.
const (
	kindCall      = 'c' // parent to child, once: what to run (type call)
	kindCancel    = 'x' // parent to child: the context has ended (type cancellation)
	kindInterrupt = 'i' // parent to child, any time after the call: SIGINT; no body
	kindError     = 'e' // child to parent, once: how the function failed (RemoteError)
	kindAsk       = 'q' // either way: who has this segment? (type question)
	kindAnswer    = 'a' // either way, once for each kindAsk (type answer); may carry two descriptors
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

// send writes a message whole, with copies of files, which its last packet carries.
func send(to *os.File, kind byte, body []byte, files ...*os.File) error {
	for packet := range packets(kind, body) {
		var with []*os.File
		if packet[1] == 0 {
			with = files
		}
		if err := sys.SendPacket(to, packet, with...); err != nil {
			return err
		}
	}
	return nil
}

// message is one that was received.
type message struct {
	kind  byte
	body  []byte
	files []*os.File // the receiver's
	cut   bool       // there were more files, but not for this process
}

// discard closes what came with m.
func (m message) discard() {
	for _, f := range m.files {
		f.Close()
	}
}

// receiver puts messages together again.
type receiver struct {
	read   func(p []byte) (n int, files []*os.File, cut bool, err error) // a packet
	limit  int                                                           // of a message
	buf    []byte
	parts  map[byte]*bytes.Buffer
	resets int
}

func newReceiver(read func(p []byte) (int, []*os.File, bool, error), limit int) *receiver {
	return &receiver{read: read, limit: limit, buf: make([]byte, packetSize+1), parts: make(map[byte]*bytes.Buffer)}
}

// next returns the next message, in the order of their ends. The error is io.EOF at the end of the file, and
// errProtocol if the packets make no sense or a message is larger than the limit.
func (r *receiver) next() (m message, err error) {
	defer func() {
		if err != nil {
			m.discard()
			m = message{}
		}
	}()
	for {
		var n int
		n, m.files, m.cut, err = r.read(r.buf)
		switch {
		case errors.Is(err, syscall.ECONNRESET) && r.resets == 0:
			// The other end was closed with something unread in it. The kernel says so before it hands out
			// what that end had written.
			r.resets++
			continue
		case errors.Is(err, io.EOF):
			return m, io.EOF
		case err != nil:
			return m, err
		case n < packetHead || n > packetSize || r.buf[1] > 1:
			return m, errProtocol
		}
		kind, more, part := r.buf[0], r.buf[1] == 1, r.buf[packetHead:n]
		switch kind {
		case kindCall, kindCancel, kindInterrupt, kindError, kindAsk, kindAnswer:
		default:
			return m, fmt.Errorf("%w of kind %d", errProtocol, kind)
		}
		if (len(m.files) > 0 || m.cut) && (more || kind != kindAnswer) {
			return m, fmt.Errorf("%w: descriptors with kind %d", errProtocol, kind)
		}
		whole := r.parts[kind]
		if whole == nil {
			whole = new(bytes.Buffer)
			r.parts[kind] = whole
		}
		if len(part) > r.limit-whole.Len() {
			return m, fmt.Errorf("%w: larger than %d bytes", errProtocol, r.limit)
		}
		whole.Write(part)
		if !more {
			delete(r.parts, kind)
			m.kind, m.body = kind, whole.Bytes()
			return m, nil
		}
	}
}

// receive calls handle with each message that r reads. It returns nil at the end of the file, and otherwise the
// error of next or what handle returned.
func receive(r *receiver, handle func(m message) error) error {
	for {
		m, err := r.next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = handle(m)
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
	return t.do(func() (int, error) { return t.file.Read(p) })
}

// receive reads a packet from a control socket.
func (t *tail) receive(p []byte) (n int, files []*os.File, cut bool, err error) {
	n, err = t.do(func() (n int, err error) {
		n, files, cut, err = sys.ReceivePacket(t.file, p)
		return n, err
	})
	return n, files, cut, err
}

// do calls read, which reads from the file.
func (t *tail) do(read func() (int, error)) (int, error) {
	if !t.finished {
		n, err := read()
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
	n, err := read()
	t.left -= n
	return n, err
}

// call is the message that tells a child what to run.
type call struct {
	function string
	name     string // of the child
	parent   string // its parent's name
	pid      int    // its parent's
	daemon   bool   // the child is a daemon
	daemonic bool   // its parent is one
	key      []byte // AuthKey
	timed    bool   // the context has a deadline
	at       int64  // the time by the kernel's monotonic clock
	left     int64  // the time from then to the deadline
	argument []byte
}

// The flags of a call.
const (
	callDaemon = 1 << iota
	callDaemonic
	callTimed
)

func (c call) encode() []byte {
	b := make([]byte, 0, len(c.function)+len(c.name)+len(c.parent)+len(c.key)+8*binary.MaxVarintLen64+len(c.argument))
	b = appendString(b, c.function)
	b = appendString(b, c.name)
	b = appendString(b, c.parent)
	b = binary.AppendUvarint(b, uint64(c.pid))
	b = appendString(b, string(c.key))
	flags := uint64(0)
	for i, set := range []bool{c.daemon, c.daemonic, c.timed} {
		if set {
			flags |= 1 << i
		}
	}
	b = binary.AppendUvarint(b, flags)
	if c.timed {
		b = binary.AppendUvarint(b, uint64(c.at))
		b = binary.AppendUvarint(b, uint64(c.left))
	}
	return append(b, c.argument...)
}

func decodeCall(b []byte) (call, error) {
	r := reader{b: b}
	c := call{function: r.string(), name: r.string(), parent: r.string()}
	pid := r.uvarint()
	c.key = []byte(r.string())
	flags := r.uvarint()
	c.daemon, c.daemonic, c.timed = flags&callDaemon != 0, flags&callDaemonic != 0, flags&callTimed != 0
	var at, left uint64
	if c.timed {
		at, left = r.uvarint(), r.uvarint()
	}
	const most = math.MaxInt64
	if r.bad || pid > math.MaxInt32 || flags > callDaemon|callDaemonic|callTimed || at > most || left > most {
		return call{}, errProtocol
	}
	c.pid, c.at, c.left, c.argument = int(pid), int64(at), int64(left), r.b
	return c, nil
}

// until sets the deadline of ctx, if it has one.
func (c *call) until(ctx context.Context) {
	var deadline time.Time
	if deadline, c.timed = ctx.Deadline(); c.timed {
		c.at, c.left = sys.Monotonic(), max(int64(time.Until(deadline)), 0)
	}
}

// deadline is that of until, in the process that received c: the clock is the same, but for a process in a time
// namespace of its own, for which the start took no time.
func (c *call) deadline() (deadline time.Time) {
	if !c.timed {
		return deadline
	}
	took := sys.Monotonic() - c.at
	if took < 0 || took > int64(time.Hour) {
		took = 0
	}
	return time.Now().Add(time.Duration(c.left - took))
}

// cancellation is the message that ends a child's context.
type cancellation struct {
	late  bool         // by its deadline
	cause *RemoteError // nil if there is none but that
}

func (c cancellation) encode() []byte {
	b := []byte{0}
	if c.late {
		b[0] = 1
	}
	if c.cause != nil {
		b = append(b, c.cause.encode()...)
	}
	return b
}

func decodeCancellation(b []byte) (c cancellation, err error) {
	if len(b) == 0 || b[0] > 1 {
		return c, errProtocol
	}
	c.late = b[0] == 1
	if len(b) > 1 {
		c.cause, err = decodeError(b[1:])
	}
	return c, err
}

// cancellationOf says how ctx ended, which it has.
func cancellationOf(ctx context.Context) cancellation {
	err, cause := ctx.Err(), context.Cause(ctx)
	c := cancellation{late: errors.Is(err, context.DeadlineExceeded)}
	if cause != err {
		c.cause = AsRemote(cause)
	}
	return c
}

// end ends the context of this process.
func (c cancellation) end(ctx *lifetime.Context) {
	err, cause := context.Canceled, error(nil)
	if c.late {
		err = context.DeadlineExceeded
	}
	if c.cause != nil {
		cause = c.cause
	}
	ctx.End(err, cause)
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
