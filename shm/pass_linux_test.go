package shm_test

import (
	"encoding/binary"
	"errors"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/shm"
)

// What is passed can be claimed once, with the stamp that it was passed with, by whoever knows that.
func TestPass(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	off, mem, err := seg.Allocate(1000)
	proctest.Must(t, err)
	fill(mem, 7)
	stamp, err := seg.Pass(off, nil)
	proctest.Must(t, err)
	proctest.Must(t, seg.Check())
	if err := seg.Deallocate(off); !errors.Is(err, shm.ErrStale) {
		t.Errorf("deallocated what was passed: %v", err)
	}
	if _, err := seg.Pass(off, nil); !errors.Is(err, shm.ErrStale) {
		t.Errorf("passed twice: %v", err)
	}
	if _, err := seg.Claim(off, stamp+1, 10); err != shm.ErrStale {
		t.Errorf("claimed with another stamp: %v", err)
	}
	if _, err := seg.Claim(off, stamp, 1<<19); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("claimed more than there is: %v", err)
	}
	got, err := seg.Claim(off, stamp, 1000)
	proctest.Must(t, err)
	if len(got) != 1000 || got[0] != 7 || got[999] != 7 {
		t.Error("not what was passed")
	}
	if _, err := seg.Claim(off, stamp, 1000); err != shm.ErrStale {
		t.Errorf("claimed twice: %v", err)
	}
	again, err := seg.Pass(off, nil)
	proctest.Must(t, err)
	if again == stamp {
		t.Error("the same stamp again")
	}
	_, err = seg.Claim(off, again, 1000)
	proctest.Must(t, err)
	proctest.Must(t, seg.Deallocate(off))
	proctest.Must(t, seg.Check())
	if n := testing.AllocsPerRun(100, func() {
		off, _, err := seg.Allocate(64)
		if err != nil {
			t.Fatal(err)
		}
		stamp, err := seg.Pass(off, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := seg.Claim(off, stamp, 64); err != nil {
			t.Fatal(err)
		}
		if err := seg.Deallocate(off); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	proctest.Must(t, seg.Close())
	if _, err := seg.Claim(off, again, 1); err == nil {
		t.Error("claimed in a closed segment")
	}
}

// What a dead process has passed and nobody has claimed is swept up, what was claimed is not.
func TestPassOfTheDead(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	other := shm.As(seg, gift.Owner)
	var offs [2]uint64
	var stamps [2]uint32
	for i := range offs {
		offs[i], _, err = other.Allocate(5000)
		proctest.Must(t, err)
		stamps[i], err = other.Pass(offs[i], nil)
		proctest.Must(t, err)
	}
	_, err = seg.Claim(offs[0], stamps[0], 5000)
	proctest.Must(t, err)
	before := used(seg)
	gift.Sent() // its only descriptors
	_, err = seg.Repair()
	proctest.Must(t, err)
	if got := used(seg); got >= before || got == 0 {
		t.Errorf("%d bytes are in use, %d were", got, before)
	}
	if _, err := seg.Claim(offs[1], stamps[1], 5000); err != shm.ErrStale {
		t.Errorf("claimed what was swept up: %v", err)
	}
	proctest.Must(t, seg.Deallocate(offs[0]))
	shm.Spill(seg)
	if n := used(seg); n != 0 {
		t.Errorf("%d bytes used by nobody", n)
	}
	proctest.Must(t, seg.Check())
}

// A part is used without a handle of its own; it must be of the kind that is asked for, and part of what is said.
func TestPartIn(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	kind := shm.Kind{Name: "part", Min: 16, Part: true}
	var whole, another, part shm.Ref
	_, err := shm.Kind{Name: "whole"}.New(&whole, seg, "", 100, nil)
	proctest.Must(t, err)
	_, err = shm.Kind{Name: "whole"}.New(&another, seg, "", 100, nil)
	proctest.Must(t, err)
	mem, err := kind.New(&part, seg, "", 200, func(mem []byte) error {
		binary.NativeEndian.PutUint64(mem, whole.Handle().Offset)
		binary.NativeEndian.PutUint32(mem[8:], whole.Handle().Generation)
		return nil
	})
	proctest.Must(t, err)
	h := part.Handle()
	got, err := kind.PartIn(seg, &whole, h.Offset, h.Generation)
	if err != nil || len(got) != 200 || &got[0] != &mem[0] {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for _, wrong := range []struct {
		kind   shm.Kind
		of     *shm.Ref
		offset uint64
		gen    uint32
		want   error
	}{
		{kind, &another, h.Offset, h.Generation, shm.ErrCorrupt},
		{kind, &whole, h.Offset + 1, h.Generation, shm.ErrCorrupt},
		{kind, &whole, 1 << 50, h.Generation, shm.ErrCorrupt},
		{kind, &whole, h.Offset, h.Generation + 1, shm.ErrStale},
		{kind, &another, whole.Handle().Offset, whole.Handle().Generation, shm.ErrKind},
		{shm.Kind{Name: "whole"}, &another, whole.Handle().Offset, whole.Handle().Generation, shm.ErrCorrupt},
	} {
		if _, err := wrong.kind.PartIn(seg, wrong.of, wrong.offset, wrong.gen); !errors.Is(err, wrong.want) {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	runtime.KeepAlive(&part)
}

// Who is dead is gone when nothing says that its process lives.
func TestGone(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	if seg.Gone(gift.Owner) || seg.Gone(seg.Self()) || !seg.Gone(0) || !seg.Gone(1<<20) {
		t.Error("who lives is gone, or nobody is not")
	}
	shm.Bury(seg, gift.Owner) // it leaves, and may be at work
	if !seg.Dead(gift.Owner) || seg.Gone(gift.Owner) {
		t.Error("who has left is not dead, or gone")
	}
	gift.Sent() // its only descriptors
	if !seg.Gone(gift.Owner) {
		t.Error("who is dead is not gone")
	}
}
