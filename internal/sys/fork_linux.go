package sys

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// forkMark is a byte of a page that the kernel gives to this process alone, and zeroed to a process that is forked
// from it.
var forkMark atomic.Pointer[byte]

// MarkProcess makes Forked tell the truth from now on (Linux 4.14, MADV_WIPEONFORK; where that is missing nothing
// happens).
func MarkProcess() {
	if forkMark.Load() != nil {
		return
	}
	page, err := unix.Mmap(-1, 0, os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return
	}
	if unix.Madvise(page, unix.MADV_WIPEONFORK) != nil {
		unix.Munmap(page)
		return
	}
	page[0] = 1
	if !forkMark.CompareAndSwap(nil, &page[0]) {
		unix.Munmap(page)
	}
}

// Forked reports whether this process was forked, without exec, from one that called MarkProcess. It costs a load.
func Forked() bool {
	mark := forkMark.Load()
	return mark != nil && *mark == 0
}

// DontFork keeps a mapping from processes that are forked from this one: they fault where it was.
func DontFork(mapping []byte) error {
	return os.NewSyscallError("madvise(MADV_DONTFORK)", unix.Madvise(mapping, unix.MADV_DONTFORK))
}
