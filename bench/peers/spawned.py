#!/usr/bin/env python3
"""Measure process.startjoin with python-spawn: spawned.py ROW IMPL N CPUS, called and answering as peer.h says.

A spawned child runs its parent's main module again. So this one has nothing but what the child needs.
"""


def take_and_give(lock):
    with lock:
        pass


if __name__ == "__main__":
    import multiprocessing
    import os
    import sys

    import peer

    def process_startjoin(job):
        peer.start_and_join(job, multiprocessing.get_context("spawn"), take_and_give)

    sys.exit(peer.main({"process.startjoin": (process_startjoin, os.cpu_count())}, "python-spawn"))
