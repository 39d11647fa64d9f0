//go:build crashpoint

package ring_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/ring"
	"github.com/shoal-ipc/shoal/shm"
)

// onCast opens the ring for f.
func onCast(f func(b *ring.Broadcast[uint64]) error) func(ctx context.Context, c cast) error {
	return func(ctx context.Context, c cast) error {
		b, err := c.open()
		if err != nil {
			return err
		}
		if err := f(b); err != nil {
			return errors.Join(err, b.Err())
		}
		runtime.KeepAlive(c.B)
		return nil
	}
}

// castReader is the reader of a child, which its operation works on, and what it keeps.
var castReader *ring.Reader[uint64]

// popped checks the next item of the child's reader.
func popped(want uint64) error {
	if v, lost, ok := castReader.TryPop(); v != want || lost != 0 || !ok {
		return fmt.Errorf("popped %d, %d lost, %v, want %d, %w", v, lost, ok, want, castReader.Err())
	}
	return nil
}

// joinAndPush lets the child's reader join and pushes four items.
func joinAndPush(b *ring.Broadcast[uint64]) (err error) {
	castReader, err = b.Reader()
	for i := range uint64(4) {
		b.TryPush(i)
	}
	return errors.Join(err, b.Close())
}

// chased checks that the child's reader, which has seen or lost all before next, has come to the end.
func chased(b *ring.Broadcast[uint64], next uint64) error {
	if tail := ring.TailOf(b); next != tail {
		return fmt.Errorf("read up to %d of %d, %w", next, tail, castReader.Err())
	}
	return nil
}

var (
	opCastPush = proctest.NewOp("broadcast/push", nil, onCast(func(b *ring.Broadcast[uint64]) error {
		at := ring.TailOf(b)
		for i := range uint64(2) {
			if !b.TryPush(at + i) {
				return errors.New("full")
			}
		}
		return nil
	}))
	opCastMany = proctest.NewOp("broadcast/push-many", nil, onCast(func(b *ring.Broadcast[uint64]) error {
		at := ring.TailOf(b)
		if b.TryPushMany([]uint64{at, at + 1}) != 2 {
			return errors.New("full")
		}
		return nil
	}))
	opCastCommit = proctest.NewOp("broadcast/reserve-commit", nil, onCast(func(b *ring.Broadcast[uint64]) error {
		at := ring.TailOf(b)
		for i := range uint64(2) {
			room := b.Reserve(1)
			if len(room) == 0 {
				return errors.New("full")
			}
			room[0] = at + i
			b.Commit(1)
		}
		return nil
	}))
	opCastClose = proctest.NewOp("broadcast/close", nil, onCast(func(b *ring.Broadcast[uint64]) error {
		b.TryPush(ring.TailOf(b))
		return b.Close()
	}))
	opCastJoin = proctest.NewOp("broadcast/join", nil, onCast(func(b *ring.Broadcast[uint64]) (err error) {
		castReader, err = b.Reader()
		if err != nil {
			return err
		}
		v, lost, ok := castReader.TryPop()
		for next := v; ok; next++ {
			if v != next || lost != 0 {
				return fmt.Errorf("item %d is %d, %d lost", next, v, lost)
			}
			v, lost, ok = castReader.TryPop()
		}
		return castReader.Err()
	}))
	opCastPop = proctest.NewOp("broadcast/pop", onCast(joinAndPush), onCast(func(b *ring.Broadcast[uint64]) error {
		if err := errors.Join(popped(0), popped(1)); err != nil {
			return err
		}
		if items := castReader.Peek(1); len(items) != 1 || items[0] != 2 {
			return fmt.Errorf("peeked %v", items)
		}
		castReader.Advance(1)
		var dst [1]uint64
		if n, _ := castReader.TryPopMany(dst[:]); n != 1 || dst[0] != 3 {
			return fmt.Errorf("popped %v", dst)
		}
		return castReader.Close()
	}))
	opCastChase = proctest.NewOp("broadcast/chase", onCast(joinAndPush), onCast(func(b *ring.Broadcast[uint64]) error {
		next := uint64(0)
		for v, lost, ok := castReader.TryPop(); ok; v, lost, ok = castReader.TryPop() {
			if next += lost; v != next {
				return fmt.Errorf("item %d is %d, %d lost", next, v, lost)
			}
			next++
		}
		return chased(b, next)
	}))
	opCastChaseMany = proctest.NewOp("broadcast/chase-many", onCast(joinAndPush), onCast(func(b *ring.Broadcast[uint64]) error {
		next := uint64(0)
		for {
			dst := [3]uint64{99, 99, 99}
			n, lost := castReader.TryPopMany(dst[:])
			if n < len(dst) && dst[n] != 0 {
				return fmt.Errorf("the item after the last is %d", dst[n])
			}
			if n == 0 {
				return chased(b, next)
			}
			next += lost
			for _, v := range dst[:n] {
				if v != next {
					return fmt.Errorf("item %d is %d, %d lost", next, v, lost)
				}
				next++
			}
		}
	}))
	opNewCast = proctest.NewOp("broadcast/new", nil, func(ctx context.Context, c cast) error {
		_, err := ring.NewBroadcast[uint64](c.B.Bytes(), 8, c.B.Segment())
		return err
	})
)

