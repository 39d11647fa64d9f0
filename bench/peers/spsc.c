// spsc is the ring of package ring in C: positions published with a release store, on lines of their own, and
// cached by the other side; 1,024 slots. It has spsc.stream, spsc.batch and spsc.pingpong with c.
//
//	gcc -O2 -pthread -o spsc spsc.c
#include "peer.h"
#include <stdatomic.h>

enum { SLOTS = 1024, MASK = SLOTS - 1 };

struct queue {
	alignas(LINE) char header[LINE];
	alignas(LINE) _Atomic uint64_t tail;
	alignas(LINE) _Atomic uint64_t head;
	alignas(LINE) char reserved[2 * LINE];
	alignas(LINE) uint64_t slot[SLOTS];
};

// end is what one side keeps for itself.
struct end {
	struct queue *q;
	uint64_t at, limit;
};

INLINE struct end into(struct queue *q) { return (struct end){q, 0, SLOTS}; }
INLINE struct end out_of(struct queue *q) { return (struct end){q, 0, 0}; }

INLINE bool push(struct end *e, uint64_t v) {
	if (e->at == e->limit) {
		e->limit = atomic_load_explicit(&e->q->head, memory_order_acquire) + SLOTS;
		if (e->at == e->limit)
			return false;
	}
	e->q->slot[e->at & MASK] = v;
	e->at++;
	atomic_store_explicit(&e->q->tail, e->at, memory_order_release);
	return true;
}

INLINE bool pop(struct end *e, uint64_t *v) {
	if (e->at == e->limit) {
		e->limit = atomic_load_explicit(&e->q->tail, memory_order_acquire);
		if (e->at == e->limit)
			return false;
	}
	*v = e->q->slot[e->at & MASK];
	e->at++;
	atomic_store_explicit(&e->q->head, e->at, memory_order_release);
	return true;
}

#include "spsc.h"

int main(int argc, char **argv) {
	start(argc, argv);
	struct queue *q = shared(2 * sizeof *q);
	// Batches are compared with one at a time, which is the best that this ring does.
	if (row("spsc.stream", "c", 2) || row("spsc.batch", "c", 2))
		stream(q);
	else if (row("spsc.pingpong", "c", 2))
		pingpong(&q[0], &q[1]);
	else
		return usage("spsc.stream c\nspsc.batch c\nspsc.pingpong c\n");
	return 0;
}
