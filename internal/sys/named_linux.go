package sys

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// MemoryDir opens a directory in whose files memory can be shared, and returns it with the size of the pages
// of its files. It is an error if the file system there is another one than tmpfs or hugetlbfs: on others
// (9p, virtiofs, overlays) a mapping may not see what others write, and bytes go to a disk.
func MemoryDir(path string) (dir *os.File, page int, err error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		// Not fs.ErrNotExist, which is what a missing file is.
		return nil, 0, fmt.Errorf("%w: there is no directory %s: mount a tmpfs there", errors.ErrUnsupported, path)
	}
	if err != nil {
		return nil, 0, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if fd, err = aboveStreams(fd); err != nil {
		unix.Close(fd)
		return nil, 0, err
	}
	dir = os.NewFile(uintptr(fd), path)
	var st unix.Statfs_t
	if err := unix.Fstatfs(fd, &st); err != nil {
		dir.Close()
		return nil, 0, &os.PathError{Op: "statfs", Path: path, Err: err}
	}
	if !inMemory(&st) {
		dir.Close()
		return nil, 0, fmt.Errorf("%w: the file system at %s is of type %#x, and shared memory needs a tmpfs there",
			errors.ErrUnsupported, path, uint32(st.Type))
	}
	return dir, max(int(st.Bsize), os.Getpagesize()), nil
}

func inMemory(st *unix.Statfs_t) bool {
	t := uint32(st.Type)
	return t == unix.TMPFS_MAGIC || t == unix.HUGETLBFS_MAGIC
}

// InMemory reports whether f is a file of tmpfs or hugetlbfs.
func InMemory(f *os.File) bool {
	var st unix.Statfs_t
	err := control(f, func(fd int) error { return unix.Fstatfs(fd, &st) })
	return err == nil && inMemory(&st)
}

// NewUnnamedAt makes a file in dir that has no name, for reading and writing (O_TMPFILE, Linux 3.11).
func NewUnnamedAt(dir *os.File) (*os.File, error) {
	return openAt(dir, ".", unix.O_TMPFILE|unix.O_RDWR)
}

// NewAt makes a file in dir for reading and writing; fs.ErrExist if the name is taken.
func NewAt(dir *os.File, name string) (*os.File, error) {
	return openAt(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_RDWR)
}

// OpenAt opens a file in dir, for reading alone or for writing too. It follows no symbolic link in the place
// of the file, and does not wait for the other end of a pipe.
func OpenAt(dir *os.File, name string, write bool) (*os.File, error) {
	if write {
		return openAt(dir, name, unix.O_RDWR)
	}
	return openAt(dir, name, unix.O_RDONLY)
}

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	var fd int
	err := control(dir, func(d int) (err error) {
		fd, err = unix.Openat(d, name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY, 0o600)
		return err
	})
	path := filepath.Join(dir.Name(), name)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	if fd, err = aboveStreams(fd); err != nil {
		unix.Close(fd)
		return nil, err
	}
	// Without O_NONBLOCK, which os.NewFile takes for a wish to have it in the netpoller, where files cannot
	// be.
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// LinkAt gives f, which has no name, a name in dir; fs.ErrExist if that is taken. Without proc it needs
// Linux 6.10, or CAP_DAC_READ_SEARCH before; with proc it needs /proc.
func LinkAt(f, dir *os.File, name string, proc bool) error {
	err := control(f, func(fd int) error {
		return control(dir, func(d int) error {
			if proc {
				return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), d, name, unix.AT_SYMLINK_FOLLOW)
			}
			return unix.Linkat(fd, "", d, name, unix.AT_EMPTY_PATH)
		})
	})
	return os.NewSyscallError("linkat", err)
}

// RenameAt gives a file in dir another name; fs.ErrExist if that is taken (renameat2, Linux 3.15).
func RenameAt(dir *os.File, from, to string) error {
	return os.NewSyscallError("renameat2", control(dir, func(d int) error {
		return unix.Renameat2(d, from, d, to, unix.RENAME_NOREPLACE)
	}))
}

// RemoveAt removes a name from dir.
func RemoveAt(dir *os.File, name string) error {
	return os.NewSyscallError("unlinkat", control(dir, func(d int) error { return unix.Unlinkat(d, name, 0) }))
}

// LeadsTo reports whether name in dir is f.
func LeadsTo(dir *os.File, name string, f *os.File) (bool, error) {
	var at, of unix.Stat_t
	err := control(dir, func(d int) error { return unix.Fstatat(d, name, &at, unix.AT_SYMLINK_NOFOLLOW) })
	if errors.Is(err, unix.ENOENT) {
		return false, nil
	}
	if err == nil {
		err = control(f, func(fd int) error { return unix.Fstat(fd, &of) })
	}
	return at.Dev == of.Dev && at.Ino == of.Ino, os.NewSyscallError("fstatat", err)
}

// ListDir lists the names in a directory that MemoryDir opened.
func ListDir(dir *os.File) ([]string, error) {
	f, err := openAt(dir, ".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

// Owner is the user to whom a file belongs, -1 if that is not known.
func Owner(info fs.FileInfo) int {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid)
	}
	return -1
}

// LockByteShared takes the read lock of one byte of f for f's open file description. It reports false when
// another description has the write lock.
func LockByteShared(f *os.File, at int64) (bool, error) {
	return lockByte(f, at, unix.F_RDLCK)
}

// HugePages asks for huge pages behind mem (Linux 4.8 for shared memory). It is a wish: a kernel that has
// none goes on with small ones.
func HugePages(mem []byte) { unix.Madvise(mem, unix.MADV_HUGEPAGE) }

// Populate touches every page of mem, which is reserved, or else is ENOSPC when there is no memory for it
// (Linux 5.14; before it does nothing, and pages are mapped as they are used).
func Populate(mem []byte) error {
	for {
		switch err := unix.Madvise(mem, unix.MADV_POPULATE_WRITE); err {
		case unix.EINTR, unix.EAGAIN:
		case nil, unix.EINVAL:
			return nil
		case unix.EFAULT, unix.ENOMEM: // where a touch would be SIGBUS
			return os.NewSyscallError("madvise", unix.ENOSPC)
		default:
			return os.NewSyscallError("madvise", err)
		}
	}
}

// Pin keeps the pages of mem in memory, from their first use on (mlock2 with MLOCK_ONFAULT, Linux 4.4).
func Pin(mem []byte) error { return os.NewSyscallError("mlock2", mlock(mem)) }
