package queue_test

import (
	"context"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// BenchmarkPutGet puts and gets one item after the other, in one goroutine: what a queue costs beside the ring.
func BenchmarkPutGet(b *testing.B) {
	b.Run("ring", func(b *testing.B) {
		mem, err := shm.NewBlock(proctest.Segment(b, 4<<20), "", ring.MPMCSize[uint64](1024))
		proctest.Must(b, err)
		r, err := ring.NewMPMC[uint64](mem.Bytes(), 1024, mem.Segment())
		proctest.Must(b, err)
		for b.Loop() {
			r.TryPush(1)
			r.TryPop()
		}
	})
	putGet(b, "uint64", uint64(1))
	putGet(b, "48 bytes", [6]uint64{})
	putGet(b, "string", "twenty bytes or more")
	putGet(b, "struct", six{1, "a name", 1.5, true, []byte("some bytes"), 7})
	putGet(b, "floats of 1 KiB", make([]float64, 128))
	putGet(b, "floats of 8 MB", make([]float64, 1_000_000))
}

func putGet[T any](b *testing.B, name string, v T) {
	b.Run(name, func(b *testing.B) {
		q := newQueue[T](b, proctest.Segment(b, 64<<20), 1000)
		ctx := context.Background()
		b.ReportAllocs()
		for b.Loop() {
			if err := q.Put(ctx, v); err != nil {
				b.Fatal(err)
			}
			if _, err := q.Get(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run(name+", stream", func(b *testing.B) {
		seg := proctest.Segment(b, 64<<20)
		q, err := queue.New[T](seg, "q", 1000)
		proctest.Must(b, err)
		c, err := queue.Open[T](seg, "q")
		proctest.Must(b, err)
		ctx := context.Background()
		go func() {
			for range b.N {
				q.Put(ctx, v)
			}
		}()
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if _, err := c.Get(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkGoroutines(b *testing.B) {
	seg := proctest.Segment(b, 4<<20)
	for _, bare := range []bool{true, false} {
		name := "queue"
		if bare {
			name = "ring"
		}
		b.Run(name, func(b *testing.B) {
			mem, err := shm.NewBlock(seg, "", ring.MPMCSize[uint64](1024))
			proctest.Must(b, err)
			r, err := ring.NewMPMC[uint64](mem.Bytes(), 1024, seg)
			proctest.Must(b, err)
			q := newQueue[uint64](b, seg, 1024)
			ctx := context.Background()
			go func() {
				for i := range b.N {
					if bare {
						for !r.TryPush(uint64(i)) {
						}
					} else {
						q.Put(ctx, uint64(i))
					}
				}
			}()
			for i := range b.N {
				var v uint64
				if bare {
					for ok := false; !ok; v, ok = r.TryPop() {
					}
				} else {
					v, _ = q.Get(ctx)
				}
				if v != uint64(i) {
					b.Fatal(v, i)
				}
			}
		})
	}
}
