"""forker.py LIBRARY OWNER HANDLE HOW: what forker.c does, in Python."""
import ctypes
import os
import signal
import sys

library, owner, handle, how = sys.argv[1:]
shoal = ctypes.CDLL(library)


def child(call, stays):
    """Fork; again if the child hangs in Go, as forker.c explains."""
    for _ in range(20):
        done, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            signal.alarm(2)
            if call and call() != 0:
                os._exit(1)
            signal.alarm(0)
            if stays:
                os.write(1, b"child\n")
            os.write(write, b"x")
            while stays and os.read(0, 1):
                pass
            os._exit(0)
        os.close(write)
        ok = os.read(done, 1) == b"x"
        os.close(done)
        if ok and stays:
            return
        status = os.waitpid(pid, 0)[1]
        if ok and status == 0:
            return
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGALRM:
            break
    sys.exit(1)


if shoal.shoal_open(ctypes.c_uint(int(owner)), handle.encode()) != 0:
    sys.exit(1)
child(shoal.shoal_forked, False)
if shoal.shoal_alive() != 0:
    sys.exit(1)
child(None if how == "silent" else shoal.shoal_forked, True)
if shoal.shoal_alive() != 0:
    sys.exit(1)
os.write(1, b"parent\n")
while os.read(0, 1):
    pass
