//go:build linux && (386 || arm || mips || mipsle)

package sys

import "golang.org/x/sys/unix"

// sysFutex takes a 64-bit timespec, as futex_waitv does on every architecture (Linux 5.1).
const sysFutex = unix.SYS_FUTEX_TIME64
