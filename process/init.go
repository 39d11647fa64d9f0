package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/shoal-ipc/shoal/internal/inherit"
)

// Main is the body of func main: in a child it runs the child's function and exits; in the program itself it
// runs run with a context that SIGINT and SIGTERM end, then does what Finish does, and exits with 0, or with
// 1 after printing run's error. When run fails its context ends first, and with it the children started under
// it, so that nobody is joined who waits for what will not come.
//
// The first of these signals gives both their usual effect back, so that a second one kills. A SIGINT that
// the program was told to ignore, as shells tell background jobs, stays ignored. If run succeeds and a child
// that Main joins fails, that is printed too, and is no reason for another exit code: who wants one joins.
func Main(run func(ctx context.Context) error) {
	Init()
	os.Exit(runMain(run, os.Stderr))
}

func runMain(run func(ctx context.Context) error, stderr io.Writer) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	cancelOnSignal(cancel)

	name := filepath.Base(os.Args[0])
	err := run(ctx)
	if err != nil {
		cancel(err)
		fmt.Fprintf(stderr, "%s: %v\n", name, err)
	}
	if lost := Finish(context.Background()); lost != nil && ctx.Err() == nil {
		fmt.Fprintf(stderr, "%s: %v\n", name, lost)
	}
	if err != nil {
		return exitError
	}
	return 0
}

// cancelOnSignal calls cancel on the first SIGINT or SIGTERM, after it has given both their usual effect back.
func cancelOnSignal(cancel context.CancelCauseFunc) {
	signals := []os.Signal{syscall.SIGTERM}
	if !signal.Ignored(os.Interrupt) {
		signals = append(signals, os.Interrupt)
	}
	arrived := make(chan os.Signal, len(signals))
	signal.Notify(arrived, signals...)
	go func() {
		first := <-arrived
		signal.Stop(arrived)
		select {
		case sig := <-arrived: // came with the first
			signalSelf(sig)
		default:
		}
		cancel(fmt.Errorf("process: signal %v", first))
	}()
}

// Init is for programs that keep their own main, and for TestMain: first statement, it does not return in a
// child. Such a program calls Finish before it ends. Calling Init again does nothing.
func Init() {
	if !begin() {
		return
	}
	seal()
	inherit.SetAsk(search)
	adoptGiven()
	text, ok := os.LookupEnv(markerName)
	if !ok {
		return
	}
	os.Unsetenv(markerName) // else a program that this one starts would take itself for a child
	become(text)
}

// errFinished is the cause of the end of a daemon's context.
var errFinished = errors.New("process: the program has finished")

// Finish joins the children that still run, those included that are started meanwhile, and then ends the
// daemons among them (see Options.Daemon). It returns the failure of the first of the others that failed, or
// ctx's error if some still run when it ends.
func Finish(ctx context.Context) error {
	f := new(failure)
	family.Lock()
	family.watching = append(family.watching, f)
	family.Unlock()
	defer func() {
		family.Lock()
		defer family.Unlock()
		family.watching = slices.DeleteFunc(family.watching, func(g *failure) bool { return g == f })
	}()
	for {
		children := Children()
		if len(children) == 0 {
			family.Lock()
			defer family.Unlock()
			return f.err
		}
		// Daemons serve others, and so are ended last.
		if others := slices.DeleteFunc(slices.Clone(children), (*Process).Daemon); len(others) > 0 {
			children = others
		} else {
			for _, p := range children {
				p.stop(errFinished)
			}
		}
		for _, p := range children {
			select {
			case <-p.done: // not Join: its owner may Close it meanwhile
			case <-ctx.Done():
				if len(Children()) > 0 {
					return ctx.Err()
				}
			}
		}
	}
}
