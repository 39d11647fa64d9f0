package locks

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"

	"github.com/shoal-ipc/shoal/internal/crashpoint"
	"github.com/shoal-ipc/shoal/internal/permits"
	"github.com/shoal-ipc/shoal/internal/race"
	"github.com/shoal-ipc/shoal/shm"
)

// SemaphoreOptions are the rarer wishes of a semaphore. They are the maker's: handles that find it have the same.
type SemaphoreOptions struct {
	// Recover returns the permits of a process that died. Then only a process that acquired may release: ErrNotOwner
	// is what the others get, so the number of permits is always that of the beginning, as of a pool; what is to
	// be raised from 0, as a signal, is made without it. There can be 2^20 permits at most, since who wants one may
	// look at them all; each takes 4 bytes of the segment.
	Recover bool
}

// Semaphore is a number of permits, of which Acquire takes one and Release gives one back. Without Recover anybody may
// release, also what nobody has acquired, up to 2^31 - 1 permits.
//
// All methods may be called from any goroutine of any process. An acquisition that need not wait succeeds also when ctx
// is done. The semaphore is not fair, but nobody who waits is forgotten. Acquire blocks; everything else is
// lock-free: a process that is stopped holds nobody up but with the permits that it has.
//
// When a process dies, or closes the segment, the permits that it holds are lost. With Recover they are free again: at
// once for a call that comes after the death, within about a second for who waits. TryAcquire finds them once the death
// was noticed; it looks itself when it first finds no permit, and every 64th time.
//
// A Semaphore is made by NewSemaphore, OpenSemaphore and OpenOrNewSemaphore, or arrives in an argument; its zero value is
// for UnmarshalBinary only.
//
// In the terms of the Go memory model a Release is synchronized before the return of every later acquisition, in all
// processes.
type Semaphore struct {
	shm.Ref
	p permits.Permits

	// For the fast paths.
	word *uint64
	most uint32
	shut *uint32
}

// BoundedSemaphore is a Semaphore that refuses, with ErrOverReleased, to rise above its first number of permits. With
// Recover every semaphore refuses that, with ErrNotOwner.
type BoundedSemaphore struct{ Semaphore }

// The kinds, which differ so that neither is taken for the other.
const (
	semaphoreKind = "sem"
	boundedKind   = "boundsem"
)

// newSemaphore is what Kind.New needs for a semaphore that begins with n permits and has most at most.
func newSemaphore(kind string, n, most int, opts []SemaphoreOptions) (k shm.Kind, size int, init func(mem []byte) error, err error) {
	var o SemaphoreOptions
	switch len(opts) {
	case 0:
	case 1:
		o = opts[0]
	default:
		panic("locks: more than one SemaphoreOptions")
	}
	if n < 0 || n > permits.Most || o.Recover && n > permits.MostCells {
		return k, 0, nil, fmt.Errorf("locks: semaphore: %w: %d permits", os.ErrInvalid, n)
	}
	k = shm.Kind{Name: kind, Permits: o.Recover}
	if o.Recover {
		return k, permits.SizeCells(n), func(mem []byte) error { permits.InitCells(mem, uint32(n)); return nil }, nil
	}
	return k, permits.Size, func(mem []byte) error { permits.InitCount(mem, uint32(n), uint32(most)); return nil }, nil
}

// findSemaphore is the kind with which to find one.
func findSemaphore(kind string) shm.Kind { return shm.Kind{Name: kind, Min: permits.Size} }

// NewSemaphore makes a semaphore of n permits. The errors are those of shm.Kind.New, and os.ErrInvalid if there cannot be so
// many.
func NewSemaphore(seg *shm.Segment, name string, n int, opts ...SemaphoreOptions) (*Semaphore, error) {
	k, size, init, err := newSemaphore(semaphoreKind, n, permits.Most, opts)
	if err != nil {
		return nil, err
	}
	s := new(Semaphore)
	mem, err := k.New(&s.Ref, seg, name, size, init)
	return s.use(mem, err)
}

// OpenSemaphore finds a semaphore. The errors are those of shm.Kind.Open.
func OpenSemaphore(seg *shm.Segment, name string) (*Semaphore, error) {
	s := new(Semaphore)
	mem, err := findSemaphore(semaphoreKind).Open(&s.Ref, seg, name)
	return s.use(mem, err)
}

