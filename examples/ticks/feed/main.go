// Feed writes ticks into a named segment. It may start before or after watch, and again after a crash: the numbers go on.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"time"

	"github.com/shoal-ipc/shoal/examples/ticks"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
	"github.com/shoal-ipc/shoal/value"
)

func main() {
	name := flag.String("segment", ticks.Segment, "name of the segment")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *name); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, name string) error {
	seg, err := shm.OpenOrCreate(name, ticks.Size)
	if err != nil {
		return err
	}
	defer seg.Close()
	last, err := value.OpenOrNew(seg, "last", ticks.Tick{})
	if err != nil {
		return err
	}
	q, err := queue.OpenOrNew[ticks.Tick](seg, "ticks", 1024)
	if err != nil {
		return err
	}
	t := ticks.Tick{Symbol: [8]byte{'S', 'H', 'O', 'A', 'L'}, Price: 100, Seq: last.Load().Seq}
	for {
		t.Seq++
		if err := last.Set(ctx, t); err != nil {
			return err
		}
		if err := q.Put(ctx, t); err != nil { // waits if nobody watches
			return err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
