package sys

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	futexWake       = 1
	futexWaitBitset = 9
	futexPrivate    = 128
	futexMatchAny   = 0xffffffff

	futex2U32     = 2
	futex2Private = 128
)

// timespec has 64-bit fields on every architecture, as sysFutex and futex_waitv want.
type timespec struct{ sec, nsec int64 }

// futexWaiter is the kernel's struct futex_waitv.
type futexWaiter struct {
	val, uaddr      uint64
	flags, reserved uint32
}

// Monotonic is the time in nanoseconds on the clock that FutexWait and FutexWaitTwo take deadlines of. It is the
// runtime's clock too, which is read without a system call, but of which package time shows differences only.
func Monotonic() int64 { return origin.now() }

var origin = readClocks(func() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // cannot fail
	return ts.Nano()
})

// clocks are the readings of both at one moment.
type clocks struct {
	kernel int64
	time   time.Time
}

func (c clocks) now() int64 { return c.kernel + int64(time.Since(c.time)) }

// readClocks reads both several times and keeps the two readings that are closest: a process that is stopped between them
// would have its deadlines wrong by as long as that, for good.
func readClocks(kernel func() int64) (c clocks) {
	for i, closest := 0, time.Duration(0); i < 8; i++ {
		before := time.Now()
		at := kernel()
		if took := time.Since(before); i == 0 || took < closest {
			c, closest = clocks{at, before}, took
		}
	}
	return c
}

func deadlineOf(ns int64) *timespec { return &timespec{ns / 1e9, ns % 1e9} }

// FutexWait sleeps while *w is old, until a wake or the deadline (absolute, Monotonic). It returns nil after
// a wake, EAGAIN when *w was not old, ETIMEDOUT, or EINTR.
func FutexWait(w *atomic.Uint32, old uint32, deadline int64) error {
	ts := deadlineOf(deadline)
	_, _, errno := unix.Syscall6(sysFutex, uintptr(unsafe.Pointer(w)), futexWaitBitset, uintptr(old),
		uintptr(unsafe.Pointer(ts)), 0, futexMatchAny)
	runtime.KeepAlive(w)
	return errnoOrNil(errno)
}

// FutexWaitTwo sleeps while *own is 0 and *shared is old (futex_waitv, Linux 5.16). own belongs to this
// process. Errors are those of FutexWait; without one, woken says that a wake of shared was used up, which
// may be so when own was woken too: the kernel reports the last word of the vector that was woken, hence own
// comes first.
func FutexWaitTwo(own, shared *atomic.Uint32, old uint32, deadline int64) (woken bool, err error) {
	vec := [2]futexWaiter{
		{0, uint64(uintptr(unsafe.Pointer(own))), futex2U32 | futex2Private, 0},
		{uint64(old), uint64(uintptr(unsafe.Pointer(shared))), futex2U32, 0},
	}
	ts := deadlineOf(deadline)
	i, _, errno := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(&vec)), 2, 0,
		uintptr(unsafe.Pointer(ts)), unix.CLOCK_MONOTONIC, 0)
	runtime.KeepAlive(own)
	runtime.KeepAlive(shared)
	return errno == 0 && i == 1, errnoOrNil(errno)
}

// FutexMost is how many words FutexWaitAny takes.
const FutexMost = 128

// FutexExpected is a word and what it is expected to be. It does not keep the word's memory, and is no pointer to it for
// the garbage collector: memory that was unmapped meanwhile may be Go's own by now.
type FutexExpected struct{ waiter futexWaiter }

// Expect says that *w is old.
func Expect(w *atomic.Uint32, old uint32) FutexExpected {
	return FutexExpected{futexWaiter{uint64(old), uint64(uintptr(unsafe.Pointer(w))), futex2U32, 0}}
}

// ExpectOwn says that *w is old, a word of this process alone, which FutexWakeOwn wakes.
func ExpectOwn(w *atomic.Uint32, old uint32) FutexExpected {
	return FutexExpected{futexWaiter{uint64(old), uint64(uintptr(unsafe.Pointer(w))), futex2U32 | futex2Private, 0}}
}

