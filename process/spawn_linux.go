package process

import (
	"os/exec"
	"syscall"
)

// dieWithParent lets the kernel kill cmd when the thread ends that starts it. The kernel forgets that if the
// program is set-user-ID, has capabilities, or changes its user.
func dieWithParent(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
