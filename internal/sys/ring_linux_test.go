package sys_test

import (
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
)

// Waits on a ring end when their word is woken or was another, or when they are cancelled, and each completes once; also
// when there are more completions than the ring has room for.
func TestFutexRing(t *testing.T) {
	const n = 1000
	r, err := sys.NewFutexRing(16)
	if err != nil {
		t.Skip("no futexes on io_uring: ", err)
	}
	defer r.Close()
	w := new([n]atomic.Uint32)
	t.Cleanup(func() { runtime.KeepAlive(w) })
	want := make(map[uint64]error)
	for i := range w {
		id := uint64(i + 1)
		if i%3 == 1 {
			w[i].Store(1)
			want[id] = syscall.EAGAIN
		}
		if err := r.Wait(sys.Expect(&w[i], 0), id); err != nil {
			t.Fatal(err)
		}
	}
	for i := range w {
		switch i % 3 {
		case 0:
			if sys.FutexWake(&w[i], 1) != 1 {
				t.Errorf("nobody waits for word %d", i)
			}
			want[uint64(i+1)] = nil
			if i%2 == 0 {
				if err := r.Cancel(uint64(i + 1)); err != nil { // too late
					t.Fatal(err)
				}
			}
		case 2:
			if err := r.Cancel(uint64(i + 1)); err != nil {
				t.Fatal(err)
			}
			if sys.FutexWake(&w[i], 1) != 0 {
				t.Errorf("a wait for word %d that was cancelled was woken", i)
			}
			want[uint64(i+1)] = syscall.ECANCELED
		}
	}
	for end := time.Now().Add(time.Minute); len(want) > 0 && time.Now().Before(end); {
		r.Completed(func(id uint64, err error) {
			if e, ok := want[id]; !ok || e != err {
				t.Errorf("wait %d: %v, want %v (%t)", id, err, e, ok)
			}
			delete(want, id)
		})
		if len(want) > 0 {
			r.Sleep(time.Now().Add(time.Second))
		}
	}
	if len(want) > 0 {
		t.Errorf("%d waits did not complete", len(want))
	}
}

// A ring is not made where the netpoller cannot wait for it, as when the user's limit of watches is reached
// (fs.epoll.max_user_watches): Sleep would not sleep.
func TestFutexRingNoPoller(t *testing.T) {
	r, err := sys.NewFutexRing(16) // the netpoller is there from now on
	if err != nil {
		t.Skip("no futexes on io_uring: ", err)
	}
	r.Close()
	refusing(t, syscall.SYS_EPOLL_CTL, syscall.ENOSPC, func() {
		r, err := sys.NewFutexRing(16)
		if err == nil {
			r.Close()
			t.Error("a ring was made that cannot be waited for")
		}
	})
}

// The counts of a ring wrap around, and so does their sign where an int has 32 bits.
func TestFutexRingWraps(t *testing.T) {
	for _, had := range []uint32{1<<31 - 3, 1<<32 - 3} {
		var last uint64
		sys.CompletedAfter(had, 6, func(id uint64, err error) {
			if id != last+1 || err != nil {
				t.Errorf("after %d: wait %d, %v, want wait %d", had, id, err, last+1)
			}
			last = id
		})
		if last != 6 {
			t.Errorf("after %d: %d waits completed, want 6", had, last)
		}
	}
}
