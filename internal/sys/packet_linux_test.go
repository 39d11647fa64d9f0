package sys_test

import (
	"io"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// TestPackets: descriptors arrive with the packet that they were sent with, as copies that no other program inherits;
// more than two are cut; nothing is left of what nobody reads.
func TestPackets(t *testing.T) {
	ours, theirs, err := sys.ControlPair()
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 16)
	for n := range 4 {
		if err := sys.SendPacket(ours, []byte("hello"), slices.Repeat([]*os.File{w}, n)...); err != nil {
			t.Fatal(err)
		}
		got, files, cut, err := sys.ReceivePacket(theirs, buf)
		if string(buf[:got]) != "hello" || len(files) != min(n, 2) || cut != (n > 2) || err != nil {
			t.Errorf("%d files: %q with %d, cut %v, %v", n, buf[:got], len(files), cut, err)
		}
		for _, f := range files {
			flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFD, 0)
			if flags&unix.FD_CLOEXEC == 0 || err != nil {
				t.Errorf("a received descriptor is inherited further: %#x, %v", flags, err)
			}
			f.Close()
		}
	}
	if err := sys.SendPacket(ours, []byte("last"), w); err != nil {
		t.Fatal(err)
	}
	w.Close()
	w.Close()
	if err := sys.SendPacket(ours, nil, w); err == nil {
		t.Error("a closed file was sent")
	}
	ours.Close()
	theirs.Close() // and with it the packet
	if _, err := r.Read(buf); err != io.EOF {
		t.Errorf("a descriptor lives on: %v", err)
	}
	if err := sys.SendPacket(ours, []byte("x")); err == nil {
		t.Error("sent on a closed socket")
	}
}

// A peer that has ended is the end of the file to who reads, and an error to who writes.
func TestPacketsEnd(t *testing.T) {
	ours, theirs, err := sys.ControlPair()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs.Close()
	if n, _, _, err := sys.ReceivePacket(ours, make([]byte, 16)); n != 0 || err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	if err := sys.SendPacket(ours, []byte("x")); err == nil {
		t.Error("sent to nobody")
	}
}

// Without a fork nothing is forked; the mark costs one page, once.
func TestNotForked(t *testing.T) {
	sys.MarkProcess()
	sys.MarkProcess()
	if sys.Forked() {
		t.Error("forked")
	}
	if sys.NoProcess(os.Getpid()) || sys.NoProcess(0) || sys.NoProcess(-1) || !sys.NoProcess(1<<30) {
		t.Error("NoProcess: this process, groups, or more than there can be")
	}
}
