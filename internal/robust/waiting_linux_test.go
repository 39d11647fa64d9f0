package robust_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/robust"
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
	var over bool
	word := new(atomic.Uint32)
	begin := func(peers robust.Peers) *robust.Waiting {
		return robust.NewWaiting(peers, word, 9, sleeper(func() bool { return over }))
	}
	lasting := func(w *robust.Waiting) {
		time.Sleep(6 * time.Millisecond)
		for _, over = range []bool{false, true} {
			if w.Over() != over {
				t.Errorf("over is not %v", over)
			}
			w.Note()
		}
		w.End()
	}
	var begun, done int
	lasting(begin(recorder{peer{id: 1}, &begun, &done, false}))
	if begun != 1 || done != 1 {
		t.Errorf("recorded %d times, forgotten %d times", begun, done)
	}
	lasting(begin(recorder{peer{id: 1}, &begun, &done, true})) // no room
	if begun != 2 || done != 1 {
		t.Errorf("recorded %d times, forgotten %d times", begun, done)
	}
	lasting(begin(peer{id: 1}))
	for range 5 { // short, but for a machine that is slow
		short, start := begin(recorder{peer{id: 1}, &begun, &done, false}), time.Now()
		short.Note()
		short.End()
		if time.Since(start) < 2*time.Millisecond {
			if begun != 2 {
				t.Error("a short wait is recorded")
			}
			return
		}
		begun, done = 2, 1
	}
}

// A wait that goes on after short sleeps is recorded before the next.
func TestWaitingBySteps(t *testing.T) {
	w := newWord(t)
	w.of(peer{id: 1}).Take(0)
	var begun, done int
	r := recorder{peer{id: 2, closed: func() bool {
		time.Sleep(6 * time.Millisecond)
		return false
	}}, &begun, &done, false}
	m := robust.At(w.Bytes(), r, r)
	soon, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond) // it spins first, slowly
	defer cancel()
	var woken sync.WaitGroup
	woken.Go(func() {
		for soon.Err() == nil {
			futex.Wake(w.low(), 1)
			time.Sleep(time.Millisecond / 2)
		}
	})
	err := m.Lock(soon, 0)
	woken.Wait()
	if err != context.DeadlineExceeded || begun != 1 || done != 1 {
		t.Errorf("recorded %d times, forgotten %d times: %v", begun, done, err)
	}
}
