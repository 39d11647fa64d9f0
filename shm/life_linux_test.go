package shm_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// givesUp is a child that closes what its life is bound to, and keeps all else.
var givesUp = proctest.NewRole("gives-up", func(ctx context.Context, c *proctest.Child, b twoBlocks) error {
	seg := b.A.Segment()
	c.Say("%d", seg.Self())
	c.Hear()
	if err := shm.Life(seg).Close(); err != nil {
		return err
	}
	c.Say("closed")
	c.Hear()
	b.A.Uint32(0).Add(1)
	return nil
})

// The description that a life is bound to is there for nothing else: it is not what is mapped, and nobody has
// a duplicate, for each of those would keep the life after its process's death.
func TestLifeIsPrivate(t *testing.T) {
	seg := proctest.Segment(t, 0)
	b := twoIn(t, seg)
	p := givesUp.Start(t, b)
	id, err := strconv.ParseUint(p.Line(), 10, 32)
	proctest.Must(t, err)
	if seg.Dead(uint32(id)) {
		t.Error("a child that runs is dead")
	}
	p.Tell("close")
	p.WaitLine("closed")
	if !seg.Dead(uint32(id)) {
		t.Error("a child lives by something else than its own description")
	}
	p.Tell("end")
	proctest.Must(t, p.Wait())

	if seg.Dead(seg.Self()) {
		t.Error("this process is dead")
	}
	proctest.Must(t, shm.Life(seg).Close())
	if !seg.Dead(seg.Self()) {
		t.Error("the maker of the segment lives by something else than its own description")
	}
	if n := b.A.Uint32(0).Load(); n != 1 {
		t.Errorf("the mapping is gone: %d", n)
	}
}

// leavesCat starts another program, which goes on when this process is killed.
var leavesCat = proctest.NewRole("leaves-cat", func(ctx context.Context, c *proctest.Child, b twoBlocks) error {
	cat := exec.Command("cat")
	cat.Stdin, cat.Stdout = os.NewFile(5, "stdin"), os.NewFile(6, "stdout")
	if err := cat.Start(); err != nil {
		return err
	}
	c.Say("%d", b.A.Segment().Self())
	c.Hear()
	return nil
})

// Another program that a process starts does not keep the process alive in its segments.
func TestOtherProgramKeepsNobodyAlive(t *testing.T) {
	seg := proctest.Segment(t, 0)
	stdin, tell, err := os.Pipe()
	proctest.Must(t, err)
	defer tell.Close() // ends cat
	read, stdout, err := os.Pipe()
	proctest.Must(t, err)
	defer read.Close()
	p := leavesCat.Start(t, twoIn(t, seg), process.Options{Files: []*os.File{stdin, stdout}})
	stdin.Close()
	stdout.Close()
	id, err := strconv.ParseUint(p.Line(), 10, 32)
	proctest.Must(t, err)
	p.Kill()
	p.Wait()
	if !seg.Dead(uint32(id)) {
		t.Error("a killed process lives by a program that it had started")
	}
	_, err = io.WriteString(tell, "still there\n")
	proctest.Must(t, err)
	var word string
	if _, err := fmt.Fscan(read, &word); word != "still" {
		t.Errorf("the other program: %q, %v", word, err)
	}
}

// The words of a slot and of the header, for tests that make a claimer stop where they want.
const (
	slotFree    = 0
	slotClaimed = 1
	slotLive    = 2
	slotCount   = 4096
	generation  = 1 << 12
)

func slotWord(seg *shm.Segment, slot uint32) uint32 {
	return binary.LittleEndian.Uint32(shm.Memory(seg)[shm.SlotsAt+128*slot:])
}

func setSlotWord(seg *shm.Segment, slot, word uint32) {
	binary.LittleEndian.PutUint32(shm.Memory(seg)[shm.SlotsAt+128*slot:], word)
}

// allUsed makes it so that each slot was used before, by the generation given, and is in that state now, but
// for that of this process.
func allUsed(seg *shm.Segment, word uint32) {
	for i := range uint32(slotCount) {
		if i != seg.Self()%slotCount {
			setSlotWord(seg, i, word)
		}
	}
	binary.LittleEndian.PutUint32(shm.Memory(seg)[128:], slotCount)
}

