"""peer.py OFFSET: what peer.c does, in Python. Compare-and-swap is libatomic's, which comes with gcc."""
import ctypes
import fcntl
import mmap
import os
import struct
import sys
import time

SLOTS_USED, SLOTS_AT, SLOT_SIZE, SLOT_COUNT = 128, 28672, 128, 4096
FREE, CLAIMED, LIVE = 0, 1, 2
GENERATION = 1 << 12

atomic = ctypes.CDLL("libatomic.so.1")
size = os.fstat(3).st_size
memory = mmap.mmap(3, size)
memory.madvise(mmap.MADV_DONTFORK)
assert memory[:8] == b"SHOAL\xff\r\n" and struct.unpack_from("<I4xQ", memory, 8) == (1, size), "not a segment"


def swap(kind, at, old, new):
    """Compare-and-swap of the word of that kind at an offset."""
    do = getattr(atomic, "__atomic_compare_exchange_%d" % ctypes.sizeof(kind))
    do.restype = ctypes.c_bool
    word, expected = kind.from_buffer(memory, at), kind(old)
    return do(ctypes.byref(word), ctypes.byref(expected), kind(new), 5, 5)


def store(at, value):
    ctypes.c_uint64.from_buffer(memory, at).value = value


# Claim a slot that was never used.
while True:
    slot = struct.unpack_from("<I", memory, SLOTS_USED)[0]
    assert slot < SLOT_COUNT, "no slot"
    at = SLOTS_AT + SLOT_SIZE * slot
    if slot % (4096 // SLOT_SIZE) == 0:
        os.posix_fallocate(3, at, 4096)
    won = swap(ctypes.c_uint32, at, FREE, GENERATION | CLAIMED)
    swap(ctypes.c_uint32, SLOTS_USED, slot, slot + 1)
    if won:
        break
ident = GENERATION | slot

# Prove it, by a lock on a description for nothing else.
life = os.open("/proc/self/fd/3", os.O_RDWR | os.O_CLOEXEC)
lock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, (1 << 62) + 2 * ident, 1, 0)
fcntl.fcntl(life, fcntl.F_OFD_SETLK, lock)
assert swap(ctypes.c_uint32, at, GENERATION | CLAIMED, GENERATION | LIVE), "expired"
os.register_at_fork(after_in_child=lambda: os.close(life))

# Say who this is.
store(at + 16, os.stat("/proc/self/ns/pid").st_ino)
store(at + 24, time.time_ns())
store(at + 8, ident << 32 | os.getpid())

assert swap(ctypes.c_uint64, int(sys.argv[1]), 0, ident << 32 | 1), "the owner word is taken"
os.write(1, b"child\n" if os.fork() == 0 else b"%d\n" % ident)
while os.read(0, 1):
    pass
