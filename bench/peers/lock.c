// lock measures mutexes of glibc between processes: lock.uncontended and lock.contended with c and c-robust,
// and lock.recover with c-robust.
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

int main(int argc, char **argv) {
	start(argc, argv);
	if (row("lock.uncontended", "c", 2) || row("lock.uncontended", "c-robust", 2))
		uncontended(new_guarded());
	else if (row("lock.contended", "c", 2) || row("lock.contended", "c-robust", 2))
		contended(new_guarded());
	else if (row("lock.recover", "c-robust", 2))
		recovery();
	else
		return usage("lock.uncontended c|c-robust\nlock.contended c|c-robust\nlock.recover c-robust\n");
	return 0;
}
