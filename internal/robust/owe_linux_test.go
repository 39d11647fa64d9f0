package robust_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/robust"
	"github.com/shoal-ipc/shoal/internal/sys"
)

// asleepOn sleeps on a word until a wake: nothing else ends that, so whoever receives from it was woken.
func asleepOn(t *testing.T, w *atomic.Uint32) (woken chan error) {
	t.Helper()
	woken = make(chan error, 1)
	go func() {
		err := sys.FutexWait(w, w.Load(), sys.Monotonic()+int64(time.Hour))
		for errors.Is(err, syscall.EINTR) {
			err = sys.FutexWait(w, w.Load(), sys.Monotonic()+int64(time.Hour))
		}
		woken <- err
	}()
	for address := fmt.Sprintf("%p", w); ; runtime.Gosched() {
		calls, _ := filepath.Glob("/proc/self/task/*/syscall")
		for _, c := range calls {
			call, _ := os.ReadFile(c)
			if f := strings.Fields(string(call)); len(f) > 1 && f[1] == address { // no other call is about it
				return woken
			}
		}
	}
}

func stillAsleep(t *testing.T, woken chan error, after string) {
	t.Helper()
	select {
	case err := <-woken:
		t.Errorf("woken after %s: %v", after, err)
	default:
	}
}

// What a holder owes is paid by the release of its process, through whatever handle, and once.
func TestOwe(t *testing.T) {
	w := newWord(t)
	m, other := w.of(peer{id: 7}), w.of(peer{id: 7})
	first, second := w.Uint32(64), w.Uint32(68)
	proctest.Must(t, m.Lock(t.Context(), 0))
	a, b := asleepOn(t, first), asleepOn(t, second)
	m.Owe(first)
	m.Owe(second)
	m.Owe(first)
	if v := w.get(); !robust.Valid(v) || v&robust.Owes == 0 {
		t.Errorf("the word is %#x", v)
	}
	if m.Free(0) {
		t.Fatal("the fast path freed a word whose release owes a wake")
	}
	stillAsleep(t, a, "Owe")
	proctest.Must(t, other.Unlock())
	proctest.Must(t, <-a)
	proctest.Must(t, <-b)
	if v := w.get(); v != 0 {
		t.Errorf("the word is %#x after the release", v)
	}

	// The next release owes nothing.
	c := asleepOn(t, first)
	proctest.Must(t, m.Lock(t.Context(), 0))
	proctest.Must(t, m.Unlock())
	stillAsleep(t, c, "a release that owes nothing")
	if n := futex.Wake(first, 1); n != 1 {
		t.Errorf("%d sleep", n)
	}
	proctest.Must(t, <-c)
}

// Other ends of holding pay, too: giving up, closing what the word is part of, and having lost the word before Owe.
func TestOweOtherwise(t *testing.T) {
	var closed atomic.Bool
	for _, c := range []struct {
		name string
		end  func(w sharedWord, m *robust.Mutex, owe func()) error
	}{
		{"abandoned", func(w sharedWord, m *robust.Mutex, owe func()) error { owe(); return m.Abandon() }},
		{"kicked", func(w sharedWord, m *robust.Mutex, owe func()) error { owe(); futex.Kick(w.Bytes()); return nil }},
		{"closed before", func(w sharedWord, m *robust.Mutex, owe func()) error { closed.Store(true); owe(); return nil }},
		{"buried before", func(w sharedWord, m *robust.Mutex, owe func()) error { w.set(robust.Died); owe(); return nil }},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWord(t)
			closed.Store(false)
			m := w.of(peer{id: 7, closed: closed.Load})
			proctest.Must(t, m.Lock(t.Context(), 0))
			woken := asleepOn(t, w.Uint32(64))
			proctest.Must(t, c.end(w, m, func() { m.Owe(w.Uint32(64)) }))
			proctest.Must(t, <-woken)
		})
	}
}

// Who was notified of something sleeps on many words.
func TestOweMany(t *testing.T) {
	w := newWord(t)
	m := w.of(peer{id: 7})
	proctest.Must(t, m.Lock(t.Context(), 0))
	var all []chan error
	for i := range 40 {
		s := w.Uint32(64 + 4*i)
		all = append(all, asleepOn(t, s))
		m.Owe(s)
	}
	proctest.Must(t, m.Unlock())
	for _, woken := range all {
		proctest.Must(t, <-woken)
	}
}

// A spin that pays goes on, for about as long as it takes; one that does not is tried ever more rarely.
func TestSpin(t *testing.T) {
	var s robust.Spin
	turn := func(needs int) (looks int) {
		spins := s.Begin()
		for looks = 0; spins.Left > 0; looks++ {
			if looks == needs {
				spins.End(true)
				return looks
			}
			spins.Left--
		}
		spins.End(false)
		return looks
	}
	if n := turn(5); runtime.NumCPU() == 1 {
		if n != 0 {
			t.Errorf("%d looks where those who are waited for cannot run meanwhile", n)
		}
		return
	}
	for range 10 {
		if n := turn(5); n != 5 {
			t.Fatalf("%d looks, 5 pay", n)
		}
	}
	if n := turn(1 << 20); n == 0 || n > 100 {
		t.Errorf("%d looks in vain where 5 were enough", n)
	}
	most := turn(1 << 20)
	if most < 500 {
		t.Errorf("%d looks by who was late himself", most)
	}
	trials := 0
	for range 100_000 {
		if n := turn(1 << 20); n != 0 {
			trials++
		}
	}
	if trials < 10 || trials > 50 {
		t.Errorf("%d trials in 100,000 waits that looks are too short for", trials)
	}
	for i := 0; turn(3) == 0; i++ {
		if i == 10_000 {
			t.Fatal("no more trials")
		}
	}
	s.Late()
	if spins := s.Begin(); spins.Left != most {
		t.Errorf("%d looks for who has just been woken, want %d", spins.Left, most)
	}
}
