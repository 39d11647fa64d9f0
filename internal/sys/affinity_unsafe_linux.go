package sys

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SetAffinity binds the calling thread to one CPU. The caller has locked its goroutine to the thread
// (runtime.LockOSThread) and does not unlock it, else goroutines that know nothing of it run bound; threads
// that it starts are bound too.
func SetAffinity(cpu int) error {
	var set unix.CPUSet
	set.Set(cpu) // a CPU beyond what a set can hold leaves it empty, which is EINVAL
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &set))
}

// CurrentCPU is the CPU on which the caller runs, or ran a moment ago; -1 if the system does not tell.
func CurrentCPU() int {
	var cpu uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); errno != 0 {
		return -1
	}
	return int(cpu)
}
