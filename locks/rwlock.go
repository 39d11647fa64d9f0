package locks

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/rw"
	"github.com/shoal-ipc/shoal/shm"
)

// RWLock admits many readers or one writer. A waiting writer goes before new readers; those wait for one writer and then are
// let in together with the readers before them, so neither writers nor readers starve. It is not fair beyond that. A reader
// or writer that acquires the lock again before it released it may wait for itself without end: with the
// lock for reading that is so as soon as a writer waits.
//
// All methods may be called from any goroutine of any process; what one goroutine acquired another one of its process may
// release. An acquisition that need not wait succeeds also when ctx is done. What reading costs does not depend on how many
// processes read; a writer looks at a word of each that ever did. Readers of up to 64 processes, 2^30 - 1 of each, are in at
// a time: one more waits, as a writer does, until all of one process have left.
//
// A reader's death, or that of one who waits, needs no recovery: it counts no more once it is noticed, within about a
// second. When a process dies holding the lock for writing, each acquisition, for reading too, returns ErrOwnerDied until
// a Recover has succeeded, as Lock says, which also says when that is noticed. A reader that gets it calls Recover, which takes
// the lock for writing, then Release, and then RAcquire again. A process that closes the segment gives up what it has as if
// it had died.
//
// An RWLock is no Mutex, so it cannot be given to a value or an array: make that with Unlocked, and use it between the
// acquisition and the release, by Load and Store, or View.
//
// An RWLock is made by NewRWLock, OpenRWLock and OpenOrNewRWLock, or arrives in an argument; its zero value is for
// UnmarshalBinary only.
//
// In the terms of the Go memory model a Release is synchronized before the return of every later acquisition, and an RRelease
// before that of every later Acquire, in all processes; so is whatever a writer did before it died.
type RWLock struct {
	shm.Ref
	l rw.Lock
}

var rwlockKind = shm.Kind{Name: "rwlock", Min: rw.Size, Readers: true}

// NewRWLock makes a free reader-writer lock. The errors are those of shm.Kind.New.
func NewRWLock(seg *shm.Segment, name string) (*RWLock, error) {
	l := new(RWLock)
	mem, err := rwlockKind.New(&l.Ref, seg, name, rw.Size, nil)
	return l.use(mem, err)
}

// OpenRWLock finds a reader-writer lock. The errors are those of shm.Kind.Open.
func OpenRWLock(seg *shm.Segment, name string) (*RWLock, error) {
	l := new(RWLock)
	mem, err := rwlockKind.Open(&l.Ref, seg, name)
	return l.use(mem, err)
}

// OpenOrNewRWLock finds or makes a reader-writer lock.
func OpenOrNewRWLock(seg *shm.Segment, name string) (*RWLock, error) {
	l := new(RWLock)
	mem, err := rwlockKind.OpenOrNew(&l.Ref, seg, name, rw.Size, nil)
	return l.use(mem, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (l *RWLock) UnmarshalBinary(data []byte) error {
	mem, err := rwlockKind.Unmarshal(&l.Ref, data)
	_, err = l.use(mem, err)
	return err
}

func (l *RWLock) use(mem []byte, err error) (*RWLock, error) {
	if err != nil {
		return nil, err
	}
	l.l.Use(mem, l.Segment(), &l.Ref, shm.ShutFlag(&l.Ref))
	return l, nil
}

// Acquire takes l for writing, waiting until nobody has it or ctx is done. The errors are ErrOwnerDied, ctx's, and
// os.ErrClosed; with an error the caller does not hold l.
func (l *RWLock) Acquire(ctx context.Context) error {
	defer runtime.KeepAlive(l)
	return l.named(l.l.Acquire(ctx))
}

func (l *RWLock) named(err error) error { return named("rwlock", &l.Ref, err) }

// TryAcquire takes l for writing if nobody has it. The errors are ErrOwnerDied and os.ErrClosed.
func (l *RWLock) TryAcquire() (bool, error) {
	defer runtime.KeepAlive(l)
	ok, err := l.l.TryAcquire()
	return ok, l.named(err)
}

// Release ends writing and wakes those who wait. The errors are ErrNotLocked, also if l is held for reading, ErrNotOwner and
// os.ErrClosed.
func (l *RWLock) Release() error {
	defer runtime.KeepAlive(l)
	if l.Closed() {
		return l.named(os.ErrClosed)
	}
	return l.l.Release()
}

// Recover takes l for writing as Acquire does, and returns holding it whether or not a writer had died; release it afterwards.
// If one died it first runs repair, which may be nil, holding l; if that fails, panics or ends its goroutine, or the process
// dies in it, l is not held and still says ErrOwnerDied. The errors are repair's, ctx's, and os.ErrClosed.
func (l *RWLock) Recover(ctx context.Context, repair func() error) error {
	defer runtime.KeepAlive(l)
	return l.named(l.l.Recover(ctx, repair))
}

// RAcquire takes l for reading, waiting until no writer has it, or waited before, or ctx is done. The errors are those of
// Acquire; with an error the caller does not hold l.
func (l *RWLock) RAcquire(ctx context.Context) error {
	if !l.l.REnter() {
		return l.rAcquireSlow(ctx)
	}
	runtime.KeepAlive(l)
	return nil
}

func (l *RWLock) rAcquireSlow(ctx context.Context) error {
	defer runtime.KeepAlive(l)
	return l.named(l.l.RAcquire(ctx))
}

// TryRAcquire takes l for reading if no writer has it or waits; that another goroutine is just passing by, which takes less than
// a microsecond, may make it false too. The errors are ErrOwnerDied and os.ErrClosed.
func (l *RWLock) TryRAcquire() (bool, error) {
	defer runtime.KeepAlive(l)
	ok, err := l.l.TryRAcquire()
	return ok, l.named(err)
}

// RRelease ends reading. The errors are ErrNotLocked if no goroutine of this process reads, and os.ErrClosed.
func (l *RWLock) RRelease() error {
	if !l.l.RLeave() {
		return l.rReleaseSlow()
	}
	runtime.KeepAlive(l)
	return nil
}

func (l *RWLock) rReleaseSlow() error {
	defer runtime.KeepAlive(l)
	if l.Closed() {
		return l.named(os.ErrClosed)
	}
	return l.l.RRelease()
}

// String says who has l, for people. The answer may be old when it arrives.
func (l *RWLock) String() string {
	defer runtime.KeepAlive(l)
	if l.Segment() == nil {
		return "rwlock" // a zero handle
	}
	what := fmt.Sprintf("rwlock %q, ", l.Name())
	if l.Closed() {
		return what + "closed"
	}
	id, writes, died := l.l.Holder()
	n, own := l.l.Readers()
	switch {
	case id == l.Segment().Self() && writes:
		return what + "held for writing by this process"
	case writes:
		return what + fmt.Sprintf("held for writing by process %d", l.Segment().Participant(id).Pid)
	case died:
		return what + "to be recovered: its writer died"
	case own:
		return what + fmt.Sprintf("%d read, this process among them", n)
	case n > 0:
		return what + fmt.Sprintf("%d read", n)
	}
	return what + "free"
}

func (l *RWLock) abandon() error {
	defer runtime.KeepAlive(l)
	return l.l.Abandon()
}
