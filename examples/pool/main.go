// Results in order, results as they come, one result later, and the death of a worker. Python: Pool.map, imap_unordered, apply_async.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/process"
)

var errNegative = errors.New("negative")
var _ = process.RegisterError("negative", errNegative)

var square = pool.Register("square", func(ctx context.Context, n int) (int, error) {
	if n < 0 {
		return 0, errNegative
	}
	return n * n, nil
})

// crash ends its process if it gets a 3.
var crash = pool.Register("crash", func(ctx context.Context, n int) (int, error) {
	if n == 3 {
		os.Exit(1)
	}
	return n, nil
})

func main() { process.Main(run) }

func run(ctx context.Context) error {
	p, err := pool.New(ctx, 4)
	if err != nil {
		return err
	}
	defer p.Terminate()

	xs := []int{1, 2, 3, 4, 5}
	squares, err := pool.Map(ctx, p, square, xs) // [1 4 9 16 25]
	if err != nil {
		return err
	}
	fmt.Println(squares)

	sum := 0
	for v, err := range pool.ImapUnordered(ctx, p, square, slices.Values(xs), pool.MapOptions{ChunkSize: 2}) {
		if err != nil {
			return err
		}
		sum += v
	}
	fmt.Println(sum) // 55

	r := pool.ApplyAsync(ctx, p, square, -1)
	soon, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	switch _, err := r.Get(soon); {
	case errors.Is(err, errNegative):
		fmt.Println("the task failed:", err)
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Println("not ready yet")
	}

	var died *pool.WorkerDiedError
	if _, err := pool.Map(ctx, p, crash, xs); errors.As(err, &died) {
		fmt.Println("a worker died of item 3 in", died.Task) // the others have their results
	}

	if err := p.Close(); err != nil {
		return err
	}
	return p.Join(ctx)
}
