// lock.h has the rows of locks that C and Boost share. Who includes it defines struct lock, take and give.

// guarded is the memory of both processes.
struct guarded {
	alignas(LINE) struct lock lock;
	alignas(LINE) uint64_t counter;   // what the lock guards
	alignas(LINE) uint64_t counted[2]; // by each side, in the measured part
};

INLINE void take_and_give(void *arg, uint64_t i) {
	struct guarded *g = (struct guarded *)arg;
	(void)i;
	take(&g->lock);
	give(&g->lock);
}

// uncontended takes and gives back a lock that another process has open too and has taken once; it sleeps
// meanwhile.
static void uncontended(struct guarded *g) {
	split();
	if (side == 0) {
		meet();
		run(take_and_give, g, NONE);
		meet();
	} else {
		begin();
		take_and_give(g, 0);
		meet();
		meet();
		finish();
	}
	join();
	report(took(0), NULL);
}

// count_to increments the counter until both sides have brought it to a number, and returns how often this
// one did.
INLINE uint64_t count_to(struct guarded *g, uint64_t to) {
	for (uint64_t counted = 0;; counted++) {
		take(&g->lock);
		if (g->counter >= to) {
			give(&g->lock);
			return counted;
		}
		g->counter++;
		give(&g->lock);
	}
}

// contended counts in both processes.
static void contended(struct guarded *g) {
	split();
	meet();
	count_to(g, job.warm);
	meet();
	begin();
	g->counted[side] = count_to(g, job.warm + job.n);
	finish();
	join();
	uint64_t sum = g->counted[0] + g->counted[1];
	if (sum != job.n || g->counter != job.warm + job.n)
		errx(1, "counted %" PRIu64 " times from %" PRIu64 " on, to %" PRIu64, sum, job.warm, g->counter);
	uint64_t from = board->start[0] < board->start[1] ? board->start[0] : board->start[1];
	uint64_t to = board->end[0] > board->end[1] ? board->end[0] : board->end[1];
	double shares[2] = {(double)g->counted[0] / (double)sum, (double)g->counted[1] / (double)sum};
	report((double)(to - from) / (double)job.n, shares);
}
