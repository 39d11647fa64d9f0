// lock.h has the rows of locks that C and Boost share. Who includes it defines struct lock, take and give.

// guarded is the memory of all processes.
struct guarded {
	alignas(LINE) struct lock lock;
	alignas(LINE) uint64_t counter;   // what the lock guards
	alignas(LINE) uint64_t turn[2];   // see hand_over in lock.c
	alignas(LINE) uint64_t counted[SIDES]; // by each side, in the measured part
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

// count_to increments the counter until all sides have brought it to a number, and returns how often this
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

// finish_counting reports what the sides have counted, who began and finished.
static void finish_counting(struct guarded *g) {
	join();
	uint64_t sum = 0, from = UINT64_MAX, to = 0;
	for (int i = 0; i < sides; i++) {
		sum += g->counted[i];
		from = board->start[i] < from ? board->start[i] : from;
		to = board->end[i] > to ? board->end[i] : to;
	}
	if (sum != job.n || g->counter != job.warm + job.n)
		errx(1, "counted %" PRIu64 " times from %" PRIu64 " on, to %" PRIu64, sum, job.warm, g->counter);
	double shares[SIDES];
	for (int i = 0; i < sides; i++)
		shares[i] = (double)g->counted[i] / (double)sum;
	report((double)(to - from) / (double)job.n, shares);
}

// contended counts in so many processes.
static void contended(struct guarded *g, int processes) {
	if (processes == 2)
		split();
	else
		split_into(processes);
	meet();
	count_to(g, job.warm);
	meet();
	begin();
	g->counted[side] = count_to(g, job.warm + job.n);
	finish();
	finish_counting(g);
}
