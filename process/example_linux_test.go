package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

// Account is an argument with a shared object in it.
type Account struct {
	Balance *value.Value[int]
	Pay     int
}

var errFunds = errors.New("not enough funds")

var (
	_   = process.RegisterError("bank: not enough funds", errFunds)
	pay = process.Register("pay", func(ctx context.Context, a Account) error {
		return a.Balance.Update(ctx, func(b *int) error {
			if *b < a.Pay {
				return fmt.Errorf("paying %d of %d: %w", a.Pay, *b, errFunds)
			}
			*b -= a.Pay
			return nil
		})
	})

	// work looks at its context, as everything must that may take long.
	work = process.Register("work", func(ctx context.Context, _ process.None) error {
		for i := 0; ctx.Err() == nil; i++ {
			time.Sleep(time.Millisecond)
		}
		return context.Cause(ctx)
	})
)

// A function that fails in another process, and how its caller sees why.
func ExampleStart() {
	err := func(ctx context.Context) error { // the run of process.Main(run)
		seg, err := shm.Anonymous(0)
		if err != nil {
			return err
		}
		defer seg.Close()
		balance, err := value.New(seg, "", 100)
		if err != nil {
			return err
		}
		for _, n := range []int{70, 50} {
			p, err := process.Start(ctx, pay, Account{balance, n}, process.Options{Name: "teller"})
			if err != nil {
				return err
			}
			if err := p.Join(ctx); errors.Is(err, errFunds) {
				code, _ := p.ExitCode()
				fmt.Println(p.Name(), "ended with", code)
				var e *process.RemoteError
				fmt.Println(errors.As(err, &e), e)
			} else if err != nil {
				return err
			}
		}
		left, err := balance.Get(ctx)
		fmt.Println(left)
		return err
	}(context.Background())
	fmt.Println(err)
	// Output:
	// teller ended with 1
	// true paying 50 of 30: not enough funds
	// 30
	// <nil>
}

// A process ends with the context that it was started with: at its deadline, say.
func ExampleStart_deadline() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	p, err := process.Start(ctx, work, process.None{})
	if err != nil {
		fmt.Println(err)
		return
	}
	err = p.Join(context.Background())
	fmt.Println(errors.Is(err, context.DeadlineExceeded))
	// Output: true
}

// Another program gets an object by its environment. A Go program would open it with Given.
func ExampleCommand() {
	seg, err := shm.Anonymous(0)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer seg.Close()
	hits, err := value.NewAtomic(seg, "", 0)
	if err != nil {
		fmt.Println(err)
		return
	}
	p, err := process.Command(context.Background(), []string{"sh", "-c", `test -n "$SHOAL_HANDLE_hits" && echo given`},
		map[string]shm.Object{"hits": hits}, process.Options{Name: "shell", Prefix: true, Stdout: os.Stdout})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(p.Join(context.Background()))
	// Output:
	// shell: given
	// <nil>
}
