#!/usr/bin/env python3
"""Measure multiprocessing.Queue and pickle: queues.py ROW python N CPUS, called and answering as peer.h says."""

import pickle
import sys

import peer
from peer import check, mp

SIX = (7, "a short text", 3.5, True, b"some bytes", 9)  # what a struct of six fields is to Python
FLOATS = 1 << 20  # 8 MiB
STRIDE = 8  # a line


def queue_stream(job):
    """Numbers go one way. A queue without a bound is what one gets from Queue(), and faster than one with a bound."""
    q = mp.Queue()

    def produce(numbers):
        put = q.put
        for i in numbers:
            put(i)

    def consume(numbers):
        get = q.get
        for i in numbers:
            if get() != i:
                sys.exit(f"item {i} is another")

    job.split(lambda: job.run(consume if job.side else produce))
    job.report(job.took(1))


def queue_stream_struct(job):
    q = mp.Queue()

    def produce(numbers):
        put = q.put
        _, text, number, flag, some, last = SIX
        for i in numbers:
            put((i, text, number, flag, some, last))

    def consume(numbers):
        get = q.get
        rest = SIX[1:]
        for i in numbers:
            t = get()
            if t[0] != i or t[1:] != rest:
                sys.exit(f"item {i} is {t}")

    job.split(lambda: job.run(consume if job.side else produce))
    job.report(job.took(1))


def queue_pingpong(job):
    there, back = mp.Queue(), mp.Queue()

    def ask(numbers):
        put, get = there.put, back.get
        for i in numbers:
            put(i)
            if get() != i:
                sys.exit(f"item {i} is another")

    def answer(numbers):
        put, get = back.put, there.get
        for i in numbers:
            v = get()
            if v != i:
                sys.exit(f"item {i} is another")
            put(v)

    job.split(lambda: job.run(answer if job.side else ask, "after"))
    job.report(job.took(0))


def floats():
    """Return an array of 8 MiB, and what every eighth of its numbers make together."""
    numpy = peer.need("numpy")
    a = numpy.arange(FLOATS, dtype=numpy.float64)
    return a, float(a[::STRIDE].sum())


def queue_big(job):
    array, want = floats()
    q = mp.Queue()

    def produce(numbers):
        for _ in numbers:
            q.put(array)

    def consume(numbers):
        for i in numbers:
            a = q.get()
            if len(a) != FLOATS or a[::STRIDE].sum() != want:
                sys.exit(f"array {i} is another")

    job.split(lambda: job.run(consume if job.side else produce))
    job.report(job.took(1))


def codec_struct(job):
    last = None

    def there_and_back(numbers):
        nonlocal last
        dumps, loads = pickle.dumps, pickle.loads
        for _ in numbers:
            last = loads(dumps(SIX))

    job.run(there_and_back)
    check(last, SIX)
    job.report(job.took(0))


def codec_floats(job):
    """The highest protocol copies least."""
    array, want = floats()

    def there_and_back(numbers):
        for i in numbers:
            a = pickle.loads(pickle.dumps(array, pickle.HIGHEST_PROTOCOL))
            if len(a) != FLOATS or a[::STRIDE].sum() != want:
                sys.exit(f"array {i} is another")

    job.run(there_and_back)
    job.report(job.took(0))


# The rows, and how many processes each has.
ROWS = {
    "queue.stream": (queue_stream, 2),
    "queue.stream.struct": (queue_stream_struct, 2),
    "queue.pingpong": (queue_pingpong, 2),
    "queue.big": (queue_big, 2),
    "codec.struct": (codec_struct, 1),
    "codec.floats": (codec_floats, 1),
}

if __name__ == "__main__":
    sys.exit(peer.main(ROWS))
