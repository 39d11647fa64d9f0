// rlock measures a recursive robust mutex of glibc: rlock.pair with c-robust.
//
//	gcc -O2 -pthread -o rlock rlock.c
#include "peer.h"

struct nested {
	pthread_mutex_t mutex;
	uint64_t depth; // what the mutex guards
};

// take_twice nests once.
INLINE void take_twice(void *arg, uint64_t i) {
	struct nested *n = arg;
	(void)i;
	lock_mutex(&n->mutex);
	n->depth++;
	lock_mutex(&n->mutex);
	n->depth++;
	unlock_mutex(&n->mutex);
	unlock_mutex(&n->mutex);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (!row("rlock.pair", "c-robust", 1))
		return usage("rlock.pair c-robust\n");
	struct nested *n = shared(sizeof *n);
	new_mutex_of(&n->mutex, PTHREAD_MUTEX_RECURSIVE, true);
	run(take_twice, n, NONE);
	if (n->depth != 2 * (job.warm + job.n))
		errx(1, "taken %" PRIu64 " times", n->depth);
	report(took(0), NULL);
	return 0;
}
