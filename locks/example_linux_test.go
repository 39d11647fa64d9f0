package locks_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// Who waits for a job gets one although a producer dies half-way. The parts are shown in one process; in others they look
// the same.
func ExampleCondition() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	seg, err := shm.Anonymous(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer seg.Close()
	c, err := locks.NewCondition(seg, "", nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	jobs, err := value.New(seg, "", 0, value.Options{Unlocked: true}) // guarded by the condition's lock; never below 0
	if err != nil {
		fmt.Println(err)
		return
	}

	take := func() error {
		if err := c.Acquire(ctx); err != nil {
			return err // it is not held
		}
		defer c.Release() // it is held from here on, with whatever error WaitFor returns
		if err := c.WaitFor(ctx, func() bool { return jobs.Load() > 0 }); err != nil {
			return err
		}
		jobs.Store(jobs.Load() - 1)
		return c.NotifyAll()
	}
	done := make(chan error)
	go func() {
		for {
			err := take()
			if !errors.Is(err, locks.ErrOwnerDied) {
				done <- err
				return
			}
			// Somebody died holding the lock, before Acquire or in WaitFor; now it is not held, in either case.
			err = c.Mutex().Recover(ctx, func() error {
				fmt.Println("there are", jobs.Load(), "jobs")
				jobs.Store(1)
				return nil
			})
			if err != nil {
				done <- err
				return
			}
			c.Release() // and look again
		}
	}()

	func() {
		defer func() { recover() }()
		locks.With(ctx, c, func() error {
			jobs.Store(-1)
			panic("a producer dies half-way")
		})
	}()
	fmt.Println("there was a job for who waited:", <-done, jobs.Load())
	// Output:
	// there are -1 jobs
	// there was a job for who waited: <nil> 0
}
