// Everybody starts at the gun and meets at every lap. Python: Event, Barrier.
package main

import (
	"context"
	"fmt"

	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

type Args struct {
	Gun *locks.Event
	Lap *locks.Barrier
}

// A runner is a party from its start until Close: if it dies or returns before that, the others get locks.ErrBroken.
var race = process.Register("race", func(ctx context.Context, a Args) error {
	lap := 0
	a.Lap.SetAction(func() error { // of whoever comes last, while the others wait
		fmt.Println("lap", lap)
		return nil
	})
	if err := a.Gun.Wait(ctx); err != nil {
		return err
	}
	for lap = 1; lap <= 3; lap++ {
		if _, err := a.Lap.Wait(ctx); err != nil {
			return err
		}
	}
	return a.Lap.Close()
})

func main() { process.Main(run) }

func run(ctx context.Context) error {
	const n = 5
	seg, err := shm.Anonymous(0)
	if err != nil {
		return err
	}
	defer seg.Close()
	gun, err := locks.NewEvent(seg, "")
	if err != nil {
		return err
	}
	lap, err := locks.NewBarrier(seg, "", n)
	if err != nil {
		return err
	}
	var runners []*process.Process
	for i := range n {
		// A daemon is ended, and not waited for, should this function return early.
		p, err := process.Start(ctx, race, Args{gun, lap}, process.Options{Name: fmt.Sprint("runner-", i), Daemon: true})
		if err != nil {
			return err
		}
		runners = append(runners, p)
	}
	fmt.Println("go")
	if err := gun.Set(); err != nil {
		return err
	}
	return process.JoinAll(ctx, runners...)
}
