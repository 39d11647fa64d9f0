// peer.h is what the programs in C and C++ have in common: how they are called, how one process becomes two or
// more that are bound to CPUs, how they measure, and what they print.
//
//	PROGRAM ROW IMPL N CPUS        for example: lock lock.contended c-robust 5000000 0,1
//
// N is the number of operations in the measured part. CPUS has one CPU for each process, the measured one
// first; if it has fewer, the others run on the last. Where there are more than two, all run on any of CPUS. About N/20 operations go before as a warm-up. The
// answer is one line of JSON on standard output:
//
//	{"ns": 12.345, "cpus": [[0,0],[1,1]], "shares": [0.49,0.51], "latency": [[64,10],[66,2]]}
//
// ns is the mean of an operation; cpus are where each process was at the beginning and at the end of its
// measured part; shares are the parts that its processes had in what they did together; latency is a
// histogram of operations that were timed one by one: the middle of a class, which is at most 1/64 wide, and
// how many fell into it. The exit code is 0, or 1 if anything was wrong, which standard error then tells,
// or 2 for a row that the program does not have. No process is left in any case.
#ifndef PEER_H
#define PEER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

// What is in a measured loop must be compiled into it: calls through pointers would be measured too.
#define INLINE static inline __attribute__((always_inline))

// Words that different processes write are two cache lines apart, as the prefetcher fetches lines in pairs.
#define LINE 128

enum { SIDES = 8 }; // at most

static struct {
	const char *row, *impl;
	uint64_t n, warm, timed; // operations: measured, before that, and timed one by one after that
	int cpus;                // how many there are in CPUS
	cpu_set_t set;           // all of them
	int cpu[2];              // of the sides, when there are two
} job;

static int side;             // 0 in the process that was started and prints, from 1 on in those that it forked
static int sides = 1;        // how many there are
static pid_t others[SIDES];  // in side 0: the other sides, 0 once they have been waited for

// board is what the sides tell each other. Nothing on it is touched in the measured part.
static struct board {
	uint32_t met;
	int cpu[SIDES][2];
	uint64_t start[SIDES], end[SIDES];
} *board;

static inline uint64_t now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

// shared gives zeroed memory that a forked process shares.
static inline void *shared(size_t size) {
	void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

static inline void bind_to(int cpu) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		err(1, "sched_setaffinity");
}

// start reads the arguments and binds the process. What it cannot read is no row.
static inline void start(int argc, char **argv) {
	job.row = job.impl = "";
	if (argc != 5)
		return;
	job.n = strtoull(argv[3], NULL, 10);
	job.warm = job.n / 20;
	job.timed = job.n / 10 < 100 ? 100 : job.n / 10 > 200000 ? 200000 : job.n / 10;
	char *at = argv[4];
	for (bool more = true; more; at++) {
		char *from = at;
		long cpu = strtol(from, &at, 10);
		more = *at == ',';
		if (at == from || cpu < 0 || cpu >= CPU_SETSIZE || (!more && *at != 0) || job.n == 0)
			return;
		CPU_SET(cpu, &job.set);
		if (job.cpus++ == 0)
			job.cpu[0] = (int)cpu;
		if (job.cpus <= 2)
			job.cpu[1] = (int)cpu;
	}
	job.row = argv[1];
	job.impl = argv[2];
	bind_to(job.cpu[0]);
	board = (struct board *)shared(sizeof *board);
}

// row reports whether this row is asked for. It has so many processes.
static inline bool row(const char *name, const char *impl, int processes) {
	return strcmp(job.row, name) == 0 && strcmp(job.impl, impl) == 0 && job.cpus <= processes;
}

// usage is for who asked for no row of the program.
static inline int usage(const char *rows) {
	fprintf(stderr, "usage: PROGRAM ROW IMPL N CPUS, where ROW and IMPL are\n%s", rows);
	return 2;
}

// reap waits for a process and returns its status.
static inline int reap(pid_t pid) {
	int status;
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	return status;
}

