//go:build race

package queue_test

import (
	"sync"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/queue"
)

// TestRace: the race detector knows that a queue hands over what its items stand for: indexes of a slice in the Go heap. (That it
// reports the same without the annotations of the rings is tested there.)
func TestRace(t *testing.T) {
	seg := proctest.Segment(t, 16<<20)
	for _, f := range forms {
		for _, n := range []int{3, 0} {
			const goroutines, each = 3, 300
			q := newNumbers(t, seg, f, n, smallRing)
			data := make([]int, goroutines*each)
			var puts, gets sync.WaitGroup
			for g := range goroutines {
				puts.Go(func() {
					q := q.another(t)
					for i := g * each; i < (g+1)*each; i++ {
						data[i] = i
						if err := q.put(t.Context(), uint64(i)); err != nil {
							t.Error(err)
						}
					}
				})
				gets.Go(func() {
					q := q.another(t)
					for {
						xs, err := q.getMany(t.Context(), 2)
						for _, x := range xs {
							if data[x] != int(x) {
								t.Errorf("number %d is %d", x, data[x])
							}
							data[x]++
						}
						if err == queue.ErrShutdown {
							return
						} else if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			puts.Wait()
			proctest.Must(t, q.shutdown())
			gets.Wait()
			for i, x := range data {
				if x != i+1 {
					t.Errorf("number %d is %d in the end", i, x)
				}
			}
		}
	}
}
