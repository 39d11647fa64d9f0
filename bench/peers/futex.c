// futex measures the machine: cacheline.pingpong with limit, two processes that spin, and futex.pingpong with
// c, two that sleep.
//
//	gcc -O2 -pthread -o futex futex.c
#include "peer.h"
#include <stdatomic.h>

// lines are two words, each written by one side and waited for by the other. The numbers are all that is
// handed over, so no order is needed.
struct lines {
	struct {
		alignas(LINE) _Atomic uint32_t is;
	} word[2];
};

// say writes the word that the other side waits for.
INLINE void say(struct lines *l, uint64_t i) {
	atomic_store_explicit(&l->word[1 - side].is, (uint32_t)i + 1, memory_order_relaxed);
}

INLINE void spin(struct lines *l, uint64_t i) {
	while (atomic_load_explicit(&l->word[side].is, memory_order_relaxed) != (uint32_t)i + 1)
		;
}

INLINE void wake(struct lines *l) { futex_wake(&l->word[1 - side].is); }

INLINE void sleep_until(struct lines *l, uint64_t i) {
	uint32_t is;
	while ((is = atomic_load_explicit(&l->word[side].is, memory_order_relaxed)) != (uint32_t)i + 1)
		futex_wait(&l->word[side].is, is);
}

INLINE void ask_spinning(void *arg, uint64_t i) {
	say(arg, i);
	spin(arg, i);
}

INLINE void answer_spinning(void *arg, uint64_t i) {
	spin(arg, i);
	say(arg, i);
}

INLINE void ask_asleep(void *arg, uint64_t i) {
	say(arg, i);
	wake(arg);
	sleep_until(arg, i);
}

INLINE void answer_asleep(void *arg, uint64_t i) {
	sleep_until(arg, i);
	say(arg, i);
	wake(arg);
}

INLINE void pingpong(void (*ask)(void *, uint64_t), void (*answer)(void *, uint64_t)) {
	struct lines *l = shared(sizeof *l);
	split();
	meet();
	if (side == 0)
		run(ask, l, AFTER);
	else
		run(answer, l, AFTER);
	join();
	report(took(0), NULL);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (row("cacheline.pingpong", "limit", 2))
		pingpong(ask_spinning, answer_spinning);
	else if (row("futex.pingpong", "c", 2))
		pingpong(ask_asleep, answer_asleep);
	else
		return usage("cacheline.pingpong limit\nfutex.pingpong c\n");
	return 0;
}
