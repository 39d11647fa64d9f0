package shm_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/shm"
)

func dup(t *testing.T, f *os.File) *os.File {
	t.Helper()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), f.Name())
}

// A parent that is stopped between starting a child and closing its copy of the child's descriptor does not
// keep the child alive once that has begun to run.
func TestParentStoppedBeforeSent(t *testing.T) {
	seg := proctest.Segment(t, 0)
	gift, err := seg.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	defer gift.Sent()
	childs := dup(t, gift.Alive) // as exec leaves it in the child
	own, err := shm.TakeOver(gift.Owner, gift.Memory, childs)
	if err != nil {
		t.Fatal(err)
	}
	if seg.Dead(gift.Owner) {
		t.Error("the child is dead while it runs")
	}
	own.Close() // the child dies
	if !seg.Dead(gift.Owner) {
		t.Error("the child lives by the parent's descriptor")
	}
}

// Between the two bytes there is no moment without a lock: the second is locked before the first is unlocked.
func TestTakeOverTaken(t *testing.T) {
	seg := proctest.Segment(t, 0)
	gift, err := seg.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	defer gift.Abandon()
	other, err := sys.Reopen(gift.Memory)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if ok, err := sys.LockByte(other, shm.LockAt(gift.Owner)+1); !ok || err != nil {
		t.Fatal(ok, err)
	}
	if _, err := shm.TakeOver(gift.Owner, gift.Memory, gift.Alive); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("the second byte is taken: %v", err)
	}
	other.Close()
	if seg.Dead(gift.Owner) {
		t.Error("a take-over that failed ended the child")
	}
}

// Somebody who locks all the bytes there are is an error, not an endless search.
func TestBytesTaken(t *testing.T) {
	seg := proctest.Segment(t, 0)
	gift, err := seg.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	defer gift.Abandon()
	vandal, err := sys.Reopen(gift.Memory)
	if err != nil {
		t.Fatal(err)
	}
	defer vandal.Close()
	for i := range uint32(8) {
		if _, err := sys.LockByte(vandal, shm.LockAt(gift.Owner+1+i|1<<12)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := seg.Prepare(); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("the bytes are locked: %v", err)
	}
}

// A segment that is closed while a child is started does not take the child's memory away.
func TestCloseBetweenPrepareAndStart(t *testing.T) {
	seg := proctest.Segment(t, 0)
	gift, err := seg.Prepare()
	if err != nil {
		t.Fatal(err)
	}
	if err := seg.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := gift.Memory.Stat(); err != nil {
		t.Error(err)
	}
	gift.Sent()
}

// An error of init is returned as it is, also one that looks like the directory's.
func TestInitSaysExist(t *testing.T) {
	seg := proctest.Segment(t, 0)
	n := 0
	var r shm.Ref
	_, err := shm.Kind{Name: "test"}.OpenOrNew(&r, seg, "x", 8, func([]byte) error {
		n++
		return fmt.Errorf("mine: %w", fs.ErrExist)
	})
	if !errors.Is(err, fs.ErrExist) || n != 1 {
		t.Errorf("%v after %d calls of init", err, n)
	}
}

// A handle in use makes no object.
func TestNewOnUsedRef(t *testing.T) {
	seg := proctest.Segment(t, 0)
	var r shm.Ref
	k := shm.Kind{Name: "test"}
	if _, err := k.New(&r, seg, "a", 8, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := k.New(&r, seg, "b", 8, nil); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("New with a handle in use: %v", err)
	}
	if _, err := k.Open(new(shm.Ref), seg, "b"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it made the object all the same: %v", err)
	}
}
