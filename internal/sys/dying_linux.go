package sys

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
)

// Dying reports whether process pid, a process of this pid namespace or one that has ended, will never execute an
// instruction of its program again: all its threads are on their way out of the kernel's do_exit, whose first act is to
// say so. What follows, above all giving back the memory, takes about a tenth of a second for each GiB, and only at its
// end the kernel tells those who wait for the process. An answer of false says nothing: /proc may be missing, or hidden, or
// a thread may just have ended.
func Dying(pid int) bool { return dying(fmt.Sprintf("/proc/%d", pid)) }

// dying is Dying of the process with that directory in /proc.
func dying(proc string) bool {
	dir, err := os.Open(proc + "/task")
	if err != nil {
		return false
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil || !allExiting(dir.Name(), names) {
		return false
	}
	// The list may lack some that run: those that were made since, and, where a thread ended while it was listed, all that
	// come after it. So the threads are counted. Those of the list were on their way out before that, when one makes no more
	// threads, and are there after it: if there are no more than these, there is nobody else.
	stat, err := os.ReadFile(proc + "/stat")
	return err == nil && statField(stat, statThreads) == uint64(len(names)) && allExiting(dir.Name(), names)
}

// allExiting reports whether each of these threads is there, and on its way out.
func allExiting(dir string, names []string) bool {
	for _, name := range names {
		stat, err := os.ReadFile(dir + "/" + name + "/stat")
		if err != nil || !exiting(stat) {
			return false
		}
	}
	return true
}

// exiting reports whether the flags in a stat file of /proc have the kernel's PF_EXITING.
func exiting(stat []byte) bool {
	const flagExiting = 4
	return statField(stat, statFlags)&flagExiting != 0
}

// Fields of a stat file in /proc, as proc(5) counts them.
const (
	statFlags   = 9
	statThreads = 20
)

// statField is a field after the second, the name of the program, which is in parentheses and may contain some; 0 if it is
// not there.
func statField(stat []byte, n int) uint64 {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) <= n-3 {
		return 0
	}
	v, _ := strconv.ParseUint(string(fields[n-3]), 10, 64)
	return v
}
