//go:build !linux

package process

import "os/exec"

// dieWithParent does nothing here.
func dieWithParent(cmd *exec.Cmd) {}
