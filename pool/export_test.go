package pool

// Used is how many bytes of the segment of p are in use.
func Used(p *Pool) int { return p.c.seg.Info().Used }
