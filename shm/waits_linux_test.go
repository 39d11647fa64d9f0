package shm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/shm"
)

// waiting is a segment in which this process records that it waits for a block.
func waiting(t *testing.T) (seg *shm.Segment, b *shm.Block, table uint64) {
	seg = proctest.Segment(t, 1)
	b, err := shm.NewBlock(seg, "b", 100)
	proctest.Must(t, err)
	off, mem, err := seg.Allocate(64 * 24) // which the table will be
	proctest.Must(t, err)
	for i := range mem {
		mem[i] = 0xff
	}
	proctest.Must(t, seg.Deallocate(off))
	done := seg.Waiting(b.Uint32(0), time.Unix(1000, 5), 7)
	if done == nil {
		t.Fatal("not recorded")
	}
	if table = shm.Word(seg, waitsAt(seg.Self())).Load(); table != off {
		t.Fatalf("the table is at %d, want %d", table, off)
	}
	return seg, b, table
}

// waitsAt is where the slot of a participant has the offset of its table.
func waitsAt(id uint32) uint64 { return shm.SlotsAt + 128*uint64(id&0xfff) + 40 }

func waits(t *testing.T, o shm.Object) int {
	t.Helper()
	_, ws, _, err := shm.Inspect(o)
	proctest.Must(t, err)
	return len(ws)
}

// A record is what docs/LAYOUT.md says, in memory that this process has.
func TestWaiting(t *testing.T) {
	seg, b, table := waiting(t)
	if got := shm.Word(seg, table-128+8).Load(); got>>32 != uint64(seg.Self()) || got&15 != 4 {
		t.Errorf("the table's block is in state %#x", got)
	}
	for i, want := range []uint64{b.Handle().Offset, 1000e9 + 5, 7} {
		if got := shm.Word(seg, table+8*uint64(i)).Load(); got != want {
			t.Errorf("word %d of the entry is %d, want %d", i, got, want)
		}
	}
	other, err := shm.NewBlock(seg, "", 8)
	proctest.Must(t, err)
	done := seg.Waiting(other.Uint32(0), time.Unix(2000, 0), 0)
	earlier := seg.Waiting(b.Uint32(0), time.Unix(999, 0), 0)
	_, ws, since, err := shm.Inspect(b)
	if err != nil || len(ws) != 1 || ws[0].Pid != os.Getpid() || !since.Equal(time.Unix(999, 0)) {
		t.Errorf("%v wait since %v: %v", ws, since, err)
	}
	earlier()
	done()
	if waits(t, other) != 0 || waits(t, b) != 1 {
		t.Error("an entry too many was taken out, or too few")
	}
	if at := shm.Word(seg, waitsAt(seg.Self())).Load(); at != table {
		t.Errorf("the table moved from %d to %d", table, at)
	}
	proctest.Must(t, seg.Check())
	proctest.Must(t, seg.Remove("b"))
	if waits(t, b) != 1 {
		t.Error("a removed object that is open has no waiters")
	}
}

