package shm_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/shoal-ipc/shoal/internal/condition"
	"github.com/shoal-ipc/shoal/internal/permits"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/rw"
	"github.com/shoal-ipc/shoal/shm"
)

var guardedKind = shm.Kind{Name: "guarded", Type: "T", Min: 8, Guarded: true}

var permitsKind = shm.Kind{Name: "permits", Permits: true}

var readersKind = shm.Kind{Name: "readers", Readers: true}

// A condition on a lock of its own, and further records of one.
var (
	conditionKind = shm.Kind{Name: "cond", Guarded: true}
	waitersKind   = shm.Kind{Name: "waiters", Part: true}
)

// checked is a segment with something of everything in it. Objects that it names say where they are.
type checked struct {
	seg *shm.Segment
	mem []byte
	// a and b are in one bucket, b first; c has an owner word; d has no name; e has three permits; f has readers; g is a
	// condition, and h its further records.
	a, b, c, d, e, f, g, h int
	nameA                  string
}

// siblings are two names of one length and one bucket.
func siblings() (a, b string) {
	at := make(map[int]string)
	for i := 10_000; ; i++ {
		b = fmt.Sprint("n", i)
		if a, ok := at[shm.BucketAt(b)]; ok {
			return a, b
		}
		at[shm.BucketAt(b)] = b
	}
}

func newChecked(t testing.TB) checked {
	t.Helper()
	c := checked{seg: proctest.Segment(t, 1<<20)}
	for range 3 { // slots that are free, and one that lives
		gift, err := c.seg.Prepare()
		proctest.Must(t, err)
		t.Cleanup(gift.Abandon)
		if gift.Owner&1 == 0 {
			gift.Abandon()
		}
	}
	var nameB string
	c.nameA, nameB = siblings()
	at := func(b *shm.Block) int { return int(b.Handle().Offset) }
	c.a = at(block(t, c.seg, c.nameA, 64))
	c.b = at(block(t, c.seg, nameB, 64))
	var r shm.Ref
	_, err := guardedKind.New(&r, c.seg, "guarded", 8, nil)
	proctest.Must(t, err)
	c.c = int(r.Handle().Offset)
	c.d = at(block(t, c.seg, "", 0))
	var p shm.Ref
	_, err = permitsKind.New(&p, c.seg, "", permits.SizeCells(3), func(mem []byte) error { permits.InitCells(mem, 3); return nil })
	proctest.Must(t, err)
	c.e = int(p.Handle().Offset)
	var q shm.Ref
	_, err = readersKind.New(&q, c.seg, "", rw.Size, nil)
	proctest.Must(t, err)
	c.f = int(q.Handle().Offset)
	var cond, more shm.Ref
	mem, err := conditionKind.New(&cond, c.seg, "", condition.Size, nil)
	proctest.Must(t, err)
	c.g = int(cond.Handle().Offset)
	_, err = waitersKind.New(&more, c.seg, "", condition.SizeMore, func(mem []byte) error {
		binary.LittleEndian.PutUint64(mem, uint64(c.g))
		mem[8] = byte(cond.Handle().Generation)
		return nil
	})
	proctest.Must(t, err)
	c.h = int(more.Handle().Offset)
	binary.LittleEndian.PutUint32(mem[24:], more.Handle().Generation)
	binary.LittleEndian.PutUint64(mem[32:], uint64(c.h))
	c.mem = shm.Memory(c.seg)
	return c
}

