package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/demo"
	"github.com/shoal-ipc/shoal/internal/crashpoint"
)

const demoHelp = `Count the words of all text files under the paths (default: the current directory)
with several processes that share memory, then again with one process alone, and
compare the two answers.

A text file is valid UTF-8 without NUL. A word is a maximal run of letters and
digits (Unicode L and Nd), lower-cased rune by rune. Symbolic links to files are
followed, those to directories are not, unless they are a path themselves; hidden
files are counted, directories called .git are not. Each file is counted once,
however many paths or symbolic links lead to it (hard links are files of their own).
A file that cannot be read, or changes while it is being counted, is an error.

There may be up to 1,000 workers, or fewer if the machine's limits say so: 8 open
files, 16 threads and 16 MiB of free memory for each. A word may be as long as the
segment of shared memory allows (about 250 MB).

A worker that is killed (SIGKILL) is replaced and does not change the answer, unless
more are killed than there are workers and three. With --kill-one the demo kills one
itself, at a random moment at which it has work.

With --json the answer is one object:
  paths, files, skipped (files that are not text), bytes, words, runes (of the
  words), distinct (different words), ranges (that the files were cut into)
  top            the ten most frequent words: [{word, count}, …]
  lengths        histogram: element n is the number of words of n runes; element 256,
                 if there is one, of 256 or more
  workers        [{pid, ranges, words, working_seconds, waiting_seconds}, …]
  killed         [{worker, pid, ranges}, …] of the workers that were killed: which (from
                 1), and how many ranges it had counted
  stopped        pids of workers that stopped at a crash point and were continued (only
                 in programs built with -tags crashpoint)
  seconds        the time that the workers took together, starting them included
  alone_seconds  the time that one process alone took
  counts         with --words, every word: {word: count, …}

Exit codes: 0 the answers agree; 1 a failure, or they differ; 2 usage; 130 interrupted.`

func demoCommand() *cobra.Command {
	var o demo.Options
	var asJSON, killOne bool
	c := &cobra.Command{
		Use:   "demo [--workers N] [--json [--words]] [PATH…]",
		Short: "Count words with several processes, and with one",
		Long:  demoHelp,
		RunE: func(c *cobra.Command, paths []string) error {
			if o.Paths = paths; len(paths) == 0 {
				o.Paths = []string{"."}
			}
			if o.Words && !asJSON {
				return usageError{fmt.Errorf("--words needs --json")}
			}
			if o.Workers < 1 {
				return usageError{fmt.Errorf("--workers %d: at least one is needed", o.Workers)}
			}
			if most, because := demo.MaxWorkers(); o.Workers > most {
				return usageError{fmt.Errorf("--workers %d: at most %d here (%s)", o.Workers, most, because)}
			}
			if killOne {
				o.KillOne = rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))
			}
			line := newStatus()
			if line != nil {
				o.Progress = func(done, total int64) {
					line.show("counting: %d%% of %d MB", 100*done/max(total, 1), total/1e6)
				}
			}
			report, err := demo.Run(c.Context(), o)
			line.clear()
			if err != nil {
				return err
			}
			if asJSON {
				return report.WriteJSON(os.Stdout)
			}
			return report.WriteText(os.Stdout)
		},
	}
	c.Flags().IntVarP(&o.Workers, "workers", "w", runtime.GOMAXPROCS(0), "number of worker processes")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	c.Flags().BoolVar(&o.Words, "words", false, "with --json: include every word and its count")
	c.Flags().BoolVar(&killOne, "kill-one", false, "kill a random worker at a random time")
	if crashpoint.Enabled {
		pointFlags(c, &o.At)
	}
	return c
}

// pointFlags adds the flags that only programs built with -tags crashpoint have. A point has the name that its
// crashpoint.Hit gives it; nobody has a list of all, so one that does not exist is never come to.
func pointFlags(c *cobra.Command, p *demo.Point) {
	c.Flags().StringVar(&p.Kill, "kill-at", "", "kill the first worker at the crash point `POINT`; a failure if it never comes there")
	c.Flags().StringVar(&p.Stop, "stop-at", "", "stop it at `POINT`, and continue it after a second; likewise")
	c.Flags().BoolVar(&p.List, "list-points", false, "list on standard error the points that the first worker comes to")
	c.MarkFlagsMutuallyExclusive("kill-at", "stop-at", "list-points")
}
