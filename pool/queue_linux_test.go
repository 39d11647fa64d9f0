package pool_test

import (
	"context"
	"slices"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/pool"
	"github.com/shoal-ipc/shoal/queue"
)

// Reports is what reports is given.
type Reports struct {
	To *queue.Queue[[]string]
	N  int
}

// reports puts n items into a queue.
var reports = pool.Register("reports", func(ctx context.Context, r Reports) (int, error) {
	for range r.N {
		if err := r.To.Put(ctx, []string{"from", "a task"}); err != nil {
			return 0, err
		}
	}
	return r.N, nil
})

// TestConformanceQueue: a queue in the arguments of a task works, also one in a segment that was made after the
// pool was started.
func TestConformanceQueue(t *testing.T) {
	t.Run("SEED-15", func(t *testing.T) {
		before := proctest.Segment(t, 1<<20)
		p := newPool(t, 2)
		after := proctest.Segment(t, 1<<20)
		early, err := queue.New[[]string](before, "", 0)
		proctest.Must(t, err)
		late, err := queue.New[[]string](after, "", 3)
		proctest.Must(t, err)
		for _, q := range []*queue.Queue[[]string]{early, late} {
			r := pool.MapAsync(t.Context(), p, reports, []Reports{{q, 5}, {q, 4}, {q, 3}})
			for range 12 {
				v, err := q.Get(t.Context())
				if err != nil || !slices.Equal(v, []string{"from", "a task"}) {
					t.Fatal(v, err)
				}
			}
			if n, err := r.Get(t.Context()); err != nil || !slices.Equal(n, []int{5, 4, 3}) {
				t.Fatal(n, err)
			}
			if q.Len() != 0 {
				t.Errorf("%d items too many", q.Len())
			}
		}
	})
}
