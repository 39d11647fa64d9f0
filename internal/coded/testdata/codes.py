"""codes.py FILE {OFFSET NUMBER CODE STORED}: says what is in numbers of Python's shared ctypes that lie in a segment, and stores others.

OFFSET is that of a value's payload with NUMBER -1, else of an array's, and NUMBER that of the element. STORED is a number of Python.
"""
import ctypes
import mmap
import sys
from multiprocessing.sharedctypes import typecode_to_type

with open(sys.argv[1], "r+b") as f:
    memory = mmap.mmap(f.fileno(), 0)
rest = sys.argv[2:]
while rest:
    offset, number, code, stored = int(rest[0]), int(rest[1]), rest[2], rest[3]
    rest = rest[4:]
    ctype = typecode_to_type[code]
    size = ctypes.sizeof(ctype)
    if number >= 0:
        old = new = ctype.from_buffer(memory, offset + 128 + number * size)
    else:
        count = ctypes.c_uint32.from_buffer(memory, offset + 24)
        old, new = (ctype.from_buffer(memory, offset + 32 + 8 * ((count.value + i) & 1)) for i in (0, 1))
    was = old.value
    print(size, ord(was) if code in "cu" else repr(was))
    new.value = {"c": lambda x: bytes([int(x)]), "u": lambda x: chr(int(x)), "f": float, "d": float}.get(code, int)(stored)
    if number < 0:
        count.value += 1