// attend joins and waits.
var attend = proctest.NewRole("attend", func(_ context.Context, c *proctest.Child, a cast) error {
	b, err := a.open()
	if err != nil {
		return err
	}
	if _, err := b.Reader(); err != nil {
		return err
	}
	c.Say("joined")
	c.Hear()
	runtime.KeepAlive(a.B)
	return nil
})

// pushAll pushes up to n numbers, as many as it can, and returns how many.
func pushAll(t testing.TB, c cast, n int) (pushed int) {
	t.Helper()
	b, err := c.open()
	proctest.Must(t, err)
	proctest.Must(t, b.Produce())
	for at := ring.Tail(c.B.Bytes()); pushed < n && b.TryPush(at); at++ {
		pushed++
	}
	proctest.Must(t, errors.Join(b.Err(), b.Close()))
	return pushed
}

// A producer killed at any step has pushed a beginning of what it meant to, in order; the next one goes on after
// that. While it is stopped readers have what it has published, and nobody else is the producer.
func TestCrashBroadcastPush(t *testing.T) {
	for _, o := range kinds {
		for _, op := range []*proctest.Op[cast]{opCastPush, opCastMany, opCastCommit, opCastClose} {
			for _, evict := range []bool{false, true} {
				if evict && o.Lossy {
					continue
				}
				var r *ring.Reader[uint64]
				next := uint64(0)
				read := func(t testing.TB) {
					t.Helper()
					for v, lost, ok := r.TryPop(); ok; v, lost, ok = r.TryPop() {
						if next += lost; v != next {
							t.Errorf("item %d is %d, %d lost", next, v, lost)
						}
						next++
					}
					proctest.Must(t, r.Err())
				}
				proctest.Crash(t, op, func(t testing.TB) cast {
					c, b := newCast(t, 4, o)
					if evict { // the producer has to evict a dead reader first
						p := attend.Start(t, c)
						p.WaitLine("joined")
						p.Kill()
						p.Wait()
					}
					r, next = join(t, b), 0
					proctest.Must(t, b.Close())
					if n := pushAll(t, c, 4); n != 4 {
						t.Fatalf("%d pushed", n)
					}
					if !o.Lossy { // of a lossy ring it has lost the first ones then
						read(t)
					}
					return c
				}, func(t testing.TB, c cast) {
					b, err := c.open()
					proctest.Must(t, err)
					if err := b.Produce(); op != opCastClose && !errors.Is(err, ring.ErrBusy) {
						t.Errorf("the end of a stopped producer: %v", err)
					}
					proctest.Must(t, b.Close())
					read(t)
				}, func(t testing.TB, c cast, survived bool) {
					defer func() { r = nil }() // it keeps the memory
					read(t)
					want := uint64(6)
					if op == opCastClose {
						want = 5
					}
					if next < 4 || next > want || survived && next != want {
						t.Errorf("read up to %d, want %d", next, want)
					}
					if survived && op != opCastClose {
						return // and has the end
					}
					if n := pushAll(t, c, 3); n != 3 {
						t.Errorf("%d of 3 pushed", n)
					}
					was := next
					if read(t); next != was+3 {
						t.Errorf("read up to %d after %d and 3 more", next, was)
					}
					runtime.KeepAlive(c.B)
				})
			}
		}
	}
}

