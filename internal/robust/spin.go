package robust

import (
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// Spin is how often who waits looks, each time after atomics.Pause(SpinPause), before it sleeps, where the wait for the others
// of a turn may be short, or as long as it takes to wake them: looks are worth as much as a sleep and a wake cost. While they pay
// they go on for a few times as long as they were needed for; when they did not twice, the next waits sleep at once, and more and
// more of them until the next trial. It may be used by several goroutines at once; its zero value is ready.
type Spin struct {
	needed atomic.Uint32 // looks that it took when it paid the last time; 0 if it does not
	missed atomic.Uint32 // waits since then that looked in vain
	rest   atomic.Uint32 // waits before the next trial
	gap    atomic.Uint32 // of them, after a trial that fails
}

const (
	mostLooks  = 1000 // 70 us on the machines that this was made for
	leastLooks = 30
	mostGap    = 4096
	leastGap   = 16

	// mostSpun is for a trial: who took longer was not running all the time, so perhaps nor were those on this CPU.
	mostSpun = 200 * time.Microsecond
)

// Spins is one wait's use of a Spin.
type Spins struct {
	Left  int
	s     *Spin
	all   int
	since int64 // Monotonic, of a trial
}

// Begin says how many looks to make; End is to follow.
func (s *Spin) Begin() Spins {
	if runtime.NumCPU() == 1 {
		return Spins{}
	}
	n, all, since := s.needed.Load(), mostLooks, int64(0)
	if n == 0 {
		if rest := s.rest.Load(); rest != 0 {
			s.rest.Store(rest - 1)
			return Spins{}
		}
		since = sys.Monotonic()
	} else if s.missed.Load() == 0 {
		all = int(min(max(4*n, leastLooks), mostLooks))
	}
	return Spins{Left: all, s: s, all: all, since: since}
}

// Late says that those whom the next wait is for have just been woken.
func (s *Spin) Late() {
	if s.needed.Load() != 0 {
		s.missed.Store(1)
	}
}

// End says whether what one waited for was there before the looks were over.
func (p *Spins) End(there bool) {
	s := p.s
	if s == nil {
		return
	}
	p.s = nil
	n := s.needed.Load()
	switch {
	case there && (p.since == 0 || time.Duration(sys.Monotonic()-p.since) < mostSpun):
		s.needed.Store(max(uint32(p.all-p.Left), n-n/8, 1))
		s.missed.Store(0)
		s.gap.Store(0)
	case n != 0 && s.missed.Load() == 0:
		s.missed.Store(1)
	default:
		gap := min(max(2*s.gap.Load(), leastGap), mostGap)
		s.needed.Store(0)
		s.missed.Store(0)
		s.gap.Store(gap)
		s.rest.Store(gap)
	}
}
