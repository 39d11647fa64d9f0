package demo

import (
	"bufio"
	"context"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/shm"
)

// For tests in package demo_test.
type (
	Window   = window
	Accounts = accounts
)

var (
	ErrRecord    = errRecord
	MaxWorkersAt = maxWorkers
)

const (
	WindowAlignment = alignment
	BytesAhead      = bytesAhead
)

func NewWindow(size int) *Window                { return &window{size: size} }
func (w *window) Take(n int) (off int, ok bool) { return w.take(n) }
func (w *window) Give(off int)                  { w.give(off) }
func (w *window) Parts() int                    { return len(w.parts) }

func NewAccounts(seg *shm.Segment, seats int) (Accounts, error) { return newAccounts(seg, seats) }

// Count counts text as a range of seat's.
func (a *accounts) Count(ctx context.Context, seat int, text string) error {
	var c words.Counter
	c.Count([]byte(text), 0, len(text))
	return a.hold(ctx, func() error { return a.add(seat, &c) })
}

// Look is what the accounts are.
func (a *accounts) Look(ctx context.Context, seat int) (t Totals, lengths []uint64, done uint64, err error) {
	lengths = make([]uint64, a.Lengths.Len())
	err = a.hold(ctx, func() error {
		t, done = a.Totals.Load(), a.Done.Load(seat)
		a.Lengths.ReadAt(lengths, 0)
		return nil
	})
	return t, lengths, done, err
}

// SendBack sends table through a link of so many bytes in seg, after so many done ranges, and reads it again.
func SendBack(ctx context.Context, seg *shm.Segment, table *words.Table, done int) (*words.Table, int, error) {
	ours, err := newLink[byte](seg, backLeast)
	if err != nil {
		return nil, 0, err
	}
	theirs, err := openLink[byte](ours.block)
	if err != nil {
		return nil, 0, err
	}
	sent := make(chan error, 1)
	go func() {
		w := newRecordWriter(ctx, theirs)
		for range done {
			w.done()
		}
		err := w.table(table)
		if err == nil {
			err = w.summary(summary{entries: uint64(table.Len())})
		}
		sent <- err
	}()
	var got words.Table
	n := 0
	_, err = readRecords(bufio.NewReaderSize(linkReader{ctx, ours}, backLeast), &got,
		func() error { n++; return nil }, func() uint64 { return 1 << 30 })
	if err != nil {
		return nil, 0, err
	}
	return &got, n, <-sent
}

// ReadRecords reads records from r, of which no word may be longer than longest and no range be done.
func ReadRecords(r *bufio.Reader, longest uint64) error {
	var table words.Table
	_, err := readRecords(r, &table, func() error { return errRecord }, func() uint64 { return longest })
	return err
}
