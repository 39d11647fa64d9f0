package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"time"

	"github.com/shoal-ipc/shoal/futex"
	"github.com/shoal-ipc/shoal/ring"
)

// cacheline spins on words of two cache lines.
func cacheline(ctx context.Context, p *part, m *meter) error {
	there, back := p.Shared.word(ping), p.Shared.word(pong)
	return p.turns(m, func(i int) error {
		there.Store(uint32(i) + 1)
		for back.Load() != uint32(i)+1 {
		}
		return nil
	}, func(i int) error {
		for there.Load() != uint32(i)+1 {
		}
		back.Store(uint32(i) + 1)
		return nil
	})
}

// futexTurns sleeps on them.
func futexTurns(ctx context.Context, p *part, m *meter) error {
	there, back := p.Shared.word(ping), p.Shared.word(pong)
	return p.turns(m, func(i int) error {
		there.Store(uint32(i) + 1)
		futex.Wake(there, 1)
		for back.Load() == uint32(i) {
			if err := futex.Wait(ctx, back, uint32(i)); err != nil {
				return err
			}
		}
		return nil
	}, func(i int) error {
		for there.Load() == uint32(i) {
			if err := futex.Wait(ctx, there, uint32(i)); err != nil {
				return err
			}
		}
		back.Store(uint32(i) + 1)
		futex.Wake(back, 1)
		return nil
	})
}

// rings opens both.
func (p *part) rings() (there, back *ring.SPSC[uint64], err error) {
	var r [2]*ring.SPSC[uint64]
	for i, b := range p.Shared.Rings {
		if r[i], err = ring.OpenSPSC[uint64](b.Bytes(), b.Segment()); err != nil {
			return nil, nil, err
		}
	}
	return r[0], r[1], nil
}

func spscTurns(ctx context.Context, p *part, m *meter) error {
	there, back, err := p.rings()
	if err != nil {
		return err
	}
	err = p.turns(m, func(i int) error {
		there.TryPush(uint64(i))
		return expect(spscWait(back), i)
	}, func(i int) error {
		v := spscWait(there)
		back.TryPush(v)
		return expect(v, i)
	})
	return errors.Join(err, there.Err(), back.Err())
}

func spscWait(r *ring.SPSC[uint64]) uint64 {
	for {
		if v, ok := r.TryPop(); ok {
			return v
		}
	}
}

func expect(got uint64, want int) error {
	if got != uint64(want) {
		return fmt.Errorf("item %d is %d", want, got)
	}
	return nil
}

func spscStream(ctx context.Context, p *part, m *meter) error {
	return p.ringStream(m, spscSend, spscReceive)
}

func spscBatch(ctx context.Context, p *part, m *meter) error {
	return p.ringStream(m, spscSendMany, spscReceiveMany)
}

// ringStream measures how long the numbers from 0 on take from side 0, which sends, to side 1, which receives.
func (p *part) ringStream(m *meter, send func(r *ring.SPSC[uint64], from, to uint64), receive func(r *ring.SPSC[uint64], from, to uint64) error) error {
	r, _, err := p.rings()
	if err != nil {
		return err
	}
	return errors.Join(p.stream(m, func(from, to int) error {
		send(r, uint64(from), uint64(to))
		return nil
	}, func(from, to int) error { return receive(r, uint64(from), uint64(to)) }), r.Err())
}

// stream is what the rows that go one way have in common: side 0 sends items, side 1 measures from when it has
// received those that warm up to the last.
func (p *part) stream(m *meter, send, receive func(from, to int) error) error {
	first, last := warm(p.Job.N), warm(p.Job.N)+p.Job.N
	p.meet()
	if p.Side == 0 {
		return send(0, last)
	}
	if err := receive(0, first); err != nil {
		return err
	}
	start := time.Now()
	if err := receive(first, last); err != nil {
		return err
	}
	m.s.NS = float64(time.Since(start)) / float64(p.Job.N)
	return nil
}

