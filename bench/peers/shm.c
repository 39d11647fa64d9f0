// shm measures shm.create with c: 1 MiB of shared memory without a name is made, mapped, written to and let
// go.
//
//	gcc -O2 -pthread -o shm shm.c
#include "peer.h"

enum { SIZE = 1 << 20 };

INLINE void create(void *arg, uint64_t i) {
	(void)arg;
	int fd = memfd_create("peer", MFD_CLOEXEC);
	if (fd < 0)
		err(1, "memfd_create");
	if (ftruncate(fd, SIZE) != 0)
		err(1, "ftruncate");
	uint64_t *p = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		err(1, "mmap");
	*(volatile uint64_t *)p = i;
	if (munmap(p, SIZE) != 0)
		err(1, "munmap");
	if (close(fd) != 0)
		err(1, "close");
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (!row("shm.create", "c", 1))
		return usage("shm.create c\n");
	run(create, NULL, WITHIN);
	report(took(0), NULL);
	return 0;
}
