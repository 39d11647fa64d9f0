package bench

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// sample is what one measurement found: what a process of one of its sides prints, as one line of JSON, and what
// all of them make together.
type sample struct {
	// NS is what one operation costs, in nanoseconds; 0 in the line of a process that did not measure it.
	NS float64 `json:"ns"`
	// CPUs are, of each process, those on which it was at its beginning and at its end.
	CPUs [][2]int `json:"cpus"`
	// Shares are, of each process, its part of the operations.
	Shares []float64 `json:"shares,omitempty"`
	// Counts are what was counted beside the time, by name.
	Counts map[string]float64 `json:"counts,omitempty"`
	// Latency has the times of single operations, in nanoseconds, and how many took as long.
	Latency [][2]int64 `json:"latency,omitempty"`
}

// parseSample reads a line.
func parseSample(line []byte) (sample, error) {
	var s sample
	if err := json.Unmarshal(line, &s); err != nil {
		return s, fmt.Errorf("no measurement but %.80q: %w", line, err)
	}
	return s, nil
}

// join adds what another process of the same measurement found.
func (s *sample) join(t sample) {
	s.NS = max(s.NS, t.NS)
	s.CPUs = append(s.CPUs, t.CPUs...)
	s.Shares = append(s.Shares, t.Shares...)
	s.Latency = append(s.Latency, t.Latency...)
	for name, n := range t.Counts {
		if s.Counts == nil {
			s.Counts = make(map[string]float64)
		}
		s.Counts[name] += n
	}
}

// check is an error unless the sample says what it cost and that its processes, so many, ran where mode binds
// them.
func (s *sample) check(mode Mode, cpus []int, processes int) error {
	if !(s.NS > 0) || math.IsInf(s.NS, 0) {
		return fmt.Errorf("it says that an operation costs %v ns", s.NS)
	}
	if len(s.CPUs) != processes {
		return fmt.Errorf("%d processes say on which CPUs they ran, of %d", len(s.CPUs), processes)
	}
	for i, ran := range s.CPUs {
		on := cpus
		if mode == TwoCPUs && processes == len(cpus) {
			on = cpus[i : i+1]
		}
		if !slices.Contains(on, ran[0]) || !slices.Contains(on, ran[1]) {
			return fmt.Errorf("process %d ran on CPUs %d, bound to %d", i, ran, on)
		}
	}
	return nil
}

// checkShares is an error unless the shares are of n operations, each done once.
func (s *sample) checkShares(n int) error {
	if len(s.Shares) == 0 {
		return nil
	}
	sum := 0.0
	for _, x := range s.Shares {
		sum += x * float64(n)
	}
	if got := math.Round(sum); got != float64(n) {
		return fmt.Errorf("its processes did %.0f operations, want %d", got, n)
	}
	return nil
}

// newHistogram is for times of up to a minute, to one part in a hundred.
func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, int64(time.Minute), 2) }

// meter measures in one process.
type meter struct {
	n   int // operations of the job
	cpu int // at the beginning
	s   sample
}

// newMeter binds this process.
func newMeter(n int, cpus ...int) (*meter, error) {
	if err := sys.Bind(cpus...); err != nil {
		return nil, err
	}
	return &meter{n: n, cpu: sys.CurrentCPU()}, nil
}

// A side does, beside the n operations that count, some before them to warm up and some after them that are timed
// one by one. Both sides know how many.
func warm(n int) int { return n/20 + 1 }

func timed(n int) int { return min(max(n/10, 100), 200_000) }

// all is how many operations trips does.
func all(n int) int { return warm(n) + n + timed(n) }

// loop measures f, which does n operations, and nothing else.
func (m *meter) loop(f func(n int) error) error {
	if err := f(warm(m.n)); err != nil {
		return err
	}
	start := time.Now()
	if err := f(m.n); err != nil {
		return err
	}
	m.s.NS = float64(time.Since(start)) / float64(m.n)
	return nil
}

// trips measures f, which does the i-th operation, as loop does and then one by one.
func (m *meter) trips(f func(i int) error) error {
	i := 0
	err := m.loop(func(n int) error {
		for range n {
			if err := f(i); err != nil {
				return err
			}
			i++
		}
		return nil
	})
	if err != nil {
		return err
	}
	return m.singly(timed(m.n), func() error {
		err := f(i)
		i++
		return err
	})
}

// singly times each of n operations.
func (m *meter) singly(n int, f func() error) error {
	h := newHistogram()
	start := time.Now()
	for range n {
		before := time.Since(start)
		if err := f(); err != nil {
			return err
		}
		took := time.Since(start) - before
		if err := h.RecordValue(int64(took)); err != nil {
			return err
		}
	}
	m.latency(h)
	return nil
}

// latency takes in the times of single operations.
func (m *meter) latency(h *hdrhistogram.Histogram) {
	for _, b := range h.Distribution() {
		if b.Count > 0 {
			m.s.Latency = append(m.s.Latency, [2]int64{b.From + (b.To-b.From)/2, b.Count})
		}
	}
}

// count says that there were n of something.
func (m *meter) count(name string, n float64) { m.s.join(sample{Counts: map[string]float64{name: n}}) }

// print writes the sample.
func (m *meter) print() error {
	m.s.CPUs = [][2]int{{m.cpu, sys.CurrentCPU()}}
	line, err := json.Marshal(m.s)
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(line))
	return err
}
