package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/shoal-ipc/shoal/bench"
)

const benchHelp = `Measure what operations of Shoal cost, beside what Go has itself, and with --peers
beside programs in C, C++ (Boost) and Python, and beside what the machine can do at
best (limit). All of a row is measured in turn, A B C A B C, in processes bound to
CPUs: only ratios mean something, and only those of one run on a machine that does
nothing else. With --peers all rows take three quarters of an hour.

  median [least to greatest] of the repeats, per operation; what Shoal costs in terms
  of the others; p50, p99, p99.9 of single operations where those are timed; noisy
  marks a row whose repeats differ too much.

Modes: one-cpu, one process; same-cpu, two that take turns on one CPU; two-cpus, each
has one; any-cpu, processes on either of two; go-chan and go-mutex are two goroutines
of one process, on either of two; shoal-p1 is shoal with GOMAXPROCS=1. The CPUs are the first that the command may use, see
taskset(1); they may be two threads of one core. Peers are compiled with gcc and g++; one
that cannot be compiled here, or without python3 or numpy, is reported as missing.

Rows (PATTERN is one of them, * and ? stand for letters):
  %s

With --json the rows go to FILE too (- is standard output, and then nothing else), as
an array with an object for each side of a row:
  name, impl, mode   of the row, the implementation, and where its processes ran
  procs, size        processes, and bytes that an operation moves
  unit               "ns", of all times, which are per operation
  median, min, max   of n repeats
  p50, p99, p999     percentiles of single operations; null where those were not timed
  n                  repeats
  ratio              median of shoal's cost divided by this one's, of neighbours in time;
                     left out of shoal's own
  least              what the process that was served least got of an equal share, from 0
                     to 1; left out where nobody counts
  counts             what was counted beside the time, by name: the most of all turns; left
                     out where nothing is
  noisy              true, for all sides of a row, if the repeats differ too much;
                     left out otherwise
What was not measured (a missing or failed peer, a row that needs more CPUs) has no
object: the table says why, or standard error with --json -.

Exit codes: 0 measured; 1 a failure, also of a peer; 2 usage; 130 interrupted.`

func benchCommand() *cobra.Command {
	var o bench.Options
	var file string
	c := &cobra.Command{
		Use:   "bench [--only PATTERN] [--quick] [--peers] [--json FILE]",
		Short: "Measure, beside what one would use instead",
		Long:  fmt.Sprintf(benchHelp, strings.Join(bench.Names(), "\n  ")),
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := o.Check(); err != nil {
				return usageError{err}
			}
			if err := writable(file); err != nil {
				return err
			}
			line := newStatus()
			o.Progress = benchProgress(line)
			records := []bench.Record{}
			failed := 0
			err := bench.Run(c.Context(), o, func(r *bench.Result) error {
				line.clear()
				records = append(records, r.Records()...)
				for _, s := range r.Sides {
					if s.Err != nil && !s.Missing() {
						failed++
					}
				}
				if file == "-" {
					return r.WriteErrors(os.Stderr)
				}
				return r.WriteText(os.Stdout)
			})
			line.clear()
			// What was measured before a failure is as good as all else.
			if err := errors.Join(err, writeRecords(file, records)); err != nil {
				return err
			}
			if failed > 0 {
				return fmt.Errorf("bench: peers failed: %d", failed)
			}
			return nil
		},
	}
	c.Flags().StringVar(&o.Only, "only", "", "the rows to measure")
	c.Flags().BoolVar(&o.Quick, "quick", false, "few and short repeats, to see that all works")
	c.Flags().BoolVar(&o.Peers, "peers", false, "measure what other languages do, too")
	c.Flags().StringVar(&file, "json", "", "write all numbers to this file")
	return c
}

// writable is an error if file cannot be written, which is better known before the measurements than after. It leaves
// what is in it.
func writable(file string) error {
	if file == "" || file == "-" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o666)
	if err != nil {
		return err
	}
	return f.Close()
}

// writeRecords writes one record a line.
func writeRecords(file string, records []bench.Record) (err error) {
	if file == "" {
		return nil
	}
	var b strings.Builder
	for i, r := range records {
		text, err := json.Marshal(r)
		if err != nil {
			return err
		}
		fmt.Fprintf(&b, "%s%s", map[bool]string{true: "[\n", false: ",\n"}[i == 0], text)
	}
	if len(records) == 0 {
		b.WriteByte('[')
	}
	b.WriteString("\n]\n")
	if file == "-" {
		_, err = os.Stdout.WriteString(b.String())
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o666)
}

// benchProgress returns a function for bench.Options.Progress. Without line, it writes what is kept: a line a row.
func benchProgress(line *status) func(bench.Progress) {
	last := 0
	return func(p bench.Progress) {
		if line != nil {
			line.show("%d of %d: %s, %s: repeat %d of %d: %s", p.Row, p.Rows, p.Name, p.Mode, p.Repeat, p.Repeats, p.Impl)
		} else if p.Row != last {
			fmt.Fprintf(os.Stderr, "%d of %d: %s, %s\n", p.Row, p.Rows, p.Name, p.Mode)
		}
		last = p.Row
	}
}
