package sys_test

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// TestByteLocks: what keeps the lock of a byte, which is a participant's life, and what does not. A lock
// belongs to the open file description: to whatever refers to that, a duplicate or a mapping too, and to
// nothing else.
func TestByteLocks(t *testing.T) {
	memory, err := sys.MemoryFile("test", 4096)
	if err != nil {
		t.Fatal(err)
	}
	defer memory.Close()
	open := func() *os.File {
		t.Helper()
		f, err := sys.Reopen(memory)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	const at = 1 << 62
	locked := func(what string, want bool) {
		t.Helper()
		got, err := sys.BytesLocked(memory, at, 2)
		if got != want || err != nil {
			t.Errorf("%s: locked %v, %v, want %v", what, got, err, want)
		}
	}
	lock := func(f *os.File, want bool) {
		t.Helper()
		if got, err := sys.LockByte(f, at+1); got != want || err != nil {
			t.Errorf("LockByte: %v, %v, want %v", got, err, want)
		}
	}

	a, b := open(), open()
	locked("nobody has it", false)
	lock(a, true)
	lock(a, true)
	lock(b, false)
	locked("another description has it", true)
	if own, err := sys.BytesLocked(a, at, 2); own || err != nil {
		t.Errorf("its own lock is in its way: %v, %v", own, err)
	}
	b.Close() // the process's locks of the older kind would all go with that
	locked("another description was closed", true)
	a.Close()
	locked("its description was closed", false)

	a = open()
	lock(a, true)
	dup, err := unix.FcntlInt(a.Fd(), unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	locked("a duplicate is left", true)
	unix.Close(dup)
	locked("the duplicate was closed", false)

	a = open()
	lock(a, true)
	mem, err := unix.Mmap(int(a.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	locked("a mapping is left", true)
	unix.Munmap(mem)
	locked("the mapping is gone", false)

	a = open()
	lock(a, true)
	if dup, err = unix.FcntlInt(a.Fd(), unix.F_DUPFD_CLOEXEC, 3); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(dup)
	if err := sys.UnlockBytes(a, at, 2); err != nil {
		t.Error(err)
	}
	locked("unlocked, and a duplicate is left", false)
}
