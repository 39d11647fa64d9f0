package process_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/shoal-ipc/shoal/internal/proctest"
	"github.com/shoal-ipc/shoal/locks"
	"github.com/shoal-ipc/shoal/process"
	"github.com/shoal-ipc/shoal/shm"
)

// later is an argument that holds calls.
type later struct {
	Calls []process.Call
	Err   *process.RemoteError
}

// Objects are those of the calls.
func (l *later) Objects() (objects []shm.Object, err error) {
	for _, c := range l.Calls {
		more, e := c.Objects()
		objects, err = append(objects, more...), errors.Join(err, e)
	}
	return objects, err
}

var (
	countsGiven = process.Register("counts-given", func(ctx context.Context, g Given) error { return g.use(ctx) })

	makesCalls = process.Register("makes-calls", func(ctx context.Context, l later) error {
		for _, c := range l.Calls {
			if err := c.Run(ctx); err != nil {
				return fmt.Errorf("%s: %w", c.Name(), err)
			}
		}
		if l.Err != nil {
			return l.Err
		}
		return nil
	})
)

// TestCallLater: a Call is made here, or in a child that it is an argument of.
func TestCallLater(t *testing.T) {
	g, other := newGiven(t)
	call := countsGiven.With(g)
	if call.Name() != "counts-given" || call.IsZero() {
		t.Errorf("Name is %q", call.Name())
	}
	proctest.Must(t, call.Run(t.Context()))
	join(t, start(t, makesCalls, later{Calls: []process.Call{call, {}, call}}))
	if n := g.B.Uint32(0).Load(); n != 3 {
		t.Errorf("it was made %d times, want 3", n)
	}
	living(t, g.B.Segment(), 1)

	if err := call.Run(canceled()); err != nil { // takes a lock that is free
		t.Error(err)
	}
	if err := fail.With("no").Run(t.Context()); err == nil || err.Error() != "no" {
		t.Errorf("Run: %v", err)
	}
	err := start(t, makesCalls, later{Calls: []process.Call{fail.With("no luck")}}).Join(context.Background())
	var e *process.RemoteError
	if !errors.As(err, &e) || e.Text != "fail: no luck" {
		t.Errorf("Join: %v", err)
	}

	var zero process.Call
	if err := zero.Run(t.Context()); err != nil || !zero.IsZero() || zero.Name() != "" {
		t.Errorf("the zero Call: %v", err)
	}
	none := process.Func[int]{}.With(1)
	if none.Run(t.Context()) == nil || none.IsZero() {
		t.Error("the Call of a zero Func ran")
	}
	if _, err := process.Start(t.Context(), makesCalls, later{Calls: []process.Call{none}}); err == nil {
		t.Error("the Call of a zero Func was sent")
	}

	// Objects of an argument that says so itself are handed over, so nobody needs to be asked.
	obs, err := countsGiven.With(g).Objects()
	if err != nil || len(obs) != 2 {
		t.Errorf("%d objects, %v, want a lock and a block", len(obs), err)
	}
	runtime.KeepAlive(other)
}

// TestCallsHandOver: the segments of calls arrive with the child, whose parent may close them at once.
func TestCallsHandOver(t *testing.T) {
	seg, err := shm.Anonymous(1)
	proctest.Must(t, err)
	l, err := locks.NewLock(seg, "")
	proctest.Must(t, err)
	b, err := shm.NewBlock(seg, "", 64)
	proctest.Must(t, err)
	p := start(t, makesCalls, later{Calls: []process.Call{takesLock.With(lockAndBlock{l, b})}})
	proctest.Must(t, seg.Close())
	join(t, p)
}

type lockAndBlock struct {
	L *locks.Lock
	B *shm.Block
}

var takesLock = process.Register("takes-lock", func(ctx context.Context, a lockAndBlock) error {
	return locks.With(ctx, a.L, func() error { a.B.Uint32(0).Add(1); return nil })
})

func FuzzCallUnmarshal(f *testing.F) {
	data, err := fail.With("x").MarshalBinary()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("\x05other"))
	f.Add([]byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var c process.Call
		if c.UnmarshalBinary(data) != nil {
			return
		}
		again, err := c.MarshalBinary()
		var d process.Call
		if err != nil || d.UnmarshalBinary(again) != nil || d.Name() != c.Name() {
			t.Errorf("%q became %q, %v", data, again, err)
		}
	})
}
