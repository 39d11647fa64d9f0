package ring_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/shoal-ipc/shoal/ring"
)

// exactForms are the forms of a ring that can be ended.
func exactForms(t *testing.T, f func(t *testing.T, form uint32)) {
	each[uint64](t, func(t *testing.T, form uint32) {
		if form&ring.Exact != 0 {
			f(t, form)
		}
	})
}

// An exact ring holds n items, and after its end takes none; those that are there can be popped, and then everybody sees the mark.
func TestMPMCEnd(t *testing.T) {
	exactForms(t, func(t *testing.T, form uint32) {
		for _, n := range []int{1, 2, 3, 4, 7, 8, 100} {
			mem := memory(t, ring.MPMCSizeIn[uint64](n, form))
			r := newMPMC[uint64](t, mem, n, self(1), form)
			other := openMPMC[uint64](t, mem, self(2))
			for lap := range 3 {
				for i := range n {
					if !r.TryPush(uint64(i)) {
						t.Fatalf("lap %d: item %d of %d: %v", lap, i, n, r.Err())
					}
				}
				if r.TryPush(0) || other.TryPush(0) || other.Len() != n || other.Cap() != n || r.Mark() != 0 {
					t.Fatalf("a full ring of %d has %d, mark %d", n, other.Len(), r.Mark())
				}
				if lap < 2 {
					for i := range n {
						if v, ok := other.TryPop(); !ok || v != uint64(i) {
							t.Fatalf("popped %d, %v", v, ok)
						}
					}
				}
			}
			if !r.End(2) || r.End(1) || other.End(3) {
				t.Fatal("ended by nobody, or twice")
			}
			if _, ok := other.TryPop(); !ok {
				t.Fatal("the end took an item away")
			}
			if r.TryPush(0) || other.TryPush(0) || other.Mark() != 2 || r.Mark() != 2 {
				t.Fatalf("marks %d, %d", r.Mark(), other.Mark())
			}
			for range n - 1 {
				if _, ok := other.TryPop(); !ok {
					t.Fatal("an item is missing")
				}
			}
			if _, ok := other.TryPop(); ok || openMPMC[uint64](t, mem, self(3)).Mark() != 2 {
				t.Fatal("more than there was, or no mark for who comes late")
			}
		}
	})
}

// Pushes that race with the end succeed before it or not at all: who has seen the mark, and then nothing, has seen everything.
func TestMPMCEndRace(t *testing.T) {
	exactForms(t, func(t *testing.T, form uint32) {
		for range 300 {
			const n = 5
			mem := shared(t, ring.MPMCSizeIn[uint64](n, form))
			newMPMC[uint64](t, mem, n, self(1), form)
			var wg sync.WaitGroup
			var pushed, popped, ends atomic.Int32
			for i := range uint32(2) {
				r := openMPMC[uint64](t, mem, self(2+i))
				wg.Go(func() {
					for x := uint64(0); r.Mark() == 0; x++ {
						if r.TryPush(x) {
							pushed.Add(1)
						}
						if x == 20 && r.End(1+int(i)) {
							ends.Add(1)
						}
					}
				})
				c := openMPMC[uint64](t, mem, self(10+i))
				wg.Go(func() {
					for {
						over := c.Mark() != 0
						if _, ok := c.TryPop(); ok {
							popped.Add(1)
						} else if over {
							return
						}
						if l := c.Len(); l > n || l < 0 {
							t.Errorf("Len %d of %d", l, n)
						}
					}
				})
			}
			wg.Wait()
			if pushed.Load() != popped.Load() || ends.Load() != 1 {
				t.Fatalf("%d pushed, %d popped, ended %d times", pushed.Load(), popped.Load(), ends.Load())
			}
		}
	})
}

// Messages have a length each, and a kind; who peeks leaves them, and one of those who take one gets it.
func TestMessages(t *testing.T) {
	const n, size = 3, 40
	mem := memory(t, ring.MessagesSize(n, size))
	r, err := ring.NewMessages(mem, n, size, self(1))
	if err != nil {
		t.Fatal(err)
	}
	other, err := ring.OpenMessages(mem, self(2))
	if err != nil {
		t.Fatal(err)
	}
	text := []byte("0123456789012345678901234567890123456789")
	for i := range 100 {
		if !r.TryPush(uint32(i), text[:i%(size+1)]) || !other.TryPush(7, nil) {
			t.Fatal(r.Err(), other.Err())
		}
		if other.Len() != 2 || other.Cap() != n || other.Size() != size {
			t.Fatal(other.Len(), other.Cap(), other.Size())
		}
		there := 0
		if err := ring.EachMessage(mem, func(kind uint32, b []byte) { there += 1 + len(b) }); err != nil || there != 2+i%(size+1) {
			t.Fatalf("%d, %v", there, err)
		}
		_, _, first, ok := r.Peek(nil)
		kind, b, second, ok2 := other.Peek([]byte("x"))
		if !ok || !ok2 || kind != uint32(i) || string(b) != "x"+string(text[:i%(size+1)]) {
			t.Fatalf("kind %d, %q", kind, b)
		}
		if !r.Take(first) || other.Take(second) || r.Take(first) {
			t.Fatal("taken twice, or not")
		}
		if kind, b, ok := other.TryPop(nil); !ok || kind != 7 || len(b) != 0 {
			t.Fatal(kind, b, ok)
		}
		if _, _, ok := r.TryPop(nil); ok {
			t.Fatal("more than there was")
		}
	}
	for range n {
		r.TryPush(0, text)
	}
	if r.TryPush(0, nil) || !other.End(3) || r.Mark() != 3 {
		t.Fatal("no limit, or no end")
	}
}
