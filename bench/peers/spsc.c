// spsc is the ring of package ring in C, for comparison: two processes on shared memory, each bound to a CPU, both
// spinning; positions published with a release store, on lines of their own, and cached by the other side; 1,024 slots.
//
//	gcc -O2 -o spsc spsc.c
//	./spsc stream|turns items producer-cpu consumer-cpu
//
// stream moves numbers one way; turns moves one at a time there and back, so that the ring never holds more than one. Every
// number is checked. It prints one line of JSON: the nanoseconds per number (per round trip), and the CPUs on which both
// sides were at their beginning and at their end.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { slots = 1024, mask = slots - 1, line = 128 };

// ring is the shared part.
struct ring {
	alignas(line) char header[line];
	alignas(line) _Atomic uint64_t tail;
	alignas(line) _Atomic uint64_t head;
	alignas(line) char reserved[2 * line];
	alignas(line) uint64_t slot[slots];
};

// end is what one side keeps for itself.
struct end {
	alignas(line) struct ring *r;
	uint64_t at, limit;
};

static inline bool push(struct end *e, uint64_t v) {
	if (e->at == e->limit) {
		e->limit = atomic_load_explicit(&e->r->head, memory_order_acquire) + slots;
		if (e->at == e->limit)
			return false;
	}
	e->r->slot[e->at & mask] = v;
	e->at++;
	atomic_store_explicit(&e->r->tail, e->at, memory_order_release);
	return true;
}

static inline bool pop(struct end *e, uint64_t *v) {
	if (e->at == e->limit) {
		e->limit = atomic_load_explicit(&e->r->tail, memory_order_acquire);
		if (e->at == e->limit)
			return false;
	}
	*v = e->r->slot[e->at & mask];
	e->at++;
	atomic_store_explicit(&e->r->head, e->at, memory_order_release);
	return true;
}

// shared is the memory of both processes.
struct shared {
	struct ring there, back;
	alignas(line) int cpu[4]; // producer's at its beginning and end, consumer's
};

static pid_t parent; // in the child, else 0

// quit ends both processes: the one that is left would spin for ever.
static void quit(void) {
	if (parent != 0)
		kill(parent, SIGTERM);
	exit(1);
}

static void fail(const char *what) {
	perror(what);
	quit();
}

static void wrong(uint64_t got, uint64_t want) {
	fprintf(stderr, "item %llu is %llu\n", (unsigned long long)want, (unsigned long long)got);
	quit();
}

static void bind_to(int cpu) {
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) != 0)
		fail("sched_setaffinity");
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

// produce waits for the consumer's sign and sends the numbers from 0 on.
static void produce(struct shared *s, bool turns, uint64_t items) {
	struct end out = {.r = &s->there, .limit = slots}, in = {.r = &s->back};
	uint64_t v;
	while (!pop(&in, &v))
		;
	for (uint64_t i = 0; i < items; i++) {
		while (!push(&out, i))
			;
		if (turns) {
			while (!pop(&in, &v))
				;
			if (v != i)
				wrong(v, i);
		}
	}
}

// consume checks the numbers and returns the nanoseconds from the first to the last.
static double consume(struct shared *s, bool turns, uint64_t items) {
	struct end in = {.r = &s->there}, out = {.r = &s->back, .limit = slots};
	double start = 0;
	push(&out, 0);
	for (uint64_t i = 0; i < items; i++) {
		uint64_t v;
		while (!pop(&in, &v))
			;
		if (v != i)
			wrong(v, i);
		if (i == 0)
			start = now();
		if (turns)
			push(&out, v);
	}
	return now() - start;
}

int main(int argc, char **argv) {
	if (argc != 5 || (strcmp(argv[1], "stream") != 0 && strcmp(argv[1], "turns") != 0)) {
		fprintf(stderr, "usage: spsc stream|turns items producer-cpu consumer-cpu\n");
		return 2;
	}
	bool turns = strcmp(argv[1], "turns") == 0;
	uint64_t items = strtoull(argv[2], NULL, 10);
	struct shared *s =
		mmap(NULL, sizeof *s, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (s == MAP_FAILED)
		fail("mmap");
	pid_t self = getpid();
	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		parent = self;
		bind_to(atoi(argv[3]));
		s->cpu[0] = sched_getcpu();
		produce(s, turns, items);
		s->cpu[1] = sched_getcpu();
		_exit(0);
	}
	bind_to(atoi(argv[4]));
	s->cpu[2] = sched_getcpu();
	double ns = consume(s, turns, items);
	s->cpu[3] = sched_getcpu();
	int status;
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "the producer ended with status %#x\n", status);
		return 1;
	}
	printf("{\"ns\": %.3f, \"producer\": [%d, %d], \"consumer\": [%d, %d]}\n", ns / (items - 1), s->cpu[0], s->cpu[1],
	       s->cpu[2], s->cpu[3]);
	return 0;
}
