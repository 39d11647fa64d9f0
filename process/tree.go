package process

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/inherit"
	"github.com/shoal-ipc/shoal/shm"
)

// A handle can arrive in a process that was not given its segment. It then asks its relatives, over the control
// sockets: its parent first, then its children, one after the other. Who is asked and has the segment prepares a
// participant for the asker, as it would for a child, and answers with its descriptors; who does not have it asks
// its own relatives, but for the one that asked, and passes the answer on. A tree has no circles, so a question
// ends, and reaches every process.
//
// A relative that is stopped cannot be told from one that is slow. The next is asked hedge later, and the asker
// gives up after patience. That is no claim that anybody is dead: only that nobody answered. Who passes a question
// on gives up earlier than the one that it answers to, which so learns who it was.
//
// What a kill leaves, wherever it falls: the descriptors of the participant are closed with the last process, or
// socket, that has them, and with that it is dead to everybody. A stopped process that has them, or is about to
// read them, keeps a participant alive that nobody is, and holds nothing.
const (
	patience = 5 * time.Second
	hedge    = 50 * time.Millisecond

	// maxQuestions that were not answered may be under way in a direction, so that they leave room in the socket
	// for what is more important.
	maxQuestions = 16
	maxRefusal   = 1 << 10
)

// line is the control socket to a relative, as far as questions go.
type line struct {
	file  *os.File
	turns chan struct{} // as many as there are questions under way
	over  chan struct{} // closed when no more answers come

	mu        sync.Mutex
	asked     uint64                // questions so far
	pending   map[uint64]chan reply // those that are under way; nil if nobody wants the answer any more
	answering int                   // the other's questions under way
}

type reply struct {
	s   inherit.Segment
	err error
}

func newLine(file *os.File) *line {
	return &line{
		file:    file,
		turns:   make(chan struct{}, maxQuestions),
		over:    make(chan struct{}),
		pending: make(map[uint64]chan reply),
	}
}

// The ways in which a question stays without an answer; the last is one.
var (
	errSilent  = errors.New("did not answer in time")
	errGone    = errors.New("has ended")
	errUnknown = errors.New("does not have it")
)

// ask asks the relative for a segment.
func (l *line) ask(ctx context.Context, id inherit.UUID) (inherit.Segment, error) {
	deadline, _ := ctx.Deadline()
	if ctx.Err() != nil {
		return inherit.Segment{}, errSilent
	}
	select {
	case l.turns <- struct{}{}:
	case <-l.over:
		return inherit.Segment{}, errGone
	case <-ctx.Done():
		return inherit.Segment{}, errSilent
	}
	replied := make(chan reply, 1)
	l.mu.Lock()
	l.asked++
	n := l.asked
	l.pending[n] = replied
	l.mu.Unlock()
	go func() { // it may have to wait for room
		left := max(time.Until(deadline).Milliseconds(), 0)
		if send(l.file, kindAsk, question{n, uint64(left), id}.encode()) != nil {
			l.settle(n, reply{err: errGone})
		}
		crashpoint.Hit("process/ask/sent")
	}()
	err := errSilent
	select {
	case r := <-replied:
		return r.s, r.err
	case <-l.over:
		err = errGone
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.pending[n]; ok {
		l.pending[n] = nil
		return inherit.Segment{}, err
	}
	r := <-replied
	return r.s, r.err
}

// settle hands the answer to question n to who asked, and reports whether it was asked.
func (l *line) settle(n uint64, r reply) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	replied, ok := l.pending[n]
	if !ok {
		return false
	}
	delete(l.pending, n)
	<-l.turns
	if replied != nil {
		replied <- r
	} else if r.err == nil {
		discard(r.s)
	}
	return true
}

// discard closes what came too late: the participant is dead.
func discard(s inherit.Segment) {
	s.Memory.Close()
	s.Alive.Close()
}

// hear takes in a question or an answer; the error is errProtocol.
func (l *line) hear(m message) (err error) {
	defer func() {
		if err != nil {
			m.discard()
		}
	}()
	switch m.kind {
	case kindAsk:
		q, err := decodeQuestion(m.body)
		if err != nil || len(m.files) != 0 {
			return errProtocol
		}
		l.mu.Lock()
		l.answering++
		tooMany := l.answering > maxQuestions
		l.mu.Unlock()
		if tooMany {
			return errProtocol
		}
		go l.answer(q)
		return nil
	case kindAnswer:
		a, err := decodeAnswer(m.body)
		if err != nil {
			return err
		}
		r, err := a.reply(m)
		if err != nil {
			return err
		}
		crashpoint.Hit("process/ask/answered")
		if !l.settle(a.n, r) {
			return errProtocol
		}
		return nil
	}
	return errProtocol
}