// The loops that are measured are functions of their own, with no more variables than they need: what the
// compiler cannot keep in registers it stores once an item, and those stores queue behind the ring's.

func spscSend(r *ring.SPSC[uint64], from, to uint64) {
	for i := from; i < to; {
		if r.TryPush(i) {
			i++
		}
	}
}

func spscReceive(r *ring.SPSC[uint64], from, to uint64) error {
	for i := from; i < to; {
		v, ok := r.TryPop()
		if !ok {
			continue
		}
		if v != i {
			return expect(v, int(i))
		}
		i++
	}
	return nil
}

const batch = 32

func spscSendMany(r *ring.SPSC[uint64], from, to uint64) {
	var vs [batch]uint64
	for i := from; i < to; {
		n := min(batch, to-i)
		for k := range vs[:n] {
			vs[k] = i + uint64(k)
		}
		for sent := uint64(0); sent < n; {
			sent += uint64(r.TryPushMany(vs[sent:n]))
		}
		i += n
	}
}

func spscReceiveMany(r *ring.SPSC[uint64], from, to uint64) error {
	var vs [batch]uint64
	for i := from; i < to; {
		n := r.TryPopMany(vs[:min(batch, to-i)])
		for _, v := range vs[:n] {
			if v != i {
				return expect(v, int(i))
			}
			i++
		}
	}
	return nil
}

// goroutines runs f(0) and f(1) beside each other, which is how a channel is compared.
func goroutines(f func(side int) error) error {
	var errs [2]error
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	return errors.Join(errs[:]...)
}

func chanStream(ctx context.Context, p *part, m *meter) error {
	items := make(chan uint64, slots)
	return goroutines(func(side int) error {
		q := *p
		q.Side = side
		return q.stream(m, func(from, to int) error {
			for i := from; i < to; i++ {
				items <- uint64(i)
			}
			return nil
		}, func(from, to int) error {
			for i := from; i < to; i++ {
				if err := expect(<-items, i); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

func chanTurns(ctx context.Context, p *part, m *meter) error {
	there, back := make(chan uint64, slots), make(chan uint64, slots)
	return goroutines(func(side int) error {
		q := *p
		q.Side = side
		return q.turns(m, func(i int) error {
			there <- uint64(i)
			return expect(<-back, i)
		}, func(i int) error {
			v := <-there
			back <- v
			return expect(v, i)
		})
	})
}

// files are what a side writes to and reads from: a pipe each, or one socket.
func (p *part) files() (out io.Writer, in io.Reader, err error) {
	const first = 3 // after the standard streams
	f := os.NewFile(first, "out")
	if p.Job.Impl == osPipe {
		return f, os.NewFile(first+1, "in"), nil
	}
	conn, err := net.FileConn(f)
	return conn, conn, err
}

func write(w io.Writer, i int) error {
	_, err := w.Write(binary.LittleEndian.AppendUint64(make([]byte, 0, 8), uint64(i)))
	return err
}

func read(r io.Reader, want int) error {
	var b [8]byte
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return err
	}
	return expect(binary.LittleEndian.Uint64(b[:]), want)
}

func fileStream(ctx context.Context, p *part, m *meter) error {
	out, in, err := p.files()
	if err != nil {
		return err
	}
	defer runtime.KeepAlive(in)
	return p.stream(m, func(from, to int) error {
		for i := from; i < to; i++ {
			if err := write(out, i); err != nil {
				return err
			}
		}
		return nil
	}, func(from, to int) error {
		for i := from; i < to; i++ {
			if err := read(in, i); err != nil {
				return err
			}
		}
		return nil
	})
}

func fileTurns(ctx context.Context, p *part, m *meter) error {
	out, in, err := p.files()
	if err != nil {
		return err
	}
	return p.turns(m, func(i int) error {
		return errors.Join(write(out, i), read(in, i))
	}, func(i int) error {
		return errors.Join(read(in, i), write(out, i))
	})
}