// prepare claims a slot, as for a child.
func prepare(t *testing.T, seg *shm.Segment) (id uint32, abandon func()) {
	t.Helper()
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	return gift.Owner, gift.Abandon
}

// A claimer that is stopped between its claim and its proof does not bring the slot's last holder, who died,
// back to life: neither before it has locked its byte nor after.
func TestClaimerStopped(t *testing.T) {
	seg := proctest.Segment(t, 0)
	claimer, err := sys.Reopen(shm.File(seg))
	proctest.Must(t, err)
	defer claimer.Close()
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	gift.Sent() // dies, and nobody notices
	id := gift.Owner
	next, slot := id+generation, id%slotCount
	lock := func() {
		t.Helper()
		if ok, err := sys.LockByte(claimer, shm.LockAt(next)); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}

	lock() // even without a claim
	if !seg.Dead(id) {
		t.Error("the dead holder lives by the lock of the next one")
	}
	setSlotWord(seg, slot, id&^(slotCount-1)+generation|slotClaimed)
	if !seg.KnownDead(id) || !seg.Dead(id) {
		t.Error("the dead holder lives by the claim of the next one")
	}
	if !seg.Dead(next) {
		t.Error("a claim without a proof is alive")
	}

	// When slots are short, such a claim stays for as long as its claimer lives, and expires otherwise.
	for _, locked := range []bool{true, false} {
		allUsed(seg, 1*generation|slotLive) // all dead, unnoticed
		claimed := id&^(slotCount-1) + generation | slotClaimed
		setSlotWord(seg, slot, claimed)
		if !locked {
			proctest.Must(t, sys.UnlockBytes(claimer, shm.LockAt(next), 2))
		}
		other, abandon := prepare(t, seg)
		if seg.Dead(other) || other%slotCount == slot && locked {
			t.Errorf("claimed %#x while the claim of %#x stands", other, next)
		}
		abandon()
		if now := slotWord(seg, slot); (now == claimed) != locked {
			t.Errorf("the claim, locked %v, is %#x now, was %#x", locked, now, claimed)
		}
		if !seg.Dead(id) {
			t.Error("the dead holder lives again")
		}
	}
}

// Generations wrap around without the 0 that would make an owner id nobody's, and the old name stays dead.
func TestGenerationWraps(t *testing.T) {
	seg := proctest.Segment(t, 0)
	const last = 1<<32 - generation
	allUsed(seg, last|slotFree)
	id, abandon := prepare(t, seg)
	defer abandon()
	if id/generation != 1 || seg.Dead(id) {
		t.Errorf("after the last generation comes %#x, dead %v", id, seg.Dead(id))
	}
	if old := last | id%slotCount; !seg.Dead(old) {
		t.Errorf("%#x, the slot's last holder, lives", old)
	}
}

// Slots are used again in the order in which they were freed, so that an owner id returns as late as
// possible.
func TestOldestSlotFirst(t *testing.T) {
	seg := proctest.Segment(t, 0)
	allUsed(seg, 1*generation|slotFree)
	seen := make(map[uint32]bool)
	for i := range slotCount - 1 {
		id, abandon := prepare(t, seg)
		abandon()
		if seen[id%slotCount] {
			t.Fatalf("claim %d has slot %d again", i, id%slotCount)
		}
		seen[id%slotCount] = true
	}
}

// Who is not alone is at no instant taken for it, though each of the others lives for a moment only, in which it brings the
// next, and nobody counts its death.
func TestNotAlone(t *testing.T) {
	seg := proctest.Segment(t, 0)
	const low, high = 1, 500
	shm.Word(seg, 128).Store(high + 1) // the slots used
	shm.Succeed(seg, low, high)
	var end atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !end.Load() {
			shm.Succeed(seg, high, low)
			shm.Succeed(seg, low, high)
		}
	}()
	for start := time.Now(); time.Since(start) < proctest.Stress(100*time.Millisecond); {
		if shm.Alone(seg) {
			t.Error("alone, while there was somebody all the time")
			break
		}
	}
	end.Store(true)
	<-done
	shm.Succeed(seg, high, low)
	shm.Succeed(seg, low, low)
	if !shm.Alone(seg) {
		t.Error("not alone, and nobody lives")
	}
}
