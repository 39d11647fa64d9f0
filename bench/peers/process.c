// process measures process.startjoin with c: a fork, whose child takes a mutex, gives it back and ends, and
// the wait for it. CPUS are those on which the process and its children may run; only the process is
// reported.
//
//	gcc -O2 -pthread -o process process.c
#include "peer.h"

INLINE void start_and_join(void *arg, uint64_t i) {
	(void)i;
	pid_t pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		lock_mutex(arg);
		unlock_mutex(arg);
		_exit(0);
	}
	int status = reap(pid);
	if (status != 0)
		errx(1, "a child ended with status %#x", status);
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (!row("process.startjoin", "c", CPU_SETSIZE))
		return usage("process.startjoin c\n");
	if (sched_setaffinity(0, sizeof job.set, &job.set) != 0)
		err(1, "sched_setaffinity");
	job.cpus = 1;
	pthread_mutex_t *m = shared(sizeof *m);
	new_mutex(m, false);
	run(start_and_join, m, WITHIN);
	report(took(0), NULL);
	return 0;
}
