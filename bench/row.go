package bench

import (
	"fmt"
	"path"
	"slices"
)

// Mode says where the processes of a row run.
type Mode string

// The modes. In the first, one process is measured. In SameCPU two take turns on one CPU; in TwoCPUs each has
// one of its own. In AnyCPU processes run on either of two.
const (
	OneCPU  Mode = "one-cpu"
	SameCPU Mode = "same-cpu"
	TwoCPUs Mode = "two-cpus"
	AnyCPU  Mode = "any-cpu"
)

// cpus picks from the CPUs that this process may use those of the sides of a mode, nil if there are too few.
func (m Mode) cpus(allowed []int) []int {
	switch {
	case len(allowed) == 0:
		return nil
	case m == OneCPU:
		return allowed[:1]
	case m == SameCPU:
		return []int{allowed[0], allowed[0]}
	case len(allowed) < 2:
		return nil
	}
	return allowed[:2]
}

// The implementations. Those that are neither Go nor "limit" are peers; "limit" is what the machine can do,
// measured in C.
const (
	shoal   = "shoal"
	limit   = "limit"
	c       = "c"
	cRobust = "c-robust"
	boost   = "boost"
	python  = "python"
	// pythonSpawn is python whose processes start with an interpreter of their own, as all but forked ones do.
	pythonSpawn = "python-spawn"
	iceoryx     = "iceoryx"
	goChan      = "go-chan"
	goLock      = "go-mutex"
	osPipe      = "os-pipe"
	socket      = "unix-socket"
	pidfd       = "pidfd"
	// bareRing is a ring for many producers and consumers, in place of a queue.
	bareRing = "ring"
	// shoalP1 is what shoal does, in processes whose GOMAXPROCS is 1.
	shoalP1 = "shoal-p1"
	// lockOnly is what shoal does when a Lock is all it has.
	lockOnly = "lock"
	// direct is what shoal does when it is one goroutine that waits, and not many.
	direct = "direct"
)

// row is one line of the table: an operation, who does it, and where.
type row struct {
	name  string
	does  string // what one operation is
	procs int
	size  int // bytes that an operation moves, 0 if it moves none
	modes []Mode
	sides []string // implementations, shoal's first
	goals []goal
	most  int // operations of a turn, where more is work beside them; 0 means as many as take the time
	fixed int // operations of a turn, however long they take (a tenth for a quick look); 0 means as many as take the time
	times int // how many times as long as that of all rows a turn is; 0 means once
	turns int // of a repeat, 0 means as many as all rows have
	// repeats is how many there are, where they take long; 0 means as many as all rows have.
	repeats int
	// bound is how many processes are measured, each of which may run on any CPU of the mode; 0 means as many as the
	// mode says.
	bound int
	// memory is what the process that is killed has of its own, in bytes.
	memory int64
	fair   float64 // the least share of an equal part that the least served process is to get, 0 if nobody asks
	counts []most  // what is counted beside the time
	note   string  // what is worth knowing of a side
}

// goal is how many times as much as a peer Shoal may cost.
type goal struct {
	against string
	mode    Mode
	most    float64
}

// most is how much may be counted of something.
type most struct {
	name string
	most float64
}

// slower is how many times as much as Shoal its shoal-p1 may cost, in all rows that have it.
const slower = 10

// slept is how many times as long a turn is whose processes sleep: in the first tens of milliseconds the monitor of Go's
// runtime wakes every 20 us, more often than in all the rest of a program's life.
const slept = 4

