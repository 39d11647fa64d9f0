package demo

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
)

var (
	// ErrNoText is returned when there is nothing to count.
	ErrNoText = errors.New("no text files")
	// ErrMismatch is returned when several processes together and one alone counted differently.
	ErrMismatch = errors.New("the answers differ")
	// ErrNotReached is returned when the first worker did not come to Options.At.
	ErrNotReached = errors.New("the first worker did not come to the point")
)

// Options say what to count and how.
type Options struct {
	Paths   []string
	Workers int  // from 1 to MaxWorkers
	Words   bool // the report is to have the whole word table

	// KillOne, if set, chooses a worker that is killed, and when, while it has work.
	KillOne *rand.Rand
	// At has an effect in programs built with -tags crashpoint.
	At Point

	// Progress, if set, is called from time to time with how many bytes of how many have been dealt with,
	// every file twice. It is called from one goroutine at a time, which it holds up.
	Progress func(done, total int64)
}

// Point is what the first worker does at a place that package crashpoint knows by a name, when it comes there
// for the first time. The zero Point is nothing.
type Point struct {
	Kill string // where it is killed
	Stop string // or where it is stopped, to be continued after a second
	List bool   // or it lists, at its end, on standard error the places that it has come to
}

// Run counts the words of the text files under o.Paths twice, with o.Workers processes and with this one
// alone, and compares. When it returns, for whatever reason, all processes that it started have ended. The
// error is the cause of ctx's end if that came first; ErrNoText; words.ErrChanged for a file that changed;
// the *process.ExitError of a worker that failed; ErrMismatch; ErrNotReached; or that of the file system or of
// package shm.
//
// A worker that is killed (SIGKILL) is no failure: another one takes its place, and the answer is the same. Only
// when more are killed than there are workers and three, that of the last is returned.
func Run(ctx context.Context, o Options) (*Report, error) {
	files, err := words.Walk(ctx, o.Paths)
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("%w under %s: no files at all", ErrNoText, strings.Join(o.Paths, ", "))
	}
	progress := progressOf(files, o.Progress)

	begin := time.Now()
	together, j, err := countTogether(ctx, files, o, progress)
	if err != nil {
		return nil, err
	}
	seconds := time.Since(begin).Seconds()
	if together.Files == 0 {
		return nil, fmt.Errorf("%w under %s, only %d other ones", ErrNoText, strings.Join(o.Paths, ", "), together.Skipped)
	}

	begin = time.Now()
	alone, err := countAlone(ctx, files, progress)
	if err != nil {
		return nil, err
	}
	aloneSeconds := time.Since(begin).Seconds()
	if d := together.diff(alone); d != "" {
		return nil, fmt.Errorf("%w: by %d processes and by one alone, %s", ErrMismatch, o.Workers, d)
	}
	if name := o.At.Kill + o.At.Stop; name != "" && !j.fates.reached {
		return nil, fmt.Errorf("%w %s", ErrNotReached, name)
	}
	r := newReport(o, together, j.processes(), j.fates)
	r.Seconds, r.AloneSeconds = seconds, aloneSeconds
	return r, nil
}

// progressOf returns a function that adds up bytes for report.
func progressOf(files []words.File, report func(done, total int64)) func(bytes int64) {
	if report == nil {
		return func(int64) {}
	}
	var done, total int64
	for _, f := range files {
		total += 2 * f.Size
	}
	return func(bytes int64) {
		done += bytes
		report(done, total)
	}
}

// answer is what a count finds out.
type answer struct {
	Files, Skipped int
	Ranges         uint64 // of several processes
	Tally          words.Tally
	Lengths        [words.LongLength + 1]uint64
	Table          *words.Table
}

// diff returns "" if a and b are the same answer, else a difference for people to read.
func (a *answer) diff(b *answer) string {
	if a.Files != b.Files || a.Skipped != b.Skipped {
		return fmt.Sprintf("there are %d text files and %d others, or %d and %d", a.Files, a.Skipped, b.Files, b.Skipped)
	}
	if a.Tally != b.Tally {
		return fmt.Sprintf("the totals are %+v or %+v", a.Tally, b.Tally)
	}
	for n := range a.Lengths {
		if a.Lengths[n] != b.Lengths[n] {
			return fmt.Sprintf("there are %d words of length %d, or %d", a.Lengths[n], n, b.Lengths[n])
		}
	}
	return a.Table.Diff(b.Table)
}

// countAlone counts files in this process and this goroutine, sharing nothing.
func countAlone(ctx context.Context, files []words.File, progress func(int64)) (*answer, error) {
	a := new(answer)
	var c words.Counter
	var mem buffer
	for _, f := range files {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		text, err := f.Text(ctx, &mem, func(piece []byte) error {
			c.Count(piece, 0, len(piece))
			return nil
		})
		if err != nil {
			return nil, err
		}
		if text {
			a.Files++
		} else {
			a.Skipped++
		}
		progress(f.Size)
	}
	a.Tally, a.Lengths, a.Table = c.Tally, c.Lengths, &c.Table
	return a, nil
}

// buffer is a words.Memory for one text at a time.
type buffer []byte

func (b *buffer) Get(n int) ([]byte, error) {
	if n > cap(*b) {
		*b = make([]byte, n)
	}
	return (*b)[:n], nil
}

func (b *buffer) Put() {}
