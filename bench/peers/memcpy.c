// memcpy measures a copy of 8 MiB of numbers with c, each eighth of which it then adds up: queue.big, where it is copied once, by one
// of two processes, and codec.floats, where it is copied there and back and read here.
//
//	gcc -O2 -pthread -o memcpy memcpy.c
#include "peer.h"

enum { FLOATS = 1 << 20, STRIDE = 8 };

static struct {
	double *here, *there;
	double want;
} copies;

INLINE double add_up(const double *a) {
	double sum = 0;
	for (int i = 0; i < FLOATS; i += STRIDE)
		sum += a[i];
	return sum;
}

INLINE void move(double *to, const double *from) {
	memcpy(to, from, FLOATS * sizeof *to);
	__asm__ volatile("" ::: "memory"); // it is there
}

INLINE void check(const double *a) {
	if (add_up(a) != copies.want)
		errx(1, "a copy is another");
}

INLINE void one_way(void *arg, uint64_t i) {
	(void)arg;
	(void)i;
	move(copies.there, copies.here);
	check(copies.there);
}

INLINE void there_and_back(void *arg, uint64_t i) {
	(void)arg;
	(void)i;
	move(copies.there, copies.here);
	move(copies.here, copies.there);
	check(copies.here);
}

int main(int argc, char **argv) {
	start(argc, argv);
	bool big = row("queue.big", "c", 2);
	if (!big && !row("codec.floats", "c", 1))
		return usage("queue.big c\ncodec.floats c\n");
	copies.here = shared(FLOATS * sizeof *copies.here);
	copies.there = shared(FLOATS * sizeof *copies.there);
	for (int i = 0; i < FLOATS; i++)
		copies.here[i] = i;
	copies.want = add_up(copies.here);
	if (!big) {
		run(there_and_back, NULL, NONE);
		report(took(0), NULL);
		return 0;
	}
	split(); // the other side does nothing, but is where a consumer would be
	meet();
	if (side == 0) {
		run(one_way, NULL, NONE);
	} else {
		begin();
		finish();
	}
	join();
	report(took(0), NULL);
	return 0;
}
