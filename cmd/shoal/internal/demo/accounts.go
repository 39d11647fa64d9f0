package demo

import (
	"context"
	"fmt"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// accounts are what the workers add their ranges to: the totals, the histogram of word lengths, and how many
// ranges of each seat are in them, which is the mark that a range is done: the ranges of a seat are counted in
// the order in which they were dealt. The three lie in three objects and change together, under one hold of
// the lock, though their holder may be killed between any two of the changes:
//
//	take      Recover: after the death of a holder finish runs first, before anybody reads
//	record    Change becomes all that is going to be different; one store within value.Value decides
//	apply     Totals, Lengths and Done become what Change says
//	release
//
// What a holder that dies leaves, and what the next one finds after finish, which applies Change:
//
//	it dies                               Change        the rest            after finish
//	before the store that decides         the last one  as it says          the same: the range was not counted
//	between that store and the release    the new one   partly as it says   as it says: the range is counted
//	after the release                     the new one   as it says          (nobody runs it)
//	in finish                             some one      partly as it says   as it says: the next one begins anew
//
// Change holds results, not differences, so it does no harm to apply it twice, and it need never be cleared.
type accounts struct {
	Lock    *locks.Lock // guards the rest
	Totals  *value.Value[Totals]
	Lengths *array.Array[uint64]
	Done    *array.Array[uint64] // by seat
	Change  *value.Value[Change]
}

// Totals is what all workers have counted so far.
type Totals struct {
	Tally  words.Tally
	Ranges uint64
}

// Change is what the accounts are with one range more.
type Change struct {
	Totals     Totals
	Lengths    [words.LongLength + 1]uint64
	Seat, Done uint64 // of all seats this one's mark is new
}

// newAccounts makes empty accounts for so many seats.
func newAccounts(seg *shm.Segment, seats int) (a accounts, err error) {
	if a.Lock, err = locks.NewLock(seg, ""); err != nil {
		return a, err
	}
	if a.Totals, err = value.New(seg, "", Totals{}, value.Options{Lock: a.Lock}); err != nil {
		return a, err
	}
	if a.Lengths, err = array.New[uint64](seg, "", words.LongLength+1, array.Options{Lock: a.Lock}); err != nil {
		return a, err
	}
	if a.Done, err = array.New[uint64](seg, "", seats, array.Options{Lock: a.Lock}); err != nil {
		return a, err
	}
	a.Change, err = value.New(seg, "", Change{}, value.Options{Lock: a.Lock})
	return a, err
}

// hold calls f while it holds the lock and the accounts are whole.
func (a *accounts) hold(ctx context.Context, f func() error) error {
	if err := a.Lock.Recover(ctx, a.finish); err != nil {
		return fmt.Errorf("take the lock of the totals: %w", err)
	}
	err := f()
	if e := a.Lock.Release(); err == nil {
		err = e
	}
	return err
}

// add adds a range that seat's worker has counted. The caller holds the lock.
func (a *accounts) add(seat int, c *words.Counter) error {
	change := Change{Totals: a.Totals.Load(), Seat: uint64(seat), Done: a.Done.Load(seat) + 1}
	change.Totals.Tally.Add(c.Tally)
	change.Totals.Ranges++
	a.Lengths.ReadAt(change.Lengths[:], 0)
	for n, count := range &c.Lengths {
		change.Lengths[n] += count
	}
	a.Change.Store(change)
	crashpoint.Hit("demo/add/recorded")
	return a.apply(&change)
}

// finish does what a holder that died may have left undone. The caller holds the lock.
func (a *accounts) finish() error {
	change := a.Change.Load()
	if change.Seat >= uint64(a.Done.Len()) {
		return fmt.Errorf("a change of seat %d: %w", change.Seat, shm.ErrCorrupt)
	}
	return a.apply(&change)
}

func (a *accounts) apply(c *Change) error {
	a.Totals.Store(c.Totals)
	crashpoint.Hit("demo/apply/totals")
	err := a.Lengths.View(func(shared []uint64) error {
		for n, count := range &c.Lengths {
			if shared[n] != count {
				shared[n] = count
				crashpoint.Hit("demo/apply/length")
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	a.Done.Store(int(c.Seat), c.Done)
	crashpoint.Hit("demo/apply/done")
	return nil
}
