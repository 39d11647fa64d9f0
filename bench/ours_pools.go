package bench

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"github.com/shoal-ipc/shoal/internal/sys"
	"github.com/shoal-ipc/shoal/pool"
)

// workers is how many a pool has, and how many goroutines do the same; idleWorkers is how many have nothing to do in pool.idle.
const (
	workers     = 2
	idleWorkers = 8
)

// What the workers do.
func increment(v int64) int64 { return v + 1 }

func incrementFirst(v fields) fields {
	v.Number++
	return v
}

func addUp(a []float64) (sum float64) {
	for _, x := range a {
		sum += x
	}
	return sum
}

func scale(a []float64) []float64 {
	b := make([]float64, len(a))
	for i, x := range a {
		b[i] = 2 * x
	}
	return b
}

// task makes a function one that pools have.
func task[A, R any](name string, f func(A) R) pool.Func[A, R] {
	return pool.Register("bench "+name, func(_ context.Context, a A) (R, error) { return f(a), nil })
}

var (
	incrementFunc      = task("increment", increment)
	incrementFirstFunc = task("increment first", incrementFirst)
	addUpFunc          = task("add up", addUp)
	scaleFunc          = task("scale", scale)
)

// What goes in. No two arrays are the same.
func someNumbers(n int) []int64 {
	xs := make([]int64, n)
	for i := range xs {
		xs[i] = int64(i)
	}
	return xs
}

func someFields(n int) []fields {
	xs := make([]fields, n)
	for i := range xs {
		xs[i] = newFields(i)
	}
	return xs
}

func someArrays(n int) [][]float64 {
	xs := make([][]float64, n)
	for i := range xs {
		xs[i] = make([]float64, floats)
		for k := range xs[i] {
			xs[i][k] = float64(i)
		}
	}
	return xs
}

// What is to come out of the i-th.
func rightNumber(i int, r int64) bool  { return r == int64(i)+1 }
func rightFields(i int, r fields) bool { return r.check(i+1) == nil }
func rightSum(i int, r float64) bool   { return r == float64(i)*floats }

func rightArray(i int, r []float64) bool {
	for _, x := range r {
		if x != 2*float64(i) {
			return false
		}
	}
	return len(r) == floats
}

// checked is an error unless there are n results, and right ones.
func checked[R any](rs []R, n int, right func(i int, r R) bool) error {
	if len(rs) != n {
		return fmt.Errorf("%d results, want %d", len(rs), n)
	}
	for i, r := range rs {
		if !right(i, r) {
			return fmt.Errorf("result %d is %.80v", i, r)
		}
	}
	return nil
}

// poolStart measures from the start of a pool to its first result; its end is not part of that.
func poolStart(ctx context.Context, p *part, m *meter) error {
	h := newHistogram()
	total := time.Duration(0)
	for i := range m.n {
		start := time.Now()
		w, err := pool.New(ctx, workers)
		if err != nil {
			return err
		}
		rs, err := pool.Map(ctx, w, incrementFunc, []int64{int64(i)})
		took := time.Since(start)
		if err = errors.Join(err, w.Terminate()); err != nil {
			return err
		}
		if err := checked(rs, 1, func(_ int, r int64) bool { return r == int64(i)+1 }); err != nil {
			return err
		}
		total += took
		h.RecordValue(int64(took))
	}
	m.s.NS = float64(total) / float64(m.n)
	m.latency(h)
	return nil
}

func poolApply(ctx context.Context, p *part, m *meter) error {
	w, err := pool.New(ctx, workers)
	if err != nil {
		return err
	}
	err = m.trips(func(i int) error {
		r, err := pool.Apply(ctx, w, incrementFunc, int64(i))
		if err != nil {
			return err
		}
		return expect(uint64(r), i+1)
	})
	return errors.Join(err, w.Terminate())
}

// mapping measures the map of a function over m.n inputs, before which the same pool maps it over a few.
func mapping[A, R any](f pool.Func[A, R], inputs func(n int) []A, right func(i int, r R) bool, o pool.MapOptions) func(context.Context, *part, *meter) error {
	return func(ctx context.Context, p *part, m *meter) (err error) {
		xs := inputs(m.n)
		w, err := pool.New(ctx, workers)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, w.Terminate()) }()
		if _, err := pool.Map(ctx, w, f, xs[:min(m.n, max(warm(m.n), 2*workers))], o); err != nil {
			return err
		}
		start := time.Now()
		rs, err := pool.Map(ctx, w, f, xs, o)
		m.s.NS = float64(time.Since(start)) / float64(m.n)
		if err != nil {
			return err
		}
		return checked(rs, m.n, right)
	}
}

// counting yields the numbers below n.
func counting(n int) iter.Seq[int64] {
	return func(yield func(int64) bool) {
		for i := range int64(n) {
			if !yield(i) {
				return
			}
		}
	}
}

