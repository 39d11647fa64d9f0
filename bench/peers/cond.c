// cond measures condition variables of glibc between processes: cond.pingpong and cond.broadcast with c.
//
//	gcc -O2 -pthread -o cond cond.c
#include "peer.h"

enum { THREADS = 25, PROCESSES = 4, ALL = THREADS * PROCESSES }; // that wait in cond.broadcast

struct shared_cond {
	alignas(LINE) pthread_mutex_t mutex;
	alignas(LINE) pthread_cond_t cond;
	alignas(LINE) uint64_t turn; // what the mutex guards
	uint32_t waiting;
	alignas(LINE) uint32_t gathered; // rounds for which all wait
	alignas(LINE) uint32_t ran;      // waits that are over
	uint32_t rounds_ran;
	uint64_t took;
};

static struct shared_cond *new_cond(void) {
	struct shared_cond *s = shared(sizeof *s);
	new_mutex(&s->mutex, false);
	pthread_condattr_t a;
	int e = pthread_condattr_init(&a);
	if (e == 0)
		e = pthread_condattr_setpshared(&a, PTHREAD_PROCESS_SHARED);
	if (e == 0)
		e = pthread_cond_init(&s->cond, &a);
	if (e != 0)
		errx(1, "pthread_cond_init: %s", strerror(e));
	return s;
}

INLINE void await(struct shared_cond *s, uint64_t turn) {
	while (s->turn < turn) {
		int e = pthread_cond_wait(&s->cond, &s->mutex);
		if (e != 0)
			errx(1, "pthread_cond_wait: %s", strerror(e));
	}
}

INLINE void go_on(struct shared_cond *s) {
	s->turn++;
	pthread_cond_signal(&s->cond);
}

INLINE void ask(void *arg, uint64_t i) {
	struct shared_cond *s = arg;
	lock_mutex(&s->mutex);
	go_on(s);
	await(s, 2 * i + 2);
	unlock_mutex(&s->mutex);
}

INLINE void answer(void *arg, uint64_t i) {
	struct shared_cond *s = arg;
	lock_mutex(&s->mutex);
	await(s, 2 * i + 1);
	go_on(s);
	unlock_mutex(&s->mutex);
}

static void pingpong(void) {
	struct shared_cond *s = new_cond();
	split();
	meet();
	if (side == 0)
		run(ask, s, AFTER);
	else
		run(answer, s, AFTER);
	join();
	report(took(0), NULL);
}

// sleep_until sleeps until a counter is that.
static void sleep_until(uint32_t *counter, uint32_t want) {
	for (;;) {
		uint32_t now = __atomic_load_n(counter, __ATOMIC_ACQUIRE);
		if (now == want)
			return;
		futex_wait(counter, now);
	}
}

static void tell(uint32_t *counter) {
	__atomic_add_fetch(counter, 1, __ATOMIC_ACQ_REL);
	futex_wake(counter, 1);
}

static uint64_t rounds(void) { return job.warm + job.n; }

// waiter waits for each round, and the last to come and to go tell that.
static void *waiter(void *arg) {
	struct shared_cond *s = arg;
	for (uint64_t round = 0; round < rounds(); round++) {
		lock_mutex(&s->mutex);
		if (++s->waiting == ALL) {
			s->waiting = 0;
			tell(&s->gathered);
		}
		await(s, round + 1);
		unlock_mutex(&s->mutex);
		if (__atomic_add_fetch(&s->ran, 1, __ATOMIC_ACQ_REL) % ALL == 0)
			tell(&s->rounds_ran);
	}
	return NULL;
}

// broadcast measures from a broadcast to ALL until the last of them has run.
static void broadcast(void) {
	struct shared_cond *s = new_cond();
	split_into(PROCESSES);
	meet();
	begin();
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		if ((errno = pthread_create(&threads[i], NULL, waiter, s)) != 0)
			err(1, "pthread_create");
	for (uint64_t round = 0; side == 0 && round < rounds(); round++) {
		sleep_until(&s->gathered, (uint32_t)round + 1);
		uint64_t from = now();
		lock_mutex(&s->mutex);
		s->turn++;
		pthread_cond_broadcast(&s->cond);
		unlock_mutex(&s->mutex);
		sleep_until(&s->rounds_ran, (uint32_t)round + 1);
		if (round >= job.warm) {
			uint64_t ns = now() - from;
			s->took += ns;
			record(ns);
		}
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	finish();
	join();
	report((double)s->took / (double)job.n, NULL);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (row("cond.pingpong", "c", 2))
		pingpong();
	else if (row("cond.broadcast", "c", 2))
		broadcast();
	else
		return usage("cond.pingpong c\ncond.broadcast c\n");
	return 0;
}