// answer answers a question of the relative.
func (l *line) answer(q question) {
	wait := min(time.Duration(q.wait)*time.Millisecond, patience)
	gift, err := l.give(q.id, wait/4*3)
	crashpoint.Hit("process/answer/prepared")
	l.mu.Lock()
	l.answering-- // before the other can ask again
	l.mu.Unlock()
	if err == nil {
		if err = send(l.file, kindAnswer, answer{n: q.n, owner: gift.Owner}.encode(), gift.Memory, gift.Alive); err == nil {
			crashpoint.Hit("process/answer/sent")
			gift.Sent()
			return
		}
		gift.Abandon()
	}
	text := ""
	if err != errUnknown {
		text = err.Error()
	}
	send(l.file, kindAnswer, answer{n: q.n, text: text[:min(len(text), maxRefusal)]}.encode()) // or it has ended
}

// give readies a participant for the relative, or has another do so. The error is errUnknown if nobody has the
// segment.
func (l *line) give(id inherit.UUID, wait time.Duration) (*inherit.Gift, error) {
	gift, own := shm.PrepareFor(id)
	if gift != nil {
		return gift, nil
	}
	s, err := find(id, l, wait)
	if err != nil {
		return nil, cmp.Or(own, err)
	}
	return inherit.NewGift(s, func() { discard(s) }), nil
}

// search is what shm asks for a segment.
func search(id inherit.UUID) (inherit.Segment, error) {
	s, err := find(id, nil, patience)
	if err == errUnknown {
		err = errors.New("no process of this tree has it")
	}
	s.UUID = id
	return s, err
}

// find asks the relatives but the one behind except. The error is errUnknown if all answered that nobody has it.
func find(id inherit.UUID, except *line, wait time.Duration) (inherit.Segment, error) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel() // nobody needs to answer any more
	over := make(chan struct{})
	defer close(over)
	replies := make(chan reply)
	ask := func(p *Process) {
		s, err := p.line.ask(ctx, id)
		if err != nil && err != errUnknown {
			err = fmt.Errorf("%s (pid %d) %w", p.name, p.pid, err)
		}
		select {
		case replies <- reply{s, err}:
		case <-over:
			if err == nil {
				discard(s)
			}
		}
	}
	next := time.NewTimer(0)
	defer next.Stop()
	failed := errUnknown
	waiting := 0
	for left := relatives(except); waiting > 0 || len(left) > 0; {
		select {
		case <-next.C:
			if len(left) > 0 {
				go ask(left[0])
				left = left[1:]
				waiting++
				next.Reset(hedge)
			}
		case r := <-replies:
			waiting--
			switch {
			case r.err == nil:
				return r.s, nil
			case failed == errUnknown:
				failed = r.err
			case r.err != errUnknown:
				failed = fmt.Errorf("%w; %w", failed, r.err)
			}
			next.Reset(0)
		}
	}
	return inherit.Segment{}, failed
}

// question is the message kindAsk.
type question struct {
	n    uint64 // the asker's number for it
	wait uint64 // how many milliseconds the asker waits
	id   inherit.UUID
}

func (q question) encode() []byte {
	return append(binary.AppendUvarint(binary.AppendUvarint(nil, q.n), q.wait), q.id[:]...)
}

func decodeQuestion(b []byte) (q question, err error) {
	r := reader{b: b}
	q.n, q.wait = r.uvarint(), r.uvarint()
	if r.bad || len(r.b) != len(q.id) {
		return q, errProtocol
	}
	q.wait = min(q.wait, uint64(patience/time.Millisecond))
	q.id = inherit.UUID(r.b)
	return q, nil
}

// answer is the message kindAnswer. With an owner id come the descriptors of memory and participant; without, it
// says why not, or nothing if nobody has the segment.
type answer struct {
	n     uint64
	owner uint32
	text  string
}

func (a answer) encode() []byte {
	b := binary.AppendUvarint(binary.AppendUvarint(nil, a.n), uint64(a.owner))
	return append(b, a.text...)
}

func decodeAnswer(b []byte) (answer, error) {
	r := reader{b: b}
	n, owner := r.uvarint(), r.uvarint()
	if r.bad || owner > math.MaxUint32 || owner != 0 && len(r.b) != 0 || len(r.b) > maxRefusal {
		return answer{}, errProtocol
	}
	return answer{n, uint32(owner), string(r.b)}, nil
}

// reply is what an answer says, with what came with it.
func (a answer) reply(m message) (r reply, err error) {
	switch {
	case a.owner != 0 && len(m.files) == 2 && !m.cut:
		r.s = inherit.Segment{Owner: a.owner, Memory: m.files[0], Alive: m.files[1]}
	case a.owner != 0 && len(m.files) < 2 && m.cut:
		m.discard()
		r.err = fmt.Errorf("gave it, and this process has no descriptors left: %w", syscall.EMFILE)
	case a.owner != 0 || len(m.files) != 0 || m.cut:
		return r, errProtocol
	case a.text == "":
		r.err = errUnknown
	default:
		r.err = errors.New("answered: " + a.text)
	}
	return r, nil
}
