package condition_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/condition"
	"github.com/shoal-ipc/shoal/internal/robust"
)

// peer is one of several processes that are made up.
type peer struct {
	id   uint32
	dead func(id uint32) bool
}

func (p peer) Self() uint32             { return p.id }
func (p peer) Dead(id uint32) bool      { return p.dead != nil && p.dead(id) }
func (p peer) KnownDead(id uint32) bool { return p.Dead(id) }
func (p peer) Closed() bool             { return false }

// memory is 8-aligned.
func memory(size int) []byte { return make([]byte, size+8)[:size:size] }

// process is the use that a made-up process makes of the condition in mem.
func process(p peer, mem []byte, more condition.More) (*robust.Mutex, *condition.Condition) {
	m := robust.At(mem, p, p)
	return &m, condition.At(mem, p, p, &condition.Lock{Mutex: &m}, more)
}

func u32(mem []byte, at int) uint32 { return binary.LittleEndian.Uint32(mem[at:]) }
func u64(mem []byte, at int) uint64 { return binary.LittleEndian.Uint64(mem[at:]) }

// must ends the test if err is not nil.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// over is a context that is done.
func over() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// The offsets and bits of docs/LAYOUT.md.
func TestLayout(t *testing.T) {
	if condition.Size != 384 || condition.SizeMore != 32640 {
		t.Errorf("%d and %d bytes, want 384 and 32640", condition.Size, condition.SizeMore)
	}
	mem := memory(condition.Size)
	lock, c := process(peer{id: 0x1001}, mem, nil)
	waits := make(chan struct{})
	done := make(chan error)
	go func() {
		err := lock.Lock(context.Background(), 0)
		close(waits)
		done <- errors.Join(err, c.Wait(context.Background()), lock.Unlock())
	}()
	<-waits
	other, d := process(peer{id: 0x2002}, mem, nil)
	must(t, other.Lock(t.Context(), 0))
	if got := [4]uint64{u64(mem, 40), uint64(u32(mem, 128)), u64(mem, 136), u64(mem, 144)}; got != [4]uint64{1, 0x1001, 1<<32 | 1<<28, 1} {
		t.Errorf("while one waits: tickets, owner, waits, ticket %#x", got)
	}
	must(t, d.Notify(1))
	must(t, other.Unlock())
	must(t, <-done)
	if got := u64(mem, 136); got != 1<<28 {
		t.Errorf("waits when nobody waits: %#x", got)
	}
	if rest := append(mem[8:40:40], mem[48:128]...); !bytes.Equal(rest, make([]byte, len(rest))) {
		t.Errorf("the rest is not 0: %x", rest)
	}
}

// Records are for 1,024 processes; those of the dead, and of who does not wait, are used again.
func TestRecords(t *testing.T) {
	mem, more := memory(condition.Size), memory(condition.SizeMore)
	made := 0
	find := func(offset uint64, generation uint32) ([]byte, uint64, uint32, error) {
		if offset == 0 {
			made++
		} else if offset != 640 || generation != 3 {
			t.Errorf("records at %d, generation %d, want 640 and 3", offset, generation)
		}
		return more, 640, 3, nil
	}
	killed := uint32(0)
	dead := func(id uint32) bool { return id == killed }
	// Each waits, as if for ever: its record says so.
	enter := func(id uint32) error {
		lock, c := process(peer{id, dead}, mem, find)
		must(t, lock.Lock(t.Context(), 0))
		err := c.Wait(over())
		if err == nil || errors.Is(err, context.Canceled) {
			for at := 128; at < len(mem); at += 32 {
				if u32(mem, at) == id {
					mem[at+12] = 1
				}
			}
			for at := 128; at < len(more); at += 32 {
				if u32(more, at) == id {
					more[at+12] = 1
				}
			}
		}
		must(t, lock.Unlock())
		return err
	}
	for id := uint32(1); id <= 1024; id++ {
		if err := enter(id); !errors.Is(err, context.Canceled) {
			t.Fatalf("process %d: %v", id, err)
		}
		if want := min(max(int(id)-8, 0), 1); made != want {
			t.Fatalf("process %d: further records were made %d times, want %d", id, made, want)
		}
	}
	if u32(mem, 24) != 3 || u64(mem, 32) != 640 {
		t.Errorf("the further records are said to be at %d, generation %d", u64(mem, 32), u32(mem, 24))
	}
	if err := enter(1025); !errors.Is(err, condition.ErrFull) {
		t.Errorf("one process more: %v, want ErrFull", err)
	}
	killed = 500
	if err := enter(1025); !errors.Is(err, context.Canceled) {
		t.Errorf("one process more, when another has died: %v", err)
	}
	lock, c := process(peer{1026, dead}, mem, find)
	must(t, lock.Lock(t.Context(), 0))
	must(t, c.NotifyAll())
	for at := 128; at < len(mem); at += 32 {
		if mem[at+8] != 1 {
			t.Errorf("record at %d was not notified", at)
		}
	}
	for at := 128; at < len(more); at += 32 {
		if more[at+8] != 1 {
			t.Errorf("further record at %d was not notified", at)
		}
	}
}

