// Package process runs registered functions in new processes of the same program.
//
//	package main
//
//	import (
//		"context"
//		"fmt"
//
//		"github.com/shoal-ipc/shoal/process"
//	)
//
//	type Args struct {
//		From, To int
//	}
//
//	var count = process.Register("count", func(ctx context.Context, a Args) error {
//		for i := a.From; i < a.To && ctx.Err() == nil; i++ {
//			fmt.Println(process.Current().Name(), i)
//		}
//		return ctx.Err()
//	})
//
//	func main() { process.Main(run) }
//
//	func run(ctx context.Context) error {
//		return process.Run(ctx, count, Args{0, 5}, Args{5, 10}) // or Start and Join
//	}
//
// A child is the same executable started again: package variables are initialised and init functions run in it,
// then Init or Main takes over and main's own code is never reached. It sees its parent's command line and
// environment, and of its descriptors only the standard streams, Options.Files, and what its arguments need
// (and what the program's own starter left open for all to inherit, as with os/exec). What runs in it shares
// nothing with its parent but what the argument says: plain data is copied, and objects of packages shm, locks,
// value, array and so on, as pointers in exported fields, are the same object in both.
//
// # How a child ends
//
//	the function returns nil           exit code 0, once the child's own children have ended
//	it returns an error                exit code 1, the error is Join's; the child's own children end first
//	it panics                          exit code 2, the panic is printed as Go does, and is Join's error
//	it calls os.Exit(n)                exit code n
//	signal n                           exit code -n
//	its parent ends before it does     at once, wherever its function is, also if it is stopped: killed, or exit code 129
//	it was not started by Start        exit code 2, with a message: SHOAL_CHILD is set to what cannot be used
//
// A parent that ends without joining its children thus takes them with it; Main, or Finish, joins them, and
// then ends those that are daemons. (The kernel does not kill a child that has changed its user or gained
// privileges; such a child ends when it goes on. Children are started by one thread of their parent, whatever
// goroutine calls Start, and inherit what a thread has, its namespaces say, from that.)
//
// # Contexts
//
// The context that a function gets ends with that of Start: with its deadline, which the child knows from the
// beginning and keeps also while its parent is stopped, and with its cause. SIGINT, which Ctrl-C sends to
// parent and children alike, ends it, too. SIGTERM and SIGKILL end the child as they end any Go program: no
// deferred call runs. What waits must therefore look at the context, and what computes must now and then, by
// ctx.Err(): nothing else ends a function but the grace (Options.Grace), after which the child is killed.
//
// # Errors
//
// What a function returns, or panics with, is in the *ExitError that Join returns, as a *RemoteError: with its
// text, its type's name and the stack of a panic. errors.Is finds in it what it found before, if that is a
// sentinel of the standard library (as fs.ErrNotExist) or of this module, a syscall.Errno, or was named by
// RegisterError; errors.As finds a syscall.Errno, and what was named by RegisterErrorType: so a *fs.PathError,
// say, only if the program names that.
//
// # Processors
//
// A child has as many processors as any program: by the variable GOMAXPROCS, which it inherits or gets by
// Options.Env, else by what the system gives it. What runtime.GOMAXPROCS set in its parent is not inherited. A
// program with many children that compute does well to start each with GOMAXPROCS=1.
//
// # Segments
//
// A child has the segments of the objects in its argument from its first instruction. Objects of other segments
// may reach it, or its parent, by other ways (a handle in shared memory): then parent and children ask each
// other, up and down the whole tree of processes of this program, on the control sockets. Any process that has
// the segment answers, whatever its function does at that time. One that is stopped does not, and cannot be
// told from one that is slow: who asks goes on to others, and gives up after 5 seconds. Processes that Command
// started do not belong to the tree: they have what they were given.
//
// Linux alone is supported; elsewhere Start returns errors.ErrUnsupported, and Main runs programs that start
// nothing.
package process
