package demo_test

import (
	"testing"

	"github.com/shoal-ipc/shoal/cmd/shoal/internal/demo"
	"github.com/shoal-ipc/shoal/internal/proctest"
)

// TestWindow takes and gives at random and checks that no two parts overlap and that all room comes back.
func TestWindow(t *testing.T) {
	rnd := proctest.Rand(t)
	const size = 4096
	w := demo.NewWindow(size)
	type span struct{ off, len int }
	var held []span
	full := 0
	for range 50_000 {
		if n := 1 + rnd.IntN(700); rnd.IntN(5) < 3 {
			off, ok := w.Take(n)
			if !ok {
				full++
				continue
			}
			if off < 0 || off+n > size || off%demo.WindowAlignment != 0 {
				t.Fatalf("%d bytes at %d of %d", n, off, size)
			}
			for _, h := range held {
				if off < h.off+h.len && h.off < off+n {
					t.Fatalf("%d bytes at %d overlap %d at %d", n, off, h.len, h.off)
				}
			}
			held = append(held, span{off, n})
		} else if len(held) > 0 {
			i := rnd.IntN(len(held))
			w.Give(held[i].off)
			held = append(held[:i], held[i+1:]...)
		}
	}
	if full == 0 {
		t.Error("the window was never full: the test is too easy")
	}
	for _, h := range held {
		w.Give(h.off)
	}
	if off, ok := w.Take(size); !ok || w.Parts() != 1 {
		t.Errorf("all given back, and %d bytes cannot be taken (%d, %v, %d parts)", size, off, ok, w.Parts())
	}
	if _, ok := w.Take(1); ok {
		t.Error("something was taken from a full window")
	}
}
