package locks

import (
	"context"
	"fmt"
	"os"
	"runtime"

	"github.com/shoal-ipc/shoal/internal/permits"
	"github.com/shoal-ipc/shoal/shm"
)

// Event is a flag that can be waited for.
//
// All methods may be called from any goroutine of any process. Wait blocks; Set and Clear are lock-free, and IsSet is
// wait-free. A process that is killed leaves the flag set or not set. One that is stopped in Set, when the flag is set
// already, delays by about a second at most those who sleep; nobody else is held up.
//
// An Event is made by NewEvent, OpenEvent and OpenOrNewEvent, or arrives in an argument; its zero value is for
// UnmarshalBinary only.
//
// In the terms of the Go memory model a Set that finds the flag not set is synchronized before the return of every Wait that it
// frees, and of every IsSet that sees it, in all processes.
type Event struct {
	shm.Ref
	f permits.Flag
}

var eventKind = shm.Kind{Name: "event", Min: permits.FlagSize}

// NewEvent makes an event that is not set. The errors are those of shm.Kind.New.
func NewEvent(seg *shm.Segment, name string) (*Event, error) {
	e := new(Event)
	mem, err := eventKind.New(&e.Ref, seg, name, permits.FlagSize, nil)
	return e.use(mem, err)
}

// OpenEvent finds an event. The errors are those of shm.Kind.Open.
func OpenEvent(seg *shm.Segment, name string) (*Event, error) {
	e := new(Event)
	mem, err := eventKind.Open(&e.Ref, seg, name)
	return e.use(mem, err)
}

// OpenOrNewEvent finds or makes an event.
func OpenOrNewEvent(seg *shm.Segment, name string) (*Event, error) {
	e := new(Event)
	mem, err := eventKind.OpenOrNew(&e.Ref, seg, name, permits.FlagSize, nil)
	return e.use(mem, err)
}

// UnmarshalBinary implements encoding.BinaryUnmarshaler.
func (e *Event) UnmarshalBinary(data []byte) error {
	mem, err := eventKind.Unmarshal(&e.Ref, data)
	_, err = e.use(mem, err)
	return err
}

func (e *Event) use(mem []byte, err error) (*Event, error) {
	if err != nil {
		return nil, err
	}
	e.f = permits.FlagAt(mem, e.Segment(), &e.Ref)
	return e, nil
}

// Set sets the flag and frees everybody who waits, even if Clear follows at once. The error is os.ErrClosed.
func (e *Event) Set() error {
	defer runtime.KeepAlive(e)
	if e.Closed() {
		return e.named(os.ErrClosed)
	}
	e.f.Set()
	return nil
}

// Clear takes the flag away. The error is os.ErrClosed.
func (e *Event) Clear() error {
	defer runtime.KeepAlive(e)
	if e.Closed() {
		return e.named(os.ErrClosed)
	}
	e.f.Clear()
	return nil
}

// IsSet reads the flag; the answer may be old when it arrives. It goes on answering after Close.
func (e *Event) IsSet() bool {
	defer runtime.KeepAlive(e)
	return e.f.IsSet()
}

// Wait waits until the flag is set, or has been since Wait was called, or ctx is done; if it need not wait it succeeds
// also when ctx is done. (2^30 Sets in the time of one look at the flag, which can be long where a process is stopped, are as none.)
// The errors are ctx's, and os.ErrClosed.
func (e *Event) Wait(ctx context.Context) error {
	defer runtime.KeepAlive(e)
	if e.Closed() {
		return e.named(os.ErrClosed)
	}
	return e.named(e.f.Wait(ctx))
}

// named adds the event's name to an error that says that it was closed.
func (e *Event) named(err error) error {
	if err == os.ErrClosed {
		return fmt.Errorf("locks: event %q: %w", e.Name(), err)
	}
	return err
}

// String describes the event for people.
func (e *Event) String() string {
	switch {
	case e.Segment() == nil:
		return "event" // a zero handle
	case e.Closed():
		return fmt.Sprintf("event %q, closed", e.Name())
	case e.IsSet():
		return fmt.Sprintf("event %q, set", e.Name())
	}
	return fmt.Sprintf("event %q, not set", e.Name())
}
