// Programs that know nothing of each other but a name keep two accounts whose sum is 0, also when one is killed
// half-way. Python: SharedMemory(name). Build it, and run it in several terminals:
//
//	named bank         moves 10 from one account to the other
//	named bank stall   stops half-way, until Ctrl-C: kill it there, and let another move
//	named bank remove  takes the name away; nobody else does
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/shm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, append(os.Args[1:], "", "")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	name, verb := args[0], args[1]
	switch verb {
	case "remove":
		return shm.Remove(name)
	case "", "stall":
		return move(ctx, name, verb == "stall")
	}
	return errors.New("usage: named NAME [stall | remove]")
}

func move(ctx context.Context, name string, stall bool) (err error) {
	seg, err := shm.OpenOrCreate(name, 1<<20)
	if err != nil {
		return err
	}
	defer seg.Close()
	// Of programs that come at once one makes the array, of zeros, and the others find it.
	accounts, err := array.OpenOrNew[int64](seg, "accounts", 2)
	if err != nil {
		return err
	}
	lock := accounts.Mutex()
	err = lock.Recover(ctx, func() error { // Acquire, and what to do first if the last owner died
		fmt.Println("somebody died half-way")
		accounts.Store(1, -accounts.Load(0))
		return nil
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Release()) }()
	accounts.Store(0, accounts.Load(0)-10)
	if stall {
		fmt.Println("half-way: kill -9", os.Getpid())
		<-ctx.Done()
	}
	accounts.Store(1, accounts.Load(1)+10)
	fmt.Println(accounts.Load(0), accounts.Load(1))
	return nil
}
