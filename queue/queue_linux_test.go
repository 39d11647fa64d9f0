package queue_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

type six struct {
	ID    int
	Name  string
	Score float64
	Ok    bool
	Blob  []byte
	N     uint32
}

func newQueue[T any](t testing.TB, seg *shm.Segment, n int, opts ...queue.Options) *queue.Queue[T] {
	t.Helper()
	q, err := queue.New[T](seg, "", n, opts...)
	proctest.Must(t, err)
	return q
}

// fifo puts and gets items of one type, in a queue with and without a bound, one at a time and many.
func fifo[T any](t *testing.T, item func(i int) T, same func(a, b T) bool, opts ...queue.Options) {
	t.Helper()
	ctx := context.Background()
	for _, n := range []int{1, 3, 64, 0} {
		seg := proctest.Segment(t, 16<<20)
		q := newQueue[T](t, seg, n, opts...)
		most := n
		if n == 0 {
			most = 2000
		}
		for lap := range 3 {
			for i := range most {
				proctest.Must(t, q.Put(ctx, item(i+lap)))
				if l := q.Len(); l != i+1 {
					t.Fatalf("Len %d of %d", l, i+1)
				}
			}
			if n != 0 {
				if err := q.TryPut(item(0)); err != queue.ErrFull || q.Len() != n || q.Cap() != n {
					t.Fatalf("a full queue: %v, Len %d, Cap %d", err, q.Len(), q.Cap())
				}
			}
			for i := range most {
				v, err := q.Get(ctx)
				proctest.Must(t, err)
				if !same(v, item(i+lap)) {
					t.Fatalf("item %d of %T is %v", i, v, v)
				}
			}
			if _, err := q.TryGet(); err != queue.ErrEmpty || q.Len() != 0 {
				t.Fatalf("an empty queue: %v, Len %d", err, q.Len())
			}
		}
		var vs []T
		for i := range most {
			vs = append(vs, item(i))
		}
		if k, err := q.PutMany(ctx, vs); k != most || err != nil {
			t.Fatal(k, err)
		}
		dst := make([]T, most+3)
		got := 0
		for got < most {
			k, err := q.GetMany(ctx, dst[got:])
			proctest.Must(t, err)
			got += k
		}
		for i := range most {
			if !same(dst[i], item(i)) {
				t.Fatalf("item %d of %T is %v", i, dst[i], dst[i])
			}
		}
		proctest.Must(t, q.Put(ctx, item(7)))
		proctest.Must(t, q.Shutdown())
		proctest.Must(t, q.Shutdown())
		if err := q.Put(ctx, item(1)); err != queue.ErrShutdown {
			t.Fatal(err)
		}
		v, err := q.Get(ctx)
		if err != nil || !same(v, item(7)) {
			t.Fatal(v, err)
		}
		if _, err := q.Get(ctx); err != queue.ErrShutdown {
			t.Fatal(err)
		}
		proctest.Must(t, seg.Check())
	}
}

func TestFIFO(t *testing.T) {
	equal := func(a, b uint64) bool { return a == b }
	fifo(t, func(i int) uint64 { return uint64(i) }, equal)
	fifo(t, func(i int) [6]uint64 { return [6]uint64{uint64(i), 5: uint64(i)} }, func(a, b [6]uint64) bool { return a == b })
	fifo(t, func(i int) [600]byte { return [600]byte{byte(i), 599: byte(i)} }, func(a, b [600]byte) bool { return a == b })
	fifo(t, func(i int) string { return strings.Repeat("x", i%300) }, func(a, b string) bool { return a == b })
	fifo(t, func(i int) []float64 { return make([]float64, i%100) }, func(a, b []float64) bool { return slices.Equal(a, b) })
	fifo(t, func(i int) six { return six{i, fmt.Sprint(i), 1.5, true, []byte("abc"), 7} },
		func(a, b six) bool { return fmt.Sprint(a) == fmt.Sprint(b) })
	fifo(t, func(i int) struct{} { return struct{}{} }, func(a, b struct{}) bool { return true })
}

// Several goroutines put and get, each item arrives once, and in the order of its producer.
func TestManyGoroutines(t *testing.T) {
	for _, n := range []int{1, 7, 0} {
		seg := proctest.Segment(t, 64<<20)
		q := newQueue[[2]int](t, seg, n)
		s := newQueue[string](t, seg, n)
		const producers, consumers, items = 3, 3, 2000
		var wg, puts sync.WaitGroup
		var mu sync.Mutex
		seen := make(map[string]int)
		for p := range producers {
			puts.Add(1)
			wg.Go(func() {
				defer puts.Done()
				for i := range items {
					if err := q.Put(t.Context(), [2]int{p, i}); err != nil {
						t.Error(err)
					}
					if err := s.Put(t.Context(), fmt.Sprintf("%d %d%s", p, i, strings.Repeat("x", i%7*50))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		for range consumers {
			wg.Go(func() {
				last := [producers]int{-1, -1, -1}
				for v, err := range q.All(t.Context()) {
					if err != nil || v[1] <= last[v[0]] {
						t.Error(v, last, err)
						return
					}
					last[v[0]] = v[1]
					mu.Lock()
					seen[fmt.Sprint("q", v)]++
					mu.Unlock()
				}
			})
			wg.Go(func() {
				for v, err := range s.All(t.Context()) {
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					seen[v]++
					mu.Unlock()
				}
			})
		}
		puts.Wait()
		proctest.Must(t, q.Shutdown())
		proctest.Must(t, s.Shutdown())
		wg.Wait()
		if len(seen) != 2*producers*items {
			t.Errorf("%d items of %d", len(seen), 2*producers*items)
		}
		for v, k := range seen {
			if k != 1 {
				t.Errorf("%q came %d times", v, k)
			}
		}
		proctest.Must(t, seg.Check())
	}
}

func TestJoin(t *testing.T) {
	seg := proctest.Segment(t, 16<<20)
	q, err := queue.NewJoinable[string](seg, "q", 0)
	proctest.Must(t, err)
	proctest.Must(t, q.Join(t.Context()))
	if err := q.TaskDone(); !errors.Is(err, queue.ErrTaskDone) {
		t.Fatal(err)
	}
	for i := range 3 {
		proctest.Must(t, q.Put(t.Context(), fmt.Sprint(i)))
	}
	if q.Unfinished() != 3 {
		t.Fatal(q.Unfinished())
	}
	short, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := q.Join(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
	joined := make(chan error)
	go func() { joined <- q.Join(t.Context()) }()
	for range 3 {
		_, err := q.Get(t.Context())
		proctest.Must(t, err)
		if q.Unfinished() == 0 {
			t.Fatal("all is done")
		}
		proctest.Must(t, q.TaskDone())
	}
	proctest.Must(t, <-joined)
	if q.Unfinished() != 0 {
		t.Fatal(q.Unfinished())
	}
	if err := q.TaskDone(); !errors.Is(err, queue.ErrTaskDone) {
		t.Fatal(err)
	}
}
