// Package process runs registered functions in new processes of the same program.
//
// A child is the same executable started again: package variables are initialised and init functions run in
// it, then Init or Main takes over and main's own code is never reached. It sees its parent's command line
// and environment, and of its descriptors only the standard streams, Options.Files, and what its arguments
// need (and what the program's own starter left open for all to inherit, as with os/exec).
//
// # How a child ends
//
//	the function returns nil           exit code 0, once the child's own children have ended
//	it returns an error                exit code 1, the error is Join's; the child's own children end first
//	it panics                          exit code 2, the panic is printed as Go does, and is Join's error
//	it calls os.Exit(n)                exit code n
//	signal n                           exit code -n
//	its parent ends before it does     at once, wherever its function is, exit code 129 (as for a hang-up); if it is stopped, when it goes on
//	it was not started by Start        exit code 2, with a message: SHOAL_CHILD is set to what cannot be used
//
// A parent that ends without joining its children thus takes them with it; Main, or Finish, joins them.
//
// SIGINT, which Ctrl-C sends to parent and children alike, ends the child's context. SIGTERM and SIGKILL end the
// child as they end any Go program: no deferred call runs. What waits must therefore look at the context.
//
// # Segments
//
// A child has the segments of the objects in its argument from its first instruction. Objects of other segments may reach
// it, or its parent, by other ways (a handle in shared memory): then parent and children ask each other, up and down the
// whole tree of processes of this program, on the control sockets. Any process that has the segment answers, whatever its
// function does at that time. One that is stopped does not, and cannot be told from one that is slow: who asks goes on to
// others, and gives up after 5 seconds.
//
// Linux alone is supported; elsewhere Start returns errors.ErrUnsupported, and Main runs programs that start
// nothing.
package process
