// forker LIBRARY OWNER HANDLE HOW: a C program that takes part in a segment through the library and forks. One child
// calls the library and ends; another calls it, or with HOW "silent" does not, and lives until the end of their input.
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// child forks. What another thread of Go's held in that moment nobody gives back in the child, which may then hang in
// any call. It is not what is tested, so the child ends by an alarm then, and another is tried.
static void child(int (*call)(void), int stays)
{
	for (int tries = 0; tries < 20; tries++) {
		int done[2], status;
		char c;
		if (pipe(done) != 0)
			exit(1);
		pid_t pid = fork();
		if (pid == 0) {
			alarm(2);
			if (call && call() != 0)
				_exit(1);
			alarm(0);
			if (stays) {
				puts("child");
				fflush(stdout);
			}
			write(done[1], "x", 1);
			while (stays && read(0, &c, 1) > 0)
				;
			_exit(0);
		}
		close(done[1]);
		int ok = read(done[0], &c, 1) == 1;
		close(done[0]);
		if (ok && stays)
			return;
		if (pid < 0 || waitpid(pid, &status, 0) != pid)
			exit(1);
		if (ok && status == 0)
			return;
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM)
			exit(1);
	}
	exit(1);
}

int main(int argc, char **argv)
{
	void *library = argc == 5 ? dlopen(argv[1], RTLD_NOW) : NULL;
	if (!library) {
		fprintf(stderr, "forker: %s\n", argc == 5 ? dlerror() : "usage");
		return 2;
	}
	int (*open)(unsigned, char *) = (int (*)(unsigned, char *))dlsym(library, "shoal_open");
	int (*forked)(void) = (int (*)(void))dlsym(library, "shoal_forked");
	int (*alive)(void) = (int (*)(void))dlsym(library, "shoal_alive");
	char c;

	if (open(strtoul(argv[2], NULL, 10), argv[3]) != 0)
		return 1;
	child(forked, 0);
	if (alive() != 0)
		return 1;
	child(strcmp(argv[4], "silent") == 0 ? NULL : forked, 1);
	if (alive() != 0)
		return 1;
	puts("parent");
	fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
}
