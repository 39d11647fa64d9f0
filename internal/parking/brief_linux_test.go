package parking_test

import (
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/parking"
)

// A signal in the first part of a sleep does not make it shorter: over, which is asked at its end, and again after a second
// only, may have something to do by then (package robust records the wait).
func TestSignalInBriefSleep(t *testing.T) {
	if !waitv() {
		t.Skip("the kernel has no futex_waitv")
	}
	b := sharedBlock(t)
	w := b.Uint32(0)
	for range 20 {
		thread, asked := make(chan int, 1), make(chan time.Duration, 1)
		var over atomic.Bool
		go func() {
			runtime.LockOSThread()
			thread <- syscall.Gettid()
			began := time.Now()
			parking.Wait(t.Context(), w, 0, func() bool {
				if !over.Swap(true) {
					asked <- time.Since(began)
				}
				return true
			})
		}()
		tid := <-thread
		for range 10 {
			time.Sleep(200 * time.Microsecond)
			syscall.Tgkill(os.Getpid(), tid, syscall.SIGURG)
		}
		if at := <-asked; at < 5*time.Millisecond {
			t.Fatalf("over was asked after %v", at)
		}
	}
	runtime.KeepAlive(b)
}
