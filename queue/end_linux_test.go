package queue_test

import (
	"sync"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/queue"
)

// TestShutdownByThisHandle: who gets through the handle by which others put and shut the queue down learns of the end only after the
// last item.
func TestShutdownByThisHandle(t *testing.T) {
	seg := proctest.Segment(t, 64<<20)
	for range 3000 {
		q, err := queue.OpenOrNew[uint64](seg, "q", 4)
		proctest.Must(t, err)
		var wg sync.WaitGroup
		wg.Go(func() {
			for i := range uint64(3) {
				if err := q.TryPut(i); err != nil {
					t.Error(err)
				}
			}
			if err := q.Shutdown(); err != nil {
				t.Error(err)
			}
		})
		n := 0
		for err = nil; err != queue.ErrShutdown; {
			if _, err = q.TryGet(); err == nil {
				n++
			}
		}
		wg.Wait()
		if n != 3 {
			t.Fatalf("%d items of 3 before the end", n)
		}
		proctest.Must(t, seg.Remove("q"))
		proctest.Must(t, q.Close())
	}
}
