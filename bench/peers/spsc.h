// spsc.h has the rows of queues that C and Boost share. Who includes it defines struct queue, struct end with
// out_of and into, push and pop. Both sides spin, and every number is checked.

struct ends {
	struct end out, in;
};

INLINE void check(uint64_t got, uint64_t want) {
	if (got != want)
		errx(1, "item %" PRIu64 " is %" PRIu64, want, got);
}

INLINE void send(void *arg, uint64_t i) {
	struct ends *e = (struct ends *)arg;
	while (!push(&e->out, i))
		;
}

INLINE void receive(void *arg, uint64_t i) {
	struct ends *e = (struct ends *)arg;
	uint64_t v;
	while (!pop(&e->in, &v))
		;
	check(v, i);
}

INLINE void ask(void *arg, uint64_t i) {
	send(arg, i);
	receive(arg, i);
}

INLINE void answer(void *arg, uint64_t i) {
	receive(arg, i);
	send(arg, i);
}

// stream moves numbers from side 0 to side 1, which measures.
static void stream(struct queue *q) {
	split();
	struct ends e = {into(q), out_of(q)};
	meet();
	if (side == 0)
		run(send, &e, NONE);
	else
		run(receive, &e, NONE);
	join();
	report(took(1), NULL);
}

// pingpong moves one number at a time there and back.
static void pingpong(struct queue *there, struct queue *back) {
	split();
	meet();
	if (side == 0) {
		struct ends e = {into(there), out_of(back)};
		run(ask, &e, AFTER);
	} else {
		struct ends e = {into(back), out_of(there)};
		run(answer, &e, AFTER);
	}
	join();
	report(took(0), NULL);
}
