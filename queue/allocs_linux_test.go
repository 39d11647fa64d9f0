package queue_test

import (
	"context"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/queue"
)

// six fields without pointers
type record struct {
	ID    int64
	Score float64
	Kind  uint16
	Ok    bool
	Name  [12]byte
	Next  uint32
}

// Values without pointers cross without allocations, also those that are passed, in a queue that counts, and when both sides sleep.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector allocates")
	}
	seg := proctest.Segment(t, 16<<20)
	ctx := context.Background()
	t.Run("uint64", func(t *testing.T) { allocates(t, use(t, newQueue[uint64](t, seg, 8), 1)) })
	t.Run("record", func(t *testing.T) { allocates(t, use(t, newQueue[record](t, seg, 8), record{ID: 1})) })
	t.Run("grows", func(t *testing.T) { allocates(t, use(t, newQueue[record](t, seg, 0), record{ID: 1})) })
	t.Run("passed", func(t *testing.T) { allocates(t, use(t, newQueue[[600]byte](t, seg, 8), [600]byte{})) })
	t.Run("counts", func(t *testing.T) {
		q, err := queue.NewJoinable[record](seg, "", 8)
		proctest.Must(t, err)
		allocates(t, func() {
			q.Put(ctx, record{})
			q.Get(ctx)
			q.TaskDone()
			q.Join(ctx)
		})
	})
	t.Run("many", func(t *testing.T) {
		q, vs, dst := newQueue[uint64](t, seg, 64), make([]uint64, 32), make([]uint64, 32)
		allocates(t, func() {
			q.PutMany(ctx, vs)
			q.GetMany(ctx, dst)
		})
	})
	t.Run("asleep", func(t *testing.T) { allocates(t, pingPong(t, seg, uint64(1))) })
	t.Run("records asleep", func(t *testing.T) { allocates(t, pingPong(t, seg, record{})) })
}

func use[T any](t *testing.T, q *queue.Queue[T], v T) func() {
	ctx := context.Background()
	return func() {
		q.Put(ctx, v)
		q.Get(ctx)
		q.TryPut(v)
		q.TryGet()
		q.TryGet()
		q.Len()
	}
}

// allocates fails the test if f allocates. Others do now and then; so it tries again.
func allocates(t *testing.T, f func()) {
	t.Helper()
	least := 1.0
	for range 10 {
		if least = min(least, testing.AllocsPerRun(200, f)); least == 0 {
			return
		}
	}
	t.Errorf("%v allocations", least)
}
