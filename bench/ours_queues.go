package bench

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/queue"
	"github.com/shoal-ipc/shoal/shm"
)

// queues are those that a row has.
type queues struct {
	Numbers [2]*queue.Queue[uint64] // there and back
	Fields  *queue.Queue[fields]
	Floats  *queue.Queue[[]float64]
}

// arrays is how many of 8 MiB a queue holds.
const arrays = 4

func newQueues(seg *shm.Segment, row string) (qs queues, err error) {
	if topic, _, _ := strings.Cut(row, "."); topic != "queue" {
		return qs, nil
	}
	switch row {
	case "queue.stream.struct":
		qs.Fields, err = queue.New[fields](seg, "", slots)
	case "queue.big":
		qs.Floats, err = queue.New[[]float64](seg, "", arrays)
	default:
		var errs [2]error
		for i := range qs.Numbers {
			qs.Numbers[i], errs[i] = queue.New[uint64](seg, "", slots)
		}
		err = errors.Join(errs[:]...)
	}
	return qs, err
}

// queueStream is mpmcStream through a queue.
func queueStream(ctx context.Context, p *part, m *meter) error {
	q := p.Shared.Queues.Numbers[0]
	var wait idler
	var failed error
	err := p.flow(m, func(b board) (n uint64) {
		for !b.over() {
			for range chunk {
				for {
					err := q.TryPut(pack(p.Side, n))
					if err == nil {
						break
					}
					if b.over() {
						return n
					}
					if err != queue.ErrFull {
						failed = err
						b.end()
						return n
					}
					wait.idle()
				}
				n++
			}
		}
		return n
	}, func(b board, o *order) (n uint64) {
		for {
			for range chunk {
				v, err := q.TryGet()
				for err != nil {
					if b.over() {
						return n
					}
					if err != queue.ErrEmpty {
						failed = err
						b.end()
						return n
					}
					wait.idle()
					v, err = q.TryGet()
				}
				o.see(v)
				n++
			}
			b.received(p.Job.N)
		}
	})
	return errors.Join(err, failed)
}

// end says that it is over, though not all was received.
func (b board) end() { atomic.StoreUint64(b.at(boardOver), 1) }

// queuePutGet puts and gets one at a time, and waits.
func queuePutGet(ctx context.Context, p *part, m *meter) error {
	q := p.Shared.Queues.Numbers[0]
	return p.stream(m, func(from, to int) error {
		for i := from; i < to; i++ {
			if err := q.Put(ctx, uint64(i)); err != nil {
				return err
			}
		}
		return nil
	}, func(from, to int) error {
		for i := from; i < to; i++ {
			v, err := q.Get(ctx)
			if err != nil {
				return err
			}
			if v != uint64(i) {
				return expect(v, i)
			}
		}
		return nil
	})
}

// queueBatch does it in batches, of as many as are there where it gets.
func queueBatch(ctx context.Context, p *part, m *meter) error {
	q := p.Shared.Queues.Numbers[0]
	return p.stream(m, func(from, to int) error {
		var vs [batch]uint64
		for i := from; i < to; {
			n := min(batch, to-i)
			for k := range vs[:n] {
				vs[k] = uint64(i + k)
			}
			if _, err := q.PutMany(ctx, vs[:n]); err != nil {
				return err
			}
			i += n
		}
		return nil
	}, func(from, to int) error {
		var vs [batch]uint64
		for i := from; i < to; {
			n, err := q.GetMany(ctx, vs[:min(batch, to-i)])
			if err != nil {
				return err
			}
			for _, v := range vs[:n] {
				if v != uint64(i) {
					return expect(v, i)
				}
				i++
			}
		}
		return nil
	})
}

// queueFields puts and gets structs.
func queueFields(ctx context.Context, p *part, m *meter) error {
	q := p.Shared.Queues.Fields
	return p.stream(m, func(from, to int) error {
		v := newFields(0)
		for i := from; i < to; i++ {
			v.Number = int64(i)
			if err := q.Put(ctx, v); err != nil {
				return err
			}
		}
		return nil
	}, func(from, to int) error {
		for i := from; i < to; i++ {
			v, err := q.Get(ctx)
			if err != nil {
				return err
			}
			if err := v.check(i); err != nil {
				return err
			}
		}
		return nil
	})
}

// queueFloats puts an array of 8 MiB, and adds up a number of each line of those that come. Some go before that, so that the memory
// is there, as it is in a queue that has been in use for a while.
func queueFloats(ctx context.Context, p *part, m *meter) error {
	const before = 4 * arrays
	q := p.Shared.Queues.Floats
	a, want := newFloats()
	put := func(from, to int) error {
		for i := from; i < to; i++ {
			if err := q.Put(ctx, a); err != nil {
				return err
			}
		}
		return nil
	}
	get := func(from, to int) error {
		for i := from; i < to; i++ {
			got, err := q.Get(ctx)
			if err != nil {
				return err
			}
			if err := checkFloats(got, want, i); err != nil {
				return err
			}
		}
		return nil
	}
	if err := [](func(from, to int) error){put, get}[p.Side](0, before); err != nil {
		return err
	}
	return p.stream(m, put, get)
}

// chanFields passes structs on by a channel, which copies their heads only.
func chanFields(ctx context.Context, p *part, m *meter) error {
	items := make(chan fields, slots)
	return goroutines(func(side int) error {
		q := *p
		q.Side = side
		return q.stream(m, func(from, to int) error {
			v := newFields(0)
			for i := from; i < to; i++ {
				v.Number = int64(i)
				items <- v
			}
			return nil
		}, func(from, to int) error {
			for i := from; i < to; i++ {
				v := <-items
				if err := v.check(i); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// queueSpinTurns goes there and back through two queues; who waits looks again and again.
func queueSpinTurns(ctx context.Context, p *part, m *meter) error {
	there, back := p.Shared.Queues.Numbers[0], p.Shared.Queues.Numbers[1]
	get := func(q *queue.Queue[uint64]) (uint64, error) {
		for {
			v, err := q.TryGet()
			if err != queue.ErrEmpty {
				return v, err
			}
		}
	}
	return p.queueTurns(m, func(v uint64) error { return there.TryPut(v) }, func() (uint64, error) { return get(there) },
		func(v uint64) error { return back.TryPut(v) }, func() (uint64, error) { return get(back) })
}

// queueTurns is the same by Put and Get, which wait.
func queueTurns(ctx context.Context, p *part, m *meter) error {
	there, back := p.Shared.Queues.Numbers[0], p.Shared.Queues.Numbers[1]
	return p.queueTurns(m, func(v uint64) error { return there.Put(ctx, v) }, func() (uint64, error) { return there.Get(ctx) },
		func(v uint64) error { return back.Put(ctx, v) }, func() (uint64, error) { return back.Get(ctx) })
}

func (p *part) queueTurns(m *meter, ask func(v uint64) error, asked func() (uint64, error), answer func(v uint64) error, answered func() (uint64, error)) error {
	return p.turns(m, func(i int) error {
		if err := ask(uint64(i)); err != nil {
			return err
		}
		v, err := answered()
		if err != nil {
			return err
		}
		return expect(v, i)
	}, func(i int) error {
		v, err := asked()
		if err != nil {
			return err
		}
		if err := answer(v); err != nil {
			return err
		}
		return expect(v, i)
	})
}
