package sys

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Supported reports whether this system has what shared segments need.
const Supported = true

// MemoryFile returns a new memory file of size bytes (Linux 3.17, memfd_create): sparse, close-on-exec, and
// sealed against shrinking, growing and further seals, so that no mapping of it can be cut off.
func MemoryFile(name string, size int64) (*os.File, error) {
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := unix.MemfdCreate(name, flags|unix.MFD_NOEXEC_SEAL) // Linux 6.3; may be obligatory
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	if fd, err = aboveStreams(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "memfd:"+name)
	if err := unix.Ftruncate(fd, size); err != nil {
		f.Close()
		return nil, os.NewSyscallError("ftruncate", err)
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl(F_ADD_SEALS)", err)
	}
	return f, nil
}

// Sealed reports whether f can neither shrink nor grow.
func Sealed(f *os.File) bool {
	const both = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW
	var seals int
	err := control(f, func(fd int) (err error) {
		seals, err = unix.FcntlInt(uintptr(fd), unix.F_GET_SEALS, 0)
		return err
	})
	return err == nil && seals&both == both
}

// Commit reserves memory for [off, off+n) of f, so that touching it later cannot fault. The error is ENOSPC
// when the memory behind the file is used up.
func Commit(f *os.File, off, n int64) error {
	return os.NewSyscallError("fallocate", control(f, func(fd int) error {
		return unix.Fallocate(fd, 0, off, n)
	}))
}

// Reopen opens the file behind f anew: another open file description, which shares no locks with f. It needs
// /proc.
func Reopen(f *os.File) (*os.File, error) {
	var path string
	var fd int
	err := control(f, func(d int) (err error) {
		path = fmt.Sprintf("/proc/self/fd/%d", d)
		fd, err = unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		if _, e := os.Stat("/proc/self/fd"); e != nil {
			return nil, fmt.Errorf("a second description of a memory file needs /proc, which is not mounted here: %w",
				&os.PathError{Op: "open", Path: path, Err: err})
		}
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if fd, err = aboveStreams(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

// aboveStreams moves a new descriptor that has the number of a standard stream, because the program has
// closed that, to another number: what is written to the stream (a panic's text) must not go there, and
// os.File takes EPIPE on it for a reason to die. After an error fd is what it was.
func aboveStreams(fd int) (int, error) {
	if fd > 2 {
		return fd, nil
	}
	up, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		return fd, os.NewSyscallError("fcntl(F_DUPFD_CLOEXEC)", err)
	}
	unix.Close(fd)
	return up, nil
}

// LockByte takes the write lock of one byte of f for f's open file description (F_OFD_SETLK, Linux 3.15). It
// reports false when another description has it. The byte need not exist. The kernel gives the lock up when
// the last descriptor of the description is closed, however the processes that had it ended.
func LockByte(f *os.File, at int64) (bool, error) {
	return lockByte(f, at, unix.F_WRLCK)
}

func lockByte(f *os.File, at int64, kind int16) (bool, error) {
	err := flock(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Start: at, Len: 1})
	if err == unix.EAGAIN || err == unix.EACCES {
		return false, nil
	}
	return err == nil, os.NewSyscallError("fcntl(F_OFD_SETLK)", err)
}

// UnlockBytes gives the locks of n bytes up at once, also while another thread of this process waits on them.
func UnlockBytes(f *os.File, at, n int64) error {
	return os.NewSyscallError("fcntl(F_OFD_SETLK)",
		flock(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_UNLCK, Start: at, Len: n}))
}

// BytesLocked reports whether a description other than f's has the write lock of any of n bytes.
func BytesLocked(f *os.File, at, n int64) (bool, error) {
	l := unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: n}
	if err := flock(f, unix.F_OFD_GETLK, &l); err != nil {
		return false, os.NewSyscallError("fcntl(F_OFD_GETLK)", err)
	}
	return l.Type == unix.F_WRLCK, nil
}

// AwaitUnlocked returns when no description other than f's has the write lock of any of n bytes (F_OFD_SETLKW). It blocks
// its thread, and nothing but that ends it: not even closing f. f should be used for nothing else: it has a lock for
// reading for a moment.
func AwaitUnlocked(f *os.File, at, n int64) error {
	err := flock(f, unix.F_OFD_SETLKW, &unix.Flock_t{Type: unix.F_RDLCK, Start: at, Len: n})
	if err != nil {
		return os.NewSyscallError("fcntl(F_OFD_SETLKW)", err)
	}
	return UnlockBytes(f, at, n)
}

func flock(f *os.File, cmd int, l *unix.Flock_t) error {
	return control(f, func(fd int) error { return unix.FcntlFlock(uintptr(fd), cmd, l) })
}

// control calls do with f's descriptor, which cannot be closed (and its number reused) meanwhile, again after
// EINTR.
func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return os.ErrClosed
	}
	var errDo error
	err = c.Control(func(fd uintptr) {
		for errDo = unix.EINTR; errDo == unix.EINTR; {
			errDo = do(int(fd))
		}
	})
	if err != nil {
		return os.ErrClosed // Control fails for no other reason
	}
	return errDo
}

// PidNamespace identifies this process's pid namespace, which never changes; 0 if /proc could not tell when it was
// asked first.
func PidNamespace() uint64 { return pidNamespace() }

var pidNamespace = sync.OnceValue(func() uint64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return 0
	}
	return st.Ino
})

// Random fills p with random bytes.
func Random(p []byte) error {
	for len(p) > 0 {
		n, err := unix.Getrandom(p, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("getrandom", err)
		}
		p = p[max(n, 0):]
	}
	return nil
}
