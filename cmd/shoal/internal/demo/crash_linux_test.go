//go:build crashpoint

package demo_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/demo"
	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
)

// crashText has words of two lengths.
const crashText = "a bb aa"

type crashArgs struct{ A demo.Accounts }

var (
	opAdd = proctest.NewOp("demo/add", nil, func(ctx context.Context, a crashArgs) error {
		return a.A.Count(ctx, 1, crashText)
	})
	opFinish = proctest.NewOp("demo/finish", nil, func(ctx context.Context, a crashArgs) error {
		_, _, _, err := a.A.Look(ctx, 1)
		return err
	})
)

// crashAccounts has a range of seat 1, and one of seat 0, which the last change was of.
func crashAccounts(t testing.TB) crashArgs {
	a, err := demo.NewAccounts(proctest.Segment(t, 1<<20), 2)
	proctest.Must(t, err)
	proctest.Must(t, a.Count(t.Context(), 1, crashText))
	proctest.Must(t, a.Count(t.Context(), 0, crashText))
	return crashArgs{a}
}

// checkAccounts wants accounts that agree with themselves, after the two ranges that they begin with, and
// adds one more. least and most are how many more ranges there may be of seat 1 before.
func checkAccounts(t testing.TB, a crashArgs, least, most uint64) {
	t.Helper()
	look := func(least, most uint64) (ranges uint64) {
		t.Helper()
		totals, lengths, done, err := a.A.Look(t.Context(), 1)
		proctest.Must(t, err)
		n := totals.Ranges
		if n < least || n > most || done != n-1 || lengths[1] != n || lengths[2] != 2*n ||
			totals.Tally != (words.Tally{Bytes: 7 * n, Words: 3 * n, Runes: 5 * n}) {
			t.Fatalf("%+v, %d and %d words of one and two runes, seat 1 has %d ranges; want %d to %d ranges in all",
				totals, lengths[1], lengths[2], done, least, most)
		}
		return n
	}
	n := look(2+least, 2+most)
	proctest.Must(t, a.A.Count(t.Context(), 1, crashText))
	look(n+1, n+1)
}

// A worker killed at any step of adding a range has added it or not, in the totals, in the histogram and in its
// mark alike; one that survives has. While it is stopped there, others have the accounts whole or wait.
func TestCrashAdd(t *testing.T) {
	proctest.Crash(t, opAdd, crashAccounts, func(t testing.TB, a crashArgs) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		totals, lengths, _, err := a.A.Look(ctx, 1)
		if err == nil && (lengths[1] != totals.Ranges || lengths[2] != 2*totals.Ranges) {
			t.Errorf("%+v, and %d and %d words of one and two runes", totals, lengths[1], lengths[2])
		}
	}, func(t testing.TB, a crashArgs, survived bool) {
		if survived {
			checkAccounts(t, a, 1, 1)
		} else {
			checkAccounts(t, a, 0, 1)
		}
	})
}

// Who finishes what a dead worker began may be killed at that too, and somebody else finishes it.
func TestCrashFinish(t *testing.T) {
	setup := func(t testing.TB) crashArgs {
		a := crashAccounts(t)
		change := a.A.Change.Load()
		change.Totals.Tally.Add(words.Tally{Bytes: 7, Words: 3, Runes: 5})
		change.Totals.Ranges++
		change.Lengths[1]++
		change.Lengths[2] += 2
		change.Seat, change.Done = 1, 2
		func() {
			defer func() { recover() }()
			locks.With(t.Context(), a.A.Lock, func() error {
				a.A.Change.Store(change)
				a.A.Lengths.Store(1, change.Lengths[1])
				panic("as if this process had died")
			})
		}()
		return a
	}
	proctest.Crash(t, opFinish, setup, nil, func(t testing.TB, a crashArgs, survived bool) {
		checkAccounts(t, a, 1, 1)
	})
}

// TestCrashNowhere: a point that no worker comes to is a failure.
func TestCrashNowhere(t *testing.T) {
	dir, _ := tree(t, 1000)
	for _, at := range []demo.Point{{Kill: "nonsense"}, {Stop: "nonsense"}} {
		_, err := demo.Run(t.Context(), demo.Options{Paths: []string{dir}, Workers: 2, At: at})
		if !errors.Is(err, demo.ErrNotReached) || !strings.Contains(err.Error(), "nonsense") {
			t.Errorf("%+v: error %v, want ErrNotReached and the name", at, err)
		}
	}
}