// abandon ends the other sides when side 0 exits before join.
static inline void abandon(void) {
	signal(SIGCHLD, SIG_DFL); // this end is expected
	for (int i = 1; i < sides; i++)
		if (others[i] != 0)
			kill(others[i], SIGKILL);
	for (int i = 1; i < sides; i++)
		if (others[i] != 0)
			waitpid(others[i], NULL, 0);
}

// ended is called in side 0 when another side has ended. If that is too early, side 0 would wait for it for ever.
static inline void ended(int sig) {
	(void)sig;
	static const char message[] = "another process failed\n";
	int before = errno; // of what this interrupts
	bool failed = false;
	for (int i = 1; i < sides; i++) {
		siginfo_t info;
		info.si_pid = 0;
		if (others[i] != 0 && waitid(P_PID, (id_t)others[i], &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0)
			failed = failed || info.si_code != CLD_EXITED || info.si_status != 0;
	}
	errno = before;
	if (!failed)
		return;
	ssize_t written = write(2, message, sizeof message - 1);
	(void)written; // there is nobody else to tell
	abandon();
	_exit(1);
}

// guard ends a forked process when the one that forked it, parent, ends.
static inline void guard(pid_t parent) {
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		err(1, "prctl");
	if (getppid() != parent)
		_exit(1);
}

// fork_sides forks the sides from 1 on. If one side fails, the others end.
static inline void fork_sides(int n) {
	struct sigaction action;
	memset(&action, 0, sizeof action);
	action.sa_handler = ended;
	action.sa_flags = SA_RESTART | SA_NOCLDSTOP;
	if (sigaction(SIGCHLD, &action, NULL) != 0)
		err(1, "sigaction");
	if (atexit(abandon) != 0)
		errx(1, "atexit");
	// A side that ends at once is seen all the same: ended looks at those that others has.
	sigset_t child, old;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &old);
	pid_t self = getpid();
	for (int i = 1; i < n; i++) {
		pid_t pid = fork();
		if (pid < 0)
			err(1, "fork");
		if (pid == 0) {
			guard(self);
			side = i;
			sides = n;
			memset(others, 0, sizeof others);
			break;
		}
		others[i] = pid;
		sides = i + 1;
	}
	sigprocmask(SIG_SETMASK, &old, NULL);
}

// split makes two sides, and binds the second to its CPU.
static inline void split(void) {
	fork_sides(2);
	if (side == 1)
		bind_to(job.cpu[1]);
}

// split_into makes so many sides, each of which may run on all CPUS.
static inline void split_into(int n) {
	if (sched_setaffinity(0, sizeof job.set, &job.set) != 0)
		err(1, "sched_setaffinity");
	fork_sides(n);
	job.cpus = n; // all report
}

// join ends the other sides; side 0 waits for that.
static inline void join(void) {
	if (side != 0)
		_exit(0);
	for (int i = 1; i < sides; i++) {
		int status = reap(others[i]);
		others[i] = 0;
		if (status != 0)
			errx(1, "another process ended with status %#x", status);
	}
}

static inline void futex_wait(void *word, uint32_t value) {
	if (syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0) != 0 && errno != EAGAIN && errno != EINTR)
		err(1, "futex");
}

static inline void futex_wake(void *word, int n) {
	if (syscall(SYS_futex, word, FUTEX_WAKE, n, NULL, NULL, 0) < 0)
		err(1, "futex");
}

// meet returns when the other sides have called it as often. It looks for some microseconds, so that two sides
// that come at the same time also leave at the same time, and then sleeps, so that it disturbs nobody.
static inline void meet(void) {
	static uint32_t mine;
	uint32_t want = (uint32_t)sides * ++mine, met = __atomic_add_fetch(&board->met, 1, __ATOMIC_ACQ_REL);
	if (met == want)
		futex_wake(&board->met, SIDES);
	for (int looks = 0; met < want; looks++) {
		if (looks > 10000)
			futex_wait(&board->met, met);
		met = __atomic_load_n(&board->met, __ATOMIC_ACQUIRE);
	}
}

