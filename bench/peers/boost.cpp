// boost measures Boost.Interprocess and Boost.Lockfree: lock.uncontended, lock.contended, spsc.stream,
// spsc.batch, spsc.pingpong, shm.create, alloc.pair and object.pair with boost.
//
//	g++ -O2 -pthread -o boost boost.cpp -lrt
#if !__has_include(<boost/interprocess/managed_shared_memory.hpp>) || \
	!__has_include(<boost/lockfree/spsc_queue.hpp>)
#error "The headers of Boost are not here. On Debian and Ubuntu they are in the package libboost-dev."
#endif
#include "peer.h"
#include <boost/interprocess/managed_shared_memory.hpp>
#include <boost/interprocess/sync/interprocess_mutex.hpp>
#include <boost/lockfree/spsc_queue.hpp>
#include <exception>
#include <new>
#include <string>

namespace ipc = boost::interprocess;

struct lock {
	ipc::interprocess_mutex mutex;
};

INLINE void take(struct lock *l) { l->mutex.lock(); }
INLINE void give(struct lock *l) { l->mutex.unlock(); }

#include "lock.h"

struct alignas(LINE) queue : boost::lockfree::spsc_queue<uint64_t, boost::lockfree::capacity<1024>> {};

struct end {
	struct queue *q;
};

INLINE struct end into(struct queue *q) { return {q}; }
INLINE struct end out_of(struct queue *q) { return {q}; }
INLINE bool push(struct end *e, uint64_t v) { return e->q->push(v); }
INLINE bool pop(struct end *e, uint64_t *v) { return e->q->pop(*v); }

#include "spsc.h"

enum { BATCH = 32 };

INLINE void send_batch(void *arg, uint64_t i) {
	uint64_t v[BATCH];
	for (int k = 0; k < BATCH; k++)
		v[k] = i * BATCH + k;
	for (size_t sent = 0; sent < BATCH;)
		sent += static_cast<queue *>(arg)->push(v + sent, BATCH - sent);
}

INLINE void receive_batch(void *arg, uint64_t i) {
	uint64_t v[BATCH];
	for (size_t received = 0; received < BATCH;)
		received += static_cast<queue *>(arg)->pop(v + received, BATCH - received);
	for (int k = 0; k < BATCH; k++)
		check(v[k], i * BATCH + k);
}

// batch is stream with 32 numbers at a time; if N is not a multiple of it, with a few more.
static void batch(struct queue *q) {
	job.n = (job.n + BATCH - 1) / BATCH;
	job.warm = (job.warm + BATCH - 1) / BATCH;
	split();
	meet();
	if (side == 0)
		run(send_batch, q, NONE);
	else
		run(receive_batch, q, NONE);
	join();
	report(took(1) / BATCH, NULL);
}

// remover removes the name of the segment also when something fails.
struct remover {
	const std::string name;
	bool operator()() const { return ipc::shared_memory_object::remove(name.c_str()); }
	~remover() { (*this)(); }
};

INLINE void create(void *arg, uint64_t i) {
	(void)i;
	const remover *remove = static_cast<remover *>(arg);
	{ ipc::managed_shared_memory segment(ipc::create_only, remove->name.c_str(), 1 << 20); }
	if (!(*remove)())
		err(1, "shared_memory_object::remove");
}

static void write(void *at, uint64_t i) { *static_cast<volatile uint64_t *>(at) = i; }

INLINE void allocate(void *arg, uint64_t i) {
	ipc::managed_shared_memory *segment = static_cast<ipc::managed_shared_memory *>(arg);
	void *at = segment->allocate(64);
	write(at, i);
	segment->deallocate(at);
}

struct object {
	uint64_t words[8];
};

INLINE void construct(void *arg, uint64_t i) {
	ipc::managed_shared_memory *segment = static_cast<ipc::managed_shared_memory *>(arg);
	object *o = segment->construct<object>(ipc::anonymous_instance)();
	write(o, i);
	segment->destroy_ptr(o);
}

template <class T> static T *make() { return new (shared(sizeof(T))) T(); }

int main(int argc, char **argv) try {
	start(argc, argv);
	if (row("lock.uncontended", "boost", 2))
		uncontended(make<guarded>());
	else if (row("lock.contended", "boost", 2))
		contended(make<guarded>(), 2);
	else if (row("spsc.stream", "boost", 2))
		stream(make<queue>());
	else if (row("spsc.batch", "boost", 2))
		batch(make<queue>());
	else if (row("spsc.pingpong", "boost", 2))
		pingpong(make<queue>(), make<queue>());
	else if (row("shm.create", "boost", 1)) {
		remover remove{"shoal-peer-" + std::to_string(getpid())};
		run(create, &remove, WITHIN);
		report(took(0), NULL);
	} else if (row("alloc.pair", "boost", 1)) {
		remover remove{"shoal-peer-" + std::to_string(getpid())};
		ipc::managed_shared_memory segment(ipc::create_only, remove.name.c_str(), 16 << 20);
		run(allocate, &segment, NONE);
		report(took(0), NULL);
	} else if (row("object.pair", "boost", 1)) {
		remover remove{"shoal-peer-" + std::to_string(getpid())};
		ipc::managed_shared_memory segment(ipc::create_only, remove.name.c_str(), 16 << 20);
		run(construct, &segment, NONE);
		report(took(0), NULL);
	} else
		return usage("lock.uncontended boost\nlock.contended boost\nspsc.stream boost\nspsc.batch boost\n"
		             "spsc.pingpong boost\nshm.create boost\nalloc.pair boost\nobject.pair boost\n");
	return 0;
} catch (const std::exception &e) {
	errx(1, "%s", e.what());
}
