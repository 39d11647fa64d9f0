// sem measures semaphores of glibc between processes: sem.uncontended, sem.contended and sem.pingpong with c.
//
//	gcc -O2 -pthread -o sem sem.c
#include "peer.h"
#include <semaphore.h>

struct lock {
	sem_t sem;
};

static void new_sem(sem_t *s, unsigned permits) {
	if (sem_init(s, 1, permits) != 0)
		err(1, "sem_init");
}

INLINE void take(struct lock *l) {
	while (sem_wait(&l->sem) != 0)
		if (errno != EINTR)
			err(1, "sem_wait");
}

INLINE void give(struct lock *l) {
	if (sem_post(&l->sem) != 0)
		err(1, "sem_post");
}

#include "lock.h"

static struct guarded *new_guarded(void) {
	struct guarded *g = shared(sizeof *g);
	new_sem(&g->lock.sem, 1);
	return g;
}

// turns are two semaphores, there and back, and beside each a number that tells whose turn it was.
struct turns {
	struct {
		alignas(LINE) struct lock lock;
		alignas(LINE) uint64_t number;
	} way[2];
};

INLINE void go_on(struct turns *t, int way, uint64_t i) {
	t->way[way].number = i + 1;
	give(&t->way[way].lock);
}

INLINE void await(struct turns *t, int way, uint64_t i) {
	take(&t->way[way].lock);
	if (t->way[way].number != i + 1)
		errx(1, "turn %" PRIu64 " comes after %" PRIu64, t->way[way].number, i);
}

INLINE void ask(void *arg, uint64_t i) {
	go_on(arg, 0, i);
	await(arg, 1, i);
}

INLINE void answer(void *arg, uint64_t i) {
	await(arg, 0, i);
	go_on(arg, 1, i);
}

static void pingpong(void) {
	struct turns *t = shared(sizeof *t);
	new_sem(&t->way[0].lock.sem, 0);
	new_sem(&t->way[1].lock.sem, 0);
	split();
	meet();
	if (side == 0)
		run(ask, t, AFTER);
	else
		run(answer, t, AFTER);
	join();
	report(took(0), NULL);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (row("sem.uncontended", "c", 2))
		uncontended(new_guarded());
	else if (row("sem.contended", "c", 2))
		contended(new_guarded(), 2);
	else if (row("sem.pingpong", "c", 2))
		pingpong();
	else
		return usage("sem.uncontended c\nsem.contended c\nsem.pingpong c\n");
	return 0;
}
