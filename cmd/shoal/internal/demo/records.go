package demo

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
)

// What a worker sends back is a stream of bytes in its second link, cut into records: a kind, and the fields
// of that kind, numbers as unsigned varints.
//
//	done      a range has been counted; the ranges are done in the order in which they were dealt
//	word      length in bytes, the bytes, how often
//	summary   ranges, words, nanoseconds working, nanoseconds waiting, number of word records; nothing follows
const (
	recordDone    = 'd'
	recordWord    = 'w'
	recordSummary = 's'
)

// summary is what a worker says of itself at the end.
type summary struct {
	ranges, words    uint64
	working, waiting time.Duration
	entries          uint64 // of the table it has sent
}

// errRecord says that a worker sent what is no record.
var errRecord = errors.New("what the worker sent back makes no sense")

// recordWriter writes records to a link.
type recordWriter struct {
	w   *bufio.Writer
	buf []byte
}

func newRecordWriter(ctx context.Context, l *link[byte]) *recordWriter {
	return &recordWriter{w: bufio.NewWriterSize(linkWriter{ctx, l}, backLeast/2)}
}

// done says that a range is done, at the latest with the next flush.
func (r *recordWriter) done() error { return r.w.WriteByte(recordDone) }

// flush sends what is not sent yet.
func (r *recordWriter) flush() error { return r.w.Flush() }

// table sends all words of t.
func (r *recordWriter) table(t *words.Table) error {
	for word, n := range t.All() {
		r.buf = binary.AppendUvarint(append(r.buf[:0], recordWord), uint64(len(word)))
		r.w.Write(r.buf)
		r.w.Write(word)
		if _, err := r.w.Write(binary.AppendUvarint(r.buf[:0], n)); err != nil { // bufio keeps the first error
			return err
		}
	}
	return nil
}

func (r *recordWriter) summary(s summary) error {
	r.buf = append(r.buf[:0], recordSummary)
	for _, n := range []uint64{s.ranges, s.words, uint64(s.working), uint64(s.waiting), s.entries} {
		r.buf = binary.AppendUvarint(r.buf, n)
	}
	r.w.Write(r.buf)
	return r.w.Flush()
}

// readRecords reads the records of a worker up to its summary. It calls done for each range, which fails if
// none is outstanding, and adds the words to table; none of them may be longer than longest() bytes.
func readRecords(r *bufio.Reader, table *words.Table, done func() error, longest func() uint64) (s summary, err error) {
	var word []byte
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return s, err
		}
		switch kind {
		case recordDone:
			if err := done(); err != nil {
				return s, err
			}
		case recordWord:
			if word, err = readWord(r, word[:0], longest()); err != nil {
				return s, err
			}
			n, err := binary.ReadUvarint(r)
			if err != nil {
				return s, err
			}
			table.Add(word, n)
		case recordSummary:
			var working, waiting uint64
			for _, field := range []*uint64{&s.ranges, &s.words, &working, &waiting, &s.entries} {
				if *field, err = binary.ReadUvarint(r); err != nil {
					return s, err
				}
			}
			s.working, s.waiting = time.Duration(working), time.Duration(waiting)
			if s.entries != uint64(table.Len()) {
				return s, fmt.Errorf("%w: %d words instead of %d", errRecord, table.Len(), s.entries)
			}
			return s, nil
		default:
			return s, fmt.Errorf("%w: record of kind %#x", errRecord, kind)
		}
	}
}

// readWord appends a word to buf. It allocates no more than about what has really come.
func readWord(r *bufio.Reader, buf []byte, longest uint64) ([]byte, error) {
	n, err := binary.ReadUvarint(r)
	if err != nil {
		return nil, err
	}
	if n == 0 || n > longest {
		return nil, fmt.Errorf("%w: a word of %d bytes", errRecord, n)
	}
	for uint64(len(buf)) < n {
		part, err := r.Peek(int(min(n-uint64(len(buf)), uint64(r.Size()))))
		if err != nil {
			return nil, err
		}
		buf = append(buf, part...)
		r.Discard(len(part))
	}
	return buf, nil
}

// linkWriter and linkReader are the two ends of a link of bytes as io knows them.
type linkWriter struct {
	ctx  context.Context
	link *link[byte]
}

func (w linkWriter) Write(p []byte) (int, error) {
	if err := w.link.PushAll(w.ctx, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

type linkReader struct {
	ctx  context.Context
	link *link[byte]
}

func (r linkReader) Read(p []byte) (int, error) { return r.link.PopSome(r.ctx, p) }

var (
	_ io.Writer = linkWriter{}
	_ io.Reader = linkReader{}
)