// rows are all there are. A name never changes its meaning.
var rows = []row{
	{
		name: "cacheline.pingpong", does: "a word there and a word back between two spinning processes", procs: 2, size: 4,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, limit},
	}, {
		name: "futex.pingpong", does: "a wake there and a wake back; who waits sleeps at once", procs: 2, size: 4,
		modes: []Mode{SameCPU, TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, c, osPipe, socket, shoalP1},
		goals: []goal{{c, SameCPU, 1.6}, {c, TwoCPUs, 1.1}},
	}, {
		name: "lock.uncontended", does: "acquire and release; a second process has the lock open", procs: 1,
		modes: []Mode{OneCPU}, sides: []string{shoal, cRobust, c, boost, python, goLock, shoalP1},
		goals: []goal{{cRobust, OneCPU, 1.0}, {goLock, OneCPU, 1.25}},
	}, {
		name: "lock.contended", does: "acquire, add 1 to a plain number, release; two at once", procs: 2,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, cRobust, c, boost, python, goLock, shoalP1},
		goals: []goal{{cRobust, TwoCPUs, 1.0}}, fair: 0.75,
	}, {
		name: "lock.contended.8", does: "the same, eight at once on two CPUs", procs: 8, bound: 8,
		modes: []Mode{AnyCPU}, sides: []string{shoal, cRobust, c, shoalP1}, times: 8, turns: 3,
		goals: []goal{{cRobust, AnyCPU, 1.0}}, fair: 0.75, note: "turns are eight times as long, so that who has no CPU gets one",
	}, {
		name: "lock.handoff", does: "acquire a lock while the other process sleeps in that, hold it for 10 us, release, and wait until the other has it", procs: 2,
		modes: []Mode{TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, cRobust, c, shoalP1},
		goals: []goal{{cRobust, TwoCPUs, 1.0}}, fair: 0.75,
	}, {
		name: "lock.handoff.8", does: "the same with eight processes, of which six or seven sleep", procs: 8, bound: 8,
		modes: []Mode{AnyCPU}, sides: []string{shoal, cRobust, c, shoalP1}, times: 8, turns: 3,
		goals: []goal{{cRobust, AnyCPU, 1.0}}, fair: 0.75, note: "turns are eight times as long, so that who has no CPU gets one",
	}, {
		name: "lock.try", does: "try to acquire a lock that another process holds and has just written", procs: 2,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, limit, shoalP1},
		goals: []goal{{limit, TwoCPUs, 2.0}}, note: "limit loads a line that another core has just written",
	}, {
		name: "lock.recover", does: "acquire a lock whose owner was killed, repair nothing, release", procs: 2,
		modes: []Mode{OneCPU}, sides: []string{shoal, cRobust, shoalP1}, most: 2 * heldLocks,
	}, {
		name: "rlock.pair", does: "acquire a recursive lock, acquire it again, release and release", procs: 1,
		modes: []Mode{OneCPU}, sides: []string{shoal, cRobust, shoalP1}, goals: []goal{{cRobust, OneCPU, 1.0}},
	}, {
		name: "sem.uncontended", does: "take the permit of a semaphore and give it back; a second process has it open", procs: 1,
		modes: []Mode{OneCPU}, sides: []string{shoal, c, shoalP1}, goals: []goal{{c, OneCPU, 1.25}},
	}, {
		name: "sem.contended", does: "take a permit, add 1 to a plain number, give it back; two at once", procs: 2,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, c, shoalP1},
	}, {
		name: "sem.pingpong", does: "a permit there and a permit back; who waits sleeps at once", procs: 2,
		modes: []Mode{SameCPU, TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, c, shoalP1},
		goals: []goal{{c, SameCPU, 1.6}, {c, TwoCPUs, 1.1}},
	}, {
		name: "event.wake", does: "an event set there and one set back, each cleared by who waited for it, asleep", procs: 2,
		modes: []Mode{SameCPU, TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, c, shoalP1},
		goals: []goal{{c, SameCPU, 1.6}, {c, TwoCPUs, 1.1}}, note: "c is the same protocol on raw futexes",
	},
	{
		name: "cond.pingpong", does: "a turn there and a turn back by one condition; who waits sleeps", procs: 2,
		modes: []Mode{SameCPU, TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, c, shoalP1},
		goals: []goal{{c, SameCPU, 1.25}, {c, TwoCPUs, 1.1}},
	}, {
		name: "cond.broadcast", does: "from a notification of 25 goroutines in each of 4 processes until the last has run", procs: 4, bound: 4,
		modes: []Mode{AnyCPU}, times: slept, turns: 6, sides: []string{shoal, c, shoalP1},
		goals: []goal{{c, AnyCPU, 1.25}}, note: "c has threads",
	}, {
		name: "barrier.pass", does: "two processes pass a barrier", procs: 2,
		modes: []Mode{SameCPU, TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, c, shoalP1},
		goals: []goal{{c, SameCPU, 1.5}, {c, TwoCPUs, 0.2}}, note: "on two CPUs shoal looks for a moment before it sleeps; c always sleeps",
	}, {
		name: "rwlock.read", does: "acquire a reader-writer lock to read, and release", procs: 1,
		modes: []Mode{OneCPU}, sides: []string{shoal, c, shoalP1}, goals: []goal{{c, OneCPU, 1.0}},
	}, {
		name: "rwlock.write", does: "acquire it to write, and release", procs: 1,
		modes: []Mode{OneCPU}, sides: []string{shoal, c, shoalP1},
	}, {
		name: "rwlock.mixed", does: "add up 64 numbers under it, every 20th time add 1 to each; two at once", procs: 2,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, lockOnly, c, shoalP1}, goals: []goal{{lockOnly, TwoCPUs, 0.7}},
		note: "lock is a Lock for everything",
	},
	waiting("wait.threads", "a goroutine that waits, one of 10,000, for a lock that another process holds, from its release on", threadsMost),
	waiting("wait.threads.many", "the same for 10,000 locks", threadsMost),
	waiting("wait.cancel", "a wait that is given up, one of 10,000, for a lock that another process holds", threadsMost, nothingLeft...),
	waiting("wait.cancel.many", "the same for 10,000 locks", threadsMost, nothingLeft...),
	{
		name: "wait.grouped", does: "from the wake of a goroutine that waits among 1,000 others to its answer", procs: 2,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, direct, shoalP1}, most: 4,
		goals: []goal{{direct, TwoCPUs, 8}}, note: "direct is with no others",
	}, {
		name: "wait.idle", does: "a second in which 1,000 goroutines wait for 1,000 locks that two processes hold: the time on CPUs", procs: 3, bound: 3,
		modes: []Mode{AnyCPU}, sides: []string{shoal, shoalP1}, fixed: 10, turns: 1, repeats: 3, counts: []most{{busy, 2000}},
	}, {
		name: "spsc.stream", does: "a number from one spinning process to another through a ring of 1,024", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, c, boost, goChan, osPipe, socket, python},
		goals: []goal{{c, TwoCPUs, 1.5}},
		note:  "go-chan, os-pipe, unix-socket and python sleep; the last three make system calls for each number",
	}, {
		name: "spsc.batch", does: "the same in batches of 32", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, c, boost},
		goals: []goal{{c, TwoCPUs, 0.5}}, note: "c moves one number at a time",
	}, {
		name: "spsc.pingpong", does: "a number there and back between two spinning processes, through two rings", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, limit, c, boost, goChan, osPipe, socket, python},
		goals: []goal{{limit, TwoCPUs, 2.0}}, note: "limit is cacheline.pingpong's; go-chan, os-pipe, unix-socket and python sleep",
	}, {
		name: "spsc.sleepwake", does: "a number there and back through two rings; who waits sleeps at once", procs: 2, size: 8,
		modes: []Mode{SameCPU, TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, c, shoalP1},
		goals: []goal{{c, SameCPU, 1.6}, {c, TwoCPUs, 1.1}}, note: "c is futex.pingpong's",
	}, {
		name: "mpmc.stream", does: "a number from one process to another through a ring of 1,024 for any number of them", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, boost, goChan},
		goals: []goal{{boost, TwoCPUs, 0.25}, {goChan, TwoCPUs, 0.83}}, note: "boost is a message_queue, which sleeps, as go-chan does",
	}, {
		name: "mpmc.stream.4", does: "the same from two processes to two others, on two CPUs", procs: 4, size: 8, bound: 4,
		modes: []Mode{AnyCPU}, times: 4, turns: 5, sides: []string{shoal, boost},
		goals: []goal{{boost, AnyCPU, 0.25}}, note: "turns are four times as long, so that who has no CPU gets one",
	}, {
		name: "mpmc.stream.64B", does: "64 bytes from one process to another", procs: 2, size: 64,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, boost},
	}, {
		name: "mpmc.batch", does: "mpmc.stream in batches of 32", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, boost},
		goals: []goal{{boost, TwoCPUs, 0.1}}, note: "boost moves one number at a time",
	}, {
		name: "mpmc.batch.4", does: "mpmc.stream.4 in batches of 32", procs: 4, size: 8, bound: 4,
		modes: []Mode{AnyCPU}, times: 4, turns: 5, sides: []string{shoal, boost},
		goals: []goal{{boost, AnyCPU, 0.1}}, note: "boost moves one number at a time",
	},
	bytesOf("64B", 64), bytesOf("1K", 1<<10), bytesOf("64K", 64<<10, goal{c, TwoCPUs, 2.0}),
	{
		name: "broadcast.stream", does: "a number from one process to another through a ring of 1,024 that many could read", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, c}, note: "c is spsc.stream's ring",
	}, {
		name: "zerocopy.pingpong", does: "1 MiB written and read, there and back", procs: 2, size: 1 << 20,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, osPipe, socket, iceoryx},
		goals: []goal{{osPipe, TwoCPUs, 0.33}, {socket, TwoCPUs, 0.33}},
	}, {
		name: "zerocopy.loan", does: "1 MiB passed on untouched, there and back", procs: 2, size: 1 << 20,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, osPipe, socket, iceoryx},
		goals: []goal{{osPipe, TwoCPUs, 0.01}, {socket, TwoCPUs, 0.01}}, note: "os-pipe and unix-socket copy it",
	}, {
		name: "queue.stream", does: "a number from one process to another through a queue of 1,024; who finds it full or empty tries again", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, bareRing, python},
		goals: []goal{{bareRing, TwoCPUs, 1.3}, {python, TwoCPUs, 1. / 30}}, note: "ring is mpmc.stream's; " + noBound + "; " + fasterFIFO,
	}, {
		name: "queue.putget", does: "the same by Put and Get; who finds it full or empty waits", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, goChan, python, shoalP1},
		goals: []goal{{python, TwoCPUs, 1. / 30}}, note: noBound,
	}, {
		name: "queue.batch", does: "the same by PutMany and GetMany, 32 at once", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, python, shoalP1},
		goals: []goal{{python, TwoCPUs, 1. / 100}}, note: "python moves one number at a time; " + fasterFIFO,
	}, {
		name: "queue.stream.struct", does: "a struct of six fields, two of them a string and a slice, by Put and Get", procs: 2,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, goChan, python, shoalP1},
		goals: []goal{{python, TwoCPUs, 0.1}}, note: "go-chan copies no string and no slice; " + noBound,
	}, {
		name: "queue.pingpong", does: "a number there and back between two spinning processes, through two queues", procs: 2, size: 8,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, limit, python},
		goals: []goal{{limit, TwoCPUs, 6}}, note: "limit is cacheline.pingpong's; python sleeps",
	}, {
		name: "queue.sleepwake", does: "a number there and back by Put and Get; who waits sleeps", procs: 2, size: 8,
		modes: []Mode{SameCPU, TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, c, python, shoalP1},
		goals: []goal{{c, SameCPU, 1.7}}, note: "c is futex.pingpong's",
	}, {
		name: "queue.big", does: "8 MiB of floating-point numbers by Put and Get, of which a number of each line is read", procs: 2, size: 8 * floats,
		modes: []Mode{TwoCPUs}, times: slept, turns: 6, sides: []string{shoal, c, python},
		goals: []goal{{c, TwoCPUs, 3}, {python, TwoCPUs, 0.2}}, note: "c is memcpy, once, by one process, and reads as much; python's is an array of numpy",
	}, {
		name: "codec.struct", does: "encode a struct of six fields, as queues do, and decode it", procs: 1,
		modes: []Mode{OneCPU}, sides: []string{shoal, python}, note: "python pickles a tuple",
	}, {
		name: "codec.floats", does: "encode 8 MiB of floating-point numbers, decode them, and read a number of each line", procs: 1, size: 8 * floats,
		modes: []Mode{OneCPU}, times: slept, turns: 6, sides: []string{shoal, c, python}, note: "c is memcpy there and back; python pickles an array of numpy",
	}, {
		name: "value.add", does: "add 1 to a shared integer", procs: 1, size: 8,
		modes: []Mode{OneCPU}, sides: []string{shoal, c, python},
	}, {
		name: "value.update", does: "add 1 to each of six shared integers, together", procs: 1, size: 48,
		modes: []Mode{OneCPU}, sides: []string{shoal, cRobust, python},
		note: "only shoal leaves them whole when it is killed in between",
	}, {
		name: "process.startjoin", does: "start a process with a lock in its argument, which it takes and releases, and join it", procs: 2,
		modes: []Mode{AnyCPU}, sides: []string{shoal, c, python, pythonSpawn},
		goals: []goal{{python, AnyCPU, 0.8}, {pythonSpawn, AnyCPU, 0.1}}, note: "c and python fork; shoal starts an executable, as Go must",
	}, {
		name: "pool.start", does: "start a pool of two workers, and map a function over one number", procs: 3,
		modes: []Mode{AnyCPU}, sides: []string{shoal, python}, most: 4, turns: 5,
		goals: []goal{{python, AnyCPU, 0.8}}, note: "python's are forked",
	}, {
		name: "pool.apply", does: "a number there and one more than that back, by Apply; two workers, as in all that follow", procs: 3, size: 8,
		modes: []Mode{AnyCPU}, times: slept, turns: 6, sides: []string{shoal, goChan, python, shoalP1},
		goals: []goal{{python, AnyCPU, 0.1}}, note: inOneProcess,
	},
	mapOf("pool.map1", "map over 100,000 numbers, in chunks of one: for each", 1./15),
	mapOf("pool.map1.struct", "the same over structs of six fields, two of them a string and a slice", 0.1),
	mapOf("pool.imapunordered", "the numbers by ImapUnordered", 0.1),
	{
		name: "pool.mapbig", does: "map a sum over 64 arrays of 8 MiB: for each", procs: 3, size: 8 * floats, fixed: 64, turns: 1, repeats: 5,
		modes: []Mode{AnyCPU}, sides: []string{shoal, goChan, python},
		goals: []goal{{python, AnyCPU, 0.2}}, note: inOneProcess + ", who copy nothing; python's are arrays of numpy",
	}, {
		name: "pool.mapbig.back", does: "the same with a function that returns an array of that size", procs: 3, size: 8 * floats, fixed: 64, turns: 1, repeats: 5,
		modes: []Mode{AnyCPU}, sides: []string{shoal, goChan, python},
		goals: []goal{{python, AnyCPU, 0.2}}, note: inOneProcess + ", who copy nothing; python's are arrays of numpy",
	}, {
		name: "pool.idle", does: "a second in which a pool of eight workers has nothing to do: the time on CPUs, of all", procs: 9,
		modes: []Mode{AnyCPU}, sides: []string{shoal}, fixed: 10, turns: 1, repeats: 3, counts: []most{{busy, 5000}},
	}, {
		name: "death.notice", does: "from the kill of a process to ErrOwnerDied for who sleeps on its lock; it has 64 MiB", procs: 3,
		modes: []Mode{AnyCPU}, sides: []string{shoal, pidfd}, most: 2, memory: 64 << 20, note: deathNote,
	},
	deathOf("0", 0), deathOf("256M", 256<<20), deathOf("1G", 1<<30), deathOf("4G", 4<<30),
	{
		name: "shm.create", does: "make, map, touch and close 1 MiB of shared memory", procs: 1,
		modes: []Mode{OneCPU}, sides: []string{shoal, c, boost, python},
		note: "shoal unmaps later, when garbage is collected: the median has that, p50 has not; c touches one page",
	}, {
		name: "alloc.pair", does: "allocate 64 bytes of a segment that another process has open, write 8, and deallocate", procs: 1, size: 64,
		modes: []Mode{OneCPU}, sides: []string{shoal, boost},
		goals: []goal{{boost, OneCPU, 1.0}}, note: "a process that is killed leaks with boost what it had allocated",
	}, {
		name: "object.pair", does: "make an object of 64 bytes without a name, free it and close its handle", procs: 1, size: 64,
		modes: []Mode{OneCPU}, sides: []string{shoal, boost},
		note: "boost's are anonymous instances, which it lists but whose users it does not know",
	},
}

