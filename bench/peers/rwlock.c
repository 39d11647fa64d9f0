// rwlock measures a reader-writer lock of glibc between processes: rwlock.read, rwlock.write and rwlock.mixed with c.
//
//	gcc -O2 -pthread -o rwlock rwlock.c
#include "peer.h"

enum { NUMBERS = 64, WRITES = 20 }; // what the lock guards; one of so many operations of rwlock.mixed writes

struct guarded {
	alignas(LINE) pthread_rwlock_t lock;
	alignas(LINE) uint64_t numbers[NUMBERS];
	alignas(LINE) uint64_t writes[2]; // of each side
};

static void check(int e, const char *what) {
	if (e != 0)
		errx(1, "pthread_rwlock_%s: %s", what, strerror(e));
}

INLINE void read_pair(void *arg, uint64_t i) {
	struct guarded *g = arg;
	(void)i;
	check(pthread_rwlock_rdlock(&g->lock), "rdlock");
	check(pthread_rwlock_unlock(&g->lock), "unlock");
}

INLINE void write_pair(void *arg, uint64_t i) {
	struct guarded *g = arg;
	(void)i;
	check(pthread_rwlock_wrlock(&g->lock), "wrlock");
	check(pthread_rwlock_unlock(&g->lock), "unlock");
}

// mixed adds up all numbers, which are the same, or adds 1 to all.
INLINE void mixed(void *arg, uint64_t i) {
	struct guarded *g = arg;
	if (i % WRITES == 0) {
		check(pthread_rwlock_wrlock(&g->lock), "wrlock");
		for (int k = 0; k < NUMBERS; k++)
			g->numbers[k]++;
		g->writes[side]++;
	} else {
		check(pthread_rwlock_rdlock(&g->lock), "rdlock");
		uint64_t sum = 0;
		for (int k = 0; k < NUMBERS; k++)
			sum += __atomic_load_n(&g->numbers[k], __ATOMIC_RELAXED); // each, as the other languages do
		if (sum != NUMBERS * g->numbers[0])
			errx(1, "a reader sees half of a write");
	}
	check(pthread_rwlock_unlock(&g->lock), "unlock");
}

int main(int argc, char **argv) {
	start(argc, argv);
	bool reads = row("rwlock.read", "c", 1), writes = row("rwlock.write", "c", 1), mix = row("rwlock.mixed", "c", 2);
	if (!reads && !writes && !mix)
		return usage("rwlock.read c\nrwlock.write c\nrwlock.mixed c\n");
	struct guarded *g = shared(sizeof *g);
	pthread_rwlockattr_t a;
	check(pthread_rwlockattr_init(&a), "attr_init");
	check(pthread_rwlockattr_setpshared(&a, PTHREAD_PROCESS_SHARED), "attr_setpshared");
	check(pthread_rwlock_init(&g->lock, &a), "init");
	if (reads)
		run(read_pair, g, NONE);
	else if (writes)
		run(write_pair, g, NONE);
	else {
		split();
		meet();
		run(mixed, g, NONE);
		join();
		if (g->writes[0] + g->writes[1] != g->numbers[0])
			errx(1, "written %" PRIu64 " times, found %" PRIu64, g->writes[0] + g->writes[1], g->numbers[0]);
	}
	report(took(0), NULL);
	return 0;
}
