// peer OFFSET: a C program that takes part in the segment whose memory is descriptor 3 as docs/LAYOUT.md says, takes
// the owner word at OFFSET, forks, says who it is, and stays
// until the end of its input, as its child does.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static void check(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "peer: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

#define WORD(type, at) ((_Atomic type *)(memory + (at)))
#define CAS(type, at, from, to) atomic_compare_exchange_strong(WORD(type, at), &(type){from}, to)

enum { slots_used = 128, slots_at = 28672, slot_size = 128, slot_count = 4096, free_ = 0, claimed = 1, live = 2 };

int main(int argc, char **argv)
{
	struct stat st;
	check(argc == 2 && fstat(3, &st) == 0, "fstat");
	char *memory = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, 3, 0);
	check(memory != MAP_FAILED, "mmap");
	check(madvise(memory, st.st_size, MADV_DONTFORK) == 0, "madvise");
	check(memcmp(memory, "SHOAL\xff\r\n", 8) == 0 && *(uint32_t *)(memory + 8) == 1 &&
		*(uint64_t *)(memory + 16) == (uint64_t)st.st_size, "not a segment");

	// Claim a slot that was never used.
	uint32_t slot, generation = 1 << 12;
	uint64_t at;
	for (;;) {
		slot = atomic_load(WORD(uint32_t, slots_used));
		check(slot < slot_count, "no slot");
		at = slots_at + (uint64_t)slot_size * slot;
		if (slot % (4096 / slot_size) == 0)
			check(fallocate(3, 0, at, 4096) == 0, "fallocate");
		int won = CAS(uint32_t, at, free_, generation | claimed);
		CAS(uint32_t, slots_used, slot, slot + 1);
		if (won)
			break;
	}
	uint32_t id = generation | slot;

	// Prove it, by a lock on a description for nothing else.
	int life = open("/proc/self/fd/3", O_RDWR | O_CLOEXEC);
	check(life >= 0, "open");
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (1LL << 62) + 2LL * id, .l_len = 1 };
	check(fcntl(life, F_OFD_SETLK, &lock) == 0, "fcntl");
	check(CAS(uint32_t, at, generation | claimed, generation | live), "expired");

	// Say who this is.
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	check(stat("/proc/self/ns/pid", &st) == 0, "pid namespace");
	atomic_store(WORD(uint64_t, at + 16), st.st_ino);
	atomic_store(WORD(uint64_t, at + 24), now.tv_sec * 1000000000ULL + now.tv_nsec);
	atomic_store(WORD(uint64_t, at + 8), (uint64_t)id << 32 | getpid());

	check(CAS(uint64_t, strtoull(argv[1], NULL, 10), 0, (uint64_t)id << 32 | 1), "the owner word is taken");
	pid_t pid = fork();
	if (pid == 0) {
		close(life);
		puts("child");
	} else {
		printf("%u\n", id);
	}
	fflush(stdout);
	char c;
	while (read(0, &c, 1) > 0)
		;
}
