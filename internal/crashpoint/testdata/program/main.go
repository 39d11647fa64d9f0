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

func main() {
	process.Main(func(ctx context.Context) error {
		if len(os.Args) > 1 {
			return use(ctx)
		}
		return nil
	})
}
