package demo

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/words"
)

// Report is what a demo has found out. Its JSON form is what shoal demo --json prints; the fields only grow.
type Report struct {
	Paths    []string `json:"paths"`    // as given
	Files    int      `json:"files"`    // counted
	Skipped  int      `json:"skipped"`  // regular files that are not text
	Bytes    uint64   `json:"bytes"`    // of the files counted
	Words    uint64   `json:"words"`    // in all
	Runes    uint64   `json:"runes"`    // of the words
	Distinct int      `json:"distinct"` // different words
	Ranges   uint64   `json:"ranges"`   // that the files were cut into

	Top []words.Entry `json:"top"` // the ten most frequent words, the most frequent one first

	// Lengths is the histogram of word lengths in runes: element n is the number of words of n runes, of 256
	// or more for n = 256. Zeros at the end are left out.
	Lengths []uint64 `json:"lengths"`

	Workers      []Process `json:"workers"`
	Killed       []Killed  `json:"killed"`            // workers that others took the place of
	Stopped      []int     `json:"stopped,omitempty"` // pids of workers that were stopped at Options.At, and continued
	Seconds      float64   `json:"seconds"`           // that the workers took together, from before the first was started
	AloneSeconds float64   `json:"alone_seconds"`     // that one process alone took, with the same answer

	Counts map[string]uint64 `json:"counts,omitzero"` // with --words: every word and how often it occurs
}

// Process is a worker's part.
type Process struct {
	Pid     int     `json:"pid"`
	Ranges  uint64  `json:"ranges"`
	Words   uint64  `json:"words"`
	Working float64 `json:"working_seconds"` // counting, and sending its table
	Waiting float64 `json:"waiting_seconds"` // for work, for the lock, for room to send
}

// Killed is a worker that was killed.
type Killed struct {
	Worker int    `json:"worker"` // from 1; another one has its number now
	Pid    int    `json:"pid"`
	Ranges uint64 `json:"ranges"` // that it had counted
}

func newReport(o Options, a *answer, processes []Process, f fates) *Report {
	r := &Report{
		Paths:    o.Paths,
		Files:    a.Files,
		Skipped:  a.Skipped,
		Bytes:    a.Tally.Bytes,
		Words:    a.Tally.Words,
		Runes:    a.Tally.Runes,
		Distinct: a.Table.Len(),
		Ranges:   a.Ranges,
		Top:      a.Table.Top(10),
		Lengths:  slices.Clone(a.Lengths[:]),
		Workers:  processes,
		Killed:   append([]Killed{}, f.killed...), // never null
		Stopped:  f.stopped,
	}
	for len(r.Lengths) > 0 && r.Lengths[len(r.Lengths)-1] == 0 {
		r.Lengths = r.Lengths[:len(r.Lengths)-1]
	}
	if o.Words {
		r.Counts = a.Table.Map()
	}
	return r
}

// WriteJSON writes r as one line of JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(r)
}

// WriteText writes r for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	if len(r.Top) > 0 {
		fmt.Fprintf(&b, "The most frequent words:\n\n")
		t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
		for _, e := range r.Top {
			fmt.Fprintf(t, "%d\t  %s\n", e.Count, shorten(e.Word))
		}
		t.Flush()
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "%d words, %d of them different, in %s and %d bytes (%s left out: not text)\n",
		r.Words, r.Distinct, plural(r.Files, "file"), r.Bytes, plural(r.Skipped, "file"))
	fmt.Fprintf(&b, "%s\n\n", r.lengths())

	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "worker\tpid\tranges\twords\tworking\twaiting\t\n")
	for i, p := range r.Workers {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%.3f s\t%.3f s\t\n", i+1, p.Pid, p.Ranges, p.Words, p.Working, p.Waiting)
	}
	t.Flush()
	b.WriteString("\n")
	for _, k := range r.Killed {
		fmt.Fprintf(&b, "Worker %d (pid %d) was killed when it had counted %s; another one took its place.\n",
			k.Worker, k.Pid, plural(int(k.Ranges), "range"))
	}
	for _, pid := range r.Stopped {
		fmt.Fprintf(&b, "The worker with pid %d was stopped, and continued after %v.\n", pid, stopFor)
	}

	fmt.Fprintf(&b, "%s took %.3f s, one process alone %.3f s", plural(len(r.Workers), "worker"), r.Seconds, r.AloneSeconds)
	if r.Seconds > 0 {
		fmt.Fprintf(&b, " (%.2f times as long)", r.AloneSeconds/r.Seconds)
	}
	fmt.Fprintf(&b, "; both found the same.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// lengths sums the histogram up in a line.
func (r *Report) lengths() string {
	const shown = 10
	var classes [shown + 1]uint64
	for n, count := range r.Lengths {
		classes[min(n, shown)] += count
	}
	var b strings.Builder
	b.WriteString("Words by length:")
	for n := 1; n <= shown; n++ {
		more := ""
		if n == shown {
			more = "+"
		}
		fmt.Fprintf(&b, "  %d%s: %.1f%%", n, more, 100*float64(classes[n])/float64(max(r.Words, 1)))
	}
	return b.String()
}

// shorten keeps a line a line.
func shorten(word string) string {
	const most = 40
	if runes := []rune(word[:min(len(word), 4*most+4)]); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return word
}

func plural(n int, noun string) string {
	if n == 1 {
		return fmt.Sprintf("%d %s", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
