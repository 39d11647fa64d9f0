// boost measures Boost.Interprocess and Boost.Lockfree: lock.uncontended, lock.contended, spsc.stream,
// spsc.batch, spsc.pingpong, mpmc.stream and its relatives, shm.create, alloc.pair and object.pair with boost.
//
//	g++ -O2 -pthread -o boost boost.cpp -lrt
#if !__has_include(<boost/interprocess/managed_shared_memory.hpp>) || \
	!__has_include(<boost/lockfree/spsc_queue.hpp>)
#error "The headers of Boost are not here. On Debian and Ubuntu they are in the package libboost-dev."
#endif
#include "peer.h"
#include <boost/date_time/posix_time/posix_time.hpp>
#include <boost/interprocess/ipc/message_queue.hpp>
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

// moved is what the producers and consumers of a message queue tell each other.
struct moved {
	alignas(LINE) uint64_t received; // by all consumers, in parts of CHUNK
	alignas(LINE) uint64_t start, end;
	uint32_t over;
	alignas(LINE) struct {
		alignas(LINE) uint64_t n;
	} count[SIDES]; // of each side
};

enum { CHUNK = 64, LONGEST = 64 };

// A message begins with who sent it, and how many it sent before.
INLINE uint64_t pack(uint64_t from, uint64_t number) { return from << 56 | number; }

// soon is until when who finds the queue full or empty blocks before it looks whether all is over. To try again and again
// would be slower.
static boost::posix_time::ptime soon() {
	return boost::posix_time::microsec_clock::universal_time() + boost::posix_time::milliseconds(5);
}

static void produce(ipc::message_queue *q, struct moved *m, size_t size) {
	uint64_t message[LONGEST / 8] = {0};
	uint64_t i = 0;
	while (!__atomic_load_n(&m->over, __ATOMIC_RELAXED))
		for (int k = 0; k < CHUNK; k++) {
			message[0] = pack(side, i);
			while (!q->try_send(message, size, 0) && !q->timed_send(message, size, 0, soon()))
				if (__atomic_load_n(&m->over, __ATOMIC_RELAXED))
					goto over;
			i++;
		}
over:
	m->count[side].n = i;
}

static void consume(ipc::message_queue *q, struct moved *m, size_t size) {
	uint64_t message[LONGEST / 8];
	uint64_t next[SIDES] = {0}, got = 0;
	ipc::message_queue::size_type length;
	unsigned priority;
	for (;;) {
		for (int k = 0; k < CHUNK; k++) {
			while (!q->try_receive(message, size, length, priority) && !q->timed_receive(message, size, length, priority, soon()))
				if (__atomic_load_n(&m->over, __ATOMIC_RELAXED))
					goto over;
			uint64_t from = message[0] >> 56, number = message[0] & ((1ull << 56) - 1);
			if (length != size || from >= SIDES || number < next[from])
				errx(1, "message %" PRIu64 " of %" PRIu64 " comes late", number, from);
			next[from] = number + 1;
			got++;
		}
		uint64_t all = __atomic_add_fetch(&m->received, CHUNK, __ATOMIC_ACQ_REL);
		if (all - CHUNK < job.warm && all >= job.warm)
			m->start = now();
		if (all - CHUNK < job.warm + job.n && all >= job.warm + job.n) {
			m->end = now();
			__atomic_store_n(&m->over, 1, __ATOMIC_RELEASE);
		}
	}
over:
	m->count[side].n = got;
}

// messages measures a queue of 1,024 from half of n processes to the other half, until so many have come.
static void messages(int n, size_t size) {
	const struct named {
		const std::string name = "shoal-peer-" + std::to_string(getpid());
		~named() { ipc::message_queue::remove(name.c_str()); }
	} name;
	ipc::message_queue q(ipc::create_only, name.name.c_str(), 1024, size);
	struct moved *m = static_cast<struct moved *>(shared(sizeof *m));
	if (n == 2)
		split();
	else
		split_into(n);
	meet();
	begin();
	if (side < n / 2)
		produce(&q, m, size);
	else
		consume(&q, m, size);
	finish();
	if (side != 0)
		_exit(0);
	join();
	double shares[SIDES], sums[2] = {0, 0};
	for (int i = 0; i < n; i++)
		sums[i < n / 2 ? 0 : 1] += (double)m->count[i].n;
	for (int i = 0; i < n; i++)
		shares[i] = (double)m->count[i].n / sums[i < n / 2 ? 0 : 1] / 2;
	report((double)(m->end - m->start) / (double)job.n, shares);
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
	else if (row("mpmc.stream", "boost", 2) || row("mpmc.batch", "boost", 2))
		messages(2, 8);
	else if (row("mpmc.stream.4", "boost", 4) || row("mpmc.batch.4", "boost", 4))
		messages(4, 8);
	else if (row("mpmc.stream.64B", "boost", 2))
		messages(2, 64);
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
		             "spsc.pingpong boost\nmpmc.stream boost\nmpmc.batch boost\nmpmc.stream.4 boost\n"
		             "mpmc.batch.4 boost\nmpmc.stream.64B boost\nshm.create boost\nalloc.pair boost\nobject.pair boost\n");
	return 0;
} catch (const std::exception &e) {
	errx(1, "%s", e.what());
}