// OpenOrNewSemaphore finds a semaphore, whose permits and options stand, or makes one.
func OpenOrNewSemaphore(seg *shm.Segment, name string, n int, opts ...SemaphoreOptions) (*Semaphore, error) {
	k, size, init, err := newSemaphore(semaphoreKind, n, permits.Most, opts)
	if err != nil {
		return nil, err
	}
	k.Min = permits.Size
	s := new(Semaphore)
	mem, err := k.OpenOrNew(&s.Ref, seg, name, size, init)
	return s.use(mem, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (s *Semaphore) UnmarshalBinary(data []byte) error {
	mem, err := findSemaphore(semaphoreKind).Unmarshal(&s.Ref, data)
	_, err = s.use(mem, err)
	return err
}

// NewBoundedSemaphore makes a bounded semaphore of n permits. The errors are those of NewSemaphore.
func NewBoundedSemaphore(seg *shm.Segment, name string, n int, opts ...SemaphoreOptions) (*BoundedSemaphore, error) {
	k, size, init, err := newSemaphore(boundedKind, n, n, opts)
	if err != nil {
		return nil, err
	}
	b := new(BoundedSemaphore)
	mem, err := k.New(&b.Ref, seg, name, size, init)
	return b.use(mem, err)
}

// OpenBoundedSemaphore finds a bounded semaphore. The errors are those of shm.Kind.Open.
func OpenBoundedSemaphore(seg *shm.Segment, name string) (*BoundedSemaphore, error) {
	b := new(BoundedSemaphore)
	mem, err := findSemaphore(boundedKind).Open(&b.Ref, seg, name)
	return b.use(mem, err)
}

// OpenOrNewBoundedSemaphore finds a bounded semaphore, whose permits and options stand, or makes one.
func OpenOrNewBoundedSemaphore(seg *shm.Segment, name string, n int, opts ...SemaphoreOptions) (*BoundedSemaphore, error) {
	k, size, init, err := newSemaphore(boundedKind, n, n, opts)
	if err != nil {
		return nil, err
	}
	k.Min = permits.Size
	b := new(BoundedSemaphore)
	mem, err := k.OpenOrNew(&b.Ref, seg, name, size, init)
	return b.use(mem, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (b *BoundedSemaphore) UnmarshalBinary(data []byte) error {
	mem, err := findSemaphore(boundedKind).Unmarshal(&b.Ref, data)
	_, err = b.use(mem, err)
	return err
}

func (b *BoundedSemaphore) use(mem []byte, err error) (*BoundedSemaphore, error) {
	if _, err := b.Semaphore.use(mem, err); err != nil {
		return nil, err
	}
	return b, nil
}

func (s *Semaphore) use(mem []byte, err error) (*Semaphore, error) {
	if err != nil {
		return nil, err
	}
	if s.p, err = permits.At(mem, s.Segment(), &s.Ref); err != nil {
		return nil, fmt.Errorf("%w: %w", shm.ErrCorrupt, err)
	}
	s.word, s.most = s.p.Fast()
	s.shut = shm.ShutFlag(&s.Ref)
	return s, nil
}

// Acquire takes a permit, waiting until there is one or ctx is done. The errors are ctx's, and os.ErrClosed; with an error
// the caller has no permit.
func (s *Semaphore) Acquire(ctx context.Context) error {
	if w := atomic.LoadUint64(s.word); int32(w) > 0 && s.fast() && atomic.CompareAndSwapUint64(s.word, w, w-1) {
		runtime.KeepAlive(s)
		return nil
	}
	return s.acquireSlow(ctx)
}

// fast reports whether the fast paths may be used.
func (s *Semaphore) fast() bool {
	return !race.Enabled && !crashpoint.Enabled && atomic.LoadUint32(s.shut) == 0
}

func (s *Semaphore) acquireSlow(ctx context.Context) error {
	err := s.named(s.p.Acquire(ctx))
	runtime.KeepAlive(s)
	return err
}

// named adds the semaphore's name to an error that says that it was closed.
func (s *Semaphore) named(err error) error {
	if err == os.ErrClosed {
		return fmt.Errorf("locks: semaphore %q: %w", s.Name(), err)
	}
	return err
}

// TryAcquire takes a permit if one is free. The error is os.ErrClosed.
func (s *Semaphore) TryAcquire() (bool, error) {
	defer runtime.KeepAlive(s)
	if s.Closed() {
		return false, s.named(os.ErrClosed)
	}
	return s.p.TryAcquire(), nil
}

// Release gives a permit back and wakes a waiter. The errors are ErrOverReleased if there would be more permits than there
// can be, with Recover ErrNotOwner if this process has none, and os.ErrClosed.
func (s *Semaphore) Release() error {
	if w := atomic.LoadUint64(s.word); uint32(w) < s.most && s.fast() && atomic.CompareAndSwapUint64(s.word, w, w+1) {
		runtime.KeepAlive(s)
		return nil
	}
	return s.releaseSlow()
}

func (s *Semaphore) releaseSlow() error {
	if s.Closed() {
		return s.named(os.ErrClosed)
	}
	err := s.p.Release()
	runtime.KeepAlive(s)
	return err
}

// Value is the number of free permits; the answer may be old when it arrives. It goes on answering after Close. With
// Recover the permits of a dead process count once its death was noticed.
func (s *Semaphore) Value() int {
	defer runtime.KeepAlive(s)
	return s.p.Value()
}

// String describes the semaphore for people.
func (s *Semaphore) String() string {
	defer runtime.KeepAlive(s)
	switch {
	case s.Segment() == nil:
		return "semaphore" // a zero handle
	case s.Closed():
		return fmt.Sprintf("semaphore %q, closed", s.Name())
	}
	return fmt.Sprintf("semaphore %q, %d free", s.Name(), s.p.Value())
}