// Waits that are over at once are not recorded: there is no table.
func TestShortWaits(t *testing.T) {
	seg := proctest.Segment(t, 1)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	proctest.Must(t, l.Acquire(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), time.Microsecond)
	defer cancel()
	if err := l.Acquire(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if at := shm.Word(seg, waitsAt(seg.Self())).Load(); at != 0 {
		t.Errorf("there is a table at %d", at)
	}
}

// A wait in a Segment that is closed is not recorded; those in another of the same name are.
func TestWaitingAfterClose(t *testing.T) {
	name := proctest.Name(t)
	first, err := shm.Create(name, 0)
	proctest.Must(t, err)
	second, err := shm.Open(name)
	proctest.Must(t, err)
	defer second.Close()
	b, err := shm.NewBlock(first, "b", 8)
	proctest.Must(t, err)
	again, err := shm.OpenBlock(second, "b")
	proctest.Must(t, err)
	word := b.Uint32(0)
	proctest.Must(t, first.Close())
	if done := first.Waiting(word, time.Now(), 0); done != nil {
		t.Error("recorded in a Segment that is closed")
	}
	done := second.Waiting(again.Uint32(0), time.Now(), 0)
	if done == nil {
		t.Fatal("not recorded")
	}
	defer done()
	if waits(t, again) != 1 {
		t.Error("nobody waits")
	}
}

// A table counts for the participant that wrote it, and for nobody who has its slot later.
func TestTableOfOthers(t *testing.T) {
	seg, b, table := waiting(t)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	defer gift.Abandon()
	// Another's table is not one's own.
	at := shm.Word(seg, waitsAt(gift.Owner))
	at.Store(table)
	if _, ws, _, err := shm.Inspect(b); len(ws) != 1 || ws[0].Pid != os.Getpid() || err != nil {
		t.Errorf("%+v wait: %v", ws, err)
	}
	// Nor is what the holder before had.
	shm.Introduce(seg, gift.Owner, 0, 0)
	if at.Load() != 0 {
		t.Error("whoever is introduced has the table of who had the slot before")
	}
	self := shm.Word(seg, shm.SlotsAt+128*uint64(seg.Self()&0xfff)+8)
	who := self.Swap(uint64(gift.Owner) << 32)
	if waits(t, b) != 0 {
		t.Error("a table counts before its slot says whose it is")
	}
	self.Store(who)
}

// Whatever stands in a table, and wherever it is said to be, Inspect tells something, and Check finds what
// cannot be.
func TestHostileTables(t *testing.T) {
	for _, x := range []struct {
		what  string
		where func(seg *shm.Segment, b *shm.Block, table uint64) uint64
		word  uint64
		found bool // by Check, at that offset
		waits int
	}{
		{"table before the heap", slotWaits, 128, true, 0},
		{"table before the memory", slotWaits, 1, true, 0},
		{"table between blocks", slotWaits, shm.HeapAt + 8, true, 0},
		{"table at the end", slotWaits, 1<<20 - 128, true, 0},
		{"table behind the end", slotWaits, 1 << 40, true, 0},
		{"table far behind the end", slotWaits, 1<<64 - 128, true, 0},
		{"table in an object", slotWaits, 0, true, 0}, // see below
		{"table without room", slotWaits, 0, true, 0}, // see below
		{"table that is not held", func(_ *shm.Segment, _ *shm.Block, table uint64) uint64 { return table - 128 + 8 }, 1<<4 | 2, true, 0},
		{"object between blocks", entry, shm.HeapAt + 64, true, 0},
		{"object behind the end", entry, 1<<64 - 1, true, 0},
		{"since long ago", sinceWhen, 1 << 63, false, 1},
		{"since never", sinceWhen, 0, false, 1},
		{"tag", func(_ *shm.Segment, _ *shm.Block, table uint64) uint64 { return table + 16 }, 1<<64 - 1, false, 1},
	} {
		t.Run(x.what, func(t *testing.T) {
			seg, b, table := waiting(t)
			where := x.where(seg, b, table)
			switch x.what {
			case "table in an object":
				x.word = shm.PayloadAt(b.Handle())
			case "table without room":
				off, _, err := seg.Allocate(1)
				proctest.Must(t, err)
				x.word = off
			}
			shm.Word(seg, where).Store(x.word)
			if n := waits(t, b); n != x.waits {
				t.Errorf("%d wait, want %d", n, x.waits)
			}
			at := where
			if x.what == "table that is not held" {
				at = waitsAt(seg.Self())
			}
			if err := seg.Check(); (err != nil) != x.found || x.found && !errors.Is(err, shm.ErrCorrupt) || x.found && !strings.Contains("\n"+err.Error(), fmt.Sprintf("\nshm: offset %d: ", at)) {
				t.Errorf("Check: %v, want an error at %d: %v", err, at, x.found)
			}
		})
	}
	seg, b, _ := waiting(t)
	binary.LittleEndian.PutUint32(shm.Memory(seg)[128:], 1<<31) // slots used
	if n := waits(t, b); n != 1 {
		t.Errorf("%d wait among too many slots", n)
	}
	shm.Word(seg, b.Handle().Offset+8).Store(9<<4 | 1) // another object by now
	if _, _, _, err := shm.Inspect(b); !errors.Is(err, shm.ErrStale) {
		t.Errorf("an object that is not there any more: %v", err)
	}
}

func slotWaits(seg *shm.Segment, _ *shm.Block, _ uint64) uint64 { return waitsAt(seg.Self()) }
func entry(_ *shm.Segment, _ *shm.Block, table uint64) uint64   { return table }
func sinceWhen(_ *shm.Segment, _ *shm.Block, table uint64) uint64 {
	return table + 8
}

// Who died is not named although nobody has noticed, neither as one who waits nor as one who holds.
func TestInspectUnnoticed(t *testing.T) {
	seg := proctest.Segment(t, 1)
	b := block(t, seg, "", 8)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	gift, err := seg.Prepare()
	proctest.Must(t, err)
	shm.Unwatch(seg)
	if shm.As(seg, gift.Owner).Waiting(b.Uint32(0), time.Now(), 0) == nil {
		t.Fatal("not recorded")
	}
	shm.Word(seg, shm.PayloadAt(l.Handle())).Store(uint64(gift.Owner)<<32 | 1)
	_, waiters, _, err := shm.Inspect(b)
	proctest.Must(t, err)
	owners, _, _, err := shm.Inspect(l)
	proctest.Must(t, err)
	if len(waiters) != 1 || len(owners) != 1 {
		t.Errorf("held by %v, %v wait", owners, waiters)
	}
	gift.Sent() // its only descriptors: it is dead
	_, waiters, since, err := shm.Inspect(b)
	if len(waiters) != 0 || !since.IsZero() || err != nil {
		t.Errorf("%v wait since %v, %v", waiters, since, err)
	}
	if owners, _, _, err := shm.Inspect(l); len(owners) != 0 || err != nil {
		t.Errorf("held by %v, %v", owners, err)
	}
}