// Each kind of damage, of one byte or word, is found, where it is, and nothing else is when there is none.
func TestCheckNames(t *testing.T) {
	const slot = shm.SlotsAt
	name := func(c checked) int { return c.a + 128 + 64 }
	for _, x := range []struct {
		what  string
		where func(c checked) int
		word  uint64 // what the bytes there become
		size  int
		at    func(c checked) int // the offset that is named, if it is another
	}{
		{"magic", at(3), 'a', 1, at(0)},
		{"version", at(8), 2, 4, nil},
		{"flags", at(12), 2, 4, nil},
		{"a name that is not there", at(12), 1, 4, at(3840)},
		{"size", at(16), 1 << 19, 8, nil},
		{"UUID", at(30), 0xa5, 1, at(24)},
		{"creator", at(48), 1<<12 | 100, 4, nil},
		{"creator of a generation to come", at(48), 9 << 12, 4, nil},
		{"offset of the heap", at(56), 4096, 8, nil},
		{"reserved", at(100), 1, 1, nil},
		{"reserved", at(133), 1, 1, nil},
		{"reserved", at(200), 1, 1, nil},
		{"reserved", at(300), 1, 1, nil},
		{"reserved", at(400), 1, 1, nil},
		{"reserved", at(600), 1, 1, nil},
		{"hint", at(12288 + 8*8*2), 64, 8, nil},
		{"reserved", at(4095), 1, 1, nil},
		{"no slots used", at(128), 0, 4, nil},
		{"too many slots used", at(128), 5000, 4, nil},
		{"slot that was never used counts", at(128), 5, 4, at(slot + 128*4)},
		{"fewer slots freed than are free", at(136), 0, 8, at(slot + 128*2 + 32)},
		{"top not aligned", at(384), shm.HeapAt + 1, 8, nil},
		{"top before the heap", at(384), 4096, 8, nil},
		{"top behind the end", at(384), 1 << 40, 8, nil},
		{"committed before top", at(512), shm.HeapAt, 8, nil},
		{"committed behind the end", at(512), 1 << 21, 8, nil},
		{"committed not aligned", at(512), 1<<20 - 1, 8, nil},

		{"state of a slot", at(slot), 1<<12 | 4, 4, nil},
		{"generation of a slot", at(slot), 2, 4, nil},
		{"generation of a slot that is to come", at(slot), 9<<12 | 2, 4, nil},
		{"who, of another slot", at(slot + 8), 1<<12 | 1<<32, 8, nil},
		{"who, of a generation to come", at(slot + 12), 9 << 12, 4, at(slot + 8)},
		{"stamp", at(slot + 32), 1000, 8, nil},
		{"free without a stamp", at(slot + 128*2 + 32), 0, 8, nil},
		{"waits", at(slot + 40), 1, 1, nil},
		{"reserved", at(slot + 127), 1, 1, nil},

		{"no claim", func(c checked) int { return c.b }, 0, 8, nil},
		{"claim behind the top", func(c checked) int { return c.d }, 1 << 20, 4, nil},
		{"claim of nobody", func(c checked) int { return c.d + 4 }, 9 << 12, 4, func(c checked) int { return c.d }},
		{"claim at the top behind the end", func(c checked) int { return c.d + 128 }, 1<<44 | 1<<31, 8, nil},
		{"state", func(c checked) int { return c.a + 8 }, 1<<4 | 6, 1, nil},
		{"freed by nobody", func(c checked) int { return c.d + 8 }, 9<<44 | 1<<4 | 3, 8, nil},
		{"held by nobody", func(c checked) int { return c.d + 8 }, 9<<44 | 1<<4 | 4, 8, nil},
		{"openers where there is no room", func(c checked) int { return c.d + 8 }, 1<<44 | 1<<4 | 5, 8, func(c checked) int { return c.d }},
		{"state by nobody", func(c checked) int { return c.a + 13 }, 0x90, 1, func(c checked) int { return c.a + 8 }},
		{"generation", func(c checked) int { return c.d + 8 }, 1, 1, nil},
		{"given up and linked", func(c checked) int { return c.a + 8 }, 2, 1, nil},
		{"next goes nowhere", func(c checked) int { return c.b + 16 }, 128 * 3, 8, nil},
		{"next goes between blocks", func(c checked) int { return c.b + 16 }, shm.HeapAt + 128, 8, nil},
		{"next goes back", func(c checked) int { return c.a + 16 }, 0, 0, nil}, // to b, see below
		{"kind", func(c checked) int { return c.a + 39 }, 'x', 1, func(c checked) int { return c.a + 32 }},
		{"size", func(c checked) int { return c.a + 40 }, 1 << 10, 8, nil},
		{"length of the name", func(c checked) int { return c.a + 48 }, 1 << 9, 2, func(c checked) int { return c.a + 40 }},
		{"name", name, 'N', 1, nil},
		{"name twice", name, 0, 0, nil}, // see below
		{"code", func(c checked) int { return c.a + 52 }, 'x', 1, nil},
		{"code of another type", func(c checked) int { return c.a + 52 }, 'd', 1, nil},
		{"reserved", func(c checked) int { return c.a + 54 }, 1, 1, nil},
		{"creator", func(c checked) int { return c.a + 64 }, 0, 4, nil},
		{"more openers", func(c checked) int { return c.a + 72 }, 1, 1, nil},
		{"owner words", func(c checked) int { return c.a + 92 }, 7, 1, func(c checked) int { return c.a + 80 }},
		{"owner words without room", func(c checked) int { return c.d + 92 }, 0, 0, func(c checked) int { return c.d + 80 }},
		{"opener", func(c checked) int { return c.a + 127 }, 1, 1, func(c checked) int { return c.a + 124 }},
		{"owner word without owner", func(c checked) int { return c.c + 128 }, 1, 8, nil},
		{"owner word of nobody", func(c checked) int { return c.c + 128 }, 9<<44 | 1, 8, nil},
		{"owner word with a bit too many", func(c checked) int { return c.c + 128 }, 1<<44 | 1<<10 | 1, 8, nil},

		{"cells that are further apart", func(c checked) int { return c.e + 88 }, 8, 1, func(c checked) int { return c.e + 80 }},
		{"cells that are too many", func(c checked) int { return c.e + 84 }, 4, 1, func(c checked) int { return c.e + 80 }},
		{"cell of nobody", func(c checked) int { return c.e + 128 + 136 }, 9 << 12, 4, nil},
		{"readers of nobody", func(c checked) int { return c.f + 128 + 128 }, 9<<44 | 1, 8, nil},
		{"more readers' cells than there are", func(c checked) int { return c.f + 128 + 8 }, 65, 4, nil},
		{"writer that is nobody", func(c checked) int { return c.f + 128 }, 9<<44 | 1, 8, nil},
		{"condition on a lock and its own", func(c checked) int { return c.g + 128 + 8 }, 128, 8, nil},
		{"further records where no block begins", func(c checked) int { return c.g + 128 + 32 }, shm.HeapAt + 128, 8, nil},
		{"waits of nobody", func(c checked) int { return c.g + 128 + 128 + 32 }, 9 << 12, 4, nil},
		{"further waits of nobody", func(c checked) int { return c.h + 128 + 128 + 1015*32 }, 9 << 12, 4, nil},
		{"writer of a condition that is nobody", func(c checked) int { return c.g + 128 }, 9<<44 | 1, 8, nil},
		{"sleep word with a bit too many", func(c checked) int { return c.e + 128 + 16 }, 2, 4, nil},

		{"bucket lost", func(c checked) int { return shm.BucketAt("guarded") }, 0, 8, nil},
		{"bucket goes nowhere", func(c checked) int { return shm.BucketAt("guarded") }, 7, 1, nil},
		{"object in the wrong bucket", at(4096), 0, 0, nil}, // see below
	} {
		t.Run(x.what, func(t *testing.T) {
			c := newChecked(t)
			proctest.Must(t, c.seg.Check())
			where := x.where(c)
			want := where
			if x.at != nil {
				want = x.at(c)
			}
			word := binary.LittleEndian.AppendUint64(nil, x.word)[:x.size]
			switch {
			case x.what == "UUID":
				word[0] = ^c.mem[where]
			case x.what == "next goes back":
				word = binary.LittleEndian.AppendUint64(nil, uint64(c.b))
			case x.what == "name twice":
				where, word = c.b+128+64, []byte(c.nameA)
			case x.what == "owner words without room":
				where, word = where-12, binary.LittleEndian.AppendUint64([]byte{0, 0, 0, 0, 1, 0, 0, 0}, 1<<32)
			case x.what == "object in the wrong bucket":
				for where = 4096; where == shm.BucketAt(c.nameA) || where == shm.BucketAt("guarded"); where += 8 {
				}
				word = binary.LittleEndian.AppendUint64(nil, uint64(c.c)/128)
				want = c.c + 128 + 8
			}
			copy(c.mem[where:], word)
			err := c.seg.Check()
			if !errors.Is(err, shm.ErrCorrupt) || !strings.Contains("\n"+err.Error(), fmt.Sprintf("\nshm: offset %d: ", want)) {
				t.Errorf("%q at %d: %v, want an error at %d", word, where, err, want)
			}
		})
	}
}