// Words of any content give an answer, and only those to which no step leads are wrong.
func TestCheck(t *testing.T) {
	given := func(id uint32) bool { return id == 0x1001 }
	const all, taken = 1 << 32, 1 << 46
	type word struct {
		at int
		w  uint64
	}
	check := func(what string, f func([]byte, func(uint32) bool) (int, uint64, bool), mem []byte, words []word, want int) {
		t.Helper()
		for _, w := range words {
			binary.LittleEndian.PutUint64(mem[w.at:], w.w)
		}
		at, w, wrong := f(mem, given)
		if wrong != (want >= 0) || wrong && at != want {
			t.Errorf("%s %#x: the word %#x at %d: %t, want one at %d", what, words, w, at, wrong, want)
		}
	}
	one := word{128, 0x1001} // who has the first record
	for _, c := range []struct {
		words []word
		want  int // -1: it may be
	}{
		{nil, -1},
		{[]word{{8, 256}, {16, 1<<32 | 1}}, -1}, {[]word{{8, 256}, {16, 3<<32 | 1}}, -1}, // on a lock
		{[]word{{8, 256}}, 8}, {[]word{{8, 250}, {16, 1<<32 | 1}}, 8}, {[]word{{16, 1<<32 | 1}}, 8},
		{[]word{{16, 1}}, 16}, {[]word{{8, 256}, {16, 1 << 32}}, 16},
		{[]word{{8, 256}, {16, 2<<32 | 1}}, 20}, {[]word{{8, 256}, {16, 1<<32 | 1}, {0, 1 << 8}}, 1},
		{[]word{{0, 0x1002<<32 | 1}}, -1}, // package robust's
		{[]word{{24, 5}}, -1}, {[]word{{24, 5}, {32, 384}}, -1}, {[]word{{24, 5}, {32, 385}}, 32}, {[]word{{32, 384}}, 24},
		{[]word{{24, 1 << 40}}, 29}, {[]word{{120, 1}}, 120},
		{[]word{{40, 9}, one, {144, 9}}, -1}, {[]word{{40, 9}, one, {144, 10}}, 144},
		{[]word{{40, 9}, {144, 9}}, -1}, // its owner was killed before he was named
		{[]word{{136, 5 << 28}}, -1},
		{[]word{one, {136, all}}, -1}, {[]word{one, {136, 2*all + taken + 1<<28 + 1}}, -1},
		{[]word{one, {136, 2*all + 2*taken + 1<<28 + 1}}, 136}, {[]word{one, {136, 1}}, 136}, {[]word{one, {136, taken}}, 136},
		{[]word{one, {136, 7 << 14}}, -1}, // all have forsaken
		{[]word{{136, all}}, 136}, {[]word{{136, 1 << 14}}, 136}, {[]word{one, {136, 1<<60 | all}}, 136},
		{[]word{{128, 0x1002}}, 128}, {[]word{{352, 0x1001}, {360, all}}, -1}, {[]word{{352, 0x1002}}, 352},
		{[]word{{128, 1<<32 | 0x1001}}, 132}, {[]word{{152, 1 << 56}}, 159},
	} {
		check("condition", condition.Check, memory(condition.Size), c.words, c.want)
	}
	part := []word{{0, 384}, {8, 1}}
	for _, c := range []struct {
		words []word
		want  int
	}{
		{nil, -1},
		{[]word{{0, 0}}, 0}, {[]word{{0, 1}}, 0}, {[]word{{8, 0}}, 8}, {[]word{{8, 1<<32 | 1}}, 12}, {[]word{{16, 1}}, 16},
		{[]word{one, {136, 3*all + 1}, {144, 1000}}, -1}, {[]word{one, {136, all + 2}}, 136},
		{[]word{{32608, 0x1001}, {32616, all}}, -1}, {[]word{{32608, 0x1002}}, 32608}, {[]word{{32632, 1}}, 32632},
	} {
		check("further records", condition.CheckMore, memory(condition.SizeMore), append(part[:2:2], c.words...), c.want)
	}
}