// threadsMost and nothingLeft are what is counted where many goroutines wait.
var (
	threadsMost = most{threads, 128}
	nothingLeft = []most{{goroutinesLeft, 0}, {threadsLeft, 0}, {waitersLeft, 0}}
)

// waiting is a row of 10,000 goroutines.
func waiting(name, does string, first most, counts ...most) row {
	return row{
		name: name, does: does, procs: 2, bound: 2, modes: []Mode{AnyCPU}, sides: []string{shoal, shoalP1},
		fixed: 10_000, turns: 3, counts: append([]most{first}, counts...),
	}
}

// mapOf is a row of a pool and as many goroutines.
func mapOf(name, does string, most float64) row {
	return row{
		name: name, does: does, procs: 3, fixed: 100_000, turns: 3, modes: []Mode{AnyCPU}, sides: []string{shoal, goChan, python, shoalP1},
		goals: []goal{{python, AnyCPU, most}}, note: inOneProcess,
	}
}

// inOneProcess is what go-chan is beside a pool.
const inOneProcess = "go-chan is two goroutines beside the one that deals"

// What is worth knowing of Python's queue. The second is from the README of faster-fifo 1.5.2,
// https://github.com/alex-petrenko/faster-fifo, "Performance comparison", one producer and one consumer: 0.86 s and 2.54 s for
// 200,000 messages on ten cores, 2.09 s and 7.86 s on two; 0.92 s and 2.2 s with get_many.
const (
	noBound    = "python's queue has no bound, which is faster"
	fasterFIFO = "by its own README faster-fifo 1.5.2 (in C++, for Python) costs 0.27 to 0.34 of python, in batches 0.28 to 0.36"
)