func at(off int) func(checked) int { return func(checked) int { return off } }

// Check joins one error for each inconsistency.
func TestCheckJoins(t *testing.T) {
	c := newChecked(t)
	name := c.a + 128 + 64
	c.mem[12] = 2
	c.mem[100] = 1
	c.mem[name] = 0xff
	c.mem[c.d+127] = 1
	err := c.seg.Check()
	// No name, not in its bucket, and not another's in its own.
	places := []int{12, 100, name, c.d + 124, shm.BucketAt("\xff" + c.nameA[1:]), name}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != len(places) {
		t.Fatalf("%v", err)
	}
	for i, at := range places {
		if e := joined.Unwrap()[i]; !errors.Is(e, shm.ErrCorrupt) || !strings.HasPrefix(e.Error(), fmt.Sprintf("shm: offset %d: ", at)) {
			t.Errorf("error %d: %v, want one at %d", i, e, at)
		}
	}
	c.seg.Close()
	if err := c.seg.Check(); !errors.Is(err, shm.ErrCorrupt) {
		t.Errorf("after Close: %v", err)
	}
}

// A reserved byte that is wrong at one moment and right at the next makes Check report it or not, and no more.
func TestCheckFlickering(t *testing.T) {
	c := newChecked(t)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := byte(0); ; i++ {
			select {
			case <-stop:
				return
			default:
				c.mem[3000] = i & 1
			}
		}
	}()
	for range 10_000 {
		if err := c.seg.Check(); err != nil && !errors.Is(err, shm.ErrCorrupt) {
			t.Fatal(err)
		}
	}
	close(stop)
	<-stopped
}

