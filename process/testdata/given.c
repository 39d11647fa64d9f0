// given KEY: a C program that process.Command starts with an object named KEY, a block; it adds one to the block's first word, and prints
// as which participant. It takes what it needs from its environment, as docs/LAYOUT.md says. Without KEY it waits to be killed.
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static void check(int ok, const char *what)
{
	if (!ok) {
		fprintf(stderr, "given: %s: %s\n", what, strerror(errno));
		exit(1);
	}
}

int main(int argc, char **argv)
{
	if (argc != 2)
		for (;;)
			pause();
	char name[100], uuid[33];
	uint64_t offset;
	uint32_t generation, owner;
	int memory_fd, alive_fd, found = 0;
	struct stat st;

	snprintf(name, sizeof name, "SHOAL_HANDLE_%s", argv[1]);
	const char *handle = getenv(name), *segments = getenv("SHOAL_SEGMENTS");
	check(handle && segments, "not given");
	check(sscanf(handle, "%32[0-9a-f]-%" SCNx64 "-%" SCNx32, uuid, &offset, &generation) == 3, "handle");
	for (const char *s = segments; s; s = strchr(s, ' ')) {
		s += *s == ' ';
		if (strncmp(s, uuid, 32) == 0)
			found = sscanf(s + 32, ":%d:%d:%" SCNu32, &memory_fd, &alive_fd, &owner) == 3;
	}
	check(found, "segment");
	check(fstat(memory_fd, &st) == 0, "fstat");
	char *memory = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd, 0);
	check(memory != MAP_FAILED, "mmap");
	check(memcmp(memory, "SHOAL\xff\r\n", 8) == 0 && *(uint64_t *)(memory + 16) == (uint64_t)st.st_size, "not a segment");
	// The object of that generation still lies there.
	check(offset + 128 + 4 <= (uint64_t)st.st_size && *(uint32_t *)(memory + offset + 8) >> 4 == generation, "no object");
	atomic_fetch_add((_Atomic uint32_t *)(memory + offset + 128), 1);
	printf("%" PRIu32 "\n", owner);
}