// Wake wakes one sleeper of any process on the word. Its memory may be gone, or be something else by now: then this
// wakes nobody, or somebody who looks again.
func (e FutexExpected) Wake() {
	unix.RawSyscall6(sysFutex, uintptr(e.waiter.uaddr), futexWake, 1, 0, 0, 0)
}

// FutexWaitAny sleeps while each of at most FutexMost words is as expected (futex_waitv, Linux 5.16). Errors are those
// of FutexWait, and EFAULT when a word is not there any more; without one, woken is the last of the words that were
// woken. Words are shared ones, to be woken by FutexWake, unless they come from ExpectOwn.
func FutexWaitAny(words []FutexExpected, deadline int64) (woken int, err error) {
	ts := deadlineOf(deadline)
	i, _, errno := unix.Syscall6(unix.SYS_FUTEX_WAITV, uintptr(unsafe.Pointer(unsafe.SliceData(words))), uintptr(len(words)), 0,
		uintptr(unsafe.Pointer(ts)), unix.CLOCK_MONOTONIC, 0)
	runtime.KeepAlive(words)
	if errno != 0 {
		return 0, errno
	}
	return int(i), nil
}

// FutexWake wakes at most n sleepers of any process on w and returns how many. It never blocks.
func FutexWake(w *atomic.Uint32, n int) int { return wake(w, futexWake, n) }

// FutexWakeOwn wakes the FutexWaitTwo or FutexWaitAny of this process that has w as its own word.
func FutexWakeOwn(w *atomic.Uint32) int { return wake(w, futexWake|futexPrivate, 1) }

func wake(w *atomic.Uint32, op uintptr, n int) int {
	const most = 1<<31 - 1
	r, _, errno := unix.RawSyscall6(sysFutex, uintptr(unsafe.Pointer(w)), op, uintptr(min(n, most)), 0, 0, 0)
	runtime.KeepAlive(w)
	if errno != 0 {
		return 0
	}
	return int(r)
}

// HasWaitv reports whether the kernel lets this process use futex_waitv. A seccomp profile's EPERM counts as
// absence.
func HasWaitv() bool {
	var own, shared atomic.Uint32
	_, err := FutexWaitTwo(&own, &shared, 1, 0)
	return err == unix.EAGAIN || err == unix.ETIMEDOUT
}

// HasMembarrier reports whether membarrier(GLOBAL_EXPEDITED) is there (Linux 4.16).
func HasMembarrier() bool {
	const query, globalExpedited = 0, 1 << 1
	r, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, query, 0, 0)
	return errno == 0 && r&globalExpedited != 0
}

// RegisterBarrier makes the Barrier of any process reach this one from now on, until it executes another program, and
// reports whether it does (Linux 4.16). Afterwards a seccomp profile that refuses it makes no difference to that.
func RegisterBarrier() bool {
	const registerGlobalExpedited = 1 << 2
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, registerGlobalExpedited, 0, 0)
	return errno == 0
}

// Barrier is a full memory barrier in each thread that runs now of each process that is registered, and in the
// caller; threads that do not run have had theirs. It reports whether it was one: the kernel may lack it, or refuse it.
func Barrier() bool {
	const globalExpedited = 1 << 1
	_, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, globalExpedited, 0, 0)
	return errno == 0
}

// HasIoUring reports whether io_uring_setup is allowed; futexes on it came with Linux 6.7.
func HasIoUring() bool {
	// A null parameter block is EFAULT where the call is allowed and EPERM or ENOSYS where it is not.
	_, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, 0, 0)
	return errno == unix.EFAULT
}

// HasPidfd reports whether processes can be watched by descriptors (Linux 5.3).
func HasPidfd() bool {
	fd, err := unix.PidfdOpen(unix.Getpid(), 0)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

func errnoOrNil(e syscall.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}
