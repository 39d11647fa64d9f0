// value measures values in shared memory: value.add with c, an atomic addition, and value.update with
// c-robust, six numbers under a robust mutex.
//
//	gcc -O2 -pthread -o value value.c
#include "peer.h"
#include <stdatomic.h>

struct six {
	pthread_mutex_t mutex;
	int64_t a, b, c, d, e, f;
};

INLINE void add_one(void *arg, uint64_t i) {
	(void)i;
	atomic_fetch_add((_Atomic uint64_t *)arg, 1);
}

INLINE void update_one(void *arg, uint64_t i) {
	struct six *r = arg;
	(void)i;
	lock_mutex(&r->mutex);
	r->a++, r->b++, r->c++, r->d++, r->e++, r->f++;
	unlock_mutex(&r->mutex);
}

static void add(void) {
	_Atomic uint64_t *v = shared(sizeof *v);
	run(add_one, v, NONE);
	if (*v != job.warm + job.n)
		errx(1, "the value is %" PRIu64 ", want %" PRIu64, *v, job.warm + job.n);
	report(took(0), NULL);
}

static void update(void) {
	struct six *r = shared(sizeof *r);
	new_mutex(&r->mutex, true);
	run(update_one, r, NONE);
	int64_t want = (int64_t)(job.warm + job.n);
	if (r->a != want || r->b != want || r->c != want || r->d != want || r->e != want || r->f != want)
		errx(1, "the numbers are not all %" PRId64, want);
	report(took(0), NULL);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (row("value.add", "c", 1))
		add();
	else if (row("value.update", "c-robust", 1))
		update();
	else
		return usage("value.add c\nvalue.update c-robust\n");
	return 0;
}
