#!/usr/bin/env python3
"""Measure multiprocessing: peer.py ROW IMPL N CPUS, called and answering as peer.h says. IMPL is python.

The programs for other rows in Python import this one. Its exit code is 3 if a module is missing that the row needs.
"""

import collections
import ctypes
import importlib
import json
import multiprocessing
import multiprocessing.sharedctypes
import os
import signal
import sys
import time
from multiprocessing.shared_memory import SharedMemory

PR_SET_PDEATHSIG = 1

libc = ctypes.CDLL(None, use_errno=True)
mp = multiprocessing.get_context("fork")


class Job:
    """One measurement. What both sides write (met, cpu, time) is shared. Side 1 is the forked process."""

    def __init__(self, n, cpus):
        self.n, self.cpus = n, cpus
        self.warm = n // 20
        self.timed = min(max(n // 10, 100), 200_000)
        self.side, self.other = 0, None
        self.met = mp.RawArray("q", 2)
        self.cpu = mp.RawArray("q", 4)
        self.time = mp.RawArray("q", 4)
        self.histogram = collections.Counter()
        os.sched_setaffinity(0, cpus[:1])

    def split(self, function):
        """Do function in both sides, and return when both have. If one side fails, the other ends."""
        signal.signal(signal.SIGCHLD, ended)
        self.other = mp.Process(target=self.second, args=(os.getpid(), function), daemon=True)
        self.other.start()
        function()
        self.other.join()
        if self.other.exitcode != 0:
            fail()

    def second(self, parent, function):
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL) != 0:
            sys.exit("prctl: " + os.strerror(ctypes.get_errno()))
        if os.getppid() != parent:
            os._exit(1)
        self.side = 1
        os.sched_setaffinity(0, self.cpus[-1:])
        function()

    def meet(self):
        """Return when the other side has called this as often."""
        self.met[self.side] += 1
        while self.met[1 - self.side] < self.met[self.side]:
            os.sched_yield()

    def begin(self):
        self.cpu[2 * self.side] = libc.sched_getcpu()
        self.time[2 * self.side] = time.monotonic_ns()

    def finish(self):
        self.time[2 * self.side + 1] = time.monotonic_ns()
        self.cpu[2 * self.side + 1] = libc.sched_getcpu()

    def one_by_one(self, loop, numbers):
        for i in numbers:
            one = range(i, i + 1)
            start = time.monotonic_ns()
            loop(one)
            self.record(time.monotonic_ns() - start)

    def record(self, ns):
        shift = max(ns.bit_length() - 7, 0)
        self.histogram[(ns >> shift << shift) + ((1 << shift) - 1 >> 1)] += 1

    def run(self, loop, latency=None):
        """Call loop with ranges of numbers: the warm-up, the measured part, and what is timed one by one.

        Side 0 does that in a second pass, "after" the measured part, or it is the measured part: "within".

        A loop is a function of its own, as a call for each number would be measured too.
        """
        loop(range(self.warm))
        end = self.warm + self.n
        self.begin()
        if latency == "within":
            self.one_by_one(loop, range(self.warm, end))
        else:
            loop(range(self.warm, end))
        self.finish()
        if latency == "after":
            numbers = range(end, end + self.timed)
            if self.side == 0:
                self.one_by_one(loop, numbers)
            else:
                loop(numbers)

    def took(self, side):
        return (self.time[2 * side + 1] - self.time[2 * side]) / self.n

    def report(self, ns, shares=None):
        answer = {"ns": round(ns, 3), "cpus": [self.cpu[2 * i:2 * i + 2] for i in range(len(self.cpus))]}
        if shares:
            answer["shares"] = shares
        if self.histogram:
            answer["latency"] = sorted(self.histogram.items())
        print(json.dumps(answer))


def ended(*_):
    """End side 0 if side 1 has ended too early: side 0 would wait for it for ever."""
    try:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:  # join was quicker, and knows
        return
    if info and (info.si_code, info.si_status) != (os.CLD_EXITED, 0):
        os.waitpid(info.si_pid, 0)
        fail()


def fail():
    """End at once: a queue would first write what it has to a pipe that nobody reads."""
    print("the other process failed", file=sys.stderr, flush=True)
    os._exit(1)


def check(got, want):
    if got != want:
        sys.exit(f"got {got}, want {want}")


def need(module):
    try:
        return importlib.import_module(module)
    except ImportError as e:
        print(e, file=sys.stderr)
        sys.exit(3)


def lock_uncontended(job):
    lock = mp.Lock()

    def pairs(numbers):
        acquire, release = lock.acquire, lock.release
        for _ in numbers:
            acquire()
            release()

    job.run(pairs)
    job.report(job.took(0))


def lock_contended(job):
    lock, counter, counted = mp.Lock(), mp.RawValue("q"), mp.RawArray("q", 2)

    def count_to(to):
        mine = 0
        while True:
            with lock:
                if counter.value >= to:
                    return mine
                counter.value += 1
            mine += 1

    def side():
        job.meet()
        count_to(job.warm)
        job.meet()
        job.begin()
        counted[job.side] = count_to(job.warm + job.n)
        job.finish()

    job.split(side)
    check(sum(counted), job.n)
    check(counter.value, job.warm + job.n)
    ns = (max(job.time[1], job.time[3]) - min(job.time[0], job.time[2])) / job.n
    job.report(ns, [round(c / job.n, 4) for c in counted])


def spsc_stream(job):
    consumer, producer = mp.Pipe(duplex=False)

    def produce(numbers):
        for i in numbers:
            producer.send(i)

    def consume(numbers):
        for i in numbers:
            check(consumer.recv(), i)

    job.split(lambda: job.run(consume if job.side else produce))
    job.report(job.took(1))


def spsc_pingpong(job):
    ends = mp.Pipe()

    def ask(numbers):
        for i in numbers:
            ends[0].send(i)
            check(ends[0].recv(), i)

    def answer(numbers):
        for i in numbers:
            v = ends[1].recv()
            check(v, i)
            ends[1].send(v)

    job.split(lambda: job.run(answer if job.side else ask, "after"))
    job.report(job.took(0))


def value_add(job):
    v = mp.Value("q")

    def add(numbers):
        for _ in numbers:
            with v.get_lock():
                v.value += 1

    job.run(add)
    check(v.value, job.warm + job.n)
    job.report(job.took(0))


class Six(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in "abcdef"]


def value_update(job):
    v = mp.Value(Six)

    def update(numbers):
        for _ in numbers:
            with v.get_lock():
                v.a += 1
                v.b += 1
                v.c += 1
                v.d += 1
                v.e += 1
                v.f += 1

    job.run(update)
    check([v.a, v.b, v.c, v.d, v.e, v.f], [job.warm + job.n] * 6)
    job.report(job.took(0))


def take_and_give(lock):
    with lock:
        pass


def process_startjoin(job):
    start_and_join(job, mp, take_and_give)


def start_and_join(job, context, target):
    """CPUS are those on which the process and its children may run; only the process is reported."""
    os.sched_setaffinity(0, job.cpus)
    del job.cpus[1:]
    lock = context.Lock()

    def one_after_the_other(numbers):
        for _ in numbers:
            p = context.Process(target=target, args=(lock,))
            p.start()
            p.join()
            check(p.exitcode, 0)

    job.run(one_after_the_other, "within")
    job.report(job.took(0))


def shm_create(job):
    """The names of segments are removed by Python's resource tracker if this fails."""

    def create(numbers):
        for _ in numbers:
            m = SharedMemory(create=True, size=1 << 20)
            m.buf[:8] = b"12345678"
            m.close()
            m.unlink()

    job.run(create, "within")
    job.report(job.took(0))


# The rows, and how many processes each has.
ROWS = {
    "lock.uncontended": (lock_uncontended, 1),
    "lock.contended": (lock_contended, 2),
    "spsc.stream": (spsc_stream, 2),
    "spsc.pingpong": (spsc_pingpong, 2),
    "value.add": (value_add, 1),
    "value.update": (value_update, 1),
    "process.startjoin": (process_startjoin, os.cpu_count()),
    "shm.create": (shm_create, 1),
}


def main(rows, by="python"):
    try:
        row, impl, n, cpus = sys.argv[1:]
        function, processes = rows[row]
        n, cpus = int(n), [int(cpu) for cpu in cpus.split(",")]
    except (ValueError, KeyError):
        impl = None
    if impl != by or n < 1 or len(cpus) > processes:
        print(f"usage: {sys.argv[0]} ROW {by} N CPUS, where ROW is " + ", ".join(rows), file=sys.stderr)
        return 2
    function(Job(n, cpus))
    return 0


if __name__ == "__main__":
    sys.exit(main(ROWS))
