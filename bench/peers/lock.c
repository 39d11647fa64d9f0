// lock measures mutexes of glibc between processes: lock.uncontended, lock.contended, lock.contended.8, lock.handoff
// and lock.handoff.8 with c and c-robust, and lock.recover with c-robust.
//
//	gcc -O2 -pthread -o lock lock.c
#include "peer.h"

struct lock {
	pthread_mutex_t mutex;
};

INLINE void take(struct lock *l) { lock_mutex(&l->mutex); }
INLINE void give(struct lock *l) { unlock_mutex(&l->mutex); }

#include "lock.h"

static struct guarded *new_guarded(void) {
	struct guarded *g = shared(sizeof *g);
	new_mutex(&g->lock.mutex, strcmp(job.impl, "c-robust") == 0);
	return g;
}

enum { HOLD = 10000 }; // ns

// hand_over takes the lock until it has been taken so many times, and returns how often this side did. Each time it
// holds it for so long that who wants it is asleep when it is free, and when it has given it back it does not come again
// before another side has had it: it looks at the number of turns, and gives its CPU up meanwhile.
static uint64_t hand_over(struct guarded *g, uint64_t *turn, uint64_t to) {
	for (uint64_t counted = 0;; counted++) {
		take(&g->lock);
		uint64_t mine = __atomic_add_fetch(turn, 1, __ATOMIC_RELAXED);
		if (mine > to) {
			give(&g->lock);
			return counted;
		}
		uint64_t before = g->counter, from = now();
		while (now() - from < HOLD)
			;
		g->counter = before + 1;
		give(&g->lock);
		while (mine < to && __atomic_load_n(turn, __ATOMIC_RELAXED) == mine)
			sched_yield();
	}
}

static void handoff(struct guarded *g, int processes) {
	if (processes == 2)
		split();
	else
		split_into(processes);
	meet();
	hand_over(g, &g->turn[0], job.warm);
	meet();
	begin();
	g->counted[side] = hand_over(g, &g->turn[1], job.n);
	finish();
	finish_counting(g);
}

enum { MUTEXES = 1000 }; // of one owner; the kernel stops at 2,048

// orphan has a new process take n mutexes and be killed.
static void orphan(pthread_mutex_t *m, uint64_t n) {
	pid_t self = getpid(), owner = fork();
	if (owner < 0)
		err(1, "fork");
	if (owner == 0) {
		guard(self);
		bind_to(job.cpu[1]);
		board->cpu[1][0] = sched_getcpu();
		for (uint64_t i = 0; i < n; i++)
			lock_mutex(&m[i]);
		board->cpu[1][1] = sched_getcpu();
		raise(SIGKILL);
	}
	int status = reap(owner);
	if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		errx(1, "the owner of the mutexes ended with status %#x", status);
}

// inherit takes a mutex whose owner was killed, and gives it back in order.
INLINE void inherit(pthread_mutex_t *m) {
	int e = pthread_mutex_lock(m);
	if (e != EOWNERDEAD)
		errx(1, "pthread_mutex_lock: %s, want that the owner died", strerror(e));
	e = pthread_mutex_consistent(m);
	if (e != 0)
		errx(1, "pthread_mutex_consistent: %s", strerror(e));
	unlock_mutex(m);
}

// recover inherits n times and returns how long that took without the making of orphans.
static uint64_t recover(pthread_mutex_t *m, uint64_t n, bool timed) {
	uint64_t sum = 0;
	while (n > 0) {
		uint64_t batch = n < MUTEXES ? n : MUTEXES;
		n -= batch;
		orphan(m, batch);
		uint64_t start = now();
		for (uint64_t i = 0; i < batch; i++) {
			uint64_t from = timed ? now() : 0;
			inherit(&m[i]);
			if (timed)
				record(now() - from);
		}
		sum += now() - start;
	}
	return sum;
}

static void recovery(void) {
	pthread_mutex_t *m = shared(MUTEXES * sizeof *m);
	for (int i = 0; i < MUTEXES; i++)
		new_mutex(&m[i], true);
	recover(m, job.warm, false);
	begin();
	uint64_t sum = recover(m, job.n, false);
	finish();
	recover(m, job.timed, true);
	report((double)sum / (double)job.n, NULL);
}

// either reports whether this row is asked for, with either of the mutexes.
static bool either(const char *name, int processes) {
	return row(name, "c", processes) || row(name, "c-robust", processes);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (either("lock.uncontended", 2))
		uncontended(new_guarded());
	else if (either("lock.contended", 2))
		contended(new_guarded(), 2);
	else if (either("lock.contended.8", 8))
		contended(new_guarded(), 8);
	else if (either("lock.handoff", 2))
		handoff(new_guarded(), 2);
	else if (either("lock.handoff.8", 8))
		handoff(new_guarded(), 8);
	else if (row("lock.recover", "c-robust", 2))
		recovery();
	else
		return usage("lock.uncontended c|c-robust\nlock.contended c|c-robust\nlock.contended.8 c|c-robust\n"
		             "lock.handoff c|c-robust\nlock.handoff.8 c|c-robust\nlock.recover c-robust\n");
	return 0;
}
