package locks

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/barrier"
	"github.com/shoal-ipc/shoal/shm"
)

// BarrierOptions are the rarer wishes of a barrier handle.
type BarrierOptions struct {
	// Action, if set, is run by the last party to arrive, before the others go on, when that comes through this
	// handle: see SetAction.
	Action func() error
}

// Barrier holds parties back until all have arrived: each Wait of a pass is one party, goroutines of one process too.
// The next pass follows at once; who comes while the action of the last one is run waits for its end first.
//
// A process is bound to the barrier from Join, its first Wait, or being started with the barrier in its argument
// (before its first instruction), until Close of the handle with which it did that, or that arrived; of several such
// handles the last. One that dies in between, also when its function has returned, breaks the barrier, whether it had
// arrived or not; so does one that closes the segment. So a child that has done its part calls Close. When more
// processes than parties are bound, those beyond them are bound from their arrival to the end of the pass only. The
// death of a party that has arrived breaks the pass in any case.
//
// The action, a function that is run once in each pass, is a matter of the handle, not of the barrier: the last party to
// arrive runs that of the handle by which it comes, or none if that has none. So each party that may come last sets it, by
// BarrierOptions, or by SetAction where the handle has arrived in an argument.
//
// All parties of a pass are told the same, except those whose handle was closed: that it was completed, or that the
// barrier is broken.
//
// Once one Wait has returned ErrBroken all do, at once, until somebody calls Reset, which forgets the dead. To go on after
// that, one process, chosen by the program, calls Reset, and then tells the others, by an Event for instance, to come
// again: a Reset that comes late breaks the pass for which others wait already.
//
// All methods may be called from any goroutine of any process. Wait blocks, and a party that is stopped holds up the
// others; everything else is lock-free. Who waits learns of a death within about a second, who arrives last at once.
//
// A Barrier is made by NewBarrier, OpenBarrier and OpenOrNewBarrier, or arrives in an argument; its zero value is for
// UnmarshalBinary only.
//
// In the terms of the Go memory model every call of Wait in a pass that is completed is synchronized before the
// action, and that before the return of every Wait of that pass, in all processes.
type Barrier struct {
	shm.Ref
	b      *barrier.Barrier             // nil in a zero handle
	action atomic.Pointer[func() error] // nil, or it is one
}

var barrierKind = shm.Kind{Name: "barrier", Members: true, Min: barrier.Least}

func newBarrier(opts []BarrierOptions) *Barrier {
	switch len(opts) {
	case 0:
		return new(Barrier)
	case 1:
		b := new(Barrier)
		b.SetAction(opts[0].Action)
		return b
	}
	panic("locks: more than one BarrierOptions")
}

// NewBarrier makes a barrier for n parties, of which there can be 2^16; each takes 16 bytes of the segment. The errors
// are those of shm.Kind.New, and os.ErrInvalid if there cannot be so many.
func NewBarrier(seg *shm.Segment, name string, n int, opts ...BarrierOptions) (*Barrier, error) {
	b := newBarrier(opts)
	if err := checkParties(n); err != nil {
		return nil, err
	}
	mem, err := barrierKind.New(&b.Ref, seg, name, barrier.Size(n), func(mem []byte) error { barrier.Init(mem, n); return nil })
	return b.use(mem, err)
}

// OpenBarrier finds a barrier. The errors are those of shm.Kind.Open.
func OpenBarrier(seg *shm.Segment, name string, opts ...BarrierOptions) (*Barrier, error) {
	b := newBarrier(opts)
	mem, err := barrierKind.Open(&b.Ref, seg, name)
	return b.use(mem, err)
}

// OpenOrNewBarrier finds a barrier, whose number of parties stands, or makes one.
func OpenOrNewBarrier(seg *shm.Segment, name string, n int, opts ...BarrierOptions) (*Barrier, error) {
	b := newBarrier(opts)
	if err := checkParties(n); err != nil {
		return nil, err
	}
	mem, err := barrierKind.OpenOrNew(&b.Ref, seg, name, barrier.Size(n), func(mem []byte) error { barrier.Init(mem, n); return nil })
	return b.use(mem, err)
}

