// barrier measures a barrier of glibc between processes: barrier.pass with c.
//
//	gcc -O2 -pthread -o barrier barrier.c
#include "peer.h"

struct meeting {
	pthread_barrier_t barrier;
	alignas(LINE) uint64_t passes[2]; // of each side
};

INLINE void pass(void *arg, uint64_t i) {
	struct meeting *m = arg;
	m->passes[side] = i + 1;
	int e = pthread_barrier_wait(&m->barrier);
	if (e != 0 && e != PTHREAD_BARRIER_SERIAL_THREAD)
		errx(1, "pthread_barrier_wait: %s", strerror(e));
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (!row("barrier.pass", "c", 2))
		return usage("barrier.pass c\n");
	struct meeting *m = shared(sizeof *m);
	pthread_barrierattr_t a;
	int e = pthread_barrierattr_init(&a);
	if (e == 0)
		e = pthread_barrierattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (e == 0)
		e = pthread_barrier_init(&m->barrier, &a, 2);
	if (e != 0)
		errx(1, "pthread_barrier_init: %s", strerror(e));
	split();
	meet();
	run(pass, m, AFTER);
	join();
	if (m->passes[0] != m->passes[1])
		errx(1, "the sides passed %" PRIu64 " and %" PRIu64 " times", m->passes[0], m->passes[1]);
	report(took(0), NULL);
	return 0;
}
