package sys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// Dying reports whether process pid, a process of this pid namespace or one that has ended, will never execute an
// instruction of its program again: all its threads are on their way out of the kernel's do_exit, whose first act is to
// say so. What follows, above all giving back the memory, takes about a tenth of a second for each GiB, and only at its
// end the kernel tells those who wait for the process. An answer of false says nothing: /proc may be missing, or hidden.
func Dying(pid int) bool {
	before, dying := threads(pid)
	if !dying {
		return false
	}
	// A thread that was listed too late was made by one that was listed and ran on at that time, and is listed now. Those
	// who are on their way out make no more.
	after, dying := threads(pid)
	return dying && slices.Equal(before, after)
}

// threads lists the threads of process pid, and reports whether all are on their way out.
func threads(pid int) (names []string, dying bool) {
	dir, err := os.Open(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, false
	}
	defer dir.Close()
	names, err = dir.Readdirnames(-1)
	if err != nil || len(names) == 0 {
		return nil, false
	}
	slices.Sort(names)
	for _, name := range names {
		stat, err := os.ReadFile(dir.Name() + "/" + name + "/stat")
		if err != nil && !gone(err) || err == nil && !exiting(stat) {
			return nil, false
		}
	}
	return names, true
}

// gone reports whether err says that a thread ended between two looks at it.
func gone(err error) bool { return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) }

// exiting reports whether the flags in a stat file of /proc have the kernel's PF_EXITING. They are the seventh field after
// the name of the program, which is in parentheses and may contain some.
func exiting(stat []byte) bool {
	const flagExiting = 4
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&flagExiting != 0
}
