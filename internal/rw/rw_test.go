package rw_test

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"testing"

	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/internal/rw"
)

// peer is one of several processes that are made up, with a handle of the lock.
type peer struct {
	id   uint32
	dead map[uint32]bool
	shut *uint32
}

func (p peer) Self() uint32             { return p.id }
func (p peer) Dead(id uint32) bool      { return p.dead[id] }
func (p peer) KnownDead(id uint32) bool { return p.dead[id] }
func (p peer) Closed() bool             { return *p.shut != 0 }

// payload is the 8-aligned payload of a lock.
func payload() []byte {
	return make([]byte, rw.Size+8)[:rw.Size:rw.Size]
}

// use is the use of mem by a process id, with what is known of the dead.
func use(mem []byte, id uint32, dead map[uint32]bool) (*rw.Lock, peer) {
	p := peer{id, dead, new(uint32)}
	l := new(rw.Lock)
	l.Use(mem, p, p, p.shut)
	return l, p
}

func u64(mem []byte, at int) uint64 { return binary.LittleEndian.Uint64(mem[at:]) }

func put(mem []byte, at int, w uint64) { binary.LittleEndian.PutUint64(mem[at:], w) }

func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// are wants the used cells, and the cells, of mem.
func are(t *testing.T, what string, mem []byte, used uint64, cells ...uint64) {
	t.Helper()
	if u64(mem, 8) != used {
		t.Errorf("%s: %d cells are used, want %d", what, u64(mem, 8), used)
	}
	for i, w := range cells {
		if got := u64(mem, 128+128*i); got != w {
			t.Errorf("%s: cell %d is %#x, want %#x", what, i, got, w)
		}
	}
	if at, w, wrong := rw.Check(mem, func(uint32) bool { return true }); wrong {
		t.Errorf("%s: the word %#x at %d cannot be", what, w, at)
	}
}

// The offsets and bits of docs/LAYOUT.md.
func TestLayout(t *testing.T) {
	if rw.Size != 8320 {
		t.Errorf("%d bytes, want 8320", rw.Size)
	}
	mem := payload()
	const a, b, c = 0x1001 << 32, 0x1002 << 32, 0x1003 << 32
	dead := map[uint32]bool{}
	la, pa := use(mem, a>>32, dead)
	lb, _ := use(mem, b>>32, dead)
	lc, _ := use(mem, c>>32, dead)
	read := func(l *rw.Lock) {
		t.Helper()
		if err := l.RAcquire(over()); err != nil {
			t.Fatal(err)
		}
	}
	leave := func(l *rw.Lock) {
		t.Helper()
		if err := l.RRelease(); err != nil {
			t.Fatal(err)
		}
	}
	read(la)
	read(la)
	read(lb)
	are(t, "three readers", mem, 2, a|2, b|1, 0)
	if err := lc.Acquire(over()); !errors.Is(err, context.Canceled) {
		t.Errorf("Acquire: %v", err)
	}
	are(t, "a writer came and went", mem, 2, a|1<<31|2, b|1, 0)
	leave(la)
	are(t, "one left", mem, 2, a|1<<31|1, b|1, 0)
	leave(la)
	are(t, "the last left", mem, 2, a, b|1, 0)
	read(lc)
	are(t, "one more process", mem, 3, a, b|1, c|1, 0)
	leave(lc)
	dead[b>>32] = true
	l, _ := use(mem, 0x1004, dead)
	read(l)
	are(t, "one that has the cell of the dead", mem, 3, a, 0x1004<<32|1, c, 0)
	leave(l)
	if err := la.Acquire(over()); err != nil || u64(mem, 0) != a|1 {
		t.Errorf("Acquire: %v, word %#x", err, u64(mem, 0))
	}
	if ids := rw.Holders(mem); len(ids) != 1 || ids[0] != a>>32 {
		t.Errorf("holders %#x", ids)
	}
	for _, l := range []*rw.Lock{la, lb, l} {
		if ok, err := l.TryRAcquire(); ok || err != nil {
			t.Errorf("TryRAcquire: %v, %v", ok, err)
		}
	}
	are(t, "readers looked", mem, 3, a, 0x1004<<32, c, 0)
	if err := la.Release(); err != nil || u64(mem, 0) != 0 {
		t.Errorf("Release: %v, word %#x", err, u64(mem, 0))
	}
	read(la)
	*pa.shut = 16
	if la.REnter() || la.RLeave() {
		t.Error("the fast paths of a closed handle")
	}
	if err := la.RAcquire(context.Background()); err != os.ErrClosed {
		t.Errorf("RAcquire: %v", err)
	}
	are(t, "closed", mem, 3, a|1, 0x1004<<32, c, 0)
}

