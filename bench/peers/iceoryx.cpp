// iceoryx measures Eclipse iceoryx, which passes loans of shared memory on: zerocopy.pingpong and zerocopy.loan with
// iceoryx. It starts iceoryx's daemon, iox-roudi, for itself.
//
//	g++ -O2 -pthread -o iceoryx iceoryx.cpp -I/usr/include/iceoryx/v2.0.3 -liceoryx_posh -liceoryx_hoofs -liceoryx_platform
#if !__has_include(<iceoryx_posh/popo/untyped_publisher.hpp>)
#error "The headers of iceoryx are not here. On Debian and Ubuntu they are in the package libiceoryx-posh-dev."
#endif
#include "peer.h"
#include <fcntl.h>
#include <iceoryx_posh/popo/untyped_publisher.hpp>
#include <iceoryx_posh/popo/untyped_subscriber.hpp>
#include <iceoryx_posh/runtime/posh_runtime.hpp>
#include <string>

enum { SIZE = 1 << 20 };

static bool touched;
static char data[SIZE];

struct channels {
	iox::popo::UntypedPublisher *out;
	iox::popo::UntypedSubscriber *in;
};

INLINE void send(struct channels *c) {
	for (bool sent = false; !sent;)
		c->out->loan(SIZE)
			.and_then([&](void *payload) {
				if (touched)
					memcpy(payload, data, SIZE);
				c->out->publish(payload);
				sent = true;
			})
			.or_else([](iox::popo::AllocationError) {});
}

INLINE void receive(struct channels *c) {
	for (bool received = false; !received;)
		c->in->take()
			.and_then([&](const void *payload) {
				uint64_t sum = 0;
				for (size_t i = 0; touched && i < SIZE; i += 64)
					sum += static_cast<const volatile char *>(payload)[i];
				if (touched && sum != SIZE / 64)
					errx(1, "a record is another");
				c->in->release(payload);
				received = true;
			})
			.or_else([](iox::popo::ChunkReceiveResult) {});
}

INLINE void ask(void *arg, uint64_t) {
	send(static_cast<channels *>(arg));
	receive(static_cast<channels *>(arg));
}

INLINE void answer(void *arg, uint64_t) {
	receive(static_cast<channels *>(arg));
	send(static_cast<channels *>(arg));
}

static pid_t daemon_pid;

static void end_daemon(void) {
	if (daemon_pid > 0) {
		kill(daemon_pid, SIGTERM);
		reap(daemon_pid);
	}
}

// start_daemon returns when iox-roudi says that it is ready.
static void start_daemon(void) {
	int ends[2];
	if (pipe(ends) != 0)
		err(1, "pipe");
	pid_t self = getpid();
	daemon_pid = fork();
	if (daemon_pid < 0)
		err(1, "fork");
	if (daemon_pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) // on which it removes its memory
			err(1, "prctl");
		if (getppid() != self)
			_exit(1);
		sched_setaffinity(0, sizeof job.set, &job.set);
		int nothing = open("/dev/null", O_WRONLY);
		if (nothing < 0 || dup2(ends[1], 1) < 0 || dup2(nothing, 2) < 0)
			err(1, "dup2");
		execlp("iox-roudi", "iox-roudi", static_cast<char *>(NULL));
		err(1, "iox-roudi");
	}
	atexit(end_daemon);
	close(ends[1]);
	std::string said;
	char some[256];
	for (ssize_t n; said.find("RouDi is ready") == std::string::npos; said.append(some, n))
		if ((n = read(ends[0], some, sizeof some)) <= 0)
			errx(1, "iox-roudi ended; is another one running?");
}

int main(int argc, char **argv) {
	start(argc, argv);
	if (row("zerocopy.pingpong", "iceoryx", 2))
		touched = true;
	else if (!row("zerocopy.loan", "iceoryx", 2))
		return usage("zerocopy.pingpong iceoryx\nzerocopy.loan iceoryx\n");
	memset(data, 1, sizeof data);
	start_daemon();
	pid_t base = getpid();
	split();
	if (side != 0)
		daemon_pid = 0;
	std::string name = "shoal-peer-" + std::to_string(base) + "-" + std::to_string(side);
	iox::runtime::PoshRuntime::initRuntime(iox::RuntimeName_t(iox::cxx::TruncateToCapacity, name.c_str()));
	bind_to(job.cpu[side]);
	{
		iox::popo::PublisherOptions out_options;
		out_options.historyCapacity = 0;
		iox::capro::IdString_t there("there"), back("back");
		iox::popo::UntypedPublisher out({"shoal", "peer", side == 0 ? there : back}, out_options);
		iox::popo::UntypedSubscriber in({"shoal", "peer", side == 0 ? back : there});
		while (!out.hasSubscribers() || in.getSubscriptionState() != iox::SubscribeState::SUBSCRIBED)
			usleep(1000);
		struct channels c = {&out, &in};
		meet();
		if (side == 0)
			run(ask, &c, AFTER);
		else
			run(answer, &c, AFTER);
	}
	if (side != 0)
		exit(0); // so that iceoryx takes leave of its daemon
	join();
	report(took(0), NULL);
	return 0;
}