// A reader killed while it joins leaves no trace that matters: the producer is not held back, and its cell can be
// used. One that is stopped there holds the producer back like any reader, from a place of its time on, and then
// reads what was pushed since.
func TestCrashBroadcastJoin(t *testing.T) {
	proctest.Crash(t, opCastJoin, func(t testing.TB) cast {
		c, b := newCast(t, 4, options{Readers: 2})
		proctest.Must(t, b.Close())
		pushAll(t, c, 10)
		return c
	}, func(t testing.TB, c cast) {
		if n := pushAll(t, c, 20); n < 4 {
			t.Errorf("%d pushed beside a reader that joins", n)
		}
	}, func(t testing.TB, c cast, survived bool) {
		if n := pushAll(t, c, 20); survived && n > 4 || !survived && n != 20 {
			t.Errorf("%d pushed, the reader has survived: %v", n, survived)
		}
		b, err := c.open()
		proctest.Must(t, err)
		first := join(t, b)
		if !survived {
			defer join(t, b).Close()
		}
		if _, err := b.Reader(); !errors.Is(err, ring.ErrBusy) {
			t.Errorf("one reader more than there can be: %v", err)
		}
		proctest.Must(t, first.Close())
		runtime.KeepAlive(c.B)
	})
}

// A reader killed while it pops or leaves does not hold the producer back. One that is stopped does, and what it has
// not yet read is there when it goes on.
func TestCrashBroadcastPop(t *testing.T) {
	proctest.Crash(t, opCastPop, func(t testing.TB) cast {
		c, b := newCast(t, 4, options{Readers: 2})
		proctest.Must(t, b.Close())
		return c
	}, func(t testing.TB, c cast) {
		if n := pushAll(t, c, 20); n > 4 {
			t.Errorf("%d pushed beside a stopped reader", n)
		}
	}, func(t testing.TB, c cast, survived bool) {
		if n := pushAll(t, c, 20); n != 20 {
			t.Errorf("%d pushed after a reader has left, or was killed", n)
		}
		runtime.KeepAlive(c.B)
	})
}

// A reader of a lossy ring that is stopped between finding an item and copying it throws the copy away if the item was
// written over meanwhile, and is told what it has lost.
func TestCrashBroadcastChase(t *testing.T) {
	push := func(t testing.TB, c cast) {
		if n := pushAll(t, c, 6); n != 6 {
			t.Errorf("%d pushed", n)
		}
		runtime.KeepAlive(c.B)
	}
	for _, op := range []*proctest.Op[cast]{opCastChase, opCastChaseMany} {
		proctest.Crash(t, op, func(t testing.TB) cast {
			c, b := newCast(t, 4, options{Lossy: true})
			proctest.Must(t, b.Close())
			return c
		}, push, func(t testing.TB, c cast, survived bool) { push(t, c) })
	}
}

// A process killed while it makes a ring has made it, or somebody else can.
func TestCrashBroadcastNew(t *testing.T) {
	proctest.Crash(t, opNewCast, func(t testing.TB) cast {
		b, err := shm.NewBlock(proctest.Segment(t, 1), "", ring.BroadcastSize[uint64](8))
		proctest.Must(t, err)
		return cast{B: b}
	}, func(t testing.TB, c cast) {
		if _, err := c.open(); !errors.Is(err, ring.ErrKind) {
			t.Errorf("a ring that is not yet made: %v", err)
		}
	}, func(t testing.TB, c cast, survived bool) {
		if !survived {
			_, err := ring.NewBroadcast[uint64](c.B.Bytes(), 8, c.B.Segment())
			proctest.Must(t, err)
		}
		if n := pushAll(t, c, 9); n != 9 {
			t.Errorf("%d pushed", n)
		}
		runtime.KeepAlive(c.B)
	})
}