// bytesOf is bytes.stream of records of that size.
func bytesOf(size string, bytes int, goals ...goal) row {
	return row{
		name: "bytes.stream." + size, does: "a record copied into a ring by one process, and a byte of each of its lines read there by another", procs: 2, size: bytes,
		modes: []Mode{TwoCPUs}, sides: []string{shoal, c}, goals: goals, note: "c is memcpy of as much, by one process",
	}
}

const deathNote = "pidfd is when the kernel says that it has ended, which is after it has torn down the memory"

// deathOf is death.notice of a process with another amount of memory, a few times.
func deathOf(size string, bytes int64) row {
	return row{
		name: "death.notice." + size, does: "the same, but it has " + size + " bytes", procs: 3,
		modes: []Mode{AnyCPU}, sides: []string{shoal, pidfd}, most: 1, turns: 1, memory: bytes, note: deathNote,
	}
}

// Names are the rows, in their order.
func Names() []string {
	var names []string
	for _, r := range rows {
		names = append(names, r.name)
	}
	return names
}

// chosen are the rows whose names match pattern, as path.Match does; "" matches all. No match is an error.
func chosen(pattern string) ([]row, error) {
	var rs []row
	for _, r := range rows {
		ok, err := path.Match(pattern, r.name)
		if err != nil {
			return nil, fmt.Errorf("bench: %q: %w", pattern, err)
		}
		if ok || pattern == "" {
			rs = append(rs, r)
		}
	}
	if rs == nil {
		return nil, fmt.Errorf("bench: no row is called %q; there are %q", pattern, Names())
	}
	return rs, nil
}

// isPeer reports whether an implementation is a program of the directory peers.
func isPeer(impl string) bool {
	return slices.Contains([]string{limit, c, cRobust, boost, python, pythonSpawn, iceoryx}, impl)
}
