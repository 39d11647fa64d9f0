package sys

import (
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RobustList is what the kernel looks at when the thread ends for which it was set (set_robust_list): a chain of nodes,
// each of which stands RobustOffset bytes behind a word, ending where it began. Where such a word has the thread's number,
// the kernel puts RobustDied in its place and wakes one sleeper, before it gives back the thread's memory. It must not be
// moved while it is set; so it is part of something in the Go heap that stays reachable.
type RobustList struct {
	first   atomic.Uintptr
	offset  int
	pending uintptr
}

const (
	// RobustOffset is the distance from a word to its node.
	RobustOffset = 8
	// RobustDied is the bit of a word whose thread has ended, RobustWaiters makes the kernel wake somebody then.
	RobustDied    = 1 << 30
	RobustWaiters = 1 << 31
)

// Set makes l, which Link was called for, the robust list of the calling thread, to which the goroutine must be locked. restore gives
// the thread back the list that it had (the C library's). thread is its number.
func (l *RobustList) Set() (thread uint32, restore func(), err error) {
	var old, size uintptr
	if _, _, errno := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, 0, uintptr(unsafe.Pointer(&old)), uintptr(unsafe.Pointer(&size))); errno != 0 {
		return 0, nil, errno
	}
	l.offset = -RobustOffset
	if errno := setRobustList(uintptr(unsafe.Pointer(l))); errno != 0 {
		return 0, nil, errno
	}
	return uint32(unix.Gettid()), func() {
		setRobustList(old)
		runtime.KeepAlive(l) // the kernel knew it until now
	}, nil
}

func setRobustList(at uintptr) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_SET_ROBUST_LIST, at, unsafe.Sizeof(RobustList{}), 0)
	return errno
}

// Link makes nodes the chain, in this order. At each instant those that were in it and stay are in it, and none that is
// not in nodes is reached once Link has returned. Nodes may lie in memory that other processes write, and are not read. If
// one cannot be written (a fault that the caller recovers), what comes before it is chained as it was.
func (l *RobustList) Link(nodes []*atomic.Uint64) {
	next := uintptr(unsafe.Pointer(l))
	for i := len(nodes) - 1; i >= 0; i-- {
		nodes[i].Store(uint64(next)) // where a pointer has 32 bits the low half is at the node's address
		next = uintptr(unsafe.Pointer(nodes[i]))
	}
	l.first.Store(next)
}
