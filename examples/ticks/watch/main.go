// Watch prints ticks from the named segment, whichever program came first, until Ctrl-C, and removes the name then with -rm.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/shoal-ipc/shoal/examples/ticks"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

func main() {
	rm := flag.Bool("rm", false, "remove the segment's name at the end")
	name := flag.String("segment", ticks.Segment, "name of the segment")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *name); err != nil && ctx.Err() == nil {
		log.Fatal(err)
	}
	if *rm {
		if err := shm.Remove(*name); err != nil {
			log.Fatal(err)
		}
	}
}

func run(ctx context.Context, name string) error {
	seg, err := shm.OpenOrCreate(name, ticks.Size)
	if err != nil {
		return err
	}
	defer seg.Close()
	q, err := queue.OpenOrNew[ticks.Tick](seg, "ticks", 1024)
	if err != nil {
		return err
	}
	for t, err := range q.All(ctx) {
		if err != nil {
			return err
		}
		fmt.Printf("%d %s %.2f\n", t.Seq, bytes.TrimRight(t.Symbol[:], "\x00"), t.Price)
	}
	return nil
}
