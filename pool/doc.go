// Package pool runs registered functions on a fixed number of worker processes.
//
//	var square = pool.Register("square", func(ctx context.Context, n int) (int, error) { return n * n, nil })
//
//	p, err := pool.New(ctx, 4)
//	...
//	defer p.Terminate()
//	squares, err := pool.Map(ctx, p, square, []int{1, 2, 3}) // [1 4 9]
//
// Workers are the program's executable started again: its main is process.Main, or begins with process.Init.
//
// Apply and ApplyAsync give one task; Map, MapAsync, Imap and ImapUnordered one for each item. Arguments and
// results cross as those of package process do; so shared objects in them arrive usable. They are copied once
// on each side.
//
// # How a task ends
//
//	it returns                        its result
//	it returns an error               *process.RemoteError, with what process.RegisterError and RegisterErrorType know
//	it panics, or ends its goroutine  *process.RemoteError, with the stack; the worker goes on
//	argument or result cannot be      the error of that; the worker goes on
//	encoded, or decoded
//	its worker dies                   *WorkerDiedError, or it is run again (Options.Retries); another worker is started. What
//	                                  that worker had not begun is done by others, results that it had written count
//	its context ends, or Cancel       that error, at once. If it has begun, its own context ends in the worker, with deadline and
//	                                  cause; it keeps the worker until it returns, and what it returns is dropped
//	the pool is terminated            ErrTerminated
//
// Every result completes once, whatever happens. With Retries a task may be begun more than once, without it
// never is.
//
// A worker whose task does not mind its context is not killed for that: Terminate kills. A worker that is
// stopped keeps the task that it has begun, and nothing else. Workers do not mind Ctrl-C, which reaches them
// with their parent; if that ends New's context the pool is terminated. They end with their parent in any case,
// and are daemons (process.Options.Daemon).
//
// # Where a task is
//
// The process that called New deals; nobody else puts tasks where workers find them, and workers share nothing
// but two words on which their parent sleeps. So there is no queue that a dying worker could hold, lock or take
// an item from. Each worker has a desk in a segment of the pool: a ring of slots, and the turn, a word of two
// positions.
//
//	slot p            taken ... done ... begun ... dealt
//	                  |  results |  at most  | tasks not |
//	                  |          |    one    |   begun   |
//
//	turn {begun b, dealt d}  to                  by
//	{b, d}                   {b, d+n}  (deal)    the parent, when n slots from d on hold tasks
//	{b, d}, b != d           {b+1, d}  (begin)   the worker: the task in slot b is its
//	{b, d}                   {b, e}    (recall)  the parent, b <= e < d: the tasks from e on are the parent's again
//
// All are compare-and-swaps of the 64 bits, and there is no state between: each task is the parent's, not
// begun, or begun. The worker does tasks in their order, writes each result over its task, and publishes done =
// b+1 with a release store; the parent takes the results up to done, and uses those slots again.
//
// One word for all, instead of one in each slot, costs the worker one compare-and-swap in a line that others
// seldom write, lets the parent recall any number by one more, and tells recovery all that it needs: after the
// death of a worker that stood at {b, d} with done c, the results before c count, the task b-1 has failed if c
// != b, and those from b on are dealt again.
//
//	the worker is killed or stopped    killed                           stopped
//	before it begins a task            it is dealt to another           it is recalled when somebody is idle
//	after that, before done            WorkerDiedError, or run again    its caller waits; everybody else goes on
//	between done and the wake          the result counts; taken when    taken at the parent's next look: at once if anything
//	                                   the death is noticed; but a      else comes, in a second at most
//	                                   large one that was swept up by
//	                                   then does not count
//	while it has memory for a result   swept up (package shm)           it keeps it
//
// If the parent is killed the workers end (package process), and the segment with them. If it is stopped
// workers do what they were dealt and sleep.
//
// How many tasks a worker is dealt ahead goes by how long those of the function took: for about a millisecond,
// so one at a time if they take longer, and at most 512. When a worker is idle and nothing is queued, it gets
// half of what another one has not begun and, seemingly, will not soon. Hence a task seldom waits behind a long
// one, and ChunkSize is a wish about which worker does what, and no unit of failure.
//
// # Sleeping
//
// A worker without tasks looks for some microseconds, if that was worth it before, and sleeps on a word of its
// own; the parent on two words. Any result wakes it from results; while tasks are short it first sleeps on
// hungry for a tenth of a millisecond, from which workers that have few tasks left wake it, so that a stream of
// short tasks does not wake it for each. See package internal/wait for why no wake is lost and what a kill
// costs.
//
// # Memory
//
// Arguments of more than 96 bytes lie in memory of the segment that the parent has (Segment.Allocate), and
// gives back when it has the result, or nobody has the task any more. Results of more than that the worker
// passes to the parent (Segment.Pass and Claim), which gives them back when they are decoded. If a worker dies
// after it has published such a result, and whoever sweeps up is faster than the parent, the task has failed;
// it completes once nevertheless. A Map has as many arguments there as keep each worker busy, or a sixteenth of
// the segment. Whoever gives a task waits while the arguments of all take half of the segment, since results
// need room too; a result for which there is none for two seconds is shm.ErrNoSpace.
//
// # Contexts
//
// All tasks of a Map have one context in each worker. It ends by a note, in a ring of eight notes beside the
// slots, which a goroutine of the worker reads, also while a task runs:
//
//	cancel  call, which error, cause   the context ends; if no task of the call has begun yet it begins with that
//	end     call                       the worker has no more tasks of the call, so its context is garbage
//
// # Layout
//
// The segment of a pool is private to the program that made it: parent and workers are the same executable, and
// its format may change with each version. Of a desk:
//
//	offset  size   field    written by                 ordering
//	0       128    tasks    a Word (internal/wait)     the worker sleeps, the parent wakes
//	128     128    notes    a Word                     the worker's listener sleeps, the parent wakes
//	256     8      turn     both                       CAS
//	384     8      done     worker                     release store; pairs with the parent's load
//	392     8      busy     worker                     before done
//	400     8      memory   worker                     any
//	408     4      state    worker                     1 once it is ready
//	512     4      low      parent                     before turn
//	516     4      stop     parent                     when all that was dealt has its result, and no more will be
//	640            ring     a ring.SPSC of 8 notes of 128 bytes
//	        65536  slots    512 of 128 bytes           parent before turn, worker before done
//
// Of a slot:
//
//	offset  size  field  of a task                          of a result
//	0       8     call   number of the call                 the same
//	8       8     time   deadline (CLOCK_MONOTONIC), or 0   nanoseconds that it took
//	16      4     fn     number of the function             the same
//	20      4     kind   bit 0: data says where it is;      bit 0; bit 2: it is an error
//	                     bit 1: the call's only task
//	24      8     size   of the argument                    of the result
//	32      96    data   itself, or offset and stamp of memory of the segment
//
// What the worker writes is checked: positions that cannot be true get it killed, and its tasks fail as if it
// had died.
package pool
