package atomics_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/shoal-ipc/shoal/internal/atomics"
)

// TestFenced: of two who each store a position and then load the other's, one sees the other, in mapped memory too, where the
// race detector has other stores than in Go's. Each writes to lines of the other's first, which its store has to wait for.
func TestFenced(t *testing.T) {
	const rounds, lines = 4_000, 24
	for _, c := range []struct {
		name  string
		store func(*atomics.Pos, uint64)
		is    bool
	}{
		{"Publish", (*atomics.Pos).Publish, atomics.PublishIsFenced},
		{"Store", (*atomics.Pos).Store, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem, err := syscall.Mmap(-1, 0, 1<<16, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_ANON)
			if err != nil {
				t.Fatal(err)
			}
			defer syscall.Munmap(mem)
			pos, dirty := [2]*atomics.Pos{posAt(mem), posAt(mem[128:])}, mem[4096:]
			var round [2]atomic.Uint64
			var saw [2][rounds]uint64
			var wg sync.WaitGroup
			for side := range 2 {
				wg.Go(func() {
					for i := range uint64(rounds) {
						round[side].Store(i + 1)
						for spins := 0; round[1-side].Load() < i+1; spins++ {
							if spins > 1000 { // the other has no processor
								runtime.Gosched()
							}
						}
						for l := range lines {
							dirty[l*128] = byte(i)
						}
						c.store(pos[side], i+1)
						saw[side][i] = pos[1-side].Load()
					}
				})
			}
			wg.Wait()
			missed := 0
			for i := range uint64(rounds) {
				if saw[0][i] <= i && saw[1][i] <= i {
					missed++
				}
			}
			t.Logf("in %d of %d rounds neither saw the other", missed, rounds)
			if missed > 0 && c.is {
				t.Error("a load was done before the store that it follows was visible")
			}
		})
	}
}
