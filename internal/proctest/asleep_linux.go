package proctest

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Asleep waits until a thread of the process sleeps in the kernel on a word of shared memory, or until the
// process has ended or was stopped: then it is false. The test is skipped where /proc does not tell.
func (p *Proc) Asleep() bool { return p.asleep(sleeps) }

// FastAsleep is Asleep, but waits until the sleep is past its first milliseconds, in which package futex does not notice
// what does not concern the word. It needs futex_waitv.
func (p *Proc) FastAsleep() bool {
	return p.asleep(func(call []string) bool { return sleeps(call) && call[0] == futexWaitv })
}

func (p *Proc) asleep(sleeps func(call []string) bool) bool {
	for told := true; ; {
		_, stat, _ := strings.Cut(read(fmt.Sprintf("/proc/%d/stat", p.Pid())), ") ")
		if stat == "" || strings.ContainsAny(stat[:1], "TZX") {
			return false
		}
		if !told {
			p.t.Skip("/proc/*/syscall cannot be read: ptrace is restricted")
		}
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", p.Pid()))
		told = false
		for _, thread := range threads {
			call := strings.Fields(read(thread))
			if told = told || len(call) != 0; sleeps(call) {
				return true
			}
		}
	}
}

// futexWaitv is the number of futex_waitv, one on all architectures.
const futexWaitv = "449"

// sleeps reports whether a thread is in one of the waits of package futex: number and arguments of the call. Those on more
// words than two are of package shm, for deaths. Those of Go's own runtime are FUTEX_WAIT with FUTEX_PRIVATE_FLAG.
func sleeps(call []string) bool {
	const two, waitBitset = "0x2", "0x9"
	return len(call) > 2 && (call[0] == futexWaitv && call[2] == two || call[0] != futexWaitv && call[2] == waitBitset)
}