// Who learns of a death, and is notified before it has the lock again, by one who has recovered that, has been notified: else
// the notification is lost.
func TestNotifiedAfterRecovery(t *testing.T) {
	mem := memory(condition.Size)
	var died, learnt atomic.Bool
	dead := func(id uint32) bool { return id == 0x3003 && died.Load() }
	lock, c := process(peer{0x1001, func(id uint32) bool {
		if id == 0x2002 { // it finds the mark, or waits for who repairs
			learnt.Store(true)
		}
		return dead(id)
	}}, mem, nil)
	locked, done := make(chan struct{}), make(chan error)
	go func() {
		err := lock.Lock(context.Background(), 0)
		close(locked)
		if err == nil {
			err = errors.Join(c.Wait(context.Background()), lock.Unlock())
		}
		done <- err
	}()
	<-locked
	owner, _ := process(peer{0x3003, nil}, mem, nil)
	must(t, owner.Lock(t.Context(), 0)) // now it waits
	died.Store(true)
	other, d := process(peer{0x2002, dead}, mem, nil)
	must(t, other.Recover(t.Context(), func() error {
		for !learnt.Load() {
			d.Rouse()
			time.Sleep(100 * time.Microsecond)
		}
		return nil
	}))
	must(t, d.Notify(1))
	must(t, other.Unlock())
	if err := <-done; err != nil {
		t.Errorf("Wait of one who was notified: %v", err)
	}
}

// Whatever stands in the memory, Notify and Wait come to an end.
func FuzzCondition(f *testing.F) {
	f.Add([]byte{1}, 1)
	f.Add(bytes.Repeat([]byte{0xff}, condition.Size-8), 1000)
	f.Add(bytes.Repeat([]byte{1, 0, 0x80}, 100), -1)
	f.Fuzz(func(t *testing.T, data []byte, n int) {
		mem, more := memory(condition.Size), memory(condition.SizeMore)
		copy(mem[8:], data)
		copy(more, data)
		find := func(uint64, uint32) ([]byte, uint64, uint32, error) { return more, 1, 1, nil }
		lock, c := process(peer{0x1001, func(id uint32) bool { return id%2 == 0 }}, mem, find)
		must(t, lock.Lock(t.Context(), 0))
		must(t, c.Notify(n))
		c.Wait(over())
		c.Rouse()
		must(t, c.NotifyAll())
		given := func(id uint32) bool { return id%3 == 0 }
		condition.Check(mem, given)
		condition.CheckMore(more, given)
		must(t, lock.Unlock())
	})
}

// leaver is a process that leaves the segment in the last moment in which its handle is found open.
type leaver struct {
	peer
	leave *func()
}

func (l leaver) Closed() bool {
	(*l.leave)()
	return false
}

// Who has left the segment, and others have its record, does not touch that when its Wait ends.
func TestLeftWhileWaitEnds(t *testing.T) {
	mem := memory(condition.Size)
	var gone atomic.Bool
	lock, c := process(peer{2, func(id uint32) bool { return gone.Load() && id == 1 }}, mem, nil)
	done := make(chan error)
	leave := func() {}
	p := leaver{peer{id: 1}, &leave}
	m := robust.At(mem, p, p)
	left := condition.At(mem, p, p, &condition.Lock{Mutex: &m}, nil)
	must(t, m.Lock(t.Context(), 0))
	leave = func() {
		if u64(mem, 0) != 0 {
			return // not in the wait yet
		}
		leave = func() {}
		gone.Store(true)
		must(t, lock.Lock(t.Context(), 0))
		locked := make(chan struct{})
		go func() {
			close(locked)
			done <- c.Wait(context.Background())
		}()
		<-locked
		must(t, lock.Lock(t.Context(), 0)) // when it waits
		if u32(mem, 128) != 2 {
			t.Errorf("the record is that of %d", u32(mem, 128))
		}
		gone.Store(false) // nobody is to mark the death of who is about to have the lock: then all would learn of it
		must(t, lock.Unlock())
	}
	if err := left.Wait(over()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	must(t, m.Unlock())
	must(t, lock.Lock(t.Context(), 0))
	if n := c.Waits(); n != 1 {
		t.Errorf("%d wait, want 1", n)
	}
	must(t, c.Notify(1))
	must(t, lock.Unlock())
	must(t, <-done)
	must(t, lock.Unlock())
}
