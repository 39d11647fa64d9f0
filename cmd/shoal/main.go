// Shoal is the command line of the Shoal library.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/shoal-ipc/shoal/process"
)

// Exit codes.
const (
	exitFailure     = 1
	exitUsage       = 2
	exitInterrupted = 130 // as shells say of SIGINT; here of SIGTERM too
)

func main() {
	process.Main(func(ctx context.Context) error {
		if code := run(ctx, os.Args[1:]); code != 0 {
			os.Exit(code) // whatever was started has ended
		}
		return nil
	})
}

// run executes the command line and returns the exit code.
func run(ctx context.Context, args []string) int {
	began := false // the command itself: what fails before is a matter of usage
	root := &cobra.Command{
		Use:               "shoal",
		Short:             "Shared-memory IPC for Go: a demonstration, and measurements",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { began = true },
		Args:              cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return c.Help()
		},
	}
	root.AddCommand(demoCommand(), benchCommand())
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)

	var exit *process.ExitError
	var usage usageError
	switch {
	case err == nil:
		return 0
	case ctx.Err() != nil, errors.As(err, &exit) && exit.Signal == syscall.SIGINT:
		// Ctrl-C reaches the workers too, and one that has only just been started dies of it.
		fmt.Fprintln(os.Stderr, "shoal: interrupted")
		return exitInterrupted
	case !began, errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "shoal: %v\nTry: shoal help\n", err)
		return exitUsage
	default:
		fmt.Fprintf(os.Stderr, "shoal: %v\n", err)
		return exitFailure
	}
}

// usageError is a mistake in the command line that cobra does not find.
type usageError struct{ error }
