package robust_test

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/shm"
)

// recorder counts records.
type recorder struct {
	peer
	begun, done *int
	none        bool
}

func (r recorder) Waiting(word *atomic.Uint32, since time.Time, tag uint64) (done func()) {
	*r.begun++
	if r.none || time.Since(since) < 5*time.Millisecond {
		return nil
	}
	return func() { *r.done++ }
}

type sleeper func() bool

func (f sleeper) Over() bool { return f() }

// A wait is recorded once, when it has lasted, and until it ends; not when it was short, or there is nobody who records.
func TestWaiting(t *testing.T) {
	word := new(atomic.Uint32)
	// wait sleeps twice, each time until the limit.
	wait := func(peers robust.Peers, limit time.Duration) {
		w := robust.NewWaiting(peers, word, word, 9, 1, sleeper(func() bool { return false }))
		defer w.End()
		if on, err := w.Line(t.Context()); !on || err != nil {
			t.Fatal(on, err)
		}
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			if w.Nap(ctx, 0) {
				t.Error("a nap ended early")
			} else if err := w.Sleep(ctx, 0); err != context.DeadlineExceeded {
				t.Error(err)
			}
			cancel()
		}
	}
	const long, short = 12 * time.Millisecond, time.Millisecond
	var begun, done int
	wait(recorder{peer{id: 1}, &begun, &done, false}, long)
	if begun != 1 || done != 1 {
		t.Errorf("recorded %d times, forgotten %d times", begun, done)
	}
	wait(recorder{peer{id: 1}, &begun, &done, true}, long) // no room
	if begun != 2 || done != 1 {
		t.Errorf("recorded %d times, forgotten %d times", begun, done)
	}
	wait(peer{id: 1}, long)
	for range 5 { // short, but for a machine that is slow
		start := time.Now()
		wait(recorder{peer{id: 1}, &begun, &done, false}, short)
		if time.Since(start) < 4*time.Millisecond {
			if begun != 2 {
				t.Error("a short wait is recorded")
			}
			return
		}
		begun, done = 2, 1
	}
}

// A wait that is many short naps is recorded as one that sleeps is.
func TestWaitingBySteps(t *testing.T) {
	word := new(atomic.Uint32)
	var begun, done int
	w := robust.NewWaiting(recorder{peer{id: 1}, &begun, &done, false}, word, word, 9, 1, sleeper(func() bool { return false }))
	for i := range 4 {
		if !w.Nap(t.Context(), 1) { // the word is another
			t.Error("a nap that ended early")
		}
		if i == 0 && begun != 0 {
			t.Error("a short wait is recorded")
		}
		time.Sleep(3 * time.Millisecond)
	}
	if w.End(); begun != 1 || done != 1 {
		t.Errorf("recorded %d times, forgotten %d times", begun, done)
	}
}

// tags notes the tags of records.
type tags struct {
	peer
	got *[]uint64
}

func (r tags) Waiting(_ *atomic.Uint32, _ time.Time, tag uint64) (done func()) {
	*r.got = append(*r.got, tag)
	return nil
}

// A Holder's wait is recorded with the number that is in the tag while it holds the lock, a wait for a Mutex with none.
func TestWaitingTags(t *testing.T) {
	proctest.Watch(t)
	b, err := shm.NewBlock(proctest.Segment(t, 1), "", robust.HolderSize)
	proctest.Must(t, err)
	other := sharedWord{b}.of(peer{id: 1})
	var got []uint64
	r := tags{peer{id: 2}, &got}
	m, h := robust.At(b.Bytes(), r, r), robust.HolderAt(b.Bytes())
	proctest.Must(t, h.Lock(t.Context(), &m, 0))
	number := binary.LittleEndian.Uint64(b.Bytes()[8:])
	proctest.Must(t, h.Unlock(&m))
	proctest.Must(t, other.Lock(t.Context(), 0))
	for i, wait := range []func(over context.Context) error{
		func(over context.Context) error { return h.Lock(over, &m, 0) },
		func(over context.Context) error { return h.Recover(over, &m, nil) },
		func(over context.Context) error { return m.Lock(over, 0) },
		func(over context.Context) error { return m.Recover(over, nil) },
	} {
		want := number
		if i >= 2 {
			want = 0
		}
		over, cancel := context.WithTimeout(t.Context(), 12*time.Millisecond)
		defer cancel()
		if err := wait(over); err != context.DeadlineExceeded || len(got) != i+1 || got[i] != want {
			t.Errorf("wait %d is recorded with tags %x, want %x last: %v", i, got, want, err)
		}
	}
	if number == 0 {
		t.Error("a Holder has no number")
	}
}

// Who has lost the word, because its process left, changes nothing of the tag of who has it now.
func TestTagOfOthers(t *testing.T) {
	proctest.Watch(t)
	b, err := shm.NewBlock(proctest.Segment(t, 1), "", robust.HolderSize)
	proctest.Must(t, err)
	w := sharedWord{b}
	m, o := w.of(peer{id: 1}), w.of(peer{id: 2})
	for what, leave := range map[string]func(h *robust.Holder) error{
		"Unlock":  func(h *robust.Holder) error { return h.Unlock(m) },
		"Abandon": func(h *robust.Holder) error { return h.Abandon(m) },
	} {
		h, other := robust.HolderAt(b.Bytes()), robust.HolderAt(b.Bytes())
		proctest.Must(t, h.Lock(t.Context(), m, 0))
		w.set(0) // as if it had been buried and recovered
		proctest.Must(t, other.Lock(t.Context(), o, 0))
		tag := binary.LittleEndian.Uint64(b.Bytes()[8:])
		if err := leave(&h); err != robust.ErrNotOwner {
			t.Errorf("%s: %v", what, err)
		}
		if got := binary.LittleEndian.Uint64(b.Bytes()[8:]); got != tag {
			t.Errorf("after %s of another the tag is %x, want %x", what, got, tag)
		}
		proctest.Must(t, other.Unlock(o))
	}
}