func checkParties(n int) error {
	if n < 1 || n > barrier.Most {
		return fmt.Errorf("locks: barrier: %w: %d parties", os.ErrInvalid, n)
	}
	return nil
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (b *Barrier) UnmarshalBinary(data []byte) error {
	mem, err := barrierKind.Unmarshal(&b.Ref, data)
	if _, err := b.use(mem, err); err != nil {
		return err
	}
	b.b.Adopt()
	return nil
}

func (b *Barrier) use(mem []byte, err error) (*Barrier, error) {
	if err != nil {
		return nil, err
	}
	if b.b, err = barrier.At(mem, b.Segment(), &b.Ref); err != nil {
		return nil, fmt.Errorf("%w: %w", shm.ErrCorrupt, err)
	}
	return b, nil
}

// SetAction makes action that of this handle, nil none: it is run by the last party to arrive when that comes through this
// handle, before the others go on. If it fails, panics or ends its goroutine the barrier is broken, and that party gets its
// error. It counts for each Wait that begins afterwards. Other handles, of other processes and of this one, do not get it.
func (b *Barrier) SetAction(action func() error) {
	var f *func() error
	if action != nil {
		f = &action
	}
	b.action.Store(f)
}

// Close detaches this handle, as other objects do, and ends what this process was bound by it for. A Wait that it ends
// has arrived all the same. It breaks nothing: others that still need this party wait on until their contexts end. A
// party that leaves before the others are done calls Abort first.
func (b *Barrier) Close() error {
	defer runtime.KeepAlive(b)
	err := b.Ref.Close()
	if b.b != nil {
		b.b.Leave()
	}
	return err
}

// Join says that this process will come to the barrier. The errors are shm.ErrNoSpace when as many processes as there
// are parties are bound already, and os.ErrClosed.
func (b *Barrier) Join() error {
	defer runtime.KeepAlive(b)
	switch {
	case b.Closed():
		return b.named(os.ErrClosed)
	case !b.b.Join():
		return fmt.Errorf("locks: barrier %q: %w: %d processes are bound to it", b.Name(), shm.ErrNoSpace, b.b.Parties())
	}
	return nil
}

// Wait waits for the others and returns this party's index, the last to arrive being parties-1. If ctx ends first the
// barrier is broken for all, since an arrival cannot be taken back; the last party does not wait, and ctx does not
// matter to it. The errors are ErrBroken, with ctx's beside it in the error of the party whose ctx it was,
// os.ErrClosed, and, for who ran it, the action's. With an error the index means nothing.
func (b *Barrier) Wait(ctx context.Context) (index int, err error) {
	defer runtime.KeepAlive(b)
	var action func() error
	if f := b.action.Load(); f != nil {
		action = *f
	}
	index, err = b.b.Wait(ctx, action)
	return index, b.named(err)
}

// named adds the barrier's name to an error that says that it was closed.
func (b *Barrier) named(err error) error { return named("barrier", &b.Ref, err) }

// Abort breaks the barrier. The error is os.ErrClosed.
func (b *Barrier) Abort() error {
	defer runtime.KeepAlive(b)
	if b.Closed() {
		return b.named(os.ErrClosed)
	}
	b.b.Abort()
	return nil
}

// Reset makes the barrier new: those who wait get ErrBroken, those who died are forgotten, those who are bound and
// live stay so. A process that dies in it leaves the barrier as it was, broken, or new. The error is os.ErrClosed.
func (b *Barrier) Reset() error {
	defer runtime.KeepAlive(b)
	if b.Closed() {
		return b.named(os.ErrClosed)
	}
	b.b.Reset()
	return nil
}

// Parties is how many have to arrive.
func (b *Barrier) Parties() int { return b.b.Parties() }

// Waiting is how many have arrived; 0 in a broken barrier. The answer may be old when it arrives. It goes on answering
// after Close.
func (b *Barrier) Waiting() int {
	defer runtime.KeepAlive(b)
	return b.b.Waiting()
}

// Broken reports whether the barrier is broken; a death counts once it was noticed. It goes on answering after Close.
func (b *Barrier) Broken() bool {
	defer runtime.KeepAlive(b)
	return b.b.Broken()
}

// String describes the barrier for people.
func (b *Barrier) String() string {
	defer runtime.KeepAlive(b)
	switch {
	case b.Segment() == nil:
		return "barrier" // a zero handle
	case b.Closed():
		return fmt.Sprintf("barrier %q, closed", b.Name())
	case b.Broken():
		return fmt.Sprintf("barrier %q, broken", b.Name())
	}
	return fmt.Sprintf("barrier %q, %d of %d parties wait", b.Name(), b.Waiting(), b.Parties())
}
