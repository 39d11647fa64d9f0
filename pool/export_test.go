package pool

import "context"

// Notes has n notes sent to each worker that mean nothing.
func Notes(p *Pool, n int) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	for _, h := range p.c.hands {
		for range n {
			h.push(note{kind: noteEnd, call: 1 << 60})
		}
	}
}

// CancelAll cancels all calls.
func CancelAll(p *Pool) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	for c := range p.c.open {
		p.c.cancelLocked(c, context.Canceled, nil)
	}
}

// Used is how many bytes of the segment of p are in use.
func Used(p *Pool) int { return p.c.seg.Info().Used }

// Check verifies the segment of p.
func Check(p *Pool) error { return p.c.seg.Check() }

// SetHired has f called whenever a worker of p was started for one that has ended, or could not be.
func SetHired(p *Pool, f func()) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	p.c.hired = f
}