// A full count is no room, a writer's death is found by readers, and a process that is taken for dead loses its readers.
func TestEdges(t *testing.T) {
	mem := payload()
	dead := map[uint32]bool{}
	l, _ := use(mem, 0x1001, dead)
	put(mem, 8, 1)
	put(mem, 128, 0x1001<<32|1<<30-2)
	if ok, err := l.TryRAcquire(); !ok || err != nil || u64(mem, 128) != 0x1001<<32|1<<30-1 {
		t.Errorf("the last reader that there can be: %v, %v, %#x", ok, err, u64(mem, 128))
	}
	if ok, err := l.TryRAcquire(); ok || err != nil {
		t.Errorf("one more: %v, %v", ok, err)
	}
	if err := l.RAcquire(over()); !errors.Is(err, context.Canceled) || u64(mem, 0) != 0 {
		t.Errorf("one more: %v, word %#x", err, u64(mem, 0))
	}
	put(mem, 128, 0x1001<<32|1<<31|1)
	if l.REnter() || l.RLeave() {
		t.Error("the fast paths of a cell that somebody waits for")
	}
	put(mem, 128, 0x1001<<32|1)
	put(mem, 0, 0x2002<<32|robust.Locked|robust.Whole)
	dead[0x2002] = true
	if ok, err := l.TryRAcquire(); !ok || err != nil {
		t.Errorf("beside a dead one that waited: %v, %v", ok, err)
	}
	rw.Bury(mem, func(id uint32) bool { return id == 0x1001 })
	are(t, "buried", mem, 1, 0)
	if err := l.RRelease(); err != robust.ErrNotLocked {
		t.Errorf("RRelease after that: %v", err)
	}
	put(mem, 0, 0x2002<<32|robust.Locked)
	if ok, err := l.TryRAcquire(); ok || err != robust.ErrOwnerDied {
		t.Errorf("after a writer's death: %v, %v", ok, err)
	}
	// One that left the segment while it waited for readers, and exposed the word: the repair is behind them.
	other, _ := use(mem, 0x1005, dead)
	put(mem, 8, 1)
	put(mem, 128, 0x1001<<32|1)
	if err := other.Recover(over(), nil); !errors.Is(err, context.Canceled) || u64(mem, 0) != robust.Died {
		t.Errorf("Recover beside a reader: %v, word %#x", err, u64(mem, 0))
	}
	put(mem, 128, 0)
	if err := other.Recover(over(), nil); err != nil || u64(mem, 0) != 0x1005<<32|robust.Locked {
		t.Errorf("Recover: %v, word %#x", err, u64(mem, 0))
	}
}

// Words of any content give an answer.
func TestCheck(t *testing.T) {
	given := func(id uint32) bool { return id == 0x1001 }
	for _, c := range []struct {
		at   int
		w    uint64
		want int // -1: it may be
	}{
		{0, 0x1001<<32 | 1, -1}, {0, 0x1002<<32 | 1, 0}, {0, 1, 0},
		{8, 64, -1}, {8, 65, 8},
		{128, 0x1001<<32 | 5, -1}, {128, 0x1001<<32 | 1<<31 | 5, -1}, {128, 0x1001 << 32, -1},
		{128, 0x1001<<32 | 1<<30, 128}, {128, 0x1002 << 32, 128}, {128, 1, 128},
		{256, 0x1001 << 32, 256},
	} {
		mem := payload()
		put(mem, 8, 1)
		put(mem, c.at, c.w)
		at, w, wrong := rw.Check(mem, given)
		if wrong != (c.want >= 0) || wrong && (at != c.want || w != c.w) {
			t.Errorf("%#x at %d: %#x at %d, %v", c.w, c.at, w, at, wrong)
		}
		rw.Holders(mem)
	}
	mem := payload()
	put(mem, 8, 1<<32-1)
	put(mem, 128+63*128, 0x1009<<32|1)
	l, _ := use(mem, 0x1001, nil)
	if ok, err := l.TryAcquire(); ok || err != nil {
		t.Errorf("TryAcquire where more cells are used than there are: %v, %v", ok, err)
	}
}
