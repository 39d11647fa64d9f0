package wait_test

import (
	"context"
	"testing"

	"github.com/shoal-ipc/shoal/internal/wait"
)

// FuzzWord calls every method on a state that anybody may have written, and writes to it in between. A method may answer
// wrongly; it does not panic, and it returns.
func FuzzWord(f *testing.F) {
	f.Add(uint32(0), []byte{0, 1, 2, 3, 4})
	f.Add(uint32(wait.Bare|wait.Fenced|3), []byte{2, 2, 0, 3, 0, 1, 0})
	f.Add(^uint32(0), []byte{0, 2, 1, 3, 0, 4, 0, 0, 2})
	over, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, state uint32, ops []byte) {
		mem := memory()
		w, err := wait.New(mem)
		if err != nil {
			t.Fatal(err)
		}
		w.State().Store(state)
		for _, op := range ops[:min(len(ops), 64)] {
			switch op % 5 {
			case 0:
				w.Wake()
			case 1:
				w.WakeAll()
			case 2:
				if err := w.Wait(over, func() bool { return false }); err != context.Canceled {
					t.Fatal(err)
				}
			case 3: // ready is true at its third call: after the flag was set
				n := 0
				if err := w.Wait(context.Background(), func() bool { n++; return n >= 3 }); err != nil {
					t.Fatal(err)
				}
			case 4:
				w.State().Store(state*uint32(op) ^ uint32(op)<<24)
			}
		}
		for i, b := range mem[4:] {
			if b != 0 {
				t.Fatalf("byte %d was written to", i+4)
			}
		}
	})
}