// A block for openers whose maker was killed becomes other memory while Check looks at it.
func TestCheckOpenersMeanwhile(t *testing.T) {
	seg := proctest.Segment(t, 1<<20)
	of := block(t, seg, "", 8).Handle().Offset
	at, _, err := seg.Allocate(128)
	proctest.Must(t, err)
	state := shm.Word(seg, at-128+8)
	first := shm.Word(seg, at+8)
	held := state.Load()
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			first.Store(of)
			state.Store(held&^15 | 5)
			held += 1 << 4 // no state comes twice
			state.Store(held)
			first.Store(1)
		}
	}()
	for range 10_000 {
		if err := seg.Check(); err != nil {
			t.Error(err)
			break
		}
	}
	close(stop)
	<-stopped
	proctest.Must(t, seg.Deallocate(at))
}

// churn makes objects, participants and deaths until it is killed.
var churn = proctest.NewRole("churn", func(ctx context.Context, c *proctest.Child, a *shm.Block) error {
	c.Say("ready")
	for i := 0; ; i++ {
		name := fmt.Sprint(i % 5000)
		if i%50 == 0 {
			name = ""
		}
		if _, err := guardedKind.OpenOrNew(new(shm.Ref), a.Segment(), name, 8, nil); err != nil && !errors.Is(err, shm.ErrNoSpace) {
			return err
		}
		gift, err := a.Segment().Prepare()
		if err != nil {
			return err
		}
		gift.Abandon()
	}
})

// While others work, and after they were killed, there is nothing to find.
func TestCheckMeanwhile(t *testing.T) {
	rounds := 4
	if testing.Short() {
		rounds = 2
	}
	a := block(t, proctest.Segment(t, 64<<20), "", 8)
	for range rounds {
		p, q := churn.Start(t, a), churn.Start(t, a)
		p.WaitLine("ready")
		q.WaitLine("ready")
		for range 50 {
			proctest.Must(t, a.Segment().Check())
			runtime.Gosched()
		}
		p.Kill()
		q.Kill()
		p.Wait()
		q.Wait()
		proctest.Must(t, a.Segment().Check())
	}
}