func poolUnordered(ctx context.Context, p *part, m *meter) (err error) {
	w, err := pool.New(ctx, workers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Terminate()) }()
	return m.loop(func(n int) error {
		got, sum := 0, int64(0)
		for r, err := range pool.ImapUnordered(ctx, w, incrementFunc, counting(n)) {
			if err != nil {
				return err
			}
			got++
			sum += r
		}
		return checkSum(got, sum, n)
	})
}

// checkSum is an error unless those are the results of counting, in any order.
func checkSum(got int, sum int64, n int) error {
	if want := int64(n) * int64(n+1) / 2; got != n || sum != want {
		return fmt.Errorf("%d results make %d, want %d that make %d", got, sum, n, want)
	}
	return nil
}

// poolIdle counts what a pool costs that has nothing to do, the process and its workers together: an operation is a second.
func poolIdle(ctx context.Context, p *part, m *meter) (err error) {
	w, err := pool.New(ctx, idleWorkers)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Terminate()) }()
	xs := someNumbers(100 * idleWorkers)
	rs, err := pool.Map(ctx, w, incrementFunc, xs)
	if err == nil {
		err = checked(rs, len(xs), rightNumber)
	}
	if err != nil {
		return err
	}
	settle()
	pids := workerPids(w)
	if len(pids) != idleWorkers {
		return fmt.Errorf("%d workers, want %d", len(pids), idleWorkers)
	}
	before, err := spent(pids)
	if err != nil {
		return err
	}
	time.Sleep(time.Duration(m.n) * time.Second)
	after, err := spent(pids)
	if err != nil {
		return err
	}
	m.s.NS = float64(after-before) / float64(m.n)
	m.count(busy, m.s.NS/1000)
	return nil
}

func workerPids(w *pool.Pool) (pids []int) {
	for _, x := range w.Stats().Workers {
		pids = append(pids, x.Pid)
	}
	return pids
}

// spent is how long this process and those have run.
func spent(pids []int) (time.Duration, error) {
	total, err := sys.CPUTime()
	for _, pid := range pids {
		d, e := sys.CPUTimeOf(pid)
		total, err = total+d, errors.Join(err, e)
	}
	return total, err
}

// indexed is an input or a result of a goroutine, and which.
type indexed[T any] struct {
	i int
	v T
}

// crew are goroutines that do what the workers of a pool do, within one process.
type crew[A, R any] struct {
	inputs  chan indexed[A]
	results chan indexed[R]
	done    sync.WaitGroup
}

func newCrew[A, R any](f func(A) R, room int) *crew[A, R] {
	c := &crew[A, R]{inputs: make(chan indexed[A], room), results: make(chan indexed[R], room)}
	for range workers {
		c.done.Go(func() {
			for x := range c.inputs {
				c.results <- indexed[R]{x.i, f(x.v)}
			}
		})
	}
	return c
}

func (c *crew[A, R]) end() {
	close(c.inputs)
	c.done.Wait()
}

// do gives a crew inputs, each with its number, and takes the results as they come.
func (c *crew[A, R]) do(n int, inputs iter.Seq[A], result func(i int, r R)) {
	c.done.Go(func() {
		i := 0
		for v := range inputs {
			c.inputs <- indexed[A]{i, v}
			i++
		}
	})
	for range n {
		r := <-c.results
		result(r.i, r.v)
	}
}

func chanApply(ctx context.Context, p *part, m *meter) error {
	c := newCrew(increment, 0)
	defer c.end()
	return m.trips(func(i int) error {
		c.inputs <- indexed[int64]{i, int64(i)}
		r := <-c.results
		return expect(uint64(r.v), r.i+1)
	})
}

// chanMapping is mapping by a crew.
func chanMapping[A, R any](f func(A) R, inputs func(n int) []A, right func(i int, r R) bool) func(context.Context, *part, *meter) error {
	return func(ctx context.Context, p *part, m *meter) error {
		xs := inputs(m.n)
		c := newCrew(f, slots)
		defer c.end()
		each := func(n int) (rs []R) {
			rs = make([]R, n)
			c.do(n, func(yield func(A) bool) {
				for _, x := range xs[:n] {
					if !yield(x) {
						return
					}
				}
			}, func(i int, r R) { rs[i] = r })
			return rs
		}
		each(min(m.n, max(warm(m.n), 2*workers)))
		start := time.Now()
		rs := each(m.n)
		m.s.NS = float64(time.Since(start)) / float64(m.n)
		return checked(rs, m.n, right)
	}
}

func chanUnordered(ctx context.Context, p *part, m *meter) error {
	c := newCrew(increment, slots)
	defer c.end()
	return m.loop(func(n int) error {
		got, sum := 0, int64(0)
		c.do(n, counting(n), func(_ int, r int64) {
			got++
			sum += r
		})
		return checkSum(got, sum, n)
	})
}
