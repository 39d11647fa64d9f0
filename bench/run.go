package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// Options say what to measure.
type Options struct {
	Only  string // a pattern of names, as of path.Match; "" means all
	Quick bool   // few and short repeats, to see that all works; the figures are worth little
	Peers bool   // beside what other languages do, too
	// Progress, if set, is told what is about to be measured.
	Progress func(Progress)
}

// Check is an error if o makes no sense: a pattern that matches no row.
func (o Options) Check() error {
	_, err := chosen(o.Only)
	return err
}

// Progress is what is about to be measured: a side of a row, for the Repeat-th time of Repeats; 0 is the trial
// in which its length is found.
type Progress struct {
	Name            string
	Mode            Mode
	Impl            string
	Row, Rows       int
	Repeat, Repeats int
}

// turn is how long a side is measured before it is the next one's turn. The caches of two CPUs may be far from each
// other for some seconds, and near after that (a virtual machine moves); turns are so short that neighbours mostly
// find the same.
const turn = 55 * time.Millisecond

// plan is how long a turn is, how many make a repeat, and how many repeats there are.
func (o Options) plan() (length time.Duration, turns, repeats int) {
	if o.Quick {
		return turn / 3, 1, 1
	}
	return turn, 20, 7
}

// Run measures the rows that o chooses and calls each with what it found, row by row. The error is one of o.Only,
// of ctx, or of Shoal's own side; a peer that fails is in the result.
func Run(ctx context.Context, o Options, each func(*Result) error) error {
	cs, err := compare(o)
	if err != nil {
		return err
	}
	defer cs.Close()
	for i, c := range cs.all {
		_, _, repeats := o.plan()
		if c.row.repeats != 0 {
			repeats = min(repeats, c.row.repeats)
		}
		tell := func(impl string, repeat int) {
			if o.Progress != nil {
				o.Progress(Progress{c.row.name, c.mode, impl, i + 1, len(cs.all), repeat, repeats})
			}
		}
		for k := range repeats + 1 {
			if err := c.repeat(ctx, func(impl string) { tell(impl, k) }); err != nil {
				return err
			}
		}
		if err := each(c.result()); err != nil {
			return err
		}
	}
	return nil
}

// comparisons are the rows that were chosen, each in each of its modes.
type comparisons struct {
	all   []*comparison
	peers *peers
}

// Close removes what was compiled.
func (cs *comparisons) Close() error {
	if cs.peers == nil {
		return nil
	}
	return cs.peers.remove()
}

// compare readies the rows that o chooses; nothing has been measured yet.
func compare(o Options) (*comparisons, error) {
	rs, err := chosen(o.Only)
	if err != nil {
		return nil, err
	}
	cs := new(comparisons)
	if o.Peers {
		if cs.peers, err = newPeers(); err != nil {
			return nil, fmt.Errorf("bench: %w", err)
		}
	}
	length, turns, _ := o.plan()
	allowed := sys.CPUs()
	for _, r := range rs {
		for _, mode := range r.modes {
			c := &comparison{row: r, mode: mode, cpus: mode.cpus(allowed), length: length, turns: turns, peers: cs.peers, quick: o.Quick}
			if r.times != 0 && !o.Quick {
				c.length *= time.Duration(r.times)
			}
			c.lack = c.lacks()
			for _, impl := range r.sides {
				if cs.peers != nil || !isPeer(impl) {
					c.sides = append(c.sides, newSide(impl))
				}
			}
			cs.all = append(cs.all, c)
		}
	}
	return cs, nil
}

// comparison is one row in one mode.
type comparison struct {
	row    row
	mode   Mode
	cpus   []int
	length time.Duration // of a turn
	turns  int           // of a repeat
	peers  *peers
	quick  bool  // too short for verdicts
	lack   error // why there will be no figures
	tried  bool  // the sides know how many operations make a turn
	sides  []*side
}

// side is one implementation.
type side struct {
	impl    string
	n       int   // operations of a turn, 0 before the trial
	err     error // why it has no figures
	turns   []float64
	cost    []float64          // of each repeat, the median of its turns
	ratio   []float64          // of each repeat, the median of what Shoal cost in terms of this one
	least   []float64          // of each turn, the least share of an equal part
	counts  map[string]float64 // the most of all turns
	latency *hdrhistogram.Histogram
}

func newSide(impl string) *side {
	return &side{impl: impl, counts: make(map[string]float64), latency: newHistogram()}
}

