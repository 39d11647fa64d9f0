// Publish is what TestPublishOrder compiles and reads: functions that hand one number over through a position.
package main

import (
	"os"

	"github.com/shoal-ipc/shoal/internal/atomics"
	"github.com/shoal-ipc/shoal/ring"
)

//go:noinline
func give(slot *uint64, p *atomics.Pos, v, at uint64) {
	*slot = v     // item
	p.Publish(at) // publish
}

//go:noinline
func take(slot *uint64, p *atomics.Pos, at uint64) uint64 {
	v := *slot    // item
	p.Publish(at) // publish
	return v
}

//go:noinline
func push(r *ring.SPSC[uint64], v uint64) bool {
	return r.TryPush(v)
}

//go:noinline
func pop(r *ring.SPSC[uint64]) (uint64, bool) {
	return r.TryPop()
}

//go:noinline
func pushAll(r *ring.SPSC[uint64], n uint64) {
	for i := uint64(0); i < n; {
		if r.TryPush(i) {
			i++
		}
	}
}

//go:noinline
func popAll(r *ring.SPSC[uint64], n uint64) (sum uint64) {
	for i := uint64(0); i < n; {
		if v, ok := r.TryPop(); ok {
			sum += v
			i++
		}
	}
	return sum
}

// line is an item that does not fit into registers.
type line [8]uint64

//go:noinline
func pushLine(r *ring.SPSC[line], v *line) bool {
	return r.TryPush(*v)
}

//go:noinline
func popLine(r *ring.SPSC[line], v *line) (ok bool) {
	*v, ok = r.TryPop()
	return ok
}

// main only has to make the linker keep the functions.
func main() {
	var slot uint64
	var p atomics.Pos
	give(&slot, &p, 1, 1)
	take(&slot, &p, 2)
	if r, err := ring.OpenSPSC[uint64](nil, nil); err == nil {
		push(r, 1)
		pop(r)
		pushAll(r, 1)
		lines, _ := ring.OpenSPSC[line](nil, nil)
		pushLine(lines, new(line))
		popLine(lines, new(line))
		os.Exit(int(popAll(r, 1)))
	}
}
