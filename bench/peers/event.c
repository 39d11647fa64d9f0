// event measures events on raw futexes between processes: event.wake with c.
//
//	gcc -O2 -pthread -o event event.c
#include "peer.h"

// The bits of an event's word; those above count how often it was set.
enum { SET = 1, SLEEPS = 2, COUNT = 4 };

struct event {
	alignas(LINE) uint32_t word;
	alignas(LINE) uint64_t number; // of the turn
};

INLINE uint32_t load(struct event *e) { return __atomic_load_n(&e->word, __ATOMIC_ACQUIRE); }

INLINE bool change(struct event *e, uint32_t from, uint32_t to) {
	return __atomic_compare_exchange_n(&e->word, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

INLINE void set(struct event *e) {
	for (;;) {
		uint32_t w = load(e);
		if (w & SET)
			return;
		if (!change(e, w, ((w & ~(uint32_t)SLEEPS) | SET) + COUNT))
			continue;
		if (w & SLEEPS)
			futex_wake(&e->word, INT32_MAX);
		return;
	}
}

INLINE void clear(struct event *e) {
	uint32_t w;
	while ((w = load(e)) & SET)
		if (change(e, w, w & ~(uint32_t)SET))
			return;
}

INLINE void await(struct event *e) {
	uint32_t w = load(e), noted = w / COUNT;
	for (; !(w & SET) && w / COUNT == noted; w = load(e)) {
		if (!(w & SLEEPS) && !change(e, w, w | SLEEPS))
			continue;
		futex_wait(&e->word, w | SLEEPS);
	}
}

INLINE void go_on(struct event *e, uint64_t i) {
	e->number = i + 1;
	set(e);
}

INLINE void turn(struct event *e, uint64_t i) {
	await(e);
	if (e->number != i + 1)
		errx(1, "turn %" PRIu64 " comes after %" PRIu64, e->number, i);
	clear(e);
}

INLINE void ask(void *arg, uint64_t i) {
	struct event *e = arg;
	go_on(&e[0], i);
	turn(&e[1], i);
}

INLINE void answer(void *arg, uint64_t i) {
	struct event *e = arg;
	turn(&e[0], i);
	go_on(&e[1], i);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (!row("event.wake", "c", 2))
		return usage("event.wake c\n");
	struct event *e = shared(2 * sizeof *e);
	split();
	meet();
	if (side == 0)
		run(ask, e, AFTER);
	else
		run(answer, e, AFTER);
	join();
	uint64_t all = job.warm + job.n + job.timed;
	for (int i = 0; i < 2; i++)
		if (load(&e[i]) != (uint32_t)all * COUNT)
			errx(1, "an event was set %" PRIu32 " times and is %#" PRIx32, load(&e[i]) / COUNT, load(&e[i]));
	report(took(0), NULL);
	return 0;
}
