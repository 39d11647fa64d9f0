package pool

// Used is how many bytes of the segment of p are in use.
func Used(p *Pool) int { return p.c.seg.Info().Used }

// Check verifies the segment of p.
func Check(p *Pool) error { return p.c.seg.Check() }

// ErrLost is the error of a large result that was swept up with its worker.
var ErrLost = errLost
