// Program is what TestNothingLeft compiles: it uses what has crash points.
package main

import (
	"context"
	"errors"
	"os"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/internal/wait"
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
	if err := useRings(ctx, seg); err != nil {
		return err
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

func useRings(ctx context.Context, seg *shm.Segment) error {
	block, err := shm.NewBlock(seg, "", 5<<14)
	if err != nil {
		return err
	}
	mem := block.Bytes()
	part := func() []byte {
		p := mem[: 1<<14 : 1<<14]
		mem = mem[1<<14:]
		return p
	}
	one, err := ring.NewSPSC[int](part(), 1, seg)
	if err != nil {
		return err
	}
	many, err := ring.NewMPMC[[2]int](part(), 1, seg)
	if err != nil {
		return err
	}
	letters, err := ring.NewMessages(part(), 1, 8, seg)
	if err != nil {
		return err
	}
	records, err := ring.NewBytes(part(), 1024, seg)
	if err != nil {
		return err
	}
	all, err := ring.NewBroadcast[int](part()[wait.Size:], 1, seg)
	if err != nil {
		return err
	}
	reader, err := all.Reader()
	if err != nil {
		return err
	}
	w, err := wait.New(block.Bytes()[4<<14:])
	if err != nil {
		return err
	}
	if one.TryPush(1) && many.TryPush([2]int{}) && records.TryWrite(nil) && all.TryPush(1) {
		w.Wake()
		one.TryPop()
		many.TryPop()
		letters.TryPush(1, nil)
		letters.TryPop(nil)
		letters.End(1)
		records.Next()
		records.Advance()
		reader.TryPop()
	}
	err = w.Wait(ctx, func() bool { return true })
	return errors.Join(err, one.Close(), many.Close(), letters.Close(), records.Close(), reader.Close(), all.Close())
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