// repeat measures each side for some turns, and tells before which. The first repeat finds out how many operations
// make a turn, and does not count.
func (c *comparison) repeat(ctx context.Context, tell func(impl string)) error {
	if c.lack != nil {
		return nil // see result
	}
	do, turns := c.measure, cmp.Or(c.row.turns, c.turns)
	if !c.tried {
		do, turns = c.try, 1
	}
	for i := range turns {
		for k := range c.sides {
			s := c.sides[k]
			if i%2 != 0 { // back again, so that nobody always comes after the same one
				s = c.sides[len(c.sides)-1-k]
			}
			if s.err != nil {
				continue
			}
			tell(s.impl)
			err := do(ctx, s)
			switch {
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case err == nil:
			case s.impl == shoal:
				return fmt.Errorf("bench: %s, %s: %w", c.row.name, c.mode, err)
			default:
				s.err = err
			}
		}
	}
	if c.tried {
		c.sum()
	}
	c.tried = true
	return nil
}

// sum makes a repeat of the turns of all sides.
func (c *comparison) sum() {
	own := c.sides[0]
	for _, s := range c.sides {
		if s.err == nil {
			s.cost = append(s.cost, SpreadOf(s.turns).Median)
			s.ratio = append(s.ratio, ratios(own.turns, s.turns).Median)
		}
	}
	for _, s := range c.sides {
		s.turns = nil
	}
}

// try finds s.n.
func (c *comparison) try(ctx context.Context, s *side) error {
	if c.row.fixed != 0 {
		if s.n = c.row.fixed; c.quick {
			s.n = max(1, s.n/10)
		}
		return nil
	}
	// A try is at most so many times as long as the one before. What one so much shorter than a turn found says little:
	// most of it may be what processes do before all of them are at work; for a quick look it will do.
	const more, near = 100, 4
	most := cmp.Or(c.row.most, math.MaxInt)
	s.n = min(20, most)
	for {
		found, err := c.once(ctx, s)
		if err != nil {
			return err
		}
		took := found.NS * float64(s.n)
		grow := float64(c.length) / took
		tried := s.n
		s.n = min(max(1, int(min(grow, more)*float64(s.n))), most)
		if grow < near || tried == most || c.quick && grow < more {
			return nil
		}
	}
}

// measure adds one turn to s.
func (c *comparison) measure(ctx context.Context, s *side) error {
	found, err := c.once(ctx, s)
	if err != nil {
		return err
	}
	return c.add(s, found)
}

// add adds what a turn found.
func (c *comparison) add(s *side, found sample) error {
	s.turns = append(s.turns, found.NS)
	if n := len(found.Shares); n > 0 {
		s.least = append(s.least, slices.Min(found.Shares)*float64(n))
	}
	for _, m := range c.row.counts {
		n, ok := found.Counts[m.name]
		if !ok {
			return fmt.Errorf("nobody has counted: %s", m.name)
		}
		s.counts[m.name] = max(s.counts[m.name], n)
	}
	for _, l := range found.Latency {
		if err := s.latency.RecordValues(min(max(l[0], 1), s.latency.HighestTrackableValue()), l[1]); err != nil {
			return err
		}
	}
	return nil
}

// once runs s and checks where that was.
func (c *comparison) once(ctx context.Context, s *side) (found sample, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stuck, errStuck)
	defer cancel()
	j := job{c.row.name, s.impl, s.n, c.cpus}
	processes := c.row.processes(s.impl, c.mode)
	if isPeer(s.impl) {
		found, err = c.peers.run(ctx, j)
	} else {
		found, err = runOurs(ctx, j, c.mode, processes)
	}
	if err != nil && context.Cause(ctx) == errStuck {
		err = errStuck
	}
	if err == nil {
		err = found.check(c.mode, c.cpus, processes)
	}
	return found, err
}

// stuck is when a turn is given up: two sides that have lost an item spin for ever.
const stuck = 2 * time.Minute

var errStuck = fmt.Errorf("not done after %v", stuck)

// lacks finds lack.
func (c *comparison) lacks() error {
	const quick = 100 << 20 // of memory is the most for those who only want to see that all works
	switch {
	case c.cpus == nil:
		return errFewCPUs
	case c.row.memory > quick && c.quick:
		return errQuick
	case c.row.memory > min(available()/2, math.MaxInt/2):
		return errLittleMemory
	}
	return nil
}

// errQuick and errLittleMemory are why a row has no figures when processes with that much memory are not to be had.
var (
	errQuick        = errors.New("takes too long for a quick look")
	errLittleMemory = errors.New("needs more memory")
)

// errFewCPUs is why a row has no figures on a machine that is too small for it.
var errFewCPUs = errors.New("needs two CPUs")