// begin and finish stand around the measured part of a side.
static inline void begin(void) {
	board->cpu[side][0] = sched_getcpu();
	board->start[side] = now();
}

static inline void finish(void) {
	board->end[side] = now();
	board->cpu[side][1] = sched_getcpu();
}

// took is the mean of an operation in the measured part of a side.
static inline double took(int of) { return (double)(board->end[of] - board->start[of]) / (double)job.n; }

// A class of the histogram has its number in the upper part of the index and its 64 steps in the lower one.
static uint64_t histogram[58 * 64 + 64];

static inline void record(uint64_t ns) {
	int shift = 57 - __builtin_clzll(ns | 127);
	histogram[(uint64_t)shift * 64 + (ns >> shift)]++;
}

enum latency {
	NONE,
	AFTER,  // timed one by one in a second pass
	WITHIN, // in the measured pass: for operations beside which reading the clock is nothing
};

// run does op with the numbers from 0 on: the warm-up, the measured part, and what is timed one by one; by
// side 0 only, the other side must not be held up by it.
INLINE void run(void (*op)(void *arg, uint64_t i), void *arg, enum latency latency) {
	uint64_t i = 0, to = job.warm;
	for (; i < to; i++)
		op(arg, i);
	begin();
	for (to += job.n; i < to; i++) {
		uint64_t from = latency == WITHIN ? now() : 0;
		op(arg, i);
		if (latency == WITHIN)
			record(now() - from);
	}
	finish();
	if (latency != AFTER)
		return;
	for (to += job.timed; i < to; i++) {
		uint64_t from = side == 0 ? now() : 0;
		op(arg, i);
		if (side == 0)
			record(now() - from);
	}
}

// report prints the answer. shares may be NULL.
static inline void report(double ns, const double *shares) {
	printf("{\"ns\": %.3f, \"cpus\": [", ns);
	for (int i = 0; i < job.cpus; i++)
		printf("%s[%d,%d]", i == 0 ? "" : ",", board->cpu[i][0], board->cpu[i][1]);
	printf("]");
	for (int i = 0; shares != NULL && i < sides; i++)
		printf("%s%.6f", i == 0 ? ", \"shares\": [" : ",", shares[i]);
	if (shares != NULL)
		printf("]");
	static const char first[] = ", \"latency\": [";
	const char *between = first;
	for (int i = 0; i < (int)(sizeof histogram / sizeof *histogram); i++) {
		if (histogram[i] == 0)
			continue;
		int shift = i < 128 ? 0 : i / 64 - 1;
		uint64_t middle = ((uint64_t)(i - shift * 64) << shift) + (((1ull << shift) - 1) >> 1);
		printf("%s[%" PRIu64 ",%" PRIu64 "]", between, middle, histogram[i]);
		between = ",";
	}
	printf(between == first ? "}\n" : "]}\n");
}

// new_mutex_of is a mutex of a kind for several processes.
static inline void new_mutex_of(pthread_mutex_t *m, int kind, bool robust) {
	pthread_mutexattr_t a;
	int e = pthread_mutexattr_init(&a);
	if (e == 0)
		e = pthread_mutexattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (e == 0)
		e = pthread_mutexattr_settype(&a, kind);
	if (e == 0 && robust)
		e = pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	if (e == 0)
		e = pthread_mutex_init(m, &a);
	if (e != 0)
		errx(1, "pthread_mutex_init: %s", strerror(e));
}

static inline void new_mutex(pthread_mutex_t *m, bool robust) { new_mutex_of(m, PTHREAD_MUTEX_DEFAULT, robust); }

INLINE void lock_mutex(pthread_mutex_t *m) {
	int e = pthread_mutex_lock(m);
	if (e != 0)
		errx(1, "pthread_mutex_lock: %s", strerror(e));
}

INLINE void unlock_mutex(pthread_mutex_t *m) {
	int e = pthread_mutex_unlock(m);
	if (e != 0)
		errx(1, "pthread_mutex_unlock: %s", strerror(e));
}

#endif
