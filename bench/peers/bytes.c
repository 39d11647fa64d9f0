// bytes measures memcpy, beside which bytes.stream copies records into a ring: bytes.stream.64B, .1K and .64K with c. One
// process copies a record from its memory to the next place of an area as large as that ring, and reads a byte of each line there.
//
//	gcc -O2 -pthread -o bytes bytes.c
#include "peer.h"

static struct {
	size_t size, at, room;
	char *from, *to;
	uint64_t sum;
} copies;

INLINE void copy(void *arg, uint64_t i) {
	(void)arg;
	(void)i;
	char *to = copies.to + copies.at;
	memcpy(to, copies.from, copies.size);
	__asm__ volatile("" ::: "memory"); // it is there
	for (size_t k = 0; k < copies.size; k += 64)
		copies.sum += (unsigned char)to[k];
	copies.at = copies.at + 2 * copies.size <= copies.room ? copies.at + copies.size : 0;
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (row("bytes.stream.64B", "c", 2))
		copies.size = 64;
	else if (row("bytes.stream.1K", "c", 2))
		copies.size = 1024;
	else if (row("bytes.stream.64K", "c", 2))
		copies.size = 65536;
	else
		return usage("bytes.stream.64B c\nbytes.stream.1K c\nbytes.stream.64K c\n");
	copies.from = shared(copies.size);
	copies.room = copies.size == 65536 ? 8 << 20 : 1 << 20;
	copies.to = shared(copies.room);
	memset(copies.from, 1, copies.size);
	split(); // the other side does nothing, but is where a reader would be
	meet();
	if (side == 0) {
		run(copy, NULL, NONE);
	} else {
		begin();
		finish();
	}
	join();
	if (copies.sum != (job.warm + job.n) * (copies.size / 64))
		errx(1, "a copy is another");
	report(took(0), NULL);
	return 0;
}
