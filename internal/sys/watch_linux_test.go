package sys_test

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// A wait on many words ends when one differs, or is woken.
func TestFutexWaitAny(t *testing.T) {
	if !sys.HasWaitv() {
		t.Skip("the kernel has no futex_waitv, or a sandbox refuses it")
	}
	w := new([sys.FutexMost]atomic.Uint32)
	t.Cleanup(func() { runtime.KeepAlive(w) }) // not on the stack, which moves
	var words []sys.FutexExpected
	for i := range w {
		words = append(words, sys.Expect(&w[i], 0))
	}
	if _, err := sys.FutexWaitAny(words, sys.Monotonic()); err != syscall.ETIMEDOUT {
		t.Errorf("a deadline that has passed: %v", err)
	}
	for i := range w {
		w[i].Store(1)
		if _, err := sys.FutexWaitAny(words, sys.Monotonic()+1<<40); err != syscall.EAGAIN {
			t.Errorf("word %d differs: %v", i, err)
		}
		w[i].Store(0)
	}
	words[0] = sys.ExpectOwn(&w[0], 0)
	for i, wake := range map[int]func(){
		0:                 func() { sys.FutexWakeOwn(&w[0]) },
		1:                 words[1].Wake,
		sys.FutexMost - 1: func() { sys.FutexWake(&w[sys.FutexMost-1], 1) },
	} {
		woken := make(chan int)
		go func() {
			i, err := sys.FutexWaitAny(words, sys.Monotonic()+1<<40)
			if err != nil {
				t.Error(err)
			}
			woken <- i
		}()
		for done := false; !done; {
			wake()
			select {
			case got := <-woken:
				if done = true; got != i {
					t.Errorf("word %d was woken, and the kernel says %d", i, got)
				}
			default:
			}
		}
	}
}

// The end of a process is seen, and so is that its descriptor is closed.
func TestAwaitEnd(t *testing.T) {
	if _, err := sys.OpenProcess(1 << 30); !errors.Is(err, syscall.ESRCH) && !errors.Is(err, syscall.EINVAL) {
		t.Errorf("no such process: %v", err)
	}
	cat := exec.Command("cat")
	stdin, err := cat.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cat.Start(); err != nil {
		t.Fatal(err)
	}
	var fs [2]*os.File
	ended := make(chan error)
	for i := range fs {
		if fs[i], err = sys.OpenProcess(cat.Process.Pid); err != nil {
			t.Fatal(err)
		}
	}
	go func() { ended <- sys.AwaitEnd(fs[0]) }()
	fs[0].Close()
	if err := <-ended; err == nil {
		t.Error("a process ended when a descriptor of it was closed")
	}
	go func() { ended <- sys.AwaitEnd(fs[1]) }()
	stdin.Close()
	if err := errors.Join(<-ended, cat.Wait()); err != nil {
		t.Error(err)
	}
	fs[1].Close()
}
