#!/usr/bin/env python3
"""Measure multiprocessing.Pool: pools.py ROW python N CPUS, called and answering as peer.h says.

A pool has two workers, forked; they and the process may run on any of CPUS, and only the process is reported. What a
row does before it is measured is done with the same function by the same pool.
"""

import os
import sys
import time

import peer
from peer import check, mp

WORKERS = 2
SIX = (7, "a short text", 3.5, True, b"some bytes", 9)
FLOATS = 1 << 20  # 8 MiB


def increment(i):
    return i + 1


def increment_first(t):
    i, text, number, flag, some, last = t
    return (i + 1, text, number, flag, some, last)


def add_up(a):
    return float(a.sum())


def scale(a):
    return a * 2


def check_all(got, want):
    check(len(got), len(want))
    for g, w in zip(got, want):
        check(g, w)


def on_all(job):
    os.sched_setaffinity(0, job.cpus)
    del job.cpus[1:]


def pool_start(job):
    """From the start of a pool to its first result; its end is not part of that."""
    on_all(job)
    job.begin()
    total = 0
    for i in range(job.n):
        start = time.monotonic_ns()
        pool = mp.Pool(WORKERS)
        got = pool.map(increment, [i])
        ns = time.monotonic_ns() - start
        pool.terminate()
        pool.join()
        check(got, [i + 1])
        total += ns
        job.record(ns)
    job.finish()
    job.report(total / job.n)


def pool_apply(job):
    on_all(job)
    with mp.Pool(WORKERS) as pool:

        def apply(numbers):
            for i in numbers:
                if pool.apply(increment, (i,)) != i + 1:
                    sys.exit(f"result {i} is another")

        job.run(apply, "after")
    job.report(job.took(0))


def mapped(job, function, inputs, results):
    """Map function over the first of inputs, and then, which is measured, over all."""
    on_all(job)
    with mp.Pool(WORKERS) as pool:
        n = max(job.warm, 2 * WORKERS)
        check_all(pool.map(function, inputs[:n], chunksize=1), results[:n])
        job.begin()
        got = pool.map(function, inputs, chunksize=1)
        job.finish()
    check_all(got, results)
    job.report(job.took(0))


def pool_map1(job):
    mapped(job, increment, list(range(job.n)), list(range(1, job.n + 1)))


def pool_map1_struct(job):
    mapped(job, increment_first, [(i, *SIX[1:]) for i in range(job.n)], [(i + 1, *SIX[1:]) for i in range(job.n)])


def pool_imapunordered(job):
    on_all(job)
    with mp.Pool(WORKERS) as pool:

        def unordered(n):
            got = total = 0
            for r in pool.imap_unordered(increment, range(n)):
                got += 1
                total += r
            return got, total

        unordered(job.warm + 1)
        job.begin()
        got = unordered(job.n)
        job.finish()
    check(got, (job.n, job.n * (job.n + 1) // 2))
    job.report(job.took(0))


def arrays(job, function, right):
    """Map function over arrays of 8 MiB, no two the same, in the chunks that Pool.map makes of them itself."""
    numpy = peer.need("numpy")
    inputs = [numpy.full(FLOATS, i, dtype=numpy.float64) for i in range(job.n)]
    on_all(job)
    with mp.Pool(WORKERS) as pool:
        pool.map(function, inputs[:WORKERS])
        job.begin()
        got = pool.map(function, inputs)
        job.finish()
    check(len(got), job.n)
    for i, r in enumerate(got):
        if not right(i, r):
            sys.exit(f"result {i} is another")
    job.report(job.took(0))


def pool_mapbig(job):
    arrays(job, add_up, lambda i, r: r == i * FLOATS)


def pool_mapbig_back(job):
    arrays(job, scale, lambda i, r: len(r) == FLOATS and bool((r == 2 * i).all()))


# The rows. Any number of processes may run on CPUS.
ROWS = {
    "pool.start": (pool_start, os.cpu_count()),
    "pool.apply": (pool_apply, os.cpu_count()),
    "pool.map1": (pool_map1, os.cpu_count()),
    "pool.map1.struct": (pool_map1_struct, os.cpu_count()),
    "pool.imapunordered": (pool_imapunordered, os.cpu_count()),
    "pool.mapbig": (pool_mapbig, os.cpu_count()),
    "pool.mapbig.back": (pool_mapbig_back, os.cpu_count()),
}

if __name__ == "__main__":
    sys.exit(peer.main(ROWS))
