// A worker is killed in the middle of a transfer; the next one to want the lock learns of it and repairs the
// books.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/shoal-ipc/shoal/array"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

type Bank struct {
	Lock     *locks.Lock
	Accounts *array.Array[int64] // guarded by Lock; the sum is always 200
}

var transfer = process.Register("transfer", func(ctx context.Context, b Bank) error {
	if err := b.Lock.Acquire(ctx); err != nil {
		return err
	}
	defer b.Lock.Release()
	b.Accounts.Store(0, b.Accounts.Load(0)-50)
	fmt.Println("kill me now")
	<-ctx.Done()
	b.Accounts.Store(1, b.Accounts.Load(1)+50)
	return nil
})

func main() { process.Main(run) }

func run(ctx context.Context) error {
	seg, err := shm.Anonymous(0)
	if err != nil {
		return err
	}
	defer seg.Close()
	var b Bank
	if b.Lock, err = locks.NewLock(seg, ""); err != nil {
		return err
	}
	if b.Accounts, err = array.From(seg, "", []int64{100, 100}, array.Options{Unlocked: true}); err != nil {
		return err
	}

	said, out, err := os.Pipe()
	if err != nil {
		return err
	}
	defer said.Close()
	p, err := process.Start(ctx, transfer, b, process.Options{Stdout: out})
	out.Close() // the child has its own copy
	if err != nil {
		return err
	}
	if line, err := bufio.NewReader(said).ReadString('\n'); err != nil || line != "kill me now\n" {
		return fmt.Errorf("the worker said %q: %v", line, err)
	}
	if err := p.Kill(); err != nil {
		return err
	}
	var exit *process.ExitError
	if err := p.Join(ctx); !errors.As(err, &exit) || exit.Code != -9 {
		return fmt.Errorf("the worker should have been killed: %v", err)
	}

	err = b.Lock.Acquire(ctx)
	if errors.Is(err, locks.ErrOwnerDied) { // not held: returning here would leave nothing locked
		err = b.Lock.Recover(ctx, func() error {
			b.Accounts.Store(1, 200-b.Accounts.Load(0))
			return nil
		})
	}
	if err != nil {
		return err
	}
	defer b.Lock.Release()
	fmt.Println(b.Accounts.Load(0), b.Accounts.Load(1)) // 50 150
	return nil
}
