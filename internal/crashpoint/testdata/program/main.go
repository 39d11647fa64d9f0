// Program is what TestNothingLeft compiles: it uses what has crash points.
package main

import (
	"context"
	"os"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

func use(ctx context.Context) error {
	seg, err := shm.Anonymous(0)
	if err != nil {
		return err
	}
	l, err := locks.NewLock(seg, "lock")
	if err != nil {
		return err
	}
	v, err := value.New(seg, "", 1)
	if err != nil {
		return err
	}
	a, err := array.New[int](seg, "", 1)
	if err != nil {
		return err
	}
	b, err := shm.NewBlock(seg, "", ring.SPSCSize[int](1))
	if err != nil {
		return err
	}
	r, err := ring.NewSPSC[int](b.Bytes(), 1, seg)
	if err != nil {
		return err
	}
	if r.TryPush(1) {
		r.TryPop()
	}
	if err := useLocks(ctx, seg); err != nil {
		return err
	}
	if err := l.Recover(ctx, nil); err != nil {
		return err
	}
	if err := v.Set(ctx, 2); err != nil {
		return err
	}
	if err := a.Set(ctx, 0, 2); err != nil {
		return err
	}
	return seg.Close()
}

func useLocks(ctx context.Context, seg *shm.Segment) error {
	c, err := locks.NewCondition(seg, "condition", nil)
	if err != nil {
		return err
	}
	if err := locks.With(ctx, c, c.NotifyAll); err != nil {
		return err
	}
	b, err := locks.NewBarrier(seg, "barrier", 1)
	if err != nil {
		return err
	}
	if _, err := b.Wait(ctx); err != nil {
		return err
	}
	rw, err := locks.NewRWLock(seg, "rwlock")
	if err != nil {
		return err
	}
	return locks.With(ctx, rw, func() error { return nil })
}

func main() {
	process.Main(func(ctx context.Context) error {
		if len(os.Args) > 1 {
			return use(ctx)
		}
		return nil
	})
}
