package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// touchArgs is one argument that holds a lock.
type touchArgs struct{ Lock *locks.Lock }

// touchFunc takes the lock and releases it.
var touchFunc = process.Register("bench touch", func(ctx context.Context, a touchArgs) error {
	return lockOnce(ctx, a.Lock)
})

// startJoin starts processes and joins them, one after the other.
func startJoin(ctx context.Context, p *part, m *meter) error {
	h := newHistogram()
	start := time.Now()
	for range m.n {
		before := time.Now()
		q, err := process.Start(ctx, touchFunc, touchArgs{p.Shared.Lock})
		if err != nil {
			return err
		}
		if err := errors.Join(q.Join(ctx), q.Close()); err != nil {
			return err
		}
		h.RecordValue(int64(time.Since(before)))
	}
	m.s.NS = float64(time.Since(start)) / float64(m.n)
	m.latency(h)
	return nil
}

// create makes segments and closes them. The mapping of a closed segment goes with the collection of garbage,
// which is part of the price, for the last ones too.
func create(ctx context.Context, p *part, m *meter) error {
	const size, garbage = 1 << 20, 256
	h := newHistogram()
	var gone atomic.Int64
	start := time.Now()
	for i := range m.n {
		before := time.Now()
		seg, err := shm.Anonymous(size)
		if err != nil {
			return fmt.Errorf("segment %d: %w", i, err)
		}
		runtime.AddCleanup(seg, func(gone *atomic.Int64) { gone.Add(1) }, &gone)
		if err := seg.Close(); err != nil {
			return err
		}
		seg = nil
		if i%garbage == garbage-1 {
			runtime.GC()
		}
		h.RecordValue(int64(time.Since(before)))
	}
	for gone.Load() < int64(m.n) {
		runtime.GC()
		runtime.Gosched()
	}
	m.s.NS = float64(time.Since(start)) / float64(m.n)
	m.latency(h)
	return nil
}
