package sys

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Bind binds this process, that is all its threads, those included that it starts later, to the given CPUs.
func Bind(cpus ...int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu) // a CPU beyond what a set can hold adds nothing, and an empty set is EINVAL
	}
	// A thread inherits from the one that starts it, so a thread that is missed was started by one that was
	// not bound yet: look until there is no new one.
	bound := make(map[int]bool)
	for {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		before := len(bound)
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err != nil || bound[tid] {
				continue
			}
			if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("binding to CPUs %d: %w", cpus, os.NewSyscallError("sched_setaffinity", err))
			}
			bound[tid] = true
		}
		if len(bound) == before {
			return nil
		}
	}
}

// CPUs lists those that the calling thread may run on; nil if the system does not tell.
func CPUs() (cpus []int) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	for cpu := range 8 * int(unsafe.Sizeof(set)) {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

// CurrentCPU is the CPU on which the caller runs, or ran a moment ago; -1 if the system does not tell.
func CurrentCPU() int {
	var cpu uint32
	if _, _, errno := unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0); errno != 0 {
		return -1
	}
	return int(cpu)
}

// Yield lets another thread run on the CPU of the calling one, if one is ready to.
func Yield() { unix.RawSyscall(unix.SYS_SCHED_YIELD, 0, 0, 0) }

// CPUTime is how long this process has run until now, all its threads together.
func CPUTime() (time.Duration, error) { return cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) }

// CPUTimeOf is how long another process has run until now, all its threads together, without its children.
func CPUTimeOf(pid int) (time.Duration, error) {
	const scheduled = 2 // the time that the scheduler counts, of all threads: clock_getcpuclockid(3)
	return cpuTime(int32(^pid<<3 | scheduled))
}

func cpuTime(clock int32) (time.Duration, error) {
	var t unix.Timespec
	err := unix.ClockGettime(clock, &t)
	return time.Duration(t.Nano()), os.NewSyscallError("clock_gettime", err)
}
