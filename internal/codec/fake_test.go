package codec_test

import (
	"errors"

	"github.com/shoal-ipc/shoal/shm"
)

// fake is a shared object whose name is all there is to it.
type fake struct{ name string }

var errArrival = errors.New("fake: cannot arrive")

func newFake(name string) *fake { return &fake{name} }

func (f *fake) Handle() shm.Handle             { return shm.Handle{} }
func (f *fake) Segment() *shm.Segment          { return nil }
func (f *fake) Name() string                   { return f.name }
func (f *fake) Close() error                   { return nil }
func (f *fake) MarshalBinary() ([]byte, error) { return []byte("fake:" + f.name), nil }
func (f *fake) UnmarshalBinary(b []byte) error {
	if len(b) < 5 || string(b[:5]) != "fake:" {
		return errArrival
	}
	f.name = string(b[5:])
	return nil
}

// derived is an object that embeds another, as queue.JoinableQueue does.
type derived struct{ fake }
