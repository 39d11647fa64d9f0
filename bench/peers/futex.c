// futex measures the machine: cacheline.pingpong and lock.try with limit, two processes that spin, and futex.pingpong
// with c, two that sleep.
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

INLINE void wake(struct lines *l) { futex_wake(&l->word[1 - side].is, 1); }

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

// What lock.try compares with a try is a load of a line that another core has just written. The lines are visited in an
// order in which no prefetcher guesses the next one, and each tells which comes after it, so that no two are on
// their way at once; and each visit is counted by a locked instruction, as the tries of a lock are.
enum { LINES = 200, STEP = 77 };

struct chain {
	struct {
		alignas(LINE) _Atomic uint32_t next;
	} line[LINES];
	struct lines turns;
};

static void read_written(void) {
	struct chain *c = shared(sizeof *c);
	static alignas(LINE) _Atomic uint64_t visits;
	uint64_t warm = job.warm / LINES + 1, rounds = (job.n + LINES - 1) / LINES, sum = 0;
	split();
	meet();
	begin();
	for (uint64_t i = 0; i < warm + rounds; i++) {
		if (side == 1) {
			for (uint32_t at = 0; at < LINES; at++)
				atomic_store_explicit(&c->line[at].next, (at + STEP) % LINES + (uint32_t)i, memory_order_release);
			atomic_thread_fence(memory_order_seq_cst); // all are written, not only about to be
			say(&c->turns, i);
			spin(&c->turns, i);
			continue;
		}
		spin(&c->turns, i);
		uint64_t from = now();
		uint32_t at = 0;
		for (int k = 0; k < LINES; k++) {
			at = atomic_load_explicit(&c->line[at].next, memory_order_acquire) - (uint32_t)i;
			atomic_fetch_add(&visits, 1);
		}
		if (i >= warm)
			sum += now() - from;
		if (at != 0)
			errx(1, "round %" PRIu64 " ends at line %" PRIu32, i, at);
		say(&c->turns, i);
	}
	finish();
	join();
	if (visits != (warm + rounds) * LINES)
		errx(1, "%" PRIu64 " visits", visits);
	report((double)sum / (double)(rounds * LINES), NULL);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (row("cacheline.pingpong", "limit", 2))
		pingpong(ask_spinning, answer_spinning);
	else if (row("lock.try", "limit", 2))
		read_written();
	else if (row("futex.pingpong", "c", 2))
		pingpong(ask_asleep, answer_asleep);
	else
		return usage("cacheline.pingpong limit\nlock.try limit\nfutex.pingpong c\n");
	return 0;
}
